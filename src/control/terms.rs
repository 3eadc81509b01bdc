//! What a publisher asks for in the head of its request: lines or one payload, JSON or whatever it
//! is, a key, a version, an idempotency key.
//!
//! A parameter that is not known is refused: one that was misspelt, and passed over, would publish
//! what its sender wanted checked.

use axum::http::{HeaderMap, StatusCode, Uri, header, request::Parts};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::IgnoredAny;

use super::{publisher::Content, reply::Refusal};
use crate::{
    frame::PayloadKind,
    limits::KEY_BYTES_MAX,
    mesh::Terms,
    payload::{JSON_DEPTH_MAX, is_too_deep},
};

/// How the body is to be published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// As one publication.
    Whole { is_json: bool, terms: Option<Box<Terms>> },
    /// As one for each line.
    Lines { is_json: bool },
}

impl Wish {
    /// Reads it from the parameters and headers of the request.
    pub(super) fn of(head: &Parts) -> Result<Self, Refusal> {
        let Parameters { lines, key, version } = Parameters::of(&head.uri)?;
        let idempotency = idempotency_key(&head.headers)?;
        let terms = Terms { key, version, idempotency };
        let terms = (terms != Terms::default()).then(|| Box::new(terms));
        if !lines {
            return Ok(Wish::Whole { is_json: is_json(&head.headers), terms });
        }
        match terms {
            None => Ok(Wish::Lines { is_json: is_json_lines(&head.headers) }),
            Some(_) => {
                Err(bad("?lines goes without key, version and Idempotency-Key, which are for one \
                 publication; publish each by a request of its own"))
            }
        }
    }
}

/// Says what a payload is; what is called JSON must be.
pub(super) fn content(
    payload: Bytes,
    is_json: bool,
    terms: Option<Box<Terms>>,
) -> Result<Content, NotJson> {
    let kind = match is_json {
        true => check_json(&payload).map(|()| PayloadKind::Json)?,
        false => PayloadKind::of(&payload),
    };
    Ok(Content { kind, payload, terms })
}

/// What is wrong with what was called JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotJson(String);

impl NotJson {
    /// 400. `what` is the payload, or the line that it is.
    pub(super) fn refusal(&self, what: &str) -> Refusal {
        let why = &self.0;
        bad(format!("{what} is not JSON: {why}; without a Content-Type of JSON it goes as text"))
    }
}

fn check_json(payload: &[u8]) -> Result<(), NotJson> {
    let text = std::str::from_utf8(payload).map_err(|_| NotJson("it is not UTF-8".to_owned()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|why| NotJson(why.to_string()))?;
    match is_too_deep(text) {
        true => Err(NotJson(format!("it is nested more than {JSON_DEPTH_MAX} deep"))),
        false => Ok(()),
    }
}

#[derive(Default)]
struct Parameters {
    lines: bool,
    key: Option<Box<str>>,
    version: Option<u64>,
}

impl Parameters {
    fn of(uri: &Uri) -> Result<Self, Refusal> {
        let mut read = Parameters::default();
        let query = uri.query().unwrap_or("");
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "lines" if ["", "1", "true"].contains(&value) => read.lines = true,
                "key" if read.key.is_none() => read.key = Some(key(value)?),
                "version" if read.version.is_none() => read.version = Some(version(value)?),
                "key" | "version" => {
                    return Err(bad(format!("{name} is given twice; give it once")));
                }
                _ => {
                    return Err(bad(format!(
                        "'{parameter}' is no parameter of publishing; there are ?lines, which \
                         publishes every line of the body, key=KEY and version=NUMBER"
                    )));
                }
            }
        }
        Ok(read)
    }
}

fn key(encoded: &str) -> Result<Box<str>, Refusal> {
    let decoded = percent_decode_str(encoded).decode_utf8();
    match decoded.map_err(|_| bad("the key is not UTF-8; encode it so, as in key=%C3%A4"))? {
        key if key.is_empty() => Err(bad("the key is empty; give one, or leave out key=")),
        key if key.len() > KEY_BYTES_MAX => Err(bad(format!(
            "the key has {} bytes; it may have at most {KEY_BYTES_MAX}",
            key.len()
        ))),
        key => Ok(key.into()),
    }
}

fn version(text: &str) -> Result<u64, Refusal> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        bad(format!("the version '{text}' is not a whole number from 0 to {}", u64::MAX))
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Refusal> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("there are two Idempotency-Keys; send one"));
    }
    let is_fine = |key: &&str| (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains(' ');
    match value.to_str().ok().filter(is_fine) {
        Some(key) => Ok(Some(key.into())),
        None => Err(bad(format!(
            "the Idempotency-Key must have 1 to {KEY_BYTES_MAX} bytes of visible ASCII, like a UUID"
        ))),
    }
}

/// The media type in lower case, without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bare = value.unwrap_or("").split(';').next().unwrap_or("");
    bare.trim().to_ascii_lowercase()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    kind == "application/json" || kind.ends_with("+json")
}

/// A stream that is called JSON as a whole can only mean each of its lines.
fn is_json_lines(headers: &HeaderMap) -> bool {
    ["application/x-ndjson", "application/jsonl"].contains(&media_type(headers).as_str())
        || is_json(headers)
}

fn bad(reason: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is one JSON value in UTF-8, at most so deep, is taken; anything else is told apart.
    #[test]
    fn json_is_checked() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for fine in [" {\"a\": [1, null]}\n", "1e999", "\"\\u2028\"", &nested(128)] {
            assert_eq!(check_json(fine.as_bytes()), Ok(()), "{fine}");
        }
        let too_deep = Err(NotJson("it is nested more than 128 deep".to_owned()));
        assert_eq!(check_json(nested(129).as_bytes()), too_deep);
        assert_eq!(check_json(b"\"\xff\""), Err(NotJson("it is not UTF-8".to_owned())));
        for broken in ["", " ", "{", "1 2", "nul", "{'a':1}", "[1,]", "\"\n\"", "NaN", "\u{feff}1"]
        {
            assert!(check_json(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
