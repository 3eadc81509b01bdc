//! librdkafka: its settings, what it tells of itself, and what its errors mean.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{ConsumerContext, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::{bus::Fault, inputs::Kafka, logs::Limiter};

/// A client that reads.
pub(super) type Consumer = StreamConsumer<Context>;

/// What librdkafka tells of itself.
#[derive(Default)]
pub(super) struct Context {
    /// Why the last connection to a broker was lost.
    reason: Mutex<String>,
    seen: Mutex<Option<Seen>>,
    /// Whether there was an event that is no record.
    events: AtomicBool,
    told: Notify,
}

/// What librdkafka has seen of the topics, of its statistics the part that is used.
#[derive(Deserialize)]
pub(super) struct Seen {
    /// By name.
    pub topics: HashMap<String, SeenTopic>,
}

/// One of them.
#[derive(Deserialize)]
pub(super) struct SeenTopic {
    /// By number.
    pub partitions: HashMap<i32, SeenPartition>,
}

/// One of those. Offsets below 0 are not known yet.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct SeenPartition {
    /// Whether the brokers do not know it.
    pub unknown: bool,
    /// The end of the partition at which everything up to it had been fetched.
    pub eof_offset: i64,
    /// The end.
    pub hi_offset: i64,
    /// The end of what is no open transaction.
    pub ls_offset: i64,
}

/// What an input sets itself, as its promises need it.
const READING: [(&str, &str); 6] = [
    // Without a group nothing can be assigned, and nothing is ever asked of it or committed to it.
    ("group.id", "stentor"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    // An offset that the broker does not have must be told, not mended.
    ("auto.offset.reset", "error"),
    ("statistics.interval.ms", "1000"),
];

/// What may be set otherwise.
const READING_USUALLY: [(&str, &str); 9] = [
    ("client.id", "stentor"),
    // What is fetched and not yet taken, over all partitions. It may be overshot by one fetch from
    // each broker.
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "10000"),
    ("fetch.max.bytes", "8388608"),
    // While that is full, it is looked at this often.
    ("fetch.queue.backoff.ms", "10"),
    // New partitions are found after so long.
    ("topic.metadata.refresh.interval.ms", "10000"),
    // A broker that says nothing for so long is gone.
    ("socket.timeout.ms", "10000"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "1000"),
];

const WRITING: [(&str, &str); 2] = [("acks", "all"), ("message.timeout.ms", "5000")];

const WRITING_USUALLY: [(&str, &str); 4] = [
    ("client.id", "stentor"),
    ("linger.ms", "1"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// A client that reads nothing yet.
pub(super) fn consumer(kafka: &Kafka) -> Result<Consumer, Fault> {
    create(kafka, &READING_USUALLY, &READING, Context::default()).map_err(Fault::Refused)
}

/// A client that writes.
pub(super) fn producer<T>(kafka: &Kafka, is_idempotent: bool) -> Result<T, String>
where
    T: FromClientConfigAndContext<Context>,
{
    let is_idempotent = if is_idempotent { "true" } else { "false" };
    // One request at a time keeps the order where the broker does not.
    let in_flight = if is_idempotent == "true" { "5" } else { "1" };
    let set = [
        ("enable.idempotence", is_idempotent),
        ("max.in.flight.requests.per.connection", in_flight),
    ];
    create(kafka, &WRITING_USUALLY, &[&WRITING[..], &set].concat(), Context::default())
}

fn create<T>(
    kafka: &Kafka,
    usually: &[(&str, &str)],
    always: &[(&str, &str)],
    context: Context,
) -> Result<T, String>
where
    T: FromClientConfigAndContext<Context>,
{
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info).set("log.connection.close", "false");
    for (key, value) in usually {
        config.set(*key, *value);
    }
    for (key, value) in &kafka.properties {
        if always.iter().any(|(own, _)| own == key)
            || ["bootstrap.servers", "metadata.broker.list"].contains(&key.as_str())
        {
            return Err(format!("property {key} is set by the input itself; leave it out"));
        }
        if key == "debug" {
            config.set_log_level(RDKafkaLogLevel::Debug);
        }
        config.set(key, value);
    }
    config.set("bootstrap.servers", &kafka.brokers);
    for (key, value) in always {
        config.set(*key, *value);
    }
    config.create_with_context(context).map_err(|why| wrong(&why))
}

/// What is wrong with the settings, without their values: one may be a password.
fn wrong(error: &KafkaError) -> String {
    let KafkaError::ClientConfig(_, why, key, _) = error else {
        return format!("the client cannot be made: {error}");
    };
    if why.contains("No such configuration property") {
        return format!("property {key} is none of librdkafka's; see its CONFIGURATION.md");
    }
    let hint = if why.contains("not available at build time") {
        "; build with --features kafka-tls"
    } else {
        ""
    };
    format!("property {key} cannot have its value in this build of librdkafka{hint}")
}

/// What an error of a client means for its connection, if anything. `reason` is what it last told.
pub(super) fn fault(brokers: &str, reason: &str, error: &KafkaError) -> Option<Fault> {
    use RDKafkaErrorCode as Code;
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    let reason = if reason.is_empty() { "they do not answer" } else { reason };
    match error.rdkafka_error_code()? {
        Code::Authentication | Code::SaslAuthenticationFailed => Some(Fault::Refused(format!(
            "{brokers} refuses us ({reason}); see the properties security.protocol and sasl.*"
        ))),
        Code::SSL => Some(Fault::Refused(format!(
            "{brokers} cannot be reached by TLS ({reason}); see the properties ssl.*"
        ))),
        Code::TopicAuthorizationFailed => Some(Fault::Refused(format!(
            "{brokers} does not let us read ({reason}); see its access control lists"
        ))),
        Code::AllBrokersDown => {
            Some(Fault::Lost(format!("no broker of {brokers} can be reached ({reason})")))
        }
        Code::AutoOffsetReset | Code::OffsetOutOfRange => {
            Some(Fault::Lost(format!("{brokers} does not have the offset that comes next")))
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Some(Fault::Lost(format!("{brokers} does not have a topic or partition any more")))
        }
        code if fatal => Some(Fault::Lost(format!("{brokers}: {code}"))),
        // One broker of several, a group that is not used, what is tried again by itself.
        code => {
            tracing::debug!(target: "librdkafka", "{code}: {reason}");
            None
        }
    }
}

impl Context {
    /// What was told last.
    pub fn reason(&self) -> String {
        lock(&self.reason).clone()
    }

    /// Whether there was an event that is no record since this was asked last.
    pub fn take_events(&self) -> bool {
        self.events.swap(false, Ordering::Relaxed)
    }

    /// What was seen of the topics since this was asked last.
    pub fn take_seen(&self) -> Option<Seen> {
        lock(&self.seen).take()
    }

    /// Waits until there is an event that is no record.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    fn on_event(&self) {
        self.events.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        use RDKafkaLogLevel as Level;
        self.on_event();
        match level {
            // Lost connections come as errors too, and are told once.
            _ if matches!(facility, "FAIL" | "ERROR") => {
                tracing::debug!(target: "librdkafka", "{facility}: {text}");
            }
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                static LIMITER: Limiter = Limiter::error("librdkafka");
                if LIMITER.admits() {
                    tracing::error!(target: "librdkafka", "{facility}: {text}");
                }
            }
            Level::Warning => {
                static LIMITER: Limiter = Limiter::warn("librdkafka");
                if LIMITER.admits() {
                    tracing::warn!(target: "librdkafka", "{facility}: {text}");
                }
            }
            Level::Notice | Level::Info => {
                tracing::info!(target: "librdkafka", "{facility}: {text}");
            }
            Level::Debug => tracing::debug!(target: "librdkafka", "{facility}: {text}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice(statistics) {
            Ok(seen) => *lock(&self.seen) = Some(seen),
            Err(why) => tracing::debug!(target: "librdkafka", "statistics: {why}"),
        }
        self.on_event();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That no broker is left is no reason why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            drop(mem::replace(&mut *lock(&self.reason), reason.to_owned()));
        }
        self.on_event();
    }
}

impl ConsumerContext for Context {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
