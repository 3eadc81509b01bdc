//! A subscriber's bytes, read.

use serde::{Deserialize, Serialize};

/// What a subscriber speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// RFC 6455.
    #[serde(rename = "ws")]
    WebSocket,
    /// `text/event-stream`.
    #[serde(rename = "sse")]
    Sse,
}
