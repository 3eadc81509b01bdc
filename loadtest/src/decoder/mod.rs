//! What a subscriber reads, taken apart: the answer to its handshake, then publications.
//!
//! This is a second reading of RFC 6455, RFC 9112 and the HTML standard (§9.2). It shares no code
//! with any server, so that what a server writes wrongly is not read wrongly in the same way, and
//! it is strict: what the standards forbid is a [`Fault`] that names the rule.
//!
//! Promises: however the bytes are cut into feeds, the messages and the fault are the same. Whole
//! frames and whole events are told as slices of the bytes fed, without a copy (an event of several
//! data lines is the exception: its lines are joined). A stream owns heap memory only while a head,
//! a frame, a message or an event is half read, only for bytes that have come, and at most a few
//! times [`MESSAGE_BYTES_MAX`].
//!
//! Left to others: reading sockets, answering pings, what the end of a connection means and whether
//! a publication is the right one.
#![forbid(unsafe_code)]

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use self::{
    events::Events,
    frames::Frames,
    head::{Answer, Head, Refusal},
};
pub use self::{
    fault::{Fault, UnknownTransport},
    request::{close, poll, pong, request},
};

/// The longest head of an answer. Servers in use stay below 1 KiB.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest message or event data, fragments and lines together.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a refusal's body that are read for its reason.
pub const REASON_BYTES_MAX: usize = 200;
/// The longest position that a subscriber keeps to resume from. Stentor's have at most 37 bytes.
pub const POSITION_BYTES_MAX: usize = 128;
/// Headers of an answer. More of them are a fault.
pub const HEADERS_MAX: usize = 64;
/// The longest payload of a ping, a pong or a close (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// The longest line of an event stream: a full message, its field name and a byte order mark.
pub const LINE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + b"\xef\xbb\xbfdata: ".len();

/// How publications reach a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// RFC 6455, a publication is a message.
    #[serde(rename = "ws", alias = "websocket")]
    WebSocket,
    /// Server-sent events, a publication is an event.
    #[serde(rename = "sse")]
    Sse,
    /// Long-polls over one kept connection, an answer has any number of publications.
    #[serde(rename = "poll")]
    Poll,
    /// RFC 6455 with Stentor's subprotocol `stentor.v1`, a publication is an object in JSON.
    #[serde(rename = "v1")]
    V1,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Transport; 4] =
        [Transport::WebSocket, Transport::Sse, Transport::Poll, Transport::V1];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "ws",
            Transport::Sse => "sse",
            Transport::Poll => "poll",
            Transport::V1 => "v1",
        }
    }

    /// Whether publications come with positions, from which a subscriber can resume.
    pub fn has_positions(self) -> bool {
        self != Transport::WebSocket
    }

    /// The scheme of its URLs, by TLS or without it.
    pub fn scheme(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Transport::WebSocket | Transport::V1, false) => "ws",
            (Transport::WebSocket | Transport::V1, true) => "wss",
            (Transport::Sse | Transport::Poll, false) => "http",
            (Transport::Sse | Transport::Poll, true) => "https",
        }
    }
}

/// How a subscription began, as far as the server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun<'a> {
    /// What is published behind this position is delivered.
    pub position: Option<&'a str>,
    /// Whether all is delivered that was published since the position that was asked for.
    pub recovered: Option<bool>,
}

/// What bytes have completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// What was asked is granted.
    Established(Begun<'a>),
    /// A whole publication.
    Publication {
        /// A text or binary message, the data of one event, or that of an object in JSON.
        payload: &'a [u8],
        /// Its position, where the transport tells it.
        id: Option<&'a str>,
    },
    /// A later session would resume from here: an id without data.
    Position(&'a str),
    /// Publications that will not come: those behind `from`, up to and with `to`.
    Gap {
        /// The last position before them.
        from: &'a str,
        /// The position of the last of them.
        to: &'a str,
    },
    /// A long-poll's answer has ended: the connection is free for the next request, which is to
    /// begin at this position, or where this one began.
    Answered {
        /// Behind all that the answer had.
        position: Option<&'a str>,
    },
    /// A WebSocket ping, to be answered with [`pong`].
    Ping(&'a [u8]),
    /// The peer has ended the stream: a close frame, or the last chunk of a chunked body.
    Closed {
        /// The code of the close frame, if it has one.
        code: Option<u16>,
        /// The reason of the close frame; empty if it is not UTF-8.
        reason: &'a str,
    },
}

/// One connection's inbound stream.
///
/// 16 bytes, so that a million idle ones take 16 MB.
#[derive(Debug)]
pub struct Stream(Stage);

impl Stream {
    /// A stream of which nothing has been read.
    pub fn new(transport: Transport) -> Stream {
        Stream(match transport {
            Transport::WebSocket => Stage::AskedFrames(Head::default()),
            Transport::Sse => Stage::AskedEvents(Head::default()),
            Transport::Poll => Stage::AskedObject(Head::default()),
            Transport::V1 => Stage::AskedSaid(Head::default()),
        })
    }

    /// A long-poll was asked for once more.
    pub fn ask_again(&mut self) {
        if matches!(self.0, Stage::Answered) {
            self.0 = Stage::AskedNext(Head::default());
        }
    }

    /// Takes bytes in and tells what they complete, in order. After an error the stream is dead.
    pub fn feed(&mut self, bytes: &[u8], told: &mut dyn FnMut(Message<'_>)) -> Result<(), Fault> {
        let outcome = self.advance(bytes, told);
        if outcome.is_err() {
            self.0 = Stage::Dead;
        }
        outcome
    }

    fn advance(&mut self, mut bytes: &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let next = match &mut self.0 {
                Stage::Frames(frames) => frames.feed(&mut bytes, told)?.then_some(Stage::Closed),
                Stage::Said(frames) => said(frames, &mut bytes, told)?.then_some(Stage::Closed),
                Stage::Events(events) => {
                    events.feed(&mut bytes, told)?;
                    None
                }
                Stage::Object(object) => object.feed(&mut bytes, told)?.then_some(Stage::Answered),
                Stage::AskedFrames(head) => {
                    after(head, Transport::WebSocket, false, &mut bytes, told)?
                }
                Stage::AskedEvents(head) => after(head, Transport::Sse, false, &mut bytes, told)?,
                Stage::AskedSaid(head) => after(head, Transport::V1, false, &mut bytes, told)?,
                Stage::AskedObject(head) => after(head, Transport::Poll, true, &mut bytes, told)?,
                Stage::AskedNext(head) => after(head, Transport::Poll, false, &mut bytes, told)?,
                Stage::Refused(refusal) => {
                    refusal.feed(&mut bytes)?;
                    None
                }
                Stage::Answered => return Err(Fault::AfterAnswer),
                Stage::Closed => return Err(Fault::AfterClose),
                Stage::Dead => return Err(Fault::AfterFault),
            };
            if let Some(next) = next {
                self.0 = next;
            }
        }
        Ok(())
    }

    /// Whether it owns no heap memory.
    #[cfg(test)]
    fn owns_nothing(&self) -> bool {
        match &self.0 {
            Stage::AskedFrames(head)
            | Stage::AskedEvents(head)
            | Stage::AskedSaid(head)
            | Stage::AskedObject(head)
            | Stage::AskedNext(head) => head.owns_nothing(),
            Stage::Frames(frames) | Stage::Said(frames) => frames.owns_nothing(),
            Stage::Events(events) => events.owns_nothing(),
            Stage::Refused(_) | Stage::Object(_) => false,
            Stage::Answered | Stage::Closed | Stage::Dead => true,
        }
    }
}

/// Where in its life a stream is.
///
/// The transport that was asked for is in the variant, so that every variant but one is a pointer
/// and the whole takes 16 bytes.
#[derive(Debug)]
enum Stage {
    AskedFrames(Head),
    AskedEvents(Head),
    AskedSaid(Head),
    /// The first poll, whose answer grants the subscription.
    AskedObject(Head),
    AskedNext(Head),
    /// Reads on for the reason.
    Refused(Box<Refusal>),
    Frames(Frames),
    /// Frames of `stentor.v1`.
    Said(Frames),
    Events(Events),
    /// The body of a poll's answer.
    Object(Box<Object>),
    /// A poll's answer has come, and the next is not asked for.
    Answered,
    /// The close frame has come.
    Closed,
    Dead,
}

/// Reads on in a head. Returns the stage after it, if it is whole.
fn after(
    head: &mut Head,
    transport: Transport,
    is_first: bool,
    bytes: &mut &[u8],
    told: &mut Told<'_>,
) -> Result<Option<Stage>, Fault> {
    let Some(answer) = head.feed(transport, bytes)? else { return Ok(None) };
    Ok(Some(match answer {
        Answer::Frames(grant) => {
            grant.tell(told);
            grant.tell_gap(told);
            Stage::Frames(Frames::default())
        }
        Answer::Events { chunked, grant } => {
            grant.tell(told);
            Stage::Events(Events::new(chunked))
        }
        Answer::Said => Stage::Said(Frames::default()),
        Answer::Object { length } => {
            Stage::Object(Box::new(Object { is_first, length, body: Vec::new() }))
        }
        Answer::Unchanged if is_first => return Err(Fault::UnchangedFirst),
        Answer::Unchanged => {
            told(Message::Answered { position: None });
            Stage::Answered
        }
        Answer::Refused(refusal) => Stage::Refused(Box::new(refusal.unless_complete()?)),
    }))
}

/// Takes frames of `stentor.v1`. Says whether the close frame has come.
fn said(frames: &mut Frames, bytes: &mut &[u8], told: &mut Told<'_>) -> Result<bool, Fault> {
    let mut fault = None;
    let mut on_message = |message: Message<'_>| match message {
        // The stream ends with its first fault, however much has come in one piece.
        _ if fault.is_some() => {}
        Message::Publication { payload, .. } => fault = objects::tell_said(payload, told).err(),
        other => told(other),
    };
    let outcome = frames.feed(bytes, &mut on_message);
    fault.map_or(outcome, Err)
}

/// The body of a poll's answer, as far as it has come.
#[derive(Debug)]
struct Object {
    is_first: bool,
    length: usize,
    body: Vec<u8>,
}

impl Object {
    /// Takes bytes of the body, and tells what it says when it is whole. Says whether it is.
    fn feed(&mut self, bytes: &mut &[u8], told: &mut Told<'_>) -> Result<bool, Fault> {
        let wanted = self.length - self.body.len();
        let (piece, after) = bytes.split_at(bytes.len().min(wanted));
        *bytes = after;
        if piece.len() < wanted {
            self.body.extend_from_slice(piece);
            return Ok(false);
        }
        if self.body.is_empty() {
            objects::tell_answer(piece, self.is_first, told)?;
        } else {
            self.body.extend_from_slice(piece);
            objects::tell_answer(&self.body, self.is_first, told)?;
        }
        Ok(true)
    }
}

/// Who is told.
type Told<'a> = dyn FnMut(Message<'_>) + 'a;

impl Display for Transport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Transport, UnknownTransport> {
        let name = if name == "websocket" { "ws" } else { name };
        let found = Transport::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| UnknownTransport(name.into()))
    }
}

mod chunks;
mod events;
mod fault;
mod frames;
mod head;
mod objects;
mod request;

#[cfg(test)]
mod tests;
