//! How RabbitMQ is started.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use super::{Broker, Port};

/// Starts a broker with its own `epmd`.
#[track_caller]
pub fn rabbitmq() -> Broker {
    let (nodes, names) = (Port::take(), Port::take());
    let command = move |folder: &Path, port: u16| {
        let home = folder.join("home");
        fs::create_dir_all(&home).expect("a folder of ours");
        let cookie = home.join(".erlang.cookie");
        if !cookie.exists() {
            fs::write(&cookie, "STENTOR").expect("a file of ours");
            let private = fs::Permissions::from_mode(0o400);
            fs::set_permissions(&cookie, private).expect("a file of ours");
        }
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
    Broker::start("rabbit", command, serves)
}

/// Whether it speaks to who greets it.
fn serves(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut frame = [0; 1];
    stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && stream.read_exact(&mut frame).is_ok()
}
