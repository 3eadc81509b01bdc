//! What a subscriber writes: its request, and the answers to control frames.
//!
//! The key of the handshake is always the same, and frames are masked with zeros. Both exist to
//! guard against caches and proxies that scripts of a web page could deceive (RFC 6455 §10.3); a
//! load tester runs no such scripts, and a fixed key and an unchanged payload cost nothing.

use super::{CONTROL_BYTES_MAX, Transport};

/// What to send to open the connection: an HTTP/1.1 GET. `headers` follow ours, as they are.
pub fn request(
    transport: Transport,
    host: &str,
    path: &str,
    headers: &[(String, String)],
) -> Vec<u8> {
    let ours = match transport {
        Transport::WebSocket => WEBSOCKET_HEADERS,
        Transport::Sse => SSE_HEADERS,
    };
    let mut out = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{ours}");
    for (name, value) in headers {
        out.extend([name, ": ", value, "\r\n"]);
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// Appends the answer to a ping. Panics if the payload is longer than a ping's can be.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    push_control(0x0a, payload, out);
}

/// Appends a close frame.
pub fn close(code: u16, out: &mut Vec<u8>) {
    push_control(0x08, &code.to_be_bytes(), out);
}

fn push_control(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame of {} bytes", payload.len());
    out.extend_from_slice(&[FINAL | opcode, MASKED | payload.len() as u8]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// What a server must answer to our key (RFC 6455 §1.3, whose example this is).
pub(super) const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const WEBSOCKET_HEADERS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SSE_HEADERS: &str = "Accept: text/event-stream\r\nCache-Control: no-store\r\n";
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
