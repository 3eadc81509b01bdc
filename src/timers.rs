//! Deadlines of connections: a coarse wheel, one deadline per slot, time as an argument.
//!
//! A deadline costs 12 bytes in a table by slot and no allocation; setting, moving and cancelling
//! are a few stores. Ticks are coarse ([`TICK_MS`](crate::limits::TICK_MS)), so that the pings of
//! a hundred thousand connections leave in batches.
//!
//! Promise: a slot fires once, at the first [`Wheel::advance`] to its tick or a later one.
#![forbid(unsafe_code)]

use crate::ids::{Slot, Tick};

/// Deadlines by slot.
#[derive(Debug)]
pub struct Wheel {
    entries: Vec<Entry>,
    /// The first slot of each bucket. A bucket holds the deadlines of one tick in every
    /// [`BUCKETS`]; those of a later lap stay where they are when it comes by.
    buckets: Box<[u32; BUCKETS]>,
    /// Everything up to this tick has fired.
    now: Tick,
}

/// A link in its bucket's list.
#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Tick,
    next: u32,
    /// The slot before it, [`FIRST`], or [`UNSET`] if it has no deadline.
    previous: u32,
}

/// Ticks in one lap: 102 s, so that a ping interval of 55 s is not looked at in between.
const BUCKETS: usize = 1024;
const NONE: u32 = u32::MAX;
const FIRST: u32 = u32::MAX;
const UNSET: u32 = u32::MAX - 1;

impl Wheel {
    /// A wheel for `slots` connections, none of which has a deadline.
    pub fn new(slots: u32) -> Self {
        let entry = Entry { due: Tick(0), next: NONE, previous: UNSET };
        Wheel {
            entries: vec![entry; slots as usize],
            buckets: Box::new([NONE; BUCKETS]),
            now: Tick(0),
        }
    }

    /// Sets the slot's deadline, in place of any that it had. One that has passed fires at the
    /// next tick.
    pub fn set(&mut self, slot: Slot, due: Tick) {
        let due = due.max(Tick(self.now.0.saturating_add(1)));
        if self.entries[slot.index()].previous != UNSET {
            if self.entries[slot.index()].due == due {
                return;
            }
            self.cancel(slot);
        }
        let first = std::mem::replace(&mut self.buckets[bucket(due)], slot.0);
        if let Some(first) = self.entries.get_mut(first as usize) {
            first.previous = slot.0;
        }
        self.entries[slot.index()] = Entry { due, next: first, previous: FIRST };
    }

    /// Takes the slot's deadline away, if it has one.
    pub fn cancel(&mut self, slot: Slot) {
        let Entry { due, next, previous } = self.entries[slot.index()];
        if previous == UNSET {
            return;
        }
        self.entries[slot.index()].previous = UNSET;
        match self.entries.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.buckets[bucket(due)] = next,
        }
        if let Some(after) = self.entries.get_mut(next as usize) {
            after.previous = previous;
        }
    }

    /// The slot's deadline.
    pub fn deadline(&self, slot: Slot) -> Option<Tick> {
        let entry = self.entries[slot.index()];
        (entry.previous != UNSET).then_some(entry.due)
    }

    /// Moves on to `now` and appends the slots whose deadline has come, earliest tick first.
    pub fn advance(&mut self, now: Tick, fired: &mut Vec<Slot>) {
        while self.now < now {
            // After a long pause (a suspended machine) one lap sees every bucket.
            let skipped = (now.0 - self.now.0).saturating_sub(BUCKETS as u32);
            self.now = Tick(self.now.0 + skipped + 1);
            self.fire(bucket(self.now), fired);
        }
    }

    fn fire(&mut self, bucket: usize, fired: &mut Vec<Slot>) {
        let mut at = self.buckets[bucket];
        while at != NONE {
            let Entry { due, next, .. } = self.entries[at as usize];
            if due <= self.now {
                self.cancel(Slot(at));
                fired.push(Slot(at));
            }
            at = next;
        }
    }

    /// The earliest tick at which something may fire, as far as one lap shows; none if no bucket
    /// holds anything. Never later than the true one.
    pub fn next(&self) -> Option<Tick> {
        let lap = 1..=BUCKETS as u32;
        let ticks = lap.map(|ahead| Tick(self.now.0.saturating_add(ahead)));
        ticks.into_iter().find(|&tick| self.buckets[bucket(tick)] != NONE)
    }
}

fn bucket(due: Tick) -> usize {
    due.0 as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Set(u32, u32),
        Cancel(u32),
        Advance(u32),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let due = prop_oneof![0u32..40, 0u32..5000];
        let step = prop_oneof![5 => 0u32..10, 1 => 0u32..3000];
        let act = prop_oneof![
            4 => (0u32..20, due).prop_map(|(slot, due)| Act::Set(slot, due)),
            1 => (0u32..20).prop_map(Act::Cancel),
            3 => step.prop_map(Act::Advance),
        ];
        prop::collection::vec(act, 1..200)
    }

    proptest! {
        /// Each deadline fires once, at its tick or the first advance after it, unless it was
        /// moved or cancelled; `next` is never later than the earliest.
        #[test]
        fn deadlines_fire_once_and_in_time(acts in acts()) {
            let mut wheel = Wheel::new(20);
            let mut now = 0;
            let mut expected: BTreeMap<u32, u32> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Set(slot, ahead) => {
                        wheel.set(Slot(slot), Tick(now + ahead));
                        expected.insert(slot, (now + ahead).max(now + 1));
                    }
                    Act::Cancel(slot) => {
                        wheel.cancel(Slot(slot));
                        expected.remove(&slot);
                    }
                    Act::Advance(step) => {
                        now += step;
                        let mut fired = Vec::new();
                        wheel.advance(Tick(now), &mut fired);
                        fired.sort();
                        let due: Vec<u32> = expected.keys().copied()
                            .filter(|slot| expected[slot] <= now).collect();
                        due.iter().for_each(|slot| { expected.remove(slot); });
                        prop_assert_eq!(fired, due.into_iter().map(Slot).collect::<Vec<_>>());
                    }
                }
                for slot in 0..20 {
                    let due = expected.get(&slot).copied().map(Tick);
                    prop_assert_eq!(wheel.deadline(Slot(slot)), due);
                }
                match (wheel.next(), expected.values().min()) {
                    (Some(next), Some(&earliest)) => prop_assert!(next.0 <= earliest),
                    (next, earliest) => prop_assert_eq!(next.is_some(), earliest.is_some()),
                }
            }
        }
    }
}
