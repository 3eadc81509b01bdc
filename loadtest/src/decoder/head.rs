//! The answer to the handshake: whether it grants what was asked, and how the body comes.
//!
//! Interim answers (1xx but 101) are skipped. A refusal in plain text of a known length is read to
//! the end of its reason; any other refusal is told as soon as its head is there.

use std::str;

use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::{
    Begun, Fault, HEAD_BYTES_MAX, HEADERS_MAX, MESSAGE_BYTES_MAX, Message, REASON_BYTES_MAX, Told,
    Transport, request::ACCEPT,
};

/// The head of an answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    rest: Option<Box<Rest>>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) enum Answer {
    Frames(Grant),
    Events {
        chunked: bool,
        grant: Grant,
    },
    /// Messages of `stentor.v1`, which grant the subscription later.
    Said,
    /// The answer to a long-poll, of this length.
    Object {
        length: usize,
    },
    /// A long-poll timed out.
    Unchanged,
    Refused(Refusal),
}

/// Where a subscription begins, if the head says so.
#[derive(Debug)]
pub(super) struct Grant {
    position: Option<String>,
    recovered: Option<bool>,
    /// From and to.
    gap: Option<(String, String)>,
}

impl Grant {
    fn of(headers: &[Header<'_>]) -> Result<Grant, Fault> {
        let text = |name| {
            let found = value(headers, name);
            let found =
                found.map(|value| str::from_utf8(value).map_err(|_| Fault::PositionHeaders));
            found.transpose()
        };
        let recovered = match text("Stentor-Recovered")? {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Fault::PositionHeaders),
        };
        let gap =
            text("Stentor-Gap")?.map(|gap| gap.split_once("..").ok_or(Fault::PositionHeaders));
        let gap = gap.transpose()?.map(|(from, to)| (from.to_owned(), to.to_owned()));
        let position = text("Stentor-Position")?.map(str::to_owned);
        Ok(Grant { position, recovered, gap })
    }

    pub(super) fn tell(&self, told: &mut Told<'_>) {
        let Grant { position, recovered, .. } = self;
        told(Message::Established(Begun { position: position.as_deref(), recovered: *recovered }));
    }

    /// The gap that the head announces. An event stream announces it once more, as an event.
    pub(super) fn tell_gap(&self, told: &mut Told<'_>) {
        if let Some((from, to)) = &self.gap {
            told(Message::Gap { from, to });
        }
    }
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
        (Transport::WebSocket, 101) => {
            upgraded(headers)?;
            Ok(Some(Answer::Frames(Grant::of(headers)?)))
        }
        (Transport::V1, 101) => {
            upgraded(headers)?;
            match value(headers, "Sec-WebSocket-Protocol") {
                Some(SUBPROTOCOL) => Ok(Some(Answer::Said)),
                _ => Err(Fault::SubprotocolMissing),
            }
        }
        (Transport::Sse, 200) => event_stream(headers).map(Some),
        (Transport::Poll, 200) => object(headers).map(Some),
        (Transport::Poll, 304) => Ok(Some(Answer::Unchanged)),
        (_, 100 | 102..=199) => Ok(None),
        (_, status) => {
            let phrase = response.reason.unwrap_or("");
            Ok(Some(Answer::Refused(Refusal::new(status, phrase, headers))))
        }
    }
}

fn upgraded(headers: &[Header<'_>]) -> Result<(), Fault> {
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
    Ok(())
}

fn event_stream(headers: &[Header<'_>]) -> Result<Answer, Fault> {
    if !is_of_type(headers, "text/event-stream") {
        return Err(Fault::NotAnEventStream);
    }
    is_uncoded(headers)?;
    let chunked = match value(headers, "Transfer-Encoding") {
        None => false,
        Some(coding) if is_token(coding, "chunked") => true,
        Some(_) => return Err(Fault::TransferCoding),
    };
    Ok(Answer::Events { chunked, grant: Grant::of(headers)? })
}

fn object(headers: &[Header<'_>]) -> Result<Answer, Fault> {
    if !is_of_type(headers, "application/json") {
        return Err(Fault::NotAnObject);
    }
    is_uncoded(headers)?;
    let length = number(headers, "Content-Length").ok_or(Fault::LengthMissing)? as usize;
    match length {
        0 => Err(Fault::MalformedObject("it is empty".into())),
        1..=MESSAGE_BYTES_MAX => Ok(Answer::Object { length }),
        _ => Err(Fault::MessageTooLarge),
    }
}

fn is_of_type(headers: &[Header<'_>], wanted: &str) -> bool {
    let found = value(headers, "Content-Type").and_then(|value| value.split(is(b';')).next());
    found.is_some_and(|found| is_token(found, wanted))
}

fn is_uncoded(headers: &[Header<'_>]) -> Result<(), Fault> {
    let coding = value(headers, "Content-Encoding").unwrap_or(b"identity");
    if is_token(coding, "identity") { Ok(()) } else { Err(Fault::ContentCoded) }
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
pub(super) fn one_line(reason: &str) -> String {
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

/// What we offer, and a server that takes it names.
const SUBPROTOCOL: &[u8] = b"stentor.v1";

#[cfg(test)]
mod tests;
