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

/// One subscriber of which the server keeps a history.
struct Resuming {
    oracle: Oracle,
    seat: Seat,
    book: Book,
}

impl Resuming {
    /// One that was there from the first publication on.
    fn new(handed_over: u32) -> Resuming {
        let (oracle, seat) = (Oracle::new(RUN, PUBLICATIONS), Seat::new(CHANNEL, 0));
        Resuming { oracle, seat, book: book(handed_over) }
    }

    fn gets(mut self, sequences: impl IntoIterator<Item = u32>) -> Resuming {
        for sequence in sequences {
            self.oracle.on_message(1, &mut self.seat, &publication(sequence));
        }
        self
    }

    fn gets_damaged(mut self) -> Resuming {
        self.oracle.on_message(1, &mut self.seat, b"damaged");
        self
    }

    fn resumes(mut self, recovered: Option<bool>) -> Resuming {
        self.oracle.on_left(1, &self.seat, &self.book);
        self.seat = self.seat.resumed(recovered);
        self
    }

    /// Is told of a gap when so many had been handed over.
    fn hears_of_a_gap(mut self, handed_over: u32) -> Resuming {
        let end = std::mem::replace(&mut self.book.handed_over, handed_over);
        self.oracle.on_gap(1, &mut self.seat, &self.book);
        self.book.handed_over = end;
        self
    }

    fn ends(mut self) -> Deliveries {
        self.oracle.on_end(1, &self.seat, &self.book);
        assert_eq!((self.oracle.open.len(), self.oracle.missing_ranges), (0, 0));
        Deliveries { examples: Default::default(), ..self.oracle.deliveries }
    }
}

/// Who resumes and gets everything once has no fault, however often it does and even if nothing had
/// come before.
#[test]
fn a_whole_life_of_several_sessions_has_no_fault() {
    let all = Deliveries { expected: 10, received: 10, ..Deliveries::default() };
    for recovered in [None, Some(true)] {
        let twice = Resuming::new(10).gets(0..4).resumes(recovered).gets(4..5).resumes(recovered);
        assert_eq!(twice.gets(5..10).ends(), all);
        let idle = Resuming::new(10).resumes(recovered).resumes(recovered);
        assert_eq!(idle.gets(0..10).ends(), all);
        let served = Resuming::new(10).gets(0..10).resumes(recovered);
        assert_eq!(served.ends(), all);
    }
}

/// What goes wrong where a subscriber resumes is counted as what it is, and as nothing else.
#[test]
fn each_fault_at_a_seam_has_its_name() {
    let with = |recovered, got: &[u32]| {
        let resumed = Resuming::new(10).gets(0..4).resumes(recovered);
        resumed.gets(got.iter().copied()).ends()
    };
    let whole = Deliveries { expected: 10, received: 10, ..Deliveries::default() };
    let missing = Deliveries { received: 8, ..whole.clone() };
    let claimed = Deliveries { false_recovered: 2, ..missing.clone() };
    assert_eq!(with(Some(true), &[6, 7, 8, 9]), claimed);
    let silent = Deliveries { unannounced_gap: 2, ..missing.clone() };
    assert_eq!(with(None, &[6, 7, 8, 9]), silent);
    assert_eq!(with(Some(false), &[6, 7, 8, 9]), silent, "no gap was announced besides");
    let inside = Deliveries { lost: 2, ..missing };
    assert_eq!(with(Some(true), &[4, 5, 8, 9]), inside);
    let never = Deliveries { received: 4, lost: 6, ..whole.clone() };
    assert_eq!(with(Some(true), &[]), never);
    let repeated = Deliveries { repeated: 2, ..whole.clone() };
    assert_eq!(with(Some(true), &[2, 3, 4, 5, 6, 7, 8, 9]), repeated);
    let duplicated = Deliveries { duplicated: 1, ..whole.clone() };
    assert_eq!(with(Some(true), &[4, 4, 5, 6, 7, 8, 9]), duplicated);
    let reordered = Deliveries { reordered: 1, ..whole.clone() };
    assert_eq!(with(Some(true), &[5, 4, 6, 7, 8, 9]), reordered);
    let damaged = Resuming::new(10).gets(0..4).resumes(Some(true)).gets_damaged().gets(5..10);
    assert_eq!(damaged.ends(), Deliveries { received: 9, corrupt: 1, ..whole.clone() });
    let both = Resuming::new(10).gets(0..4).resumes(Some(true)).gets_damaged();
    let both = both.gets([5, 6, 8, 9]).ends();
    let want = Deliveries { received: 8, corrupt: 1, lost: 1, ..whole.clone() };
    assert_eq!(both, want, "what came damaged stands for one of the two that are missing");
    let fresh = Resuming::new(10).resumes(Some(true)).gets(2..10).ends();
    assert_eq!(fresh, Deliveries { received: 8, false_recovered: 2, ..whole });
}

/// What an announced gap has is owed by nobody; what comes after it is, and the gap must be what was
/// missing.
#[test]
fn an_announced_gap_is_what_is_missing() {
    let told = |handed_over| {
        let resumed = Resuming::new(10).gets(0..4).resumes(Some(false));
        resumed.hears_of_a_gap(handed_over)
    };
    let one = Deliveries { gaps: 1, ..Deliveries::default() };
    let right = Deliveries { expected: 8, received: 8, skipped: 2, ..one.clone() };
    assert_eq!(told(8).gets(6..10).ends(), right);
    assert_eq!(told(6).gets(6..10).ends(), right);
    assert!(right.is_flawless());
    let in_session = Resuming::new(10).gets(0..4).hears_of_a_gap(8).gets(6..10);
    assert_eq!(in_session.ends(), right, "a slow reader");
    let late = told(6).gets(7..10).ends();
    let want =
        Deliveries { expected: 8, received: 7, skipped: 2, unannounced_gap: 1, ..one.clone() };
    assert_eq!(late, want, "6 was handed over after the gap was announced");
    let nothing = Deliveries { expected: 10, received: 10, false_gap: 1, ..one.clone() };
    assert_eq!(told(8).gets(4..10).ends(), nothing);
    let repeated = Deliveries { repeated: 1, ..right.clone() };
    assert_eq!(told(8).gets([3, 6, 7, 8, 9]).ends(), repeated);
    assert_eq!(told(8).gets([6, 3, 7, 8, 9]).ends(), repeated);
    let silent = Deliveries { expected: 6, received: 4, lost: 2, skipped: 4, ..one.clone() };
    assert_eq!(told(8).ends(), silent);
    let twice = told(6).hears_of_a_gap(8).gets(8..10).ends();
    assert_eq!(twice, Deliveries { expected: 6, received: 6, skipped: 4, gaps: 2, ..one.clone() });
    let again = told(8).resumes(Some(false)).hears_of_a_gap(9).gets(9..10).ends();
    assert_eq!(again, Deliveries { expected: 5, received: 5, skipped: 5, gaps: 2, ..one });
}

/// Who is told of a gap before anything has come is owed what is handed over from then on.
#[test]
fn a_gap_before_the_first_publication_excuses_what_it_may_have() {
    let got = Resuming::new(10).hears_of_a_gap(6).gets(4..10).ends();
    let want =
        Deliveries { expected: 6, received: 6, gaps: 1, skipped: 4, ..Deliveries::default() };
    assert_eq!(got, want);
    let lost = Resuming::new(10).hears_of_a_gap(6).gets(7..10).ends();
    assert_eq!(lost, Deliveries { expected: 4, received: 3, lost: 1, skipped: 6, ..want });
}

proptest! {
    /// A server that keeps its last few publications and says what it has not is flawless, whenever
    /// its subscriber leaves and comes back.
    #[test]
    fn an_honest_server_is_flawless(
        kept in 0u32..6, sessions in proptest::collection::vec((0u32..6, 0u32..12), 1..5),
    ) {
        let mut life = Resuming::new(0);
        let (mut at, mut want) = (0, Deliveries::default());
        for (heard, missed) in sessions {
            life = life.gets(at..at + heard);
            at += heard + missed;
            want.received += u64::from(heard);
            let skipped = missed.saturating_sub(kept);
            life.book.handed_over = at;
            life = life.resumes(Some(skipped == 0));
            if skipped > 0 {
                life = life.hears_of_a_gap(at);
                want.gaps += 1;
            }
            life = life.gets(at - (missed - skipped)..at);
            want.received += u64::from(missed - skipped);
        }
        // One more shows where the last gap ended.
        life.book.handed_over = at + 1;
        let found = life.gets(at..at + 1).ends();
        want.received += 1;
        prop_assert_eq!(found.received, want.received);
        prop_assert_eq!(found.expected, want.received);
        prop_assert_eq!(found.gaps, want.gaps);
        prop_assert!(found.is_flawless());
    }
}
