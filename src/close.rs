//! Why the server ended a connection: whose fault it was, and so what the client should do next.
//!
//! Vocabulary: imports nothing of ours. The WebSocket codes are those of RFC 6455 §7.4.1,
//! and, of those that applications may choose, 4000 and the HTTP status that says the same.
#![forbid(unsafe_code)]

/// Why a connection that had been accepted came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer closed, or its connection broke.
    PeerLeft,
    /// The peer broke RFC 6455. Reconnecting would fail the same way.
    ProtocolError,
    /// A text message, or a close reason, was not UTF-8.
    BadUtf8,
    /// The peer sent a frame or message above the limit.
    MessageTooBig,
    /// The peer sent what this endpoint does not take.
    Policy,
    /// The request was answered with an HTTP error.
    BadRequest,
    /// No request head within the handshake time-out.
    HandshakeTimeout,
    /// The peer answered no ping. It may come back and resume.
    PeerSilent,
    /// The peer took nothing of what was sent for longer than the send-stall time-out.
    PeerStalled,
    /// What the peer had yet to read is no longer kept. It may come back and resume, with a gap.
    PeerTooSlow,
    /// Every slot is taken, or the shard is overloaded. Try again later, or elsewhere.
    Overloaded,
    /// The server is going away. Reconnect, to another node if there is one.
    ServerDraining,
    /// The peer sent a binary message where commands are text.
    Unsupported,
    /// The peer's channel has begun anew under another numbering. It may come back and resume, with a
    /// gap.
    Renumbered,
    /// An operator closed it, and does not want it back.
    Expelled,
    /// An operator closed it so that it connects anew, here or elsewhere.
    Moved,
    /// The token that the peer came with has run out. It may come back with a fresh one and resume.
    TokenExpired,
    /// The peer showed no token that grants what it asked for.
    AccessRefused,
    /// The peer said more than a connection may. It may come back, and say less.
    Flooded,
    /// The peer's address has, or asks for, more than one address may.
    AddressLimited,
    /// A message that the peer had begun did not end in time.
    MessageTimeout,
}

impl CloseReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [CloseReason; 21] = [
        CloseReason::PeerLeft,
        CloseReason::ProtocolError,
        CloseReason::BadUtf8,
        CloseReason::MessageTooBig,
        CloseReason::Policy,
        CloseReason::BadRequest,
        CloseReason::HandshakeTimeout,
        CloseReason::PeerSilent,
        CloseReason::PeerStalled,
        CloseReason::PeerTooSlow,
        CloseReason::Overloaded,
        CloseReason::ServerDraining,
        CloseReason::Unsupported,
        CloseReason::Renumbered,
        CloseReason::Expelled,
        CloseReason::Moved,
        CloseReason::TokenExpired,
        CloseReason::AccessRefused,
        CloseReason::Flooded,
        CloseReason::AddressLimited,
        CloseReason::MessageTimeout,
    ];

    /// The reason's number, for tables with an entry per reason.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The status code of the WebSocket close frame that says so, where one is sent.
    pub fn websocket_code(self) -> u16 {
        match self {
            CloseReason::PeerLeft => 1000,
            CloseReason::ProtocolError => 1002,
            CloseReason::Unsupported => 1003,
            CloseReason::BadUtf8 => 1007,
            CloseReason::MessageTooBig => 1009,
            CloseReason::Policy | CloseReason::BadRequest | CloseReason::Expelled => 1008,
            CloseReason::HandshakeTimeout | CloseReason::PeerSilent => 1001,
            CloseReason::PeerStalled | CloseReason::PeerTooSlow | CloseReason::Overloaded => 1013,
            CloseReason::ServerDraining | CloseReason::Renumbered | CloseReason::Moved => 1012,
            CloseReason::TokenExpired => 4401,
            CloseReason::AccessRefused => 4403,
            CloseReason::MessageTimeout => 4408,
            CloseReason::Flooded | CloseReason::AddressLimited => 4429,
        }
    }

    /// The name used in metrics and logs, and as the text of the close frame.
    pub fn label(self) -> &'static str {
        match self {
            CloseReason::PeerLeft => "peer left",
            CloseReason::ProtocolError => "protocol error",
            CloseReason::BadUtf8 => "bad UTF-8",
            CloseReason::MessageTooBig => "message too big",
            CloseReason::Policy => "policy",
            CloseReason::BadRequest => "bad request",
            CloseReason::HandshakeTimeout => "handshake time-out",
            CloseReason::PeerSilent => "peer silent",
            CloseReason::PeerStalled => "peer stalled",
            CloseReason::PeerTooSlow => "peer too slow",
            CloseReason::Overloaded => "overloaded",
            CloseReason::ServerDraining => "server draining",
            CloseReason::Unsupported => "unsupported",
            CloseReason::Renumbered => "renumbered",
            CloseReason::Expelled => "closed by the operator",
            CloseReason::Moved => "asked to reconnect",
            CloseReason::TokenExpired => "token expired",
            CloseReason::AccessRefused => "access refused",
            CloseReason::Flooded => "too many messages",
            CloseReason::AddressLimited => "too much from this address",
            CloseReason::MessageTimeout => "message time-out",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Tables by reason are indexed with its number: the list must hold each at its own place.
    #[test]
    fn reasons_stand_at_their_numbers() {
        let places: Vec<usize> = CloseReason::ALL.iter().map(|reason| reason.index()).collect();
        assert_eq!(places, (0..CloseReason::ALL.len()).collect::<Vec<_>>());
    }

    /// The manual has a row for every code that a close frame of ours may have, and for no other.
    #[test]
    fn the_manual_has_every_code() {
        let manual = include_str!("../docs/protocol.md");
        let table = manual.split("| close code | when |").nth(1).expect("the table");
        let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
        let told: Vec<u16> = rows.map(|row| row[..4].parse().expect("a code")).collect();
        // Whoever has left is told nothing but what it said itself.
        let others = CloseReason::ALL.into_iter().filter(|&it| it != CloseReason::PeerLeft);
        let ours: BTreeSet<u16> = others.map(CloseReason::websocket_code).collect();
        assert_eq!(told, ours.into_iter().collect::<Vec<_>>());
    }
}
