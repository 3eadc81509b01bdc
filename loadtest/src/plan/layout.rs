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
    stalled_share: f64,
}

/// What one subscriber does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its channel's number.
    pub channel: u32,
    /// What it speaks.
    pub transport: Transport,
    /// How fast it reads.
    pub pace: Pace,
}

/// How fast a subscriber reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can.
    #[default]
    Good,
    /// Too slowly, at the plan's rate.
    Slow,
    /// Not at all, once its handshake is granted.
    Stalled,
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
            stalled_share: plan.slow.stalled,
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
        let pace = if is_active { self.pace(active_before) } else { Pace::Good };
        Role { channel, transport: self.transport(number), pace }
    }

    /// How fast the n-th active one reads. Those who stall are a share of all that are not slow.
    fn pace(&self, nth: u64) -> Pace {
        if is_hit(nth, self.slow_share) {
            return Pace::Slow;
        }
        let not_slow_before = nth - (nth as f64 * self.slow_share).floor() as u64;
        let share = self.stalled_share / (1.0 - self.slow_share);
        if is_hit(not_slow_before, share.min(1.0)) { Pace::Stalled } else { Pace::Good }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::sample;

    fn roles(plan: &Plan) -> Vec<Role> {
        let layout = Layout::new(plan);
        (0..plan.connections()).map(|subscriber| layout.role(subscriber)).collect()
    }

    fn by_channel(roles: &[Role]) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        roles.iter().for_each(|role| *counts.entry(role.channel).or_default() += 1);
        counts
    }

    /// Idle and active subscribers are as many as the plan says, on channels of their own, and
    /// every channel of an even spread has the same number.
    #[test]
    fn subscribers_are_dealt_evenly() {
        let mut plan = sample();
        (plan.active.connections, plan.active.channels) = (100, 5);
        (plan.idle.connections, plan.idle.channels) = (900, 3);
        let counts = by_channel(&roles(&plan));
        let want = (0..5).map(|channel| (channel, 20)).chain((5..8).map(|channel| (channel, 300)));
        assert_eq!(counts, want.collect());
        let names: Vec<_> = (0..8).map(|channel| plan.channel_name(channel)).collect();
        assert_eq!(names[0], "busy-0");
        assert_eq!(names[4..6], ["busy-4", "quiet-0"]);
    }

    /// They alternate: no stretch of the ramp is idle alone.
    #[test]
    fn idle_and_active_alternate() {
        let mut plan = sample();
        (plan.active.connections, plan.idle.connections) = (100, 900);
        let roles = roles(&plan);
        assert!(
            roles.chunks(10).all(|ten| ten.iter().filter(|role| role.channel == 0).count() == 1)
        );
    }

    /// The n-th channel of a Zipf spread has 1/n^s of what the first has, give or take one.
    #[test]
    fn a_zipf_spread_has_its_shares() {
        let mut plan = sample();
        (plan.active.connections, plan.active.channels) = (10_000, 4);
        plan.active.spread = Spread::Zipf(1.0);
        let counts = by_channel(&roles(&plan));
        let first = 10_000.0 / (1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0);
        for (&channel, &count) in &counts {
            let want = first / f64::from(channel + 1);
            assert!((count as f64 - want).abs() < 5.0, "{channel}: {count}, not {want}");
        }
    }

    /// Slow readers are an exact share of the active ones, and transports keep their weights
    /// within every channel.
    #[test]
    fn shares_are_kept() {
        let mut plan = sample();
        (plan.active.connections, plan.active.channels) = (20_000, 2);
        (plan.slow.share, plan.slow.stalled) = (0.5, 0.125);
        plan.transports = vec![(Transport::WebSocket, 3), (Transport::Sse, 1)];
        let roles = roles(&plan);
        let count = |pace| roles.iter().filter(|role| role.pace == pace).count();
        assert_eq!((count(Pace::Slow), count(Pace::Stalled)), (10_000, 2_500));
        for channel in 0..2 {
            let here = roles.iter().filter(|role| role.channel == channel);
            let sse = here.filter(|role| role.transport == Transport::Sse).count();
            assert!((2300..2700).contains(&sse), "{sse} of 10,000 on channel {channel}");
        }
    }

    /// Publications take the channels in turn where all are alike.
    #[test]
    fn publications_go_round() {
        let mut plan = sample();
        (plan.active.connections, plan.active.channels) = (3, 3);
        let layout = Layout::new(&plan);
        let targets: Vec<_> = (0..6).map(|number| layout.target(number)).collect();
        assert_eq!(targets, [0, 1, 2, 0, 1, 2].map(Some));
        plan.active.connections = 0;
        plan.idle.connections = 1;
        assert_eq!(Layout::new(&plan).target(0), None);
    }
}
