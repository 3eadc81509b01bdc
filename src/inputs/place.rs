//! What an input reads and where, in words for people: without secrets.

use super::{LinesFrom, Source};

impl Source {
    /// The kind, as it is written in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Nats(_) => "nats",
            Source::JetStream(_) => "jetstream",
            Source::RedisChannels(_) => "redis",
            Source::RedisStreams(_) => "redis-stream",
            Source::Kafka(_) => "kafka",
            Source::Amqp(_) => "amqp",
            Source::AmqpStream(_) => "amqp-stream",
            Source::Mqtt(_) => "mqtt",
            Source::Lines(_) => "lines",
        }
    }

    /// Where it is read: a URL without users and passwords, or where lines come from.
    pub fn place(&self) -> String {
        match self {
            Source::Nats(it) => without_secrets(&it.url),
            Source::JetStream(it) => without_secrets(&it.nats.url),
            Source::RedisChannels(it) => without_secrets(&it.url),
            Source::RedisStreams(it) => without_secrets(&it.url),
            Source::Kafka(it) => it.brokers.clone(),
            Source::Amqp(it) => without_secrets(&it.url),
            Source::AmqpStream(it) => without_secrets(&it.url),
            Source::Mqtt(it) => without_secrets(&it.url),
            Source::Lines(it) => match &it.from {
                LinesFrom::Stdin => "stdin".to_owned(),
                LinesFrom::Unix(path) => format!("unix:{}", path.display()),
                LinesFrom::Tcp(address) => format!("tcp:{address}"),
            },
        }
    }

    /// Whether publications can be taken there.
    pub fn takes_publications(&self) -> bool {
        !matches!(self, Source::Lines(_))
    }
}

/// A URL, or several with commas between them, with `***` for user, password and parameters.
///
/// Everything up to the last `@` is taken for a secret: a password may have any character in it, and
/// rather too little is shown than too much.
pub fn without_secrets(urls: &str) -> String {
    let (scheme, rest) = match urls.find("://") {
        Some(at) => urls.split_at(at + 3),
        None => ("", urls),
    };
    let (user, place) = rest.rsplit_once('@').map_or(("", rest), |(_, place)| ("***@", place));
    let (place, parameters) = place.split_once('?').map_or((place, ""), |(it, _)| (it, "?***"));
    format!("{scheme}{user}{place}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No part of a URL that may be secret is shown, whatever stands in it.
    #[test]
    fn secrets_are_not_shown() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://token@a:1", "nats://***@a:1"),
            ("amqps://user:pass@h:5671/vhost", "amqps://***@h:5671/vhost"),
            ("redis://:p@ss/w?rd@h/0", "redis://***@h/0"),
            ("nats://u:p@a:1,nats://u:p@b:2", "nats://***@b:2"),
            ("nats://a:1,nats://b:2", "nats://a:1,nats://b:2"),
            ("mqtt://h?client_id=x&password=y", "mqtt://h?***"),
            ("redis+unix:///run/redis.sock?pass=x", "redis+unix:///run/redis.sock?***"),
            ("user:pass@host", "***@host"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
