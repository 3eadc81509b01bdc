//! Edges that read lines: a pipe, a Unix socket, a TCP address.

use std::{
    fs,
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    thread,
};

use serde_json::json;

use crate::{
    edge::{INPUT, await_ready, await_skipped, edge, told_of_input},
    support::{
        Dice, Folder, Io, Kind, Publisher, Received, Server, Subscriber, ask, eventually, stentor,
    },
};

/// Lines of a pipe are publications in their order, the last one without an end among them; when the
/// pipe has ended the edge goes on, with others who publish.
#[test]
fn a_pipe_feeds_a_channel_until_it_ends() {
    const LINES: usize = 20_000;
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let mut command = stentor(&["--input", "stdin=logs", "--lag-max", "64MiB"]);
    let edge = Server::launch_reading(command.env("STENTOR_IO", "uring"), reader);
    // It would keep the pipe's other end open.
    drop(command);
    await_ready(&edge);
    let mut subscribers = Kind::BOTH.map(|kind| Subscriber::join(edge.subscribers, kind, "logs"));
    let lines: Vec<String> = (0..LINES).map(|n| format!("{n} \u{e4}\t{{}}")).collect();
    let text = lines.join("\n");
    let writing = thread::spawn(move || writer.write_all(text.as_bytes()));
    for subscriber in &mut subscribers {
        lines.iter().for_each(|line| assert_eq!(payload(subscriber), line.as_bytes()));
    }
    writing.join().expect("no panic").expect("it is read to the end");
    eventually("the input has ended", || {
        (edge.shown("/inputs")["inputs"][0]["connected"] == false).then_some(())
    });
    let shown = &edge.shown("/inputs")["inputs"][0];
    assert_eq!((&shown["ready"], &shown["problem"]), (&json!(true), &json!(null)));
    assert_eq!((&shown["records"], &shown["place"]), (&json!(LINES), &json!("stdin")));
    await_ready(&edge);
    assert_eq!(Publisher::of(&edge).publish("logs", b"afterwards").1, 2);
    subscribers.iter_mut().for_each(|it| assert_eq!(payload(it), b"afterwards"));
    edge.stop();
}

/// A pipe that stays open does not keep an edge from its end.
#[test]
fn an_edge_ends_although_its_pipe_does_not() {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let mut command = stentor(&["--input", "stdin=logs"]);
    let edge = Server::launch_reading(&mut command, reader);
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "logs");
    writer.write_all(b"one\ntw").expect("it is read");
    assert_eq!(payload(&mut subscriber), b"one");
    edge.stop();
    drop(writer);
}

/// The payload of the next publication.
#[track_caller]
fn payload(subscriber: &mut Subscriber) -> Vec<u8> {
    match subscriber.next() {
        Received::Publication { payload, .. } => payload,
        other => panic!("no publication: {other:?}"),
    }
}

/// Lines that name their channels reach them as they say, bytes of any kind included; what cannot be
/// read is counted and stops nothing.
#[test]
fn lines_of_a_unix_socket_name_their_channels() {
    let folder = Folder::new("lines-unix");
    let path = folder.path().join("in.sock");
    let input = format!("lines name={INPUT} from=unix:{}", path.display());
    let edge = edge(&input, &[]);
    await_ready(&edge);
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o660);
    let mut ticks = Subscriber::join(edge.subscribers, Kind::WebSocket, "ticks/a");
    let mut bytes = Subscriber::join(edge.subscribers, Kind::Sse, "bytes");
    let mut sender = UnixStream::connect(&path).expect("somebody listens");
    let too_long = format!("{{\"channel\":\"bytes\",\"text\":\"{}\"}}", "x".repeat(2 << 20));
    let lines = [
        r#"{"channel":"ticks/a","data":{"price": 1.50}}"#,
        "this is no JSON",
        r#"{"channel":"not a name","text":"x"}"#,
        r#"{"channel":"bytes","base64":"AP8K"}"#,
        &too_long,
        "",
        r#"{"channel":"bytes","text":"two\nlines"}"#,
    ];
    sender.write_all(lines.join("\n").as_bytes()).expect("it is read");
    // The last line has no end but this.
    drop(sender);
    assert_eq!(payload(&mut ticks), br#"{"price": 1.50}"#);
    assert_eq!(payload(&mut bytes), b"\x00\xff\n");
    assert_eq!(payload(&mut bytes), b"two\nlines");
    for reason in ["malformed", "bad_name", "too_large"] {
        await_skipped(&edge, reason, 1);
    }
    assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 6);
    edge.stop();
    assert!(!path.exists(), "the socket goes with the edge");
}

/// An edge that was killed leaves its socket, and the next one takes it over; a third one that finds
/// somebody listening says so and serves without.
#[test]
fn a_socket_that_was_left_is_taken_over_and_one_in_use_is_not() {
    let folder = Folder::new("lines-left");
    let path = folder.path().join("in.sock");
    let input = format!("lines name={INPUT} from=unix:{} channel=logs", path.display());
    let first = edge(&input, &[]);
    await_ready(&first);
    first.kill();
    assert!(path.exists(), "nobody was there to remove it");
    let second = edge(&input, &[]);
    await_ready(&second);
    let third = edge(&input, &[]);
    let shown = eventually("the third one finds the socket in use", || {
        let shown = third.shown("/inputs")["inputs"][0].take();
        shown["problem"].is_string().then_some(shown)
    });
    let expected = format!(
        "cannot listen on unix:{}: somebody listens there; end that, or choose another path",
        path.display()
    );
    assert_eq!(shown["problem"], expected);
    let ready = ask(third.control, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n");
    let told = String::from_utf8_lossy(&ready.body).into_owned();
    assert_eq!(ready.head.status, 503, "{told}");
    assert!(told.contains(&expected), "{told}");
    third.stop();
    let mut subscriber = Subscriber::join(second.subscribers, Kind::WebSocket, "logs");
    let mut sender = UnixStream::connect(&path).expect("the second one still listens");
    sender.write_all(b"still here\n").expect("it is read");
    assert_eq!(payload(&mut subscriber), b"still here");
    second.stop();
}

/// However little room there is on the way, no line of many senders is lost, repeated or out of order:
/// the senders wait.
///
/// Method: eight senders of 5000 lines each, of any bytes but line ends and in writes of any length, to
/// a channel each, with two records on their way to a shard.
#[test]
fn senders_wait_and_lose_nothing() {
    const SENDERS: usize = 8;
    const LINES: usize = 5000;
    let input = format!("lines name={INPUT} from=tcp:127.0.0.1:0 in-flight=2");
    let edge = edge(&input, &["--lag-max", "64MiB"]);
    await_ready(&edge);
    let address = listens(&edge);
    let mut subscribers: Vec<Subscriber> = (0..SENDERS)
        .map(|n| Subscriber::join(edge.subscribers, Kind::WebSocket, &format!("ticks.{n}")))
        .collect();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || send(address, sender, LINES));
        }
        for (sender, subscriber) in subscribers.iter_mut().enumerate() {
            for n in 0..LINES {
                assert_eq!(payload(subscriber), format!("{{\"n\":{n}}}").as_bytes(), "{sender}");
            }
        }
    });
    assert_eq!(told_of_input(&edge, "stentor_input_records_total"), (SENDERS * LINES) as u64);
    edge.stop();
}

/// Sends lines in writes that end anywhere.
fn send(address: SocketAddr, sender: usize, lines: usize) {
    let mut dice = Dice::new(sender as u64 + 1);
    let line = |n| format!("{{\"channel\":\"ticks.{sender}\",\"data\":{{\"n\":{n}}}}}\r\n");
    let text: String = (0..lines).map(line).collect();
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(1 + dice.below(3000)));
        stream.write_all(piece).expect("it is read");
        rest = behind;
    }
}

/// The address that the input's log tells.
#[track_caller]
fn listens(edge: &Server) -> SocketAddr {
    eventually("the log tells where it listens", || {
        let told = edge.stderr();
        let (_, behind) = told.split_once("listens on tcp:")?;
        let (address, _) = behind.split_once('\n')?;
        Some(address.trim().parse().expect("an address"))
    })
}

/// Two inputs on one edge are read beside each other, and each is told apart.
#[test]
fn several_inputs_are_told_apart() {
    let folder = Folder::new("lines-several");
    let path = folder.path().join("in.sock");
    let unix = format!("lines name=left from=unix:{} channel=left", path.display());
    let tcp = "lines name=right from=tcp:127.0.0.1:0 channel=right";
    let edge = Server::start(Io::Uring, &["--input", &unix, "--input", tcp]);
    await_ready(&edge);
    let mut left = Subscriber::join(edge.subscribers, Kind::Sse, "left");
    let mut right = Subscriber::join(edge.subscribers, Kind::Sse, "right");
    let mut to_left = UnixStream::connect(&path).expect("it listens");
    let mut to_right = TcpStream::connect(listens(&edge)).expect("it listens");
    to_left.write_all(b"1\n").expect("it is read");
    to_right.write_all(b"2\n3\n").expect("it is read");
    assert_eq!(payload(&mut left), b"1");
    assert_eq!([payload(&mut right), payload(&mut right)], [b"2", b"3"]);
    let shown = edge.shown("/inputs");
    let of = |number: usize| {
        let it = &shown["inputs"][number];
        (it["name"].clone(), it["records"].clone(), it["connected"].clone())
    };
    assert_eq!(of(0), (json!("left"), json!(1), json!(true)));
    assert_eq!(of(1), (json!("right"), json!(2), json!(true)));
    edge.stop();
}
