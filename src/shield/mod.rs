//! How much one address, and one connection, may ask of the server; and who is asked no questions.
//!
//! Pure: addresses, ticks and numbers go in, a permit or an [`Excess`] comes out. What befalls who
//! has none is decided by the shard and the session. Everything that is kept has a bound: of addresses
//! with connections there are never more than connections, and of others [`Addresses`] forgets.
#![forbid(unsafe_code)]

mod addresses;
mod bucket;
mod networks;

pub use addresses::{Addresses, Place};
pub use bucket::{Bucket, Pace, Spent};
pub use networks::{Network, Networks, NotNetworks};

use std::{net::IpAddr, time::Duration};

/// How much there may be. 0 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Addresses that no limit holds for.
    pub exempt: Networks,
    /// Proxies that are believed whom they speak for; no limit holds for themselves.
    pub trusted: Networks,
    /// Those of them whose connections begin with a PROXY header, as it was at the start.
    pub prefaced: Networks,
    /// Connections of an address at one time.
    pub connections: u32,
    /// New connections of an address per second.
    pub connects: u32,
    /// Requests of an address per second.
    pub requests: u32,
    /// Channels that nobody reads yet, and that an address asks for, per second.
    pub channels: u32,
    /// Bytes kept for an address: what came of its requests and messages, and what it has yet to take.
    pub bytes: usize,
    /// New connections per second and shard.
    pub accepts: u32,
    /// Frames and commands of a connection per second.
    pub messages: u32,
    /// Publications of a connection per second.
    pub publications: u32,
    /// From the beginning of a message until its end must have come; none without.
    pub message_timeout: Option<Duration>,
}

impl Limits {
    /// Whether addresses are counted at all.
    pub fn counts_addresses(&self) -> bool {
        let Limits { connections, connects, requests, channels, bytes, .. } = self;
        [connections, connects, requests, channels].iter().any(|&&limit| limit > 0) || *bytes > 0
    }

    /// Whether no limit holds for this address.
    pub fn spares(&self, address: IpAddr) -> bool {
        self.exempt.contains(address) || self.trusted.contains(address)
    }

    /// Frames and commands that a connection may send at once: what comes in [`BURST_SECONDS`], and
    /// as many as it takes to subscribe to everything.
    pub fn messages_at_once(&self, subscriptions_max: u32) -> u16 {
        let most =
            u64::from(self.messages) * u64::from(BURST_SECONDS) + u64::from(subscriptions_max);
        u16::try_from(most).unwrap_or(Spent::MOST).min(Spent::MOST)
    }
}

/// For how many seconds' worth of permits whoever was quiet may ask at once: so that the people behind
/// one address, who all come back together, find room.
pub const BURST_SECONDS: u32 = 10;

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excess {
    /// Connections of an address at one time.
    Connections,
    /// New connections of an address.
    Connects,
    /// Requests of an address.
    Requests,
    /// New channels that an address asked for.
    Channels,
    /// Bytes kept for an address.
    Bytes,
    /// Frames and commands of a connection.
    Messages,
    /// Publications of a connection.
    Publications,
    /// Time that a message took.
    MessageTime,
    /// Connections that waited since others were accepted. Nobody is refused.
    Accepts,
}

impl Excess {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Excess; 9] = [
        Excess::Connections,
        Excess::Connects,
        Excess::Requests,
        Excess::Channels,
        Excess::Bytes,
        Excess::Messages,
        Excess::Publications,
        Excess::MessageTime,
        Excess::Accepts,
    ];

    /// The kind's number, for tables with an entry per kind.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in metrics and logs: the setting that is the limit, where there is one.
    pub fn label(self) -> &'static str {
        match self {
            Excess::Connections => "address_connections",
            Excess::Connects => "address_connection_rate",
            Excess::Requests => "address_request_rate",
            Excess::Channels => "address_channel_rate",
            Excess::Bytes => "address_memory",
            Excess::Messages => "message_rate",
            Excess::Publications => "publish_rate",
            Excess::MessageTime => "message_timeout",
            Excess::Accepts => "accept_rate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables by kind are indexed with its number: the list must hold each at its own place.
    #[test]
    fn kinds_stand_at_their_numbers() {
        let places: Vec<usize> = Excess::ALL.iter().map(|kind| kind.index()).collect();
        assert_eq!(places, (0..Excess::ALL.len()).collect::<Vec<_>>());
    }

    /// What a connection may send at once follows from its rate and its subscriptions, up to what
    /// two bytes can count.
    #[test]
    fn a_burst_has_room_for_all_subscriptions() {
        let limits = |messages| Limits { messages, ..Limits::default() };
        assert_eq!(limits(100).messages_at_once(128), 1128);
        assert_eq!(limits(100).messages_at_once(65_536), Spent::MOST);
        assert_eq!(limits(u32::MAX).messages_at_once(u32::MAX), Spent::MOST);
    }
}
