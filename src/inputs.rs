//! Inputs from message buses: what an operator says of them, and how they are.
//!
//! Vocabulary: of ours it imports only `frame`, `ids`, `mapping` and `policy`.
#![forbid(unsafe_code)]

mod feeds;
mod place;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use place::without_secrets;

use crate::{
    frame::PayloadKind,
    ids::{ChannelName, Position},
    mapping::{Mapping, Template},
};

/// One input: what it reads, and where its records go.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// What it is called in metrics, logs and errors.
    pub name: Box<str>,
    /// What it reads.
    pub source: Source,
    /// What becomes of its records.
    pub mapping: Mapping,
    /// Whether its channels are numbered by the bus. Only sources with a log can be.
    pub numbered_by_bus: bool,
    /// Records that may be on their way to one shard. Where all are, the input stops reading, or,
    /// if its bus cannot wait, drops and counts.
    pub queue: u32,
    /// Where a publication to a channel goes on the bus, if publications are forwarded to this
    /// input: a template of `{channel}`.
    pub destination: Template,
}

/// What an input reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Core NATS: subjects, `*` and `>` included.
    Nats(Nats),
    /// A JetStream stream.
    JetStream(JetStream),
    /// Redis Pub/Sub.
    RedisChannels(RedisChannels),
    /// Redis streams.
    RedisStreams(RedisStreams),
    /// Kafka topics, all partitions.
    Kafka(Kafka),
    /// A queue of its own at a RabbitMQ exchange.
    Amqp(Amqp),
    /// A RabbitMQ stream queue.
    AmqpStream(AmqpStream),
    /// MQTT topic filters.
    Mqtt(Mqtt),
    /// Lines.
    Lines(Lines),
}

/// Core NATS.
#[derive(Clone, Debug, PartialEq)]
pub struct Nats {
    /// `nats://127.0.0.1:4222`, several with commas between them, `tls://` for TLS; may have
    /// `user:password@` or `token@`.
    pub url: String,
    /// Subjects to subscribe to.
    pub subjects: Vec<String>,
    /// A file with a JWT and its key.
    pub credentials: Option<PathBuf>,
}

/// A JetStream stream.
#[derive(Clone, Debug, PartialEq)]
pub struct JetStream {
    /// The servers, and the subjects of the stream that are read: all if there are none.
    pub nats: Nats,
    /// The stream.
    pub stream: String,
    /// A durable consumer of this name remembers at the server what was read; without one an
    /// ordered consumer begins at `start`.
    pub durable: Option<String>,
    /// Where to begin.
    pub start: StartAt,
}

/// Redis Pub/Sub.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisChannels {
    /// `redis://[user:password@]127.0.0.1:6379/0`, `rediss://` for TLS, `redis+unix:///path`.
    pub url: String,
    /// Channels to subscribe to; with `*`, `?` or `[` they are patterns.
    pub channels: Vec<String>,
}

/// Redis streams.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisStreams {
    /// As for Pub/Sub.
    pub url: String,
    /// Keys of the streams.
    pub streams: Vec<String>,
    /// The entry's field that is the payload.
    pub payload_field: String,
    /// Where to begin.
    pub start: StartAt,
}

/// Kafka.
#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    /// `127.0.0.1:9092`, several with commas between them.
    pub brokers: String,
    /// Topics.
    pub topics: Vec<String>,
    /// Where to begin in each partition.
    pub start: StartAt,
    /// Properties of librdkafka, for whatever else a cluster wants.
    pub properties: Vec<(String, String)>,
}

/// A RabbitMQ exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Amqp {
    /// `amqp://user:password@127.0.0.1:5672/vhost`, `amqps://` for TLS.
    pub url: String,
    /// The exchange, which must be there.
    pub exchange: String,
    /// The routing keys that the queue is bound with.
    pub keys: Vec<String>,
}

/// A RabbitMQ stream queue.
#[derive(Clone, Debug, PartialEq)]
pub struct AmqpStream {
    /// As for an exchange.
    pub url: String,
    /// The queue, which must be there.
    pub queue: String,
    /// Where to begin.
    pub start: StartAt,
}

/// MQTT.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// `mqtt://[user:password@]127.0.0.1:1883`, `mqtts://` for TLS.
    pub url: String,
    /// Topic filters, `+` and `#` included.
    pub topics: Vec<String>,
    /// The quality of service to ask for: 0 or 1.
    pub qos: u8,
    /// The protocol: 4 is MQTT 3.1.1, 5 is MQTT 5.
    pub version: u8,
    /// The client's name at the broker, where its session outlives a connection. Without one every
    /// run has a name of its own.
    pub client_id: Option<String>,
}

/// Lines: each is a publication.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Where they come from.
    pub from: LinesFrom,
    /// Whether each line is an object with a channel and data, and not a payload as it is.
    pub is_json: bool,
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq)]
pub enum LinesFrom {
    /// Standard input.
    Stdin,
    /// Whoever connects to this Unix socket, which is made.
    Unix(PathBuf),
    /// Whoever connects to this address.
    Tcp(SocketAddr),
}

/// Where to begin in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// So that the history of the channels is filled: like [`StartAt::Last`] of the number.
    History(u64),
    /// With what comes from now on.
    New,
    /// With the oldest that there is.
    All,
    /// With so many of the newest.
    Last(u64),
    /// Behind this sequence number, offset or id, as the bus writes it.
    Behind(String),
    /// With the first at or after this moment, in milliseconds since 1970.
    Time(u64),
}

/// Why records were passed over, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The filter said so.
    Filtered,
    /// It maps to nothing.
    Unmapped,
    /// It maps to what is no channel's name.
    BadName,
    /// The payload is larger than a publication may be.
    TooLarge,
    /// It was published before: it has a position that the channel has passed.
    Repeated,
    /// Its channel is fed by another sequence.
    OtherSequence,
    /// There are too many channels, or keys in the channel.
    NoRoom,
    /// The journal could not take it.
    Journal,
    /// The shards were behind, and the bus cannot wait.
    Dropped,
    /// It cannot be read: no JSON line, no payload field.
    Malformed,
}

impl Skip {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Skip; 10] = [
        Skip::Filtered,
        Skip::Unmapped,
        Skip::BadName,
        Skip::TooLarge,
        Skip::Repeated,
        Skip::OtherSequence,
        Skip::NoRoom,
        Skip::Journal,
        Skip::Dropped,
        Skip::Malformed,
    ];

    /// The name used in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Skip::Filtered => "filtered",
            Skip::Unmapped => "unmapped",
            Skip::BadName => "bad_name",
            Skip::TooLarge => "too_large",
            Skip::Repeated => "repeated",
            Skip::OtherSequence => "other_sequence",
            Skip::NoRoom => "no_room",
            Skip::Journal => "journal",
            Skip::Dropped => "dropped",
            Skip::Malformed => "malformed",
        }
    }
}

/// How an input is. Written by the input alone, read by whoever wants to know.
#[derive(Debug, Default)]
pub struct InputState {
    connected: AtomicBool,
    ready: AtomicBool,
    records: AtomicU64,
    bytes: AtomicU64,
    skipped: [AtomicU64; Skip::ALL.len()],
    holes: AtomicU64,
    reconnects: AtomicU64,
    /// Negative: not known.
    lag: AtomicI64,
    last_record_ms: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// How an input is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputReport {
    /// Whether it is connected to its bus.
    pub connected: bool,
    /// Whether it has once read everything that it was to read before the server is ready.
    pub ready: bool,
    /// Records that it has read.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Records that were passed over, by reason (in the order of [`Skip::ALL`]).
    pub skipped: [u64; Skip::ALL.len()],
    /// Holes: stretches that the bus had trimmed before they were read.
    pub holes: u64,
    /// Times that it connected again.
    pub reconnects: u64,
    /// Records that the bus has and it has not read yet, where that can be known.
    pub lag: Option<u64>,
    /// When the last record came, in milliseconds since 1970.
    pub last_record_ms: Option<u64>,
    /// What keeps it from its bus.
    pub problem: Option<String>,
}

impl InputState {
    /// Nothing yet.
    pub fn new() -> Self {
        InputState { lag: AtomicI64::new(-1), ..InputState::default() }
    }

    /// A record has come.
    pub fn on_record(&self, bytes: usize, now_ms: u64) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_record_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A record was passed over. Returns how many were for this reason before.
    pub fn on_skip(&self, why: Skip) -> u64 {
        self.skipped[why as usize].fetch_add(1, Ordering::Relaxed)
    }

    /// The bus had trimmed a stretch before it was read.
    pub fn on_hole(&self) {
        self.holes.fetch_add(1, Ordering::Relaxed);
    }

    /// The bus is there, or not: `problem` says why not.
    pub fn set_connected(&self, connected: bool, problem: Option<String>) {
        self.connected.store(connected, Ordering::Relaxed);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// It connects again.
    pub fn on_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// It has read everything that it was to read before the server is ready.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Records that the bus has and it has not read yet.
    pub fn set_lag(&self, lag: Option<u64>) {
        let lag = lag.map_or(-1, |lag| i64::try_from(lag).unwrap_or(i64::MAX));
        self.lag.store(lag, Ordering::Relaxed);
    }

    /// How it is now.
    pub fn report(&self) -> InputReport {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let last_record_ms = get(&self.last_record_ms);
        InputReport {
            connected: self.connected.load(Ordering::Relaxed),
            ready: self.ready.load(Ordering::Relaxed),
            records: get(&self.records),
            bytes: get(&self.bytes),
            skipped: std::array::from_fn(|at| get(&self.skipped[at])),
            holes: get(&self.holes),
            reconnects: get(&self.reconnects),
            lag: u64::try_from(self.lag.load(Ordering::Relaxed)).ok(),
            last_record_ms: Some(last_record_ms).filter(|&at| at > 0),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// A publication on its way to a bus.
#[derive(Debug)]
pub struct Forward {
    /// The channel that it was published to.
    pub channel: ChannelName,
    /// What the payload is.
    pub kind: PayloadKind,
    /// The payload.
    pub payload: Bytes,
    /// What it is the value of, if anything.
    pub key: Option<Box<str>>,
    /// Is told what became of it: the position that it will have, where the bus says so, or why the
    /// bus did not take it.
    pub answer: oneshot::Sender<Result<Option<Position>, String>>,
}

/// The way to a bus: [`Forward`]s that may wait are bounded.
pub type Forwards = mpsc::Sender<Forward>;
