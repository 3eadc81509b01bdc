//! Decodes what a client sends, wherever the reads may cut it (RFC 6455 §5 to §8).
//!
//! A fault is found as soon as it can be: sizes and kinds from the header, text from its first byte
//! that cannot be UTF-8. After a fault the decoder is done; the connection is to be failed (§7.1.7).
//!
//! Invariant: between frames, and outside a fragmented message, a decoder owns no memory.

use std::{fmt, io::Cursor, str};

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::CONTROL_PAYLOAD_MAX;
use crate::{close::CloseReason, frame::PayloadKind};

/// The state between two reads of one client's frames.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether messages are wanted. If not, a data frame is refused at its header.
    pub messages: bool,
    /// Bytes of payload in the largest frame.
    pub frame_max: usize,
    /// Bytes in the largest message, over all its frames.
    pub message_max: usize,
}

/// What a client has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To be answered with a pong that carries the same payload (§5.5.2).
    Ping(ControlPayload),
    /// The answer to a ping, or unasked; either way the client is alive (§5.5.3).
    Pong(ControlPayload),
    /// The client ends the conversation, perhaps with a code (§5.5.1). Nothing follows.
    Close(Option<u16>),
    /// A frame that is part of a message, and not its last (§5.4).
    Fragment,
    /// A whole message, reassembled from its frames (§5.6).
    Message(PayloadKind, Vec<u8>),
}

/// What a client did wrong. The text is short enough to be the reason of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// §5.1.
    #[error("frames from a client must be masked")]
    NotMasked,
    /// §5.2.
    #[error("a reserved bit is set and no extension was negotiated")]
    ReservedBit,
    /// §5.2.
    #[error("the opcode is reserved")]
    ReservedOpcode,
    /// §5.2.
    #[error("the length is not written in the fewest bytes")]
    LengthForm,
    /// §5.5.
    #[error("a control frame may have 125 bytes at most")]
    ControlTooLong,
    /// §5.5.
    #[error("a control frame may not be fragmented")]
    ControlFragmented,
    /// §5.4.
    #[error("there is no message to continue")]
    NothingToContinue,
    /// §5.4.
    #[error("a message began before the last one ended")]
    MessageUnfinished,
    /// §5.5.1.
    #[error("a close frame carries nothing, or a code and a reason")]
    ClosePayload,
    /// §7.4.
    #[error("the close code may not be sent")]
    CloseCode,
    /// §8.1.
    #[error("text must be UTF-8")]
    NotUtf8,
    /// §10.4.
    #[error("the frame is larger than this server takes")]
    FrameTooBig,
    /// §10.4.
    #[error("the message is larger than this server takes")]
    MessageTooBig,
    /// [`Limits::messages`] is off.
    #[error("this endpoint takes no messages")]
    MessageNotWanted,
}

impl Fault {
    /// What it means for the connection.
    pub fn reason(self) -> CloseReason {
        match self {
            Fault::NotUtf8 => CloseReason::BadUtf8,
            Fault::FrameTooBig | Fault::MessageTooBig => CloseReason::MessageTooBig,
            Fault::MessageNotWanted => CloseReason::Policy,
            _ => CloseReason::ProtocolError,
        }
    }
}

impl Decoder {
    /// Takes bytes off `input` until they make an event; `None` when all of them are taken.
    pub fn next(&mut self, input: &mut &[u8], limits: &Limits) -> Result<Option<Event>, Fault> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut partial = self.partial.take().unwrap_or_default();
        let event = partial.advance(input, limits)?;
        if !partial.is_empty() {
            self.partial = Some(partial);
        }
        Ok(event)
    }

    /// Bytes of a message that is not whole.
    pub fn kept_bytes(&self) -> usize {
        let message = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        message.map_or(0, |message| message.bytes.len())
    }

    /// Whether a message has begun, of which other frames will follow.
    pub fn is_within_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.message.is_some())
    }

    /// Whether nothing is pending, and so no memory is owned.
    pub fn is_between_frames(&self) -> bool {
        self.partial.is_none()
    }
}

/// What has come of a frame that is not complete, and of the message that it may belong to.
#[derive(Debug, Default)]
struct Partial {
    head: [u8; HEAD_MAX],
    head_len: usize,
    frame: Option<Frame>,
    control: ControlPayload,
    message: Option<Message>,
}

/// A frame whose header has come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// The masking key, turned so that it starts with the byte for the next byte of payload.
    mask: [u8; 4],
    payload_left: usize,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn advance(&mut self, input: &mut &[u8], limits: &Limits) -> Result<Option<Event>, Fault> {
        let frame = match self.frame {
            Some(frame) => frame,
            None => match self.read_head(input)? {
                Some((header, payload_len)) => self.begin(&header, payload_len, limits)?,
                None => return Ok(None),
            },
        };
        let frame = self.read_payload(frame, input)?;
        if frame.payload_left > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        self.frame = None;
        self.end(frame).map(Some)
    }

    /// Collects a header and checks its form. `None` while it is incomplete.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<Option<(FrameHeader, u64)>, Fault> {
        let before = self.head_len;
        let taken = input.len().min(HEAD_MAX - before);
        self.head[before..before + taken].copy_from_slice(&input[..taken]);
        self.head_len += taken;

        let mut cursor = Cursor::new(&self.head[..self.head_len]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Fault::ReservedOpcode)?;
        let Some((header, payload_len)) = parsed else {
            *input = &input[taken..];
            return Ok(None);
        };
        let head_len = cursor.position() as usize;
        *input = &input[head_len - before..];
        self.head_len = 0;
        if payload_len >> 63 != 0 || header.len(payload_len) != head_len {
            return Err(Fault::LengthForm);
        }
        Ok(Some((header, payload_len)))
    }

    /// Decides from a frame's header whether the frame may come.
    fn begin(
        &mut self,
        header: &FrameHeader,
        payload_len: u64,
        limits: &Limits,
    ) -> Result<Frame, Fault> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Fault::ReservedBit);
        }
        let mask = header.mask.ok_or(Fault::NotMasked)?;
        let payload_left = usize::try_from(payload_len).map_err(|_| Fault::FrameTooBig)?;
        match header.opcode {
            OpCode::Control(_) => self.begin_control(header.is_final, payload_left)?,
            OpCode::Data(data) => self.begin_data(data, payload_left, limits)?,
        }
        Ok(Frame { opcode: header.opcode, is_final: header.is_final, mask, payload_left })
    }

    fn begin_control(&mut self, is_final: bool, payload_len: usize) -> Result<(), Fault> {
        if !is_final {
            return Err(Fault::ControlFragmented);
        }
        if payload_len > CONTROL_PAYLOAD_MAX {
            return Err(Fault::ControlTooLong);
        }
        self.control = ControlPayload::default();
        Ok(())
    }

    fn begin_data(&mut self, data: Data, len: usize, limits: &Limits) -> Result<(), Fault> {
        match (data, &self.message) {
            (Data::Continue, None) => return Err(Fault::NothingToContinue),
            (Data::Text | Data::Binary, Some(_)) => return Err(Fault::MessageUnfinished),
            _ if len > limits.frame_max => return Err(Fault::FrameTooBig),
            _ if !limits.messages => return Err(Fault::MessageNotWanted),
            (Data::Text, None) => self.message = Some(Message::new(PayloadKind::Text)),
            (Data::Binary, None) => self.message = Some(Message::new(PayloadKind::Binary)),
            (Data::Continue, Some(_)) => {}
            (Data::Reserved(_), _) => return Err(Fault::ReservedOpcode),
        }
        let before = self.message.as_ref().map_or(0, |message| message.bytes.len());
        if len > limits.message_max.saturating_sub(before) {
            return Err(Fault::MessageTooBig);
        }
        Ok(())
    }

    /// Takes what has come of the payload.
    fn read_payload(&mut self, mut frame: Frame, input: &mut &[u8]) -> Result<Frame, Fault> {
        let (payload, rest) = input.split_at(input.len().min(frame.payload_left));
        *input = rest;
        match (frame.opcode, &mut self.message) {
            (OpCode::Data(_), Some(message)) => message.extend(payload, frame.mask)?,
            _ => self.control.extend(payload, frame.mask),
        }
        frame.payload_left -= payload.len();
        frame.mask.rotate_left(payload.len() % 4);
        Ok(frame)
    }

    /// What a complete frame says.
    fn end(&mut self, frame: Frame) -> Result<Event, Fault> {
        match (frame.opcode, frame.is_final) {
            (OpCode::Control(Control::Ping), _) => Ok(Event::Ping(self.control)),
            (OpCode::Control(Control::Close), _) => Ok(Event::Close(self.control.close_code()?)),
            (OpCode::Control(_), _) => Ok(Event::Pong(self.control)),
            (OpCode::Data(_), false) => Ok(Event::Fragment),
            // A data frame without a message was refused at its head.
            (OpCode::Data(_), true) => {
                self.message.take().map_or(Ok(Event::Fragment), Message::finish)
            }
        }
    }
}

/// A message whose last frame has yet to end.
#[derive(Debug)]
struct Message {
    kind: PayloadKind,
    bytes: Vec<u8>,
    /// Of a text, the bytes that are known to be whole characters.
    checked: usize,
}

impl Message {
    fn new(kind: PayloadKind) -> Self {
        Message { kind, bytes: Vec::new(), checked: 0 }
    }

    /// Grows by what has come, never by what a header promises.
    fn extend(&mut self, masked: &[u8], mask: [u8; 4]) -> Result<(), Fault> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(masked);
        unmask(&mut self.bytes[start..], mask);
        if self.kind == PayloadKind::Text {
            self.check_text()?;
        }
        Ok(())
    }

    /// A character may be cut by a frame or a read, so an incomplete one at the end is well so far.
    fn check_text(&mut self) -> Result<(), Fault> {
        match str::from_utf8(&self.bytes[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Fault::NotUtf8),
        }
        Ok(())
    }

    fn finish(self) -> Result<Event, Fault> {
        if self.kind == PayloadKind::Text && self.checked < self.bytes.len() {
            return Err(Fault::NotUtf8);
        }
        Ok(Event::Message(self.kind, self.bytes))
    }
}

/// The payload of a control frame: at most [`CONTROL_PAYLOAD_MAX`] bytes, held in place.
#[derive(Clone, Copy)]
pub struct ControlPayload {
    bytes: [u8; CONTROL_PAYLOAD_MAX],
    len: u8,
}

impl ControlPayload {
    /// The payload, unmasked.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Appends; the frame's header has been checked, so there is room.
    fn extend(&mut self, masked: &[u8], mask: [u8; 4]) {
        let start = usize::from(self.len);
        let part = &mut self.bytes[start..start + masked.len()];
        part.copy_from_slice(masked);
        unmask(part, mask);
        self.len += masked.len() as u8;
    }

    /// As the payload of a close frame: its code, the code and the reason checked (§5.5.1).
    fn close_code(&self) -> Result<Option<u16>, Fault> {
        match self.as_bytes() {
            [] => Ok(None),
            [_] => Err(Fault::ClosePayload),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !may_be_sent(code) {
                    return Err(Fault::CloseCode);
                }
                str::from_utf8(reason).map_err(|_| Fault::NotUtf8)?;
                Ok(Some(code))
            }
        }
    }
}

impl Default for ControlPayload {
    fn default() -> Self {
        ControlPayload { bytes: [0; CONTROL_PAYLOAD_MAX], len: 0 }
    }
}

impl PartialEq for ControlPayload {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ControlPayload {}

impl fmt::Debug for ControlPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().fmt(f)
    }
}

/// The codes of §7.4 that may stand in a frame, with those registered since (1012 to 1014).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Masks or unmasks (§5.3), eight bytes at a time where there are that many.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().expect("eight bytes"));
        word.copy_from_slice(&(masked ^ wide).to_ne_bytes());
    }
    words.into_remainder().iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// Bytes in the longest header: 2, a length of 8, a mask of 4.
const HEAD_MAX: usize = 14;
