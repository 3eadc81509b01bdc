//! An input as it is being read: words are taken one by one, then checked against its kind.
#![forbid(unsafe_code)]

use super::{
    super::{
        channels::{Mistake, Refused, one_of, ranged},
        sources::nearest,
    },
    checks,
    kinds::{KEYS, KINDS, Key, Kind},
    words::{masked, written},
};
use crate::{
    ids::ChannelName,
    inputs::{
        Amqp, AmqpStream, Input, JetStream, Kafka, Lines, LinesFrom, Mqtt, Nats, RedisChannels,
        RedisStreams, Source, StartAt,
    },
    limits::{INPUT_QUEUE_UNLESS_TOLD, INPUT_VALUES_MAX},
    mapping::{Condition, Mapping, Pointer, Template, Wrong},
};

/// Who numbers the publications of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    Auto,
    Bus,
    Local,
}

/// An input that is right by itself. Its name is empty if none was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub kind: &'static Kind,
    pub words: Vec<(&'static Key, String)>,
    pub positions: Positions,
    pub input: Input,
}

impl Entry {
    /// What to call it where its words are told.
    pub fn label(&self) -> &str {
        if self.input.name.is_empty() { self.kind.name } else { &self.input.name }
    }

    /// As an operator would write it.
    pub fn text(&self) -> String {
        self.text_with(|_, value| value.to_owned())
    }

    /// The same without secrets.
    pub fn shown(&self) -> String {
        self.text_with(masked)
    }

    fn text_with(&self, shown: impl Fn(&str, &str) -> String) -> String {
        let mut text = self.kind.name.to_owned();
        let channel = self.input.mapping.channel.as_str();
        for key in self.kind.keys() {
            let mut put = |value: &str| {
                text += &format!(" {}={}", key.name, written(&shown(key.name, value)));
            };
            match key.name {
                "name" if !self.input.name.is_empty() => put(&self.input.name),
                "channel" => put(channel),
                _ => self.values(key.name).for_each(put),
            }
        }
        text
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let words = self.words.iter().filter(move |(key, _)| key.name == name);
        words.map(|(_, value)| value.as_str())
    }
}

/// What was said of one input so far.
#[derive(Default)]
pub struct Draft {
    kind: Option<&'static Kind>,
    words: Vec<(&'static str, String)>,
    mistakes: Vec<Mistake>,
}

impl Draft {
    /// Takes the value of one key.
    pub fn set(&mut self, key: &'static str, value: &str) -> Result<(), Mistake> {
        if key != KEYS[0].name {
            self.words.push((key, value.to_owned()));
            return Ok(());
        }
        let (problem, right) = match (self.kind, Kind::named(value)) {
            (None, Some(kind)) => {
                self.kind = Some(kind);
                return Ok(());
            }
            (Some(_), _) => ("is given a second time".to_owned(), "write it once".to_owned()),
            (None, None) => {
                let names = || KINDS.iter().map(|kind| kind.name);
                let right = match nearest(value, names()) {
                    Some(nearest) => format!("did you mean '{nearest}'?"),
                    None => format!("write {}", KEYS[0].value),
                };
                ("is no kind of input".to_owned(), right)
            }
        };
        Err(Mistake::new(key, value, problem, right))
    }

    /// What to call it where its words are told.
    pub fn label(&self) -> String {
        let mut names = self.words.iter().filter(|(key, _)| *key == "name");
        let right = names.find(|(_, name)| checks::name(name).is_ok());
        let name = right.map(|(_, name)| name.as_str());
        name.unwrap_or(self.kind.map_or("an input", |kind| kind.name)).to_owned()
    }

    /// What was said, if all of it is right.
    pub fn finish(mut self) -> Result<Entry, Vec<Mistake>> {
        let Some(kind) = self.kind else {
            let right = format!("write {}", KEYS[0].value);
            return Err(vec![Mistake::new(KEYS[0].name, "", "is missing", right)]);
        };
        let words = self.known(kind);
        let mut said = Said { kind, words, wrong: self.mistakes };
        for key in kind.keys().filter(|key| key.is_required()) {
            if said.all(key.name).is_empty() {
                said.wrong.push(Mistake::new(
                    key.name,
                    "",
                    "is missing",
                    format!("write {}", key.value),
                ));
            }
        }
        let mut input = Input {
            name: said.take("name", checks::name).unwrap_or_default(),
            source: said.source(),
            mapping: said.mapping(),
            numbered_by_bus: false,
            queue: said
                .take("in-flight", |text| ranged(text, "1", "1048576"))
                .unwrap_or(INPUT_QUEUE_UNLESS_TOLD),
            destination: said.destination(),
        };
        let positions = said.take("positions", |text| one_of(POSITIONS, text));
        if let Source::Lines(lines) = &mut input.source {
            lines.is_json = wants_fields(&input.mapping);
        }
        let Said { words, wrong, .. } = said;
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Entry { kind, words, positions: positions.unwrap_or(Positions::Auto), input })
    }

    /// The words with their keys, where the kind has them and they are not too many.
    fn known(&mut self, kind: &'static Kind) -> Vec<(&'static Key, String)> {
        let mut known: Vec<(&'static Key, String)> = Vec::new();
        for (name, value) in self.words.drain(..) {
            let mut wrong = |problem: String, right: String| {
                self.mistakes.push(Mistake::new(name, masked(name, &value), problem, right));
            };
            let Some(key) = kind.keys().find(|key| key.name == name) else {
                let names: Vec<_> = kind.keys().map(|key| key.name).collect();
                let right = format!("the keys of {} are {}", kind.name, names.join(", "));
                wrong(format!("is no key of {}", kind.name), right);
                continue;
            };
            let count = known.iter().filter(|(other, _)| other.name == name).count();
            match (key.repeats, count) {
                (false, 1..) => wrong("is given a second time".into(), "write it once".into()),
                (true, INPUT_VALUES_MAX..) => {
                    let problem = format!("is one more than the {INPUT_VALUES_MAX} there may be");
                    wrong(problem, "let one with wildcards stand for several".into());
                }
                _ => known.push((key, value)),
            }
        }
        known
    }
}

/// The words of one input, and what is wrong with them.
struct Said {
    kind: &'static Kind,
    words: Vec<(&'static Key, String)>,
    wrong: Vec<Mistake>,
}

impl Said {
    fn all(&self, name: &str) -> Vec<(&'static str, String)> {
        let words = self.words.iter().filter(|(key, _)| key.name == name);
        words.map(|(key, value)| (key.name, value.clone())).collect()
    }

    /// The values of a key, read. What is wrong is kept.
    fn take_all<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, Refused>) -> Vec<T> {
        let mut values = Vec::new();
        for (key, value) in self.all(name) {
            match read(&value) {
                Ok(value) => values.push(value),
                Err((problem, right)) => {
                    self.wrong.push(Mistake::new(key, masked(key, &value), problem, right));
                }
            }
        }
        values
    }

    fn take<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, Refused>) -> Option<T> {
        self.take_all(name, read).pop()
    }

    fn text(&mut self, name: &str) -> String {
        self.take(name, checks::text).unwrap_or_default()
    }

    fn url(&mut self) -> String {
        let kind = self.kind.name;
        self.take("url", |text| checks::url(kind, text)).unwrap_or_default()
    }

    fn start(&mut self) -> StartAt {
        let kind = self.kind.name;
        let start = self.take("start", |text| checks::start(kind, text));
        start.unwrap_or_else(|| checks::start(kind, "history").expect("a place to begin"))
    }

    /// What it reads. Where something is wrong, anything: it is refused anyway.
    fn source(&mut self) -> Source {
        match self.kind.name {
            "nats" => Source::Nats(self.nats()),
            "jetstream" => Source::JetStream(JetStream {
                nats: self.nats(),
                stream: self.take("stream", checks::jetstream_name).unwrap_or_default(),
                durable: self.take("durable", checks::jetstream_name),
                start: self.start(),
            }),
            "redis" => Source::RedisChannels(RedisChannels {
                url: self.url(),
                channels: self.take_all("subscribe", checks::text),
            }),
            "redis-stream" => Source::RedisStreams(RedisStreams {
                url: self.url(),
                streams: self.take_all("stream", checks::text),
                payload_field: self.take("field", checks::text).unwrap_or("payload".into()),
                start: self.start(),
            }),
            "kafka" => Source::Kafka(Kafka {
                brokers: self.take("brokers", checks::brokers).unwrap_or_default(),
                topics: self.take_all("topic", checks::kafka_topic),
                start: self.start(),
                properties: self.take_all("property", checks::property),
            }),
            "amqp" => Source::Amqp(self.amqp()),
            "amqp-stream" => Source::AmqpStream(AmqpStream {
                url: self.url(),
                queue: self.text("queue"),
                start: self.start(),
            }),
            "mqtt" => Source::Mqtt(self.mqtt()),
            _ => Source::Lines(Lines {
                from: self.take("from", checks::from).unwrap_or(LinesFrom::Stdin),
                is_json: false,
            }),
        }
    }

    fn nats(&mut self) -> Nats {
        Nats {
            url: self.url(),
            subjects: self.take_all("subject", checks::subject),
            credentials: self.take("credentials", checks::path),
        }
    }

    fn amqp(&mut self) -> Amqp {
        let keys = self.take_all("routing-key", |text| Ok(text.to_owned()));
        let keys = if keys.is_empty() { vec!["#".to_owned()] } else { keys };
        Amqp { url: self.url(), exchange: self.text("exchange"), keys }
    }

    fn mqtt(&mut self) -> Mqtt {
        Mqtt {
            url: self.url(),
            topics: self.take_all("topic", checks::topic_filter),
            qos: self.take("qos", |text| one_of(QUALITIES, text)).unwrap_or(0),
            version: self.take("version", |text| one_of(VERSIONS, text)).unwrap_or(5),
            client_id: self.take("client-id", checks::text),
        }
    }

    fn mapping(&mut self) -> Mapping {
        let kind = self.kind;
        let template = |text: &str| template_of(kind, text);
        let condition = |text: &str| {
            let condition = Condition::new(text, kind.fields).map_err(parts)?;
            no_headers(kind, condition.template().wants_header()).map(|()| condition)
        };
        let channel = self.take("channel", |text| match text.is_empty() {
            true => Err(("is empty".into(), "write a name or a template, like {subject}".into())),
            false => template(text).and_then(of_name),
        });
        let fallback = || template(kind.channel).expect("our own template");
        Mapping {
            channel: channel.unwrap_or_else(fallback),
            filter: self.take_all("filter", condition),
            payload: self.take("payload", |text| Pointer::new(text).map_err(parts)),
            key: self.take("key", template),
        }
    }

    fn destination(&mut self) -> Template {
        let read = |text: &str| {
            let template = Template::new(text, &["channel"]).map_err(parts)?;
            match template.wants_header() || template.wants_payload() {
                false => Ok(template),
                true => Err((
                    "wants more than the channel".into(),
                    "write a template of {channel}, like ticks.{channel}".into(),
                )),
            }
        };
        if self.kind.name == "lines" {
            let right = "leave it out: there is no bus behind lines";
            self.wrong.extend(self.words.iter().filter(|(key, _)| key.name == "to").map(
                |(key, to)| {
                    Mistake::new(key.name, to, "is for what publications are forwarded to", right)
                },
            ));
        }
        self.take("to", read).unwrap_or_else(|| read("{channel}").expect("our own template"))
    }
}

/// Whether it needs what only lines of JSON have.
fn wants_fields(Mapping { channel, filter, key, .. }: &Mapping) -> bool {
    let wants = |template: &Template| template.has("channel") || template.has("key");
    wants(channel) || filter.iter().any(|it| wants(it.template())) || key.iter().any(wants)
}

fn template_of(kind: &'static Kind, text: &str) -> Result<Template, Refused> {
    let template = Template::new(text, kind.fields).map_err(parts)?;
    no_headers(kind, template.wants_header()).map(|()| template)
}

/// A template that some name of a channel can come out of.
fn of_name(template: Template) -> Result<Template, Refused> {
    let wrong = template.literals().find_map(|text| ChannelName::check(text.as_bytes()).err());
    match wrong {
        None => Ok(template),
        Some(why) => Err((
            format!("makes no channel's name: {why}"),
            "write letters, digits and ._-:/ around the places, like prices.{subject}".into(),
        )),
    }
}

fn no_headers(kind: &Kind, wants: bool) -> Result<(), Refused> {
    match wants && !kind.has_headers {
        true => Err((
            format!("wants a header, and {} has none", kind.about),
            "write {json:/POINTER} for a part of the payload".to_owned(),
        )),
        false => Ok(()),
    }
}

fn parts(Wrong { problem, right }: Wrong) -> Refused {
    (problem, right)
}

const POSITIONS: &[(&str, Positions)] =
    &[("auto", Positions::Auto), ("bus", Positions::Bus), ("local", Positions::Local)];
const QUALITIES: &[(&str, u8)] = &[("0", 0), ("1", 1)];
const VERSIONS: &[(&str, u8)] = &[("4", 4), ("5", 5)];
