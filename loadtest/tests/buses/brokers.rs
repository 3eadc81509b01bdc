//! How each broker is started, and what it must have before somebody publishes.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use crate::broker::{Broker, listens};

#[track_caller]
pub fn nats(more: &'static str) -> Broker {
    let command = move |folder: &Path, port: u16| {
        let config =
            format!("listen: 127.0.0.1:{port}\njetstream: {{ store_dir: store }}\n{more}\n");
        fs::write(folder.join("nats.conf"), config).expect("a file of ours");
        let mut command = Command::new("nats-server");
        command.args(["-c", "nats.conf"]);
        command
    };
    Broker::start("lt-nats", command, |port| answers(port, b"", b"INFO "))
}

#[track_caller]
pub fn redis() -> Broker {
    let command = |_: &Path, port: u16| {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        command
    };
    Broker::start("lt-redis", command, |port| answers(port, b"PING\r\n", b"+PONG"))
}

#[track_caller]
pub fn mosquitto() -> Broker {
    let command = |folder: &Path, port: u16| {
        let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        fs::write(folder.join("mosquitto.conf"), config).expect("a file of ours");
        let mut command = Command::new("mosquitto");
        command.args(["-c", "mosquitto.conf"]);
        command
    };
    Broker::start("lt-mosquitto", command, listens)
}

#[track_caller]
pub fn kafka() -> Broker {
    let command = |folder: &Path, port: u16| {
        let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/kafka");
        let program = env::var_os("STENTOR_TEST_KAFKA").map_or_else(usual, PathBuf::from);
        let mut command = Command::new(program);
        command.args(["start", "--only", "kafka", "--kafka-port", &port.to_string()]);
        command.arg("--data-dir").arg(folder.join("log"));
        command
    };
    Broker::start("lt-kafka", command, listens)
}

/// Whether who greets it like this is answered like that.
fn answers(port: u16, greeting: &[u8], answer: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut found = vec![0; answer.len()];
    let asked = stream.write_all(greeting).and_then(|()| stream.read_exact(&mut found));
    asked.is_ok() && found == answer
}
