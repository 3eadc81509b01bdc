//! What a run does: how many subscribers of what kind, on which channels, and what is published.
//!
//! A [`Plan`] is complete and cannot be wrong: whoever makes one has checked it. It says nothing
//! of where the server is or how it is spoken to; that is the profile's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decoder::Transport;

mod layout;

/// What stands in paths, URLs and places on a bus for a channel's name.
pub const CHANNEL: &str = "{channel}";

pub use layout::{Layout, Pace, Role};

/// What a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The plan's name, for reports.
    pub name: String,
    /// Subscribers of quiet channels, which get broadcasts only.
    pub idle: Group,
    /// Subscribers of busy channels.
    pub active: Group,
    /// What subscribers speak: transports with their weights, at least one above zero.
    pub transports: Vec<(Transport, u32)>,
    /// New connections per second.
    pub ramp: u32,
    /// What is published.
    pub publishing: Publishing,
    /// Who leaves and comes back.
    pub churn: Churn,
    /// Whether whoever comes back asks for what it has missed.
    pub resume: bool,
    /// Who reads too slowly.
    pub slow: Slow,
    /// How long after the last publication was due it may still arrive.
    pub settle: Duration,
}

/// Subscribers of one kind and the channels that they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// How many subscribers.
    pub connections: u32,
    /// How many channels: at least one, and no more than `connections` unless that is zero.
    pub channels: u32,
    /// Channels are named `{prefix}-{number}`.
    pub prefix: String,
    /// How subscribers, and publications, spread over the channels.
    pub spread: Spread,
}

/// How subscribers and publications spread over channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Spread {
    /// All channels alike.
    Even,
    /// The n-th channel has 1/n^s of what the first has.
    Zipf(f64),
}

/// What is published, and when it is due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publishing {
    /// Publications per second at the beginning, over all busy channels.
    pub rate_from: f64,
    /// The same at the end; between them it rises or falls evenly.
    pub rate_to: f64,
    /// Publications that are due at one instant; the rate stays the same on average.
    pub burst: u32,
    /// How long publications are due at this rate.
    pub duration: Duration,
    /// Then so many publications, one after another, that each go to every channel.
    pub broadcasts: u32,
    /// Time between broadcasts.
    pub broadcast_every: Duration,
    /// Bytes of the smallest payload.
    pub payload_min: u32,
    /// Bytes of the largest payload. Sizes between are equally frequent.
    pub payload_max: u32,
    /// Connections that publish. A channel always uses the same one.
    pub publishers: u32,
}

/// Who leaves and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Subscribers per second that leave, one here and one there, and come back at once.
    pub per_second: f64,
    /// Share of the subscribers (0 to 1) that a storm cuts off at one instant.
    pub storm_share: f64,
    /// Time between storms; the first is one such time after publishing began.
    pub storm_every: Duration,
}

/// Who reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Share of the active subscribers, 0 to 1.
    pub share: f64,
    /// Share of the active subscribers, 0 to 1, that read nothing at all.
    pub stalled: f64,
    /// Bytes per second that each of the slow reads.
    pub bytes_per_second: u32,
    /// Whether the server may close them for it.
    pub may_be_closed: bool,
}

impl Plan {
    /// All subscribers.
    pub fn connections(&self) -> u32 {
        self.idle.connections + self.active.connections
    }

    /// Whether anything is published.
    pub fn publishes(&self) -> bool {
        self.publishing.at_rate() > 0 || self.publishing.broadcasts > 0
    }

    /// All channels that have subscribers: busy ones are numbered first.
    pub fn channels(&self) -> u32 {
        self.active.channels() + self.idle.channels()
    }

    /// Whether subscribers may be told that something will not come.
    pub fn has_gaps(&self) -> bool {
        let polls = self.transports.iter().any(|(transport, _)| *transport == Transport::Poll);
        self.resume || polls || self.slow.share > 0.0
    }

    /// The name of a channel by its number.
    pub fn channel_name(&self, channel: u32) -> String {
        let busy = self.active.channels();
        match channel.checked_sub(busy) {
            None => format!("{}-{channel}", self.active.prefix),
            Some(quiet) => format!("{}-{quiet}", self.idle.prefix),
        }
    }
}

impl Publishing {
    /// How many publications are due at the rate, before the broadcasts.
    ///
    /// The first is due at once; what is due at the very end is not due any more.
    pub fn at_rate(&self) -> u64 {
        let mean = (self.rate_from + self.rate_to) / 2.0;
        let bursts = mean * self.duration.as_secs_f64() / f64::from(self.burst);
        let bursts = (bursts - ROUNDING).ceil().max(0.0) as u64;
        bursts.saturating_mul(self.burst.into())
    }
}

impl Group {
    /// Its channels; none if nobody is in it.
    pub fn channels(&self) -> u32 {
        if self.connections == 0 { 0 } else { self.channels }
    }
}

/// A part of a burst that comes from floating point, not from the plan.
const ROUNDING: f64 = 1e-6;

/// A small plan: four active subscribers of one channel, ten publications a second for a second.
#[cfg(test)]
pub(crate) fn sample() -> Plan {
    let group = |connections, prefix: &str| Group {
        connections,
        channels: 1,
        prefix: prefix.into(),
        spread: Spread::Even,
    };
    Plan {
        name: "sample".into(),
        idle: group(0, "quiet"),
        active: group(4, "busy"),
        transports: vec![(Transport::WebSocket, 1)],
        ramp: 1000,
        publishing: Publishing {
            rate_from: 10.0,
            rate_to: 10.0,
            burst: 1,
            duration: Duration::from_secs(1),
            broadcasts: 0,
            broadcast_every: Duration::from_secs(1),
            payload_min: 64,
            payload_max: 64,
            publishers: 1,
        },
        churn: Churn { per_second: 0.0, storm_share: 0.0, storm_every: Duration::from_secs(1) },
        resume: false,
        slow: Slow { share: 0.0, stalled: 0.0, bytes_per_second: 1000, may_be_closed: true },
        settle: Duration::from_secs(1),
    }
}
