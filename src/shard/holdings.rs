//! Who makes a shard keep bytes, how many, and who most: so that all together have a bound.

use std::collections::{BTreeSet, HashMap};

use super::Shard;
use crate::{close::CloseReason, ids::Slot, io::Kernel};

/// Bytes that are kept for connections, over all of them and of each that has any.
pub struct Holdings {
    by_slot: HashMap<Slot, usize>,
    /// The same, the largest last.
    order: BTreeSet<(usize, Slot)>,
    bytes: usize,
    /// What they may come to.
    pub bytes_max: usize,
}

impl Holdings {
    /// None, that may come to so much.
    pub fn new(bytes_max: usize) -> Self {
        Holdings { by_slot: HashMap::new(), order: BTreeSet::new(), bytes: 0, bytes_max }
    }

    /// A connection makes us keep so much now. Costs a look into an empty table where nobody holds
    /// anything, which is how it mostly is.
    pub fn set(&mut self, slot: Slot, bytes: usize) {
        let before = match bytes {
            0 => self.by_slot.remove(&slot),
            _ => self.by_slot.insert(slot, bytes),
        };
        if before == Some(bytes) {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, slot));
            self.bytes -= before;
        }
        if bytes > 0 {
            self.order.insert((bytes, slot));
            self.bytes += bytes;
        }
    }

    /// What a connection makes us keep.
    pub fn of(&self, slot: Slot) -> usize {
        self.by_slot.get(&slot).copied().unwrap_or(0)
    }

    /// Who is to go first, while all together hold too much: who holds most.
    pub fn surplus(&self) -> Option<Slot> {
        let &(_, slot) = self.order.last().filter(|_| self.bytes > self.bytes_max)?;
        Some(slot)
    }

    /// Whether nobody holds anything.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty() && self.order.is_empty() && self.bytes == 0
    }
}

impl<K: Kernel> Shard<K> {
    /// Ends those who make us keep most, until all together are within their bounds. Who has sent half
    /// of something is told so. Who does not take what waits for it could not be told, and is cut off.
    pub(super) fn shed(&mut self) -> bool {
        let mut worked = false;
        while let Some(slot) = self.received.surplus() {
            self.end(slot, CloseReason::Overloaded);
            worked = true;
        }
        while let Some(slot) = self.outboxes.surplus() {
            self.close(slot, CloseReason::Overloaded);
            worked = true;
        }
        worked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above the bound who holds most goes, as it is now and not as it was, and nobody at the bound.
    #[test]
    fn who_holds_most_goes_first() {
        let mut holdings = Holdings::new(100);
        holdings.set(Slot(0), 60);
        holdings.set(Slot(1), 40);
        assert_eq!(holdings.surplus(), None, "at the bound");
        holdings.set(Slot(2), 1);
        assert_eq!(holdings.surplus(), Some(Slot(0)));
        holdings.set(Slot(0), 39);
        holdings.set(Slot(2), 50);
        assert_eq!(holdings.surplus(), Some(Slot(2)));
        holdings.set(Slot(2), 0);
        assert_eq!(holdings.surplus(), None);
        holdings.set(Slot(2), 0);
        holdings.set(Slot(1), 0);
        holdings.set(Slot(0), 0);
        assert!(holdings.is_empty());
    }
}
