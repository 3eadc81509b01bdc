//! Inputs from buses: how they are told, and what becomes of publications to their channels.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc as async_mpsc;

use super::{probes::parse, *};
use crate::{
    frame::PayloadKind,
    inputs::{Forward, Input, InputState, Lines, LinesFrom, Nats, Skip, Source},
    mapping::{Mapping, Template},
};

fn input(name: &str, source: Source, channel: &str) -> (Input, Arc<InputState>) {
    let template = |text| Template::new(text, &["subject", "channel"]).unwrap();
    let mapping =
        Mapping { channel: template(channel), filter: Vec::new(), payload: None, key: None };
    let (name, destination) = (name.into(), template("{channel}"));
    let input = Input { name, source, mapping, numbered_by_bus: false, queue: 1, destination };
    (input, Arc::new(InputState::new()))
}

fn nats(name: &str, subject: &str) -> (Input, Arc<InputState>) {
    let url = "nats://user:secret@127.0.0.1:4222".to_owned();
    let subjects = vec![subject.to_owned()];
    input(name, Source::Nats(Nats { url, subjects, credentials: None }), "{subject}")
}

/// Inputs of `ticks.*` and `orders.*` from buses, and of any channel from lines.
fn inputs() -> States {
    let lines = Source::Lines(Lines { from: LinesFrom::Stdin, is_json: true });
    Arc::new([
        nats("ticks", "ticks.>"),
        nats("orders", "orders.*"),
        input("pipe", lines, "{channel}"),
    ])
}

/// A server whose publications to `ticks` go to a queue of so many places.
fn serve_bus(
    places: usize,
    settings: Settings,
) -> (Served, Forwards, async_mpsc::Receiver<Forward>) {
    let (forwards, queue) = async_mpsc::channel(places);
    let to = Some((0, forwards.clone()));
    let served = serve_inputs(&[Shard::Prompt], 64, settings, Policies::default(), (inputs(), to));
    (served, forwards, queue)
}

/// A bus that answers by the payload: a number is its position, other text has none, `no` is
/// refused. Returns what it was given, in order, once nobody can publish any more.
fn bus(mut queue: async_mpsc::Receiver<Forward>) -> JoinHandle<Vec<Forwarded>> {
    thread::spawn(move || {
        let mut taken = Vec::new();
        while let Some(Forward { channel, kind, payload, key, answer }) = queue.blocking_recv() {
            let number = number_in(&payload);
            let position = Position { epoch: Epoch(0xb), offset: Offset(u128::from(number)) };
            let said = match number {
                _ if payload.starts_with(b"no") => Err("it is full".to_owned()),
                0 => Ok(None),
                _ => Ok(Some(position)),
            };
            let _ = answer.send(said);
            // A copy: what is kept here would keep its place, too.
            let payload = Bytes::copy_from_slice(&payload);
            taken.push((channel.as_str().to_owned(), kind, key, payload));
        }
        taken
    })
}

type Forwarded = (String, PayloadKind, Option<Box<str>>, Bytes);

/// Without a way to the bus a publication to one of its channels is refused, with what would be right.
/// Other channels are published to here, those of lines among them.
#[test]
fn channels_of_a_bus_are_not_published_to_here() {
    let states = (inputs(), None);
    let served = serve_inputs(&[Shard::Prompt], 64, patient(), Policies::default(), states);
    for path in ["/publish/ticks.a", "/publish/ticks.a?lines", "/publish/ticks.a?key=k"] {
        let reply = served.post(path, "1");
        let expected = "channel 'ticks.a' is fed by the input ticks, as every 'ticks.*'; publish to \
                        its bus, or start the server with --publish-to ticks, which takes publications there\n";
        assert_eq!((reply.status, reply.body.as_str()), (409, expected), "{path}");
    }
    assert_eq!(served.post("/publish/elsewhere", "1").status, 200);
    assert_eq!(served.payloads("elsewhere"), [b"1"]);
    assert_eq!(served.payloads("ticks.a").len(), 0);
}

/// Where a channel comes from another bus than publications are taken to, both are named.
#[test]
fn only_channels_of_its_own_bus_are_forwarded() {
    let (served, _forwards, queue) = serve_bus(1, patient());
    let reply = served.post("/publish/orders.a", "1");
    let expected = "channel 'orders.a' is fed by the input orders, as every 'orders.*'; publish to its \
                    bus, or start the server with --publish-to orders, which takes publications there (it is \
                    --publish-to ticks now)\n";
    assert_eq!((reply.status, reply.body.as_str()), (409, expected));
    assert_eq!(served.post("/publish/orders/a", "1").status, 200);
    drop(served);
    assert!(queue.is_empty());
}

/// A publication goes to the bus with its kind and key, and not to a shard, and is answered with what
/// the bus says.
#[test]
fn publications_go_to_the_bus() {
    let (served, forwards, queue) = serve_bus(8, patient());
    let bus = bus(queue);
    let reply = served.post("/publish/ticks.a?key=k", "at 7");
    let expected = "{\"channel\":\"ticks.a\",\"position\":\"b-7\",\"forwarded\":\"ticks\"}\n";
    assert_eq!((reply.status, reply.body.as_str()), (200, expected));
    let reply = served.post("/publish/ticks.b", b"\xff");
    let expected = "{\"channel\":\"ticks.b\",\"forwarded\":\"ticks\"}\n";
    assert_eq!((reply.status, reply.body.as_str()), (200, expected));
    let headers = "connection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n";
    let json = reply_to(&served, headers, b"{}");
    assert_eq!(json.status, 200, "{json:?}");
    let reply = served.post("/publish/ticks.a", "no");
    let expected = "the bus of the input ticks did not take it: it is full\n";
    assert_eq!((reply.status, reply.body.as_str()), (502, expected));
    for (path, headers, what) in [
        ("/publish/ticks.a?version=2", "", "a version"),
        ("/publish/ticks.a", "idempotency-key: i\r\n", "an Idempotency-Key"),
    ] {
        let headers = format!("connection: close\r\n{headers}content-length: 1\r\n");
        let reply =
            super::reply(served.send(served.with_head(&format!("POST {path}"), &headers, b"1")));
        let expected = format!(
            "the channel is fed by a bus, which has no word for {what}; publish without one\n"
        );
        assert_eq!((reply.status, reply.body), (400, expected));
    }
    assert_eq!(served.published.lock().unwrap().len(), 0, "nothing of it came to a shard");
    drop((served, forwards));
    let text = |channel: &str, kind, key: Option<&str>, payload: &'static [u8]| {
        (channel.to_owned(), kind, key.map(Box::from), Bytes::from_static(payload))
    };
    let expected = [
        text("ticks.a", PayloadKind::Text, Some("k"), b"at 7"),
        text("ticks.b", PayloadKind::Binary, None, b"\xff"),
        text("ticks.c", PayloadKind::Json, None, b"{}"),
        text("ticks.a", PayloadKind::Text, None, b"no"),
    ];
    assert_eq!(bus.join().unwrap(), expected);
}

fn reply_to(served: &Served, headers: &str, body: &[u8]) -> Reply {
    reply(served.send(served.with_head("POST /publish/ticks.c", headers, body)))
}

/// A bus that does not answer costs a publisher a time-out, a queue that is full is said at once, and
/// so is a way that has ended.
#[test]
fn a_bus_that_stands_still_holds_nobody() {
    let (served, forwards, mut queue) =
        serve_bus(2, Settings { forward_timeout: SHORT, ..patient() });
    for _ in 0..2 {
        let reply = served.post("/publish/ticks.a", "1");
        assert_eq!(reply.status, 504, "{reply:?}");
        assert!(reply.body.starts_with("the bus of the input ticks did not answer within 30ms;"));
    }
    assert_eq!(forwards.capacity(), 0);
    let full = served.post("/publish/ticks.a", "1");
    assert_eq!((full.status, full.header("retry-after")), (503, Some("5")), "{full:?}");
    let lines = served.post("/publish/ticks.a?lines", "1\n2\n");
    assert_eq!(lines.status, 504, "{lines:?}");
    assert!(lines.body.contains("\"published\":0"), "{lines:?}");
    queue.close();
    while queue.try_recv().is_ok() {}
    let ended = served.post("/publish/ticks.a", "1");
    assert_eq!(ended.status, 502, "{ended:?}");
    assert!(ended.body.starts_with("the way to the bus of the input ticks has ended"), "{ended:?}");
    served.draining.send_replace(true);
    assert_eq!(served.post("/publish/ticks.a", "1").status, 503);
}

/// Lines go to the bus in their order, however slow it is, and the first that it refuses is named.
#[test]
fn lines_go_to_the_bus_in_order() {
    let (served, forwards, queue) = serve_bus(3, patient());
    let bus = bus(queue);
    let lines: Vec<String> = (1..=2000).map(|n| format!("line {n}")).collect();
    let reply = served.post("/publish/ticks.a?lines", lines.join("\n"));
    let expected = "{\"channel\":\"ticks.a\",\"published\":2000,\"first\":\"b-1\",\
                    \"last\":\"b-2000\",\"forwarded\":\"ticks\"}\n";
    assert_eq!((reply.status, reply.body.as_str()), (200, expected));
    let reply = served.post("/publish/ticks.b?lines", "1\n\nno\n");
    let expected = "{\"channel\":\"ticks.b\",\"published\":1,\"first\":\"b-1\",\"last\":\"b-1\",\
                    \"forwarded\":\"ticks\",\"error\":\"line 3: the bus of the input ticks did not \
                    take it: it is full\"}\n";
    assert_eq!((reply.status, reply.body.as_str()), (502, expected));
    drop((served, forwards));
    let mut taken: VecDeque<Forwarded> = bus.join().unwrap().into();
    for line in lines {
        let (channel, _, _, payload) = taken.pop_front().unwrap();
        assert_eq!((channel.as_str(), &payload[..]), ("ticks.a", line.as_bytes()));
    }
    assert_eq!(taken.len(), 2);
}

/// What waits for a bus keeps its share of the memory for payloads, also when its publisher has gone.
#[test]
fn payloads_on_their_way_to_a_bus_are_bounded() {
    let settings = Settings { payload_memory_max: 10, forward_timeout: SHORT, ..patient() };
    let (served, _forwards, mut queue) = serve_bus(8, settings);
    assert_eq!(served.post("/publish/ticks.a", "12345678").status, 504);
    let refused = served.post("/publish/ticks.a", "12345678");
    let expected = "the memory for payloads is all in use; try again later\n";
    assert_eq!((refused.status, refused.body.as_str()), (503, expected));
    drop(queue.try_recv().unwrap());
    assert_eq!(served.post("/publish/ticks.a", "12345678").status, 504);
}

/// The server is ready once every input was; one that has lost its bus later is shown, and no more.
#[test]
fn inputs_are_waited_for_once() {
    let states = inputs();
    let served = serve_inputs(
        &[Shard::Prompt],
        4,
        patient(),
        Policies::default(),
        (Arc::clone(&states), None),
    );
    states[0].1.set_connected(false, Some("nats://127.0.0.1:4222 is not there".into()));
    states[1].1.set_ready();
    states[2].1.set_ready();
    let ask = || {
        let reply = served.ask("GET /readyz");
        (reply.status, serde_json::from_str::<Value>(&reply.body).unwrap())
    };
    let mut expected = json!({
        "ready": false, "draining": false, "shards": 1, "stuck": [],
        "inputs": [
            {"name": "ticks", "ready": false, "connected": false,
             "problem": "nats://127.0.0.1:4222 is not there"},
            {"name": "orders", "ready": true, "connected": false},
            {"name": "pipe", "ready": true, "connected": false},
        ],
    });
    assert_eq!(ask(), (503, expected.clone()));
    states[0].1.set_ready();
    expected["ready"] = true.into();
    expected["inputs"][0]["ready"] = true.into();
    assert_eq!(ask(), (200, expected));
}

/// Everything that is known of an input is shown, but what is secret.
#[test]
fn inputs_are_shown() {
    let states = inputs();
    let to = Some((1, async_mpsc::channel(1).0));
    let served = serve_inputs(
        &[Shard::Prompt],
        4,
        patient(),
        Policies::default(),
        (Arc::clone(&states), to),
    );
    let state = &states[0].1;
    state.set_connected(true, None);
    state.set_ready();
    state.on_record(100, 1_700_000_000_123);
    state.on_record(11, 1_700_000_000_456);
    state.on_skip(Skip::BadName);
    state.on_reconnect();
    state.on_hole();
    state.set_lag(Some(5));
    states[1].1.set_connected(false, Some("not there".into()));
    let shown = served.ask("GET /inputs");
    assert!(!shown.body.contains("secret"), "{}", shown.body);
    let shown: Value = serde_json::from_str(&shown.body).unwrap();
    let expected = json!({
        "name": "ticks", "kind": "nats", "place": "nats://***@127.0.0.1:4222",
        "channel": "{subject}", "positions": "local", "connected": true, "ready": true,
        "problem": null, "records": 2, "bytes": 111, "skipped": {"bad_name": 1}, "holes": 1,
        "reconnects": 1, "lag": 5, "last_record_ms": 1_700_000_000_456_u64,
    });
    assert_eq!(shown["inputs"][0], expected);
    let second = &shown["inputs"][1];
    assert_eq!((&second["problem"], &second["lag"]), (&json!("not there"), &Value::Null));
    assert_eq!(second["last_record_ms"], Value::Null);
    let third = &shown["inputs"][2];
    assert_eq!((&third["kind"], &third["place"]), (&json!("lines"), &json!("stdin")));
    assert_eq!(shown["publish_to"], "orders");

    let metrics = served.ask("GET /metrics").body;
    let samples = parse(&metrics);
    for expected in [
        "stentor_input_connected{input=\"ticks\",kind=\"nats\"} 1",
        "stentor_input_connected{input=\"orders\",kind=\"nats\"} 0",
        "stentor_input_ready{input=\"ticks\",kind=\"nats\"} 1",
        "stentor_input_ready{input=\"pipe\",kind=\"lines\"} 0",
        "stentor_input_records_total{input=\"ticks\",kind=\"nats\"} 2",
        "stentor_input_bytes_total{input=\"ticks\",kind=\"nats\"} 111",
        "stentor_input_skipped_total{input=\"ticks\",kind=\"nats\",reason=\"bad_name\"} 1",
        "stentor_input_skipped_total{input=\"ticks\",kind=\"nats\",reason=\"dropped\"} 0",
        "stentor_input_holes_total{input=\"ticks\",kind=\"nats\"} 1",
        "stentor_input_reconnects_total{input=\"ticks\",kind=\"nats\"} 1",
        "stentor_input_lag{input=\"ticks\",kind=\"nats\"} 5",
        "stentor_input_last_record_timestamp_seconds{input=\"ticks\",kind=\"nats\"} 1700000000.456",
    ] {
        assert!(samples.contains(expected), "{expected}\n{metrics}");
    }
    let unknown = ["stentor_input_lag{input=\"orders\"", "timestamp_seconds{input=\"orders\""];
    assert!(!unknown.iter().any(|name| metrics.contains(name)), "{metrics}");
}

/// A server without inputs says nothing of them.
#[test]
fn without_inputs_nothing_is_told_of_them() {
    let served = serve(Shard::Prompt, patient());
    let expected = "{\"inputs\":[],\"publish_to\":null}\n";
    assert_eq!(served.ask("GET /inputs").body, expected);
    assert!(!served.ask("GET /metrics").body.contains("stentor_input"));
}
