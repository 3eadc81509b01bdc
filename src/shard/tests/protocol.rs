//! The clients' side of the wire: what they send, and what they expect, written down anew.
//!
//! Nothing here uses the server's encoders or parsers, so an error in those is not repeated.

use data_encoding::BASE64;

use crate::ids::Position;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The accept key that RFC 6455 §1.3 gives for it.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request for an endpoint, as a browser sends it.
pub fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: edge.example\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client's frame.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x1d, 0x00, 0xff, 0x42];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).expect("a short frame").to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The head of an answer.
pub struct Head {
    pub status: u16,
    pub text: String,
    pub len: usize,
}

impl Head {
    /// The head at the start of `bytes`, once it is whole.
    pub fn take(bytes: &[u8]) -> Option<Head> {
        let len = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let text = String::from_utf8(bytes[..len].to_vec()).expect("heads are text");
        let status = text.strip_prefix("HTTP/1.1 ").expect("an answer of HTTP/1.1");
        Some(Head { status: status[..3].parse().unwrap(), text, len })
    }

    /// The value of a header, which must be there.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.text)).1
    }

    /// Checks that it opens a WebSocket for [`request`].
    pub fn check_accept(&self) {
        assert_eq!(self.header("Sec-WebSocket-Accept"), ACCEPT);
        assert_eq!(self.header("Upgrade"), "websocket");
    }
}

/// A server's frame.
pub struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
    pub raw: &'a [u8],
}

impl Frame<'_> {
    /// The frame at the start of `bytes`, once it is whole.
    pub fn take(bytes: &[u8]) -> Option<Frame<'_>> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert_eq!(first & 0xf0, 0x80, "servers here send whole messages without extensions");
        assert!(second < 0x80, "servers do not mask");
        let number = |range: std::ops::Range<usize>| {
            let bytes = bytes.get(range)?.iter();
            Some(bytes.fold(0, |number, &byte| number << 8 | usize::from(byte)))
        };
        let (head, len) = match second {
            126 => (4, number(2..4)?),
            127 => (10, number(2..10)?),
            len => (2, usize::from(len)),
        };
        let payload = bytes.get(head..head + len)?;
        Some(Frame { opcode: first & 0x0f, payload, raw: &bytes[..head + len] })
    }
}

/// The chunk at the start of `bytes`, once it is whole: its content and its length in all.
pub fn take_chunk(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")?;
    let size = std::str::from_utf8(&bytes[..line]).expect("a chunk's size");
    let size = usize::from_str_radix(size, 16).expect("a chunk's size");
    let content = bytes.get(line + 2..line + 2 + size)?;
    let end = bytes.get(line + 2 + size..line + 4 + size)?;
    assert_eq!(end, b"\r\n");
    Some((content, line + 4 + size))
}

/// The frame that a publication must be.
pub fn expected_frame(payload: &[u8]) -> Vec<u8> {
    let opcode = if std::str::from_utf8(payload).is_ok() { 0x81 } else { 0x82 };
    let mut frame = vec![opcode];
    match payload.len() {
        len @ ..126 => frame.push(len as u8),
        len @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The event that a publication must be, without the chunk around it.
pub fn expected_event(position: Position, payload: &[u8]) -> Vec<u8> {
    let data = match std::str::from_utf8(payload) {
        Ok(text) => {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            text.split('\n').map(|line| format!("data: {line}\n")).collect()
        }
        Err(_) => format!("event: base64\ndata: {}\n", BASE64.encode(payload)),
    };
    let (epoch, offset) = (position.epoch.0, position.offset.0);
    format!("id: {epoch:x}-{offset}\n{data}\n").into_bytes()
}
