//! A bus as text: the kind, then words like `url=…`. A word with spaces is quoted as for a shell.

use super::{Bus, Kind};
use crate::plan::CHANNEL;

/// What is known of a kind.
struct Row {
    kind: Kind,
    name: &'static str,
    /// The feature that it is built with.
    feature: &'static str,
    is_built: bool,
    /// The keys that it has besides `to`, its address first.
    keys: &'static [&'static str],
    /// Its address, for example.
    example: &'static str,
}

const ROWS: [Row; 8] = [
    Row {
        kind: Kind::Nats,
        name: "nats",
        feature: "nats",
        is_built: cfg!(feature = "nats"),
        keys: &["url", "credentials"],
        example: "url=nats://127.0.0.1:4222",
    },
    Row {
        kind: Kind::JetStream,
        name: "jetstream",
        feature: "nats",
        is_built: cfg!(feature = "nats"),
        keys: &["url", "credentials"],
        example: "url=nats://127.0.0.1:4222",
    },
    Row {
        kind: Kind::Redis,
        name: "redis",
        feature: "redis",
        is_built: cfg!(feature = "redis"),
        keys: &["url"],
        example: "url=redis://127.0.0.1:6379",
    },
    Row {
        kind: Kind::RedisStream,
        name: "redis-stream",
        feature: "redis",
        is_built: cfg!(feature = "redis"),
        keys: &["url", "field"],
        example: "url=redis://127.0.0.1:6379",
    },
    Row {
        kind: Kind::Kafka,
        name: "kafka",
        feature: "kafka",
        is_built: cfg!(feature = "kafka"),
        keys: &["brokers", "property"],
        example: "brokers=127.0.0.1:9092",
    },
    Row {
        kind: Kind::Amqp,
        name: "amqp",
        feature: "amqp",
        is_built: cfg!(feature = "amqp"),
        keys: &["url", "exchange"],
        example: "url=amqp://guest:guest@127.0.0.1:5672 exchange=amq.topic",
    },
    Row {
        kind: Kind::AmqpStream,
        name: "amqp-stream",
        feature: "amqp",
        is_built: cfg!(feature = "amqp"),
        keys: &["url"],
        example: "url=amqp://guest:guest@127.0.0.1:5672",
    },
    Row {
        kind: Kind::Mqtt,
        name: "mqtt",
        feature: "mqtt",
        is_built: cfg!(feature = "mqtt"),
        keys: &["url", "qos"],
        example: "url=mqtt://127.0.0.1:1883",
    },
];

impl Kind {
    /// Its name, as in texts.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.kind == self).expect("every kind has its row")
    }
}

/// Reads a bus.
pub fn parse(text: &str) -> Result<Bus, String> {
    let words = shell_words::split(text).map_err(|_| "has a quote that is not closed")?;
    let Some((name, words)) = words.split_first() else { return Err("is empty".into()) };
    let names = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    let row = ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
        format!("begins with '{}', which is none of {}", super::without_secrets(name), names())
    })?;
    if !row.is_built {
        let Row { name, feature, .. } = row;
        return Err(format!(
            "names {name}, without which this program was built (--features {feature})"
        ));
    }
    let mut bus = Bus {
        kind: row.kind,
        url: String::new(),
        to: CHANNEL.to_owned(),
        credentials: None,
        field: "payload".to_owned(),
        exchange: String::new(),
        qos: 1,
        properties: Vec::new(),
    };
    let mut known = Vec::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            let word = super::without_secrets(word);
            return Err(format!("has the word '{word}', which is not like key=value"));
        };
        if known.contains(&key) && key != "property" {
            return Err(format!("has {key}= twice"));
        }
        known.push(key);
        row.set(&mut bus, key, value)?;
    }
    row.is_whole(&bus)?;
    Ok(bus)
}

impl Row {
    fn set(&self, bus: &mut Bus, key: &str, value: &str) -> Result<(), String> {
        if key != "to" && !self.keys.contains(&key) {
            let keys = self.keys.join(", ");
            return Err(format!("has {key}=, and {} has {keys} and to", self.name));
        }
        if value.is_empty() {
            return Err(format!("has {key}= without a value"));
        }
        match key {
            "to" => bus.to = value.to_owned(),
            "credentials" => bus.credentials = Some(value.into()),
            "field" => bus.field = value.to_owned(),
            "exchange" => bus.exchange = value.to_owned(),
            "qos" => {
                let qos = value.parse().ok().filter(|qos| *qos <= 1);
                bus.qos =
                    qos.ok_or_else(|| format!("has qos={value}, which is neither 0 nor 1"))?;
            }
            "property" => {
                let (name, value) = value.split_once('=').ok_or_else(|| {
                    format!("has property={value}, which is not like property=acks=1")
                })?;
                bus.properties.push((name.to_owned(), value.to_owned()));
            }
            _ => bus.url = value.to_owned(),
        }
        Ok(())
    }

    fn is_whole(&self, bus: &Bus) -> Result<(), String> {
        let needs_exchange = self.kind == Kind::Amqp && bus.exchange.is_empty();
        if bus.url.is_empty() || needs_exchange {
            let missing = if bus.url.is_empty() { self.keys[0] } else { "exchange" };
            return Err(format!("lacks {missing}=, as in '{} {}'", self.name, self.example));
        }
        Ok(())
    }
}
