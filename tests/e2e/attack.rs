//! One attacking client per limit: it gets the stated answer, a good subscriber with an oracle misses
//! nothing meanwhile, and nothing of the attack is left behind.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Shutdown},
    thread,
};

use serde_json::json;
use socket2::SockRef;

use crate::{
    support::{
        Io, Kind, Publisher, Received, Server, Subscriber, Talk, Wire, check_retry_after,
        eventually, masked, upgrade,
    },
    tls::Secure,
};

on_both_kernels!(
    connections_of_an_address_are_limited,
    coming_and_going_is_limited,
    requests_of_an_address_are_limited,
    an_explosion_of_channels_is_stopped,
    memory_of_an_address_is_limited,
    memory_of_tls_counts_for_its_address,
    ciphertext_that_was_taken_counts_no_more,
    floods_on_a_connection_are_ended,
    publications_are_slowed_down,
    a_message_that_never_ends_is_ended,
    heads_are_bounded,
    a_storm_is_let_in_bit_by_bit,
);

/// Where the attacker comes from. The good ones have another address.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// A server whose limits hold for everybody, and its good subscribers.
struct Siege {
    server: Server,
    good: [Subscriber; 2],
    publisher: Publisher,
    published: u32,
}

impl Siege {
    fn begin(io: Io, flags: &[&str]) -> Siege {
        let server = Server::start(io, &[&["--exempt", ""], flags].concat());
        let good = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "good"));
        let publisher = Publisher::of(&server);
        Siege { server, good, publisher, published: 0 }
    }

    /// A connection of the attacker.
    fn attack(&self) -> Wire {
        Wire::from(ATTACKER, self.server.subscribers)
    }

    fn ask(&self, head: &str) -> Wire {
        let mut wire = self.attack();
        wire.send(format!("{head}\r\n").as_bytes());
        wire
    }

    fn talk(&self) -> Talk {
        Talk::over(self.attack(), "")
    }

    /// The good ones get the next publication, and nothing else.
    #[track_caller]
    fn serves(&mut self) {
        self.published += 1;
        let text = self.published.to_string();
        assert_eq!(self.publisher.publish("good", text.as_bytes()).1, 2);
        for good in &mut self.good {
            assert_eq!(good.publication(), text.as_bytes());
        }
    }

    fn excess(&self, limit: &str) -> u64 {
        self.server.metric(&format!("stentor_shield_excess_total{{limit=\"{limit}\"}}")) as u64
    }

    /// The attack is over: what was kept for it is gone, and everybody can be served.
    #[track_caller]
    fn end(mut self, limit: &str) {
        self.serves();
        self.server.await_stat("/connections/total", 2);
        eventually("only the good ones count", || {
            (self.server.metric("stentor_shield_connections") == 2.0).then_some(())
        });
        assert!(self.excess(limit) > 0, "{limit}");
        // Lines are written by a thread of their own.
        let log = eventually("the log tells of it", || {
            Some(self.server.stderr()).filter(|log| log.contains(limit))
        });
        let lines = log.lines().filter(|line| line.contains(limit)).count();
        assert!((1..=10).contains(&lines), "a flood is told in few lines: {log}");
        self.server.stop();
    }
}

/// The status of an answer, or `None` where the connection was closed without a word.
fn status(wire: &mut Wire) -> Option<u16> {
    let mut first = [0; 12];
    wire.try_peek(&mut first)?;
    std::str::from_utf8(&first[9..]).ok()?.parse().ok()
}

/// `address-connections`: one more is answered 429 with `Retry-After`; another address is not
/// concerned, and a place that was given back can be taken again.
fn connections_of_an_address_are_limited(io: Io) {
    let mut siege = Siege::begin(io, &["--address-connections", "3", "--retry-after", "7s"]);
    let mut attackers: Vec<Wire> = (0..3).map(|_| siege.ask(&upgrade("/ws/bad"))).collect();
    for wire in &mut attackers {
        assert_eq!(wire.head().status, 101);
    }
    for _ in 0..20 {
        let answer = siege.ask(&upgrade("/ws/bad")).answer();
        assert_eq!(answer.head.status, 429);
        let seconds = check_retry_after(&answer.head, 7);
        let told = String::from_utf8(answer.body).unwrap();
        assert_eq!(told, format!("too much from your address; try again in {seconds} s\n"));
        siege.serves();
    }
    drop(attackers.pop());
    let mut again = eventually("a place is free", || {
        let mut wire = siege.ask(&upgrade("/ws/bad"));
        (status(&mut wire) == Some(101)).then_some(wire)
    });
    assert_eq!(again.head().status, 101);
    drop((attackers, again));
    siege.end("address_connections");
}

/// `address-connection-rate`: who comes and goes is answered 429 in the end, and where it does not
/// listen it is closed without a word; others come as they like.
fn coming_and_going_is_limited(io: Io) {
    let mut siege = Siege::begin(io, &["--address-connection-rate", "1"]);
    let mut came = 0;
    while status(&mut siege.ask(&upgrade("/ws/bad"))) == Some(101) {
        came += 1;
        assert!(came < 10_000, "nobody stopped it");
    }
    assert!(came >= 10, "{came}");
    // Many at once, which do not take their answers.
    let flood: Vec<Wire> = (0..600).map(|_| siege.attack()).collect();
    siege.serves();
    drop(flood);
    drop(Subscriber::join(siege.server.subscribers, Kind::Sse, "good"));
    siege.server.await_stat("/connections/total", 2);
    siege.end("address_connection_rate");
}

/// `address-request-rate`: requests over one connection or several are answered 429 in the end.
fn requests_of_an_address_are_limited(io: Io) {
    let mut siege = Siege::begin(io, &["--address-request-rate", "1"]);
    let poll = "GET /poll/bad?timeout=0 HTTP/1.1\r\nHost: h\r\n";
    let mut wire = siege.ask(poll);
    let mut asked = 1;
    let refused = loop {
        assert!(asked < 10_000, "nobody stopped it");
        if status(&mut wire) == Some(429) {
            break wire.answer();
        }
        assert_eq!(wire.next_answer().head.status, 200);
        wire.send(format!("{poll}\r\n").as_bytes());
        asked += 1;
    };
    assert!(asked > 10, "{asked}");
    check_retry_after(&refused.head, 5);
    siege.serves();
    siege.end("address_request_rate");
}

/// `address-channel-rate`: who asks for ever new channels is closed with 4429.
fn an_explosion_of_channels_is_stopped(io: Io) {
    let mut siege = Siege::begin(io, &["--address-channel-rate", "1", "--message-rate", "0"]);
    let mut talk = siege.talk();
    let mut named = 0;
    let end = loop {
        let channel = format!("bad/{named}");
        talk.say(&json!({ "type": "subscribe", "channel": channel }));
        match talk.next() {
            Ok(told) => assert_eq!(told["type"], "subscribed", "{told}"),
            Err(end) => break end,
        }
        talk.say(&json!({ "type": "unsubscribe", "channel": channel }));
        assert_eq!(talk.hear()["type"], "unsubscribed");
        named += 1;
        assert!(named < 10_000, "nobody stopped it");
    };
    assert!(named >= 10, "{named}");
    assert_eq!(end, Received::Close(4429, "too much from this address".into()));
    siege.serves();
    drop(talk);
    siege.end("address_channel_rate");
}

/// `address-memory`: halves of messages of several connections count together; the connection that
/// brings too many is closed with 4429, the others go on.
fn memory_of_an_address_is_limited(io: Io) {
    let flags = ["--address-memory", "64KiB", "--message-max", "64KiB", "--frame-max", "64KiB"];
    let mut siege = Siege::begin(io, &flags);
    let start = masked(0x01, &[b' '; 40_000]);
    let mut talks = [siege.talk(), siege.talk()];
    talks[0].say_bytes(&[&start[..], &masked(0x89, b"")].concat());
    eventually("the first one's is kept", || talks[0].is_told().then_some(()));
    talks[1].say_bytes(&start);
    let close = Received::Close(4429, "too much from this address".into());
    assert_eq!(talks[1].next(), Err(close));
    siege.serves();
    assert_eq!(siege.excess("address_memory"), 1);
    talks[0].say_frame(0x80, br#"{"type":"ping"}"#);
    assert_eq!(talks[0].hear(), json!({ "type": "pong" }), "the other one goes on");
    drop(talks);
    siege.end("address_memory");
}

/// Of a record that claims 16 KiB its head and ten thousand bytes.
fn part_of_a_record() -> Vec<u8> {
    [&[0x17, 3, 3, 0x40, 0][..], &[0; 10_000]].concat()
}

/// `address-memory` by TLS: records that come in part count for their address as well; the connection
/// that brings too many is closed, and the others go on.
fn memory_of_tls_counts_for_its_address(io: Io) {
    let secure = Secure::new(&format!("attack-tls-{io:?}"));
    let flags = ["--address-memory", "64KiB", "--message-max", "64KiB", "--frame-max", "64KiB"];
    let mut siege = Siege::begin(io, &[&flags[..], &secure.flags()].concat());
    let address = siege.server.addresses("https")[0];
    let part = part_of_a_record();
    let mut attackers: Vec<Wire> = (0..6).map(|_| secure.handshake(ATTACKER, address)).collect();
    attackers.iter_mut().for_each(|wire| wire.send(&part));
    let keeps = |siege: &Siege, parts: usize| {
        let bytes = (parts * part.len()) as f64;
        eventually("they are kept, and no others", || {
            (siege.server.metric("stentor_tls_kept_bytes") == bytes).then_some(())
        });
    };
    keeps(&siege, 6);
    assert_eq!(siege.excess("address_memory"), 0);
    let mut last = secure.handshake(ATTACKER, address);
    last.try_send(&part);
    eventually("one more is too much", || (siege.excess("address_memory") == 1).then_some(()));
    keeps(&siege, 6);
    siege.serves();
    // Who goes takes along what was kept for it.
    drop((attackers.pop(), last));
    siege.server.await_stat("/connections/total", 2 + 5);
    let mut next = secure.handshake(ATTACKER, address);
    next.send(&part);
    keeps(&siege, 6);
    assert_eq!(siege.excess("address_memory"), 1);
    drop((attackers, next));
    siege.end("address_memory");
}

/// `address-memory` by TLS: of ciphertext that waited for a slow reader nothing counts any more once it
/// was taken.
fn ciphertext_that_was_taken_counts_no_more(io: Io) {
    let secure = Secure::new(&format!("attack-slow-{io:?}"));
    // One shard: what it does comes in an order.
    let flags = ["--address-memory", "64KiB", "--shards", "1"];
    let mut siege = Siege::begin(io, &[&flags[..], &secure.flags()].concat());
    let address = siege.server.addresses("https")[0];
    let slow = secure.handshake(ATTACKER, address);
    SockRef::from(slow.stream()).set_recv_buffer_size(64 * 1024).expect("a small window");
    let metric =
        |siege: &Siege, name: &str| siege.server.metric(&format!("stentor_{name}")) as usize;
    let mut published = 0;
    while metric(&siege, "tls_kept_bytes") == 0 {
        siege.publisher.publish("bad", &[b'x'; 60_000]);
        published += 1;
        assert!(published < 1000, "nothing ever waits");
    }
    let mut stream = slow.stream().try_clone().expect("a second handle");
    let reader = thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
    eventually("all of it is sent", || {
        (metric(&siege, "deliveries_total") == published).then_some(())
    });
    eventually("nothing waits", || (metric(&siege, "tls_kept_bytes") == 0).then_some(()));
    let mut others: Vec<Wire> = (0..6).map(|_| secure.handshake(ATTACKER, address)).collect();
    others.iter_mut().for_each(|wire| wire.send(&part_of_a_record()));
    let bytes = others.len() * part_of_a_record().len();
    eventually("they are kept", || (metric(&siege, "tls_kept_bytes") == bytes).then_some(()));
    assert_eq!(siege.excess("address_memory"), 0);
    others[0].send(&[0; 6000]);
    eventually("more is too much", || (siege.excess("address_memory") == 1).then_some(()));
    drop(others);
    slow.stream().shutdown(Shutdown::Both).expect("it is connected");
    reader.join().expect("it only reads").expect("no error but the end");
    siege.end("address_memory");
}

/// `message-rate`: pings, commands, fragments and noise are ended with 4429, or with the end of the
/// stream.
fn floods_on_a_connection_are_ended(io: Io) {
    let mut siege = Siege::begin(io, &["--message-rate", "10", "--subscriptions-max", "1"]);
    let ping = masked(0x89, b"");
    let command = masked(0x81, br#"{"type":"ping"}"#);
    let commands = masked(0x81, br#"[{"type":"ping"},{"type":"ping"},{"type":"ping"}]"#);
    let subscribe = br#"[{"type":"subscribe","channel":"a"},{"type":"unsubscribe","channel":"a"}]"#;
    let storm = masked(0x81, subscribe);
    let fragments = [masked(0x01, b" "), masked(0x00, b" ").repeat(300)].concat();
    let floods = [ping, command, commands, storm].map(|flood| flood.repeat(300));
    for flood in floods.into_iter().chain([fragments]) {
        let mut talk = siege.talk();
        talk.say_bytes(&flood);
        let end = loop {
            if let Err(end) = talk.next() {
                break end;
            }
        };
        let text = "too many frames or commands a second; send fewer";
        assert_eq!(end, Received::Close(4429, text.into()));
        siege.serves();
    }
    let mut noisy = siege.ask("GET /sse/bad HTTP/1.1\r\nHost: h\r\n");
    assert_eq!(noisy.head().status, 200);
    eventually("the stream ends", || {
        noisy.try_send(b"noise");
        (siege.excess("message_rate") == 6).then_some(())
    });
    assert!(noisy.rest().ends_with(b"0\r\n\r\n"));
    drop(noisy);
    siege.end("message_rate");
}

/// `publish-rate`: one more is refused with `too_fast`, and the conversation goes on.
fn publications_are_slowed_down(io: Io) {
    let flags = ["--publish-rate", "1", "--message-rate", "0", "--channels", "* publish=true"];
    let mut siege = Siege::begin(io, &flags);
    let mut talk = siege.talk();
    let publish = json!({ "type": "publish", "channel": "bad", "text": "x" });
    let mut published = 0;
    let refused = loop {
        let told = talk.ask(&publish);
        if told["type"] != "published" {
            break told;
        }
        published += 1;
        assert!(published < 10_000, "nobody stopped it");
    };
    assert!(published >= 10, "{published}");
    assert_eq!(refused["code"], "too_fast", "{refused}");
    assert_eq!(talk.ask(&json!({ "type": "ping" })), json!({ "type": "pong" }));
    siege.serves();
    drop(talk);
    assert_eq!(siege.excess("publish_rate"), 1);
    siege.end("publish_rate");
}

/// `message-timeout`: half a frame, or a message of ever more fragments, is closed with 4408.
fn a_message_that_never_ends_is_ended(io: Io) {
    let mut siege = Siege::begin(io, &["--message-timeout", "300ms"]);
    let (mut half, mut endless) = (siege.talk(), siege.talk());
    half.say_bytes(&masked(0x81, b"{}")[..5]);
    endless.say_bytes(&masked(0x01, b" "));
    for talk in [&mut half, &mut endless] {
        assert_eq!(talk.next(), Err(Received::Close(4408, "message time-out".into())));
    }
    siege.serves();
    drop((half, endless));
    siege.end("message_timeout");
}

/// Giant heads, many headers, and heads that never end: 431 and 408.
fn heads_are_bounded(io: Io) {
    let mut siege = Siege::begin(io, &["--handshake-timeout", "300ms"]);
    let giant = format!("GET /ws/bad HTTP/1.1\r\nHost: h\r\nX: {}\r\n", "x".repeat(9000));
    let many = format!("GET /ws/bad HTTP/1.1\r\nHost: h\r\n{}", "X: x\r\n".repeat(64));
    for head in [giant, many] {
        assert_eq!(siege.ask(&head).answer().head.status, 431);
        siege.serves();
    }
    let mut slow: Vec<Wire> = (0..50).map(|_| siege.attack()).collect();
    slow.iter_mut().for_each(|wire| wire.send(b"GET /ws/bad HTTP/1.1\r\nHo"));
    siege.serves();
    for mut wire in slow {
        assert_eq!(wire.answer().head.status, 408);
    }
    siege.serves();
    siege.server.await_stat("/connections/total", 2);
    siege.server.stop();
}

/// `accept-rate`: who comes in a storm waits its turn and is served, all of them.
fn a_storm_is_let_in_bit_by_bit(io: Io) {
    let mut siege = Siege::begin(io, &["--accept-rate", "100"]);
    let storm: Vec<Wire> = (0..100).map(|_| siege.ask(&upgrade("/ws/bad"))).collect();
    siege.serves();
    for mut wire in storm {
        assert_eq!(wire.head().status, 101);
    }
    siege.end("accept_rate");
}
