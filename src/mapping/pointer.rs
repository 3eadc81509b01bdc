//! Parts of a JSON payload, by JSON pointer (RFC 6901).
//!
//! One pass over the document finds the part, and copies nothing. Where an object has a name several
//! times the last counts, as in `JSON.parse` and most parsers. A document is read to its end, so that
//! nothing is taken from what is no JSON.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::Wrong;

/// Where a part of a JSON document stands: `/data/price`, or nothing for the whole of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointer {
    text: Box<str>,
    tokens: Vec<Box<str>>,
}

impl Pointer {
    /// Reads a pointer, or says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, Wrong> {
        Wrong::if_too_long(text)?;
        if !text.is_empty() && !text.starts_with('/') {
            let problem = format!("has the JSON pointer '{text}', which does not begin with /");
            return Err(Wrong::new(problem, "write one like /data/price"));
        }
        if text.split('~').skip(1).any(|behind| !behind.starts_with(['0', '1'])) {
            let problem = format!("has the JSON pointer '{text}' with a ~ that stands for nothing");
            return Err(Wrong::new(problem, "write ~0 for ~ and ~1 for / in a name"));
        }
        let token = |token: &str| token.replace("~1", "/").replace("~0", "~").into();
        let tokens = text.split('/').skip(1).map(token).collect();
        Ok(Pointer { text: text.into(), tokens })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part of the document as it stands there, if the document is JSON and has it.
    pub fn part(&self, document: &Bytes) -> Option<Bytes> {
        Some(document.slice_ref(self.raw(document)?.as_bytes()))
    }

    /// The part as text: a string without its quotes, a number or truth as it is written. Objects,
    /// arrays and null have none.
    pub fn text<'a>(&self, document: &'a [u8]) -> Option<Cow<'a, str>> {
        let raw = self.raw(document)?;
        match raw.as_bytes().first()? {
            b'"' if !raw.contains('\\') => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            b'"' => serde_json::from_str(raw).ok().map(Cow::Owned),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(raw)),
        }
    }

    fn raw<'a>(&self, document: &'a [u8]) -> Option<&'a str> {
        let mut json = serde_json::Deserializer::from_str(std::str::from_utf8(document).ok()?);
        let found = At(&self.tokens).deserialize(&mut json).ok()?;
        json.end().ok()?;
        found.map(RawValue::get)
    }
}

/// Finds what stands behind these tokens. The depth is bounded by serde_json, which gives up at 128.
struct At<'t>(&'t [Box<str>]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        match self.0.split_first() {
            None => <&RawValue>::deserialize(json).map(Some),
            Some((token, rest)) => json.deserialize_any(Step { token, rest }),
        }
    }
}

/// One step down, where there is something below.
struct Step<'t> {
    token: &'t str,
    rest: &'t [Box<str>],
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Is(self.token))? {
            match is_it {
                true => found = members.next_value_seed(At(self.rest))?,
                false => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let is_index = self.token == "0" || !self.token.starts_with(['0', '+']);
        let index = self.token.parse::<usize>().ok().filter(|_| is_index);
        let mut found = None;
        for at in 0.. {
            if Some(at) == index {
                match elements.next_element_seed(At(self.rest))? {
                    Some(element) => found = element,
                    None => break,
                }
            } else if elements.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a member's name is this one.
struct Is<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
