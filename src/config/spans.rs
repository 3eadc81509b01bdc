//! Settings about spans: where they go, and with which headers.
#![forbid(unsafe_code)]

use std::fmt;

use super::{access::MASKED, values::Value};

/// The URL of a collector, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Collector(pub Option<String>);

impl Value for Collector {
    const NOUN: &'static str = "URL";
    const KIND: &'static str = "an http or https URL";
    const LIKE: &'static str = "like http://127.0.0.1:4318";

    fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let is_right = |byte: u8| byte.is_ascii_graphic() && !b"?#@\"<>\\".contains(&byte);
        match rest {
            _ if text.is_empty() => Ok(Collector(None)),
            Some(rest) if !rest.starts_with(['/', ':']) && !rest.is_empty() => {
                match rest.bytes().all(is_right) {
                    true => Ok(Collector(Some(text.to_owned()))),
                    false => Err("has what such a URL may not have".to_owned()),
                }
            }
            _ => Err("is none".to_owned()),
        }
    }

    fn text(&self) -> String {
        self.0.clone().unwrap_or_default()
    }
}

/// Headers for a collector, which may be secrets.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct CollectorHeaders(pub Vec<(String, String)>);

impl Value for CollectorHeaders {
    const NOUN: &'static str = "HEADERS";
    const KIND: &'static str = "headers as name=value, with commas between,";
    const LIKE: &'static str = "like 'authorization=Bearer abc,x-tenant=7'";

    fn parse(text: &str) -> Result<Self, String> {
        let header = |entry: &str| {
            let (name, value) = entry.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            let is_value = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            (is_name && is_value).then(|| (name.to_owned(), value.to_owned()))
        };
        let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
        let headers: Option<Vec<_>> = entries.map(header).collect();
        headers.map(CollectorHeaders).ok_or_else(|| "is not that".to_owned())
    }

    fn text(&self) -> String {
        let entries: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        entries.join(",")
    }

    fn shown(&self) -> Vec<String> {
        vec![if self.0.is_empty() { String::new() } else { MASKED.to_owned() }]
    }
}

impl fmt::Debug for CollectorHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { MASKED })
    }
}
