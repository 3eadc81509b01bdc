//! Which channels an input may feed.

use super::{Input, Source};
use crate::policy::Pattern;

impl Input {
    /// Patterns that match every channel that the input may feed, and as few others as the
    /// configuration alone can tell.
    pub fn feeds(&self) -> Vec<Pattern> {
        let (field, names) = self.source.names();
        let fixed = self.source.fixed();
        let pattern = |glob: Option<&String>| {
            self.mapping.channel.pattern(|name| match fixed {
                _ if name == field => glob.cloned(),
                Some((fixed, value)) if name == fixed => Some(value.to_owned()),
                _ => None,
            })
        };
        match names.is_empty() {
            true => vec![pattern(None)],
            false => names.iter().map(|glob| pattern(Some(glob))).collect(),
        }
    }
}

impl Source {
    /// The field that says which of the things that are read a record was in, and a pattern for each.
    /// None at all if it can be anything.
    fn names(&self) -> (&'static str, Vec<String>) {
        let map = |names: &[String], glob: fn(&str) -> String| {
            names.iter().map(|name| glob(name)).collect()
        };
        match self {
            Source::Nats(it) => ("subject", map(&it.subjects, subject)),
            Source::JetStream(it) => ("subject", map(&it.nats.subjects, subject)),
            Source::RedisChannels(it) => ("channel", map(&it.channels, redis)),
            Source::RedisStreams(it) => ("stream", it.streams.clone()),
            Source::Kafka(it) => ("topic", map(&it.topics, kafka)),
            Source::Amqp(it) => ("routing-key", map(&it.keys, routing_key)),
            Source::AmqpStream(_) => ("routing-key", Vec::new()),
            Source::Mqtt(it) => ("topic", map(&it.topics, topic)),
            Source::Lines(_) => ("", Vec::new()),
        }
    }

    /// A field that is the same for all records.
    fn fixed(&self) -> Option<(&'static str, &str)> {
        match self {
            Source::JetStream(it) => Some(("stream", &it.stream)),
            Source::Amqp(it) => Some(("exchange", &it.exchange)),
            Source::AmqpStream(it) => Some(("queue", &it.queue)),
            _ => None,
        }
    }
}

/// `>` is any rest, `*` a token; a `*` of ours is any text.
fn subject(subject: &str) -> String {
    match subject.strip_suffix('>') {
        Some(start) => format!("{start}*"),
        None => subject.to_owned(),
    }
}

/// `a.#` matches `a`, too, and `#.a` does.
fn routing_key(key: &str) -> String {
    key.replace(".#", "#").replace("#.", "#").replace('#', "*")
}

/// `a/#` matches `a`, too. A shared subscription reads the topics behind its group.
fn topic(filter: &str) -> String {
    let shared = filter.strip_prefix("$share/").and_then(|it| it.split_once('/'));
    let filter = shared.map_or(filter, |(_, filter)| filter);
    filter.replace("/#", "#").replace(['#', '+'], "*")
}

/// What begins with `^` is a regular expression to librdkafka.
fn kafka(topic: &str) -> String {
    if topic.starts_with('^') { "*".to_owned() } else { topic.to_owned() }
}

/// `?` and `[…]` are one character of a pattern of Redis, `\` makes the next one plain.
fn redis(pattern: &str) -> String {
    match pattern.find(['?', '[', '\\']) {
        Some(at) => format!("{}*", &pattern[..at]),
        None => pattern.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inputs::{Amqp, JetStream, Kafka, Lines, LinesFrom, Mqtt, Nats, RedisChannels, StartAt},
        mapping::{Mapping, Template},
    };

    const FIELDS: &[&str] = &["subject", "stream", "channel", "topic", "routing-key", "exchange"];

    fn feeds(source: Source, channel: &str) -> Vec<String> {
        let template = |text| Template::new(text, FIELDS).unwrap();
        let mapping =
            Mapping { channel: template(channel), filter: Vec::new(), payload: None, key: None };
        let input = Input {
            name: "i".into(),
            source,
            mapping,
            numbered_by_bus: false,
            queue: 1,
            destination: template("x"),
        };
        input.feeds().iter().map(|it| it.as_str().to_owned()).collect()
    }

    fn nats(subjects: &[&str]) -> Nats {
        let subjects = subjects.iter().map(|it| it.to_string()).collect();
        Nats { url: String::new(), subjects, credentials: None }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|it| it.to_string()).collect()
    }

    /// The patterns are those of what is read, in the words of its bus.
    #[test]
    fn what_is_read_says_what_is_fed() {
        let subjects = nats(&["ticks.>", "a.*.b", ">"]);
        assert_eq!(feeds(Source::Nats(subjects), "x.{subject}"), ["x.ticks.*", "x.a.*.b", "x.*"]);
        let stream = |subjects| {
            let (stream, start) = ("S".to_owned(), StartAt::All);
            Source::JetStream(JetStream { nats: nats(subjects), stream, durable: None, start })
        };
        assert_eq!(feeds(stream(&[]), "{stream}.{subject}"), ["S.*"]);
        assert_eq!(feeds(stream(&["t.>"]), "{stream}/{header:a}"), ["S/*"]);
        let channels = texts(&["news", "a?c", "x[yz].*"]);
        let redis = Source::RedisChannels(RedisChannels { url: String::new(), channels });
        assert_eq!(feeds(redis, "{channel}"), ["news", "a*", "x*"]);
        let kafka = Kafka {
            brokers: String::new(),
            topics: texts(&["t", "^t.*"]),
            start: StartAt::New,
            properties: Vec::new(),
        };
        assert_eq!(feeds(Source::Kafka(kafka), "{topic}"), ["t", "*"]);
        let keys = texts(&["a.#", "#.b", "a.#.b", "#", "k"]);
        let amqp = Source::Amqp(Amqp { url: String::new(), exchange: "e".into(), keys });
        assert_eq!(
            feeds(amqp, "{exchange}:{routing-key}"),
            ["e:a*", "e:*b", "e:a*b", "e:*", "e:k"]
        );
        let mqtt = Mqtt {
            url: String::new(),
            topics: texts(&["home/#", "home/+/temp", "$share/g/t/+", "#"]),
            qos: 0,
            version: 5,
            client_id: None,
        };
        assert_eq!(feeds(Source::Mqtt(mqtt), "{topic}"), ["home*", "home/*/temp", "t/*", "*"]);
        let lines = || Source::Lines(Lines { from: LinesFrom::Stdin, is_json: false });
        assert_eq!(feeds(lines(), "logs"), ["logs"]);
        assert_eq!(feeds(lines(), "logs.{json:/host}"), ["logs.*"]);
    }
}
