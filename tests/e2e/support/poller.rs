//! A client that polls, over one connection.

use std::net::SocketAddr;

use serde_json::Value;

use super::{
    subscriber::Gap,
    wire::{Answer, Head, Wire},
};

/// One connection, kept open.
pub struct Poller {
    wire: Wire,
}

/// An answer of 200.
#[derive(Debug)]
pub struct Poll {
    pub head: Head,
    pub position: String,
    pub gap: Option<Gap>,
    pub publications: Vec<Value>,
}

impl Poller {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Poller {
        Poller { wire: Wire::connect(address) }
    }

    /// Sends a request for `/poll/` and what follows.
    pub fn send(&mut self, rest: &str, lines: &str) {
        let head = format!("GET /poll/{rest} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        self.wire.send(head.as_bytes());
    }

    /// The next answer, of whatever status.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.wire.next_answer()
    }

    /// Asks, and hears an answer of 200.
    #[track_caller]
    pub fn poll(&mut self, rest: &str, lines: &str) -> Poll {
        self.send(rest, lines);
        Poll::of(self.answer())
    }

    /// What comes after the last answer: nothing, if the server keeps the connection's end clean.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        self.wire.rest()
    }
}

impl Poll {
    /// Holds an answer to what every one of 200 promises, and takes it apart.
    #[track_caller]
    pub fn of(answer: Answer) -> Poll {
        let Answer { head, body } = answer;
        let text = String::from_utf8(body).expect("text");
        assert_eq!(head.status, 200, "{text}");
        assert_eq!(head.get("Content-Type").as_deref(), Some("application/json"));
        assert_eq!(head.get("Cache-Control").as_deref(), Some("no-store"));
        let told: Value = serde_json::from_str(&text).expect("JSON");
        let position = told["position"].as_str().expect("a position").to_owned();
        assert_eq!(head.get("ETag"), Some(format!("\"{position}\"")));
        let gap = told.get("gap").map(Gap::of);
        assert_eq!(told["recovered"], gap.is_none(), "{text}");
        let publications = told["publications"].as_array().expect("an array").clone();
        if let Some(last) = publications.last() {
            assert_eq!(last["id"], position.as_str(), "what follows the last is asked for next");
        }
        Poll { head, position, gap, publications }
    }
}
