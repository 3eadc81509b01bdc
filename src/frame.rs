//! What a publication is, and the wire formats that it can be encoded in.
//!
//! Vocabulary: imports only `ids`.
#![forbid(unsafe_code)]

use crate::ids::{ChannelName, Position};

/// One message to one channel, as its home shard encodes it: in order, with its position.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// Where it stands in its channel.
    pub position: Position,
    /// What the payload is.
    pub kind: PayloadKind,
    /// In a channel of latest values, what it is the value of; only [`Format::Json`] tells it.
    pub key: Option<&'a str>,
    /// The bytes that the publisher gave.
    pub payload: &'a [u8],
}

/// What a payload is; decides the WebSocket opcode and whether SSE can carry it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
    /// One JSON value in UTF-8, as the publisher said and we have checked. Goes as text.
    Json,
    /// No payload, but word that publications were lost on their way to the channel: those behind
    /// the position that stands here as text, up to and with the position of this one.
    Gap,
}

impl PayloadKind {
    /// Every kind, in the order of their numbers.
    const ALL: [PayloadKind; 4] =
        [PayloadKind::Text, PayloadKind::Binary, PayloadKind::Json, PayloadKind::Gap];

    /// The kind's number: below 4.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number. Panics if there is none.
    pub fn from_code(code: u8) -> Self {
        Self::ALL[usize::from(code)]
    }

    /// Text if the payload is UTF-8, binary if it is not.
    pub fn of(payload: &[u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(_) => PayloadKind::Text,
            Err(_) => PayloadKind::Binary,
        }
    }
}

/// How a publication is laid out on the wire. Each publication is encoded once for every format
/// that its channel's subscribers use, however many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Format {
    /// One unmasked WebSocket frame, the payload as it is (RFC 6455 §5.2).
    WebSocket,
    /// One server-sent event in one chunk of a chunked HTTP/1.1 response (RFC 9112 §7.1).
    Sse,
    /// One unmasked WebSocket text frame with a JSON object: channel, position and payload, as the
    /// subprotocol `stentor.v1` has it. Answers to long-polls are made of the same objects.
    Json,
}

impl Format {
    /// Every format, in the order of their numbers.
    pub const ALL: [Format; 3] = [Format::WebSocket, Format::Sse, Format::Json];

    /// The format's number, for tables with an entry per format.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name used in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Format::WebSocket => "websocket",
            Format::Sse => "sse",
            Format::Json => "json",
        }
    }
}
