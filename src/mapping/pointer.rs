//! Parts of a JSON payload, by JSON pointer (RFC 6901).

use std::collections::HashMap;

use bytes::Bytes;
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
        let raw = self.raw(document)?.get();
        Some(document.slice_ref(raw.as_bytes()))
    }

    /// The part as text: a string without its quotes, a number or truth as it is written.
    pub fn text(&self, document: &[u8]) -> Option<String> {
        let raw = self.raw(document)?.get();
        match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(raw.to_owned()),
        }
    }

    fn raw<'a>(&self, document: &'a [u8]) -> Option<&'a RawValue> {
        let whole: &RawValue = serde_json::from_slice(document).ok()?;
        self.tokens.iter().try_fold(whole, |value, token| match value.get().as_bytes().first()? {
            b'{' => {
                let members: HashMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
                members.get(&**token).copied()
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                let is_index = &**token == "0" || !token.starts_with(['0', '+']);
                elements.get(token.parse::<usize>().ok().filter(|_| is_index)?).copied()
            }
            _ => None,
        })
    }
}
