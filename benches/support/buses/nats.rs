//! NATS, and JetStream with a file store.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::Range,
    path::Path,
    process::Command,
};

use super::{Bus, CHANNEL, PAYLOAD_LEN, Publish, connect, forget_answers, payload};
use crate::support::broker::Broker;

pub fn core() -> Bus {
    let broker = Broker::start("bench-nats", |_, port| command(port), serves);
    let input = format!("nats url=nats://127.0.0.1:{} subject={CHANNEL}", broker.port());
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port)))
}

pub fn jetstream() -> Bus {
    let command = |folder: &Path, port: u16| {
        let mut command = command(port);
        command.arg("--jetstream").arg("--store_dir").arg(folder.join("store"));
        command
    };
    let broker = Broker::start("bench-jetstream", command, serves);
    make_stream(broker.port());
    let input = format!("jetstream url=nats://127.0.0.1:{} stream=BENCH", broker.port());
    Bus::of(broker, input, |port| Box::new(Publisher::connect(port)))
}

fn command(port: u16) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command
}

fn serves(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut greeting = [0; 4];
    BufReader::new(stream).read_exact(&mut greeting).is_ok() && &greeting == b"INFO"
}

fn make_stream(port: u16) {
    let asked = format!(r#"{{"name":"BENCH","subjects":["{CHANNEL}"],"storage":"file"}}"#);
    let mut stream = greeted(port);
    let (subject, len) = ("$JS.API.STREAM.CREATE.BENCH", asked.len());
    let said = format!("SUB made 1\r\nPUB {subject} made {len}\r\n{asked}\r\n");
    stream.write_all(said.as_bytes()).expect("it takes what is sent");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let answer = lines.skip_while(|line| !line.starts_with("MSG ")).nth(1).expect("an answer");
    assert!(!answer.contains(r#""error""#), "{answer}");
}

/// A connection that may be used.
fn greeted(port: u16) -> TcpStream {
    let mut stream = connect(port);
    let said = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    stream.write_all(said).expect("it takes what is sent");
    stream
}

struct Publisher {
    stream: TcpStream,
    batch: Vec<u8>,
}

impl Publisher {
    fn connect(port: u16) -> Publisher {
        let stream = greeted(port);
        forget_answers(&stream);
        Publisher { stream, batch: Vec::new() }
    }
}

impl Publish for Publisher {
    fn publish(&mut self, numbers: Range<u64>) {
        let head = format!("PUB {CHANNEL} {PAYLOAD_LEN}\r\n");
        self.batch.clear();
        for number in numbers {
            self.batch.extend_from_slice(head.as_bytes());
            self.batch.extend_from_slice(&payload(number));
            self.batch.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.batch).expect("it takes what is sent");
    }
}
