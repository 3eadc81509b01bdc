//! What only Redis has.

use redis::{Connection, Value, cmd};

use super::{Channels, Streams, connect};
use crate::{
    bus::Bus,
    edge::{await_ready, await_skipped, edge, readiness, skipped, told_of_input},
    support::{Gap, Item, Kind, Publisher, Reader, Received, Server, Subscriber, Via, eventually},
};

/// A message that several subscriptions match is delivered once.
#[test]
fn a_message_comes_once_over_all_subscriptions() {
    let mut bus = Channels::start();
    let all = ["a.*", "a.b", "*", "[ab].?", "none.*"].map(|one| format!("subscribe={one}"));
    let edge = on(bus.broker().port(), &format!("redis name=bus {}", all.join(" ")));
    await_ready(&edge);
    let mut subscribers =
        ["a.b", "a.c", "b.c", "z"].map(|name| Subscriber::join(edge.subscribers, Kind::Sse, name));
    let mut connection = connect(bus.broker().port());
    for number in 0..20 {
        for name in ["a.b", "a.c", "b.c", "z"] {
            cmd("PUBLISH").arg(name).arg(number).exec(&mut connection).unwrap();
        }
    }
    for subscriber in &mut subscribers {
        for number in 0..20 {
            assert_eq!(subscriber.publication(), number.to_string().into_bytes());
        }
    }
    assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 80);
    edge.stop();
}

/// What an operator has to mend is told with the input's name and what would be right, never with a
/// password.
#[test]
fn what_redis_refuses_is_told() {
    let mut bus = Streams::start();
    let port = bus.broker().port();
    let mut connection = connect(port);
    cmd("SET").arg("text").arg("x").exec(&mut connection).unwrap();
    let user = ["edge", "on", ">hush", "~mine", "&mine", "+xread", "+xinfo|stream", "+subscribe"];
    cmd("ACL").arg("SETUSER").arg(&user).exec(&mut connection).unwrap();
    let cases = [
        ("redis-stream stream=text", "", "'text' (XINFO): the key holds something else"),
        (
            "redis-stream stream=mine",
            "edge:wrong@",
            "refuses the user or password; see the key `url`",
        ),
        ("redis subscribe=mine", "edge:wrong@", "refuses the user or password; see the key `url`"),
        ("redis-stream stream=other", "edge:hush@", "does not let this user read stream 'other'"),
        ("redis subscribe=other", "edge:hush@", "does not let this user subscribe"),
    ];
    for (input, who, expected) in cases {
        let url = format!("redis://{who}127.0.0.1:{port}");
        let edge = edge(&format!("{input} name=bus url={url}"), &[]);
        eventually(&format!("{input} is told: {expected}"), || {
            let told = readiness(&edge);
            let text = String::from_utf8(told.body).expect("text");
            assert_eq!(told.head.status, 503, "{text}");
            assert!(!text.contains("hush") && !text.contains("wrong"), "{text}");
            text.contains(expected).then_some(())
        });
        assert!(!edge.stderr().contains("hush") && !edge.stderr().contains("wrong"));
        edge.stop();
    }
    let edge = on(port, "redis-stream name=bus stream=mine");
    await_ready(&edge);
    edge.stop();
}

/// An entry's fields and its stream make its channel, and one of them is the payload, any bytes of
/// it; an entry without it is counted.
#[test]
fn fields_of_an_entry_are_mapped() {
    let mut bus = Streams::start();
    let words = "name=bus stream=a stream=b field=body channel={stream}.{header:to}.{id}";
    let edge = on(bus.broker().port(), &format!("redis-stream {words} positions=local"));
    await_ready(&edge);
    let mut subscribers = ["a.x.1-1", "b.x.1-2"]
        .map(|name| Subscriber::join(edge.subscribers, Kind::WebSocket, name));
    let mut connection = connect(bus.broker().port());
    let body = &b"\x00\r\n\xff"[..];
    for (stream, id) in [("a", "1-1"), ("b", "1-2")] {
        let entry = [&b"body"[..], b"first", b"to", b"x", b"body", body];
        cmd("XADD").arg(stream).arg(id).arg(&entry).exec(&mut connection).unwrap();
        cmd("XADD").arg(stream).arg("2-0").arg(&entry[2..4]).exec(&mut connection).unwrap();
    }
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.publication(), body);
    }
    await_skipped(&edge, "malformed", 2);
    assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 4);
    edge.stop();
}

/// A stream that is kept short has no holes as long as each entry is read in time, although it always
/// begins behind what was read; what is trimmed unread is a hole, exactly.
#[test]
fn a_stream_of_one_entry_has_only_real_holes() {
    let mut bus = Streams::start();
    let edge = on(bus.broker().port(), "redis-stream name=bus stream=last");
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "last");
    let mut connection = connect(bus.broker().port());
    let mut position = None;
    for number in 0..30 {
        add(&mut connection, "last", &format!("{}-0", 10 * number + 1), 1);
        position = Some(next(&mut subscriber, &format!("{}-0", 10 * number + 1)));
    }
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 0);
    let mut all = redis::pipe();
    for id in ["400-0", "401-0", "402-7"] {
        all.cmd("XADD").arg(&["last", "MAXLEN", "1", id, "payload", id]);
    }
    all.atomic().exec(&mut connection).unwrap();
    let Received::Gap(gap) = subscriber.next() else { panic!("a gap") };
    let (epoch, _) = position.as_ref().unwrap().split_once('-').unwrap();
    let to = format!("{epoch}-{}", (402u128 << 64) + 6);
    assert_eq!(gap, Gap { from: position.clone().unwrap(), to });
    assert_eq!(next(&mut subscriber, "402-7"), format!("{epoch}-{}", (402u128 << 64) + 7));
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 1);
    edge.stop();
}

/// Each start reads what it says; whoever comes back to before that is told of a gap up to there.
#[test]
fn a_stream_is_read_from_where_it_is_said() {
    let mut bus = Streams::start();
    let port = bus.broker().port();
    let mut connection = connect(port);
    for number in 1..=300 {
        add(&mut connection, "s", &format!("{number}-5"), 1000);
    }
    let before = |number: u128| (number << 64) + 4;
    let cases = [
        ("new", 301_u128, (300 << 64) + 5),
        ("all", 1, before(1)),
        ("last:2", 299, before(299)),
        ("last:250", 51, before(51)),
        ("last:1000", 1, before(1)),
        ("behind:120-5", 121, (120 << 64) + 5),
        ("behind:120", 120, 120 << 64),
        ("time:1970-01-01T00:00:00.200Z", 200, (200 << 64) - 1),
    ];
    for (start, first, floor) in cases {
        let edge = on(port, &format!("redis-stream name=bus stream=s start={start}"));
        await_ready(&edge);
        let read = told_of_input(&edge, "stentor_input_records_total");
        assert_eq!(read, 301 - first as u64, "{start}");
        let mut live = Subscriber::join(edge.subscribers, Kind::Sse, "s");
        let id = format!("{}-0", add_next(&mut connection, "s"));
        let position = next(&mut live, &id);
        let (epoch, _) = position.split_once('-').unwrap();
        let mut reader = Reader::resume(edge.subscribers, Via::Sse, "s", &format!("{epoch}-1"));
        let gap = Gap { from: format!("{epoch}-1"), to: format!("{epoch}-{floor}") };
        assert_eq!(reader.next(), Item::Gap(gap), "{start}");
        for number in first..=300 {
            let position = format!("{epoch}-{}", (number << 64) + 5);
            let text = format!("{number}-5");
            assert_eq!(reader.next(), Item::Publication(text, Some(position)), "{start}");
        }
        assert_eq!(reader.next(), Item::Publication(id.clone(), Some(position)), "{start}");
        cmd("XDEL").arg("s").arg(&id).exec(&mut connection).unwrap();
        edge.stop();
    }
}

/// A stream that is not there yet is waited for, and read from its first entry.
#[test]
fn a_stream_that_comes_later_is_read_whole() {
    let mut bus = Streams::start();
    let edge = on(bus.broker().port(), "redis-stream name=bus stream=later start=new");
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "later");
    let mut connection = connect(bus.broker().port());
    let mut all = redis::pipe();
    for id in ["1-0", "1-1", "7-0"] {
        all.cmd("XADD").arg(&["later", id, "payload", id]);
    }
    all.atomic().exec(&mut connection).unwrap();
    for id in ["1-0", "1-1", "7-0"] {
        next(&mut subscriber, id);
    }
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 0);
    edge.stop();
}

/// A stream that is deleted and made anew with ids that go back is another to subscribers: they
/// leave, come back with a gap, and get all of it.
#[test]
fn a_stream_made_anew_is_read_from_its_beginning() {
    let mut bus = Streams::start();
    let edge = on(bus.broker().port(), "redis-stream name=bus stream=s");
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "s");
    let mut connection = connect(bus.broker().port());
    (1..=5).for_each(|number| add(&mut connection, "s", &format!("10{number}-0"), 100));
    let positions: Vec<String> =
        (1..=5).map(|number| next(&mut subscriber, &format!("10{number}-0"))).collect();
    let mut all = redis::pipe();
    all.cmd("DEL").arg("s");
    for id in ["1-1", "1-2"] {
        all.cmd("XADD").arg(&["s", id, "payload", id]);
    }
    all.atomic().exec(&mut connection).unwrap();
    assert_eq!(subscriber.next(), Received::End);
    let mut reader = Reader::resume(edge.subscribers, Via::Sse, "s", &positions[4]);
    let Item::Gap(gap) = reader.next() else { panic!("a gap") };
    assert_eq!(gap.from, positions[4]);
    let (epoch, floor) = gap.to.split_once('-').unwrap();
    assert_eq!(floor, (1u128 << 64).to_string());
    assert!(!positions[4].starts_with(epoch));
    for (id, sequence) in [("1-1", 1), ("1-2", 2)] {
        let position = format!("{epoch}-{}", (1u128 << 64) + sequence);
        assert_eq!(reader.next(), Item::Publication(id.to_owned(), Some(position)));
    }
    assert_eq!(skipped(&edge, "repeated"), 0);
    edge.stop();
}

/// What Redis does not take is told to its publisher, and harms nothing that comes behind it: a key
/// that is no stream, and a server that is down.
#[test]
fn what_is_not_forwarded_is_told() {
    let mut bus = Streams::start();
    let port = bus.broker().port();
    let input = format!("{} name=bus", bus.source(port));
    let edge = edge(&input, &["--publish-to", "bus"]);
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "ticks.1");
    cmd("SET").arg("ticks.3").arg("x").exec(&mut connect(port)).unwrap();
    let mut publisher = Publisher::of(&edge);
    let refused = |publisher: &mut Publisher, channel: &str, why: &str| {
        let answer = publisher.try_publish(channel, b"lost");
        let told = String::from_utf8(answer.body).expect("text");
        assert_eq!(answer.head.status, 502, "{told}");
        assert!(told.contains(why), "{told}");
    };
    refused(&mut publisher, "ticks.3", "WRONGTYPE");
    cmd("DEL").arg("ticks.3").exec(&mut connect(port)).unwrap();
    let told = publisher.publish_as("ticks.1", "", b"taken");
    let Received::Publication { payload, position } = subscriber.next() else { panic!() };
    assert_eq!((&payload[..], position.as_deref()), (&b"taken"[..], told["position"].as_str()));
    bus.kill();
    // The first finds out that the connection has ended; the second that nobody is there.
    refused(&mut publisher, "ticks.1", "redis");
    refused(&mut publisher, "ticks.1", "redis");
    bus.restart();
    publisher.publish_as("ticks.1", "", b"taken again");
    assert_eq!(subscriber.publication(), b"taken again");
    edge.stop();
}

/// An edge on the server at this port, with channels that keep everything.
#[track_caller]
fn on(port: u16, input: &str) -> Server {
    edge(&format!("{input} url=redis://127.0.0.1:{port}"), &[])
}

/// Adds an entry whose payload is its id, and keeps so many.
#[track_caller]
fn add(connection: &mut Connection, stream: &str, id: &str, keep: usize) {
    let keep = keep.to_string();
    let all = [stream, "MAXLEN", &keep, id, "payload", id];
    cmd("XADD").arg(&all).exec(connection).expect("an id that rises");
}

/// Adds an entry behind all; gives the milliseconds of its id.
#[track_caller]
fn add_next(connection: &mut Connection, stream: &str) -> u128 {
    let told: Vec<Value> = cmd("XINFO").arg("STREAM").arg(stream).query(connection).unwrap();
    let at = told.iter().position(|it| *it == Value::BulkString(b"last-generated-id".to_vec()));
    let Value::BulkString(last) = &told[at.unwrap() + 1] else { panic!("an id") };
    let last = String::from_utf8(last.clone()).unwrap();
    let ms: u128 = last.split_once('-').unwrap().0.parse().unwrap();
    add(connection, stream, &format!("{}-0", ms + 1), 1000);
    ms + 1
}

/// The position of the next publication, which is the entry of this id.
#[track_caller]
fn next(subscriber: &mut Subscriber, id: &str) -> String {
    match subscriber.next() {
        Received::Publication { payload, position: Some(position) } => {
            assert_eq!(String::from_utf8(payload).as_deref(), Ok(id));
            position
        }
        other => panic!("{id} should come and not {other:?}"),
    }
}
