//! The control API against its own document, and the commands that use it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Command,
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Folder, Io, Kind, Publisher, Received, Running, Server, Subscriber, Talk, ask, python, stentor,
    tool, tools,
};

on_both_kernels!(who_is_connected_is_told_and_closed);

/// Whatever fits the document is answered as it says, and whatever does not is refused as it says:
/// schemathesis makes both, from a fixed seed, with all of its checks.
#[test]
fn the_document_holds() {
    let flags = ["--shards", "2", "--channels", "* history=10 presence=true"];
    let server = Server::start(Io::Epoll, &flags);
    let mut publisher = Publisher::of(&server);
    for channel in ["news", "room.1", "room.2"] {
        publisher.publish(channel, b"x");
    }
    let mut talk = Talk::open(server.subscribers, "");
    talk.subscribe("news", &json!({}));
    let mut command = Command::new(tool("STENTOR_TEST_SCHEMATHESIS", ".venv/bin/schemathesis"));
    // It leaves a cache where it runs.
    let folder = Folder::new("schemathesis");
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/python");
    command.current_dir(folder.path()).env("SCHEMATHESIS_HOOKS", "ndjson").env("PYTHONPATH", hooks);
    command.args(["run", "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"]);
    command.args(["--seed", "1", "--max-examples", "10", "--generation-deterministic"]);
    command.args(["--no-color", "--continue-on-failure"]);
    // It would end what the rest is asked of.
    command.args(["--exclude-path", "/v1/drain"]);
    command.arg(format!("http://{}/v1/openapi.json", server.control));
    let ended = Running::start(&mut command).end();
    let told = [ended.stdout, ended.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    assert!(ended.status.success(), "{}{}", told[0], told[1]);
    server.stop();
}

/// Connections of every transport are listed, found by what they read, shown, and closed with the code
/// that was asked for; a closed one is gone, and the others read on.
fn who_is_connected_is_told_and_closed(io: Io) {
    let server = Server::start(io, &["--shards", "2"]);
    let mut plain = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "news"));
    let mut talk = Talk::open(server.subscribers, "");
    for channel in ["news", "room.1", "room.2", "room.3"] {
        talk.subscribe(channel, &json!({}));
    }
    let list = server.shown("/v1/connections");
    let transports = json!({ "handshake": 0, "websocket": 1, "stentor.v1": 1, "sse": 1, "poll": 0, "closing": 0 });
    assert_eq!((&list["total"], &list["transports"]), (&json!(3), &transports));
    let shards = list["shards"].as_array().unwrap().iter();
    assert_eq!(shards.map(|it| it.as_u64().unwrap()).sum::<u64>(), 3);
    let found = |query: &str| -> Vec<Value> {
        let list = server.shown(&format!("/v1/connections?{query}"));
        assert_eq!(list["next"], Value::Null);
        list["connections"].as_array().unwrap().clone()
    };
    assert_eq!(found("address=127.0.0.1").len(), 3);
    assert_eq!(found("address=192.0.2.1").len(), 0);
    assert_eq!(found("channel=news").len(), 3);
    let [several] = &found("channel=room.2")[..] else { panic!("one reads room.2") };
    assert_eq!(
        (&several["transport"], &several["subscriptions"]),
        (&json!("stentor.v1"), &json!(4))
    );
    let id = several["id"].as_str().unwrap();
    let whole = server.shown(&format!("/v1/connections/{id}"));
    let channels = whole["channels"].as_array().unwrap().iter().map(|it| &it["channel"]);
    assert_eq!(channels.collect::<Vec<_>>(), ["news", "room.1", "room.2", "room.3"]);
    let [websocket] = &found("transport=websocket")[..] else { panic!("one is a WebSocket") };
    let id = websocket["id"].as_str().unwrap();
    let told = run(&server, &["connections", id, "--close=reconnect", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["id"], &told["closed"]), (&json!(id), &json!("asked to reconnect")));
    assert_eq!(plain[0].next(), Received::Close(1012, "asked to reconnect".into()));
    server.await_stat("/connections/total", 2);
    let gone = ask(
        server.control,
        &format!("DELETE /v1/connections/{id} HTTP/1.1\r\nHost: localhost\r\n"),
    );
    assert_eq!(gone.head.status, 404);
    let mut publisher = Publisher::of(&server);
    publisher.publish("news", b"on");
    assert_eq!(plain[1].publication(), b"on");
    assert_eq!(talk.hear()["data"], "on");
    server.stop();
}

/// The commands show tables to people and JSON to programs, and say what is wrong in the server's words.
#[test]
fn the_commands_show_what_is_there() {
    let server = Server::start(Io::Epoll, &["--channels", "news history=10; * history=0"]);
    let mut publisher = Publisher::of(&server);
    let position = publisher.publish("news", b"hello").0;
    let mut reader = Subscriber::join(server.subscribers, Kind::BOTH[1], "room.1");
    let told = run(&server, &["channels", "--table"]);
    let lines: Vec<Vec<&str>> =
        told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["CHANNEL", "SUBSCRIBERS", "POSITION", "KEPT", "BYTES", "PATTERN"]);
    assert_eq!(lines[1], ["news", "0", &position, "1", "5", "B", "news"]);
    assert_eq!((lines[2][0], lines[2][1], lines.len()), ("room.1", "1", 3));
    let list: Value = serde_json::from_str(&run(&server, &["channels", "--limit", "1"])).unwrap();
    assert_eq!((&list["channels"][0]["channel"], &list["next"]), (&json!("news"), &json!("news")));
    let told = run(&server, &["channels", "news", "--table"]);
    assert!(told.contains("\nkept          1, 5 B\n") && told.contains("slow: close"), "{told}");
    let told = run(&server, &["connections", "--table", "--transport", "sse"]);
    assert!(told.lines().nth(1).is_some_and(|line| line.ends_with("room.1")), "{told}");
    assert!(told.contains("in all: 1 (1 sse); by shard: "), "{told}");
    let told = run(&server, &["connections", "--by-address", "--table"]);
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    assert_eq!(lines, ["CONNECTIONS  ADDRESS", "1  127.0.0.1"]);
    let told = run(&server, &["limits", "--table"]);
    let row = told.lines().find(|line| line.starts_with("max-connections  ")).expect("a row");
    assert!(!row.contains("auto"), "the number that holds: {row}");
    assert!(run(&server, &["inputs", "--table"]).starts_with("NAME"));
    for (arguments, code, words) in [
        (&["channels", "nobody"][..], 1, "404 Not Found: nobody reads nobody"),
        (&["channels", "a b"], 2, "channel: 'a b'"),
        (&["connections", "9-9-9"], 1, "there is no connection 9-9-9"),
        (&["connections", "--close"], 2, "required"),
        (&["connections", "--transport", "tcp"], 1, "one of handshake, websocket"),
    ] {
        let ended = Running::start(&mut command(&server, arguments)).end();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    server.signal(Signal::TERM);
    assert_eq!(reader.next(), Received::End);
    let control = format!("http://{}", server.control);
    server.expect_clean_end();
    let mut alone = stentor(&["channels", "--url", &control]);
    let ended = Running::start(&mut alone).end();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && told.contains("stentor serve"), "{told}");
}

/// One view for scripts: it is of this server, and names what is read.
#[test]
fn top_shows_one_view() {
    let server = Server::start(Io::Epoll, &[]);
    let mut readers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "news"));
    let mut publisher = Publisher::of(&server);
    publisher.publish("news", b"hello");
    readers.iter_mut().for_each(|reader| assert_eq!(reader.publication(), b"hello"));
    let told = run(&server, &["top", "--once", "--interval", "0.1", "--sort", "name"]);
    let lines: Vec<&str> = told.lines().collect();
    let version = concat!("Stentor ", env!("CARGO_PKG_VERSION"), ", up ");
    assert!(lines[0].starts_with(version), "{told}");
    assert!(lines[1].starts_with("2 connections (1 websocket, 1 sse, 0 json, 0 other)"), "{told}");
    let shards: Vec<&str> =
        lines[5..7].iter().filter_map(|it| it.split_whitespace().next()).collect();
    assert_eq!(shards, ["0", "1"], "{told}");
    let channel: Vec<&str> = lines[9].split_whitespace().collect();
    assert_eq!((channel[0], channel[3]), ("2", "news"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
    let ended = Running::start(&mut command(&server, &["top"])).end();
    let why = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(2) && why.contains("--once"), "{why}");
    server.stop();
}

/// On a terminal it takes the screen, follows keys and sizes, and gives the screen back.
#[test]
fn top_lives_on_a_terminal() {
    let server = Server::start(Io::Epoll, &[]);
    let mut reader = Subscriber::join(server.subscribers, Kind::BOTH[0], "news");
    let mut top = python("top.py");
    top.arg(env!("CARGO_BIN_EXE_stentor")).arg(format!("http://{}", server.control));
    let told: Value = serde_json::from_str(&tools::run(&mut top)).expect("JSON");
    assert_eq!(told["code"], 0);
    assert_eq!(told["entered"], true, "{told}");
    assert_eq!(told["left"], true, "{told}");
    assert_eq!(told["sorted"], true, "{told}");
    assert_eq!(told["restored"], true, "{told}");
    assert!(told["widest"].as_u64().unwrap() <= 40, "{told}");
    assert!(told["lines"].as_u64().unwrap() <= 12, "{told}");
    server.signal(Signal::TERM);
    assert!(matches!(reader.next(), Received::Close(..)));
    server.expect_clean_end();
}

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = stentor(arguments);
    command.env("STENTOR_CONTROL_URL", format!("http://{}", server.control));
    command
}

/// What a command prints that succeeds.
#[track_caller]
fn run(server: &Server, arguments: &[&str]) -> String {
    let ended = Running::start(&mut command(server, arguments)).end();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{arguments:?}: {told}");
    String::from_utf8(ended.stdout).unwrap()
}

/// The log's level is shown and set, settings are read again and a wrong file changes nothing, and a
/// drain ends the server.
#[test]
fn orders_are_obeyed() {
    let folder = Folder::new("orders");
    let file = folder.path().join("stentor.toml");
    std::fs::write(&file, "stall-timeout = \"30s\"\n").unwrap();
    let server = Server::start(Io::Epoll, &["--config", file.to_str().unwrap()]);
    let mut reader = Subscriber::join(server.subscribers, Kind::BOTH[0], "news");
    let told = run(&server, &["log-level", "debug", "--table"]);
    assert!(told.starts_with("debug (was "), "{told}");
    assert_eq!(run(&server, &["log-level", "--table"]), "debug\n");
    assert_eq!(run(&server, &["reload", "--table"]).lines().count(), 1, "the log is as it was set");
    std::fs::write(&file, "stall-timeout = \"20s\"\n").unwrap();
    let told = run(&server, &["reload", "--table"]);
    assert_eq!(told, "stall-timeout: is now '20s', was '30s'\n");
    std::fs::write(&file, "stall-timeout = \"long\"\n").unwrap();
    let ended = Running::start(&mut command(&server, &["reload"])).end();
    let why = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{why}");
    assert!(why.contains("422") && why.contains("stall-timeout"), "{why}");
    let told = run(&server, &["drain", "--window", "0", "--table", "--no-wait"]);
    assert_eq!(told, "draining 1 connections over 0 s; then it ends\n");
    assert!(matches!(reader.next(), Received::Close(1012, _)));
    server.expect_clean_end();
}

/// `stentor drain` tells how many are left, and returns when the server has ended.
#[test]
fn a_drain_is_followed_to_its_end() {
    let server = Server::start(Io::Epoll, &[]);
    let mut readers: Vec<Subscriber> =
        (0..3).map(|_| Subscriber::join(server.subscribers, Kind::WebSocket, "news")).collect();
    let mut drain = Running::start(&mut command(&server, &["drain", "--window", "1", "--table"]));
    for reader in &mut readers {
        assert!(matches!(reader.next(), Received::Close(1012, _)));
    }
    drop(readers);
    server.expect_clean_end();
    let ended = drain.end();
    let told = [ended.stdout, ended.stderr].map(|told| String::from_utf8(told).unwrap());
    assert_eq!(ended.status.code(), Some(0), "{told:?}");
    assert_eq!(told[0], "draining 3 connections over 1 s; then it ends\n");
    let lines: Vec<&str> = told[1].lines().collect();
    let (last, left) = lines.split_last().expect("at least one line");
    assert!(last.starts_with("it has ended after "), "{told:?}");
    assert!(left.iter().all(|line| line.contains(" connections left, ")), "{told:?}");
}

/// Who follows a drain orders nothing more: a server that was started in the place of the drained one is
/// left alone.
#[test]
fn a_drain_is_not_followed_into_the_next_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = [
        r#"{"already":false,"window_ms":1000,"connections":2}"#,
        r#"{"draining":true,"connections":{"total":1}}"#,
        r#"{"draining":false,"connections":{"total":7}}"#,
    ];
    let server = thread::spawn(move || {
        answers.map(|answer| {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let head: Vec<String> = stream
                .by_ref()
                .lines()
                .map(Result::unwrap)
                .take_while(|it| !it.is_empty())
                .collect();
            let len = answer.len();
            write!(
                stream.get_mut(),
                "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{answer}"
            )
            .unwrap();
            head[0].clone()
        })
    });
    let ended = Running::start(&mut stentor(&["drain", "--table", "--url", &url])).end();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{told}");
    assert!(told.contains("1 connections left"), "{told}");
    assert!(told.contains("another server answers in its place"), "{told}");
    let asked = ["POST /v1/drain", "GET /v1/stats", "GET /v1/stats"];
    assert_eq!(server.join().unwrap(), asked.map(|it| format!("{it} HTTP/1.1")));
}
