//! Kafka, as noida-db speaks its protocol, with its client as the publisher: its batches are made
//! and compressed by a thread of its own.

use std::{env, ops::Range, path::Path, process::Command, time::Duration};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{Bus, Publish, payload};
use crate::support::{
    DEADLINE,
    broker::{Broker, listens},
};

pub fn topic() -> Bus {
    let command = |folder: &Path, port: u16| {
        let local = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/kafka").into();
        let mut command = Command::new(env::var_os("STENTOR_TEST_KAFKA").unwrap_or_else(local));
        command.args(["start", "--only", "kafka", "--kafka-port", &port.to_string()]);
        command.arg("--data-dir").arg(folder.join("log"));
        command
    };
    let broker = Broker::start("bench-kafka", command, listens);
    // Makes the topic. One record is in it before the edge begins behind it.
    let mut publisher = Publisher::connect(broker.port());
    publisher.publish(0..1);
    publisher.producer.flush(DEADLINE).expect("the broker takes it");
    let brokers = format!("127.0.0.1:{}", broker.port());
    let input = format!("kafka brokers={brokers} topic={TOPIC} channel={{topic}}.{{partition}}");
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port)))
}

/// Its only partition feeds the channel.
const TOPIC: &str = "bench";

struct Publisher {
    producer: BaseProducer,
}

impl Publisher {
    fn connect(port: u16) -> Publisher {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", format!("127.0.0.1:{port}")).set("linger.ms", "1");
        Publisher { producer: client.create().expect("a producer") }
    }
}

impl Publish for Publisher {
    fn publish(&mut self, numbers: Range<u64>) {
        for number in numbers {
            let payload = payload(number);
            let mut next = BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&payload);
            while let Err((_, again)) = self.producer.send(next) {
                self.producer.poll(Duration::from_millis(1));
                next = again;
            }
        }
        self.producer.poll(Duration::ZERO);
    }
}
