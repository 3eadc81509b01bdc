//! Planted faults: each one is found and named for what it is, and nothing else is.
//!
//! Method: a proxy between subscribers and server changes one publication in a thousand and counts
//! what it has changed, and the report must have the same counts.

use crate::{
    run::{Told, run, side_by_side},
    stentor::Stentor,
    support::fault_proxy::{Fault, FaultProxy, GRACE, Plan},
};

/// Publications that are lost are lost for the report, and for nobody else.
#[test]
fn what_is_left_out_is_lost() {
    side_by_side(TRANSPORTS, |transport| {
        let found = Found::in_a_thousand(Fault::Drop, transport);
        found.assert_named("/deliveries/lost", IN_A_THOUSAND, "lost", "never came");
        assert_eq!(found.received(), DELIVERIES - IN_A_THOUSAND);
    });
}

#[test]
fn what_is_repeated_is_duplicated() {
    let found = Found::in_a_thousand(Fault::Repeat, "ws");
    found.assert_named("/deliveries/duplicated", IN_A_THOUSAND, "duplicated", "came again");
    assert_eq!(found.received(), DELIVERIES);
}

/// Two that are swapped are one fault: the first of them came late.
#[test]
fn what_is_swapped_is_reordered() {
    let found = Found::in_a_thousand(Fault::Swap, "ws");
    let planted = found.planted;
    assert!(planted > 1, "{planted} were swapped");
    found.assert_named("/deliveries/reordered", planted, "reordered", "came after a later one");
    assert_eq!(found.received(), DELIVERIES);
}

#[test]
fn what_is_truncated_is_corrupt() {
    let found = Found::in_a_thousand(Fault::Truncate, "ws");
    found.assert_named("/deliveries/corrupt", IN_A_THOUSAND, "corrupt", DAMAGED);
    assert_eq!(found.received(), DELIVERIES - IN_A_THOUSAND);
}

#[test]
fn what_is_damaged_is_corrupt() {
    side_by_side(TRANSPORTS, |transport| {
        let found = Found::in_a_thousand(Fault::Corrupt, transport);
        found.assert_named("/deliveries/corrupt", IN_A_THOUSAND, "corrupt", DAMAGED);
        assert_eq!(found.received(), DELIVERIES - IN_A_THOUSAND);
    });
}

/// A connection that is cut is an unexpected close, and no more than that: its subscriber comes
/// back, and each of its two sessions gets what it is owed.
#[test]
fn what_is_cut_is_closed_unexpectedly() {
    let found = Found::in_a_thousand(Fault::Cut, "ws");
    let planted = found.planted;
    assert!(planted > 1, "{planted} were cut");
    found.told.assert_faults(&[("/deliveries/unexpected_closes", planted)]);
    let why = "unexpected end of a connection: the server ended it";
    assert_eq!(found.told.failures("delivering"), [(why, planted)]);
    assert_eq!(found.told.count("/connections/reconnected"), planted);
    assert_eq!(found.told.count("/deliveries/expected"), found.received());
    assert!(found.told.stdout.contains(&format!("failed: {planted} closed unexpectedly")));
    assert_eq!(found.told.code, 1);
}

/// The last publications of a run, which no other follows to show the gap, are missed as well.
#[test]
fn the_last_publications_are_missed_too() {
    let cases = [
        (Fault::Drop, "/deliveries/lost", "sse"),
        (Fault::Corrupt, "/deliveries/corrupt", "ws"),
        (Fault::Repeat, "/deliveries/duplicated", "ws"),
    ];
    side_by_side(cases, |(kind, counter, transport)| {
        let plan = Plan { grace: DELIVERIES - 7, ..Plan::new(kind, 1) };
        let found = Found::with(plan, transport);
        assert_eq!(found.planted, 7, "{kind:?}");
        found.told.assert_faults(&[(counter, 7)]);
        assert_eq!((found.told.code, found.expected()), (1, DELIVERIES), "{kind:?}");
    });
}

/// What the proxy passes on unchanged is not complained of.
#[test]
fn nothing_is_found_where_nothing_is_planted() {
    side_by_side(TRANSPORTS, |transport| {
        let found = Found::with(Plan { grace: u64::MAX, ..Plan::new(Fault::Drop, 1) }, transport);
        assert_eq!(found.planted, 0);
        found.told.assert_flawless(DELIVERIES);
        assert_eq!(found.told.failures("delivering"), []);
    });
}

/// What a run through the proxy has told, and what it should have.
struct Found {
    told: Told,
    planted: u64,
}

impl Found {
    fn in_a_thousand(kind: Fault, transport: &str) -> Found {
        Found::with(Plan::new(kind, EVERY), transport)
    }

    fn with(plan: Plan, transport: &str) -> Found {
        let server = Stentor::start(&[]);
        let proxy = FaultProxy::start(server.subscribers, plan);
        let scheme = if transport == "ws" { "ws" } else { "http" };
        let target = format!("{scheme}://{}/{transport}/{{channel}}", proxy.address);
        let (active, rate) = (SUBSCRIBERS.to_string(), PUBLICATIONS.to_string());
        let told =
            run(
                &[
                    &[
                        "--target",
                        &target,
                        "--publish",
                        &server.publish(),
                        "--transport",
                        transport,
                    ][..],
                    &["--active", &active, "--rate", &rate, "--duration", "1s", "--settle", "3s"],
                    // A proxy takes no more at once than its backlog holds.
                    &["--threads", "1", "--ramp", "1000"],
                ]
                .concat(),
            );
        Found { planted: proxy.planted(), told }
    }

    fn expected(&self) -> u64 {
        self.told.count("/deliveries/expected")
    }

    fn received(&self) -> u64 {
        self.told.count("/deliveries/received")
    }

    /// All that was planted is counted at `counter`, told as `kind` in the table, and explained by
    /// `why` in the examples; nothing else is.
    #[track_caller]
    fn assert_named(&self, counter: &str, planted: u64, kind: &str, why: &str) {
        assert_eq!(self.planted, planted);
        self.told.assert_faults(&[(counter, planted)]);
        assert_eq!((self.told.code, self.expected()), (1, DELIVERIES));
        let examples = self.told.failures("delivering");
        // A subscriber that lost two is told of once.
        let told = examples.iter().map(|(_, times)| times).sum::<u64>();
        assert!(told == EXAMPLES || kind == "lost" && (1..EXAMPLES).contains(&told), "{told}");
        for (text, _) in examples {
            let (which, what) = text.split_once(": ").expect("which publication, and what of it");
            assert_eq!(what, why);
            assert!(
                which.starts_with("publication ") && which.contains(" at subscriber "),
                "{text}"
            );
            assert!(self.told.stdout.contains(text), "{text} is not in the table");
        }
        let conclusion = format!("failed: {planted} {kind} (");
        assert!(self.told.stdout.contains(&conclusion), "{}", self.told.stdout);
    }
}

const TRANSPORTS: [&str; 2] = ["ws", "sse"];
const SUBSCRIBERS: u64 = 300;
const PUBLICATIONS: u64 = 40;
const DELIVERIES: u64 = SUBSCRIBERS * PUBLICATIONS;
const EVERY: u64 = 1000;
/// Faults among so many deliveries if each due publication can be changed.
const IN_A_THOUSAND: u64 = (DELIVERIES - GRACE).div_ceil(EVERY);
/// Faults of a kind that are told one by one.
const EXAMPLES: u64 = 5;
const DAMAGED: &str = "was due, and something else or damaged came";
