//! What bytes mean.
//!
//! Everything here is pure. Parsers of a peer's bytes return its faults as values; nothing a peer
//! sends can panic.
#![forbid(unsafe_code)]

pub mod handshake;
pub mod http;
pub mod route;
pub mod websocket;
