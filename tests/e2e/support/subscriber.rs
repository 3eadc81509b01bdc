//! A subscriber over either transport, by hand.

use std::net::SocketAddr;

use data_encoding::BASE64;

use super::{
    behind_hint,
    wire::{Head, Wire, upgrade},
};

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
    /// What an event stream says that it does not bring.
    Gap(Gap),
    /// A WebSocket's close frame.
    Close(u16, String),
    /// The last chunk of an event stream.
    End,
    /// The connection ended where a frame had ended, without a word.
    Gone,
}

/// Publications that are not delivered: those behind `from`, up to and with `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: String,
    pub to: String,
}

/// How a subscription began, as the answer's head tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    pub position: String,
    pub recovered: Option<bool>,
    pub gap: Option<Gap>,
}

/// A subscription that was granted.
pub struct Subscriber {
    /// The connection under it.
    pub wire: Wire,
    /// How it began.
    pub begun: Begun,
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

    /// The same with more lines in the head of the request.
    #[track_caller]
    pub fn join_with(address: SocketAddr, kind: Kind, channel: &str, lines: &str) -> Subscriber {
        let mut subscriber = Subscriber::ask_with(address, kind, channel, lines);
        subscriber.expect_granted();
        subscriber
    }

    /// Sends the request alone.
    pub fn ask(address: SocketAddr, kind: Kind, channel: &str) -> Subscriber {
        Subscriber::ask_with(address, kind, channel, "")
    }

    fn ask_with(address: SocketAddr, kind: Kind, channel: &str, lines: &str) -> Subscriber {
        let head = match kind {
            Kind::WebSocket => upgrade(&format!("/ws/{channel}")),
            Kind::Sse => format!("GET /sse/{channel} HTTP/1.1\r\nHost: localhost\r\n"),
        };
        Subscriber::on(Wire::request(address, &format!("{head}{lines}")), kind)
    }

    /// One that has sent its request.
    pub fn on(wire: Wire, kind: Kind) -> Subscriber {
        let begun = Begun::default();
        Subscriber { wire, begun, kind, signs_of_life: 0, pongs: 0, answers_pings: true }
    }

    /// Reads the answer that grants the subscription.
    #[track_caller]
    pub fn expect_granted(&mut self) {
        let head = self.wire.head();
        assert!([101, 200].contains(&head.status), "{head:?} {:?}", self.wire.rest());
        self.begun = Begun::of(&head);
        match self.kind {
            Kind::WebSocket => {
                assert_eq!(head.status, 101);
                let accept = head.get("Sec-WebSocket-Accept");
                assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            }
            Kind::Sse => {
                assert_eq!(head.status, 200);
                assert_eq!(head.get("Content-Type").as_deref(), Some("text/event-stream"));
                // Where a gap is told, its event has the id.
                let id = match &self.begun.gap {
                    Some(_) => String::new(),
                    None => format!("id: {}\n", self.begun.position),
                };
                let first = String::from_utf8(self.wire.chunk().expect("a chunk")).expect("text");
                assert_eq!(behind_hint(&first), format!("{id}\n"));
                // The stream itself says so again, since pages see no headers.
                if let Some(gap) = self.begun.gap.clone() {
                    assert_eq!(self.next(), Received::Gap(gap));
                }
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
        let Some(chunk) = self.wire.chunk() else { return Some(Received::Gone) };
        if chunk.is_empty() {
            return Some(Received::End);
        }
        if chunk == b":\n\n" {
            return None;
        }
        let Event { id, kind, data } = Event::of(chunk);
        let payload = match kind.as_deref() {
            Some("gap") => return Some(Received::Gap(gap_of(&data, &id))),
            Some("base64") => BASE64.decode(data.as_bytes()).expect("base64"),
            None => data.into_bytes(),
            Some(other) => panic!("an event of the type {other}"),
        };
        Some(Received::Publication { payload, position: Some(id) })
    }
}

impl Begun {
    fn of(head: &Head) -> Begun {
        let gap = head.get("Stentor-Gap").map(|gap| {
            let (from, to) = gap.split_once("..").expect("from..to");
            Gap { from: from.to_owned(), to: to.to_owned() }
        });
        let recovered = head.get("Stentor-Recovered").map(|told| told.parse().expect("a bool"));
        Begun { position: head.get("Stentor-Position").expect("a position"), recovered, gap }
    }
}

/// A server-sent event that dispatches something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Empty if it has none.
    pub id: String,
    pub kind: Option<String>,
    pub data: String,
}

impl Event {
    /// Takes apart what came in one chunk.
    #[track_caller]
    pub fn of(chunk: Vec<u8>) -> Event {
        let text = String::from_utf8(chunk).expect("an event stream is UTF-8");
        let event = text.strip_suffix("\n\n").expect("an event ends with an empty line");
        let (mut id, mut kind, mut data) = (None, None, Vec::new());
        for line in event.split('\n') {
            match line.split_once(": ").expect("a field") {
                ("id", value) => id = Some(value.to_owned()),
                ("event", value) => kind = Some(value.to_owned()),
                ("data", value) => data.push(value),
                _ => panic!("{line}"),
            }
        }
        Event { id: id.unwrap_or_default(), kind, data: data.join("\n") }
    }
}

/// The gap that an event tells, whose id is where it ends.
#[track_caller]
fn gap_of(data: &str, id: &str) -> Gap {
    let told: serde_json::Value = serde_json::from_str(data).expect("JSON");
    let gap = Gap::of(&told);
    assert_eq!(gap.to, id, "whoever resumes is not told of it twice");
    gap
}

impl Gap {
    /// The gap in a JSON object.
    #[track_caller]
    pub fn of(told: &serde_json::Value) -> Gap {
        let position = |name: &str| told[name].as_str().expect("a position").to_owned();
        Gap { from: position("from"), to: position("to") }
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
