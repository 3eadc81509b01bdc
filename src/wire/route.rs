//! Which endpoint a request asks for, and whether its page may ask at all.
//!
//! The whole path behind an endpoint is the channel, slashes included, percent-decoded. A browser
//! sends the origin of the page with each request, and anyone's page can connect anywhere, so
//! origins are checked here for all endpoints alike (RFC 6455 §10.2).

use std::{io::Write, net::IpAddr, time::Duration};

use super::{
    handshake,
    http::{HttpError, Request},
    query::{self, Query, QueryError},
};
use crate::{
    ids::{ChannelName, Position},
    resume::Start,
};

/// An endpoint that serves the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `GET /ws/{channel}`: one channel over WebSocket, payloads as they are.
    WebSocket(ChannelName, Start),
    /// `GET /ws` or `/ws/{channel}`, offering `stentor.v1`: commands over WebSocket, and channels to
    /// begin with.
    Commands(Vec<(ChannelName, Start)>),
    /// `GET /sse/{channel}`: one channel as server-sent events.
    Sse {
        /// What to subscribe to.
        channel: ChannelName,
        /// Where to begin.
        start: Start,
        /// The page that asks, which the answer must name for its browser to show it.
        origin: Option<&'a str>,
    },
    /// `GET /sse?channels=…`: several channels as server-sent events.
    Streams {
        /// What to subscribe to, and where to begin.
        channels: Vec<(ChannelName, Start)>,
        /// The page that asks.
        origin: Option<&'a str>,
    },
    /// `GET /poll/{channel}`: what was published since, or the next, in one answer.
    Poll(Poll<'a>),
    /// `GET /echo`: a WebSocket that answers each message with itself, for conformance tests.
    Echo,
    /// `GET /stentor.js`: the client's module. Anyone's page may have it.
    ClientModule {
        /// The tag of the version that the client has.
        known: Option<&'a str>,
    },
    /// `OPTIONS` of what pages read: a browser asks on behalf of a page whether it may, or somebody
    /// else which methods there are.
    Preflight {
        /// The page.
        origin: Option<&'a str>,
    },
}

/// A long-poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll<'a> {
    /// What to read.
    pub channel: ChannelName,
    /// Where to begin.
    pub start: Start,
    /// The position in the client's tag, which is where to begin.
    pub tag: Option<Position>,
    /// How long to wait, if the client says so.
    pub timeout: Option<Duration>,
    /// The page that asks.
    pub origin: Option<&'a str>,
    /// Whether the connection ends with the answer.
    pub close: bool,
}

/// Finds the endpoint that the request asks for.
pub fn route<'a>(
    request: &Request<'a>,
    origins: &Origins,
    echo: bool,
) -> Result<Route<'a>, HttpError> {
    let (authority, path, query) = split_target(request.target);
    let endpoint = Endpoint::of(path, echo)?;
    endpoint.check_method(request.method)?;
    if request.minor_version == 0 {
        return Err(HttpError::Version);
    }
    let host = request.only("Host")?.ok_or(HttpError::NoHost)?;
    let origin = request.only("Origin")?;
    let is_for_all = matches!(endpoint, Endpoint::ClientModule);
    if !is_for_all && !origins.allow(origin, authority.unwrap_or(host)) {
        return Err(HttpError::Origin);
    }
    if request.method == "OPTIONS" {
        return Ok(Route::Preflight { origin });
    }
    endpoint.route(&Query::parse(query)?, request, origin)
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
         Access-Control-Allow-Headers: Authorization, Cache-Control, If-None-Match, \
         Last-Event-ID\r\n\
         Access-Control-Max-Age: 86400\r\nConnection: close\r\n\r\n"
    )
    .expect("a Vec takes every write");
}

enum Endpoint {
    WebSocket(Option<ChannelName>),
    Sse(Option<ChannelName>),
    Poll(ChannelName),
    Echo,
    ClientModule,
}

impl Endpoint {
    fn of(path: &str, echo: bool) -> Result<Self, HttpError> {
        if let Some(channel) = path.strip_prefix("/ws/") {
            return Ok(Endpoint::WebSocket(Some(ChannelName::decode(channel)?)));
        }
        if let Some(channel) = path.strip_prefix("/sse/") {
            return Ok(Endpoint::Sse(Some(ChannelName::decode(channel)?)));
        }
        if let Some(channel) = path.strip_prefix("/poll/") {
            return Ok(Endpoint::Poll(ChannelName::decode(channel)?));
        }
        match path {
            "/ws" => Ok(Endpoint::WebSocket(None)),
            "/sse" => Ok(Endpoint::Sse(None)),
            "/stentor.js" => Ok(Endpoint::ClientModule),
            "/echo" if echo => Ok(Endpoint::Echo),
            _ => Err(HttpError::NoSuchPath),
        }
    }

    fn check_method(&self, method: &str) -> Result<(), HttpError> {
        match (self, method) {
            (_, "GET") | (Endpoint::Sse(_) | Endpoint::Poll(_), "OPTIONS") => Ok(()),
            (Endpoint::Sse(_) | Endpoint::Poll(_), _) => Err(HttpError::Method("GET, OPTIONS")),
            _ => Err(HttpError::Method("GET")),
        }
    }

    fn route<'a>(
        self,
        query: &Query,
        request: &Request<'a>,
        origin: Option<&'a str>,
    ) -> Result<Route<'a>, HttpError> {
        Ok(match self {
            Endpoint::WebSocket(Some(channel)) => {
                let start = query.start()?;
                match handshake::offers_subprotocol(request) {
                    true => Route::Commands(vec![(channel, start)]),
                    false => Route::WebSocket(channel, start),
                }
            }
            Endpoint::WebSocket(None) => {
                if !handshake::offers_subprotocol(request) {
                    return Err(HttpError::NoSubprotocol);
                }
                Route::Commands(query.channels(None)?)
            }
            Endpoint::Sse(Some(channel)) => {
                let start = query.start_or(request.only("Last-Event-ID")?)?;
                Route::Sse { channel, start, origin }
            }
            Endpoint::Sse(None) => {
                let channels = query.channels(request.only("Last-Event-ID")?)?;
                if channels.is_empty() {
                    return Err(QueryError::NoChannels.into());
                }
                Route::Streams { channels, origin }
            }
            Endpoint::Poll(channel) => {
                let tag = request.only("If-None-Match")?.map(query::tag).transpose()?;
                let start = tag.map_or_else(|| query.start(), |tag| Ok(Start::Since(tag)))?;
                let (timeout, close) = (query.timeout()?, request.is_last());
                Route::Poll(Poll { channel, start, tag, timeout, origin, close })
            }
            Endpoint::Echo => Route::Echo,
            Endpoint::ClientModule => Route::ClientModule { known: request.only("If-None-Match")? },
        })
    }
}

/// The authority, if the target is in absolute form (RFC 9112 §3.2.2), the path, and the query.
fn split_target(target: &str) -> (Option<&str>, &str, &str) {
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let path = rest.find('/').unwrap_or(rest.len());
            (Some(&rest[..path]), &rest[path..], query)
        }
        _ => (None, target, query),
    }
}

/// The origins whose pages may connect, besides those of the server's own host.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Origins {
    any: bool,
    listed: Vec<String>,
    /// The names that the server has; `None` where it is believed to have whatever it is called.
    hosts: Option<Vec<String>>,
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

    /// The same, of a server that has these names besides `localhost` and its addresses. Pages of a name
    /// that anyone may point here (DNS rebinding) are then not taken for its own.
    pub fn known_as(self, hosts: &[String]) -> Self {
        Origins { hosts: Some(hosts.to_vec()), ..self }
    }

    /// What was listed, `*` first.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.any.then_some("*").into_iter().chain(self.listed.iter().map(String::as_str))
    }

    /// Whether the server has this name.
    fn is_host(&self, name: &str) -> bool {
        let bare = name.trim_matches(['[', ']']);
        let is_known = |hosts: &Vec<String>| hosts.iter().any(|it| it.eq_ignore_ascii_case(name));
        bare.parse::<IpAddr>().is_ok()
            || is_loopback(name)
            || self.hosts.as_ref().is_none_or(is_known)
    }

    /// Whether it was listed, or any is.
    pub fn lists(&self, origin: &str) -> bool {
        self.any || self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
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
            (same && self.is_host(server)) || (is_loopback(page) && is_loopback(server))
        });
        own || self.lists(origin)
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
