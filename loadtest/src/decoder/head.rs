//! The answer to the handshake: whether it grants what was asked, and how the body comes.
//!
//! Interim answers (1xx but 101) are skipped. A refusal in plain text of a known length is read to
//! the end of its reason; any other refusal is told as soon as its head is there.

use std::str;

use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::{Fault, HEAD_BYTES_MAX, HEADERS_MAX, REASON_BYTES_MAX, Transport, request::ACCEPT};

/// The head of an answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    rest: Option<Box<Rest>>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) enum Answer {
    Frames,
    Events { chunked: bool },
    Refused(Refusal),
}

impl Head {
    /// Takes the bytes of the answer to a request for this transport. `None` means that more are needed, or another head.
    pub(super) fn feed(
        &mut self,
        transport: Transport,
        bytes: &mut &[u8],
    ) -> Result<Option<Answer>, Fault> {
        let read_before = self.rest.as_ref().map_or(0, |rest| rest.bytes.len());
        let room = (HEAD_BYTES_MAX - read_before).min(bytes.len());
        if let Some(rest) = &mut self.rest {
            rest.bytes.extend_from_slice(&bytes[..room]);
        }
        let head = self.rest.as_ref().map_or(&bytes[..room], |rest| &rest.bytes);
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        let Status::Complete(len) = response.parse(head)? else {
            if head.len() == HEAD_BYTES_MAX {
                return Err(Fault::HeadTooLarge);
            }
            self.rest.get_or_insert_with(|| Box::new(Rest { bytes: bytes.to_vec() }));
            *bytes = &[];
            return Ok(None);
        };
        *bytes = &bytes[len - read_before..];
        let answer = answer(transport, &response);
        self.rest = None;
        answer
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.rest.is_none()
    }
}

/// The start of a head.
#[derive(Debug)]
struct Rest {
    bytes: Vec<u8>,
}

/// What a whole head says; `None` if it is an interim one.
fn answer(transport: Transport, response: &Response<'_, '_>) -> Result<Option<Answer>, Fault> {
    let headers = &response.headers[..];
    match (transport, response.code.unwrap_or(0)) {
        (Transport::WebSocket, 101) => upgraded(headers).map(Some),
        (Transport::Sse, 200) => event_stream(headers).map(Some),
        (_, 100 | 102..=199) => Ok(None),
        (_, status) => {
            let phrase = response.reason.unwrap_or("");
            Ok(Some(Answer::Refused(Refusal::new(status, phrase, headers))))
        }
    }
}

fn upgraded(headers: &[Header<'_>]) -> Result<Answer, Fault> {
    if !has_token(headers, "Upgrade", "websocket") {
        return Err(Fault::UpgradeMissing);
    }
    if !has_token(headers, "Connection", "upgrade") {
        return Err(Fault::ConnectionMissing);
    }
    if value(headers, "Sec-WebSocket-Accept") != Some(ACCEPT) {
        return Err(Fault::WrongAccept);
    }
    if value(headers, "Sec-WebSocket-Extensions").is_some() {
        return Err(Fault::ExtensionNotOffered);
    }
    Ok(Answer::Frames)
}

fn event_stream(headers: &[Header<'_>]) -> Result<Answer, Fault> {
    let media_type = value(headers, "Content-Type").and_then(|value| value.split(is(b';')).next());
    if !media_type.is_some_and(|found| is_token(found, "text/event-stream")) {
        return Err(Fault::NotAnEventStream);
    }
    let content_coding = value(headers, "Content-Encoding").unwrap_or(b"identity");
    if !is_token(content_coding, "identity") {
        return Err(Fault::ContentCoded);
    }
    match value(headers, "Transfer-Encoding") {
        None => Ok(Answer::Events { chunked: false }),
        Some(coding) if is_token(coding, "chunked") => Ok(Answer::Events { chunked: true }),
        Some(_) => Err(Fault::TransferCoding),
    }
}

/// A refusal whose reason has yet to come.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    retry_after: Option<u32>,
    phrase: String,
    body: Vec<u8>,
    /// Bytes of the body that are read before the refusal is told.
    body_len: usize,
}

impl Refusal {
    fn new(status: u16, phrase: &str, headers: &[Header<'_>]) -> Refusal {
        let media_type = value(headers, "Content-Type").unwrap_or(b"");
        let is_plain = media_type.split(is(b';')).next().is_some_and(|t| is_token(t, "text/plain"));
        let length = number(headers, "Content-Length").filter(|_| is_plain).unwrap_or(0);
        Refusal {
            status,
            retry_after: number(headers, "Retry-After"),
            phrase: one_line(phrase),
            body: Vec::new(),
            body_len: REASON_BYTES_MAX.min(length as usize),
        }
    }

    /// The refusal as a fault, unless there is more to read of it.
    pub(super) fn unless_complete(self) -> Result<Refusal, Fault> {
        if self.body.len() < self.body_len { Ok(self) } else { Err(self.fault()) }
    }

    /// Takes bytes of the reason; fails when it is complete.
    pub(super) fn feed(&mut self, bytes: &mut &[u8]) -> Result<(), Fault> {
        let len = bytes.len().min(self.body_len - self.body.len());
        self.body.extend_from_slice(&bytes[..len]);
        *bytes = &bytes[len..];
        if self.body.len() == self.body_len { Err(self.fault()) } else { Ok(()) }
    }

    fn fault(&self) -> Fault {
        let body = String::from_utf8_lossy(&self.body);
        let said = if body.trim().is_empty() { &self.phrase } else { &*body };
        Fault::Refused {
            status: self.status,
            retry_after: self.retry_after,
            reason: one_line(said),
        }
    }
}

/// The start of a reason, as one line that is safe to show on a terminal.
fn one_line(reason: &str) -> String {
    let shown = reason.trim().chars().take(REASON_BYTES_MAX);
    shown.map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn number(headers: &[Header<'_>], name: &str) -> Option<u32> {
    str::from_utf8(value(headers, name)?).ok()?.trim().parse().ok()
}

/// The value of the first header of this name, without the spaces around it.
fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(found.value.trim_ascii())
}

/// Whether a header that is a list has this token, in any of its lines (RFC 9110 §5.6.1).
fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    let lines = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    lines.flat_map(|header| header.value.split(is(b','))).any(|found| is_token(found, token))
}

fn is_token(found: &[u8], token: &str) -> bool {
    found.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
}

fn is(separator: u8) -> impl Fn(&u8) -> bool {
    move |&byte| byte == separator
}

#[cfg(test)]
mod tests;
