//! What clients of `stentor.v1` say: text messages of one JSON object, or an array of them.
//!
//! A message is understood as a whole before anything of it is carried out: where one command has
//! the wrong shape, none is carried out and one error says why. That bounds what a few bytes of
//! nonsense bring. Fields that no command has are refused, so that a slip is not taken for consent.

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::{from_str, value::RawValue};

use super::replies::Code;
use crate::{
    frame::PayloadKind,
    ids::ChannelName,
    limits::{COMMANDS_MAX, KEY_BYTES_MAX},
    payload::{Words, present},
    resume::Start,
};

/// One command, as far as it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Comes back in the reply.
    pub id: Option<u64>,
    /// What is asked, or what is wrong with it.
    pub command: Result<Command, Wrong>,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To read a channel.
    Subscribe(ChannelName, Start),
    /// To read it no longer.
    Unsubscribe(ChannelName),
    /// To publish to it.
    Publish(Box<Publishing>),
    /// To go on with a fresh token.
    Token(Box<str>),
    /// To hear a pong.
    Ping,
}

/// A publication that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// Where.
    pub channel: ChannelName,
    /// What the payload is.
    pub kind: PayloadKind,
    /// The payload: of JSON the value's text as it was sent.
    pub payload: Bytes,
    /// What it is the value of.
    pub key: Option<Box<str>>,
    /// The value's version.
    pub version: Option<u64>,
    /// Makes sure that it is published once.
    pub idempotency: Option<Box<str>>,
}

/// What is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// For programs.
    pub code: Code,
    /// For people: what would be right.
    pub message: String,
    /// The channel that the command was about, if it is one.
    pub channel: Option<ChannelName>,
}

/// Takes a message apart. An error stands for the whole message.
pub fn parse(message: &str) -> Result<Vec<Ask>, Ask> {
    let refused = |raw: &str, error: serde_json::Error| Ask {
        id: from_str::<OnlyId>(raw).ok().and_then(|it| it.id).filter(|&id| id <= ID_MAX),
        command: Err(Wrong::shape(error)),
    };
    let ask = |raw: &str| {
        // The parser would take the fields as an array, too.
        if raw.starts_with('[') {
            let wrong = Wrong::new(
                Code::BadCommand,
                "a command is a JSON object, like {\"type\":\"ping\"}",
            );
            return Err(Ask { id: None, command: Err(wrong) });
        }
        from_str::<Fields>(raw).map_err(|error| refused(raw, error))?.ask()
    };
    if !message.trim_start().starts_with('[') {
        return Ok(vec![ask(message)?]);
    }
    let Commands(raw) = from_str(message).map_err(|error| refused("", error))?;
    raw.into_iter().map(|raw| ask(raw.get())).collect()
}

/// All that a command may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a command, a JSON object")]
struct Fields<'a> {
    id: Option<u64>,
    #[serde(rename = "type")]
    kind: Kind,
    channel: Option<String>,
    since: Option<String>,
    last: Option<u32>,
    /// A `null` is data like any other.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    key: Option<Box<str>>,
    version: Option<u64>,
    idempotency: Option<Box<str>>,
    token: Option<Box<str>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Subscribe,
    Unsubscribe,
    Publish,
    Token,
    Ping,
}

/// Enough of a command that has the wrong shape to answer it.
#[derive(Deserialize)]
struct OnlyId {
    id: Option<u64>,
}

impl Fields<'_> {
    /// An error is one of the shape.
    fn ask(self) -> Result<Ask, Ask> {
        let id = self.id;
        let shape = |message: &str| Ask {
            id: id.filter(|&id| id <= ID_MAX),
            command: Err(Wrong::new(Code::BadCommand, message)),
        };
        if id.is_some_and(|id| id > ID_MAX) {
            return Err(shape("an id is a whole number below 2^53"));
        }
        let begins = self.since.is_some() || self.last.is_some();
        let payloads = usize::from(self.data.is_some())
            + usize::from(self.text.is_some())
            + usize::from(self.base64.is_some());
        let terms = self.key.is_some() || self.version.is_some() || self.idempotency.is_some();
        let fits = match self.kind {
            Kind::Subscribe => self.channel.is_some() && payloads == 0 && !terms,
            Kind::Unsubscribe => self.channel.is_some() && !begins && payloads == 0 && !terms,
            Kind::Publish => self.channel.is_some() && !begins && payloads == 1,
            Kind::Token | Kind::Ping => {
                self.channel.is_none() && !begins && payloads == 0 && !terms
            }
        };
        let fits = fits && self.token.is_some() == matches!(self.kind, Kind::Token);
        match (fits, &self.since, self.last) {
            (true, Some(_), Some(_)) => Err(shape("since and last exclude each other; give one")),
            (true, ..) => Ok(Ask { id, command: self.command() }),
            (false, ..) => Err(shape(self.kind.usage())),
        }
    }

    fn command(self) -> Result<Command, Wrong> {
        let Some(channel) = &self.channel else {
            return Ok(self.token.map_or(Command::Ping, Command::Token));
        };
        let channel = ChannelName::new(channel)
            .map_err(|error| Wrong::new(Code::BadChannel, &error.to_string()))?;
        match self.kind {
            Kind::Unsubscribe => Ok(Command::Unsubscribe(channel)),
            Kind::Subscribe => match (&self.since, self.last) {
                (Some(since), _) => match since.parse() {
                    Ok(since) => Ok(Command::Subscribe(channel, Start::Since(since))),
                    Err(error) => {
                        Err(Wrong::new(Code::BadPosition, &format!("{error}")).about(channel))
                    }
                },
                (None, Some(last)) => Ok(Command::Subscribe(channel, Start::Last(last))),
                (None, None) => Ok(Command::Subscribe(channel, Start::Live)),
            },
            Kind::Publish => self.publishing(channel),
            Kind::Token | Kind::Ping => Ok(Command::Ping),
        }
    }

    fn publishing(self, channel: ChannelName) -> Result<Command, Wrong> {
        let wrong = |message: &str| Wrong::new(Code::BadCommand, message).about(channel.clone());
        let is_key = |key: &Option<Box<str>>| {
            key.as_ref().is_none_or(|key| (1..=KEY_BYTES_MAX).contains(&key.len()))
        };
        if !is_key(&self.key) || !is_key(&self.idempotency) {
            return Err(wrong(&format!("key and idempotency have 1 to {KEY_BYTES_MAX} bytes")));
        }
        let Fields { data, text, base64, key, version, idempotency, .. } = self;
        let words = Words { data, text, base64 }.read();
        let (kind, payload) = words.map_err(|why| wrong(&why.to_string()))?;
        let payload = payload.into_owned().into();
        Ok(Command::Publish(Box::new(Publishing {
            channel,
            kind,
            payload,
            key,
            version,
            idempotency,
        })))
    }
}

impl Kind {
    /// What a command of this kind has.
    fn usage(self) -> &'static str {
        match self {
            Kind::Subscribe => "subscribe has a channel, and since or last or neither",
            Kind::Unsubscribe => "unsubscribe has a channel and nothing else",
            Kind::Publish => "publish has a channel and one of data, text and base64",
            Kind::Token => "token has a token and nothing else",
            Kind::Ping => "ping has an id at most",
        }
    }
}

impl Wrong {
    /// About no channel in particular.
    pub fn new(code: Code, message: &str) -> Self {
        Wrong { code, message: message.to_owned(), channel: None }
    }

    /// The same, about a channel.
    pub fn about(self, channel: ChannelName) -> Self {
        Wrong { channel: Some(channel), ..self }
    }

    /// The parser may quote the message at any length, and names our types.
    fn shape(error: serde_json::Error) -> Self {
        let message = error.to_string().replace("expected u64", "expected a whole number");
        let message = message.replace("expected u32", "expected a whole number below 2^32");
        let message = message.chars().take(SHAPE_CHARS_MAX).collect();
        Wrong { code: Code::BadCommand, message, channel: None }
    }
}

/// The commands of an array.
struct Commands<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Commands<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Commands<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of commands")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut elements: A,
            ) -> Result<Self::Value, A::Error> {
                let mut commands = Vec::new();
                while let Some(element) = elements.next_element()? {
                    if commands.len() == COMMANDS_MAX {
                        let max = format_args!("a message has at most {COMMANDS_MAX} commands");
                        return Err(A::Error::custom(max));
                    }
                    commands.push(element);
                }
                Ok(Commands(commands))
            }
        }
        from.deserialize_seq(Elements)
    }
}

/// The largest whole number that every client can tell from its neighbours.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// Characters of the parser's explanation that are passed on.
const SHAPE_CHARS_MAX: usize = 160;

#[cfg(test)]
mod tests;
