//! What publishers may ask for besides publishing, and what channels may be besides a log.

use serde_json::{Value, json};

use crate::support::{Io, Kind, Poller, Publisher, Server, Streams, Subscriber, Talk, eventually};

on_both_kernels!(
    a_newcomer_gets_the_current_values,
    publishing_twice_is_harmless,
    an_older_version_is_refused,
    presence_is_told,
);

/// Whoever subscribes to latest values gets the newest of every key, in the order in which they
/// were published, and then every change; over every transport, and whatever it asks for besides.
fn a_newcomer_gets_the_current_values(io: Io) {
    let server = Server::start(io, &["--channels", "prices mode=latest history=3"]);
    let mut publisher = Publisher::of(&server);
    let mut publish = |key: &str, value: &str| -> Value {
        let channel = format!("prices?key={}", key.replace('/', "%2F"));
        let told =
            publisher.publish_as(&channel, "Content-Type: application/json\r\n", value.as_bytes());
        let data: Value = serde_json::from_str(value).unwrap();
        json!({ "channel": "prices", "id": told["position"], "key": key, "data": data })
    };
    publish("EUR/USD", "1.1");
    let first = publish("ü", "[2]");
    publish("c", "3");
    publish("EUR/USD", "1.2");
    let third = publish("c", "3.1");
    let second = publish("EUR/USD", "1.3");
    let current = [first, third, second];
    let address = server.subscribers;
    let mut talks: Vec<Talk> = Vec::new();
    for more in [json!({}), json!({ "last": 1 }), json!({ "since": "1-1" })] {
        let mut talk = Talk::open(address, "");
        assert_eq!(talk.subscribe("prices", &more)["type"], "subscribed");
        for object in &current {
            assert_eq!(&talk.hear(), object, "{more}");
        }
        talks.push(talk);
    }
    assert_eq!(Poller::connect(address).poll("prices?timeout=0", "").publications, current);
    // Who knows the first lacks the others.
    let known = current[0]["id"].as_str().unwrap();
    let since = format!("prices?since={known}");
    assert_eq!(Poller::connect(address).poll(&since, "").publications, current[1..]);
    let mut plain = Kind::BOTH.map(|kind| Subscriber::join(address, kind, "prices"));
    let mut streams = Streams::open(address, "channels=prices", "");
    // Each is read before the next is published: what is replaced meanwhile nobody needs.
    let mut expect = |object: &Value| {
        let data = object["data"].to_string();
        assert_eq!(streams.next().unwrap().data, data);
        for subscriber in &mut plain {
            assert_eq!(String::from_utf8(subscriber.publication()).unwrap(), data);
        }
    };
    current.iter().for_each(&mut expect);
    let change = publish("c", "3.2");
    talks.iter_mut().for_each(|talk| assert_eq!(talk.hear(), change));
    expect(&change);
    let shown = server.shown("/channels/prices");
    assert_eq!((&shown["mode"], &shown["kept"]), (&json!("latest"), &json!(3)));
    let refused = publisher.try_publish_as("prices?key=fourth", "", b"4");
    assert_eq!(refused.head.status, 503, "there may be three keys");
    server.stop();
}

/// An idempotency key that was used in this channel is answered as the first time was, and
/// published once; in another channel it is another.
fn publishing_twice_is_harmless(io: Io) {
    let server = Server::start(io, &[]);
    let mut readers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "orders"));
    let mut publisher = Publisher::of(&server);
    for number in 0..50 {
        let line = format!("Idempotency-Key: order-{number}\r\n");
        let mut first = publisher.publish_as("orders", &line, format!("{number}").as_bytes());
        assert_eq!(first.get("repeated"), None);
        let elsewhere = publisher.publish_as("elsewhere", &line, b"x");
        assert_eq!(elsewhere.get("repeated"), None);
        first["repeated"] = json!(true);
        for payload in [&b"the same"[..], b"or not"] {
            assert_eq!(publisher.publish_as("orders", &line, payload), first);
        }
    }
    for number in 0..50 {
        for reader in &mut readers {
            assert_eq!(reader.publication(), format!("{number}").as_bytes());
        }
    }
    server.stop();
}

/// A version that is not above the last of its key is refused with 409 and seen by nobody; keys,
/// channels, and channels without keys have versions of their own.
fn an_older_version_is_refused(io: Io) {
    let server = Server::start(io, &["--channels", "latest* mode=latest"]);
    for channel in ["log", "latest"] {
        let mut reader = Subscriber::join(server.subscribers, Kind::WebSocket, channel);
        let mut publisher = Publisher::of(&server);
        let mut seen = Vec::new();
        for (parameters, status) in [
            ("key=a&version=5", 200),
            ("key=a&version=5", 409),
            ("key=a&version=4", 409),
            ("key=b&version=4", 200),
            ("version=1", 200),
            ("version=1", 409),
            ("version=18446744073709551615", 200),
            ("key=a", 200),
            ("key=a&version=5", 409),
            ("key=a&version=6", 200),
        ] {
            let asked = format!("{channel}?{parameters}");
            let payload = format!("{} {parameters}", seen.len()).into_bytes();
            let answer = publisher.try_publish_as(&asked, "", &payload);
            assert_eq!(answer.head.status, status, "{asked}");
            match status {
                200 => seen.push(payload),
                _ => assert!(String::from_utf8(answer.body).unwrap().contains("version")),
            }
            // At once, so that nothing is replaced before it was read.
            if status == 200 {
                assert_eq!(Some(&reader.publication()), seen.last());
            }
        }
        publisher.publish(channel, b"the end");
        assert_eq!(reader.publication(), b"the end");
    }
    server.stop();
}

/// Where the policy says so, `{channel}:presence` has the number of subscribers over all shards and
/// transports, and tells when it changes. Elsewhere nothing is told.
fn presence_is_told(io: Io) {
    let server = Server::start(io, &["--shards", "3", "--channels", "room.* presence=true"]);
    let mut watcher = Subscriber::join(server.subscribers, Kind::Sse, "room.1:presence");
    let mut unwatched = Subscriber::join(server.subscribers, Kind::Sse, "hall:presence");
    let mut await_count = |count: usize| {
        let expected = format!("{{\"subscribers\":{count}}}");
        while watcher.publication() != expected.as_bytes() {}
    };
    let join = |channel: &str, index: usize| {
        Subscriber::join(server.subscribers, Kind::BOTH[index % 2], channel)
    };
    let mut members: Vec<Subscriber> = (0..12).map(|index| join("room.1", index)).collect();
    let _hall: Vec<Subscriber> = (0..3).map(|index| join("hall", index)).collect();
    await_count(12);
    let mut talk = Talk::open(server.subscribers, "/room.1");
    assert_eq!(talk.hear()["type"], "subscribed");
    await_count(13);
    assert_eq!(server.shown("/channels/room.1")["subscribers"], 13);
    let mut late = Subscriber::join(server.subscribers, Kind::WebSocket, "room.1:presence");
    assert_eq!(late.publication(), b"{\"subscribers\":13}", "the current value comes first");
    members.truncate(4);
    await_count(5);
    drop(members);
    talk.say(&json!({ "type": "unsubscribe", "channel": "room.1" }));
    await_count(0);
    eventually("the room is gone", || {
        let names = server.shown("/channels?prefix=room.1")["channels"].clone();
        let names: Vec<Value> = names.as_array()?.iter().map(|it| it["channel"].clone()).collect();
        (names == ["room.1:presence"]).then_some(())
    });
    Publisher::of(&server).publish("hall:presence", b"from a publisher");
    assert_eq!(unwatched.publication(), b"from a publisher");
    server.stop();
}
