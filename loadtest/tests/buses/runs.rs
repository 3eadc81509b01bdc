//! Of each bus: a run through it at which the oracle finds nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

#[cfg(feature = "amqp")]
use crate::broker::rabbitmq::rabbitmq;
use crate::{brokers, run::run, stentor::Stentor, support::eventually};

#[cfg(feature = "nats")]
#[test]
fn through_nats() {
    let broker = brokers::nats("");
    let url = format!("url=nats://127.0.0.1:{}", broker.port());
    assert_flawless(&format!("nats {url} subject=ticks.>"), &format!("nats {url}"));
}

#[cfg(feature = "nats")]
#[test]
fn through_jetstream() {
    let broker = brokers::nats("");
    let url = format!("url=nats://127.0.0.1:{}", broker.port());
    make_stream(broker.port());
    let input = format!("jetstream {url} stream=TICKS channel={{subject}}");
    assert_flawless(&input, &format!("jetstream {url}"));
}

#[cfg(feature = "redis")]
#[test]
fn through_redis() {
    let broker = brokers::redis();
    let url = format!("url=redis://127.0.0.1:{}", broker.port());
    assert_flawless(&format!("redis {url} subscribe=*"), &format!("redis {url}"));
    let input = format!("redis-stream {url} stream=log channel={{header:channel}}");
    assert_flawless(&input, &format!("redis-stream {url} to=log"));
}

#[cfg(feature = "kafka")]
#[test]
fn through_kafka() {
    let broker = brokers::kafka();
    make_topic(broker.port());
    let brokers = format!("brokers=127.0.0.1:{}", broker.port());
    let input = format!("kafka {brokers} topic=log channel={{key}}");
    assert_flawless(&input, &format!("kafka {brokers} to=log"));
}

#[cfg(feature = "amqp")]
#[test]
fn through_amqp() {
    let broker = rabbitmq();
    make_queue(broker.port());
    let url = format!("url=amqp://guest:guest@127.0.0.1:{}", broker.port());
    let place = format!("{url} exchange=amq.topic");
    assert_flawless(&format!("amqp {place}"), &format!("amqp {place}"));
    let input = format!("amqp-stream {url} queue=log channel={{header:channel}}");
    assert_flawless(&input, &format!("amqp-stream {url} to=log"));
}

#[cfg(feature = "mqtt")]
#[test]
fn through_mqtt() {
    let broker = brokers::mosquitto();
    let url = format!("url=mqtt://127.0.0.1:{}", broker.port());
    assert_flawless(&format!("mqtt {url} topic=# qos=1"), &format!("mqtt {url}"));
    assert_flawless(&format!("mqtt {url} topic=#"), &format!("mqtt {url} qos=0"));
}

/// Makes a run with an edge that has this input.
#[track_caller]
fn assert_flawless(input: &str, publish_to: &str) {
    let edge = Stentor::start(&["--input", input]);
    await_ready(edge.control);
    let target = format!("ws://{}", edge.subscribers);
    let told = run(&[
        &["--target", &target, "--publish-to", publish_to, "--transport", "ws=1,sse=1"][..],
        &["--channel-prefix", "ticks.run", "--active", "40", "--active-channels", "4"],
        &[
            "--idle",
            "10",
            "--idle-channels",
            "2",
            "--broadcasts",
            "2",
            "--broadcast-every",
            "100ms",
        ],
        &["--rate", "500", "--burst", "10", "--duration", "1s", "--publishers", "3"],
        &["--payload", "64..600", "--settle", "60s"],
    ]
    .concat());
    // 500 publications to 10 subscribers each, and two to all 50.
    told.assert_flawless(500 * 10 + 2 * 50);
    assert_eq!(told.count("/publications/published"), 500 + 2 * 6);
}

/// Waits until the edge's input is connected and has read what was there.
#[track_caller]
pub fn await_ready(control: SocketAddr) {
    eventually("the edge is ready", || {
        get(control, "/readyz")?.starts_with("HTTP/1.1 200 ").then_some(())
    });
}

/// An answer as it comes, head and all.
pub fn get(control: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(control).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[cfg(feature = "nats")]
#[track_caller]
fn make_stream(port: u16) {
    use async_nats::jetstream::{self, stream::Config};
    runtime().block_on(async {
        let client = async_nats::connect(format!("127.0.0.1:{port}")).await.expect("it listens");
        let subjects = vec!["ticks.>".to_owned()];
        let config = Config { name: "TICKS".to_owned(), subjects, ..Config::default() };
        jetstream::new(client).create_stream(config).await.expect("a stream");
    });
}

#[cfg(feature = "kafka")]
#[track_caller]
fn make_topic(port: u16) {
    use rdkafka::{
        ClientConfig,
        admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
        client::DefaultClientContext,
    };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{port}"));
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let topic = NewTopic::new("log", 3, TopicReplication::Fixed(1));
    let told = runtime().block_on(admin.create_topics([&topic], &AdminOptions::new()));
    assert_eq!(told.expect("an answer"), [Ok("log".to_owned())]);
}

/// Makes a stream queue.
#[cfg(feature = "amqp")]
#[track_caller]
fn make_queue(port: u16) {
    use lapin::{
        Connection, ConnectionProperties,
        options::QueueDeclareOptions,
        types::{AMQPValue, FieldTable},
    };
    runtime().block_on(async {
        let url = format!("amqp://guest:guest@127.0.0.1:{port}");
        let connecting = Connection::connect(&url, ConnectionProperties::default());
        let connection = connecting.await.expect("it listens");
        let channel = connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        channel.queue_declare("log".into(), options, arguments).await.expect("a stream queue");
    });
}

#[cfg(any(feature = "amqp", feature = "kafka", feature = "nats"))]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
