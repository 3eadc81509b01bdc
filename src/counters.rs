//! What a shard counts. Written by the shard alone, read by whoever wants to know.
//!
//! Counters are relaxed atomics with one writer: adding is a load and a store, no locked
//! instruction, and a reader may see one counter a moment before another.
#![forbid(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{close::CloseReason, frame::Format, report::Transport, shield::Excess};

/// A number that only one thread changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner may call this: additions of two threads could be lost.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` away. Only the owner may call this.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Sets the value. Only the owner may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets for durations, in microseconds; above the last is one more.
pub const SWEEP_BUCKETS_US: [u64; 12] = [
    100, 300, 1_000, 3_000, 10_000, 30_000, 60_000, 100_000, 300_000, 1_000_000, 3_000_000,
    10_000_000,
];

/// What the TLS of one shard counts. Totals since the start, unless it says "now".
#[derive(Debug, Default)]
pub struct DoorCounters {
    /// Handshakes that succeeded.
    pub handshakes: Counter,
    /// Those of them that took a session up again by a ticket.
    pub resumed: Counter,
    /// Connections that failed before their handshake was over, by mistakes or by other protocols.
    pub failed: Counter,
    /// Bytes that connections keep now: records that have come in part, ciphertext that nobody took.
    pub kept_bytes: Counter,
}

/// Everything that one shard counts. Totals since the start, unless it says "now".
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Subscribers now, by format (see [`Format::index`]).
    pub subscribers: [Counter; Format::ALL.len()],
    /// Connections now, whatever their state.
    pub connections: Counter,
    /// The same, by how they are spoken to (see [`Transport::index`]).
    pub transports: [Counter; Transport::ALL.len()],
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections that were answered 503 because the server was full or draining.
    pub refused: Counter,
    /// Connections ended, by reason (see [`CloseReason::index`]).
    pub closed: [Counter; CloseReason::ALL.len()],
    /// What there was too much of, by kind (see [`Excess::index`]).
    pub excess: [Counter; Excess::ALL.len()],
    /// Connections now that count for their addresses.
    pub counted: Counter,
    /// Publications that this shard, as their home, gave a position.
    pub publications: Counter,
    /// Payload bytes of those.
    pub publication_bytes: Counter,
    /// Encodings made of those, over all formats.
    pub encodings: Counter,
    /// Publications fully handed to the kernel, counted once per subscriber.
    pub deliveries: Counter,
    /// Bytes of broadcasts handed to the kernel.
    pub delivered_bytes: Counter,
    /// Sends made for broadcasts; deliveries per send is the coalescing ratio.
    pub sends: Counter,
    /// Sends that the socket did not take whole.
    pub short_sends: Counter,
    /// Subscribers whose socket is full now.
    pub blocked: Counter,
    /// Channels with a local subscriber now, counted once per format.
    pub views: Counter,
    /// Channels that this shard is the home of now.
    pub channels: Counter,
    /// Bytes of segments that this shard keeps for its subscribers now.
    pub log_bytes: Counter,
    /// Rounds over all subscribers of a channel that were completed.
    pub sweeps: Counter,
    /// The sum of their durations, in microseconds.
    pub sweep_us: Counter,
    /// How many lasted how long; the last is for those above every bound.
    pub sweep_buckets: [Counter; SWEEP_BUCKETS_US.len() + 1],
    /// Publications that the last of a round's subscribers was written.
    pub written: Counter,
    /// The sum of the times from publication until then, in microseconds.
    pub written_us: Counter,
    /// How many took how long; the last is for those above every bound.
    pub written_buckets: [Counter; SWEEP_BUCKETS_US.len() + 1],
    /// Subscriptions that asked for what they had missed.
    pub resumed: Counter,
    /// Those of them that were given all of it.
    pub recovered: Counter,
    /// Publications that slow subscribers were made to skip, counted once per subscriber.
    pub skipped: Counter,
    /// Notices of a gap that were given.
    pub gaps: Counter,
    /// Messages from other shards that wait now.
    pub inbox: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// What its TLS counts.
    pub tls: Arc<DoorCounters>,
    /// Microseconds spent in turns, not parked.
    pub busy_us: Counter,
}

impl Counters {
    /// Counts a completed sweep.
    pub fn on_sweep(&self, duration_us: u64) {
        self.sweeps.add(1);
        self.sweep_us.add(duration_us);
        self.sweep_buckets[SWEEP_BUCKETS_US.partition_point(|&bound| bound < duration_us)].add(1);
    }

    /// Counts a publication that the last of its subscribers was written, and how long after it was
    /// published.
    pub fn on_written(&self, duration_us: u64) {
        self.written.add(1);
        self.written_us.add(duration_us);
        self.written_buckets[SWEEP_BUCKETS_US.partition_point(|&bound| bound < duration_us)].add(1);
    }

    /// Counts a connection's end.
    pub fn on_closed(&self, reason: CloseReason) {
        self.closed[reason.index()].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A duration falls into the first bucket whose bound it does not exceed.
    #[test]
    fn durations_fall_into_the_right_bucket() {
        let counters = Counters::default();
        [0, 100, 101, 10_000_000, 10_000_001].into_iter().for_each(|us| counters.on_sweep(us));
        [300, 301].into_iter().for_each(|us| counters.on_written(us));
        let counts: Vec<u64> = counters.sweep_buckets.iter().map(Counter::get).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((counters.sweeps.get(), counters.sweep_us.get()), (5, 20_000_202));
        let counts: Vec<u64> = counters.written_buckets.iter().map(Counter::get).collect();
        assert_eq!(counts, [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((counters.written.get(), counters.written_us.get()), (2, 601));
    }
}
