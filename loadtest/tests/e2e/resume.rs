//! Subscribers that come back and ask for what they have missed, by each transport that can.
//!
//! Method: everybody is there before the first publication and comes back before the last, so that
//! each is owed each, whoever left when. The server says what it does ([`Honest`]), and a proxy makes
//! it a liar in known places.

use crate::{
    honest::Honest,
    run::{Told, run, side_by_side},
    support::fault_proxy::{Fault, FaultProxy, Plan},
};

const TRANSPORTS: [&str; 3] = ["sse", "poll", "v1"];

/// Whoever comes and goes gets everything, once and in order, across all of its sessions.
#[test]
fn who_resumes_misses_nothing() {
    side_by_side(TRANSPORTS, |transport| {
        let server = Honest::start(usize::MAX);
        let told = resuming("resume", &[], transport, server.address);
        told.assert_flawless(SUBSCRIBERS * PUBLICATIONS);
        let resumed = told.count("/connections/resumed");
        // As many as the rate says, but for those of the last turn.
        assert!((20..=60).contains(&resumed), "{resumed} resumed");
        assert_eq!(told.count("/connections/reconnected"), resumed);
        let share = told.report.pointer("/connections/recovered_share");
        assert_eq!(share.and_then(|it| it.as_f64()), Some(1.0));
        assert_eq!(told.count("/deliveries/gaps"), 0);
        assert!(told.stdout.contains("away, until all had come"), "{}", told.stdout);
    });
}

/// A storm cuts everybody off, everybody comes back, and nobody misses anything.
#[test]
fn all_come_back_from_a_storm() {
    side_by_side(TRANSPORTS, |transport| {
        let server = Honest::start(usize::MAX);
        let flags = ["--storm-every", "30%"];
        let told = resuming("storm", &flags, transport, server.address);
        told.assert_flawless(SUBSCRIBERS * PUBLICATIONS);
        for counter in ["/storms/cut", "/storms/came_back", "/connections/resumed"] {
            assert_eq!(told.count(counter), 3 * SUBSCRIBERS, "{counter}");
        }
        assert_eq!(told.count("/storms/number"), 3);
        assert!(told.stdout.contains("3, 180 cut off; 180 came back, the last after"));
    });
}

/// What the server does not keep it announces, and that is exactly what did not come.
#[test]
fn announced_gaps_are_no_faults() {
    let server = Honest::start(1);
    // Bursts overtake those who poll: of ten publications at once they find the last.
    let told = resuming("resume", &["--burst", "10"], "poll", server.address);
    told.assert_faults(&[]);
    let received = told.count("/deliveries/received");
    let skipped = told.count("/deliveries/skipped");
    assert!(told.count("/deliveries/gaps") > 0 && skipped > 0, "{told:?}");
    assert_eq!(received + skipped, SUBSCRIBERS * PUBLICATIONS);
    assert_eq!(told.count("/deliveries/expected"), received);
    assert_eq!(told.code, 0);
}

/// What is left out where a subscriber resumes was falsely said to be recovered, and no more than
/// that is found.
#[test]
fn what_is_left_out_at_a_seam_is_falsely_recovered() {
    side_by_side(["sse", "v1"], |transport| {
        let plan = Plan { at_seams: true, grace: 3, ..Plan::new(Fault::Drop, 2) };
        let (told, planted) = through_proxy(plan, transport);
        told.assert_faults(&[("/deliveries/false_recovered", planted)]);
        assert_eq!(told.count("/deliveries/received"), SUBSCRIBERS * PUBLICATIONS - planted);
        assert_named(&told, "is missing where all was said to be recovered");
        assert!(told.stdout.contains(&format!("failed: {planted} falsely recovered (")));
    });
}

/// What comes again where a subscriber resumes is repeated, and nothing else.
#[test]
fn what_comes_again_at_a_seam_is_repeated() {
    side_by_side(TRANSPORTS, |transport| {
        let plan = Plan { grace: 3, ..Plan::new(Fault::Rewind, 2) };
        let (told, planted) = through_proxy(plan, transport);
        told.assert_faults(&[("/deliveries/repeated", planted)]);
        assert_eq!(told.count("/deliveries/received"), SUBSCRIBERS * PUBLICATIONS);
        assert_named(&told, "came again to a subscriber that had resumed behind it");
        assert!(told.stdout.contains(&format!("failed: {planted} repeated (")));
    });
}

/// A run with a liar in between, and how often it lied.
fn through_proxy(plan: Plan, transport: &str) -> (Told, u64) {
    let server = Honest::start(usize::MAX);
    let proxy = FaultProxy::start(server.address, plan);
    let publish = format!("http://{}/publish/{{channel}}", server.address);
    let told = resuming("resume", &["--publish", &publish], transport, proxy.address);
    let planted = proxy.planted();
    assert!(planted > 3, "{planted} were planted");
    assert_eq!((told.code, told.count("/deliveries/expected")), (1, SUBSCRIBERS * PUBLICATIONS));
    (told, planted)
}

/// Every example names a publication and a subscriber, and says this of it.
#[track_caller]
fn assert_named(told: &Told, what: &str) {
    for (text, _) in told.failures("delivering") {
        let (which, found) = text.split_once(": ").expect("which publication, and what of it");
        assert_eq!(found, what);
        assert!(which.starts_with("publication ") && which.contains(" at subscriber "), "{text}");
    }
}

/// Runs a plan small, with two broadcasts after everybody has come back.
fn resuming(plan: &str, flags: &[&str], transport: &str, host: std::net::SocketAddr) -> Told {
    let (scheme, path) = match transport {
        "v1" => ("ws", "ws"),
        _ => ("http", transport),
    };
    let target = format!("{scheme}://{host}/{path}/{{channel}}");
    let publish = format!("http://{host}/publish/{{channel}}");
    let to = ["--plan", plan, "--transport", transport, "--target", &target, "--publish", &publish];
    let small = ["--active", "60", "--rate", "100", "--duration", "1s", "--ramp", "1000"];
    let end = ["--broadcasts", "2", "--broadcast-every", "300ms", "--threads", "1"];
    let churn: &[&str] = if plan == "resume" { &["--churn", "60"] } else { &[] };
    run(&[&to[..], &small, &end, churn, flags].concat())
}

const SUBSCRIBERS: u64 = 60;
/// A hundred at the rate and two broadcasts.
const PUBLICATIONS: u64 = 102;
