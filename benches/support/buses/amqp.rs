//! RabbitMQ over AMQP 0.9.1: an exchange, and a stream queue.

use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::Range,
};

use super::{Bus, CHANNEL, PAYLOAD_LEN, Publish, connect, forget_answers, payload};
use crate::support::broker::{Broker, rabbitmq::rabbitmq};

pub fn exchange() -> Bus {
    let broker = rabbitmq();
    let url = url(&broker);
    let input = format!("amqp url={url} exchange=amq.topic routing-key={CHANNEL}");
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port, "amq.topic")))
}

pub fn stream() -> Bus {
    let broker = rabbitmq();
    let mut connection = Connection::open(broker.port());
    connection.declare_stream();
    let input = format!("amqp-stream url={} queue={CHANNEL}", url(&broker));
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port, "")))
}

fn url(broker: &Broker) -> String {
    format!("amqp://guest:guest@127.0.0.1:{}", broker.port())
}

/// A connection with a channel, of number 1.
struct Connection(TcpStream);

impl Connection {
    fn open(port: u16) -> Connection {
        let mut connection = Connection(connect(port));
        connection.0.write_all(b"AMQP\0\0\x09\x01").expect("it takes what is sent");
        connection.expect(START);
        let login = [&[0; 4][..], &short("PLAIN"), &long(b"\0guest\0guest"), &short("en_US")];
        connection.call(0, START_OK, &login.concat());
        let tune = connection.expect(TUNE);
        // As the server has it, but without heartbeats.
        connection.call(0, TUNE_OK, &[&tune[..6], &[0, 0]].concat());
        connection.call(0, OPEN, &[&short("/")[..], &short(""), &[0]].concat());
        connection.expect(OPEN_OK);
        connection.call(1, CHANNEL_OPEN, &short(""));
        connection.expect(CHANNEL_OPEN_OK);
        connection
    }

    fn declare_stream(&mut self) {
        let table = [&short("x-queue-type")[..], b"S", &long(b"stream")].concat();
        let durable = [2];
        let words = [&[0; 2][..], &short(CHANNEL), &durable, &long(&table)];
        self.call(1, QUEUE_DECLARE, &words.concat());
        self.expect(QUEUE_DECLARE_OK);
    }

    fn call(&mut self, channel: u16, method: [u8; 4], arguments: &[u8]) {
        let frame = frame(1, channel, &[&method, arguments].concat());
        self.0.write_all(&frame).expect("it takes what is sent");
    }

    /// The arguments of the next method, which must be this one.
    fn expect(&mut self, method: [u8; 4]) -> Vec<u8> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).expect("an answer");
        let len = u32::from_be_bytes(*head.last_chunk().expect("it is longer"));
        let mut told = vec![0; len as usize + 1];
        self.0.read_exact(&mut told).expect("an answer");
        assert_eq!(told[..4], method, "{}", String::from_utf8_lossy(&told));
        told.split_off(4)
    }
}

struct Publisher {
    stream: TcpStream,
    /// The frames before a payload.
    head: Vec<u8>,
    batch: Vec<u8>,
}

impl Publisher {
    fn connect(port: u16, exchange: &str) -> Publisher {
        let Connection(stream) = Connection::open(port);
        forget_answers(&stream);
        let words = [&PUBLISH[..], &[0; 2], &short(exchange), &short(CHANNEL), &[0]];
        let properties = [&60u16.to_be_bytes()[..], &[0; 2], &length(), &[0; 2]];
        let head = [frame(1, 1, &words.concat()), frame(2, 1, &properties.concat())].concat();
        Publisher { stream, head, batch: Vec::new() }
    }
}

impl Publish for Publisher {
    fn publish(&mut self, numbers: Range<u64>) {
        self.batch.clear();
        for number in numbers {
            self.batch.extend_from_slice(&self.head);
            self.batch.extend_from_slice(&frame(3, 1, &payload(number)));
        }
        self.stream.write_all(&self.batch).expect("it takes what is sent");
    }
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &len, payload, &[0xce]].concat()
}

fn length() -> [u8; 8] {
    (PAYLOAD_LEN as u64).to_be_bytes()
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// Methods: the class, and the number in it.
const START: [u8; 4] = [0, 10, 0, 10];
const START_OK: [u8; 4] = [0, 10, 0, 11];
const TUNE: [u8; 4] = [0, 10, 0, 30];
const TUNE_OK: [u8; 4] = [0, 10, 0, 31];
const OPEN: [u8; 4] = [0, 10, 0, 40];
const OPEN_OK: [u8; 4] = [0, 10, 0, 41];
const CHANNEL_OPEN: [u8; 4] = [0, 20, 0, 10];
const CHANNEL_OPEN_OK: [u8; 4] = [0, 20, 0, 11];
const QUEUE_DECLARE: [u8; 4] = [0, 50, 0, 10];
const QUEUE_DECLARE_OK: [u8; 4] = [0, 50, 0, 11];
const PUBLISH: [u8; 4] = [0, 60, 0, 40];
