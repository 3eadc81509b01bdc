//! Subscribers that come back and ask for what they have missed, by each transport that can.
//!
//! Method: everybody is there before the first publication and comes back before the last, so that
//! each is owed each, whoever left when. One server says what it does ([`Honest`]), a proxy makes it a
//! liar in known places, and then it is the real one's turn.

use std::net::SocketAddr;

use crate::{
    honest::Honest,
    run::{Told, run, side_by_side},
    stentor::Stentor,
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
        let flags = ["--storm-every", "50%"];
        let told = resuming("storm", &flags, transport, server.address);
        told.assert_flawless(SUBSCRIBERS * PUBLICATIONS);
        for counter in ["/storms/cut", "/storms/came_back", "/connections/resumed"] {
            assert_eq!(told.count(counter), SUBSCRIBERS, "{counter}");
        }
        assert_eq!(told.count("/storms/number"), 1);
        assert!(told.stdout.contains("1, 60 cut off; 60 came back, the last after"));
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
        assert_eq!(planted, (SUBSCRIBERS - 3).div_ceil(2));
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

/// With a history that is long enough the real server recovers everything, by each transport, from
/// churn and from storms.
#[test]
fn the_server_recovers_what_it_keeps() {
    let by = |plan| TRANSPORTS.map(|transport| (plan, transport));
    for cases in [by("resume"), by("storm")] {
        side_by_side(cases, |(plan, transport)| {
            let server = Stentor::start(&["--channels", "* history=100000"]);
            let told = resuming_at(&server, plan, &[], transport);
            told.assert_flawless(SUBSCRIBERS * PUBLICATIONS);
            assert!(told.count("/connections/resumed") > 0);
            assert_eq!(told.count("/deliveries/gaps"), 0);
        });
    }
}

/// Where its history is too short the real server announces what is missing, and nothing else.
#[test]
fn the_server_announces_what_it_has_lost() {
    side_by_side(TRANSPORTS, |transport| {
        let server = Stentor::start(&["--channels", "* history=1"]);
        let told = resuming_at(&server, "storm", &["--burst", "50"], transport);
        told.assert_faults(&[]);
        let received = told.count("/deliveries/received");
        let skipped = told.count("/deliveries/skipped");
        assert_eq!(received + skipped, SUBSCRIBERS * PUBLICATIONS);
        assert_eq!((told.code, told.count("/deliveries/expected")), (0, received));
    });
}

/// Readers who are too slow are told what they skip, where the channel's policy is to skip.
#[test]
fn the_server_tells_slow_readers_what_they_skip() {
    side_by_side(["sse", "v1"], |transport| {
        let server = Stentor::start(&["--channels", "* history=10 slow=skip", "--lag-max", "1MiB"]);
        let flags = ["--active", "20", "--rate", "500", "--payload", "8192", "--duration", "2s"];
        let slow = ["--slow-share", "50%", "--slow-rate", "1MB", "--settle", "2s"];
        let told = run_at(&server, "slow-readers", &[&flags[..], &slow].concat(), transport);
        told.assert_faults(&[]);
        assert_eq!((told.code, told.count("/deliveries/slow_closes")), (0, 0));
        assert!(told.count("/deliveries/gaps") > 0 && told.count("/deliveries/skipped") > 0);
    });
}

/// A run with a liar in between, and how often it lied. Everybody comes back once, so that what it
/// lies about is not asked for again.
fn through_proxy(plan: Plan, transport: &str) -> (Told, u64) {
    let server = Honest::start(usize::MAX);
    let proxy = FaultProxy::start(server.address, plan);
    let publish = format!("http://{}/publish/{{channel}}", server.address);
    let flags = ["--publish", &publish, "--storm-every", "50%"];
    let told = resuming("storm", &flags, transport, proxy.address);
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
fn resuming(plan: &str, flags: &[&str], transport: &str, host: SocketAddr) -> Told {
    let publish = format!("http://{host}/publish/{{channel}}");
    let churn = if plan == "resume" { ["--churn", "60"] } else { ["--churn", "0"] };
    let to = ["--plan", plan, "--transport", transport, "--publish", &publish];
    run(&[&to[..], &["--target", &target(host, transport)], &SMALL, &churn, flags].concat())
}

/// The same at the real server.
fn resuming_at(server: &Stentor, plan: &str, flags: &[&str], transport: &str) -> Told {
    let publish = server.publish();
    let flags = [&["--publish", &publish[..]], flags].concat();
    resuming(plan, &flags, transport, server.subscribers)
}

/// Runs a plan with these flags at the real server.
fn run_at(server: &Stentor, plan: &str, flags: &[&str], transport: &str) -> Told {
    let (target, publish) = (target(server.subscribers, transport), server.publish());
    let to = ["--plan", plan, "--transport", transport, "--target", &target, "--publish", &publish];
    run(&[&to[..], flags].concat())
}

/// Where to subscribe, as `--target` has it.
fn target(host: SocketAddr, transport: &str) -> String {
    let (scheme, path) = match transport {
        "v1" => ("ws", "ws"),
        _ => ("http", transport),
    };
    format!("{scheme}://{host}/{path}/{{channel}}")
}

#[rustfmt::skip]
const SMALL: [&str; 14] = [
    "--active", "60", "--rate", "100", "--duration", "1s", "--ramp", "1000",
    "--broadcasts", "2", "--broadcast-every", "300ms", "--threads", "1",
];
const SUBSCRIBERS: u64 = 60;
/// A hundred at the rate and two broadcasts.
const PUBLICATIONS: u64 = 102;
