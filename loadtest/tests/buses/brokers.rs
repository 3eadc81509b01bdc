//! How each broker is started, and what it must have before somebody publishes.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::broker::{Broker, Port, listens};

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

#[track_caller]
pub fn rabbit() -> Broker {
    let (nodes, names) = (Port::take(), Port::take());
    let command = move |folder: &Path, port: u16| {
        let home = folder.join("home");
        fs::create_dir_all(&home).expect("a folder of ours");
        let cookie = home.join(".erlang.cookie");
        fs::write(&cookie, "STENTOR").expect("a file of ours");
        let private = fs::Permissions::from_mode(0o400);
        fs::set_permissions(&cookie, private).expect("a file of ours");
        let config = format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.console.level = warning\n");
        fs::write(folder.join("rabbitmq.conf"), config).expect("a file of ours");
        fs::write(folder.join("plugins"), "[].").expect("a file of ours");
        // The register of nodes ends with the broker, too: it would stay as a daemon otherwise.
        let script = "setpriv --pdeathsig KILL epmd & exec /usr/lib/rabbitmq/bin/rabbitmq-server";
        let mut command = Command::new("sh");
        let node = format!("stentor{port}@localhost");
        let loopback = "-noinput +S 2:2 -kernel inet_dist_use_interface {127,0,0,1}";
        command.args(["-c", script]).env("HOME", home).env("RABBITMQ_NODENAME", node);
        command.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback);
        command.env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"));
        command.env("RABBITMQ_LOG_BASE", folder.join("log"));
        command.env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"));
        command.env("RABBITMQ_DIST_PORT", nodes.number().to_string());
        command.env("ERL_EPMD_PORT", names.number().to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    };
    Broker::start("lt-rabbit", command, |port| answers(port, b"AMQP\0\0\x09\x01", b"\x01"))
}

/// Whether who greets it like this is answered like that.
fn answers(port: u16, greeting: &[u8], answer: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut found = vec![0; answer.len()];
    let asked = stream.write_all(greeting).and_then(|()| stream.read_exact(&mut found));
    asked.is_ok() && found == answer
}
