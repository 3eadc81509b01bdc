//! RabbitMQ brokers for tests.
//!
//! RabbitMQ takes many seconds to start, and both cores for most of them. So all tests share one that
//! nobody kills, each with names of its own; and those that kill one have it one after the other.

use std::{
    convert::Infallible,
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    options::{
        BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::number_of;
use crate::{
    broker::{Broker, rabbitmq::rabbitmq},
    bus::Record,
    support::eventually,
};

/// A broker, of this test alone or of many, and a client's runtime.
pub struct Rabbit {
    port: u16,
    own: Option<(Broker, SemaphorePermit<'static>)>,
    runtime: Runtime,
}

impl Rabbit {
    /// The one that all share, and nobody kills.
    #[track_caller]
    pub fn shared() -> Rabbit {
        static PORT: OnceLock<u16> = OnceLock::new();
        let port = *PORT.get_or_init(|| {
            let (tell, told) = mpsc::sync_channel(1);
            // A broker ends with the thread that started it.
            thread::spawn(move || keep_one(&tell));
            told.recv().expect("it starts")
        });
        Rabbit { port, own: None, runtime: runtime() }
    }

    /// One to kill.
    #[track_caller]
    pub fn alone() -> Rabbit {
        static TURN: Semaphore = Semaphore::const_new(1);
        let runtime = runtime();
        let turn = runtime.block_on(TURN.acquire()).expect("it is never closed");
        let broker = rabbitmq();
        Rabbit { port: broker.port(), own: Some((broker, turn)), runtime }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The broker, which must be this test's alone.
    #[track_caller]
    pub fn broker(&mut self) -> &mut Broker {
        let (broker, _) = self.own.as_mut().expect("who kills a broker has it alone");
        broker
    }

    /// Does something on a channel of a connection of its own.
    #[track_caller]
    pub fn run<T>(&self, work: impl AsyncFnOnce(Channel) -> T) -> T {
        let url = url(self.port);
        self.runtime.block_on(async {
            let connecting = Connection::connect(&url, ConnectionProperties::default());
            let connection = connecting.await.expect("it serves");
            let result = work(connection.create_channel().await.expect("a channel")).await;
            let _ = connection.close(200, "".into()).await;
            result
        })
    }

    /// Makes a stream.
    #[track_caller]
    pub fn declare_stream(&self, name: &str, more: &[(&str, i64)]) {
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

    /// Waits until the broker, which is this test's alone, has written down that it has streams: it
    /// writes that some seconds late, and one that is killed before has no streams any more.
    #[track_caller]
    pub fn await_names(&self) {
        let (broker, _) = self.own.as_ref().expect("who kills a broker has it alone");
        let node = format!("stentor{}@localhost", self.port);
        let names = broker.folder().join("mnesia").join(&node).join("coordination").join(&node);
        eventually("the names of streams are on disk", || {
            let names = fs::read(names.join("names.dets")).unwrap_or_default();
            let coordinator = b"rabbit_stream_coordinator";
            names.windows(coordinator.len()).any(|part| part == coordinator).then_some(())
        });
    }

    /// Publishes with confirms.
    #[track_caller]
    pub fn publish(&self, exchange: &str, records: &[Record], key: impl Fn(&Record) -> String) {
        self.run(async |channel| {
            let options = ConfirmSelectOptions::default();
            channel.confirm_select(options).await.expect("confirms");
            for window in records.chunks(WINDOW) {
                let mut confirms = Vec::with_capacity(window.len());
                for record in window {
                    let mut headers = FieldTable::default();
                    let name = LongString::from(record.channel.as_str());
                    headers.insert("channel".into(), AMQPValue::LongString(name));
                    let properties = BasicProperties::default().with_headers(headers);
                    // What a stream does not take would be confirmed, too.
                    let mandatory = exchange.is_empty();
                    let options = BasicPublishOptions { mandatory, ..Default::default() };
                    let (exchange, key) = (exchange.into(), ShortString::from(key(record)));
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
    pub fn oldest(&self, queue: &str) -> usize {
        self.run(async |channel| {
            let mut consumer = consume(&channel, queue, "first", 1).await.expect("a consumer");
            let delivery = consumer.next().await;
            number_of(&delivery.expect("a delivery").expect("a delivery").data)
        })
    }

    /// Whether the stream's newest part has this record. One that is just starting may never answer, so
    /// it is to be asked again.
    #[track_caller]
    pub fn ends_with(&self, queue: &str, payload: &[u8]) -> bool {
        self.run(async |channel| {
            let reading = async {
                let mut consumer = consume(&channel, queue, "last", 2 * WINDOW as u16).await?;
                while let Some(delivery) = consumer.next().await {
                    if delivery?.data == payload {
                        return Ok(true);
                    }
                }
                Ok::<bool, lapin::Error>(false)
            };
            timeout(ANSWER_MAX, reading).await.is_ok_and(|has| has.unwrap_or(false))
        })
    }
}

async fn consume(
    channel: &Channel,
    queue: &str,
    from: &str,
    prefetch: u16,
) -> lapin::Result<Consumer> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString(from.into()));
    channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments).await
}

/// A name that no other test has at the broker.
pub fn name(kind: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{kind}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Where a client finds it.
pub fn url(port: u16) -> String {
    format!("amqp://guest:guest@127.0.0.1:{port}")
}

fn runtime() -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime")
}

/// Keeps a broker until the tests have ended, however they end.
fn keep_one(tell: &SyncSender<u16>) -> Infallible {
    let broker = rabbitmq();
    // Nobody drops what all share, and its folder must not stay: this one's input ends with us.
    let mut remover = Command::new("sh");
    remover.args(["-c", r#"cat; until rm -rf "$0"; do :; done"#]).arg(broker.folder());
    remover.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut remover = remover.spawn().expect("a shell");
    let _open = remover.stdin.take();
    tell.send(broker.port()).expect("somebody waits for it");
    let ended = remover.wait();
    panic!("it ends with the tests, and not before: {ended:?}");
}

/// Records on their way to the broker: a part of a stream has no more of them.
const WINDOW: usize = 1000;

/// How long a stream is waited for before it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);
