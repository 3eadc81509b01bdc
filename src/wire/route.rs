//! Which endpoint a request asks for, and whether its page may ask at all.
//!
//! The whole path behind an endpoint is the channel, slashes included, percent-decoded. The query is
//! left alone. A browser sends the origin of the page with each request, and anyone's page can
//! connect anywhere, so origins are checked here for WebSocket and SSE alike (RFC 6455 §10.2).

use std::{io::Write, net::IpAddr};

use super::http::{HttpError, Request};
use crate::ids::ChannelName;

/// An endpoint that serves the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `GET /ws/{channel}`: a subscription over WebSocket.
    WebSocket(ChannelName),
    /// `GET /sse/{channel}`: a subscription as server-sent events.
    Sse {
        /// What to subscribe to.
        channel: ChannelName,
        /// The page that asks, which the answer must name for its browser to show it.
        origin: Option<&'a str>,
    },
    /// `GET /echo`: a WebSocket that answers each message with itself, for conformance tests.
    Echo,
    /// `OPTIONS /sse/{channel}`: a browser asks on behalf of a page whether it may, or somebody
    /// else which methods there are.
    Preflight {
        /// The page.
        origin: Option<&'a str>,
    },
}

/// Finds the endpoint that the request asks for.
pub fn route<'a>(
    request: &Request<'a>,
    origins: &Origins,
    echo: bool,
) -> Result<Route<'a>, HttpError> {
    let (authority, path) = split_target(request.target);
    let endpoint = Endpoint::of(path, echo)?;
    endpoint.check_method(request.method)?;
    if request.minor_version == 0 {
        return Err(HttpError::Version);
    }
    let host = request.only("Host")?.ok_or(HttpError::NoHost)?;
    let origin = request.only("Origin")?;
    if !origins.allow(origin, authority.unwrap_or(host)) {
        return Err(HttpError::Origin);
    }
    Ok(match (endpoint, origin) {
        (Endpoint::WebSocket(channel), _) => Route::WebSocket(channel),
        (Endpoint::Echo, _) => Route::Echo,
        (Endpoint::Sse(_), origin) if request.method == "OPTIONS" => Route::Preflight { origin },
        (Endpoint::Sse(channel), origin) => Route::Sse { channel, origin },
    })
}

/// Appends the whole answer to OPTIONS: to a page's CORS preflight (Fetch standard, §3.2.3), or to
/// whoever asks without being one.
pub fn write_preflight(origin: Option<&str>, out: &mut Vec<u8>) {
    let Some(origin) = origin else {
        out.extend_from_slice(
            b"HTTP/1.1 204 No Content\r\nAllow: GET, OPTIONS\r\nConnection: close\r\n\r\n",
        );
        return;
    };
    write!(
        out,
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n\
         Access-Control-Allow-Methods: GET\r\n\
         Access-Control-Allow-Headers: Cache-Control, Last-Event-ID\r\n\
         Access-Control-Max-Age: 86400\r\nConnection: close\r\n\r\n"
    )
    .expect("a Vec takes every write");
}

enum Endpoint {
    WebSocket(ChannelName),
    Sse(ChannelName),
    Echo,
}

impl Endpoint {
    fn of(path: &str, echo: bool) -> Result<Self, HttpError> {
        if let Some(channel) = path.strip_prefix("/ws/") {
            return Ok(Endpoint::WebSocket(ChannelName::decode(channel)?));
        }
        if let Some(channel) = path.strip_prefix("/sse/") {
            return Ok(Endpoint::Sse(ChannelName::decode(channel)?));
        }
        if echo && path == "/echo" {
            return Ok(Endpoint::Echo);
        }
        Err(HttpError::NoSuchPath)
    }

    fn check_method(&self, method: &str) -> Result<(), HttpError> {
        match (self, method) {
            (_, "GET") | (Endpoint::Sse(_), "OPTIONS") => Ok(()),
            (Endpoint::Sse(_), _) => Err(HttpError::Method("GET, OPTIONS")),
            _ => Err(HttpError::Method("GET")),
        }
    }
}

/// The authority, if the target is in absolute form (RFC 9112 §3.2.2), and the path without query.
fn split_target(target: &str) -> (Option<&str>, &str) {
    let (target, _query) = target.split_once('?').unwrap_or((target, ""));
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let path = rest.find('/').unwrap_or(rest.len());
            (Some(&rest[..path]), &rest[path..])
        }
        _ => (None, target),
    }
}

/// The origins whose pages may connect, besides those of the server's own host.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Origins {
    any: bool,
    listed: Vec<String>,
}

/// A text is not an origin that can be allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin; write https://example.com, null or *")]
pub struct NotAnOrigin(pub String);

impl Origins {
    /// Takes origins as browsers send them (`https://example.com:8443`), `null`, or `*` for any.
    pub fn new<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, NotAnOrigin> {
        let mut origins = Origins::default();
        for origin in list {
            match origin {
                "*" => origins.any = true,
                _ if is_origin(origin) => origins.listed.push(origin.to_ascii_lowercase()),
                _ => return Err(NotAnOrigin(origin.into())),
            }
        }
        Ok(origins)
    }

    /// What was listed, `*` first.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.any.then_some("*").into_iter().chain(self.listed.iter().map(String::as_str))
    }

    /// Whether a page of `origin` may connect to the server that it calls `host`.
    ///
    /// Without an Origin header it is no browser that asks, and the header would prove nothing. The
    /// server's own host may on any port, since the control page has another one, and the names
    /// of the loopback are one host: whose page it is, it was served by this machine.
    pub fn allow(&self, origin: Option<&str>, host: &str) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        let own = origin.split_once("://").is_some_and(|(_scheme, authority)| {
            let (page, server) = (host_name(authority), host_name(host));
            let same = !page.is_empty() && page.eq_ignore_ascii_case(server);
            same || (is_loopback(page) && is_loopback(server))
        });
        own || self.any || self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }
}

/// The serialised form of RFC 6454 §6.1: a scheme, a host, perhaps a port, and nothing else. An
/// entry with a path, an end slash or a wildcard would never match what a browser sends.
fn is_origin(text: &str) -> bool {
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    text == "null"
        || text.split_once("://").is_some_and(|(scheme, authority)| {
            let host = host_name(authority);
            let port = authority[host.len()..].strip_prefix(':');
            !scheme.is_empty()
                && scheme.bytes().all(is_scheme_byte)
                && !host.is_empty()
                && host.bytes().all(is_host_byte)
                && (host.len() == authority.len() || port.is_some_and(is_port))
        })
}

/// The host of `host[:port]`, brackets included where it is an IPv6 address.
fn host_name(authority: &str) -> &str {
    match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => &authority[..=bracket],
        _ => authority.split(':').next().unwrap_or(authority),
    }
}

/// Whether a host name means this machine, whatever a resolver says (RFC 6761 §6.3).
fn is_loopback(name: &str) -> bool {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    name.eq_ignore_ascii_case("localhost") || is_address(name.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests;
