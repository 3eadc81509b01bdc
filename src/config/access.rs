//! Settings about who may do what: files of keys, claims, and a secret. What they mean is `access`'s.
#![forbid(unsafe_code)]

use std::{fmt, path::PathBuf};

use super::values::Value;
use crate::access::ApiKeys;

/// A file that is read at the start and when it changes, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct KeyFile(pub Option<PathBuf>);

impl Value for KeyFile {
    const NOUN: &'static str = "FILE";
    const KIND: &'static str = "a file";
    const LIKE: &'static str = "like /etc/stentor/token.pem";

    fn parse(text: &str) -> Result<Self, String> {
        match text.contains('\0') {
            true => Err("has a byte 0, which no path has".to_owned()),
            false => Ok(KeyFile(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))),
        }
    }

    fn text(&self) -> String {
        // It was made of text.
        self.0.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// What a claim must be, or nothing in particular.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Claim(pub Option<Box<str>>);

impl Value for Claim {
    const NOUN: &'static str = "TEXT";
    const KIND: &'static str = "a text";
    const LIKE: &'static str = "like https://login.example.com";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Claim(Some(text).filter(|text| !text.is_empty()).map(Box::from)))
    }

    fn text(&self) -> String {
        self.0.as_deref().unwrap_or_default().to_owned()
    }
}

/// The one key of the API that a setting may hold, or none. It may do everything.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct ApiKey(Option<Box<str>>);

impl ApiKey {
    /// The key, as a line of a file of them.
    pub fn line(&self) -> Option<String> {
        self.0.as_ref().map(|secret| format!("api-key:publish,read,admin:{secret}"))
    }
}

impl Value for ApiKey {
    const NOUN: &'static str = "SECRET";
    const KIND: &'static str = "a secret of 16 bytes or more, or sha256: and the hash of one,";
    const LIKE: &'static str = "like what `openssl rand -hex 16` writes";

    fn parse(text: &str) -> Result<Self, String> {
        let key = ApiKey(Some(text).filter(|text| !text.is_empty()).map(Box::from));
        match key.line().map(|line| ApiKeys::parse(&line)) {
            Some(Err(_)) => Err("is neither".to_owned()),
            _ => Ok(key),
        }
    }

    fn text(&self) -> String {
        self.0.as_deref().unwrap_or_default().to_owned()
    }

    fn shown(&self) -> Vec<String> {
        vec![self.0.as_ref().map(|_| MASKED).unwrap_or_default().to_owned()]
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { MASKED } else { "none" })
    }
}

/// What stands in a secret's place where it is shown.
pub(super) const MASKED: &str = "***";
