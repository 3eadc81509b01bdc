//! Stories of every kind of bus, with a log or without.

use serde_json::{Value, json};

use super::{Script, binary, expect_exactly, join_all, text, torrent::Torrent};
use crate::{
    bus::{Bus, CHANNELS, Record},
    edge::{
        INPUT, await_ready, await_reconnects, await_skipped, edge, edge_on, input, readiness,
        told_of_input,
    },
    support::{Kind, Publisher, Subscriber},
};

/// Records under several subjects come out on the channel of each, all of them, in order, once, with
/// every byte that they have, over either transport.
pub fn subjects_become_channels<B: Bus>() {
    let mut bus = B::start();
    let edge = edge_on(&mut bus);
    let mut subscribers = Kind::BOTH.map(|kind| join_all::<B>(&edge, kind));
    let mut script = Script::new(1);
    bus.publish(&script.on_any::<B>(3000, binary));
    for subscribers in &mut subscribers {
        for (channel, subscriber) in subscribers.iter_mut().enumerate() {
            expect_exactly(subscriber, &script.made[channel]);
        }
    }
    assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 3000);
    edge.stop();
}

/// 100,000 records go to 100 subscribers, and each gets exactly what was published, in order.
pub fn many_subscribers_get_everything<B: Bus>() {
    const RECORDS: usize = 100_000;
    const SUBSCRIBERS: usize = 100;
    let mut bus = B::start();
    let edge = edge_on(&mut bus);
    let torrent = Torrent::new::<B>(RECORDS);
    let mut readers = torrent.join(&edge, SUBSCRIBERS);
    for records in torrent.records.chunks(B::BURST) {
        bus.publish(records);
        readers.await_more(records);
    }
    readers.expect_everything();
    edge.stop();
}

/// Subscribers stay connected while the broker is dead, and get what is published once it is back.
pub fn subscribers_outlive_the_broker<B: Bus>() {
    let mut bus = B::start_alone();
    let edge = edge_on(&mut bus);
    let mut subscribers = Kind::BOTH.map(|kind| join_all::<B>(&edge, kind));
    let mut script = Script::new(2);
    for round in 0..B::KILLS {
        let before: Vec<usize> = script.made.iter().map(Vec::len).collect();
        bus.publish(&script.on_any::<B>(500, text));
        for subscribers in &mut subscribers {
            for (channel, subscriber) in subscribers.iter_mut().enumerate() {
                expect_exactly(subscriber, &script.made[channel][before[channel]..]);
            }
        }
        bus.kill();
        bus.restart();
        await_reconnects(&edge, round + 1);
    }
    edge.stop();
}

/// With the broker down an edge serves, is not ready, and says which input keeps it from being so;
/// it becomes ready when the broker comes.
pub fn an_edge_waits_for_its_broker<B: Bus>() {
    let mut bus = B::start_alone();
    let port = bus.port();
    bus.kill();
    let edge = edge(&input(&bus, port, ""), &[]);
    let mut subscribers = join_all::<B>(&edge, Kind::Sse);
    let told = readiness(&edge);
    let text = String::from_utf8(told.body).expect("text");
    assert_eq!(told.head.status, 503, "{text}");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["ready"], false, "{told}");
    assert!(text.contains(&format!("\"{INPUT}\"")), "it names the input: {told}");
    bus.restart();
    await_ready(&edge);
    let mut script = Script::new(3);
    bus.publish(&script.on_any::<B>(200, super::text));
    for (channel, subscriber) in subscribers.iter_mut().enumerate() {
        expect_exactly(subscriber, &script.made[channel]);
    }
    edge.stop();
}

/// Records that map to nothing, or to what is no channel's name, are counted by the reason, and what
/// is published between them arrives.
pub fn bad_records_are_counted<B: Bus>() {
    const EACH: usize = 50;
    let mut bus = B::start();
    let port = bus.port();
    let source = bus.source(port);
    let words = "channel={json:/to} payload=/what filter={json:/kind}=wanted";
    let edge = edge(&format!("{source} name={INPUT} {words}"), &[]);
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "good");
    let mut records = Vec::new();
    let mut expected = Vec::new();
    for number in 0..EACH {
        let mut say = |payload: String| {
            let channel = B::channel(number % CHANNELS);
            records.push(Record { channel, payload: payload.into_bytes() });
        };
        say(json!({ "kind": "wanted", "to": "no name!", "what": 1 }).to_string());
        say(json!({ "kind": "wanted", "what": 1 }).to_string());
        say(json!({ "kind": "wanted", "to": "good" }).to_string());
        say(json!({ "kind": "other", "to": "good", "what": 1 }).to_string());
        say("{no JSON".to_owned());
        say(json!({ "kind": "wanted", "to": "good", "what": { "number": number } }).to_string());
        expected.push(json!({ "number": number }).to_string().into_bytes());
        // All on one of the bus's sequences, so that there is one order.
        let same = records[0].channel.clone();
        records.iter_mut().for_each(|record| record.channel.clone_from(&same));
    }
    bus.publish(&records);
    expect_exactly(&mut subscriber, &expected);
    let each = EACH as u64;
    await_skipped(&edge, "bad_name", each);
    await_skipped(&edge, "unmapped", 2 * each);
    await_skipped(&edge, "filtered", 2 * each);
    assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 6 * each);
    edge.stop();
}

/// What is published at one edge goes to the bus, and comes from there to the subscribers of every
/// edge, in the order in which it was published.
pub fn a_publication_is_forwarded_to_every_edge<B: Bus>() {
    let mut bus = B::start();
    let port = bus.port();
    let text = input(&bus, port, "");
    let edges = [(); 2].map(|()| edge(&text, &["--publish-to", INPUT]));
    edges.iter().for_each(await_ready);
    let channel = B::channel(1);
    let mut subscribers =
        [0, 1].map(|at| Subscriber::join(edges[at].subscribers, Kind::WebSocket, &channel));
    let mut publisher = Publisher::of(&edges[0]);
    let mut expected = Vec::new();
    for number in 0..50 {
        let payload = [format!("forwarded {number} ").as_bytes(), b"\x00\xff"].concat();
        let told = publisher.publish_as(&channel, "", &payload);
        assert_eq!((&told["channel"], &told["forwarded"]), (&json!(channel), &json!(INPUT)));
        expected.push(payload);
    }
    subscribers.iter_mut().for_each(|subscriber| expect_exactly(subscriber, &expected));
    edges.into_iter().for_each(|edge| edge.stop());
}

/// Where nothing is forwarded, publishing to a channel of a bus is refused, and the answer names the
/// input; other channels can be published to.
pub fn a_channel_of_a_bus_is_not_published_to<B: Bus>() {
    let mut bus = B::start();
    let port = bus.port();
    // Where the bus gives the names, an input that reads all of it may feed any channel.
    let edge = edge(&format!("{} name={INPUT} channel=fed", bus.source(port)), &[]);
    await_ready(&edge);
    let mut publisher = Publisher::of(&edge);
    let answer = publisher.try_publish("fed", b"not here");
    let told = String::from_utf8(answer.body).expect("text");
    assert_eq!(answer.head.status, 409, "{told}");
    assert!(told.contains(INPUT) && told.contains("publish-to"), "{told}");
    publisher.publish("elsewhere", b"here");
    edge.stop();
}
