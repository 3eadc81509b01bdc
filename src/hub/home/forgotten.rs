//! How far channels had come that are not in memory.
//!
//! A client that comes back to a channel which was freed must be told whether it missed something.
//! Remembering each name for ever would have no bound, so names share cells by hash: a cell has the
//! highest offset of all of them. A client at or above it has missed nothing, for certain; one below
//! it may be told of a gap that was another channel's, which costs it a look elsewhere and no more.

use crate::ids::{BUCKETS, Bucket, ChannelName};

/// Cells in each bucket: with a million channels four names share one. 16 KiB per bucket that has
/// forgotten anything.
const CELLS: usize = 1024;

/// The highest offsets of channels that are not in memory.
#[derive(Default)]
pub(super) struct Forgotten {
    buckets: Vec<Option<Box<[u128; CELLS]>>>,
}

impl Forgotten {
    /// A channel that is not in memory, or will not be, has come to this offset.
    pub fn note(&mut self, name: &ChannelName, offset: u128) {
        self.buckets.resize(BUCKETS, None);
        let bucket = &mut self.buckets[usize::from(name.bucket().0)];
        let cell = &mut bucket.get_or_insert_with(|| Box::new([0; CELLS]))[cell(name)];
        *cell = offset.max(*cell);
    }

    /// All channels of a bucket may have come to this offset.
    pub fn note_all(&mut self, bucket: Bucket, offset: u128) {
        self.buckets.resize(BUCKETS, None);
        let bucket = &mut self.buckets[usize::from(bucket.0)];
        let cells = bucket.get_or_insert_with(|| Box::new([0; CELLS]));
        cells.iter_mut().for_each(|cell| *cell = offset.max(*cell));
    }

    /// No publication of the channel that was made while it was not in memory has a higher offset.
    pub fn last(&self, name: &ChannelName) -> u128 {
        let bucket = self.buckets.get(usize::from(name.bucket().0));
        bucket.and_then(Option::as_ref).map_or(0, |cells| cells[cell(name)])
    }
}

fn cell(name: &ChannelName) -> usize {
    // The bits that buckets are not made of.
    (name.fingerprint() >> 8) as usize % CELLS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is remembered of a channel is never below where it came to.
    #[test]
    fn nothing_is_remembered_as_less() {
        let mut forgotten = Forgotten::default();
        let names: Vec<ChannelName> =
            (0..10_000).map(|n| ChannelName::new(&format!("user.{n}")).unwrap()).collect();
        assert_eq!(forgotten.last(&names[0]), 0);
        for (offset, name) in (1..).zip(&names) {
            forgotten.note(name, offset);
        }
        forgotten.note(&names[9_999], 1);
        let exact = (1..).zip(&names).filter(|(offset, name)| forgotten.last(name) == *offset);
        assert!(exact.count() > 9_500, "cells are spread");
        assert!((1..).zip(&names).all(|(offset, name)| forgotten.last(name) >= offset));
    }

    /// What all channels of a bucket may have come to holds for each of them, and for no other bucket's.
    #[test]
    fn a_whole_bucket_is_remembered() {
        let mut forgotten = Forgotten::default();
        let [news, other] = ["news", "a"].map(|name| ChannelName::new(name).unwrap());
        forgotten.note(&news, 9);
        forgotten.note_all(news.bucket(), 7);
        assert_eq!((forgotten.last(&news), forgotten.last(&other)), (9, 0));
        forgotten.note_all(news.bucket(), 11);
        assert_eq!((forgotten.last(&news), forgotten.last(&other)), (11, 0));
    }
}
