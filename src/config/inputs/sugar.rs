//! Short ways to say an input on the command line: `stdin=logs`, and flags for one input.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::{
    Trouble,
    kinds::{KEYS, KINDS, Key},
    words::{Word, written},
};

/// A flag that says something of the one input that flags can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFlag {
    /// Its name without dashes.
    pub name: &'static str,
    /// What stands for its value in the help.
    pub noun: &'static str,
    /// What it does.
    pub help: Cow<'static, str>,
}

/// The flags that make one input: one for each bus, and one for each key.
pub fn input_flags() -> Vec<InputFlag> {
    let mut flags = BUSES.to_vec();
    for key in &KEYS[1..] {
        let is_there = flags.iter().any(|flag| flag.name == key.name);
        if !is_there && !NO_FLAGS.contains(&key.name) {
            flags.push(InputFlag { name: key.name, noun: "VALUE", help: help(key.name).into() });
        }
    }
    flags
}

/// What a flag does, for each of the kinds that have it, and which values it takes.
fn help(name: &str) -> String {
    let rows = KEYS.iter().filter(|key| key.name == name && !is_of_jetstream_flag(key));
    let row = |key: &Key| {
        let kinds = key.kinds.join(", ");
        let whose = if kinds.is_empty() { String::new() } else { format!("{kinds}: ") };
        format!("{whose}{} Value: {}.", key.help, key.value)
    };
    rows.map(row).collect::<Vec<_>>().join(" ")
}

/// Whether `--jetstream` gives it.
fn is_of_jetstream_flag(key: &Key) -> bool {
    key.name == "stream" && key.kinds == ["jetstream"]
}

/// A flag's name, and what was given for it.
type Flag = (&'static str, String);

/// The flags as the text of an input, and the first of them; none if none was given.
pub fn text_of_flags(
    flags: &[(&'static str, String)],
) -> Result<Option<Flag>, (&'static str, String, Trouble)> {
    let Some((first, value)) = flags.first() else { return Ok(None) };
    let buses: Vec<_> = flags.iter().filter(|(name, _)| is_bus(name)).collect();
    let refused = |name: &'static str, value: &str, problem: &str, right: &str| {
        let trouble = Trouble { problem: problem.to_owned(), right: right.to_owned() };
        Err((name, super::words::masked("url", value), trouble))
    };
    let (bus, url) = match buses[..] {
        [(bus, url)] => (*bus, url),
        [] => {
            let right = "give the bus, too: --nats, --redis, --kafka, --amqp or --mqtt";
            return refused(first, value, "says something of an input, and there is none", right);
        }
        [_, (bus, url), ..] => {
            let problem = "is a second bus, and these flags make one input";
            return refused(bus, url, problem, "give each of several by --input");
        }
    };
    let is_given = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    let kind = match bus {
        "nats" if is_given("jetstream") => "jetstream",
        "redis" if is_given("stream") => "redis-stream",
        "amqp" if is_given("queue") => "amqp-stream",
        bus => bus,
    };
    let address = if bus == "kafka" { "brokers" } else { "url" };
    let mut text = format!("{kind} {address}={}", written(url));
    for (name, value) in flags.iter().filter(|(name, _)| !is_bus(name)) {
        let key = if *name == "jetstream" { "stream" } else { name };
        text += &format!(" {key}={}", written(value));
    }
    Ok(Some((bus, text)))
}

fn is_bus(name: &str) -> bool {
    name != "jetstream" && KINDS.iter().any(|kind| kind.name == name)
}

/// `stdin=logs`, `unix:/run/logs=logs`, `tcp:127.0.0.1:9000=logs`, or without a channel: where lines
/// come from, and the channel that they go to.
pub fn source_and_channel(word: &Word) -> Option<(&str, Option<&str>)> {
    let is_source =
        |text: &str| text == "stdin" || text.starts_with("unix:") || text.starts_with("tcp:");
    is_source(&word.name).then_some((word.name.as_str(), word.value.as_deref()))
}

/// The flags that name a bus, and what makes a stream of JetStream of it.
const BUSES: [InputFlag; 6] = [
    InputFlag {
        name: "nats",
        noun: "URL",
        help: Cow::Borrowed(
            "Reads subjects of NATS: --nats nats://127.0.0.1:4222 --subject 'ticks.>'.",
        ),
    },
    InputFlag {
        name: "jetstream",
        noun: "STREAM",
        help: Cow::Borrowed("Reads this stream of JetStream from the server that --nats names."),
    },
    InputFlag {
        name: "redis",
        noun: "URL",
        help: Cow::Borrowed("Reads Redis: channels with --subscribe, or streams with --stream."),
    },
    InputFlag {
        name: "kafka",
        noun: "BROKERS",
        help: Cow::Borrowed("Reads topics of Kafka: --kafka 127.0.0.1:9092 --topic ticks."),
    },
    InputFlag {
        name: "amqp",
        noun: "URL",
        help: Cow::Borrowed(
            "Reads RabbitMQ: an exchange with --exchange, or a stream queue with --queue.",
        ),
    },
    InputFlag {
        name: "mqtt",
        noun: "URL",
        help: Cow::Borrowed(
            "Reads topics of MQTT: --mqtt mqtt://127.0.0.1:1883 --topic 'sensors/#'.",
        ),
    },
];

/// Keys without a flag: what a bus's flag gives, and `--version`, which is the program's.
const NO_FLAGS: [&str; 4] = ["url", "brokers", "from", "version"];
