//! Who reads: subscriptions as numbers, and sets of them in order.

use roaring::RoaringBitmap;

use crate::ids::Slot;

/// A subscription's place in its shard's table. A connection that reads one channel has the number of
/// its slot; those of a connection with several channels stand behind all slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reader(pub u32);

impl Reader {
    /// The reader as an index into a table with one entry per reader.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<Slot> for Reader {
    fn from(slot: Slot) -> Self {
        Reader(slot.0)
    }
}

/// Readers, in order. One is kept in place, a few take two bytes each, many one bit each.
///
/// Order matters: neighbours in the kernel's table are served one after the other (random order
/// costs 9 %), and an iteration that remembers the last reader survives joins and leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReaderSet(Set);

/// Most channels of a million have one reader, and a bitmap of one takes a hundred bytes.
#[derive(Clone, Debug, Default)]
enum Set {
    #[default]
    None,
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.from(0).eq(other.from(0))
    }
}

impl Set {
    fn from(&self, first: u32) -> impl Iterator<Item = u32> {
        let (one, many) = match self {
            Set::None => (None, None),
            Set::One(one) => (Some(*one).filter(|&one| one >= first), None),
            Set::Many(many) => (None, Some(many.range(first..))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl ReaderSet {
    /// Puts a reader in. Says whether it was not there.
    pub fn insert(&mut self, Reader(reader): Reader) -> bool {
        match &mut self.0 {
            Set::None => self.0 = Set::One(reader),
            Set::One(one) if *one == reader => return false,
            Set::One(one) => {
                let many = RoaringBitmap::from_iter([*one, reader]);
                self.0 = Set::Many(Box::new(many));
            }
            // Slots are mostly handed out rising, and appending is cheaper than searching.
            Set::Many(many) => return many.try_push(reader).is_ok() || many.insert(reader),
        }
        true
    }

    /// Takes a reader out. Says whether it was there.
    pub fn remove(&mut self, Reader(reader): Reader) -> bool {
        match &mut self.0 {
            Set::None => false,
            Set::One(one) => {
                let was_there = *one == reader;
                if was_there {
                    self.0 = Set::None;
                }
                was_there
            }
            Set::Many(many) => {
                let was_there = many.remove(reader);
                if many.is_empty() {
                    self.0 = Set::None;
                }
                was_there
            }
        }
    }

    /// Puts a reader in or takes it out.
    pub fn set(&mut self, reader: Reader, member: bool) {
        if member {
            self.insert(reader);
        } else {
            self.remove(reader);
        }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        match &self.0 {
            Set::None => 0,
            Set::One(_) => 1,
            Set::Many(many) => u32::try_from(many.len()).expect("readers are counted in 32 bits"),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The readers from `first` on, rising.
    pub fn from(&self, first: Reader) -> impl Iterator<Item = Reader> {
        self.0.from(first.0).map(Reader)
    }

    /// All readers, rising.
    pub fn iter(&self) -> impl Iterator<Item = Reader> {
        self.from(Reader(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is put in and taken out: the set is that of the standard library, in order.
        #[test]
        fn a_set_is_a_set(acts in prop::collection::vec((0u32..6, any::<bool>()), 0..60)) {
            let (mut set, mut oracle) = (ReaderSet::default(), BTreeSet::new());
            for (reader, put) in acts {
                let changed = match put {
                    true => (set.insert(Reader(reader)), oracle.insert(reader)),
                    false => (set.remove(Reader(reader)), oracle.remove(&reader)),
                };
                prop_assert_eq!(changed.0, changed.1);
                prop_assert_eq!(set.len() as usize, oracle.len());
                for first in 0..6 {
                    let expected = oracle.range(first..).map(|&reader| Reader(reader));
                    prop_assert!(set.from(Reader(first)).eq(expected));
                }
            }
        }
    }
}
