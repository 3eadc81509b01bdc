//! What a subscriber writes: its request, and the answers to control frames.
//!
//! The key of the handshake is always the same, and frames are masked with zeros. Both exist to
//! guard against caches and proxies that scripts of a web page could deceive (RFC 6455 §10.3); a
//! load tester runs no such scripts, and a fixed key and an unchanged payload cost nothing.

use super::{CONTROL_BYTES_MAX, Transport};

/// What to send to open a session: an HTTP/1.1 GET. `headers` follow ours, as they are. What was
/// published behind `since` is asked for, where the transport can ask. A first poll is answered at
/// once, with the position to poll from.
pub fn request(
    transport: Transport,
    host: &str,
    path: &str,
    headers: &[(String, String)],
    since: Option<&str>,
) -> Vec<u8> {
    let since_part = since.map(|since| format!("since={}", coded(since)));
    let (ours, query) = match transport {
        Transport::WebSocket => (WEBSOCKET_HEADERS, None),
        Transport::Sse => (SSE_HEADERS, None),
        Transport::V1 => (V1_HEADERS, since_part),
        Transport::Poll => {
            (POLL_HEADERS, Some(since_part.map_or(String::new(), |it| it + "&") + "timeout=0"))
        }
    };
    let last = since.filter(|_| transport == Transport::Sse);
    let last = last.map(|since| ("Last-Event-ID".to_owned(), since.to_owned()));
    get(host, path, query.as_deref(), ours, last.iter().chain(headers))
}

/// What to send to poll once more, for what is published behind `since`: the server may wait for it.
pub fn poll(host: &str, path: &str, headers: &[(String, String)], since: &str) -> Vec<u8> {
    let query = format!("since={}&timeout={POLL_SECONDS}", coded(since));
    get(host, path, Some(&query), POLL_HEADERS, headers.iter())
}

fn get<'a>(
    host: &str,
    path: &str,
    query: Option<&str>,
    ours: &str,
    headers: impl Iterator<Item = &'a (String, String)>,
) -> Vec<u8> {
    let mark = if path.contains('?') { "&" } else { "?" };
    let query = query.map_or(String::new(), |query| format!("{mark}{query}"));
    let mut out = format!("GET {path}{query} HTTP/1.1\r\nHost: {host}\r\n{ours}");
    for (name, value) in headers {
        out.extend([name, ": ", value, "\r\n"]);
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// A text as the value of a query's parameter (RFC 3986 §2).
fn coded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
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
const V1_HEADERS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: stentor.v1\r\n";
const POLL_HEADERS: &str = "Accept: application/json\r\n";
/// How long the server may hold a poll back: below the time after which proxies lose patience.
const POLL_SECONDS: u32 = 25;
const SSE_HEADERS: &str = "Accept: text/event-stream\r\nCache-Control: no-store\r\n";
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
