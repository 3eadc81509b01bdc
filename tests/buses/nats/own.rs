//! What NATS has of its own: where to begin in a stream, streams that are made anew or lose records,
//! consumers that outlive an edge, and what is told of what is wrong.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Client, Core, JetStream, serves};
use crate::{
    broker::Broker,
    bus::{Bus, Record},
    edge::{INPUT, await_ready, await_reconnects, edge, readiness, told_of_input},
    proxy::Proxy,
    support::{Kind, Poller, Received, Server, Subscriber, eventually},
};

/// The setting of where to begin means the same record for everybody.
///
/// Method: 100 records, of which the first 20 are gone, and an edge for each start; what it keeps of
/// them is compared, and then that the next record follows.
#[test]
fn an_input_begins_where_it_is_told_to() {
    let mut bus = JetStream::start();
    publish(&mut bus, 1, 50);
    // Moments are told apart by milliseconds.
    let taken = Instant::now();
    eventually("the clock goes on", || (taken.elapsed().as_millis() > 1).then_some(()));
    publish(&mut bus, 51, 100);
    purge_up_to(&bus, 20);
    let begins = [
        ("all".to_owned(), 21),
        ("last:10".to_owned(), 91),
        ("last:1000".to_owned(), 21),
        ("behind:30".to_owned(), 31),
        ("new".to_owned(), 101),
        (format!("time:{}", moment_of(&bus, 51)), 51),
        ("time:-1h".to_owned(), 21),
    ];
    let edges =
        begins.map(|(start, first)| (on_stream(&bus, &format!("start={start}")), first, start));
    for (edge, first, start) in &edges {
        await_ready(edge);
        assert_eq!(kept(edge), (*first..=100).collect::<Vec<_>>(), "start={start}");
    }
    publish(&mut bus, 101, 101);
    for (edge, first, start) in edges {
        eventually("the next record is there", || (kept(&edge).last() == Some(&101)).then_some(()));
        assert_eq!(kept(&edge), (first..=101).collect::<Vec<_>>(), "start={start}");
        edge.stop();
    }
}

/// Who asks for every subject gets every subject, and is ready although its own questions come to it,
/// too.
#[test]
fn every_subject_can_be_asked_for() {
    let mut bus = Core::start();
    // Somebody else who hears everything must not be taken for whoever was asked.
    let port = bus.port();
    let other = edge(&format!("nats url=nats://127.0.0.1:{port} subject=> name={INPUT}"), &[]);
    await_ready(&other);
    let edge =
        edge(&format!("nats url=nats://127.0.0.1:{} subject=> name={INPUT}", bus.port()), &[]);
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::WebSocket, CHANNEL);
    bus.publish(&[Record { channel: CHANNEL.into(), payload: b"one".to_vec() }]);
    let told = subscriber.next();
    let expected = |told: &Received| matches!(told, Received::Publication { payload, .. } if payload == b"one");
    assert!(expected(&told), "{told:?}");
    edge.stop();
}

/// A place that the stream does not have is refused, and what would be right is told.
#[test]
fn a_place_that_is_not_there_is_refused() {
    let mut bus = JetStream::start();
    publish(&mut bus, 1, 10);
    let edge = on_stream(&bus, "start=behind:11");
    await_told(&edge, &["start=behind:11", "'TICKS'", "up to 10"]);
    edge.stop();
}

/// What somebody must do is told, with the input's name, and without what is secret; it is tried
/// again, and so the input is ready once it was done.
#[test]
fn what_is_wrong_is_told() {
    let mut broker = Broker::start("nats-wrong", guarded, serves);
    let port = broker.port();
    let at = |user: &str| format!("url=nats://{user}@127.0.0.1:{port}");
    let place = format!("nats://127.0.0.1:{port}");
    let expected = [
        (
            format!("nats {} subject=ticks.>", at("all:hidden1")),
            "refuses the user, password or token",
        ),
        (format!("nats {} subject=ticks.>", at("few:secret")), "Subscription to \"ticks.>\""),
        (format!("jetstream {} stream=TICKS", at("few:secret")), "$JS.API.STREAM.INFO.TICKS"),
        (format!("jetstream {} stream=TICKS", at("all:secret")), "start nats-server with -js"),
    ];
    for (input, told) in expected {
        let edge = edge(&format!("{input} name={INPUT}"), &[]);
        await_told(&edge, &[INPUT, &place, told]);
        let all = format!("{}{}", edge.stderr(), edge.stdout());
        assert!(!all.contains("hidden1") && !all.contains("secret"), "{all}");
        edge.stop();
    }
    fs::write(broker.folder().join("jetstream.conf"), "jetstream { store_dir: store }\n").unwrap();
    broker.kill();
    broker.restart();
    let edge = edge(&format!("jetstream {} stream=TICKS name={INPUT}", at("all:secret")), &[]);
    await_told(&edge, &[&place, "no stream 'TICKS'"]);
    let mut client = Client::connect_as(port, "all", "secret");
    client.request("$JS.API.STREAM.CREATE.TICKS", &json!({ "name": "TICKS", "subjects": ["a"] }));
    await_ready(&edge);
    edge.stop();
}

/// A stream that was deleted and made again is another sequence: its numbers begin again under
/// another epoch, the same on every edge, and whoever read the old one learns that it has ended.
#[test]
fn a_stream_that_is_made_anew_is_another_sequence() {
    let mut bus = JetStream::start();
    publish(&mut bus, 1, 10);
    let edges = [(); 2].map(|()| on_stream(&bus, ""));
    edges.iter().for_each(await_ready);
    let old = positions(&edges[0]);
    assert_eq!(old, positions(&edges[1]));
    let mut live = Subscriber::join(edges[0].subscribers, Kind::WebSocket, CHANNEL);
    publish(&mut bus, 11, 11);
    assert_eq!(live.publication(), payload(11));
    let mut client = Client::connect(bus.broker.port());
    client.request("$JS.API.STREAM.DELETE.TICKS", &Value::Null);
    bus.make_stream();
    publish(&mut bus, 1, 5);
    let told = live.next();
    assert!(matches!(told, Received::Close(1012, _)), "it is told that this has ended: {told:?}");
    for edge in &edges {
        eventually("the new records are there", || (kept(edge) == [1, 2, 3, 4, 5]).then_some(()));
    }
    let new = positions(&edges[0]);
    assert_eq!(new, positions(&edges[1]));
    assert_ne!(epoch(&new[0]), epoch(&old[0]));
    edges.into_iter().for_each(|edge| edge.stop());
}

/// A server that has lost what it had confirmed gives its numbers again. What it publishes under
/// them is not taken for what was there: it comes, under another epoch.
#[test]
fn numbers_that_are_given_again_are_another_sequence() {
    let mut bus = JetStream::start();
    publish(&mut bus, 1, 10);
    let edge = on_stream(&bus, "");
    await_ready(&edge);
    bus.kill();
    let store = bus.broker.folder().join("store");
    let saved = bus.broker.folder().join("saved");
    copy(&store, &saved);
    bus.restart();
    publish(&mut bus, 11, 20);
    eventually("all are there", || (kept(&edge).len() == 20).then_some(()));
    let old = positions(&edge);
    bus.kill();
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&saved, &store).unwrap();
    bus.restart();
    publish(&mut bus, 11, 15);
    let all: Vec<u64> = (1..=15).collect();
    eventually("the new records are there", || (kept(&edge) == all).then_some(()));
    assert_ne!(epoch(&positions(&edge)[0]), epoch(&old[0]));
    edge.stop();
}

/// Records that were deleted singly, between others, are no hole: nobody is told of a gap.
#[test]
fn records_that_are_deleted_singly_are_no_hole() {
    let mut bus = JetStream::start();
    let proxy = Proxy::to(bus.broker.port(), Duration::ZERO);
    let edge = on_stream_at(proxy.port(), "");
    await_ready(&edge);
    let mut live = Subscriber::join(edge.subscribers, Kind::Sse, CHANNEL);
    publish(&mut bus, 1, 5);
    (1..=5).for_each(|number| assert_eq!(live.publication(), payload(number)));
    proxy.cut();
    publish(&mut bus, 6, 20);
    let mut client = Client::connect(bus.broker.port());
    for gone in [7, 8, 12, 20] {
        client.request("$JS.API.STREAM.MSG.DELETE.TICKS", &json!({ "seq": gone }));
    }
    publish(&mut bus, 21, 21);
    proxy.mend();
    let left = [6, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 21];
    // A gap would be no publication.
    left.iter().for_each(|&number| assert_eq!(live.publication(), payload(number)));
    await_reconnects(&edge, 1);
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 0);
    edge.stop();
}

/// Of a stream only the subjects that were asked for come: one, or several.
#[test]
fn only_the_subjects_that_were_asked_for_come() {
    let mut bus = JetStream::start();
    let several = on_stream(&bus, "subject=ticks.1 subject=ticks.x.*");
    let one = on_stream(&bus, "subject=ticks.x.>");
    [&several, &one].into_iter().for_each(await_ready);
    let on = |channel: &str| Record { channel: channel.to_owned(), payload: b"r".to_vec() };
    let round = ["ticks.0", "ticks.1", "ticks.x.a", "ticks.x.a.b", "ticks.2"].map(on);
    (0..40).for_each(|_| bus.publish(&round));
    let offsets = |number: u64| (0..40).map(|round| 5 * round + number).collect::<Vec<_>>();
    for (edge, channel, expected) in [
        (&several, "ticks.1", offsets(2)),
        (&several, "ticks.x.a", offsets(3)),
        (&one, "ticks.x.a", offsets(3)),
        (&one, "ticks.x.a.b", offsets(4)),
    ] {
        eventually("all are there", || (kept_of(edge, channel) == expected).then_some(()));
    }
    assert_eq!(told_of_input(&several, "stentor_input_records_total"), 80);
    assert_eq!(told_of_input(&one, "stentor_input_records_total"), 80);
    [several, one].into_iter().for_each(Server::stop);
}

/// An edge that takes over a durable consumer goes on exactly behind what was settled, also where the
/// one before was killed with records on their way, and acknowledges everything in the end.
#[test]
fn a_durable_consumer_goes_on_where_it_was_settled() {
    const EACH: u64 = 3000;
    let mut bus = JetStream::start();
    publish(&mut bus, 1, 10);
    let words = "durable=edge start=last:4";
    let mut edge = on_stream(&bus, words);
    await_ready(&edge);
    let (mut first, mut last) = (7, 10);
    for _ in 0..4 {
        assert_eq!(kept(&edge).first(), Some(&first), "nothing before is read again");
        publish(&mut bus, last + 1, last + EACH);
        last += EACH;
        let least = last - EACH / 2;
        eventually("some are there", || (kept(&edge).last() >= Some(&least)).then_some(()));
        edge.kill();
        first = ack_floor(&bus) + 1;
        publish(&mut bus, last + 1, last + 1);
        last += 1;
        edge = on_stream(&bus, words);
        await_ready(&edge);
        eventually("all are there", || (kept(&edge).last() == Some(&last)).then_some(()));
        assert_eq!(kept(&edge), (first..=last).collect::<Vec<_>>());
    }
    eventually("all are acknowledged", || (ack_floor(&bus) == last).then_some(()));
    let other = on_stream(&bus, "durable=edge subject=ticks.1");
    await_told(&other, &["durable consumer 'edge'", "other subjects"]);
    [edge, other].into_iter().for_each(Server::stop);
}

/// A header can give the channel.
#[test]
fn headers_are_fields() {
    let mut bus = Core::start();
    let port = bus.broker().port();
    let words = "subject=ticks.> channel={header:to}";
    let edge = edge(&format!("nats url=nats://127.0.0.1:{port} name={INPUT} {words}"), &[]);
    await_ready(&edge);
    let mut live = Subscriber::join(edge.subscribers, Kind::Sse, "there");
    let mut client = Client::connect(port);
    client.publish_with("ticks.0", "to: there", b"one");
    client.publish_with("ticks.0", "to: elsewhere", b"two");
    client.publish_with("ticks.0", "to: elsewhere\r\nto: there", b"three");
    client.flush();
    assert_eq!(live.publication(), b"one");
    assert_eq!(live.publication(), b"three", "the last of several counts");
    edge.stop();
}

const CHANNEL: &str = "ticks.0";

fn on_stream(bus: &JetStream, words: &str) -> Server {
    on_stream_at(bus.broker.port(), words)
}

fn on_stream_at(port: u16, words: &str) -> Server {
    edge(&format!("jetstream url=nats://127.0.0.1:{port} stream=TICKS name={INPUT} {words}"), &[])
}

/// Publishes records of these numbers, which are those that the stream gives them.
fn publish(bus: &mut JetStream, from: u64, to: u64) {
    let record = |number| Record { channel: CHANNEL.to_owned(), payload: payload(number) };
    bus.publish(&(from..=to).map(record).collect::<Vec<_>>());
}

fn payload(number: u64) -> Vec<u8> {
    format!("number {number}").into_bytes()
}

/// The positions of what an edge keeps.
fn positions(edge: &Server) -> Vec<String> {
    positions_of(edge, CHANNEL)
}

fn positions_of(edge: &Server, channel: &str) -> Vec<String> {
    let mut poller = Poller::connect(edge.subscribers);
    let told = poller.poll(&format!("{channel}?last=100000&timeout=0"), "");
    let position = |told: &Value| told["id"].as_str().expect("a position").to_owned();
    told.publications.iter().map(position).collect()
}

/// The numbers of what an edge keeps.
fn kept(edge: &Server) -> Vec<u64> {
    kept_of(edge, CHANNEL)
}

fn kept_of(edge: &Server, channel: &str) -> Vec<u64> {
    let offset = |position: &String| position.rsplit_once('-').unwrap().1.parse().unwrap();
    positions_of(edge, channel).iter().map(offset).collect()
}

fn epoch(position: &str) -> &str {
    position.rsplit_once('-').expect("epoch-offset").0
}

/// Waits until readiness says all of this.
#[track_caller]
fn await_told(edge: &Server, expected: &[&str]) {
    let mut told = String::new();
    eventually(&format!("{expected:?} is told"), || {
        let answer = readiness(edge);
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        told = body.to_string().replace("\\\"", "\"");
        (answer.head.status == 503 && expected.iter().all(|text| told.contains(text))).then_some(())
    });
}

fn ack_floor(bus: &JetStream) -> u64 {
    let mut client = Client::connect(bus.broker.port());
    let told = client.request("$JS.API.CONSUMER.INFO.TICKS.edge", &Value::Null);
    told["ack_floor"]["stream_seq"].as_u64().expect("a number")
}

fn purge_up_to(bus: &JetStream, last: u64) {
    let mut client = Client::connect(bus.broker.port());
    client.request("$JS.API.STREAM.PURGE.TICKS", &json!({ "seq": last + 1 }));
}

/// When the server took a record.
fn moment_of(bus: &JetStream, number: u64) -> String {
    let mut client = Client::connect(bus.broker.port());
    let told = client.request("$JS.API.STREAM.MSG.GET.TICKS", &json!({ "seq": number }));
    told["message"]["time"].as_str().expect("a time").to_owned()
}

/// A server with users, of which one may do little; with JetStream once a file says so.
fn guarded(folder: &Path, port: u16) -> Command {
    let more = folder.join("jetstream.conf");
    if !more.exists() {
        fs::write(&more, "").unwrap();
    }
    let users = r#"
        include jetstream.conf
        authorization { users = [
            { user: all, password: secret },
            { user: few, password: secret,
              permissions: { publish: ["few.>"], subscribe: ["few.>", "_INBOX.>"] } },
        ] }"#;
    fs::write(folder.join("nats.conf"), users).unwrap();
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--config", "nats.conf"]);
    command
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
