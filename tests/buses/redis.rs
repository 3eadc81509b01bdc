//! Redis: Pub/Sub, and streams.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use redis::{Client, Connection, Pipeline, Value, cmd};

use crate::{
    broker::Broker,
    bus::{Bus, CHANNELS, Log, Record, stories},
    support::DEADLINE,
};

mod own;

mod channels {
    super::stories!(super::Channels, no_log);
}

mod streams {
    super::stories!(super::Streams, log);
}

/// Pub/Sub.
struct Channels {
    broker: Broker,
}

impl Bus for Channels {
    const MAPPING: &str = "";

    fn start() -> Self {
        Channels { broker: start() }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn source(&self, port: u16) -> String {
        // Two subscriptions match some channels; their messages come twice from Redis.
        format!("redis url=redis://127.0.0.1:{port} subscribe=ticks.* subscribe=ticks.[12]")
    }

    fn publish(&mut self, records: &[Record]) {
        let told = send(self.broker.port(), records, |record, pipeline| {
            pipeline.cmd("PUBLISH").arg(&record.channel).arg(&record.payload[..]);
        });
        assert!(told.iter().all(|told| matches!(told, Value::Int(_))), "{told:?}");
    }
}

/// A stream for each channel, all in one input, in a Redis that writes down what it is told.
struct Streams {
    broker: Broker,
}

impl Bus for Streams {
    const MAPPING: &str = "channel={stream}";
    const BURST: usize = usize::MAX;

    fn start() -> Self {
        Streams { broker: start() }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn source(&self, port: u16) -> String {
        let streams: Vec<String> =
            (0..CHANNELS).map(|number| format!("stream={}", Self::channel(number))).collect();
        format!("redis-stream url=redis://127.0.0.1:{port} {}", streams.join(" "))
    }

    fn publish(&mut self, records: &[Record]) {
        let told = send(self.broker.port(), records, |record, pipeline| {
            let add = pipeline.cmd("XADD").arg(&record.channel).arg("*");
            add.arg("payload").arg(&record.payload[..]);
        });
        assert!(told.iter().all(|told| matches!(told, Value::BulkString(_))), "{told:?}");
    }
}

impl Log for Streams {
    fn trim(&mut self, channel: &str, keep: usize) {
        let mut connection = connect(self.broker.port());
        cmd("XTRIM").arg(channel).arg("MAXLEN").arg(keep).exec(&mut connection).expect("it trims");
    }
}

/// A server that loses nothing that it has answered, however it ends.
fn start() -> Broker {
    let command = |_: &Path, port: u16| {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        // With `everysec` what is written waits in the process while a slow disk is busy.
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command
    };
    Broker::start("redis", command, serves)
}

/// Whether it answers: while it reads what it had written down it only says so.
fn serves(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut answer = [0; 7];
    let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && &answer == b"+PONG\r\n"
}

#[track_caller]
fn connect(port: u16) -> Connection {
    let client = Client::open(("127.0.0.1", port)).expect("an address");
    let connection = client.get_connection_with_timeout(DEADLINE).expect("it listens");
    for set in [Connection::set_read_timeout, Connection::set_write_timeout] {
        set(&connection, Some(DEADLINE)).expect("a socket");
    }
    connection
}

/// Sends a command for each record; gives the answers.
#[track_caller]
fn send(port: u16, records: &[Record], command: fn(&Record, &mut Pipeline)) -> Vec<Value> {
    let mut connection = connect(port);
    let mut told = Vec::new();
    for window in records.chunks(1000) {
        let mut pipeline = redis::pipe();
        window.iter().for_each(|record| command(record, &mut pipeline));
        let answers: Vec<Value> = pipeline.query(&mut connection).expect("it takes them");
        told.extend(answers);
    }
    told
}
