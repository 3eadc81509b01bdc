//! Buses as publications come from them: brokers, and publishers that write by hand.
//!
//! A publisher must not be the limit, so but for Kafka's none is a client's: it puts a batch of
//! commands into one buffer and writes that to the broker's socket. What the broker answers is read
//! and forgotten.

mod amqp;
mod kafka;
mod lines;
mod mqtt;
mod nats;
mod redis;

use std::{
    io::{self, Read},
    net::{Ipv4Addr, TcpStream},
    ops::Range,
    thread,
};

use super::broker::Broker;

/// The channel that everything comes out on, and the subject, topic, queue or stream.
pub const CHANNEL: &str = "bench.0";
/// Bytes of each payload.
pub const PAYLOAD_LEN: usize = 100;

/// A bus that runs.
pub struct Bus {
    /// The text of the input that reads it.
    pub input: String,
    /// Its broker, if it has one.
    broker: Option<Broker>,
    connect: Box<dyn Fn(u16) -> Box<dyn Publish>>,
}

impl Bus {
    fn of(broker: Broker, input: String, connect: fn(u16) -> Box<dyn Publish>) -> Bus {
        Bus { input, broker: Some(broker), connect: Box::new(connect) }
    }

    /// Connects a publisher. The edge must be ready.
    pub fn publisher(&self) -> Box<dyn Publish> {
        (self.connect)(self.broker.as_ref().map_or(0, Broker::port))
    }
}

/// A publisher.
pub trait Publish: Send {
    /// Publishes [`payload`]s of these numbers.
    fn publish(&mut self, numbers: Range<u64>);
}

/// Starts the broker of a kind.
type Start = fn() -> Bus;

/// Every kind, and how it is started.
pub const ALL: &[(&str, Start)] = &[
    ("nats", nats::core),
    ("jetstream", nats::jetstream),
    ("redis", redis::channels),
    ("redis-stream", redis::stream),
    ("kafka", kafka::topic),
    ("amqp", amqp::exchange),
    ("amqp-stream", amqp::stream),
    ("mqtt-0", mqtt::at_most_once),
    ("mqtt-1", mqtt::at_least_once),
    ("lines", lines::unix),
];

/// The payload of this number.
pub fn payload(number: u64) -> [u8; PAYLOAD_LEN] {
    let mut payload = [b'x'; PAYLOAD_LEN];
    let mut left = number;
    for digit in payload[..DIGITS].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    payload[DIGITS] = b' ';
    payload
}

/// The number of a payload, if it is one.
pub fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.get(..DIGITS).filter(|_| payload.len() == PAYLOAD_LEN)?;
    let fold = |sum: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(sum * 10 + digit)
    };
    digits.iter().try_fold(0, fold)
}

const DIGITS: usize = 12;

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Reads what the broker answers, and forgets it, until the connection ends.
fn forget_answers(stream: &TcpStream) {
    let mut stream = stream.try_clone().expect("a socket");
    thread::spawn(move || -> io::Result<()> {
        let mut room = vec![0; 64 * 1024];
        while stream.read(&mut room)? > 0 {}
        Ok(())
    });
}
