//! The oracle against sessions that were damaged on purpose, and whose damage is known exactly.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;

use super::*;

const RUN: u32 = 11;
const CHANNEL: u32 = 4;
/// More than any of these sessions is owed.
const PUBLICATIONS: u32 = 100;

/// What was handed over, in one channel.
struct Book {
    handed_over: u32,
    uncertain: HashSet<u32>,
}

impl Published for Book {
    fn handed_over(&self, channel: u32) -> u32 {
        assert_eq!(channel, CHANNEL);
        self.handed_over
    }

    fn uncertain_among(&self, _: u32, sequences: &Range<u32>) -> u64 {
        self.uncertain.iter().filter(|it| sequences.contains(it)).count() as u64
    }
}

fn book(handed_over: u32) -> Book {
    Book { handed_over, uncertain: HashSet::new() }
}

fn publication(sequence: u32) -> Vec<u8> {
    let header = Header {
        run: RUN,
        channel: CHANNEL,
        sequence,
        number: sequence,
        due: Duration::from_secs(1),
    };
    let mut payload = Vec::new();
    payload::encode(&header, 64, &mut payload);
    payload
}

/// The counts after a subscriber that joined when `joined` had been handed over got these, and the
/// run ended after `published`.
fn counts(joined: u32, got: &[Vec<u8>], published: &Book) -> Deliveries {
    let mut oracle = Oracle::new(RUN, PUBLICATIONS);
    let mut seat = Seat::new(CHANNEL, joined);
    for message in got {
        oracle.on_message(1, &mut seat, message);
    }
    oracle.on_end(1, &seat, published);
    assert_eq!((oracle.open.len(), oracle.missing_ranges), (0, 0), "nothing is left open");
    Deliveries { examples: Default::default(), ..oracle.deliveries }
}

fn publications(sequences: impl IntoIterator<Item = u32>) -> Vec<Vec<u8>> {
    sequences.into_iter().map(publication).collect()
}

/// Who gets everything from where it joined is owed nothing, whether or not what was under way
/// when it joined came too.
#[test]
fn a_whole_session_has_no_fault() {
    for first in 3..=5 {
        let found = counts(5, &publications(first..10), &book(10));
        let all = u64::from(10 - first);
        assert_eq!(found, Deliveries { expected: all, received: all, ..Deliveries::default() });
        assert!(found.is_flawless());
    }
}

/// Each kind of damage is counted as what it is, and as nothing else.
#[test]
fn each_fault_has_its_name() {
    let with = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut got = publications(0..10);
        change(&mut got);
        counts(0, &got, &book(10))
    };
    let whole = Deliveries { expected: 10, received: 10, ..Deliveries::default() };
    let dropped = Deliveries { received: 9, lost: 1, ..whole.clone() };
    assert_eq!(with(|got| drop(got.remove(0))), dropped);
    assert_eq!(with(|got| drop(got.remove(4))), dropped);
    assert_eq!(with(|got| drop(got.pop())), dropped);
    let repeated = Deliveries { duplicated: 1, ..whole.clone() };
    assert_eq!(with(|got| got.insert(7, publication(6))), repeated);
    assert_eq!(with(|got| got.insert(9, publication(0))), repeated);
    let swapped = Deliveries { reordered: 1, ..whole.clone() };
    assert_eq!(with(|got| got.swap(3, 4)), swapped);
    let corrupt = Deliveries { received: 9, corrupt: 1, ..whole.clone() };
    assert_eq!(with(|got| got[5].truncate(63)), corrupt);
    assert_eq!(with(|got| got[9][60] ^= 1), corrupt);
    assert_eq!(with(|got| got[9].clear()), corrupt);
    let misdirected = Deliveries { misdirected: 1, ..whole };
    assert_eq!(
        with(|got| {
            let header = payload::decode(&got[2]).expect("it is whole");
            let mut stranger = Vec::new();
            payload::encode(&Header { channel: CHANNEL + 1, ..header }, 64, &mut stranger);
            got.insert(2, stranger.clone());
        }),
        misdirected
    );
}

/// A message of another run is not taken for one of this.
#[test]
fn another_runs_publications_are_misdirected() {
    let header = Header { run: RUN + 1, ..payload::decode(&publication(0)).expect("it is whole") };
    let mut stranger = Vec::new();
    payload::encode(&header, 64, &mut stranger);
    let found = counts(0, &[stranger], &book(0));
    assert_eq!(found, Deliveries { misdirected: 1, ..Deliveries::default() });
}

/// A server that makes up a publication that the run will never have is told so: nothing before it
/// is missed, and what comes after it is judged as if it had not been.
#[test]
fn publications_that_will_never_be_are_misdirected() {
    let forged = [PUBLICATIONS, u32::MAX].map(publication);
    let got = [publications([0, 1]), forged.to_vec(), publications([2])].concat();
    let want = Deliveries { expected: 3, received: 3, misdirected: 2, ..Deliveries::default() };
    assert_eq!(counts(0, &got, &book(3)), want);
    let last = counts(PUBLICATIONS - 1, &publications([PUBLICATIONS - 1]), &book(PUBLICATIONS));
    assert!(last.is_flawless());
}

/// A publication that the server may or may not have taken may come or not.
#[test]
fn uncertain_publications_are_owed_only_if_they_came() {
    let book = Book { handed_over: 6, uncertain: HashSet::from([2, 5]) };
    let without = counts(0, &publications([0, 1, 3, 4]), &book);
    assert_eq!(without, Deliveries { expected: 4, received: 4, ..Deliveries::default() });
    let with = counts(0, &publications(0..6), &book);
    assert_eq!(with, Deliveries { expected: 6, received: 6, ..Deliveries::default() });
}

/// Who leaves is owed what it has got, and what is missing before that.
#[test]
fn a_session_that_ended_early_is_judged_up_to_its_end() {
    let mut oracle = Oracle::new(RUN, PUBLICATIONS);
    let mut seat = Seat::new(CHANNEL, 2);
    for message in publications([2, 4]) {
        oracle.on_message(1, &mut seat, &message);
    }
    oracle.on_left(1, &seat, &book(100));
    let Deliveries { expected, received, lost, .. } = oracle.deliveries;
    assert_eq!((expected, received, lost), (3, 2, 1));
}

/// Faults are told with channel, publication and subscriber, a few of each kind.
#[test]
fn the_first_faults_are_told_one_by_one() {
    let mut oracle = Oracle::new(RUN, PUBLICATIONS);
    let mut seat = Seat::new(CHANNEL, 0);
    for _ in 0..20 {
        oracle.on_message(77, &mut seat, &publication(0));
    }
    let told: Vec<_> = oracle.deliveries.examples.iter().collect();
    let text = "publication 0 of channel 4 at subscriber 77: came again";
    assert_eq!(told, [(text, EXAMPLES)]);
    assert_eq!(oracle.deliveries.duplicated, 19);
}

/// Who is overtaken while the subscriber joins comes late, and not again.
#[test]
fn what_was_under_way_at_the_handshake_may_be_overtaken() {
    let found = counts(5, &publications([5, 4, 6, 4]), &book(7));
    let want = Deliveries { expected: 3, received: 3, ..Deliveries::default() };
    assert_eq!(found, Deliveries { reordered: 1, duplicated: 1, ..want });
    let found = counts(5, &publications([5, 3, 6, 4, 3]), &book(7));
    let want = Deliveries { expected: 4, received: 4, ..Deliveries::default() };
    assert_eq!(found, Deliveries { reordered: 2, duplicated: 1, ..want });
    let found = counts(5, &publications([5, 2, 6, 4]), &book(7));
    let want = Deliveries { expected: 5, received: 4, lost: 1, ..Deliveries::default() };
    assert_eq!(found, Deliveries { reordered: 2, ..want });
}

/// No more is remembered than the bound allows. What is past it is lost at once, whatever comes of
/// it later, and nothing is lost twice.
#[test]
fn what_is_missing_is_bounded() {
    let mut oracle = Oracle { missing_max: 2, ..Oracle::new(RUN, PUBLICATIONS) };
    let mut seat = Seat::new(CHANNEL, 0);
    let mut lost_after = |oracle: &mut Oracle, message: &[u8]| {
        oracle.on_message(1, &mut seat, message);
        assert!(oracle.missing_ranges <= 2);
        let remembered: usize = oracle.open.values().map(|it| it.missing.len()).sum();
        assert_eq!(oracle.missing_ranges, remembered);
        oracle.deliveries.lost
    };
    let mut feed = |sequence| lost_after(&mut oracle, &publication(sequence));
    assert_eq!([0, 6, 8].map(&mut feed), [0, 0, 0], "1 to 5 and 7 are missing, and remembered");
    assert_eq!([11].map(&mut feed), [2], "9 and 10 are not");
    assert_eq!([3].map(&mut feed), [4], "1 and 2 make room for 4 and 5");
    assert_eq!([7, 4, 5].map(&mut feed), [4, 4, 4], "these come late");
    assert_eq!([20, 22].map(&mut feed), [4, 4], "there is room again");
    // One that came damaged stands for one of the two that are not remembered.
    assert_eq!(lost_after(&mut oracle, b"damaged"), 4);
    assert_eq!(lost_after(&mut oracle, &publication(25)), 5);
    oracle.on_end(1, &seat, &book(26));
    let Deliveries { expected, received, lost, corrupt, reordered, duplicated, .. } =
        oracle.deliveries;
    assert_eq!((expected, received, lost, corrupt), (26, 11, 5 + 8 + 1, 1));
    assert_eq!((reordered, duplicated, oracle.missing_ranges), (4, 0, 0));
}

proptest! {
    /// However a session is damaged, the counts are those of a book that keeps everything.
    ///
    /// Method: a session of 40 in which each is dropped, repeated, damaged or delayed by chance.
    #[test]
    fn the_counts_are_exact(fates in proptest::collection::vec(0u8..12, 40)) {
        let (mut got, mut delayed) = (Vec::new(), Vec::new());
        let mut want = Deliveries { expected: 40, received: 40, ..Deliveries::default() };
        for (sequence, fate) in (0u32..).zip(&fates) {
            // The first one fixes where the session begins.
            match fate {
                0 if sequence > 0 => (want.lost, want.received) = (want.lost + 1, want.received - 1),
                1 => {
                    got.extend([publication(sequence), publication(sequence)]);
                    want.duplicated += 1;
                }
                2 if sequence > 0 => {
                    let mut damaged = publication(sequence);
                    damaged[20] ^= 1;
                    got.push(damaged);
                    (want.corrupt, want.received) = (want.corrupt + 1, want.received - 1);
                }
                3 if sequence > 0 => delayed.push(sequence),
                _ => got.push(publication(sequence)),
            }
        }
        // Whatever comes after a later one is late.
        got.push(publication(40));
        want.expected += 1;
        want.received += 1;
        want.reordered += delayed.len() as u64;
        got.extend(publications(delayed));
        prop_assert_eq!(counts(0, &got, &book(41)), want);
    }
}
