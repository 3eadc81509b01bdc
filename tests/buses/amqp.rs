//! RabbitMQ: an exchange, and a stream queue.

use std::time::Duration;

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::FieldTable,
};

use crate::{
    broker::Broker,
    bus::{Bus, Log, Record, stories, tests},
    edge::{await_ready, edge, edge_on, input, readiness, skipped, told_of_input},
    proxy::Proxy,
    support::{Gap, Item, Kind, Reader, Received, Subscriber, Via, eventually},
};

mod rabbit;

use rabbit::{Rabbit, name, url};

mod exchange {
    super::stories!(super::Exchange);
}

mod stream {
    // An input whose channels are named in headers may feed any: no other can be published to. How an
    // edge waits for its broker is the exchange's to show; a start takes RabbitMQ many seconds.
    super::tests!(super::Stream, every:
        subjects_become_channels,
        many_subscribers_get_everything,
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
    name: String,
}

impl Exchange {
    fn on(rabbit: Rabbit) -> Exchange {
        let exchange = Exchange { rabbit, name: name("all") };
        exchange.declare();
        exchange
    }

    fn declare(&self) {
        self.rabbit.run(async |channel| {
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let (name, none) = (self.name.as_str().into(), FieldTable::default());
            let declared = channel.exchange_declare(name, ExchangeKind::Topic, durable, none);
            declared.await.expect("an exchange");
        });
    }
}

impl Bus for Exchange {
    const MAPPING: &str = "";
    const KILLS: u64 = 2;

    fn start() -> Self {
        Exchange::on(Rabbit::shared())
    }

    fn start_alone() -> Self {
        Exchange::on(Rabbit::alone())
    }

    fn broker(&mut self) -> &mut Broker {
        self.rabbit.broker()
    }

    fn port(&mut self) -> u16 {
        self.rabbit.port()
    }

    /// A broker that is killed soon after may have lost the exchange, which its publishers then declare
    /// again.
    fn restart(&mut self) {
        self.rabbit.broker().restart();
        self.declare();
    }

    fn source(&self, port: u16) -> String {
        format!("amqp url={} exchange={} routing-key=ticks.#", url(port), self.name)
    }

    fn publish(&mut self, records: &[Record]) {
        self.rabbit.publish(&self.name, records, |record| record.channel.clone());
    }
}

/// A stream queue, whose records have their channel in a header.
struct Stream {
    rabbit: Rabbit,
    name: String,
    /// What was published last.
    newest: Vec<u8>,
}

impl Stream {
    fn on(rabbit: Rabbit) -> Stream {
        let name = name("log");
        rabbit.declare_stream(&name, &[]);
        Stream { rabbit, name, newest: Vec::new() }
    }
}

impl Bus for Stream {
    const MAPPING: &str = "channel={header:channel}";
    const BURST: usize = usize::MAX;
    const KILLS: u64 = 2;

    fn start() -> Self {
        Stream::on(Rabbit::shared())
    }

    fn start_alone() -> Self {
        let bus = Stream::on(Rabbit::alone());
        bus.rabbit.await_names();
        bus
    }

    fn broker(&mut self) -> &mut Broker {
        self.rabbit.broker()
    }

    fn port(&mut self) -> u16 {
        self.rabbit.port()
    }

    /// A broker that serves may still be starting its streams, and confirms what is published to one
    /// meanwhile without keeping it: so what was published before the kill is waited for.
    fn restart(&mut self) {
        self.rabbit.broker().restart();
        eventually("the stream has what was published", || {
            self.rabbit.ends_with(&self.name, &self.newest).then_some(())
        });
    }

    fn source(&self, port: u16) -> String {
        format!("amqp-stream url={} queue={name} to={name}", url(port), name = self.name)
    }

    fn publish(&mut self, records: &[Record]) {
        self.rabbit.publish("", records, |_| self.name.clone());
        self.newest.clone_from(&records.last().expect("some").payload);
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
    let port = bus.port();
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
    let rabbit = Rabbit::shared();
    rabbit.run(async |channel| {
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default();
        channel.queue_declare("classic".into(), durable, none).await.expect("a queue");
    });
    let port = rabbit.port();
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
}

/// A start is where it says: so many of the newest, behind an offset, at the beginning, or with what
/// comes from now on.
#[test]
fn a_stream_is_read_from_its_start() {
    let mut bus = Stream::start();
    bus.publish(&(0..50).map(numbered).collect::<Vec<_>>());
    let port = bus.port();
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
    let rabbit = Rabbit::shared();
    // Segments of about a hundred records, and two of them at most.
    let short = [("x-stream-max-segment-size-bytes", 10_000), ("x-max-length-bytes", 20_000)];
    rabbit.declare_stream("short", &short);
    let proxy = Proxy::to(rabbit.port(), Duration::ZERO);
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
    let Received::Publication { payload, position: Some(first) } = live.next() else { panic!() };
    let number = number_of(&payload);
    // It forgets whenever it likes, between the two questions and the input's, too.
    let range = oldest..=rabbit.oldest("short");
    assert!(range.contains(&number), "{number} is not in {range:?}");
    let (epoch, offset) = first.rsplit_once('-').expect("epoch-offset");
    let before = format!("{epoch}-{}", offset.parse::<u128>().expect("a number") - 1);
    assert_eq!(told, Gap { from: positions[19].clone(), to: before });
    // Offsets have gaps where a segment begins, and nothing more is told to be lost.
    (number + 1..1000).for_each(|number| drop(next_position(&mut live, number)));
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 1);
    edge.stop();
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
        channel
            .queue_delete(bus.name.as_str().into(), Default::default())
            .await
            .expect("it was there");
    });
    bus.rabbit.declare_stream(&bus.name, &[]);
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
    let port = bus.port();
    // The input reads only ticks.
    let edge = edge(&input(&bus, port, "to=elsewhere"), &["--publish-to", "bus"]);
    await_ready(&edge);
    let answer = crate::support::Publisher::of(&edge).try_publish("ticks.0", b"nobody's");
    let told = String::from_utf8(answer.body).expect("text");
    assert!(answer.head.status >= 500 && told.contains("'elsewhere'"), "{told}");
    edge.stop();
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
