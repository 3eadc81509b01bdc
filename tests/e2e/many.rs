//! More connections than the process may have files: io_uring needs none, epoll says so.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Io, Kind, Publisher, Server, Subscriber, refused_start, stentor, through};

/// A server that may have 300 open files holds thousands of connections, over several rings per
/// shard, and each of them receives a broadcast.
#[test]
fn io_uring_holds_more_connections_than_files() {
    let files = raise_files();
    let wanted = files.saturating_sub(500).min(5000) as usize;
    assert!(wanted >= 1000, "this test needs 1500 open files for itself, and may have {files}");
    let connections = wanted.to_string();
    let flags = ["--io", "uring", "--shards", "2", "--max-connections", &connections];
    let server = Server::launch(&mut few_files(&stentor(&flags)));
    assert!(server.stdout().contains("300 open files"), "{}", server.stdout());
    assert!(server.stdout().contains(" rings "), "{}", server.stdout());
    expect_broadcast(&server, wanted);
    server.stop();
}

/// epoll holds as many as there are files to be had, each of which receives a broadcast.
#[test]
fn epoll_holds_thousands() {
    let files = raise_files();
    let wanted = files.saturating_sub(500).min(3000) as usize;
    let server = Server::start(Io::Epoll, &["--max-connections", &wanted.to_string()]);
    expect_broadcast(&server, wanted);
    server.stop();
}

/// epoll refuses at the start what it could not hold, with the numbers and what to type.
#[test]
fn epoll_refuses_more_connections_than_files() {
    let flags = ["--io", "epoll", "--max-connections", "5000"];
    let told = refused_start(&mut few_files(&stentor(&flags)));
    assert_eq!(
        told,
        "stentor: --io epoll holds 100 connections here, 200 less than the limit of open files, \
         and --max-connections asks for 5000; raise the limit (ulimit -n 5200; LimitNOFILE=5200), \
         or use --io uring, which does not need it\n"
    );
}

/// Fills the server, broadcasts, and sees it arrive everywhere; then one more is one too many.
#[track_caller]
fn expect_broadcast(server: &Server, connections: usize) {
    let mut subscribers: Vec<Subscriber> = (0..connections)
        .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "all"))
        .collect();
    let refused = Subscriber::ask(server.subscribers, Kind::Sse, "all").wire.answer();
    assert_eq!(refused.head.status, 503);
    let mut publisher = Publisher::of(server);
    for payload in [b"to each", b"of them"] {
        assert_eq!(publisher.publish("all", payload).1, connections as u64);
    }
    for (index, subscriber) in subscribers.iter_mut().enumerate() {
        assert_eq!(subscriber.publication(), b"to each", "{index}");
        assert_eq!(subscriber.publication(), b"of them", "{index}");
    }
    server.await_stat("/connections/total", connections as u64);
}

/// Open files that this process may have, raised as far as it goes.
fn raise_files() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("up to the hard limit");
    maximum.unwrap_or(u64::MAX)
}

/// The program with 300 open files and no more.
fn few_files(program: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 300 && exec \"$0\" \"$@\""]);
    through(shell, program)
}
