//! What a line says: a payload as it is, or an object with a channel and one.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{from_slice, value::RawValue};

use crate::{
    frame::PayloadKind,
    limits::KEY_BYTES_MAX,
    mapping::Fields,
    payload::{self, NoPayload, present},
};

/// A line that says where it goes. The words are those of a publication over `stentor.v1`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) channel: String,
    pub(super) kind: PayloadKind,
    /// Of JSON the value's text as it was sent.
    pub(super) payload: Bytes,
    pub(super) key: Option<Box<str>>,
}

/// All that a line may have. Fields that it has not are refused, so that a slip is not published.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Words<'a> {
    channel: String,
    /// A `null` is data like any other.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    key: Option<Box<str>>,
}

impl Record {
    /// Reads a line, or says what is wrong with it.
    pub(super) fn read(line: &Bytes) -> Result<Self, String> {
        let right = "a line is an object like {\"channel\":\"news\",\"data\":1}, with one of data, \
                     text and base64, and perhaps a key";
        // The parser would take the fields as an array, too.
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(format!("it is no JSON object; {right}"));
        }
        let words: Words = from_slice(line).map_err(|why| format!("{why}; {right}"))?;
        let Words { channel, data, text, base64, key } = words;
        let (kind, payload) = payload::Words { data, text, base64 }.read().map_err(|why| {
            if why == NoPayload::NotOne { format!("{why}; {right}") } else { why.to_string() }
        })?;
        let payload = match payload {
            Cow::Borrowed(json) => line.slice_ref(json),
            Cow::Owned(bytes) => bytes.into(),
        };
        match key.as_ref().map(|key| key.len()) {
            None | Some(1..=KEY_BYTES_MAX) => Ok(Record { channel, kind, payload, key }),
            Some(len) => Err(format!("its key has {len} bytes; it may have 1 to {KEY_BYTES_MAX}")),
        }
    }
}

impl Fields for Record {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "channel" => Some(self.channel.as_bytes().into()),
            "key" => self.key.as_ref().map(|key| key.as_bytes().into()),
            _ => None,
        }
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// A line that is a payload: nothing is known of it.
pub(super) struct Bare;

impl Fields for Bare {
    fn field(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Record, String> {
        Record::read(&Bytes::copy_from_slice(line.as_bytes()))
    }

    /// Each word gives the payload that it names, JSON to the letter.
    #[test]
    fn a_line_names_its_channel_and_payload() {
        for (words, kind, payload) in [
            (r#""data": {"a": 1.50}"#, PayloadKind::Json, &br#"{"a": 1.50}"#[..]),
            (r#""data":null"#, PayloadKind::Json, b"null"),
            (r#""text":"a\nb\u00e4""#, PayloadKind::Text, "a\nbä".as_bytes()),
            (r#""text":"""#, PayloadKind::Text, b""),
            (r#""base64":"AP8=""#, PayloadKind::Binary, b"\x00\xff"),
        ] {
            let payload = Bytes::copy_from_slice(payload);
            let expected = Record { channel: "a/b".into(), kind, payload, key: None };
            assert_eq!(read(&format!(r#" {{"channel":"a/b",{words}}}"#)), Ok(expected), "{words}");
        }
        let keyed = read(r#"{"key":"k","text":"x","channel":"c"}"#).unwrap();
        assert_eq!(keyed.field("key").as_deref(), Some(&b"k"[..]));
        assert_eq!(keyed.field("channel").as_deref(), Some(&b"c"[..]));
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert!(read(&format!(r#"{{"channel":"c","text":"","key":"{longest}"}}"#)).is_ok());
    }

    /// Whatever else a line says is refused, with what would be right.
    #[test]
    fn a_slip_is_not_published() {
        let too_long = format!(r#"{{"channel":"c","text":"","key":"{}"}}"#, "k".repeat(256));
        for (line, why) in [
            ("", "like {"),
            ("tick", "like {"),
            (r#"["c",1]"#, "like {"),
            (r#"{"channel":"c"}"#, "give one of"),
            (r#"{"channel":"c","data":1,"text":"x"}"#, "give one of"),
            (r#"{"data":1}"#, "missing field `channel`"),
            (r#"{"channel":"c","data":01}"#, "like {"),
            (r#"{"channel":"c","data":1} 2"#, "trailing characters"),
            (r#"{"channel":"c","data":1,"version":2}"#, "unknown field `version`"),
            (r#"{"channel":"c","base64":"aGk"}"#, "padded base64"),
            (r#"{"channel":"c","text":"x","key":""}"#, "0 bytes"),
            (too_long.as_str(), "256 bytes"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(why), "{line}: {told}");
        }
    }
}
