//! NATS: core subjects, and JetStream.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    broker::Broker,
    bus::{Bus, Log, Record, stories},
    support::DEADLINE,
};

mod own;

mod core {
    super::stories!(super::Core, no_log);
}

mod jetstream {
    super::stories!(super::JetStream, log);
}

/// Core NATS.
struct Core {
    broker: Broker,
}

impl Bus for Core {
    const MAPPING: &str = "channel={subject}";
    const FLOOD: u64 = 300_000;

    fn start() -> Self {
        let command = |_: &Path, port: u16| {
            let mut command = Command::new("nats-server");
            command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
            command
        };
        Core { broker: Broker::start("nats", command, serves) }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn source(&self, port: u16) -> String {
        format!("nats url=nats://127.0.0.1:{port} subject=ticks.>")
    }

    fn publish(&mut self, records: &[Record]) {
        let mut client = Client::connect(self.broker.port());
        records.iter().for_each(|record| client.publish(&record.channel, "", &record.payload));
        client.flush();
    }
}

/// A JetStream stream with a file store.
struct JetStream {
    broker: Broker,
}

impl Bus for JetStream {
    const MAPPING: &str = "channel={subject}";
    const BURST: usize = usize::MAX;

    fn start() -> Self {
        let command = |folder: &Path, port: u16| {
            let mut command = Command::new("nats-server");
            command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
            command.arg("--store_dir").arg(folder.join("store"));
            command
        };
        let bus = JetStream { broker: Broker::start("jetstream", command, serves) };
        bus.make_stream();
        bus
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    /// A server that answers may still be looking through its store.
    fn restart(&mut self) {
        self.broker.restart();
        Client::connect(self.broker.port()).request("$JS.API.STREAM.INFO.TICKS", &Value::Null);
    }

    fn source(&self, port: u16) -> String {
        format!("jetstream url=nats://127.0.0.1:{port} stream={STREAM} subject=ticks.>")
    }

    fn publish(&mut self, records: &[Record]) {
        let mut client = Client::connect(self.broker.port());
        client.say("SUB _INBOX.acks 1\r\n");
        for window in records.chunks(1000) {
            for record in window {
                client.publish(&record.channel, "_INBOX.acks", &record.payload);
            }
            for _ in window {
                let told: Value = serde_json::from_slice(&client.message()).expect("JSON");
                assert_eq!(told["stream"], STREAM, "{told}");
            }
        }
    }
}

impl JetStream {
    fn make_stream(&self) {
        let stream = json!({ "name": STREAM, "subjects": ["ticks.>"], "storage": "file" });
        let mut client = Client::connect(self.broker.port());
        client.request("$JS.API.STREAM.CREATE.TICKS", &stream);
    }
}

impl Log for JetStream {
    fn trim(&mut self, _channel: &str, keep: usize) {
        let mut client = Client::connect(self.broker.port());
        let told = client.request("$JS.API.STREAM.PURGE.TICKS", &json!({ "keep": keep }));
        assert_eq!(told["success"], true, "{told}");
    }
}

const STREAM: &str = "TICKS";

/// Whether it greets who connects.
fn serves(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut greeting = [0; 4];
    BufReader::new(stream).read_exact(&mut greeting).is_ok() && &greeting == b"INFO"
}

/// A client of NATS, by hand.
struct Client {
    stream: BufReader<TcpStream>,
    /// Said and not yet sent.
    said: Vec<u8>,
}

impl Client {
    #[track_caller]
    fn connect(port: u16) -> Client {
        Client::connect_as(port, "", "")
    }

    #[track_caller]
    fn connect_as(port: u16, user: &str, password: &str) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut client = Client { stream: BufReader::new(stream), said: Vec::new() };
        assert!(client.line().starts_with("INFO "));
        let who = json!({
            "verbose": false, "pedantic": false, "headers": true, "user": user, "pass": password
        });
        client.say(&format!("CONNECT {who}\r\n"));
        client.flush();
        client
    }

    fn say(&mut self, text: &str) {
        self.said.extend(text.as_bytes());
    }

    fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        self.say(&format!("PUB {subject} {reply} {}\r\n", payload.len()));
        self.said.extend(payload);
        self.say("\r\n");
        if self.said.len() > 64 * 1024 {
            self.send();
        }
    }

    fn publish_with(&mut self, subject: &str, headers: &str, payload: &[u8]) {
        let head = format!("NATS/1.0\r\n{headers}\r\n\r\n");
        let all = head.len() + payload.len();
        self.say(&format!("HPUB {subject} {} {all}\r\n{head}", head.len()));
        self.said.extend(payload);
        self.say("\r\n");
    }

    fn send(&mut self) {
        self.stream.get_mut().write_all(&self.said).expect("it takes what is sent");
        self.said.clear();
    }

    /// Sends what was said; returns when the server has taken all of it.
    #[track_caller]
    fn flush(&mut self) {
        self.say("PING\r\n");
        self.send();
        assert_eq!(self.line(), "PONG");
    }

    #[track_caller]
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a line");
            match line.trim_end() {
                "PING" => {
                    self.say("PONG\r\n");
                    self.send();
                }
                line => return line.to_owned(),
            }
        }
    }

    /// The next message's payload.
    #[track_caller]
    fn message(&mut self) -> Vec<u8> {
        self.send();
        let line = self.line();
        let length = line.strip_prefix("MSG ").and_then(|rest| rest.rsplit(' ').next());
        let length: usize =
            length.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        let mut payload = vec![0; length + 2];
        self.stream.read_exact(&mut payload).expect("a payload");
        payload.truncate(length);
        payload
    }

    /// Asks JetStream; gives the answer, which must be no error.
    #[track_caller]
    fn request(&mut self, subject: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.say("SUB _INBOX.answer 9\r\nUNSUB 9 1\r\n");
        self.publish(subject, "_INBOX.answer", body.as_bytes());
        let told: Value = serde_json::from_slice(&self.message()).expect("JSON");
        assert_eq!(told.get("error"), None, "{told}");
        told
    }
}
