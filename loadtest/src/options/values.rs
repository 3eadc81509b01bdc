//! The types of options: how each is read from a flag or a TOML value, and written back.

use std::{fmt, time::Duration};

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

use super::bounds::{PREFIX_BYTES_MAX, WEIGHT_MAX};
use crate::{bus::Bus, decoder::Transport, plan::Spread, slo::Slo, units};

/// A type that an option can have.
pub trait Value: Sized {
    /// The placeholder in `--help`.
    const NOUN: &'static str;
    /// What to write instead of a text that cannot be read.
    const RIGHT: &'static str;

    /// Reads the value, or says what is wrong with the text: `has no unit`.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as a user would write it.
    fn text(&self) -> String;
}

/// Reads a value, or says what is wrong with the text and what would be right.
pub fn read<T: Value>(text: &str) -> Result<T, String> {
    T::parse(text).map_err(|problem| format!("{problem}; {}", T::RIGHT))
}

/// Reads a value from TOML, where a number may stand with or without quotes.
pub fn from_toml<'de, D: Deserializer<'de>, T: Value>(from: D) -> Result<Option<T>, D::Error> {
    let text = from.deserialize_any(Scalar)?;
    read(&text).map(Some).map_err(|told| D::Error::custom(format!("'{text}' {told}")))
}

/// How many channels a group's subscribers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// So many, whatever the subscribers.
    Number(u64),
    /// One for so many subscribers each.
    OneFor(u64),
}

/// What the names of channels begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

/// The bus that publications go through, if they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTo(pub Option<Bus>);

/// What subscribers speak, with weights: each transport once, at least one of them above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(pub Vec<(Transport, u32)>);

/// Publications per second at the beginning and at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// At the beginning.
    pub from: f64,
    /// At the end.
    pub to: f64,
}

/// A number per second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct PerSecond(pub f64);

/// A share of all: `0.1` or `10%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The smallest and the largest number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

/// A time, or a share of the run's duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interval {
    /// A time.
    Time(Duration),
    /// A share of the duration.
    Share(f64),
}

impl Value for PublishTo {
    const NOUN: &'static str = "BUS";
    const RIGHT: &'static str = "write a bus like 'nats url=nats://127.0.0.1:4222 to={channel}'";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(PublishTo(None)),
            _ => Bus::parse(text).map(|bus| PublishTo(Some(bus))),
        }
    }

    fn text(&self) -> String {
        self.0.as_ref().map_or(String::new(), |bus| format!("{}, {}", bus.place(), bus.to))
    }
}

impl Value for u64 {
    const NOUN: &'static str = "NUMBER";
    const RIGHT: &'static str = "write a whole number like 1000";

    fn parse(text: &str) -> Result<Self, String> {
        units::whole(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for f64 {
    const NOUN: &'static str = "NUMBER";
    const RIGHT: &'static str = "write a number like 10 or 0.5";

    fn parse(text: &str) -> Result<Self, String> {
        units::decimal(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const NOUN: &'static str = "TIME";
    const RIGHT: &'static str = "write a time like 60s, 500ms or 2m";

    fn parse(text: &str) -> Result<Self, String> {
        units::time(text)
    }

    fn text(&self) -> String {
        units::time_text(*self)
    }
}

impl Value for Channels {
    const NOUN: &'static str = "CHANNELS";
    const RIGHT: &'static str =
        "write a number, or each (a channel for each subscriber), or 1/20 (one for every 20)";

    fn parse(text: &str) -> Result<Self, String> {
        match (text, text.split_once('/')) {
            ("each", _) => Ok(Channels::OneFor(1)),
            (_, Some(("1", many))) => units::whole(many).map(Channels::OneFor),
            (_, Some(_)) => Err("does not begin with 1/".to_owned()),
            _ => units::whole(text).map(Channels::Number),
        }
    }

    fn text(&self) -> String {
        match self {
            Channels::OneFor(1) => "each".to_owned(),
            Channels::OneFor(many) => format!("1/{many}"),
            Channels::Number(number) => number.to_string(),
        }
    }
}

impl Value for Prefix {
    const NOUN: &'static str = "NAME";
    const RIGHT: &'static str = "write 1 to 64 letters, digits, '.', '_' or '-'";

    fn parse(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match text {
            "" => Err("is empty".to_owned()),
            _ if text.len() > PREFIX_BYTES_MAX => Err("is too long".to_owned()),
            _ if !text.bytes().all(is_plain) => {
                Err("has a letter that URLs would have to encode".to_owned())
            }
            _ => Ok(Prefix(text.to_owned())),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

impl Value for Spread {
    const NOUN: &'static str = "SPREAD";
    const RIGHT: &'static str = "write even, zipf or zipf:1.2";

    fn parse(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("zipf:")) {
            ("even", _) => Ok(Spread::Even),
            ("zipf", _) => Ok(Spread::Zipf(1.0)),
            (_, Some(exponent)) => units::decimal(exponent)
                .map(Spread::Zipf)
                .map_err(|_| format!("has the exponent '{exponent}', which is not a number")),
            _ => Err("is not among the choices".to_owned()),
        }
    }

    fn text(&self) -> String {
        match self {
            Spread::Even => "even".to_owned(),
            Spread::Zipf(exponent) => format!("zipf:{exponent}"),
        }
    }
}

impl Value for Mix {
    const NOUN: &'static str = "MIX";
    const RIGHT: &'static str = "write ws, sse, poll, v1 or a mix like ws=80,sse=20";

    fn parse(text: &str) -> Result<Self, String> {
        let mut mix: Vec<(Transport, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let (transport, weight) = (transport(name)?, weight_of(weight)?);
            if mix.iter().any(|&(known, _)| known == transport) {
                return Err(format!("has {name} twice"));
            }
            mix.push((transport, weight));
        }
        mix.retain(|&(_, weight)| weight > 0);
        if mix.is_empty() { Err("leaves nothing to speak".to_owned()) } else { Ok(Mix(mix)) }
    }

    fn text(&self) -> String {
        let parts = self.0.iter().map(|(transport, weight)| match self.0.len() {
            1 => spelled(*transport).to_owned(),
            _ => format!("{}={weight}", spelled(*transport)),
        });
        parts.collect::<Vec<_>>().join(",")
    }
}

impl Value for Rate {
    const NOUN: &'static str = "RATE";
    const RIGHT: &'static str =
        "write a number like 200, or 10..500 for a rate that rises, or 0 for none";

    fn parse(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        Ok(Rate { from: units::decimal(from)?, to: units::decimal(to)? })
    }

    fn text(&self) -> String {
        range_text(self.from.to_string(), self.to.to_string())
    }
}

impl Value for PerSecond {
    const NOUN: &'static str = "NUMBER";
    const RIGHT: &'static str = "write a number like 10 or 0.5";

    fn parse(text: &str) -> Result<Self, String> {
        units::decimal(text).map(PerSecond)
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Share {
    const NOUN: &'static str = "SHARE";
    const RIGHT: &'static str = "write a share from 0 to 1 like 0.1, or 10%";

    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            Some(percent) => units::decimal(percent).map(|percent| Share(percent / 100.0)),
            None => units::decimal(text).map(Share),
        }
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Size {
    const NOUN: &'static str = "BYTES";
    const RIGHT: &'static str = "write a number of bytes like 512B, 4kB or 1MiB";

    fn parse(text: &str) -> Result<Self, String> {
        units::size(text).map(Size)
    }

    fn text(&self) -> String {
        units::size_text(self.0)
    }
}

impl Value for Sizes {
    const NOUN: &'static str = "BYTES";
    const RIGHT: &'static str = "write a number of bytes like 64 or 4KiB, or a range like 64..4096";

    fn parse(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        Ok(Sizes { min: units::size(min)?, max: units::size(max)? })
    }

    fn text(&self) -> String {
        range_text(units::size_text(self.min), units::size_text(self.max))
    }
}

impl Value for Interval {
    const NOUN: &'static str = "TIME";
    const RIGHT: &'static str = "write a time like 30s, or a share of the duration like 40%";

    fn parse(text: &str) -> Result<Self, String> {
        match text.ends_with('%') {
            true => Share::parse(text).map(|share| Interval::Share(share.0)),
            false => units::time(text).map(Interval::Time),
        }
    }

    fn text(&self) -> String {
        match self {
            Interval::Time(time) => units::time_text(*time),
            Interval::Share(share) => format!("{}%", share * 100.0),
        }
    }
}

impl Value for bool {
    const NOUN: &'static str = "BOOL";
    const RIGHT: &'static str = "write true or false";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is neither true nor false".to_owned())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Slo {
    const NOUN: &'static str = "OBJECTIVES";
    const RIGHT: &'static str = "write objectives like p99=250ms,loss=0";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// How a transport is spelled in options, profiles and reports.
pub fn spelled(transport: Transport) -> &'static str {
    transport.name()
}

fn transport(name: &str) -> Result<Transport, String> {
    let found = Transport::ALL.into_iter().find(|it| it.name() == name);
    found.ok_or_else(|| format!("has '{name}', which is not a transport"))
}

fn weight_of(text: &str) -> Result<u32, String> {
    match units::whole(text) {
        Ok(weight) if weight <= WEIGHT_MAX => Ok(weight as u32),
        Ok(_) => Err(format!("has the weight '{text}', which is more than {WEIGHT_MAX}")),
        Err(_) => Err(format!("has the weight '{text}', which is not a whole number")),
    }
}

fn range_text(from: String, to: String) -> String {
    if from == to { from } else { format!("{from}..{to}") }
}

/// Any single TOML value, as the text that a flag would have given.
struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true, false or a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<String, E> {
        Ok(truth.to_string())
    }
}
