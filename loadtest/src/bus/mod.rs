//! Message buses that publications can go through instead of straight to the server: what they are
//! called, how they are reached, and that they have taken what they were given.
//!
//! A [`Bus`] is a text that was understood; [`Bus::connect`] makes a [`Link`]. A link is given a batch
//! and answers when the bus has taken or refused all of it, so what is on its way is bounded by the
//! batch. It does not come back by itself: whoever has it connects anew. No text of an error holds
//! a user, a password or the name of a channel, so that failures can be counted by it.
#![forbid(unsafe_code)]

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;
mod text;

use std::{path::PathBuf, thread, time::Duration};

use crate::plan::{CHANNEL, Plan};

/// A bus, and where on it a channel's publications go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bus {
    /// What is spoken to it.
    pub kind: Kind,
    /// Its URL; of Kafka, its brokers. It may hold a password.
    pub url: String,
    /// The subject, stream, topic, queue or routing key, with `{channel}` where the channel's name
    /// goes.
    pub to: String,
    /// NATS: a file with a JWT and its key.
    pub credentials: Option<PathBuf>,
    /// Redis streams: the field that the payload is in.
    pub field: String,
    /// AMQP: the exchange.
    pub exchange: String,
    /// MQTT: 0, of which nobody says whether they came, or 1.
    pub qos: u8,
    /// Kafka: settings of librdkafka.
    pub properties: Vec<(String, String)>,
}

/// What is spoken to a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Core NATS.
    Nats,
    /// NATS, into a stream.
    JetStream,
    /// Redis Pub/Sub.
    Redis,
    /// Redis streams.
    RedisStream,
    /// Kafka.
    Kafka,
    /// RabbitMQ, to an exchange.
    Amqp,
    /// RabbitMQ, to stream queues.
    AmqpStream,
    /// MQTT 3.1.1.
    Mqtt,
}

/// A publication for a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The channel's name.
    pub channel: String,
    /// Where on the bus it goes.
    pub to: String,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Whether a bus has taken a publication, or else why not.
pub type Outcome = Result<(), String>;

/// A connection to a bus.
pub trait Link {
    /// Finds out whether publications to this place can be taken, as far as that can be asked.
    fn check(&mut self, to: &str) -> Result<(), String>;

    /// Gives these to the bus in their order, at most [`BATCH_MAX`], and waits for its answers. An
    /// error ends the connection, and nobody knows what became of them.
    fn publish(&mut self, batch: Vec<Outgoing>) -> Result<Vec<Outcome>, String>;

    /// Keeps the connection alive for so long.
    fn rest(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// Publications that a link is given at once: what may be on its way and not taken.
pub const BATCH_MAX: usize = 256;

/// How long a bus may take to take a batch, or a connection.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

impl Bus {
    /// Reads `nats url=nats://127.0.0.1:4222 to={channel}`, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Bus, String> {
        text::parse(text)
    }

    /// What it is called where everybody can read it.
    pub fn place(&self) -> String {
        format!("{} at {}", self.kind.name(), without_secrets(&self.url))
    }

    /// Connects, or says why not.
    pub fn connect(&self) -> Result<Box<dyn Link>, String> {
        match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats | Kind::JetStream => nats::connect(self),
            #[cfg(feature = "redis")]
            Kind::Redis | Kind::RedisStream => redis::connect(self),
            #[cfg(feature = "kafka")]
            Kind::Kafka => kafka::connect(self),
            #[cfg(feature = "amqp")]
            Kind::Amqp | Kind::AmqpStream => amqp::connect(self),
            #[cfg(feature = "mqtt")]
            Kind::Mqtt => mqtt::connect(self),
            #[allow(unreachable_patterns)]
            _ => Err(format!("this program was built without {}", self.kind.name())),
        }
    }

    /// Whether it is there and would take what a plan publishes, or what is to be done about it.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        let to = self.to.replace(CHANNEL, &plan.channel_name(0));
        self.connect()?.check(&to)
    }

    /// Whether a publication says by itself which channel it is for, wherever it goes.
    pub fn names_the_channel(&self) -> bool {
        let says_it = [Kind::Kafka, Kind::RedisStream, Kind::Amqp, Kind::AmqpStream];
        self.to.contains(CHANNEL) || says_it.contains(&self.kind)
    }
}

/// A URL, or several, without user and password.
fn without_secrets(urls: &str) -> String {
    let bare = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        // A password may have any character, also a slash: the host is behind the last @.
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
    };
    urls.split(',').map(|url| bare(url.trim())).collect::<Vec<_>>().join(",")
}

/// What runs the clients that are asynchronous, as long as somebody waits for them.
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats"))]
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(|why| format!("there is no runtime for its client: {why}"))
}

/// What to say when an answer did not come in time.
fn late() -> String {
    format!("no answer within {} s", ANSWER_MAX.as_secs())
}
