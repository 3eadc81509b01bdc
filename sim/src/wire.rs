//! The clients' side of the wire: what they send, and how they take apart what comes, written down
//! anew so that an error of the server's own code is not repeated.

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The accept key that RFC 6455 §1.3 gives for it.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request, with further headers, each line ended.
pub fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: edge.example\r\n{headers}\r\n")
}

/// A request for a WebSocket.
pub fn upgrade(path: &str, headers: &str) -> String {
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    let key = format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n");
    request(path, &format!("{upgrade}{key}{headers}"))
}

/// Opcodes of RFC 6455.
pub const TEXT: u8 = 1;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// A client's frame.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x1d, 0x00, 0xff, 0x42];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The head of an answer.
pub struct Head {
    /// Its status.
    pub status: u16,
    text: String,
    /// Its length.
    pub len: usize,
}

impl Head {
    /// The head at the start of `bytes`, once it is whole.
    pub fn take(bytes: &[u8]) -> Option<Head> {
        let len = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let text = String::from_utf8(bytes[..len].to_vec()).expect("heads are text");
        let status = text.strip_prefix("HTTP/1.1 ").expect("an answer of HTTP/1.1");
        Some(Head { status: status[..3].parse().expect("a status"), text, len })
    }

    /// The value of a header.
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of a header that must be there.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    /// Checks that it opens a WebSocket.
    pub fn check_accept(&self) {
        assert_eq!(self.get("Sec-WebSocket-Accept"), ACCEPT);
    }
}

/// A server's frame at the start of `bytes`, once it is whole: its opcode, its payload, and its
/// length in all.
pub fn take_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "not a whole message without extensions: {bytes:?}");
    assert!(second < 0x80, "servers do not mask: {bytes:?}");
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
    Some((first & 0x0f, payload, head + len))
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

/// A server-sent event.
#[derive(Debug, Default)]
pub struct Event {
    /// `event:`.
    pub kind: String,
    /// `id:`.
    pub id: String,
    /// `data:`, lines with line ends between them.
    pub data: Option<String>,
}

impl Event {
    /// The event that a chunk is; a comment is none.
    pub fn of(content: &[u8]) -> Option<Event> {
        let text = std::str::from_utf8(content).expect("events are text");
        let mut event = Event::default();
        let lines = text.strip_suffix("\n\n").expect("an event ends with an empty line");
        if lines == ":" {
            return None;
        }
        for line in lines.split('\n') {
            let (field, value) = line.split_once(": ").expect("a field and a value");
            match field {
                "event" => event.kind = value.into(),
                "id" => event.id = value.into(),
                "data" => match &mut event.data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    None => event.data = Some(value.into()),
                },
                "retry" => {
                    let hint: u32 = value.parse().expect("milliseconds");
                    assert!((3000..6000).contains(&hint), "{hint}");
                }
                _ => panic!("a field {field} in {text:?}"),
            }
        }
        Some(event)
    }
}
