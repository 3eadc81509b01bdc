//! Readers that read too slowly: after each read they wait as long as their pace asks.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use stentor::ids::Slot;

/// When each slow reader of a thread reads on.
#[derive(Default)]
pub(super) struct SlowReaders {
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl SlowReaders {
    /// A reader of this pace has read so many bytes.
    pub(super) fn on_read(&mut self, slot: Slot, bytes: usize, per_second: u32, now: Instant) {
        let wait = Duration::from_secs_f64(bytes as f64 / f64::from(per_second.max(1)));
        self.waiting.push(Reverse((now + wait, slot.0)));
    }

    /// Those that may read on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Slot> {
        let mut due = Vec::new();
        while let Some(Reverse((at, slot))) = self.waiting.peek().copied()
            && at <= now
        {
            self.waiting.pop();
            due.push(Slot(slot));
        }
        due
    }

    /// How long it is until somebody may read on.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let next = self.waiting.peek();
        next.map_or(Duration::MAX, |Reverse((at, _))| at.saturating_duration_since(now))
    }
}
