//! A payload as JSON gives it: one of `data`, any JSON; `text`; and `base64`. So publications are
//! written over `stentor.v1`, as lines of many, and in records of lines.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::frame::PayloadKind;

/// The three words, as they were read; exactly one must be there.
#[derive(Debug)]
pub struct Words<'a> {
    /// JSON, whose text is the payload. Read by [`present`].
    pub data: Option<&'a RawValue>,
    /// Text, unescaped.
    pub text: Option<String>,
    /// Any bytes, in padded Base64 (RFC 4648 §4).
    pub base64: Option<String>,
}

/// Why words are no payload.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoPayload {
    /// None, or several.
    #[error("give one of data, text and base64")]
    NotOne,
    /// As [`is_too_deep`] says.
    #[error("data is nested more than {JSON_DEPTH_MAX} deep")]
    TooDeep,
    /// Not what RFC 4648 §4 says.
    #[error("base64 must be padded base64, like aGk=")]
    NotBase64,
}

impl<'a> Words<'a> {
    /// What they say. Of JSON the payload is the very text.
    pub fn read(self) -> Result<(PayloadKind, Cow<'a, [u8]>), NoPayload> {
        match (self.data, self.text, self.base64) {
            (Some(data), None, None) if is_too_deep(data.get()) => Err(NoPayload::TooDeep),
            (Some(data), None, None) => Ok((PayloadKind::Json, data.get().as_bytes().into())),
            (None, Some(text), None) => Ok((PayloadKind::Text, text.into_bytes().into())),
            (None, None, Some(base64)) => {
                let bytes = BASE64.decode(base64.as_bytes()).map_err(|_| NoPayload::NotBase64)?;
                Ok((PayloadKind::Binary, bytes.into()))
            }
            _ => Err(NoPayload::NotOne),
        }
    }
}

/// Reads a field so that a `null` is data like any other: only what is not there is none.
pub fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// Whether arrays and objects are nested deeper in a JSON text than [`JSON_DEPTH_MAX`]. Our parser does
/// not recurse, so no depth is too much for it; those of subscribers may.
pub fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// How deep JSON may be nested: what many parsers, of those who will read it, take at most.
pub const JSON_DEPTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use serde_json::from_str;

    use super::*;

    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        data: Option<&'a RawValue>,
        text: Option<String>,
        base64: Option<String>,
    }

    fn read(json: &str) -> Result<(PayloadKind, Vec<u8>), NoPayload> {
        let Fields { data, text, base64 } = from_str(json).unwrap();
        let words = Words { data, text, base64 };
        words.read().map(|(kind, payload)| (kind, payload.into_owned()))
    }

    /// Each word gives the payload that it names, JSON to the letter; a null is one.
    #[test]
    fn one_word_is_the_payload() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let deepest = nested(JSON_DEPTH_MAX);
        for (json, kind, payload) in [
            (r#"{"data": {"a": 1.50} }"#.to_owned(), PayloadKind::Json, r#"{"a": 1.50}"#),
            (r#"{"data":null}"#.to_owned(), PayloadKind::Json, "null"),
            (format!(r#"{{"data":{deepest}}}"#), PayloadKind::Json, &deepest),
            (r#"{"text":"a\nb\u00e4"}"#.to_owned(), PayloadKind::Text, "a\nbä"),
            (r#"{"text":""}"#.to_owned(), PayloadKind::Text, ""),
            (r#"{"base64":"aGk="}"#.to_owned(), PayloadKind::Binary, "hi"),
        ] {
            assert_eq!(read(&json), Ok((kind, payload.as_bytes().to_vec())), "{json}");
        }
        for (json, why) in [
            ("{}".to_owned(), NoPayload::NotOne),
            (r#"{"data":null,"text":""}"#.to_owned(), NoPayload::NotOne),
            (r#"{"text":"","base64":""}"#.to_owned(), NoPayload::NotOne),
            (r#"{"base64":"aGk"}"#.to_owned(), NoPayload::NotBase64),
            (format!(r#"{{"data":{}}}"#, nested(JSON_DEPTH_MAX + 1)), NoPayload::TooDeep),
        ] {
            assert_eq!(read(&json), Err(why), "{json}");
        }
    }

    /// Depth is that of arrays and objects; brackets in strings are none.
    #[test]
    fn depth_is_of_arrays_and_objects() {
        let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(
            !is_too_deep(&objects(JSON_DEPTH_MAX)) && is_too_deep(&objects(JSON_DEPTH_MAX + 1))
        );
        for shallow in ["[".repeat(1000), format!("\\\"{}\\\\", "[".repeat(1000))] {
            assert!(!is_too_deep(&format!("\"{shallow}\"")));
        }
        assert!(!is_too_deep(&"[],".repeat(1000)));
    }
}
