//! Redis: Pub/Sub, and a stream, in memory.

use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::Range,
    process::Command,
};

use super::{Bus, CHANNEL, PAYLOAD_LEN, Publish, connect, forget_answers, payload};
use crate::support::broker::Broker;

pub fn channels() -> Bus {
    let broker = start();
    let input = format!("redis url=redis://127.0.0.1:{} subscribe={CHANNEL}", broker.port());
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port, &["PUBLISH", CHANNEL])))
}

pub fn stream() -> Bus {
    let broker = start();
    let input = format!("redis-stream url=redis://127.0.0.1:{} stream={CHANNEL}", broker.port());
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port, ADD)))
}

fn start() -> Broker {
    let command = |_: &_, port: u16| {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        command
    };
    Broker::start("bench-redis", command, serves)
}

fn serves(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = [0; 7];
    let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && &answer == b"+PONG\r\n"
}

/// Adds to the stream, which forgets what is old: the memory is limited.
const ADD: &[&str] = &["XADD", CHANNEL, "MAXLEN", "~", "1000000", "*", "payload"];

struct Publisher {
    stream: TcpStream,
    /// A command up to its payload.
    head: Vec<u8>,
    batch: Vec<u8>,
}

impl Publisher {
    /// Publishes by a command of these words, and the payload.
    fn connect(port: u16, words: &[&str]) -> Publisher {
        let stream = connect(port);
        forget_answers(&stream);
        let mut head = format!("*{}\r\n", words.len() + 1);
        words.iter().for_each(|word| head += &format!("${}\r\n{word}\r\n", word.len()));
        head += &format!("${PAYLOAD_LEN}\r\n");
        Publisher { stream, head: head.into_bytes(), batch: Vec::new() }
    }
}

impl Publish for Publisher {
    fn publish(&mut self, numbers: Range<u64>) {
        self.batch.clear();
        for number in numbers {
            self.batch.extend_from_slice(&self.head);
            self.batch.extend_from_slice(&payload(number));
            self.batch.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.batch).expect("it takes what is sent");
    }
}
