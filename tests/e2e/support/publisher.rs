//! A publisher over HTTP that keeps its connection.

use std::net::SocketAddr;

use serde_json::Value;

use super::{
    Server,
    wire::{Answer, Wire},
};

/// One connection to the control listener.
pub struct Publisher {
    wire: Wire,
}

impl Publisher {
    /// Connects.
    pub fn of(server: &Server) -> Publisher {
        Publisher::to(server.control)
    }

    /// Connects to a control listener.
    pub fn to(control: SocketAddr) -> Publisher {
        Publisher { wire: Wire::connect(control) }
    }

    /// Publishes; gives the position and the number of subscribers.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, payload: &[u8]) -> (String, u64) {
        let answer = self.try_publish(channel, payload);
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.head.status, 200, "{told}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["channel"], channel);
        let position = told["position"].as_str().expect("a position").to_owned();
        (position, told["subscribers"].as_u64().expect("a number"))
    }

    /// Asks to publish; gives whatever the server answers.
    #[track_caller]
    pub fn try_publish(&mut self, channel: &str, payload: &[u8]) -> Answer {
        self.wire.send(&[&post(&format!("/publish/{channel}"), payload.len()), payload].concat());
        let head = self.wire.head();
        let length = head.get("Content-Length").and_then(|length| length.parse().ok());
        let body = self.wire.exactly(length.expect("an answer says its length"));
        Answer { head, body }
    }
}

/// The head of a request with a body of so many bytes.
pub fn post(path: &str, bytes: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n").into()
}
