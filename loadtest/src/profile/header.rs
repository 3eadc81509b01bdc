//! Headers that a user adds to requests: `Authorization: Bearer abc`.

use std::str::FromStr;

use serde::Deserialize;

/// A header that may be added to a request: it cannot break the request or contradict it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Header, String> {
        let refused = |problem: &str| Err(format!("{problem}; write 'Name: value'"));
        let Some((name, value)) = text.split_once(':') else {
            return refused("has no colon");
        };
        let value = value.trim();
        if name.is_empty() || !name.bytes().all(is_token) {
            return refused("has a name that HTTP does not allow");
        }
        if !value.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()) {
            return refused("has a value that is not plain ASCII");
        }
        if let Some(own) = OWN.iter().find(|own| own.eq_ignore_ascii_case(name)) {
            return Err(format!("is written by the load tester itself; leave {own} out"));
        }
        Ok(Header { name: name.to_owned(), value: value.to_owned() })
    }
}

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(text: String) -> Result<Header, String> {
        text.parse().map_err(|told| format!("'{text}' {told}"))
    }
}

/// What all of these say, the later instead of the earlier of the same name.
pub fn laid_over<'a>(headers: impl Iterator<Item = &'a Header>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for Header { name, value } in headers {
        all.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        all.push((name.clone(), value.clone()));
    }
    all
}

/// The letters of a name, as RFC 9110 has them.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What every request says by itself.
const OWN: &[&str] = &[
    "Host",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Content-Length",
    "Transfer-Encoding",
];
