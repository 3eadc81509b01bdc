//! The command line as users meet it: what a run writes, and which exit code says what.

use std::{fs, net::TcpListener};

use serde_json::Value;

use crate::{
    run::{Scratch, Told, program, run},
    stentor::{Stentor, free_address, serve_at},
};

/// The command line of the manual, in small, makes a report that has everything promised.
#[test]
fn a_run_reports_what_was_promised() {
    let server = Spawned::new();
    let (html, hgrm) = (Scratch::new("html"), Scratch::new("hgrm"));
    let numbers = ["--idle", "90", "--active", "10", "--rate", "5", "--payload", "64"];
    let times = ["--ramp", "1000", "--duration", "2s", "--slo", "p99=30s,loss=0"];
    let files = ["--html", html.path(), "--hgrm", hgrm.path()];
    let told = run(&[&server.arguments(), &numbers[..], &times, &files].concat());
    told.assert_flawless(10 * 10);
    assert_types(&told.report);
    assert_eq!(told.report["slo"]["met"], true);
    assert_eq!(told.count("/connections/requested"), 100);
    assert!(told.count("/server/rss_bytes") > 1 << 20, "{told:?}");
    assert!(told.stdout.contains("\nobjectives met: p99=30s,loss=0\n"), "{}", told.stdout);
    assert!(told.stdout.ends_with("\nnothing lost: 100 of 100 deliveries\n"), "{}", told.stdout);

    let page = fs::read_to_string(&html.0).expect("the page is written");
    assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"));
    assert!(page.trim_end().ends_with("</html>"));
    assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (7, 7));
    let histogram = fs::read_to_string(&hgrm.0).expect("the histogram is written");
    assert!(
        histogram.contains("Percentile") && histogram.contains("Total count    =          100")
    );
}

/// A missed objective is told by name and by the exit code, which also says if the load tester
/// itself was what was slow.
#[test]
fn a_missed_objective_is_told() {
    let told = run_at(&Stentor::start(&[]), &["--duration", "1s", "--slo", "loss=0,p99=1us"]);
    let is_saturated = told.report["client"]["saturated"].as_bool().expect("a flag");
    assert_eq!(told.code, if is_saturated { 4 } else { 1 }, "{told:?}");
    assert_eq!(told.report["outcome"], "missed");
    assert_eq!(told.report["slo"]["met"], false);
    let failed = told.report["slo"]["failed"].as_array().expect("a list");
    let names: Vec<_> = failed.iter().map(|miss| &miss["objective"]).collect();
    assert_eq!(names, ["p99"]);
    assert!(told.stdout.contains("\nobjective missed: p99 was "), "{}", told.stdout);
    told.assert_faults(&[]);
}

/// Who asks wrongly is told what is wrong, and nothing is begun.
#[test]
fn wrong_usage_is_refused() {
    for (arguments, why) in [
        (&["run", "--plan", "nope"][..], "plan: "),
        (&["run", "--rate", "fast"], "--rate"),
        (&["run", "--slo", "p99"], "p99"),
        (&["run", "--pid", "1", "--spawn", "true"], "--spawn"),
        (&["fly"], "fly"),
    ] {
        let output = program().args(arguments).output().expect("the program can be started");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{told}");
        assert!(told.contains(why), "{told}");
    }
}

/// A dry run says what would be done, and starts nothing.
#[test]
fn a_dry_run_starts_nothing() {
    let trace = Scratch::new("trace");
    let spawn = format!("touch {}", trace.path());
    let arguments = ["run", "--plan", "ticker", "--dry-run", "--spawn", &spawn];
    let output = program().args(arguments).output().expect("the program can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(told.contains("ticker") && told.contains("10,000"), "{told}");
    assert!(!trace.0.exists());
}

/// A server that does not come up is told with its last words.
#[test]
fn a_server_that_ends_at_once_is_told_with_its_last_words() {
    let address = free_address();
    let target = format!("ws://{address}/ws/{{channel}}");
    let spawn = "sh -c 'echo no such backlog >&2; exit 7'";
    let told = run(&["--target", &target, "--publish", "http://127.0.0.1:9/", "--spawn", spawn]);
    assert_eq!((told.code, &told.stdout[..], &told.report), (3, "", &Value::Null));
    let why = "the server ended before it was ready (exit status: 7); it said:\nno such backlog\n";
    assert!(told.stderr.ends_with(why), "{}", told.stderr);
}

/// Another server at the address would be tested in place of the one that was to be started, and
/// pass: the run is refused, and nothing is started.
#[test]
fn a_server_whose_address_is_taken_is_not_started() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("it is bound");
    let target = format!("ws://{address}/ws/{{channel}}");
    let trace = Scratch::new("started");
    let spawn = format!("touch {}", trace.path());
    let told = run(&["--target", &target, "--publish", "http://127.0.0.1:9/", "--spawn", &spawn]);
    assert_eq!((told.code, &told.stdout[..], &told.report), (3, "", &Value::Null));
    let why = format!("somebody accepts at {address} already");
    assert!(told.stderr.contains(&why), "{}", told.stderr);
    assert!(!trace.0.exists());
}

/// Where nobody listens nothing can be run, and the report says why.
#[test]
fn a_server_that_is_not_there_is_told() {
    let address = free_address();
    let (target, publish) =
        (format!("ws://{address}/ws/{{channel}}"), format!("http://{address}/{{channel}}"));
    let told =
        run(&["--target", &target, "--publish", &publish, "--active", "5", "--duration", "100ms"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert_eq!((told.count("/connections/failed"), told.count("/connections/established")), (5, 0));
    let [(why, times)] = told.failures("connecting")[..] else { panic!("{told:?}") };
    assert!(why.starts_with("connect: Connection refused"), "{why}");
    assert_eq!(times, 5 * ATTEMPTS);
    assert!(told.stderr.contains("no subscriber could be connected"), "{}", told.stderr);
}

/// Handshakes that the server refuses are failed connections, told with its reason.
#[test]
fn refused_handshakes_are_counted_with_their_reason() {
    let server = Stentor::start(&[]);
    let target = format!("ws://{}/nowhere/{{channel}}", server.subscribers);
    let small = ["--active", "20", "--rate", "5", "--duration", "200ms"];
    let told = run(&[&["--target", &target, "--publish", &server.publish()], &small[..]].concat());
    told.assert_faults(&[("/connections/failed", 20)]);
    let [(why, times)] = told.failures("connecting")[..] else { panic!("{told:?}") };
    assert!(why.starts_with("the server refused with status 404: "), "{why}");
    assert_eq!((told.code, times), (3, 20 * ATTEMPTS));
}

/// What the server does not take is nobody's due.
#[test]
fn refused_publications_are_not_expected() {
    let server = Stentor::start(&[]);
    let (target, publish) = (target(&server), format!("http://{}/nowhere", server.control));
    let small = ["--active", "20", "--rate", "10", "--duration", "1s"];
    let told = run(&[&["--target", &target, "--publish", &publish], &small[..]].concat());
    told.assert_faults(&[("/publications/failed", 10)]);
    assert_eq!((told.count("/publications/due"), told.count("/publications/published")), (10, 0));
    assert_eq!((told.count("/deliveries/expected"), told.count("/deliveries/received")), (0, 0));
    assert_eq!(told.failures("publishing"), [("refused: HTTP 404 Not Found", 10)]);
    assert_eq!(told.code, 1);
}

/// A server that runs already is watched by its process id.
#[test]
fn a_running_server_is_watched() {
    let server = Stentor::start(&[]);
    let pid = server.pid().to_string();
    let told = run_at(&server, &["--duration", "2s", "--pid", &pid]);
    told.assert_flawless(20 * 20);
    assert!(told.count("/server/rss_bytes") > 1 << 20);
    assert!(told.report["server"]["cpu_seconds"].as_f64().expect("a number") > 0.0);
    let unwatched = run_at(&server, &["--duration", "200ms"]);
    assert_eq!(unwatched.report["server"], Value::Null);
    assert!(unwatched.stdout.contains("was not watched"));
}

/// Runs twenty subscribers at a server, with ten publications a second unless told otherwise.
fn run_at(server: &Stentor, flags: &[&str]) -> Told {
    let small = ["--active", "20", "--rate", "10"];
    let places = ["--target", &target(server), "--publish", &server.publish()];
    run(&[&places, &small[..], flags].concat())
}

fn target(server: &Stentor) -> String {
    format!("ws://{}/ws/{{channel}}", server.subscribers)
}

/// Every field that programs rely on is there, as a number where it is one.
#[track_caller]
fn assert_types(report: &Value) {
    for (block, fields) in NUMBERS {
        for field in *fields {
            assert!(report[block][field].is_number(), "{block}.{field}: {report}");
        }
    }
    for (block, field) in [("server", "saturated"), ("client", "saturated"), ("slo", "met")] {
        assert!(report[block][field].is_boolean(), "{block}.{field}: {report}");
    }
    assert_eq!(report["slo"]["failed"], Value::Array(vec![]));
    for percentile in PERCENTILES {
        let [reading, latency] =
            ["reading_ms", "latency_ms"].map(|block| report[block][percentile].as_f64());
        assert!(reading <= latency, "{percentile}: reading is a part of the latency: {report}");
    }
}

/// The numbers of a report, which are never renamed.
const NUMBERS: &[(&str, &[&str])] = &[
    ("connections", &["requested", "established", "failed", "ramp_seconds"]),
    ("publications", &["due", "published", "failed"]),
    (
        "deliveries",
        &["expected", "received", "lost", "duplicated", "reordered", "corrupt", "per_second"],
    ),
    ("latency_ms", PERCENTILES),
    ("reading_ms", PERCENTILES),
    ("spread_ms", &["p50", "max"]),
    (
        "server",
        &[
            "cpu_seconds",
            "cpu_us_per_delivery",
            "rss_bytes",
            "rss_bytes_per_connection",
            "kernel_bytes_per_connection",
        ],
    ),
    ("client", &["cpu_seconds"]),
];

const PERCENTILES: &[&str] = &["p50", "p90", "p99", "p999", "max"];

/// Attempts to connect a subscriber before it is given up.
const ATTEMPTS: u64 = 5;

/// Addresses for a server that the load tester starts.
pub struct Spawned {
    target: String,
    publish: String,
    command: String,
}

impl Spawned {
    /// Addresses that no other test has.
    pub fn new() -> Spawned {
        let (subscribers, control) = (free_address(), free_address());
        Spawned {
            target: format!("ws://{subscribers}/ws/{{channel}}"),
            publish: format!("http://{control}/publish/{{channel}}"),
            command: serve_at(subscribers, control),
        }
    }

    /// What starts it and leads there.
    pub fn arguments(&self) -> [&str; 6] {
        let Spawned { target, publish, command } = self;
        ["--target", target, "--publish", publish, "--spawn", command]
    }
}
