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
    request::{close, pong, request},
};

/// The longest head of an answer. Servers in use stay below 1 KiB.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest message or event data, fragments and lines together.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a refusal's body that are read for its reason.
pub const REASON_BYTES_MAX: usize = 200;
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
}

/// What bytes have completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The answer to the handshake grants what was asked.
    Established,
    /// A whole text or binary message, or the data of one event.
    Publication(&'a [u8]),
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
        })
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
                Stage::Events(events) => {
                    events.feed(&mut bytes, told)?;
                    None
                }
                Stage::AskedFrames(head) => {
                    let answer = head.feed(Transport::WebSocket, &mut bytes)?;
                    answer.map(|answer| Stage::after(answer, told)).transpose()?
                }
                Stage::AskedEvents(head) => {
                    let answer = head.feed(Transport::Sse, &mut bytes)?;
                    answer.map(|answer| Stage::after(answer, told)).transpose()?
                }
                Stage::Refused(refusal) => {
                    refusal.feed(&mut bytes)?;
                    None
                }
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
            Stage::AskedFrames(head) | Stage::AskedEvents(head) => head.owns_nothing(),
            Stage::Frames(frames) => frames.owns_nothing(),
            Stage::Events(events) => events.owns_nothing(),
            Stage::Refused(_) => false,
            Stage::Closed | Stage::Dead => true,
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
    /// Reads on for the reason.
    Refused(Box<Refusal>),
    Frames(Frames),
    Events(Events),
    /// The close frame has come.
    Closed,
    Dead,
}

impl Stage {
    fn after(answer: Answer, told: &mut Told<'_>) -> Result<Stage, Fault> {
        let granted = match answer {
            Answer::Frames => Stage::Frames(Frames::default()),
            Answer::Events { chunked } => Stage::Events(Events::new(chunked)),
            Answer::Refused(refusal) => {
                return Ok(Stage::Refused(Box::new(refusal.unless_complete()?)));
            }
        };
        told(Message::Established);
        Ok(granted)
    }
}

/// Who is told.
type Told<'a> = dyn FnMut(Message<'_>) + 'a;

impl Display for Transport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::WebSocket => "ws",
            Transport::Sse => "sse",
        })
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Transport, UnknownTransport> {
        match name {
            "ws" | "websocket" => Ok(Transport::WebSocket),
            "sse" => Ok(Transport::Sse),
            _ => Err(UnknownTransport(name.into())),
        }
    }
}

mod chunks;
mod events;
mod fault;
mod frames;
mod head;
mod request;

#[cfg(test)]
mod tests;
