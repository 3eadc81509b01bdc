//! What bytes mean: requests and answers, WebSocket frames, server-sent events.
//!
//! Everything here is pure. Encoders write into memory that the caller owns and allocate nothing, so
//! a publication is laid down once, where its readers will find it. Parsers of a peer's bytes return
//! its faults as values; nothing a peer sends can panic.
//!
//! Left to others: who is owed which bytes (`hub`), and what a connection does next (`session`).
#![forbid(unsafe_code)]

pub mod commands;
pub mod forwarded;
pub mod handshake;
pub mod http;
pub mod json;
pub mod poll;
pub mod proxy;
pub mod query;
pub mod replies;
pub mod route;
pub mod sse;
pub mod token;
pub mod websocket;

use crate::frame::{Format, Publication};

/// The exact number of bytes that [`encode`] fills.
pub fn encoded_len(format: Format, publication: &Publication<'_>) -> usize {
    match format {
        Format::WebSocket => websocket::encoded_len(publication.payload.len()),
        Format::Sse => sse::encoded_len(publication),
        Format::Json => json::encoded_len(publication),
    }
}

/// Lays `publication` out as one frame. `out` is exactly [`encoded_len`] bytes, all of which are
/// written. Allocates nothing.
pub fn encode(format: Format, publication: &Publication<'_>, out: &mut [u8]) {
    match format {
        Format::WebSocket => websocket::encode(publication.kind, publication.payload, out),
        Format::Sse => sse::encode(publication, out),
        Format::Json => json::encode(publication, out),
    }
}

/// The length of the encoded frame that starts at `bytes[0]`. Further frames may follow it.
///
/// For our own frames only: `bytes` that do not start with a whole frame header are a bug of ours,
/// and panic.
pub fn frame_len(format: Format, bytes: &[u8]) -> usize {
    match format {
        Format::WebSocket | Format::Json => websocket::frame_len(bytes),
        Format::Sse => sse::frame_len(bytes),
    }
}

#[cfg(test)]
mod tests;
