//! RabbitMQ: an exchange, and a stream queue.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    broker::{Broker, Port},
    bus::{Bus, Log, Record, stories, tests},
    edge::{await_ready, edge, edge_on, input, readiness, skipped, told_of_input},
    proxy::Proxy,
    support::{Gap, Item, Kind, Reader, Received, Subscriber, Via, eventually},
};

mod exchange {
    super::stories!(super::Exchange);
}

mod stream {
    // An input whose channels are named in headers may feed any: no other can be published to.
    super::tests!(super::Stream, every:
        subjects_become_channels,
        many_subscribers_get_everything,
        subscribers_outlive_the_broker,
        an_edge_waits_for_its_broker,
        bad_records_are_counted,
        a_publication_is_forwarded_to_every_edge,
    );
    super::tests!(super::Stream, log:
        a_killed_broker_costs_nothing,
        a_killed_edge_costs_nothing,
        a_full_queue_holds_the_bus_back,
        a_subscriber_moves_between_edges,
    );
}

/// A topic exchange.
struct Exchange {
    rabbit: Rabbit,
}

impl Bus for Exchange {
    const MAPPING: &str = "";

    fn start() -> Self {
        let rabbit = Rabbit::start();
        rabbit.run(async |channel| {
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let none = FieldTable::default();
            let declared =
                channel.exchange_declare("all".into(), ExchangeKind::Topic, durable, none);
            declared.await.expect("an exchange");
        });
        Exchange { rabbit }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.rabbit.broker
    }

    fn source(&self, port: u16) -> String {
        format!("amqp url={} exchange=all routing-key=ticks.#", url(port))
    }

    fn publish(&mut self, records: &[Record]) {
        self.rabbit.publish("all", records, |record| record.channel.clone());
    }
}

/// A stream queue, whose records have their channel in a header.
struct Stream {
    rabbit: Rabbit,
}

impl Bus for Stream {
    const MAPPING: &str = "channel={header:channel} to=log";
    const BURST: usize = usize::MAX;

    fn start() -> Self {
        let rabbit = Rabbit::start();
        rabbit.declare_stream("log", &[]);
        rabbit.await_names();
        Stream { rabbit }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.rabbit.broker
    }

    /// A broker that serves may still be starting its streams, and confirms what is published to one
    /// meanwhile without keeping it.
    fn restart(&mut self) {
        self.rabbit.broker.restart();
        eventually("the stream is there", || {
            self.rabbit.run(async |channel| {
                let passive = QueueDeclareOptions { passive: true, ..Default::default() };
                channel.queue_declare("log".into(), passive, FieldTable::default()).await.ok()
            })
        });
    }

    fn source(&self, port: u16) -> String {
        format!("amqp-stream url={} queue=log", url(port))
    }

    fn publish(&mut self, records: &[Record]) {
        self.rabbit.publish("", records, |_| "log".to_owned());
    }
}

impl Log for Stream {
    fn trim(&mut self, _channel: &str, _keep: usize) {
        unreachable!("a stream forgets whole segments: see what_a_stream_forgot_is_told")
    }
}

/// With room for one record on its way an exchange's queue waits at the broker, and nothing is lost.
#[test]
fn a_full_queue_waits_at_the_broker() {
    let mut bus = Exchange::start();
    let port = bus.broker().port();
    let edge = edge(&input(&bus, port, "in-flight=1"), &[]);
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::WebSocket, "ticks.0");
    bus.publish(&(0..5000).map(numbered).collect::<Vec<_>>());
    (0..5000).for_each(|number| expect_number(&mut subscriber, number));
    assert_eq!(skipped(&edge, "dropped"), 0);
    edge.stop();
}

/// Whom the broker refuses, and what is not there, is told with the input's name and what would be
/// right, and never with the password.
#[test]
fn what_the_broker_refuses_is_told() {
    let mut rabbit = Rabbit::start();
    rabbit.run(async |channel| {
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default();
        channel.queue_declare("classic".into(), durable, none).await.expect("a queue");
    });
    let port = rabbit.broker.port();
    let (good, bad) = (url(port), format!("amqp://guest:secret@127.0.0.1:{port}"));
    for (source, problem) in [
        (
            format!("amqp url={bad} exchange=amq.topic"),
            "refuses the user or password; see the key `url`",
        ),
        (format!("amqp url={good}/other exchange=amq.topic"), "has no virtual host 'other'"),
        (format!("amqp url={good} exchange=none"), "has no exchange 'none'"),
        (format!("amqp-stream url={good} queue=none"), "has no queue 'none'"),
        (format!("amqp-stream url={good} queue=classic"), "x-queue-type=stream"),
    ] {
        let edge = edge(&format!("{source} name=rabbit channel=all"), &[]);
        eventually(problem, || {
            let told = readiness(&edge);
            let text = String::from_utf8(told.body).expect("text");
            assert!(!text.contains("secret"), "{text}");
            (told.head.status == 503 && text.contains("rabbit") && text.contains(problem))
                .then_some(())
        });
        edge.stop();
    }
    rabbit.broker.kill();
}

/// A start is where it says: so many of the newest, behind an offset, at the beginning, or with what
/// comes from now on.
#[test]
fn a_stream_is_read_from_its_start() {
    let mut bus = Stream::start();
    bus.publish(&(0..50).map(numbered).collect::<Vec<_>>());
    let port = bus.broker().port();
    let starts = [("last:7", 43), ("behind:29", 30), ("all", 0), ("new", 50), ("time:-1h", 0)];
    let edges = starts.map(|(start, first)| {
        let edge = edge(&input(&bus, port, &format!("start={start}")), &[]);
        await_ready(&edge);
        assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 50 - first, "{start}");
        edge
    });
    let mut subscribers =
        edges.each_ref().map(|edge| Subscriber::join(edge.subscribers, Kind::Sse, "ticks.0"));
    bus.publish(&(50..60).map(numbered).collect::<Vec<_>>());
    for subscriber in &mut subscribers {
        (50..60).for_each(|number| expect_number(subscriber, number));
    }
    edges.into_iter().for_each(|edge| edge.stop());
}

/// What a stream forgot while the edge was cut off from it is told: exactly what is gone, as far as
/// the oldest record that is left.
#[test]
fn what_a_stream_forgot_is_told() {
    let mut rabbit = Rabbit::start();
    // Segments of about a hundred records, and two of them at most.
    let short = [("x-stream-max-segment-size-bytes", 10_000), ("x-max-length-bytes", 20_000)];
    rabbit.declare_stream("short", &short);
    let proxy = Proxy::to(rabbit.broker.port(), Duration::ZERO);
    let text = format!("amqp-stream name=bus url={} queue=short", url(proxy.port()));
    let edge = edge(&text, &[]);
    await_ready(&edge);
    let mut live = Subscriber::join(edge.subscribers, Kind::Sse, "short");
    let publish = |numbers: std::ops::Range<usize>| {
        // In small parts, since a segment ends with a part.
        let records: Vec<Record> = numbers.map(wide).collect();
        records.chunks(20).for_each(|part| rabbit.publish("", part, |_| "short".to_owned()));
    };
    publish(0..20);
    let positions: Vec<String> = (0..20).map(|number| next_position(&mut live, number)).collect();
    proxy.cut();
    publish(20..1000);
    let oldest = eventually("the stream forgets", || {
        let oldest = rabbit.oldest("short");
        (oldest > 20).then_some(oldest)
    });
    proxy.mend();
    let Received::Gap(told) = live.next() else { panic!("a gap is told") };
    let first = next_position(&mut live, oldest);
    let (epoch, offset) = first.rsplit_once('-').expect("epoch-offset");
    let before = format!("{epoch}-{}", offset.parse::<u128>().expect("a number") - 1);
    assert_eq!(told, Gap { from: positions[19].clone(), to: before });
    // Offsets have gaps where a segment begins, and nothing more is told to be lost.
    (oldest + 1..1000).for_each(|number| drop(next_position(&mut live, number)));
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 1);
    edge.stop();
    rabbit.broker.kill();
}

/// A stream that was deleted and made anew begins again under a numbering of its own: who is there has
/// to come back, is told a gap, and gets what the new one has.
#[test]
fn a_stream_made_anew_begins_again() {
    let mut bus = Stream::start();
    let edge = edge_on(&mut bus);
    let mut live = Subscriber::join(edge.subscribers, Kind::Sse, "ticks.0");
    bus.publish(&(0..30).map(numbered).collect::<Vec<_>>());
    let positions: Vec<String> = (0..30).map(|number| next_position(&mut live, number)).collect();
    bus.rabbit.run(async |channel| {
        channel.queue_delete("log".into(), Default::default()).await.expect("it was there");
    });
    bus.rabbit.declare_stream("log", &[]);
    bus.publish(&[numbered(100)]);
    assert_eq!(live.next(), Received::End);
    let mut reader = Reader::resume(edge.subscribers, Via::Sse, "ticks.0", &positions[29]);
    bus.publish(&(101..110).map(numbered).collect::<Vec<_>>());
    let Item::Gap(gap) = reader.next() else { panic!("a gap is told") };
    assert_eq!(gap.from, positions[29]);
    let mut numbers = Vec::new();
    while numbers.last() != Some(&109) {
        let Item::Publication(text, _) = reader.next() else { panic!("one gap is told") };
        numbers.push(number_of(text.as_bytes()));
    }
    // The first came before the subscriber was back, and stands in the history or in the gap.
    let first = *numbers.first().expect("there are some");
    assert!(first <= 101, "{numbers:?}");
    assert_eq!(numbers, (first..110).collect::<Vec<_>>());
    edge.stop();
}

/// A publication that no queue takes is not told to be published.
#[test]
fn a_publication_that_no_queue_takes_is_refused() {
    let mut bus = Exchange::start();
    let port = bus.broker().port();
    // The input reads only ticks.
    let edge = edge(&input(&bus, port, "to=elsewhere"), &["--publish-to", "bus"]);
    await_ready(&edge);
    let answer = crate::support::Publisher::of(&edge).try_publish("ticks.0", b"nobody's");
    let told = String::from_utf8(answer.body).expect("text");
    assert!(answer.head.status >= 500 && told.contains("'elsewhere'"), "{told}");
    edge.stop();
}

/// A broker with its own `epmd`.
struct Rabbit {
    broker: Broker,
    runtime: Runtime,
}

impl Rabbit {
    #[track_caller]
    fn start() -> Rabbit {
        let (nodes, names) = (Port::take(), Port::take());
        let command = move |folder: &Path, port: u16| {
            let home = folder.join("home");
            fs::create_dir_all(&home).expect("a folder of ours");
            let cookie = home.join(".erlang.cookie");
            if !cookie.exists() {
                fs::write(&cookie, "STENTOR").expect("a file of ours");
                let private = fs::Permissions::from_mode(0o400);
                fs::set_permissions(&cookie, private).expect("a file of ours");
            }
            let config =
                format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.console.level = warning\n");
            fs::write(folder.join("rabbitmq.conf"), config).expect("a file of ours");
            fs::write(folder.join("plugins"), "[].").expect("a file of ours");
            // The register of nodes ends with the broker, too: it would stay as a daemon otherwise.
            let script =
                "setpriv --pdeathsig KILL epmd & exec /usr/lib/rabbitmq/bin/rabbitmq-server";
            let mut command = Command::new("sh");
            let node = format!("stentor{port}@localhost");
            let loopback = "-noinput +S 2:2 -kernel inet_dist_use_interface {127,0,0,1}";
            command.args(["-c", script]).env("HOME", home).env("RABBITMQ_NODENAME", node);
            command.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
            command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback);
            command.env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"));
            command.env("RABBITMQ_LOG_BASE", folder.join("log"));
            command.env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"));
            command.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"));
            command.env("RABBITMQ_DIST_PORT", nodes.number().to_string());
            command.env("ERL_EPMD_PORT", names.number().to_string());
            command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Rabbit {
            broker: Broker::start("rabbit", command, serves),
            runtime: runtime.expect("a runtime"),
        }
    }

    /// Does something on a channel of a connection of its own.
    #[track_caller]
    fn run<T>(&self, work: impl AsyncFnOnce(Channel) -> T) -> T {
        let url = url(self.broker.port());
        self.runtime.block_on(async {
            let connecting = Connection::connect(&url, ConnectionProperties::default());
            let connection = connecting.await.expect("it serves");
            let result = work(connection.create_channel().await.expect("a channel")).await;
            let _ = connection.close(200, "".into()).await;
            result
        })
    }

    #[track_caller]
    fn declare_stream(&self, name: &str, more: &[(&str, i64)]) {
        let mut arguments = FieldTable::default();
        let stream = LongString::from("stream");
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(stream));
        for (name, value) in more {
            arguments.insert((*name).into(), AMQPValue::LongLongInt(*value));
        }
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        self.run(async |channel| {
            channel.queue_declare(name.into(), durable, arguments).await.expect("a stream");
        });
    }

    /// Waits until the broker has written down that it has streams: it writes that some seconds late,
    /// and one that is killed before has no streams any more.
    #[track_caller]
    fn await_names(&self) {
        let (folder, port) = (self.broker.folder(), self.broker.port());
        let node = format!("stentor{port}@localhost");
        let names = folder.join("mnesia").join(&node).join("coordination").join(&node);
        eventually("the names of streams are on disk", || {
            let names = fs::read(names.join("names.dets")).unwrap_or_default();
            let coordinator = b"rabbit_stream_coordinator";
            names.windows(coordinator.len()).any(|part| part == coordinator).then_some(())
        });
    }

    /// Publishes with confirms.
    #[track_caller]
    fn publish(&self, exchange: &str, records: &[Record], key: impl Fn(&Record) -> String) {
        self.run(async |channel| {
            let options = ConfirmSelectOptions::default();
            channel.confirm_select(options).await.expect("confirms");
            for window in records.chunks(1000) {
                let mut confirms = Vec::with_capacity(window.len());
                for record in window {
                    let mut headers = FieldTable::default();
                    let name = LongString::from(record.channel.as_str());
                    headers.insert("channel".into(), AMQPValue::LongString(name));
                    let properties = BasicProperties::default().with_headers(headers);
                    let (exchange, key) = (exchange.into(), ShortString::from(key(record)));
                    let options = BasicPublishOptions::default();
                    let publishing =
                        channel.basic_publish(exchange, key, options, &record.payload, properties);
                    confirms.push(publishing.await.expect("it takes what is sent"));
                }
                for confirm in confirms {
                    assert_eq!(confirm.await.expect("it lives"), Confirmation::Ack(None));
                }
            }
        });
    }

    /// The number that the oldest record of a stream begins with.
    #[track_caller]
    fn oldest(&self, queue: &str) -> usize {
        self.run(async |channel| {
            channel.basic_qos(1, BasicQosOptions::default()).await.expect("a prefetch");
            let mut arguments = FieldTable::default();
            let first = AMQPValue::LongString("first".into());
            arguments.insert("x-stream-offset".into(), first);
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments).await;
            let delivery = consumer.expect("a consumer").next().await;
            number_of(&delivery.expect("a delivery").expect("a delivery").data)
        })
    }
}

fn url(port: u16) -> String {
    format!("amqp://guest:guest@127.0.0.1:{port}")
}

/// Whether it speaks to who greets it.
fn serves(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut frame = [0; 1];
    stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && stream.read_exact(&mut frame).is_ok()
}

fn numbered(number: usize) -> Record {
    Record { channel: "ticks.0".to_owned(), payload: number.to_string().into_bytes() }
}

/// One of about a hundred bytes.
fn wide(number: usize) -> Record {
    Record { channel: "short".to_owned(), payload: format!("{number} {:100}", "").into_bytes() }
}

#[track_caller]
fn number_of(payload: &[u8]) -> usize {
    let text = str::from_utf8(payload).expect("text");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[track_caller]
fn expect_number(subscriber: &mut Subscriber, number: usize) {
    next_position(subscriber, number);
}

/// The position of the next publication, which begins with this number.
#[track_caller]
fn next_position(subscriber: &mut Subscriber, number: usize) -> String {
    match subscriber.next() {
        Received::Publication { payload, position } => {
            assert_eq!(number_of(&payload), number);
            position.unwrap_or_default()
        }
        other => panic!("number {number} should come and not {other:?}"),
    }
}
