//! What a user can do: run it, subscribe with what is at hand, publish, and look at the page.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tungstenite::{Message, stream::MaybeTlsStream};

use crate::support::{
    Io, Kind, Publisher, Received, Running, Server, Subscriber, behind_hint, browser, python, run,
    stentor,
};

on_both_kernels!(every_client_receives_what_is_published, lines_are_published_in_order);

/// curl, a browser's `WebSocket` and `EventSource`, Python's `websockets`, tungstenite and
/// `stentor subscribe` all receive what curl and `stentor publish` send, exactly and in order. The
/// answer to the publisher has the position, the same that event streams show, and the number of
/// subscribers.
fn every_client_receives_what_is_published(io: Io) {
    let server = Server::start(io, &[]);
    let (subscribers, control) = (server.subscribers, server.control);
    let mut curl = Running::start(Command::new("curl").args(["-sN", &sse_url(&server, "news")]));
    let mut cli = Running::start(&mut subscribe(&server, "news", 2));
    let url = format!("ws://{subscribers}/ws/news");
    let mut websockets = Running::start(python("subscribe.py").args([&url, "2"]));
    let mut chromium = Running::start(browser("clients.mjs").args([
        &format!("http://{control}/"),
        &subscribers.to_string(),
        "news",
        "2",
    ]));
    let (mut tungstenite, _) = tungstenite::connect(&url).expect("a WebSocket");
    server.await_stat("/connections/websocket", 3);
    server.await_stat("/connections/json", 1);
    server.await_stat("/connections/sse", 2);

    let first = run(Command::new("curl").args(["-sS", "-d", "hello", &publish_url(&server)]));
    let control_url = format!("http://{control}");
    let second = "Grüße an alle";
    let second_told = run(&mut stentor(&["publish", "news", second, "--url", &control_url]));
    let positions = [&first, &second_told].map(|told| {
        let told: Value = serde_json::from_str(told).expect("JSON");
        assert_eq!((&told["channel"], &told["subscribers"]), (&json!("news"), &json!(6)));
        told["position"].as_str().expect("a position").to_owned()
    });
    assert!(positions[0].contains('-') && positions[0] != positions[1]);

    let texts = ["hello", second];
    for text in texts {
        assert_eq!(tungstenite.read().unwrap(), Message::text(text));
    }
    let MaybeTlsStream::Plain(stream) = tungstenite.get_ref() else { panic!("no TLS here") };
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    let told = cli.end();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), format!("hello\n{second}\n"));
    assert_eq!(told.status.code(), Some(0));
    let received: Value = serde_json::from_slice(&websockets.end().stdout).expect("JSON");
    assert_eq!(received, json!(texts));
    let chromium = chromium.end();
    let complaint = String::from_utf8_lossy(&chromium.stderr).into_owned();
    let received: Value = serde_json::from_slice(&chromium.stdout).expect(&complaint);
    let events = json!([[positions[0], texts[0]], [positions[1], texts[1]]]);
    assert_eq!(received, json!({ "webSocket": texts, "eventSource": events }));
    server.stop();
    let shown = String::from_utf8(curl.end().stdout).unwrap();
    let event = |index: usize| format!("id: {}\ndata: {}\n\n", positions[index], texts[index]);
    let (first, events) = shown.split_once("\n\n").expect("a first block");
    assert!(behind_hint(first).starts_with("id: "), "{first}");
    assert_eq!(events, [event(0), event(1)].concat());
}

/// `stentor publish --lines` publishes every line of its input, in order, and says how many.
fn lines_are_published_in_order(io: Io) {
    const LINES: usize = 5000;
    let server = Server::start(io, &[]);
    let mut readers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "lines"));
    let path = std::env::temp_dir().join(format!("stentor-lines-{}-{io:?}", std::process::id()));
    let text: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
    std::fs::write(&path, text).unwrap();
    let input = std::fs::File::open(&path).unwrap();
    let url = format!("http://{}", server.control);
    let mut command = stentor(&["publish", "--lines", "lines", "--url", &url]);
    let told = command.stdin(Stdio::from(input)).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(told["published"], LINES);
    let mut ends = (String::new(), String::new());
    for reader in &mut readers {
        for line in 0..LINES {
            let Received::Publication { payload, position } = reader.next() else { panic!() };
            assert_eq!(String::from_utf8(payload).unwrap(), format!("line {line}"));
            if let Some(position) = position {
                if line == 0 {
                    ends.0.clone_from(&position);
                }
                ends.1 = position;
            }
        }
    }
    assert_eq!((&told["first"], &told["last"]), (&json!(ends.0), &json!(ends.1)));
    server.stop();
}

/// The start-up message names what it listens on, the engine, shards, tables and limits, and three
/// commands that work as they stand there.
#[test]
fn the_banner_tells_what_works() {
    let server = Server::start(Io::Uring, &["--shards", "2", "--max-connections", "1234"]);
    let banner = server.stdout();
    for word in ["io_uring: OK, kernel ", "ring", "shards       2, ", "1234 connections", "slots"] {
        assert!(banner.contains(word), "{word} is not in {banner}");
    }
    let (_, tries) = banner.split_once("Try:\n").expect("commands to try");
    let commands: Vec<Vec<&str>> =
        tries.lines().map(|line| line.split_whitespace().collect()).collect();
    let [[curl, listen @ ..], [_, publish @ ..], [program, subscribe @ ..]] =
        [commands[0].as_slice(), commands[1].as_slice(), commands[2].as_slice()]
    else {
        panic!("{tries}");
    };
    assert_eq!((*curl, *program), ("curl", "stentor"));
    let _listening = Running::start(Command::new("curl").arg("-s").args(listen));
    let mut subscribing = Running::start(stentor(subscribe).args(["--count", "1"]));
    server.await_stat("/connections/sse", 1);
    server.await_stat("/connections/json", 1);
    let told = run(Command::new("curl").arg("-sS").args(publish));
    assert!(told.contains("\"subscribers\":2"), "{told}");
    assert_eq!(subscribing.end().stdout, b"hello\n");
    server.stop();
}

/// `stentor subscribe` goes on where it was: with what is kept since a position, or the newest, and
/// a word about what is not kept any more; positions beside each if they are asked for.
#[test]
fn the_program_goes_on_where_it_was() {
    let server = Server::start(Io::Uring, &["--channels", "* history=3"]);
    let mut publisher = Publisher::of(&server);
    let book: Vec<String> =
        (0..6).map(|at| publisher.publish("news", format!("{at}").as_bytes()).0).collect();
    let subscribe = |flags: &[&str], count: usize| {
        let mut command = subscribe(&server, "news", count);
        let told = command.args(flags).output().unwrap();
        assert_eq!(told.status.code(), Some(0));
        [told.stdout, told.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(subscribe(&["--since", &book[3]], 2), ["4\n5\n", ""]);
    assert_eq!(subscribe(&["--last", "2"], 2), ["4\n5\n", ""]);
    let positions = format!("{}\t5\n", book[5]);
    assert_eq!(subscribe(&["--since", &book[4], "--positions"], 1), [&positions, ""]);
    let gap = format!(
        "stentor: gap: what was published behind {}, up to and with {}, is not to be had any more\n",
        book[0], book[2]
    );
    assert_eq!(subscribe(&["--since", &book[0]], 3), ["3\n4\n5\n", &gap]);
    server.stop();
}

fn subscribe(server: &Server, channel: &str, count: usize) -> Command {
    let url = format!("ws://{}", server.subscribers);
    stentor(&["subscribe", channel, "--count", &count.to_string(), "--url", &url])
}

fn sse_url(server: &Server, channel: &str) -> String {
    format!("http://{}/sse/{channel}", server.subscribers)
}

fn publish_url(server: &Server) -> String {
    format!("http://{}/publish/news", server.control)
}
