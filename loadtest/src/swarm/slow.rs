//! Readers that read too slowly: after each read they wait as long as their pace asks, or for ever.
//!
//! A slot waits at most once, and whoever has the slot next does not inherit the wait.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use stentor::ids::Slot;

/// When each slow reader of a thread reads on.
#[derive(Default)]
pub(super) struct SlowReaders {
    /// Soonest first.
    waiting: BTreeSet<(Instant, u32)>,
    until: HashMap<u32, Instant>,
    stalled: HashSet<u32>,
}

impl SlowReaders {
    /// A reader of this pace has read so many bytes.
    pub(super) fn on_read(&mut self, slot: Slot, bytes: usize, per_second: u32, now: Instant) {
        self.forget(slot);
        let until = now + Duration::from_secs_f64(bytes as f64 / f64::from(per_second.max(1)));
        self.waiting.insert((until, slot.0));
        self.until.insert(slot.0, until);
    }

    /// The reader reads no more.
    pub(super) fn stall(&mut self, slot: Slot) {
        self.stalled.insert(slot.0);
    }

    /// Whether the reader has to wait.
    pub(super) fn is_waiting(&self, slot: Slot) -> bool {
        self.until.contains_key(&slot.0) || self.stalled.contains(&slot.0)
    }

    /// The slot has no reader any more.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.stalled.remove(&slot.0);
        if let Some(until) = self.until.remove(&slot.0) {
            self.waiting.remove(&(until, slot.0));
        }
    }

    /// Those that may read on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Slot> {
        let mut due = Vec::new();
        while let Some(&(until, slot)) = self.waiting.first()
            && until <= now
        {
            self.forget(Slot(slot));
            due.push(Slot(slot));
        }
        due
    }

    /// How long it is until somebody may read on.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let next = self.waiting.first();
        next.map_or(Duration::MAX, |(until, _)| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: u32 = 1000;
    const HOUR: Duration = Duration::from_secs(3600);

    /// A reader waits for exactly the time in which its pace reads what it has read, once.
    #[test]
    fn a_reader_keeps_its_pace() {
        let (start, mut slow) = (Instant::now(), SlowReaders::default());
        let after = |millis| start + Duration::from_millis(millis);
        slow.on_read(Slot(7), 250, PACE, start);
        slow.on_read(Slot(3), 100, PACE, start);
        assert_eq!(slow.patience(start), Duration::from_millis(100));
        assert_eq!(slow.due(after(99)), []);
        assert_eq!(slow.due(after(100)), [Slot(3)]);
        assert!(slow.is_waiting(Slot(7)) && !slow.is_waiting(Slot(3)));
        assert_eq!(slow.due(after(300)), [Slot(7)]);
        assert_eq!((slow.due(after(900)), slow.patience(start)), (vec![], Duration::MAX));
    }

    /// Who reads again while it waits has one wait, the later one.
    #[test]
    fn nobody_waits_twice() {
        let (start, mut slow) = (Instant::now(), SlowReaders::default());
        slow.on_read(Slot(7), 100, PACE, start);
        slow.on_read(Slot(7), 500, PACE, start);
        assert_eq!(slow.due(start + Duration::from_millis(499)), []);
        assert_eq!(slow.due(start + Duration::from_millis(500)), [Slot(7)]);
        assert_eq!(slow.due(start + Duration::from_secs(9)), []);
    }

    /// Who has stalled is never due, until somebody else has the slot.
    #[test]
    fn a_stalled_reader_waits_for_ever() {
        let (start, mut slow) = (Instant::now(), SlowReaders::default());
        slow.stall(Slot(7));
        assert!(slow.is_waiting(Slot(7)) && !slow.is_waiting(Slot(3)));
        assert_eq!((slow.due(start + HOUR), slow.patience(start)), (vec![], Duration::MAX));
        slow.forget(Slot(7));
        assert!(!slow.is_waiting(Slot(7)));
    }

    /// The next reader in a slot is not held to the wait of the one before.
    #[test]
    fn a_wait_ends_with_its_reader() {
        let (start, mut slow) = (Instant::now(), SlowReaders::default());
        slow.on_read(Slot(7), 100, PACE, start);
        slow.forget(Slot(7));
        assert!(!slow.is_waiting(Slot(7)));
        slow.on_read(Slot(7), 400, PACE, start);
        assert_eq!(slow.due(start + Duration::from_millis(399)), []);
        assert_eq!(slow.due(start + Duration::from_millis(400)), [Slot(7)]);
    }
}
