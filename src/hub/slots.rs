//! A set of connections in slot order.

use roaring::RoaringBitmap;

use crate::ids::Slot;

/// Connections, in the order of their slots. Two bytes each when few, one bit each when dense.
///
/// Slot order matters: neighbours in the kernel's table are served one after the other (random
/// order costs 9 %), and an iteration that remembers the last slot survives joins and leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotSet(RoaringBitmap);

impl SlotSet {
    /// Puts a slot in. Says whether it was not there.
    pub fn insert(&mut self, slot: Slot) -> bool {
        // Slots are mostly handed out rising, and appending is cheaper than searching.
        self.0.try_push(slot.0).is_ok() || self.0.insert(slot.0)
    }

    /// Takes a slot out. Says whether it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        self.0.remove(slot.0)
    }

    /// Puts a slot in or takes it out.
    pub fn set(&mut self, slot: Slot, member: bool) {
        if member {
            self.insert(slot);
        } else {
            self.remove(slot);
        }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("slots are counted in 32 bits")
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The slots from `first` on, rising.
    pub fn from(&self, first: Slot) -> impl Iterator<Item = Slot> {
        self.0.range(first.0..).map(Slot)
    }

    /// All slots, rising.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        self.0.iter().map(Slot)
    }
}
