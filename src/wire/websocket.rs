//! WebSocket frames (RFC 6455 §5): ours to the client, written, and the client's, decoded.
//!
//! The server's frames are never masked and never fragmented (§5.1, §5.4). What a client sends goes
//! through a [`Decoder`], which owns no memory while it is between frames.

mod decoder;

pub use decoder::{ControlPayload, Decoder, Event, Fault, Limits};

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::{close::CloseReason, frame::PayloadKind};

/// Bytes in the longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// A ping without payload: whatever comes back shows that the peer lives.
pub const PING: &[u8] = &[0x89, 0];

/// Bytes of a server's frame with a payload of `payload_len` bytes.
pub fn encoded_len(payload_len: usize) -> usize {
    header(OpCode::Data(Data::Binary)).len(payload_len as u64) + payload_len
}

/// Writes one data frame; `out` is exactly [`encoded_len`] bytes.
pub fn encode(kind: PayloadKind, payload: &[u8], out: &mut [u8]) {
    encode_with(kind, payload.len(), out, |body| body.copy_from_slice(payload));
}

/// Writes one data frame whose payload of `payload_len` bytes `fill` writes in place; `out` is
/// exactly [`encoded_len`] bytes.
pub fn encode_with(
    kind: PayloadKind,
    payload_len: usize,
    out: &mut [u8],
    fill: impl FnOnce(&mut [u8]),
) {
    let (head, body) = out.split_at_mut(encoded_len(payload_len) - payload_len);
    let opcode = match kind {
        PayloadKind::Text | PayloadKind::Json => OpCode::Data(Data::Text),
        PayloadKind::Binary => OpCode::Data(Data::Binary),
        // Payloads as they are have no word for a gap. Nobody answers a pong that nobody asked for
        // (§5.5.3), and what it says can be read by whoever looks.
        PayloadKind::Gap => OpCode::Control(Control::Pong),
    };
    header(opcode).format(payload_len as u64, &mut &mut *head).expect(MEMORY);
    fill(body);
}

/// The payload of the server's frame that `frame` is. Panics if it is not one of ours.
pub fn payload(frame: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(frame);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((_header, payload_len))) => {
            &frame[cursor.position() as usize..][..payload_len as usize]
        }
        other => panic!("not the start of a frame: {other:?}"),
    }
}

/// Appends one data frame.
pub fn write_message(kind: PayloadKind, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + encoded_len(payload.len()), 0);
    encode(kind, payload, &mut out[start..]);
}

/// Appends the pong that answers a ping (RFC 6455 §5.5.3).
pub fn write_pong(payload: &ControlPayload, out: &mut Vec<u8>) {
    write_control(Control::Pong, payload.as_bytes(), out);
}

/// Appends the close frame that tells the peer why the server ends the connection.
pub fn write_close(reason: CloseReason, out: &mut Vec<u8>) {
    write_close_text(reason, reason.label(), out);
}

/// Appends a close frame with another text than the reason's name, of at most 123 bytes.
pub fn write_close_text(reason: CloseReason, text: &str, out: &mut Vec<u8>) {
    let payload = [&reason.websocket_code().to_be_bytes(), text.as_bytes()].concat();
    write_control(Control::Close, &payload, out);
}

/// Appends the close frame that answers the peer's, with the code that it gave (§5.5.1).
pub fn write_close_echo(code: Option<u16>, out: &mut Vec<u8>) {
    let code = code.map(u16::to_be_bytes);
    write_control(Control::Close, code.as_ref().map_or(&[], |code| &code[..]), out);
}

/// The length of the server's frame that starts at `bytes[0]`. Panics if it is not one of ours.
pub fn frame_len(bytes: &[u8]) -> usize {
    let mut cursor = Cursor::new(bytes);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((_header, payload_len))) => cursor.position() as usize + payload_len as usize,
        other => panic!("not the start of a frame: {other:?}"),
    }
}

fn write_control(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_PAYLOAD_MAX);
    header(OpCode::Control(control)).format(payload.len() as u64, out).expect(MEMORY);
    out.extend_from_slice(payload);
}

/// An unmasked frame that is a whole message.
fn header(opcode: OpCode) -> FrameHeader {
    FrameHeader { opcode, ..FrameHeader::default() }
}

const MEMORY: &str = "there is room for what was counted";

#[cfg(test)]
mod tests;
