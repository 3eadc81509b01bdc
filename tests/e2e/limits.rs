//! Every limit is reached, with its stated consequence, and the neighbours go on.

use std::process::Stdio;

use crate::support::{
    Answer, Io, Kind, Publisher, Received, Server, Subscriber, Wire, check_retry_after, eventually,
    masked, stentor, upgrade,
};

on_both_kernels!(
    connections_are_limited,
    what_a_client_sends_is_limited_to_the_byte,
    a_reader_that_falls_behind_is_let_go,
    a_reader_that_takes_nothing_is_let_go,
    a_silent_peer_is_found_out,
    a_slow_handshake_is_ended,
);

/// `max-connections`: one more is answered 503 with `Retry-After`, and a place that was given back
/// can be taken again.
fn connections_are_limited(io: Io) {
    let server = Server::start(io, &["--max-connections", "3", "--retry-after", "7s"]);
    let join = |kind| Subscriber::join(server.subscribers, kind, "news");
    let mut subscribers = vec![join(Kind::WebSocket), join(Kind::Sse), join(Kind::Sse)];
    let mut publisher = Publisher::of(&server);
    for round in 0..20 {
        for kind in Kind::BOTH {
            expect_full(Subscriber::ask(server.subscribers, kind, "news"), 7);
        }
        drop(subscribers.remove(round % 3));
        let free = || Some(Subscriber::ask(server.subscribers, Kind::WebSocket, "news"));
        subscribers.push(eventually("a place is free", || granted(free()?)));
        publisher.publish("news", b"to three");
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.publication(), b"to three");
        }
    }
    server.stop();
}

/// `head-max`, `frame-max` and `message-max` hold to the byte.
fn what_a_client_sends_is_limited_to_the_byte(io: Io) {
    let flags =
        ["--echo", "--head-max", "600B", "--frame-max", "70000B", "--message-max", "70001B"];
    let server = Server::start(io, &flags);
    for (length, status) in [(600, 101), (601, 431)] {
        let head = upgrade("/ws/news");
        let filler = "f".repeat(length - head.len() - "X: \r\n\r\n".len());
        let mut wire = Wire::request(server.subscribers, &format!("{head}X: {filler}\r\n"));
        assert_eq!(wire.head().status, status, "a head of {length} bytes");
    }
    let echo = |bytes: &[u8]| {
        let mut wire = Wire::request(server.subscribers, &upgrade("/echo"));
        assert_eq!(wire.head().status, 101);
        wire.send(bytes);
        wire
    };
    let pieces = |last: usize| [masked(2, &[7; 70_000]), masked(0x80, &vec![7; last])].concat();
    for (bytes, echoed) in [
        (masked(0x82, &[7; 70_000]), Some(70_000)),
        (masked(0x82, &[7; 70_001]), None),
        (pieces(1), Some(70_001)),
        (pieces(2), None),
    ] {
        let mut wire = echo(&bytes);
        match echoed {
            Some(length) => {
                let head = [&[0x82, 127][..], &(length as u64).to_be_bytes()].concat();
                assert_eq!(wire.exactly(head.len()), head);
                assert!(wire.exactly(length).iter().all(|&byte| byte == 7));
            }
            None => {
                let rest = wire.rest();
                assert_eq!((rest[0], &rest[2..4]), (0x88, &1009u16.to_be_bytes()[..]));
            }
        }
    }
    server.stop();
}

/// `publication-max` holds to the byte, for whole payloads and for lines, and what fits arrives.
#[test]
fn publications_are_limited_to_the_byte() {
    let server = Server::start(Io::Uring, &["--publication-max", "5000B"]);
    let mut subscribers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "big"));
    let mut publisher = Publisher::of(&server);
    for (length, status) in [(5000, 200), (5001, 413)] {
        assert_eq!(publisher.try_publish("big", &vec![b'p'; length]).head.status, status);
        publisher = Publisher::of(&server);
    }
    let url = format!("http://{}", server.control);
    let mut lines = stentor(&["publish", "--lines", "big", "--url", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = ["1".repeat(5000), "2".repeat(5001), "3".into()].join("\n");
    std::io::Write::write_all(&mut lines.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let told = lines.wait_with_output().unwrap();
    let errors = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(
        errors.contains("413") && errors.contains("line 2") && errors.contains(":1,"),
        "{errors}"
    );
    publisher.publish("big", b"after");
    for subscriber in &mut subscribers {
        for expected in [vec![b'p'; 5000], vec![b'1'; 5000], b"after".to_vec()] {
            assert_eq!(subscriber.publication(), expected);
        }
    }
    server.stop();
}

/// `channels-max`: subscribing to one more is answered 503, the others go on, and a channel that
/// everybody left makes room.
#[test]
fn channels_are_limited() {
    let server = Server::start(Io::Uring, &["--channels-max", "2", "--shards", "1"]);
    let join = |kind, channel| Subscriber::join(server.subscribers, kind, channel);
    let mut one = join(Kind::WebSocket, "one");
    let mut two = join(Kind::Sse, "two");
    for kind in Kind::BOTH {
        expect_full(Subscriber::ask(server.subscribers, kind, "three"), 5);
    }
    let mut also_one = join(Kind::Sse, "one");
    let mut publisher = Publisher::of(&server);
    assert_eq!(publisher.publish("three", b"to nobody").1, 0);
    assert_eq!(publisher.publish("one", b"1").1, 2);
    assert_eq!(publisher.publish("two", b"2").1, 1);
    assert_eq!(
        [&mut one, &mut two, &mut also_one].map(Subscriber::publication),
        [b"1", b"2", b"1"]
    );
    drop(two);
    let ask = || Subscriber::ask(server.subscribers, Kind::Sse, "three");
    let mut three = eventually("a channel is free", || granted(ask()));
    assert_eq!(publisher.publish("three", b"3").1, 1);
    assert_eq!(three.publication(), b"3");
    server.stop();
}

/// `lag-max`: a reader that stops gets an unbroken run of publications and then the close code
/// 1013 or the end of its stream, between two frames. Who reads on gets everything.
fn a_reader_that_falls_behind_is_let_go(io: Io) {
    let flags = ["--lag-max", "1MiB", "--publication-max", "64KiB", "--stall-timeout", "1h"];
    let server = Server::start(io, &flags);
    let mut publisher = Publisher::of(&server);
    for kind in Kind::BOTH {
        let join = |kind| Subscriber::join(server.subscribers, kind, "flood");
        let mut stopped = join(kind);
        let mut neighbours = Kind::BOTH.map(join);
        let (mut published, mut book) = (0, Vec::new());
        loop {
            let (position, subscribers) = publisher.publish("flood", &large(published, 60_000));
            book.push(position);
            neighbours.iter_mut().for_each(|neighbour| {
                assert!(neighbour.publication() == large(published, 60_000), "{published}");
            });
            published += 1;
            if subscribers == 2 {
                break;
            }
            assert!(published < 2000, "the stopped reader was never let go");
        }
        let (received, end) = read_to_the_end(&mut stopped, |number, payload| {
            assert!(payload == large(number, 60_000), "{kind:?} {number}");
        });
        assert!(received > 0 && received < published, "{received} of {published}");
        match kind {
            Kind::WebSocket => assert_eq!(
                end,
                Received::Close(1013, format!("too slow; resume from {}", book[received - 1]))
            ),
            Kind::Sse => assert_eq!(end, Received::End),
        }
        drop(neighbours);
        drop(stopped);
        server.await_stat("/connections/total", 0);
    }
    assert_eq!(closed(&server, "peer_too_slow"), 2);
    server.stop();
}

/// `stall-timeout`: a reader that takes nothing for so long is disconnected, at whatever byte its
/// socket was full. What it then finds is an unbroken run of publications, the last perhaps cut.
fn a_reader_that_takes_nothing_is_let_go(io: Io) {
    let server = Server::start(io, &["--stall-timeout", "1s"]);
    let join = |kind| Subscriber::join(server.subscribers, kind, "flood");
    let stopped = Kind::BOTH.map(join);
    let mut neighbour = join(Kind::WebSocket);
    let mut publisher = Publisher::of(&server);
    let mut streams = [Vec::new(), Vec::new()];
    eventually("both have stalled", || {
        if streams[0].len() < 8_000_000 {
            let payload = large(streams[0].len(), 60_000);
            let (position, _) = publisher.publish("flood", &payload);
            assert!(neighbour.publication() == payload);
            streams[0].extend([&[0x81, 126][..], &60_000u16.to_be_bytes(), &payload].concat());
            let text = String::from_utf8(payload).expect("text");
            let event = format!("id: {position}\ndata: {text}\n\n");
            streams[1].extend(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes());
        }
        (closed(&server, "peer_stalled") == 2).then_some(())
    });
    for (mut stopped, stream) in stopped.into_iter().zip(streams) {
        let received = stopped.wire.rest();
        assert!(received.len() > 60_000 && stream.starts_with(&received), "{}", received.len());
    }
    publisher.publish("flood", b"goes on");
    assert_eq!(neighbour.publication(), b"goes on");
    server.await_stat("/connections/total", 1);
    server.stop();
}

/// `ping-interval` and `pong-timeout`: who answers pings stays, who does not is closed with 1001,
/// and an event stream shows a sign of life.
fn a_silent_peer_is_found_out(io: Io) {
    let server = Server::start(io, &["--ping-interval", "1s", "--pong-timeout", "1s"]);
    let join = |kind| Subscriber::join(server.subscribers, kind, "quiet");
    let mut lively = join(Kind::WebSocket);
    let mut silent = join(Kind::WebSocket);
    let mut stream = join(Kind::Sse);
    silent.answers_pings = false;
    let lively = std::thread::spawn(move || (lively.publication(), lively.signs_of_life));
    assert_eq!(silent.next(), Received::Close(1001, "peer silent".into()));
    assert_eq!(silent.signs_of_life, 1);
    server.await_stat("/connections/total", 2);
    assert_eq!(closed(&server, "peer_silent"), 1);
    let mut publisher = Publisher::of(&server);
    assert_eq!(publisher.publish("quiet", b"still there?").1, 2);
    let (heard, pings) = lively.join().unwrap();
    assert_eq!((heard, stream.publication()), (b"still there?".to_vec(), b"still there?".to_vec()));
    assert!(pings > 0 && stream.signs_of_life > 0, "{pings} {}", stream.signs_of_life);
    server.stop();
}

/// `handshake-timeout`: a request that does not end, or does not begin, is answered 408.
fn a_slow_handshake_is_ended(io: Io) {
    let server = Server::start(io, &["--handshake-timeout", "200ms"]);
    for beginning in ["", "GET /sse/news HTTP/1.1\r\nHost: lo"] {
        let mut wire = Wire::connect(server.subscribers);
        wire.send(beginning.as_bytes());
        let Answer { head, .. } = wire.answer();
        assert_eq!(head.status, 408);
    }
    server.await_stat("/connections/total", 0);
    assert_eq!(closed(&server, "handshake_timeout"), 2);
    server.stop();
}

/// The request, if it was granted; else it must have been refused as one too many.
fn granted(mut subscriber: Subscriber) -> Option<Subscriber> {
    let mut first = [0; 12];
    assert_eq!(subscriber.wire.peek(&mut first), first.len());
    if &first == b"HTTP/1.1 503" {
        return None;
    }
    subscriber.expect_granted();
    Some(subscriber)
}

#[track_caller]
fn expect_full(mut refused: Subscriber, retry_after: u64) {
    let Answer { head, body } = refused.wire.answer();
    assert_eq!(head.status, 503);
    let told = String::from_utf8(body).unwrap();
    let hint = check_retry_after(&head, retry_after);
    assert!(told.contains("full") && told.contains(&format!(" {hint} s")), "{told}");
}

/// Gives every publication with its number to `check`, then how many there were and how it ended.
#[track_caller]
fn read_to_the_end(
    subscriber: &mut Subscriber,
    mut check: impl FnMut(usize, Vec<u8>),
) -> (usize, Received) {
    for number in 0.. {
        match subscriber.next() {
            Received::Publication { payload, .. } => check(number, payload),
            end => return (number, end),
        }
    }
    unreachable!("a stream ends")
}

/// A publication whose every byte follows from its number.
fn large(number: usize, length: usize) -> Vec<u8> {
    let mut payload = format!("{number}:").into_bytes();
    payload.extend((payload.len()..length).map(|at| b'a' + ((at * 7 + number) % 26) as u8));
    payload
}

/// How many connections ended for a reason.
fn closed(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("stentor_connections_closed_total{{reason=\"{reason}\"}}")) as u64
}
