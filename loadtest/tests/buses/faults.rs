//! Buses that are not there, or do not take what is published: told before a run, counted in it.

use serde_json::Value;

use crate::{
    broker::Port,
    brokers,
    run::{Run, Scratch, run},
    runs::{await_ready, get},
    stentor::Stentor,
    support::eventually,
};

/// A broker that is not there ends the run before it begins, before a server is started, and the
/// error names it without its password.
#[test]
fn a_broker_that_is_not_there_is_told() {
    let port = Port::take();
    let number = port.number();
    for (kind, bus, place) in [
        ("nats", "url=nats://u:secret@", "nats://"),
        ("jetstream", "url=nats://u:secret@", "nats://"),
        ("redis", "url=redis://u:secret@", "redis://"),
        ("redis-stream", "url=redis://u:secret@", "redis://"),
        ("kafka", "brokers=", ""),
        ("amqp", "exchange=amq.topic url=amqp://u:secret@", "amqp://"),
        ("amqp-stream", "url=amqp://u:secret@", "amqp://"),
        ("mqtt", "url=mqtt://u:secret@", "mqtt://"),
    ] {
        let trace = Scratch::new("started");
        let bus = format!("{kind} {bus}127.0.0.1:{number}");
        let spawn = format!("touch {}", trace.path());
        let told = run(&["--publish-to", &bus, "--spawn", &spawn]);
        assert_eq!((told.code, &told.stdout[..], &told.report), (3, "", &Value::Null), "{told:?}");
        let start = format!("publish-to: {kind} at {place}127.0.0.1:{number} is not there: ");
        let found = told.stderr.find(&start).unwrap_or_else(|| panic!("{}", told.stderr));
        assert!(told.stderr[found..].contains("; start it, or see "), "{}", told.stderr);
        assert!(!told.stderr.contains("secret"), "{}", told.stderr);
        assert!(!trace.0.exists(), "a server was started");
    }
}

/// What a broker lacks is told before the run begins, with what would be right.
#[test]
fn a_place_that_takes_nothing_is_told() {
    let nats = brokers::nats("");
    let redis = brokers::redis();
    redis_set(redis.port(), "loadtest-busy-0");
    let mosquitto = brokers::mosquitto();
    for (bus, why) in [
        (
            format!("jetstream url=nats://127.0.0.1:{}", nats.port()),
            "has no stream that takes the subject 'loadtest-busy-0'",
        ),
        (
            format!("redis-stream url=redis://127.0.0.1:{}", redis.port()),
            "the key 'loadtest-busy-0' is a string; name a stream in to",
        ),
        (
            format!("mqtt url=mqtt://127.0.0.1:{} to=#", mosquitto.port()),
            "the topic '#' has a + or #",
        ),
    ] {
        let told = run(&["--publish-to", &bus]);
        assert_eq!((told.code, &told.report), (3, &Value::Null), "{told:?}");
        assert!(told.stderr.contains(why), "{}", told.stderr);
    }
}

/// What a server of NATS does not permit it drops without an answer; it is counted as refused all
/// the same, and nobody is owed it.
#[test]
fn what_is_not_permitted_is_counted() {
    let access = "authorization { users = [\
        { user: edge, password: p }, \
        { user: us, password: p, permissions: { \
            publish: { allow: [\"_INBOX.>\", \"loadtest-busy-1\"] }, subscribe: \"_INBOX.>\" } }] }";
    let broker = brokers::nats(access);
    let url = |user: &str| format!("url=nats://{user}:p@127.0.0.1:{}", broker.port());
    let edge = Stentor::start(&[
        "--input",
        &format!("nats {} subject=loadtest-busy-0 subject=loadtest-busy-1", url("edge")),
    ]);
    await_ready(edge.control);
    let target = format!("ws://{}", edge.subscribers);
    let told = run(&[
        &["--target", &target, "--publish-to", &format!("nats {}", url("us"))][..],
        &["--active", "2", "--active-channels", "2", "--rate", "100", "--duration", "1s"],
    ]
    .concat());
    told.assert_faults(&[("/publications/failed", 50)]);
    assert_eq!(told.count("/deliveries/received"), 50, "{told:?}");
    let why = "refused: the user may not publish to the subject";
    assert_eq!(told.failures("publishing"), [(why, 50)]);
}

/// A broker that dies and comes back: what fell into that time has failed, each publication is
/// counted once, what came before and after has arrived.
#[test]
fn a_broker_that_is_away_costs_what_is_due_meanwhile() {
    let mut broker = brokers::redis();
    let url = format!("url=redis://127.0.0.1:{}", broker.port());
    let edge = Stentor::start(&["--input", &format!("redis {url} subscribe=*")]);
    await_ready(edge.control);
    let target = format!("ws://{}", edge.subscribers);
    let bus = format!("redis {url}");
    let flags = ["--target", &target, "--publish-to", &bus, "--active", "5", "--settle", "1s"];
    let run = Run::start(&[&flags[..], &["--rate", "200", "--duration", "8s"]].concat());
    eventually("something is published", || {
        let told = get(edge.control, "/metrics")?;
        let mut lines = told.lines();
        let records = lines.find(|line| line.starts_with("stentor_input_records_total{"))?;
        (!records.ends_with(" 0")).then_some(())
    });
    broker.kill();
    broker.restart();
    await_ready(edge.control);
    let told = run.wait();
    let [due, published, failed] =
        ["due", "published", "failed"].map(|it| told.count(&format!("/publications/{it}")));
    assert_eq!((due, published + failed), (1600, 1600), "{told:?}");
    assert!(failed > 0 && published > 0, "{told:?}");
    let counted: u64 = told.failures("publishing").iter().map(|(_, times)| times).sum();
    assert_eq!(counted, failed, "{told:?}");
}

fn redis_set(port: u16, key: &str) {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(format!("SET {key} text\r\n").as_bytes()).expect("it reads");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"+OK\r\n");
}
