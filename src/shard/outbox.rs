//! Bytes for one connection alone: answers, pongs, close frames. Exist only while they wait.

use std::collections::HashMap;

use super::holdings::Holdings;
use crate::{
    ids::Slot,
    limits::{
        COMPOSE_BYTES_MAX, COMPOSED_BYTES_PER_SHARD_MAX, CUT_FRAME_BYTES_PER_SHARD_MAX,
        OUTBOX_BYTES_PER_SHARD_MAX,
    },
};

/// The outboxes that are not empty.
pub struct Outboxes {
    by_slot: HashMap<Slot, Outbox>,
    /// Bytes of cut frames in all of them.
    rests: usize,
    /// Bytes in all of them.
    bytes: usize,
    /// What they may come to.
    pub bytes_max: usize,
    /// Those with more than [`LITTLE`] in them.
    large: Holdings,
}

/// Bytes of an outbox that is not worth being ordered by size: a ping, an answer, a goodbye.
const LITTLE: usize = 1024;

impl Default for Outboxes {
    fn default() -> Self {
        Outboxes {
            by_slot: HashMap::new(),
            rests: 0,
            bytes: 0,
            bytes_max: OUTBOX_BYTES_PER_SHARD_MAX,
            large: Holdings::new(0),
        }
    }
}

#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// How many of the bytes were the rest of a cut frame.
    rest: usize,
}

impl Outboxes {
    /// Appends private bytes.
    pub fn append(&mut self, slot: Slot, bytes: &[u8]) {
        let outbox = self.by_slot.entry(slot).or_default();
        outbox.bytes.extend_from_slice(bytes);
        self.bytes += bytes.len();
        if outbox.bytes.len() > LITTLE {
            self.large.set(slot, outbox.bytes.len());
        }
    }

    /// Whose is to be dropped, while all together have more than they may: the largest, or any where
    /// all are small.
    pub fn surplus(&self) -> Option<Slot> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        self.large.surplus().or_else(|| self.by_slot.keys().next().copied())
    }

    /// Bytes that a connection has yet to take, if they are more than a little.
    pub fn large(&self, slot: Slot) -> usize {
        self.large.of(slot)
    }

    /// Bytes of publications that may be written for one connection alone: a part of what all of them
    /// may have waiting, so that many that do not read get little each.
    pub fn room_to_compose(&self) -> usize {
        let left = COMPOSED_BYTES_PER_SHARD_MAX.saturating_sub(self.bytes);
        (left / 64).min(COMPOSE_BYTES_MAX)
    }

    /// How many bytes of cut frames can be kept beside those that are.
    pub fn room(&self) -> usize {
        CUT_FRAME_BYTES_PER_SHARD_MAX - self.rests
    }

    /// Puts the rest of a cut frame in front of everything else. It must fit into the room there
    /// is. Nothing else can have been begun while a frame is cut.
    pub fn put_rest(&mut self, slot: Slot, rest: Vec<u8>) {
        assert!(rest.len() <= self.room(), "{} bytes in {}", rest.len(), self.room());
        let outbox = self.by_slot.entry(slot).or_default();
        debug_assert_eq!((outbox.sent, outbox.rest), (0, 0));
        self.rests += rest.len();
        self.bytes += rest.len();
        outbox.rest = rest.len();
        outbox.bytes.splice(0..0, rest);
        if outbox.bytes.len() > LITTLE {
            self.large.set(slot, outbox.bytes.len());
        }
    }

    /// What waits; empty if nothing does.
    pub fn waiting(&self, slot: Slot) -> &[u8] {
        self.by_slot.get(&slot).map_or(&[], |outbox| &outbox.bytes[outbox.sent..])
    }

    /// Whether something waits.
    pub fn has(&self, slot: Slot) -> bool {
        self.by_slot.contains_key(&slot)
    }

    /// So many bytes were sent. The outbox is gone when nothing is left.
    pub fn on_sent(&mut self, slot: Slot, written: usize) {
        if let Some(outbox) = self.by_slot.get_mut(&slot) {
            outbox.sent += written;
            if outbox.sent == outbox.bytes.len() {
                self.remove(slot);
            }
        }
    }

    /// Drops whatever waits.
    pub fn remove(&mut self, slot: Slot) {
        if let Some(outbox) = self.by_slot.remove(&slot) {
            self.rests -= outbox.rest;
            self.bytes -= outbox.bytes.len();
            self.large.set(slot, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cut frame's rest goes first, and an outbox that is empty is gone.
    #[test]
    fn the_rest_of_a_cut_frame_goes_first() {
        let (mut outboxes, slot) = (Outboxes::default(), Slot(3));
        outboxes.append(slot, b"close");
        outboxes.put_rest(slot, b"rest ".to_vec());
        assert_eq!(outboxes.waiting(slot), b"rest close");
        outboxes.on_sent(slot, 3);
        outboxes.append(slot, b"!");
        assert_eq!(outboxes.waiting(slot), b"t close!");
        outboxes.on_sent(slot, 8);
        assert!(!outboxes.has(slot) && outboxes.rests == 0);
    }

    /// The more waits for all connections, the less is written for one, and what was sent waits no
    /// more.
    #[test]
    fn composing_has_a_bound() {
        let mut outboxes = Outboxes::default();
        assert_eq!(outboxes.room_to_compose(), COMPOSE_BYTES_MAX);
        outboxes.append(Slot(0), &vec![0; COMPOSED_BYTES_PER_SHARD_MAX - 6400]);
        assert_eq!(outboxes.room_to_compose(), 100);
        outboxes.put_rest(Slot(1), vec![0; 6400]);
        outboxes.append(Slot(2), b"more than there is room for");
        assert_eq!(outboxes.room_to_compose(), 0);
        outboxes.on_sent(Slot(0), COMPOSED_BYTES_PER_SHARD_MAX - 6400);
        outboxes.remove(Slot(1));
        assert_eq!(outboxes.room_to_compose(), COMPOSE_BYTES_MAX);
    }

    /// Above the bound the largest goes first, whatever of it was sent, and then all that are left.
    #[test]
    fn the_largest_outbox_goes_first() {
        let mut outboxes = Outboxes { bytes_max: 100, ..Outboxes::default() };
        (0..3).for_each(|slot| outboxes.append(Slot(slot), &[0; 50]));
        outboxes.append(Slot(3), &[0; LITTLE + 1]);
        outboxes.put_rest(Slot(4), vec![0; LITTLE]);
        outboxes.append(Slot(4), b"more");
        outboxes.on_sent(Slot(4), LITTLE);
        for expected in [4, 3] {
            assert_eq!(outboxes.surplus(), Some(Slot(expected)));
            outboxes.remove(Slot(expected));
        }
        let last = outboxes.surplus().unwrap();
        assert!(last.0 < 3);
        outboxes.remove(last);
        assert_eq!(outboxes.surplus(), None, "at the bound");
        assert!(outboxes.large.is_empty());
    }

    /// Room is taken by rests, and given back with the outbox that held them.
    #[test]
    fn rests_take_room() {
        let mut outboxes = Outboxes::default();
        outboxes.put_rest(Slot(0), vec![0; 100]);
        outboxes.append(Slot(0), b"not counted");
        outboxes.put_rest(Slot(1), vec![0; CUT_FRAME_BYTES_PER_SHARD_MAX - 100]);
        assert_eq!(outboxes.room(), 0);
        outboxes.remove(Slot(0));
        assert_eq!(outboxes.room(), 100);
    }
}
