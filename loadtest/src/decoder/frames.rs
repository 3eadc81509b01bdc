//! WebSocket frames from a server (RFC 6455 §5), and the messages they make.
//!
//! A frame that came whole is told from the bytes it came in. One that came in part is completed
//! with exactly the bytes that it lacks, so what follows it is told in place again. A declared
//! length reserves no memory: only bytes that have come take any.

use std::{mem, str};

use super::{CONTROL_BYTES_MAX, Fault, MESSAGE_BYTES_MAX, Message, Told};

/// The frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    rest: Option<Box<Rest>>,
}

impl Frames {
    /// Takes frames up to and including the close frame. Says whether that one has come.
    pub(super) fn feed(&mut self, bytes: &mut &[u8], told: &mut Told<'_>) -> Result<bool, Fault> {
        while !bytes.is_empty() {
            let is_closed = if self.rest.as_ref().is_some_and(|rest| !rest.frame.is_empty()) {
                self.complete(bytes, told)?
            } else {
                self.read(bytes, told)?
            };
            if is_closed {
                self.rest = None;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads one frame in place, or keeps the start of it.
    fn read(&mut self, bytes: &mut &[u8], told: &mut Told<'_>) -> Result<bool, Fault> {
        let frame = match self.parse(bytes)? {
            Parsed::Header(header) if header.frame_len() <= bytes.len() => header,
            _ => {
                self.rest.get_or_insert_default().frame = mem::take(bytes).to_vec();
                return Ok(false);
            }
        };
        let payload = &bytes[frame.head_len..frame.frame_len()];
        *bytes = &bytes[frame.frame_len()..];
        self.on_frame(&frame, payload, told)
    }

    /// Adds to the frame that is half read, and reads it if it is whole then.
    fn complete(&mut self, bytes: &mut &[u8], told: &mut Told<'_>) -> Result<bool, Fault> {
        let mut frame = mem::take(&mut self.rest.get_or_insert_default().frame);
        loop {
            let wanted = match self.parse(&frame)? {
                Parsed::Wants(len) => len,
                Parsed::Header(header) if header.frame_len() > frame.len() => header.frame_len(),
                Parsed::Header(header) => {
                    self.rest = self.rest.take().filter(|rest| rest.message.is_some());
                    return self.on_frame(&header, &frame[header.head_len..], told);
                }
            };
            if bytes.is_empty() {
                self.rest.get_or_insert_default().frame = frame;
                return Ok(false);
            }
            let (missing, after) = bytes.split_at(bytes.len().min(wanted - frame.len()));
            frame.extend_from_slice(missing);
            *bytes = after;
        }
    }

    /// Reads a frame's header and holds it against what came before.
    fn parse(&self, bytes: &[u8]) -> Result<Parsed, Fault> {
        let parsed = parse(bytes)?;
        let Parsed::Header(header) = &parsed else { return Ok(parsed) };
        let open = self.rest.as_ref().and_then(|rest| rest.message.as_ref());
        match (header.opcode, open) {
            (Opcode::Continuation, None) => Err(Fault::ContinuesNothing),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Fault::MessageInterrupted),
            (Opcode::Continuation, Some(open))
                if open.bytes.len() + header.payload_len > MESSAGE_BYTES_MAX =>
            {
                Err(Fault::MessageTooLarge)
            }
            _ => Ok(parsed),
        }
    }

    /// Says whether it was the close frame.
    fn on_frame(
        &mut self,
        frame: &Header,
        payload: &[u8],
        told: &mut Told<'_>,
    ) -> Result<bool, Fault> {
        match frame.opcode {
            Opcode::Text | Opcode::Binary if frame.is_final => {
                tell_publication(frame.opcode == Opcode::Text, payload, told)?;
            }
            Opcode::Text | Opcode::Binary => {
                let is_text = frame.opcode == Opcode::Text;
                let message = OpenMessage { is_text, bytes: payload.to_vec() };
                self.rest.get_or_insert_default().message = Some(message);
            }
            Opcode::Continuation => self.on_continuation(frame.is_final, payload, told)?,
            Opcode::Ping => told(Message::Ping(payload)),
            Opcode::Pong => {}
            Opcode::Close => {
                tell_close(payload, told)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn on_continuation(
        &mut self,
        is_final: bool,
        payload: &[u8],
        told: &mut Told<'_>,
    ) -> Result<(), Fault> {
        let open = self.rest.as_mut().and_then(|rest| rest.message.as_mut());
        let message = open.ok_or(Fault::ContinuesNothing)?;
        message.bytes.extend_from_slice(payload);
        if is_final {
            tell_publication(message.is_text, &message.bytes, told)?;
            self.rest = None;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.rest.is_none()
    }
}

/// What is half read.
#[derive(Debug, Default)]
struct Rest {
    /// The start of a frame; empty if none has begun.
    frame: Vec<u8>,
    /// The fragments of a message that has more to come.
    message: Option<OpenMessage>,
}

#[derive(Debug)]
struct OpenMessage {
    is_text: bool,
    bytes: Vec<u8>,
}

/// What the start of a frame says of it.
enum Parsed {
    /// The header is not whole; this many bytes of the frame say more.
    Wants(usize),
    Header(Header),
}

struct Header {
    is_final: bool,
    opcode: Opcode,
    head_len: usize,
    payload_len: usize,
}

impl Header {
    fn frame_len(&self) -> usize {
        self.head_len + self.payload_len
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Reads the header that the frame starts with (RFC 6455 §5.2).
fn parse(frame: &[u8]) -> Result<Parsed, Fault> {
    let &[first, second, ref rest @ ..] = frame else { return Ok(Parsed::Wants(2)) };
    if first & RESERVED != 0 {
        return Err(Fault::ReservedBit);
    }
    if second & MASKED != 0 {
        return Err(Fault::Masked);
    }
    let (opcode, is_final) = (opcode(first & OPCODE)?, first & FINAL != 0);
    if matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong) {
        if usize::from(second) > CONTROL_BYTES_MAX {
            return Err(Fault::ControlTooLong);
        }
        if !is_final {
            return Err(Fault::ControlFragmented);
        }
    }
    let (head_len, payload_len) = match (second, rest) {
        (LENGTH_16, &[a, b, ..]) => (4, shortest(u16::from_be_bytes([a, b]).into(), 126)?),
        (LENGTH_64, &[a, b, c, d, e, f, g, h, ..]) => {
            (10, shortest(u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 16)?)
        }
        (LENGTH_16, _) => return Ok(Parsed::Wants(4)),
        (LENGTH_64, _) => return Ok(Parsed::Wants(10)),
        (len, _) => (2, len.into()),
    };
    Ok(Parsed::Header(Header { is_final, opcode, head_len, payload_len }))
}

/// A payload's length, which is at least the first that its form of writing is for.
fn shortest(len: u64, least: u64) -> Result<usize, Fault> {
    if len < least {
        return Err(Fault::LengthNotShortest);
    }
    if len >> 63 != 0 {
        return Err(Fault::LengthOverflows);
    }
    if len > MESSAGE_BYTES_MAX as u64 {
        return Err(Fault::MessageTooLarge);
    }
    Ok(len as usize)
}

fn opcode(number: u8) -> Result<Opcode, Fault> {
    Ok(match number {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(Fault::ReservedOpcode(number)),
    })
}

fn tell_publication(is_text: bool, payload: &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
    if is_text && str::from_utf8(payload).is_err() {
        return Err(Fault::NotUtf8);
    }
    told(Message::Publication { payload, id: None });
    Ok(())
}

fn tell_close(payload: &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
    let (code, reason) = match payload {
        [] => (None, ""),
        [_] => return Err(Fault::CloseTooShort),
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            (Some(code), str::from_utf8(reason).unwrap_or(""))
        }
    };
    match code {
        None | Some(1000..=1003 | 1007..=1014 | 3000..=4999) => {}
        Some(code) => return Err(Fault::CloseCode(code)),
    }
    told(Message::Closed { code, reason });
    Ok(())
}

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

#[cfg(test)]
mod tests;
