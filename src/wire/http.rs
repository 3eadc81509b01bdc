//! Heads of HTTP/1.1 requests, and the small complete answers to those that cannot be served.
//!
//! A head is parsed in place: a [`Request`] borrows the bytes that it came in (RFC 9112 §2 to §5).
//! Every answer says in one line what would have been right, and ends the connection.
//!
//! Left to others: which paths exist ([`route`](super::route)) and what makes a WebSocket
//! ([`handshake`](super::handshake)).

use std::{io::Write, str, time::Duration};

use httparse::{EMPTY_HEADER, Error, Header, Status};

use super::{forwarded::NotForwarded, query::QueryError};
use crate::{ids::NotAChannel, limits::REQUEST_HEADERS_MAX, resume::Begun};

/// The head of one request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method, as it was sent: methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'a str,
    /// The request target, as it was sent (RFC 9112 §3.2).
    pub target: &'a str,
    /// The minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    headers: [Header<'a>; REQUEST_HEADERS_MAX],
    header_count: usize,
}

/// Parses the request head at the start of `buf`; says how many bytes it takes.
///
/// `None` means that the head has yet to end, within `head_max` bytes. What cannot become a request
/// any more is refused at once, so that a peer that speaks something else need not wait.
pub fn parse(buf: &[u8], head_max: usize) -> Result<Option<(Request<'_>, usize)>, HttpError> {
    let mut headers = [EMPTY_HEADER; REQUEST_HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let status = head.parse(buf).map_err(|error| match buf.starts_with(b"PROXY ") {
        true => HttpError::Malformed("no PROXY header is taken of this address; see --trusted"),
        false => error.into(),
    })?;
    let Status::Complete(len) = status else {
        return if buf.len() < head_max {
            Ok(None)
        } else {
            Err(HttpError::HeadTooLarge(head_max))
        };
    };
    if len > head_max {
        return Err(HttpError::HeadTooLarge(head_max));
    }
    if !buf[..len].ends_with(b"\r\n\r\n") {
        return Err(HttpError::Malformed("end the head with CR LF CR LF"));
    }
    let (Some(method), Some(target), Some(minor_version)) = (head.method, head.path, head.version)
    else {
        return Err(HttpError::Malformed("the request line is incomplete"));
    };
    let header_count = head.headers.len();
    Ok(Some((Request { method, target, minor_version, headers, header_count }, len)))
}

impl<'a> Request<'a> {
    /// The value of a header that may be sent at most once, without the spaces around it.
    pub fn only(&self, name: &'static str) -> Result<Option<&'a str>, HttpError> {
        let mut values = self.values(name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        match (str::from_utf8(value), values.next()) {
            (Ok(value), None) => Ok(Some(value.trim())),
            _ => Err(HttpError::BadHeader(name)),
        }
    }

    /// Whether a header that is a comma-separated list has this token, in any case, in any of the
    /// lines that it was sent in (RFC 9110 §5.6.1).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(|&byte| byte == b','));
        tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether a header that is a comma-separated list has exactly this.
    pub fn offers(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(|&byte| byte == b','));
        tokens.any(|found| found.trim_ascii() == token.as_bytes())
    }

    /// What follows this beginning in the first of a comma-separated list that has it.
    pub fn offered(&self, name: &str, beginning: &str) -> Option<&'a str> {
        let mut tokens = self.values(name).flat_map(|value| value.split(|&byte| byte == b','));
        let rest = tokens.find_map(|it| it.trim_ascii().strip_prefix(beginning.as_bytes()))?;
        str::from_utf8(rest).ok()
    }

    /// Whether bytes of a body may follow the head, or the client will send no other request, so
    /// that the connection cannot be used again.
    pub fn is_last(&self) -> bool {
        let has_body = self.values("Content-Length").any(|length| length.trim_ascii() != b"0")
            || self.values("Transfer-Encoding").next().is_some();
        has_body || self.has_token("Connection", "close")
    }

    /// The lines of a header.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.headers[..self.header_count].iter();
        headers.filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }
}

/// Why a request is not served. Its text tells the client what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not a request head of RFC 9112.
    #[error("this is not an HTTP/1.1 request: {0}")]
    Malformed(&'static str),
    /// More bytes in the head than this many.
    #[error("the request head is larger than {0} bytes; send fewer or smaller headers")]
    HeadTooLarge(usize),
    /// More than [`REQUEST_HEADERS_MAX`] headers.
    #[error("the request has more than {REQUEST_HEADERS_MAX} headers; send fewer")]
    TooManyHeaders,
    /// HTTP/1.0, or a version from the future.
    #[error(
        "only HTTP/1.1 is spoken here; a proxy may need telling (nginx: proxy_http_version 1.1)"
    )]
    Version,
    /// No Host header (RFC 9112 §3.2).
    #[error("the request has no Host header; send one")]
    NoHost,
    /// A header that may be sent once was sent again, or it is not text.
    #[error("the header {0} must be sent only once, as plain text")]
    BadHeader(&'static str),
    /// The path names an endpoint, but what follows is not a channel.
    #[error(transparent)]
    Channel(#[from] NotAChannel),
    /// The query, or a header that stands for one, is malformed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A trusted proxy does not say for whom it speaks.
    #[error(transparent)]
    Forwarded(#[from] NotForwarded),
    /// A WebSocket without a channel speaks `stentor.v1`, and this one does not.
    #[error(
        "name a channel, as in /ws/news, or offer Sec-WebSocket-Protocol: stentor.v1 and subscribe"
    )]
    NoSubprotocol,
    /// More channels than one connection may read.
    #[error("a connection may not read so many channels here; name fewer")]
    TooManySubscriptions,
    /// Nothing is served at this path.
    #[error(
        "nothing is here; subscribe at /ws/{{channel}} (WebSocket), /sse/{{channel}} (events) or \
         /poll/{{channel}} (JSON)"
    )]
    NoSuchPath,
    /// The path takes no such method; it takes these.
    #[error("this path takes {0} only")]
    Method(&'static str),
    /// The origin of the page is neither this host nor allowed.
    #[error(
        "pages of this origin may not connect; the server's --allow-origin lists those that may, and \
         --host the names of its own"
    )]
    Origin,
    /// A token is needed, or the one that was shown is not good.
    #[error("a valid token is needed; send it in Authorization: Bearer or as ?token=")]
    Unauthorized,
    /// The token does not grant this, or nobody may.
    #[error("this is not granted")]
    Forbidden,
    /// The token's subject has as many connections as it may.
    #[error("there are as many connections with this token as there may be; close one")]
    TooManyConnections {
        /// When to come back.
        retry_after: Duration,
    },
    /// A WebSocket path was asked for something else.
    #[error("this is a WebSocket endpoint; ask with Connection: Upgrade and Upgrade: websocket")]
    NotAnUpgrade,
    /// `Upgrade: websocket` without `Connection: Upgrade`.
    #[error("Upgrade: websocket came without Connection: Upgrade; a proxy must pass on both")]
    NoConnectionUpgrade,
    /// Another version of the protocol than 13.
    #[error("only version 13 of the WebSocket protocol (RFC 6455) is spoken here")]
    WebSocketVersion,
    /// The key is missing or not the base64 form of 16 bytes.
    #[error("Sec-WebSocket-Key must be 16 random bytes in base64")]
    WebSocketKey,
    /// The request did not come in time.
    #[error("the request head did not arrive in time")]
    Timeout,
    /// There is no room for another subscriber now.
    #[error("the server is full; try again in {} s, or elsewhere", .retry_after.as_secs())]
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// The client's address has, or asks for, more than one address may.
    #[error("too much from your address; try again in {} s", .retry_after.as_secs())]
    AddressLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// The server is going away.
    #[error("the server is going away; connect again in {} s, or elsewhere", .retry_after.as_secs())]
    Draining {
        /// When to come back.
        retry_after: Duration,
    },
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        match error {
            Error::TooManyHeaders => HttpError::TooManyHeaders,
            Error::Version => HttpError::Version,
            Error::HeaderName => HttpError::Malformed("a header's name is not a token"),
            Error::HeaderValue => {
                HttpError::Malformed("a header's value has a byte it may not have")
            }
            Error::NewLine => HttpError::Malformed("end each line with CR LF"),
            Error::Token | Error::Status => HttpError::Malformed("the request line is malformed"),
        }
    }
}

impl HttpError {
    /// The status code and its phrase (RFC 9110 §15, RFC 6585 §5).
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            HttpError::Malformed(_)
            | HttpError::NoHost
            | HttpError::BadHeader(_)
            | HttpError::Channel(_)
            | HttpError::Query(_)
            | HttpError::Forwarded(_)
            | HttpError::NoSubprotocol
            | HttpError::TooManySubscriptions
            | HttpError::NoConnectionUpgrade
            | HttpError::WebSocketKey => (400, "Bad Request"),
            HttpError::Unauthorized => (401, "Unauthorized"),
            HttpError::TooManyConnections { .. } => (429, "Too Many Requests"),
            HttpError::Origin | HttpError::Forbidden => (403, "Forbidden"),
            HttpError::NoSuchPath => (404, "Not Found"),
            HttpError::Method(_) => (405, "Method Not Allowed"),
            HttpError::Timeout => (408, "Request Timeout"),
            HttpError::NotAnUpgrade | HttpError::WebSocketVersion => (426, "Upgrade Required"),
            HttpError::AddressLimited { .. } => (429, "Too Many Requests"),
            HttpError::HeadTooLarge(_) | HttpError::TooManyHeaders => {
                (431, "Request Header Fields Too Large")
            }
            HttpError::Overloaded { .. } | HttpError::Draining { .. } => {
                (503, "Service Unavailable")
            }
            HttpError::Version => (505, "HTTP Version Not Supported"),
        }
    }

    /// Appends the whole answer, after which the connection ends.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_for(None, out);
    }

    /// The same, for a page of another origin that may read it.
    pub fn write_for(&self, origin: Option<&str>, out: &mut Vec<u8>) {
        let (code, phrase) = self.status();
        let body = format!("{self}\n");
        let length = body.len();
        write!(
            out,
            "HTTP/1.1 {code} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: {}\r\n{}{}\r\n{body}",
            self.connection(),
            self.extra_headers(),
            cors_headers(origin)
        )
        .expect("a Vec takes every write");
    }

    /// Upgrade is hop-by-hop, so Connection must name it where it is sent (RFC 9110 §7.8).
    fn connection(&self) -> &'static str {
        match self {
            HttpError::NotAnUpgrade | HttpError::WebSocketVersion => "close, Upgrade",
            _ => "close",
        }
    }

    /// Headers that only some answers carry, each line ended.
    fn extra_headers(&self) -> String {
        match self {
            HttpError::Method(allow) => format!("Allow: {allow}\r\n"),
            HttpError::NotAnUpgrade | HttpError::WebSocketVersion => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".into()
            }
            HttpError::Unauthorized => "WWW-Authenticate: Bearer\r\n".into(),
            HttpError::Overloaded { retry_after }
            | HttpError::Draining { retry_after }
            | HttpError::TooManyConnections { retry_after }
            | HttpError::AddressLimited { retry_after } => {
                format!("Retry-After: {}\r\n", retry_after.as_secs())
            }
            _ => String::new(),
        }
    }
}

/// The headers that let a page of another origin read an answer, each line ended.
pub fn cors_headers(origin: Option<&str>) -> String {
    let allow = |origin| {
        format!(
            "Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n\
             Access-Control-Expose-Headers: ETag, Stentor-Position, Stentor-Recovered, \
             Stentor-Gap\r\n"
        )
    };
    origin.map(allow).unwrap_or_default()
}

/// The headers that say how a subscription begins, each line ended; `asked` where it was to begin
/// behind a position.
pub fn begun_headers(begun: &Begun, asked: bool) -> String {
    let position = format!("Stentor-Position: {}\r\n", begun.position);
    match begun.gap {
        _ if !asked => position,
        None => format!("{position}Stentor-Recovered: true\r\n"),
        Some(gap) => {
            let (from, to) = (gap.from, gap.to);
            format!("{position}Stentor-Recovered: false\r\nStentor-Gap: {from}..{to}\r\n")
        }
    }
}

#[cfg(test)]
mod tests;
