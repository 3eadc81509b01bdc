//! Which subscriber has which channel, transport and pace, and which publication goes where.
//!
//! Everything follows from numbers alone, so that several machines agree without talking.

use super::{Group, Plan, Spread};
use crate::decoder::Transport;

/// A plan's subscribers and publications, dealt out.
#[derive(Debug)]
pub struct Layout {
    idle: u64,
    active: u64,
    quiet: Deal,
    busy: Deal,
    transports: Vec<(Transport, u64)>,
    slow_share: f64,
}

/// What one subscriber does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its channel's number.
    pub channel: u32,
    /// What it speaks.
    pub transport: Transport,
    /// Whether it reads too slowly.
    pub is_slow: bool,
}

impl Layout {
    /// Deals a plan out.
    pub fn new(plan: &Plan) -> Layout {
        Layout {
            idle: plan.idle.connections.into(),
            active: plan.active.connections.into(),
            quiet: Deal::new(&plan.idle, plan.active.channels()),
            busy: Deal::new(&plan.active, 0),
            transports: plan.transports.iter().map(|&(it, weight)| (it, weight.into())).collect(),
            slow_share: plan.slow.share,
        }
    }

    /// What the subscriber of this number does. Idle and active ones alternate evenly.
    pub fn role(&self, subscriber: u32) -> Role {
        let (number, all) = (u64::from(subscriber), self.idle + self.active);
        let active_before = number * self.active / all;
        let is_active = (number + 1) * self.active / all > active_before;
        let channel = match is_active {
            true => self.busy.nth(active_before),
            false => self.quiet.nth(number - active_before),
        };
        let is_slow = is_active && is_hit(active_before, self.slow_share);
        Role { channel, transport: self.transport(number), is_slow }
    }

    /// The channel of the publication of this number; none if there is no busy channel.
    pub fn target(&self, publication: u32) -> Option<u32> {
        (self.busy.channels > 0).then(|| self.busy.nth(publication.into()))
    }

    /// Drawn by a hash of the number, so that it does not go with the channel.
    fn transport(&self, subscriber: u64) -> Transport {
        let all: u64 = self.transports.iter().map(|(_, weight)| weight).sum();
        let mut at = mixed(subscriber) % all;
        for &(transport, weight) in &self.transports {
            if at < weight {
                return transport;
            }
            at -= weight;
        }
        unreachable!("`at` is below the sum of the weights")
    }
}

/// Channels of one group, dealt to whoever asks next.
#[derive(Debug)]
struct Deal {
    first: u32,
    channels: u32,
    /// For each channel the share of all that it and those before it have; empty if all are alike.
    up_to: Vec<f64>,
}

impl Deal {
    fn new(group: &Group, first: u32) -> Deal {
        let channels = group.channels();
        let up_to = match group.spread {
            Spread::Even => Vec::new(),
            Spread::Zipf(exponent) => shares(channels, exponent),
        };
        Deal { first, channels, up_to }
    }

    /// The channel of the n-th that asks.
    fn nth(&self, nth: u64) -> u32 {
        let channel = if self.up_to.is_empty() {
            (nth % u64::from(self.channels.max(1))) as u32
        } else {
            // Multiples of the golden ratio fill the unit interval evenly, whenever one stops.
            let at = (nth as f64 * GOLDEN).fract();
            self.up_to.partition_point(|&share| share <= at) as u32
        };
        self.first + channel.min(self.channels.saturating_sub(1))
    }
}

/// Running sums of 1/n^exponent, the last of which is 1.
fn shares(channels: u32, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let sums = (1..=channels).map(|nth| {
        sum += f64::from(nth).powf(-exponent);
        sum
    });
    let sums: Vec<f64> = sums.collect();
    sums.iter().map(|part| part / sum).collect()
}

/// Whether the n-th is one of this share of all, evenly strewn.
fn is_hit(nth: u64, share: f64) -> bool {
    ((nth + 1) as f64 * share).floor() > (nth as f64 * share).floor()
}

/// The finaliser of splitmix64: neighbours become strangers.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

const GOLDEN: f64 = 0.618_033_988_749_894_8;
