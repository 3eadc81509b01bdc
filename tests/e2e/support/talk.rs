//! A client of `stentor.v1`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    subscriber::{Kind, Received, Subscriber},
    wire::{Wire, upgrade},
};

/// One conversation.
pub struct Talk {
    subscriber: Subscriber,
}

impl Talk {
    /// Connects to `/ws`, with whatever is to follow that.
    #[track_caller]
    pub fn open(address: SocketAddr, rest: &str) -> Talk {
        Talk::over(Wire::connect(address), rest)
    }

    /// The same over a connection that there is.
    #[track_caller]
    pub fn over(mut wire: Wire, rest: &str) -> Talk {
        let head = upgrade(&format!("/ws{rest}")) + "Sec-WebSocket-Protocol: stentor.v1\r\n\r\n";
        wire.send(head.as_bytes());
        let head = wire.head();
        assert_eq!(head.status, 101, "{head:?}");
        assert_eq!(head.get("Sec-WebSocket-Protocol").as_deref(), Some("stentor.v1"));
        Talk { subscriber: Subscriber::on(wire, Kind::WebSocket) }
    }

    /// Sends a message.
    pub fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string());
    }

    /// Sends a message, whatever it is.
    pub fn say_text(&mut self, message: &str) {
        self.say_frame(0x81, message.as_bytes());
    }

    /// Sends a frame.
    pub fn say_frame(&mut self, first_byte: u8, payload: &[u8]) {
        self.subscriber.send_frame(first_byte, payload);
    }

    /// Sends bytes, whatever they are.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.subscriber.wire.send(bytes);
    }

    /// Whether there is something to hear, or the conversation has ended.
    pub fn is_told(&self) -> bool {
        self.subscriber.wire.is_readable()
    }

    /// The next message.
    #[track_caller]
    pub fn hear(&mut self) -> Value {
        match self.next() {
            Ok(told) => told,
            Err(end) => panic!("it ended: {end:?}"),
        }
    }

    /// The next message, or how the conversation ended.
    #[track_caller]
    pub fn next(&mut self) -> Result<Value, Received> {
        match self.subscriber.next() {
            Received::Publication { payload, .. } => {
                Ok(serde_json::from_slice(&payload).expect("JSON"))
            }
            end => Err(end),
        }
    }

    /// Says something and hears the answer, which must be the next message.
    #[track_caller]
    pub fn ask(&mut self, message: &Value) -> Value {
        self.say(message);
        self.hear()
    }

    /// Subscribes; what else the command has is given, and the answer's id is left out.
    #[track_caller]
    pub fn subscribe(&mut self, channel: &str, more: &Value) -> Value {
        let mut command = json!({ "id": 1, "type": "subscribe", "channel": channel });
        let more = more.as_object().expect("an object").clone();
        command.as_object_mut().expect("an object").extend(more);
        let mut told = self.ask(&command);
        let id = told.as_object_mut().expect("an object").remove("id");
        assert_eq!(id, Some(json!(1)), "{told}");
        told
    }
}
