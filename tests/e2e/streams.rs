//! Several channels in one event stream, whose ids are vectors of positions.

use serde_json::{Value, json};

use crate::support::{Event, Gap, Io, Publisher, Server, Streams, ask};

on_both_kernels!(every_channel_of_a_stream_resumes, gaps_name_their_channel);

/// Each event names its channel, what kind of payload it has, and where all channels stand; whoever
/// comes back with any of these ids gets exactly what followed, of every channel.
fn every_channel_of_a_stream_resumes(io: Io) {
    let server = Server::start(io, &["--shards", "3", "--channels", "* history=100"]);
    let mut publisher = Publisher::of(&server);
    let channels = ["sport", "news", "a/b:c"];
    let before: Vec<String> =
        channels.iter().map(|channel| publisher.publish(channel, b"before").0).collect();
    let query = format!("channels={}", channels.join(","));
    let mut stream = Streams::open(server.subscribers, &query, "");
    let vector = |positions: &[String]| -> String {
        let pairs = channels.iter().zip(positions).map(|(name, at)| format!("{name}={at}"));
        pairs.collect::<Vec<_>>().join(",")
    };
    assert_eq!(stream.first, vector(&before));
    let payloads = [
        (&b"plain"[..], "", "", "plain"),
        (b"{\"a\": 1}", "Content-Type: application/json\r\n", ";json", "{\"a\": 1}"),
        (b"\xff\0", "", ";base64", "/wA="),
        (b"two\r\nlines", "", "", "two\nlines"),
    ];
    let (mut at, mut events) = (before.clone(), vec![vector(&before)]);
    let mut seen: Vec<Event> = Vec::new();
    for number in 0..24 {
        let (channel, (payload, lines, suffix, data)) =
            (number * 7 % 3, payloads[number % payloads.len()]);
        let told = publisher.publish_as(channels[channel], lines, payload);
        at[channel] = told["position"].as_str().unwrap().to_owned();
        let kind = Some(format!("{}{suffix}", channels[channel]));
        let expected = Event { id: vector(&at), kind, data: data.to_owned() };
        assert_eq!(stream.next(), Some(expected.clone()));
        events.push(expected.id.clone());
        seen.push(expected);
    }
    // Channels are caught up with one after the other, so of each its own order counts.
    for (from, id) in events.iter().enumerate() {
        let line = format!("Last-Event-ID: {id}\r\n");
        let since = format!("&since={id}");
        let by_query = Streams::open(server.subscribers, &(query.clone() + &since), "");
        let by_header = Streams::open(server.subscribers, &query, &line);
        for mut stream in [by_query, by_header] {
            assert_eq!(&stream.first, id);
            let again: Vec<Event> = seen[from..].iter().map(|_| stream.next().unwrap()).collect();
            for channel in channels {
                let of = |events: &[Event]| -> Vec<(Option<String>, String)> {
                    let its = |event: &&Event| {
                        let kind = event.kind.as_deref().unwrap_or("");
                        kind.split(';').next() == Some(channel)
                    };
                    let events = events.iter().filter(its);
                    events.map(|event| (event.kind.clone(), event.data.clone())).collect()
                };
                assert_eq!(of(&again), of(&seen[from..]), "{channel} from {id}");
            }
            assert_eq!(again.last().map_or(id, |last| &last.id), &vector(&at));
        }
    }
    server.stop();
}

/// A gap is told of the channel that has it, and of no other; `last` holds for the channels that
/// the ids do not name.
fn gaps_name_their_channel(io: Io) {
    let server = Server::start(io, &["--channels", "short history=2; * history=100"]);
    let mut publisher = Publisher::of(&server);
    let mut publish = |channel: &str| -> Vec<String> {
        (0..5).map(|at| publisher.publish(channel, format!("{at}").as_bytes()).0).collect()
    };
    let (short, long, other) = (publish("short"), publish("long"), publish("other"));
    let query = "channels=short,long,other&last=1";
    let line = format!("Last-Event-ID: short={},long={}\r\n", short[0], long[2]);
    let mut stream = Streams::open(server.subscribers, query, &line);
    let begun = format!("short={},long={},other={}", short[2], long[2], other[3]);
    assert_eq!(stream.first, "", "whoever has the id has heard of the gap");
    let gap = stream.next().unwrap();
    assert_eq!((&gap.id, gap.kind.as_deref()), (&begun, Some("short;gap")));
    let told: Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(told["channel"], "short");
    assert_eq!(Gap::of(&told), Gap { from: short[0].clone(), to: short[2].clone() });
    let mut events: Vec<(String, String)> = (0..5)
        .map(|_| stream.next().unwrap())
        .map(|event| (event.kind.unwrap(), event.data))
        .collect();
    events.sort();
    let expected = [("long", "3"), ("long", "4"), ("other", "4"), ("short", "3"), ("short", "4")];
    assert!(events.iter().map(|(kind, data)| (&kind[..], &data[..])).eq(expected), "{events:?}");

    let line = "Last-Event-ID: short=1-1,long=1-1\r\n";
    let mut stream = Streams::open(server.subscribers, "channels=short,long", line);
    let gaps = [stream.next().unwrap(), stream.next().unwrap()];
    let kinds = gaps.each_ref().map(|gap| gap.kind.as_deref());
    assert_eq!(kinds, [Some("short;gap"), Some("long;gap")]);
    let to = |gap: &Event| Gap::of(&serde_json::from_str(&gap.data).unwrap()).to;
    let vector = format!("short={},long={}", to(&gaps[0]), to(&gaps[1]));
    assert_eq!(gaps.each_ref().map(|gap| &gap.id[..]), ["", &vector], "the last has the id");
    server.stop();
}

/// Sixteen channels are enough for anybody; one more, one twice, and positions of others are
/// refused with what would be right.
#[test]
fn what_a_stream_may_ask_for_is_limited() {
    let server = Server::start(Io::Uring, &["--subscriptions-max", "16"]);
    let names = |count: usize| (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
    let mut stream = Streams::open(server.subscribers, &format!("channels={}", names(16)), "");
    Publisher::of(&server).publish_as("c15", "Content-Type: application/json\r\n", b"1");
    assert_eq!(stream.next().unwrap().kind.as_deref(), Some("c15;json"));
    for (query, word) in [
        (format!("channels={}", names(17)), "16"),
        ("channels=a,b,a".to_owned(), "twice"),
        ("channels=a&since=b=1-1".to_owned(), "no other"),
        ("channels=a&since=a=1-1,a=1-2".to_owned(), "once"),
        ("channels=a&since=1-1".to_owned(), "channel=position"),
        ("channels=a,&last=1".to_owned(), "channel"),
        ("last=1".to_owned(), "?channels="),
    ] {
        let head = format!("GET /sse?{query} HTTP/1.1\r\nHost: localhost\r\n");
        let answer = ask(server.subscribers, &head);
        let told = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.head.status, 400, "{query}: {told}");
        assert!(told.contains(word), "{query}: {told}");
    }
    server.stop();

    let few = Server::start(Io::Uring, &["--subscriptions-max", "3"]);
    let head = format!("GET /sse?channels={} HTTP/1.1\r\nHost: localhost\r\n", names(4));
    let refused = ask(few.subscribers, &head);
    assert_eq!(refused.head.status, 400, "{}", json!(String::from_utf8_lossy(&refused.body)));
    Streams::open(few.subscribers, &format!("channels={}", names(3)), "");
    few.stop();
}
