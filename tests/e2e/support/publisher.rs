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
        self.try_publish_as(channel, "", payload)
    }

    /// The same with more lines in the head of the request; the channel may bring parameters.
    #[track_caller]
    pub fn try_publish_as(&mut self, channel: &str, lines: &str, payload: &[u8]) -> Answer {
        let head = post(&format!("/publish/{channel}"), payload.len());
        let head = [&head[..head.len() - 2], lines.as_bytes(), b"\r\n"].concat();
        self.wire.send(&[&head, payload].concat());
        self.wire.next_answer()
    }

    /// Publishes so; gives what the server says of it, which must be that it did.
    #[track_caller]
    pub fn publish_as(&mut self, channel: &str, lines: &str, payload: &[u8]) -> Value {
        let Answer { head, body } = self.try_publish_as(channel, lines, payload);
        assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// The head of a request with a body of so many bytes.
pub fn post(path: &str, bytes: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n").into()
}
