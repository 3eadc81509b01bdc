//! A subscriber over either transport, by hand.

use std::net::SocketAddr;

use data_encoding::BASE64;

use super::wire::{Wire, upgrade};

/// The transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/ws/`.
    WebSocket,
    /// `/sse/`.
    Sse,
}

impl Kind {
    /// Both of them.
    pub const BOTH: [Kind; 2] = [Kind::WebSocket, Kind::Sse];
}

/// What a subscriber is sent, apart from signs of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A publication, and its position where the transport tells it.
    Publication { payload: Vec<u8>, position: Option<String> },
    /// A WebSocket's close frame.
    Close(u16, String),
    /// The last chunk of an event stream.
    End,
    /// The connection ended where a frame had ended, without a word.
    Gone,
}

/// A subscription that was granted.
pub struct Subscriber {
    /// The connection under it.
    pub wire: Wire,
    kind: Kind,
    /// Pings and heartbeats seen.
    pub signs_of_life: usize,
    /// Answers to our pings seen.
    pub pongs: usize,
    /// Whether pings are answered.
    pub answers_pings: bool,
}

impl Subscriber {
    /// Subscribes, and returns once the server has granted it.
    #[track_caller]
    pub fn join(address: SocketAddr, kind: Kind, channel: &str) -> Subscriber {
        let mut subscriber = Subscriber::ask(address, kind, channel);
        subscriber.expect_granted();
        subscriber
    }

    /// Sends the request alone.
    pub fn ask(address: SocketAddr, kind: Kind, channel: &str) -> Subscriber {
        let head = match kind {
            Kind::WebSocket => upgrade(&format!("/ws/{channel}")),
            Kind::Sse => format!("GET /sse/{channel} HTTP/1.1\r\nHost: localhost\r\n"),
        };
        let wire = Wire::request(address, &head);
        Subscriber { wire, kind, signs_of_life: 0, pongs: 0, answers_pings: true }
    }

    /// Reads the answer that grants the subscription.
    #[track_caller]
    pub fn expect_granted(&mut self) {
        let head = self.wire.head();
        match self.kind {
            Kind::WebSocket => {
                assert_eq!(head.status, 101);
                let accept = head.get("Sec-WebSocket-Accept");
                assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            }
            Kind::Sse => {
                assert_eq!(head.status, 200);
                assert_eq!(head.get("Content-Type").as_deref(), Some("text/event-stream"));
                let position = head.get("Stentor-Position").expect("where it begins");
                let first = format!("retry: 3000\nid: {position}\n\n");
                assert_eq!(self.chunk(), Some(first.into_bytes()));
            }
        }
    }

    /// The next thing that is no sign of life.
    #[track_caller]
    pub fn next(&mut self) -> Received {
        loop {
            let received = match self.kind {
                Kind::WebSocket => self.frame(),
                Kind::Sse => self.event(),
            };
            match received {
                Some(received) => return received,
                None => self.signs_of_life += 1,
            }
        }
    }

    /// The next publication's payload.
    #[track_caller]
    pub fn publication(&mut self) -> Vec<u8> {
        match self.next() {
            Received::Publication { payload, .. } => payload,
            other => panic!("not a publication: {other:?}"),
        }
    }

    /// Sends a masked frame, as clients must.
    pub fn send_frame(&mut self, first_byte: u8, payload: &[u8]) {
        let frame = masked(first_byte, payload);
        self.wire.send(&frame);
    }

    fn frame(&mut self) -> Option<Received> {
        if self.wire.buffered() == 0 && self.is_over() {
            return Some(Received::Gone);
        }
        let head = self.wire.exactly(2);
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        let length = match head[1] {
            126 => be(&self.wire.exactly(2)),
            127 => be(&self.wire.exactly(8)),
            length => usize::from(length),
        };
        let payload = self.wire.exactly(length);
        match head[0] {
            0x81 => {
                assert!(std::str::from_utf8(&payload).is_ok(), "text is UTF-8");
                Some(Received::Publication { payload, position: None })
            }
            0x82 => Some(Received::Publication { payload, position: None }),
            0x88 => {
                let text = String::from_utf8(payload[2..].to_vec()).expect("text");
                Some(Received::Close(be(&payload[..2]) as u16, text))
            }
            0x89 => {
                if self.answers_pings {
                    self.send_frame(0x8a, &payload);
                }
                None
            }
            0x8a => {
                self.pongs += 1;
                None
            }
            other => panic!("a server does not send frames of {other:#x}"),
        }
    }

    /// Whether the stream has ended; waits for the next byte to know.
    fn is_over(&mut self) -> bool {
        self.wire.peek(&mut [0]) == 0
    }

    fn event(&mut self) -> Option<Received> {
        let Some(chunk) = self.chunk() else { return Some(Received::Gone) };
        if chunk.is_empty() {
            return Some(Received::End);
        }
        if chunk == b":\n\n" {
            return None;
        }
        let text = String::from_utf8(chunk).expect("an event stream is UTF-8");
        let event = text.strip_suffix("\n\n").expect("an event ends with an empty line");
        let (mut data, mut position, mut base64) = (Vec::new(), None, false);
        for line in event.split('\n') {
            match line.split_once(": ").expect("a field") {
                ("id", id) => position = Some(id.to_owned()),
                ("event", "base64") => base64 = true,
                ("data", line) => data.push(line),
                _ => panic!("{line}"),
            }
        }
        let data = data.join("\n").into_bytes();
        let payload = if base64 { BASE64.decode(&data).expect("base64") } else { data };
        Some(Received::Publication { payload, position })
    }

    /// The content of the next chunk; empty for the last. `None` at the end of the stream.
    #[track_caller]
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.wire.line()?;
        let length = usize::from_str_radix(&size, 16).expect("a chunk's size");
        let content = self.wire.exactly(length);
        assert_eq!(self.wire.exactly(2), b"\r\n");
        Some(content)
    }
}

/// A client's frame, masked with a fixed mask.
pub fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match payload.len() {
        short @ ..=125 => frame.push(0x80 | short as u8),
        middle @ ..=65535 => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn be(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}
