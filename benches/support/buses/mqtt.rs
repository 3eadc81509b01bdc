//! MQTT: mosquitto, with version 4 from the publisher.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    ops::Range,
    path::Path,
    process::Command,
};

use super::{Bus, CHANNEL, PAYLOAD_LEN, Publish, connect, forget_answers, payload};
use crate::support::broker::{Broker, listens};

pub fn at_most_once() -> Bus {
    bus(0, |port| Box::new(Publisher::connect(port, 0)))
}

pub fn at_least_once() -> Bus {
    bus(1, |port| Box::new(Publisher::connect(port, 1)))
}

fn bus(qos: u8, publisher: fn(u16) -> Box<dyn Publish>) -> Bus {
    let command = |folder: &Path, port: u16| {
        let limits = "max_queued_messages 0\nmax_inflight_messages 0";
        let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{limits}\n");
        fs::write(folder.join("mosquitto.conf"), config).expect("a file of ours");
        let mut command = Command::new("mosquitto");
        command.args(["-c", "mosquitto.conf"]);
        command
    };
    let broker = Broker::start("bench-mqtt", command, listens);
    let port = broker.port();
    let input = format!("mqtt url=mqtt://127.0.0.1:{port} topic={CHANNEL} qos={qos}");
    Bus::of(broker, input, publisher)
}

struct Publisher {
    stream: TcpStream,
    qos: u8,
    /// The last packet's number. Zero is none.
    last: u16,
    batch: Vec<u8>,
}

impl Publisher {
    fn connect(port: u16, qos: u8) -> Publisher {
        let mut stream = connect(port);
        // A clean session, no keep-alive, no name.
        let hello = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
        stream.write_all(hello).expect("it takes what is sent");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, *b"\x20\x02\x00\x00", "it lets us in");
        forget_answers(&stream);
        Publisher { stream, qos, last: 0, batch: Vec::new() }
    }
}

impl Publish for Publisher {
    fn publish(&mut self, numbers: Range<u64>) {
        self.batch.clear();
        let len = 2 + CHANNEL.len() + 2 * usize::from(self.qos) + PAYLOAD_LEN;
        assert!(len < 128, "the length has one byte");
        for number in numbers {
            self.batch.extend_from_slice(&[0x30 | self.qos << 1, len as u8]);
            self.batch.extend_from_slice(&(CHANNEL.len() as u16).to_be_bytes());
            self.batch.extend_from_slice(CHANNEL.as_bytes());
            if self.qos > 0 {
                self.last = self.last.checked_add(1).unwrap_or(1);
                self.batch.extend_from_slice(&self.last.to_be_bytes());
            }
            self.batch.extend_from_slice(&payload(number));
        }
        self.stream.write_all(&self.batch).expect("it takes what is sent");
    }
}
