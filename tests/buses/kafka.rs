//! Kafka, as noida-db speaks its protocol.
//!
//! That broker has its log in memory and writes it to a file a little later, so that what it has
//! acknowledged may be lost by a `kill -9`; a kill waits until the file holds everything.

use std::{fs, path::Path, process::Command, time::Duration};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
    topic_partition_list::Offset,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{
    broker::{Broker, listens},
    bus::{Bus, CHANNELS, Log, Record, stories},
    edge::{await_ready, edge, edge_on, input, readiness, told_of_input},
    support::{DEADLINE, Kind, Received, Subscriber, eventually, tools::tool},
};

stories!(Kafka, log);

/// A topic with a partition for each channel.
struct Kafka {
    broker: Broker,
    /// Records in each partition.
    published: Vec<u64>,
}

impl Bus for Kafka {
    const MAPPING: &str = "channel={topic}.{partition}";
    const BURST: usize = usize::MAX;

    fn start() -> Self {
        let mut kafka = Kafka::without_topic();
        kafka.make_topic();
        kafka
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn kill(&mut self) {
        self.await_file();
        self.broker.kill();
    }

    fn source(&self, port: u16) -> String {
        format!("kafka brokers=127.0.0.1:{port} topic={TOPIC}")
    }

    fn publish(&mut self, records: &[Record]) {
        let producer: BaseProducer = self.client().create().expect("a producer");
        for record in records {
            let partition = partition(&record.channel);
            let mut next =
                BaseRecord::<(), [u8]>::to(TOPIC).partition(partition).payload(&record.payload);
            while let Err((_, again)) = producer.send(next) {
                producer.poll(Duration::from_millis(10));
                next = again;
            }
            self.published[partition as usize] += 1;
        }
        producer.flush(DEADLINE).expect("the broker takes it");
    }
}

impl Log for Kafka {
    fn trim(&mut self, channel: &str, keep: usize) {
        let partition = partition(channel);
        let low = self.published[partition as usize] - keep as u64;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, partition, Offset::Offset(low as i64)).expect("an offset");
        let told = runtime().block_on(self.admin().delete_records(&list, &AdminOptions::new()));
        let told = told.expect("an answer");
        assert_eq!(told.find_partition(TOPIC, partition).expect("ours").error(), Ok(()));
    }
}

impl Kafka {
    fn without_topic() -> Self {
        let command = |folder: &Path, port: u16| {
            let mut command = Command::new(tool("STENTOR_TEST_KAFKA", ".venv/bin/kafka"));
            command.args(["start", "--only", "kafka", "--kafka-port", &port.to_string()]);
            command.arg("--data-dir").arg(folder.join("log"));
            command
        };
        Kafka { broker: Broker::start("kafka", command, listens), published: vec![0; CHANNELS] }
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", format!("127.0.0.1:{}", self.broker.port()));
        client.set("acks", "all").set("linger.ms", "1");
        client
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    fn make_topic(&mut self) {
        let topic = NewTopic::new(TOPIC, CHANNELS as i32, TopicReplication::Fixed(1));
        let told = runtime().block_on(self.admin().create_topics([&topic], &AdminOptions::new()));
        assert_eq!(told.expect("an answer"), [Ok(TOPIC.to_owned())]);
        self.published = vec![0; CHANNELS];
    }

    fn drop_topic(&mut self) {
        let told = runtime().block_on(self.admin().delete_topics(&[TOPIC], &AdminOptions::new()));
        assert_eq!(told.expect("an answer"), [Ok(TOPIC.to_owned())]);
    }

    fn grow_topic(&mut self) {
        let partitions = NewPartitions::new(TOPIC, CHANNELS + 1);
        let admin = self.admin();
        let told = admin.create_partitions([&partitions], &AdminOptions::new());
        assert_eq!(runtime().block_on(told).expect("an answer"), [Ok(TOPIC.to_owned())]);
        self.published.push(0);
    }

    /// Waits until the broker's file has everything that was published.
    fn await_file(&self) {
        let path = self.broker.folder().join("log/kafka.json");
        eventually("the broker has written its log", || {
            let text = fs::read(&path).ok()?;
            let log: Value = serde_json::from_slice(&text).ok()?;
            let topics = log["topics"].as_array()?;
            let ours = topics.iter().find(|topic| topic[0] == TOPIC)?;
            let partitions = ours[1]["partitions"].as_array()?;
            let is_there = |(number, count): (usize, &u64)| {
                let partition = partitions.iter().find(|partition| partition[0] == number);
                partition.is_some_and(|it| it[1]["high_watermark"].as_u64() >= Some(*count))
            };
            self.published.iter().enumerate().all(is_there).then_some(())
        });
    }
}

/// An edge that is started before its topic is made says so, and reads it once it is.
#[test]
fn an_edge_waits_for_its_topic() {
    let mut bus = Kafka::without_topic();
    let port = bus.broker.port();
    let edge = edge(&input(&bus, port, ""), &[]);
    let expected = format!("127.0.0.1:{port} has no topic 'ticks'");
    eventually("the edge says what it lacks", || {
        String::from_utf8_lossy(&readiness(&edge).body).contains(&expected).then_some(())
    });
    bus.make_topic();
    await_ready(&edge);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, &Kafka::channel(2));
    bus.publish(&[record(2, "there it is")]);
    expect_next(&mut subscriber, "there it is");
    edge.stop();
}

/// A partition that is added while the edge reads is read from its first record.
#[test]
fn a_new_partition_is_read_from_its_beginning() {
    let mut bus = Kafka::start();
    let edge = edge_on(&mut bus);
    let channel = format!("{TOPIC}.{CHANNELS}");
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, &channel);
    bus.grow_topic();
    let texts = ["first", "second", "third"];
    bus.publish(&texts.map(|text| record(CHANNELS, text)));
    for text in texts {
        expect_next(&mut subscriber, text);
    }
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 0);
    edge.stop();
}

/// A topic that is deleted and made anew is read from its beginning, under another numbering: who was
/// subscribed before is not made to wait for offsets that never come.
#[test]
fn a_topic_that_is_made_anew_is_read() {
    let mut bus = Kafka::start();
    let edge = edge_on(&mut bus);
    let channel = Kafka::channel(0);
    let mut before = Subscriber::join(edge.subscribers, Kind::Sse, &channel);
    bus.publish(&(0..100).map(|number| record(0, &format!("old {number}"))).collect::<Vec<_>>());
    let old: Vec<String> =
        (0..100).map(|number| expect_next(&mut before, &format!("old {number}"))).collect();
    bus.drop_topic();
    bus.make_topic();
    bus.publish(&[record(0, "new 0")]);
    eventually("the new topic is read", || {
        (told_of_input(&edge, "stentor_input_records_total") == 101).then_some(())
    });
    let mut after = Subscriber::join(edge.subscribers, Kind::Sse, &channel);
    bus.publish(&[record(0, "new 1")]);
    let position = expect_next(&mut after, "new 1");
    let epoch = |position: &str| position.split('-').next().map(str::to_owned);
    assert_ne!(epoch(&position), epoch(&old[99]));
    assert!(position.ends_with("-2"), "{position}");
    edge.stop();
}

/// A record without a payload, which in Kafka deletes its key, is a publication without bytes.
#[test]
fn a_tombstone_is_an_empty_publication() {
    let mut bus = Kafka::start();
    let edge = edge_on(&mut bus);
    let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, &Kafka::channel(1));
    let producer: BaseProducer = bus.client().create().expect("a producer");
    let tombstone = BaseRecord::<str, [u8]>::to(TOPIC).partition(1).key("gone");
    assert!(producer.send(tombstone).is_ok());
    producer.flush(DEADLINE).expect("the broker takes it");
    expect_next(&mut subscriber, "");
    edge.stop();
}

const TOPIC: &str = "ticks";

fn record(partition: usize, text: &str) -> Record {
    Record { channel: format!("{TOPIC}.{partition}"), payload: text.into() }
}

/// The partition of a channel.
fn partition(channel: &str) -> i32 {
    channel.rsplit('.').next().and_then(|it| it.parse().ok()).expect("a partition")
}

/// The position of the next publication, which says this.
#[track_caller]
fn expect_next(subscriber: &mut Subscriber, text: &str) -> String {
    match subscriber.next() {
        Received::Publication { payload, position: Some(position) } => {
            assert_eq!(String::from_utf8(payload).as_deref(), Ok(text));
            position
        }
        other => panic!("{text:?} should come and not {other:?}"),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
