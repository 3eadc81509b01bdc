//! Runs that do not go as planned to their end: interrupted, left by the server, never answered.

use std::{
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use stentor::io::probe::raise_nofile;

use crate::{
    cli::Spawned,
    run::{DEADLINE, Run, lives, signal_to},
};

/// An interrupted run reports what was so far, says by its exit code that this is not all, and ends
/// the server that it has started.
#[test]
fn an_interrupted_run_reports_what_was_so_far() {
    let stentor = Spawned::new();
    let mut run = start(&stentor, &["--duration", "10m"]);
    run.await_log("publishing");
    let (server, children) = (run.server(), run.children());
    run.signal(Signal::INT);
    let told = run.wait();
    assert_eq!((told.code, told.report["outcome"].as_str()), (3, Some("interrupted")), "{told:?}");
    told.assert_faults(&[]);
    let received = told.count("/deliveries/received");
    assert_eq!(told.count("/deliveries/expected"), received);
    assert_eq!(received, 50 * told.count("/publications/published"));
    assert_eq!(told.count("/connections/established"), 50);
    assert!(told.stdout.contains("\ninterrupted; nothing lost until then: "), "{}", told.stdout);
    assert!(told.stderr.contains("interrupted; the report says what was so far"));
    assert!(!lives(server), "the server was left running");
    assert!(!children.into_iter().any(lives), "its guard was left running");
}

/// A run that is killed, and can end nothing itself, leaves nothing running.
#[test]
fn a_killed_run_leaves_no_server() {
    let stentor = Spawned::new();
    let mut run = start(&stentor, &["--duration", "10m"]);
    run.await_log("publishing");
    let children = run.children();
    run.signal(Signal::KILL);
    let deadline = Instant::now() + DEADLINE;
    while children.iter().any(|&child| lives(child)) {
        assert!(Instant::now() < deadline, "something of {children:?} was left running");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server that is killed has closed every connection, and the run still ends.
#[test]
fn a_killed_server_has_closed_everything() {
    let server = Spawned::new();
    let mut run = start(&server, &["--duration", "2s", "--settle", "100ms"]);
    run.await_log("publishing");
    signal_to(run.server(), Signal::KILL);
    let told = run.wait();
    assert_eq!((told.code, told.count("/connections/established")), (1, 50), "{told:?}");
    assert_eq!(told.count("/deliveries/unexpected_closes"), 50, "{told:?}");
    assert_eq!(told.count("/connections/failed"), 50, "nobody has come back");
    let why = ("did not come back before the run was over", 50);
    assert!(told.failures("connecting").contains(&why), "{told:?}");
    let due = told.count("/publications/due");
    let published = told.count("/publications/published");
    assert_eq!((due, told.count("/publications/failed")), (20, 20 - published));
    assert_eq!(told.count("/deliveries/lost"), 0, "those who are gone are owed nothing");
}

/// A ramp has no more than so many connections under way in each thread, and an interrupt ends it:
/// those that were not begun have not failed.
///
/// Method: a server that accepts and never answers.
#[test]
fn connections_under_way_are_bounded() {
    raise_nofile().expect("more files can be had");
    let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    server.set_nonblocking(true).expect("it can be asked");
    let address = server.local_addr().expect("it is bound");
    let target = format!("ws://{address}/{{channel}}");
    let run = Run::start(
        &[
            &["--target", &target, "--publish", "http://127.0.0.1:9/"][..],
            &["--active", "3000", "--ramp", "100000", "--threads", "1", "--ignore-limits"],
        ]
        .concat(),
    );
    let (mut held, deadline) = (Vec::new(), Instant::now() + DEADLINE);
    while held.len() < AT_ONCE {
        accept(&server, &mut held);
        assert!(Instant::now() < deadline, "{} of {AT_ONCE} have come", held.len());
    }
    let enough = Instant::now() + Duration::from_millis(300);
    while Instant::now() < enough {
        accept(&server, &mut held);
    }
    assert_eq!(held.len(), AT_ONCE);
    run.signal(Signal::TERM);
    let told = run.wait();
    assert_eq!((told.code, told.report["outcome"].as_str()), (3, Some("interrupted")), "{told:?}");
    assert_eq!(told.count("/connections/requested"), 3000);
    told.assert_faults(&[]);
}

/// Fifty subscribers of a server of the run's own, and ten publications a second.
fn start(server: &Spawned, flags: &[&str]) -> Run {
    Run::start(&[&server.arguments()[..], &["--active", "50", "--rate", "10"], flags].concat())
}

/// Takes whoever has come, after a moment.
fn accept(server: &TcpListener, held: &mut Vec<TcpStream>) {
    thread::sleep(Duration::from_millis(5));
    held.extend(server.incoming().map_while(Result::ok));
}

/// Connections of a thread that may be under way.
const AT_ONCE: usize = 1024;
