//! For whom a proxy speaks, in a request's head: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address that it heard the request from, so a list is read from its end: the
//! first address there that is not a trusted proxy's is the client's. What stands in front of that
//! anybody may have written, and is not believed. Only the header that was asked for is read.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use super::http::Request;
use crate::limits::PROXIES_MAX;

/// The header in which proxies say for whom they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Header {
    /// `X-Forwarded-For`: addresses with commas between, perhaps with ports.
    XForwardedFor,
    /// `Forwarded` (RFC 7239), of which `for` is read.
    Forwarded,
}

impl Header {
    /// The header's name.
    pub fn name(self) -> &'static str {
        match self {
            Header::XForwardedFor => "X-Forwarded-For",
            Header::Forwarded => "Forwarded",
        }
    }
}

/// For whom a trusted proxy sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// For itself: to see whether we live.
    Itself,
    /// For somebody whom it does not name (`unknown`, or an identifier of its own).
    Unnamed,
    /// For this address, with port 0 where the port is not told.
    Address(SocketAddr),
}

/// Why a header of a trusted proxy says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {0} header of a trusted proxy {1}")]
pub struct NotForwarded(&'static str, &'static str);

/// Finds for whom a request was sent.
pub fn client(
    request: &Request<'_>,
    header: Header,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Client, NotForwarded> {
    let wrong = |problem| NotForwarded(header.name(), problem);
    let mut nodes = Vec::new();
    for line in request.values(header.name()) {
        let line = str::from_utf8(line).map_err(|_| wrong("is not plain text"))?;
        match header {
            Header::XForwardedFor => {
                nodes.extend(line.split(',').map(str::trim).filter(|it| !it.is_empty()));
            }
            Header::Forwarded => nodes.extend(elements(line).ok_or(wrong(NOT_RFC7239))?),
        }
    }
    let mut nearest = Client::Itself;
    for (at, text) in nodes.into_iter().rev().enumerate() {
        if at == PROXIES_MAX {
            return Err(wrong("names more than 32 proxies behind each other"));
        }
        nearest = node(text).ok_or(wrong("has an entry that is not an address"))?;
        match nearest {
            Client::Address(address) if is_trusted(address.ip()) => {}
            _ => break,
        }
    }
    Ok(nearest)
}

/// The `for` of each element of a line of `Forwarded`; `unknown` of one that has none.
fn elements(line: &str) -> Option<Vec<&str>> {
    let (mut found, mut node, mut is_empty) = (Vec::new(), None, true);
    let mut rest = line.trim();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix(',') {
            found.extend((!is_empty).then(|| node.take().unwrap_or("unknown")));
            (is_empty, rest) = (true, behind.trim_start());
            continue;
        }
        if let Some(behind) = rest.strip_prefix(';') {
            rest = behind.trim_start();
            continue;
        }
        let (name, value, behind) = pair(rest)?;
        if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return None;
        }
        (is_empty, rest) = (false, behind);
    }
    found.extend((!is_empty).then(|| node.unwrap_or("unknown")));
    Some(found)
}

/// The pair at the start of a text, and what stands behind it.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    let (value, behind) = match rest.strip_prefix('"') {
        // An address needs no escapes, so a value that has one is none.
        Some(quoted) => quoted.split_at_checked(end_of_quoted(quoted)?)?,
        None => rest.split_at(rest.find([',', ';', ' ', '\t', '"']).unwrap_or(rest.len())),
    };
    let behind = if rest.starts_with('"') { &behind[1..] } else { behind }.trim_start();
    (behind.is_empty() || behind.starts_with([',', ';'])).then_some((name, value, behind))
}

/// Where the quotation mark is that ends a quoted string.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// What one entry stands for (RFC 7239 §6).
fn node(text: &str) -> Option<Client> {
    if let Ok(ip) = text.parse() {
        return Some(Client::Address(SocketAddr::new(ip, 0)));
    }
    let (name, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, "")) => (address, 0),
        Some((address, rest)) => (address, self::port(rest.strip_prefix(':')?)?),
        None => match text.split_once(':') {
            Some((name, rest)) => (name, self::port(rest)?),
            None => (text, 0),
        },
    };
    let ip: Option<IpAddr> = match text.starts_with('[') {
        true => name.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        false => name.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    };
    match ip {
        Some(ip) => Some(Client::Address(SocketAddr::new(ip, port))),
        None if is_obfuscated(name) => Some(Client::Unnamed),
        None => None,
    }
}

/// A port, or 0 for one that is obfuscated.
fn port(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_named = text.starts_with('_') && is_obfuscated(text);
    if is_named { Some(0) } else { text.parse().ok().filter(|_| is_number) }
}

fn is_obfuscated(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.eq_ignore_ascii_case("unknown")
        || text.strip_prefix('_').is_some_and(|it| !it.is_empty() && it.bytes().all(is_of_name))
}

const NOT_RFC7239: &str = "is not like 'for=192.0.2.1, for=\"[2001:db8::1]:443\"' (RFC 7239)";

const _: () = assert!(PROXIES_MAX == 32, "which an error says");

#[cfg(test)]
mod tests;
