//! `stentor.v1`: many channels over one WebSocket, publishing over it, and every reply.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Io, Kind, Publisher, Received, Server, Subscriber, Talk, Wire, eventually, upgrade,
};

on_both_kernels!(
    every_channel_resumes_from_its_own,
    one_breath_is_carried_out_in_order,
    the_request_may_bring_channels,
    who_may_publish_does,
    every_error_has_its_code,
);

/// A hundred channels over one connection, each from a position of its own, asked for in one
/// message: every reply comes before what was missed, which comes before what follows. An
/// unsubscribed channel brings nothing more, and its position is the last that was delivered.
fn every_channel_resumes_from_its_own(io: Io) {
    const CHANNELS: usize = 100;
    let server = Server::start(io, &["--shards", "3", "--channels", "* history=20"]);
    let mut publisher = Publisher::of(&server);
    let name = |channel: usize| format!("room.{channel}");
    let mut publish = |channel: usize, number: usize| {
        publisher.publish(&name(channel), format!("{number}").as_bytes()).0
    };
    let mut book: Vec<Vec<String>> =
        (0..CHANNELS).map(|channel| (0..10).map(|at| publish(channel, at)).collect()).collect();
    let from = |channel: usize| channel % 10;
    let mut talk = Talk::open(server.subscribers, "");
    let command = |channel: usize| {
        let since = &book[channel][from(channel)];
        json!({ "id": channel, "type": "subscribe", "channel": name(channel), "since": since })
    };
    talk.say(&(0..CHANNELS).map(command).collect());
    let mut next: Vec<Option<usize>> = vec![None; CHANNELS];
    let owed: usize = (0..CHANNELS).map(|channel| 10 - from(channel)).sum();
    let hear = |talk: &mut Talk, next: &mut [Option<usize>], book: &[Vec<String>]| {
        let told = talk.hear();
        let channel: usize = told["channel"].as_str().unwrap()["room.".len()..].parse().unwrap();
        match next[channel] {
            None => {
                let position = &book[channel][from(channel)];
                let expected = json!({ "id": channel, "type": "subscribed",
                    "channel": name(channel), "position": position, "recovered": true });
                assert_eq!(told, expected);
                next[channel] = Some(from(channel) + 1);
            }
            Some(number) => {
                let (id, data) = (&book[channel][number], number.to_string());
                assert_eq!(told, json!({ "channel": name(channel), "id": id, "data": data }));
                next[channel] = Some(number + 1);
            }
        }
    };
    (0..owed).for_each(|_| hear(&mut talk, &mut next, &book));
    assert_eq!(next, [Some(10); CHANNELS]);

    let odd = |channel: usize| channel % 2 == 1;
    let leave = |channel| json!({ "id": 1, "type": "unsubscribe", "channel": name(channel) });
    talk.say(&(0..CHANNELS).filter(|&it| odd(it)).map(leave).collect());
    for channel in (0..CHANNELS).filter(|&channel| odd(channel)) {
        let (channel, position) = (name(channel), &book[channel][9]);
        let expected =
            json!({ "id": 1, "type": "unsubscribed", "channel": channel, "position": position });
        assert_eq!(talk.hear(), expected);
    }
    for (channel, positions) in book.iter_mut().enumerate() {
        positions.push(publish(channel, 10));
    }
    (0..CHANNELS / 2).for_each(|_| hear(&mut talk, &mut next, &book));
    for (channel, next) in next.iter().enumerate() {
        assert_eq!(*next, Some(if odd(channel) { 10 } else { 11 }), "{channel}");
    }
    assert_eq!(talk.ask(&json!({ "type": "ping" })), json!({ "type": "pong" }));
    server.stop();
}

/// Who changes its mind before it is answered, over and over in one message, is answered as if it
/// had waited each time: nothing is refused, no command is without its reply, and it is on the
/// channel in the end.
fn one_breath_is_carried_out_in_order(io: Io) {
    const TIMES: usize = 20;
    let server = Server::start(io, &["--shards", "3"]);
    let mut talk = Talk::open(server.subscribers, "");
    let rooms = ["room.0", "room.1", "room.2"];
    let command = |id: usize| {
        let kind = if id.is_multiple_of(2) { "subscribe" } else { "unsubscribe" };
        rooms.map(|room| json!({ "id": id, "type": kind, "channel": room }))
    };
    talk.say(&(0..=2 * TIMES).flat_map(command).collect());
    let mut next = [0; 3];
    while next != [2 * TIMES + 1; 3] {
        let told = talk.hear();
        let room = rooms.iter().position(|room| told["channel"] == **room).expect("a room");
        let kind = if next[room] % 2 == 0 { "subscribed" } else { "unsubscribed" };
        assert_eq!((&told["id"], &told["type"]), (&json!(next[room]), &json!(kind)), "{told}");
        next[room] += 1;
    }
    let mut publisher = Publisher::of(&server);
    for room in rooms {
        let id = publisher.publish(room, b"hello").0;
        assert_eq!(talk.hear(), json!({ "channel": room, "id": id, "data": "hello" }));
    }
}

/// Channels of the path or the query are subscribed to as if by commands without an id, each from
/// its position if it is named. Without the subprotocol `/ws` is no endpoint.
fn the_request_may_bring_channels(io: Io) {
    let server = Server::start(io, &["--channels", "* history=20"]);
    let mut publisher = Publisher::of(&server);
    let a: Vec<String> = (0..3).map(|_| publisher.publish("a", b"A").0).collect();
    let b: Vec<String> = (0..3).map(|_| publisher.publish("b", b"B").0).collect();
    let subscribed = |channel: &str, position: &str, recovered: Option<bool>| {
        let mut told = json!({ "type": "subscribed", "channel": channel, "position": position });
        if let Some(recovered) = recovered {
            told["recovered"] = recovered.into();
        }
        told
    };
    let publication =
        |channel: &str, id: &str, data: &str| json!({ "channel": channel, "id": id, "data": data });
    let in_path = format!("/a?since={}", a[1]);
    let query = format!("?channels=a,b&since=a={}&last=1", a[1]);
    let mut by_path = Talk::open(server.subscribers, &in_path);
    assert_eq!(by_path.hear(), subscribed("a", &a[1], Some(true)));
    assert_eq!(by_path.hear(), publication("a", &a[2], "A"));
    let mut by_query = Talk::open(server.subscribers, &query);
    let mut heard: Vec<Value> = (0..4).map(|_| by_query.hear()).collect();
    heard.sort_by_key(|told| (told["channel"].to_string(), told.get("id").is_some()));
    let expected = [
        subscribed("a", &a[1], Some(true)),
        publication("a", &a[2], "A"),
        subscribed("b", &b[1], None),
        publication("b", &b[2], "B"),
    ];
    assert_eq!(heard, expected);
    let refused = Wire::request(server.subscribers, &upgrade("/ws?channels=a")).answer();
    let told = String::from_utf8(refused.body).unwrap();
    assert_eq!(refused.head.status, 400);
    assert!(told.contains("stentor.v1"), "{told}");
    server.stop();
}

/// A subscriber publishes JSON, text and bytes, which arrive as they are everywhere; the position
/// in the reply is the one that readers see. What it may not publish it is told.
fn who_may_publish_does(io: Io) {
    let channels = "chat.* publish=true history=10";
    let server = Server::start(io, &["--shards", "2", "--channels", channels]);
    for channel in ["chat.a", "chat.b", "chat.c"] {
        let mut plain = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, channel));
        let mut reader = Talk::open(server.subscribers, "");
        reader.subscribe(channel, &json!({}));
        let mut writer = Talk::open(server.subscribers, "");
        for (field, data, told, bytes) in [
            (
                "data",
                json!({ "a": [1, null] }),
                json!({ "a": [1, null] }),
                &b"{\"a\":[1,null]}"[..],
            ),
            ("data", json!(null), json!(null), b"null"),
            ("text", json!("Grüße\n\"x\""), json!("Grüße\n\"x\""), "Grüße\n\"x\"".as_bytes()),
            ("base64", json!("/wD/"), json!("/wD/"), b"\xff\0\xff"),
        ] {
            let command = json!({ "id": 9, "type": "publish", "channel": channel, field: data });
            let reply = writer.ask(&command);
            let position = reply["position"].as_str().expect("a position").to_owned();
            let expected =
                json!({ "id": 9, "type": "published", "channel": channel, "position": position });
            assert_eq!(reply, expected);
            let mut heard = json!({ "channel": channel, "id": position, "data": told });
            if field == "base64" {
                heard["encoding"] = json!("base64");
            }
            assert_eq!(reader.hear(), heard);
            assert_eq!(plain[0].publication(), bytes);
            let event = Received::Publication { payload: bytes.into(), position: Some(position) };
            assert_eq!(plain[1].next(), event);
        }
        let once = json!({ "id": 1, "type": "publish", "channel": channel, "text": "once",
            "idempotency": "key" });
        let mut first = writer.ask(&once);
        first["repeated"] = json!(true);
        assert_eq!(writer.ask(&once), first);
        assert_eq!(reader.hear()["id"], first["position"]);
        let after = json!({ "type": "publish", "channel": channel, "text": "after" });
        let after = writer.ask(&after)["position"].clone();
        assert_eq!(reader.hear()["id"], after, "it was published once");
    }
    server.stop();
}

/// Every way to be refused, with its code and a word of what would be right; the conversation goes
/// on after each.
fn every_error_has_its_code(io: Io) {
    let flags = [
        "--shards",
        "1",
        "--publication-max",
        "100B",
        "--channels-max",
        "6",
        "--subscriptions-max",
        "4",
        "--drain",
        "1h",
        "--channels",
        "chat publish=true; keys mode=latest history=2 publish=true",
    ];
    let server = Server::start(io, &flags);
    let mut talk = Talk::open(server.subscribers, "");
    for channel in ["one", "two", "chat"] {
        talk.subscribe(channel, &json!({}));
    }
    for key in ["a", "b"] {
        assert_eq!(talk.ask(&publish("keys", "x", json!({ "key": key })))["type"], "published");
    }
    assert_eq!(talk.ask(&publish("keys", "x", json!({ "key": "a", "version": 3 })))["id"], 7);
    for (code, command, word) in wrong_commands() {
        expect_error(&mut talk, &command, code, word);
    }
    // 6 channels: these two, chat, keys, and two more of another's.
    let mut other = Talk::open(server.subscribers, "");
    ["five", "six"].iter().for_each(|name| drop(other.subscribe(name, &json!({}))));
    expect_error(&mut talk, &subscribe("seven"), "too_many_channels", "channels");
    assert_eq!(talk.ask(&subscribe("six"))["type"], "subscribed");
    expect_error(&mut talk, &subscribe("five"), "too_many_subscriptions", "unsubscribe");

    let many: Value = (0..17).map(|_| publish("chat", "x", json!({}))).collect();
    other.say(&many);
    let replies: Vec<Value> = (0..17).map(|_| other.hear()).collect();
    let busy: Vec<&Value> = replies.iter().filter(|told| told["type"] == "error").collect();
    assert!(busy.len() == 1 && busy[0]["code"] == "busy", "{replies:?}");
    (0..16).for_each(|_| assert_eq!(talk.hear()["data"], "x"));

    let pings = |count| vec![json!({ "type": "ping" }); count].into_iter().collect::<Value>();
    other.say(&pings(128));
    (0..128).for_each(|_| assert_eq!(other.hear(), json!({ "type": "pong" })));
    let told = other.ask(&pings(129));
    assert_eq!((&told["code"], told.get("id")), (&json!("bad_command"), None), "{told}");
    assert!(told["message"].as_str().unwrap().contains("128"), "{told}");
    other.say_frame(0x82, b"{\"type\":\"ping\"}");
    let Err(Received::Close(code, _)) = other.next() else { panic!("binary is no command") };
    assert_eq!(code, 1003);

    let talks: Vec<Talk> = (0..40).map(|_| Talk::open(server.subscribers, "")).collect();
    server.signal(Signal::TERM);
    eventually("it drains", || server.shown("/stats")["draining"].as_bool().filter(|&it| it));
    let told = talks.into_iter().filter_map(|mut talk| {
        talk.say(&subscribe("one"));
        talk.next().ok()
    });
    let told: Vec<Value> = told.collect();
    assert!(!told.is_empty(), "an hour is enough to be told");
    assert!(told.iter().all(|told| told["code"] == "draining"), "{told:?}");
}

fn subscribe(channel: &str) -> Value {
    json!({ "id": 7, "type": "subscribe", "channel": channel })
}

fn publish(channel: &str, text: &str, terms: Value) -> Value {
    let mut command = json!({ "id": 7, "type": "publish", "channel": channel, "text": text });
    command.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
    command
}

/// Commands that are refused where [`every_error_has_its_code`] stands: the code, the command, and a
/// word of what would be right.
fn wrong_commands() -> Vec<(&'static str, Value, &'static str)> {
    let at =
        |since: &str| json!({ "id": 7, "type": "subscribe", "channel": "three", "since": since });
    vec![
        ("bad_command", json!({ "id": 7, "type": "subscribe" }), "channel"),
        ("bad_command", json!({ "id": 7, "type": "jump" }), "subscribe"),
        ("bad_command", json!({ "id": 7, "type": "ping", "chanel": "x" }), "chanel"),
        (
            "bad_command",
            json!([{ "id": 7, "type": "ping", "key": 1 }, { "type": "ping" }]),
            "string",
        ),
        ("bad_channel", subscribe("two words"), "letters"),
        ("bad_position", at("yesterday"), "18c2f3a9d1e-42"),
        ("already_subscribed", subscribe("one"), "already"),
        ("not_subscribed", json!({ "id": 7, "type": "unsubscribe", "channel": "x" }), "not"),
        ("forbidden", publish("one", "x", json!({})), "not publish"),
        ("too_large", publish("chat", &"x".repeat(101), json!({})), "100"),
        ("stale_version", publish("keys", "x", json!({ "key": "a", "version": 3 })), "higher"),
        ("too_many_keys", publish("keys", "x", json!({ "key": "c" })), "keys"),
    ]
}

#[track_caller]
fn expect_error(talk: &mut Talk, command: &Value, code: &str, word: &str) {
    let told = talk.ask(command);
    let shown = format!("{command}: {told}");
    assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!(code)), "{shown}");
    assert_eq!(told.get("id"), Some(&json!(7)), "{shown}");
    assert!(told["message"].as_str().is_some_and(|text| text.contains(word)), "{shown}");
    if let Some(channel) =
        command.get("channel").filter(|_| !["bad_channel", "bad_command"].contains(&code))
    {
        assert_eq!(&told["channel"], channel, "{shown}");
    }
}
