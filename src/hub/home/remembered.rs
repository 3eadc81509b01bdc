//! What was published before under the same idempotency key, and the last version of each key.
//!
//! Both are bounded: beyond [`REMEMBERED_MAX`] of either the oldest is forgotten.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::{
    ids::{ChannelName, Position},
    limits::{IDEMPOTENCY_SECONDS, REMEMBERED_MAX},
};

type Key = (ChannelName, Box<str>);

/// What a home remembers of publishers' terms.
#[derive(Default)]
pub(super) struct Remembered {
    /// The first publications, and until when each is remembered, in microseconds.
    first: HashMap<Key, (First, u64)>,
    /// The same times in order: what is restored comes bucket by bucket, and not by age.
    order: BTreeSet<(u64, Key)>,
    versions: HashMap<Key, u64>,
    version_order: VecDeque<Key>,
}

/// The first publication with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// It waits for the journal.
    Waiting(Position),
    /// It was published.
    Published(Position),
}

impl Remembered {
    /// The first publication with this key in the last five minutes.
    pub fn first(&mut self, channel: &ChannelName, key: &str, now_us: u64) -> Option<First> {
        while self.order.first().is_some_and(|&(until_us, _)| until_us <= now_us) {
            self.forget_oldest();
        }
        self.first.get(&(channel.clone(), key.into())).map(|&(first, _)| first)
    }

    /// Remembers a publication with a key that is new, until `until_us`, or what became of one that
    /// waited.
    pub fn put(&mut self, channel: &ChannelName, key: &str, first: First, until_us: u64) {
        let key = (channel.clone(), key.into());
        if let Some((known, _)) = self.first.get_mut(&key) {
            *known = first;
            return;
        }
        self.order.insert((until_us, key.clone()));
        self.first.insert(key, (first, until_us));
        if self.first.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
    }

    /// The publication was rejected after all: the key may be used again.
    pub fn take(&mut self, channel: &ChannelName, key: &str) {
        let key = (channel.clone(), Box::from(key));
        if let Some((_, until_us)) = self.first.remove(&key) {
            self.order.remove(&(until_us, key));
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.first.remove(&key);
        }
    }

    /// The last version of a key.
    pub fn version(&self, channel: &ChannelName, key: &str) -> Option<u64> {
        self.versions.get(&(channel.clone(), key.into())).copied()
    }

    /// Remembers a key's version, or forgets it.
    pub fn set_version(&mut self, channel: &ChannelName, key: &str, version: Option<u64>) {
        let key = (channel.clone(), key.into());
        let Some(version) = version else {
            // What is rejected has come a moment ago: it stands near the back, so that a full disk does
            // not cost a walk over everything for each publication.
            if self.versions.remove(&key).is_some()
                && let Some(at) = self.version_order.iter().rposition(|known| *known == key)
            {
                self.version_order.remove(at);
            }
            return;
        };
        if self.versions.insert(key.clone(), version).is_none() {
            self.version_order.push_back(key);
        }
        if self.versions.len() > REMEMBERED_MAX
            && let Some(oldest) = self.version_order.pop_front()
        {
            self.versions.remove(&oldest);
        }
    }
}

/// Microseconds for which a key is remembered from when it came.
pub(super) const IDEMPOTENCY_US: u64 = IDEMPOTENCY_SECONDS * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Offset};

    fn published(n: u64) -> First {
        First::Published(Position { epoch: Epoch(1), offset: Offset(u128::from(n)) })
    }

    /// A key is remembered for five minutes, in its own channel, and no longer.
    #[test]
    fn a_key_is_remembered_for_five_minutes() {
        let (a, b) = (ChannelName::new("a").unwrap(), ChannelName::new("b").unwrap());
        let mut remembered = Remembered::default();
        remembered.put(&a, "k", published(1), 1_000 + IDEMPOTENCY_US);
        assert_eq!(remembered.first(&b, "k", 2_000), None);
        assert_eq!(remembered.first(&a, "k", 300_000_999), Some(published(1)));
        assert_eq!(remembered.first(&a, "k", 300_001_000), None);
        assert!(remembered.order.is_empty());
    }

    /// One more than may be remembered, and the oldest is forgotten, of keys and of versions.
    #[test]
    fn what_is_remembered_is_bounded() {
        let a = ChannelName::new("a").unwrap();
        let mut remembered = Remembered::default();
        for n in 0..=REMEMBERED_MAX as u64 {
            remembered.put(&a, &n.to_string(), published(n), 1 + n);
            remembered.set_version(&a, &n.to_string(), Some(n));
        }
        assert_eq!(remembered.first(&a, "0", 0), None);
        assert_eq!(remembered.first(&a, "1", 0), Some(published(1)));
        assert_eq!(remembered.version(&a, "0"), None);
        assert_eq!(remembered.version(&a, "1"), Some(1));
        assert_eq!((remembered.order.len(), remembered.version_order.len()), {
            (REMEMBERED_MAX, REMEMBERED_MAX)
        });
    }

    /// What was rejected may be tried again under the same key.
    #[test]
    fn a_rejected_key_is_free() {
        let a = ChannelName::new("a").unwrap();
        let mut remembered = Remembered::default();
        remembered.put(&a, "k", published(1), 1);
        remembered.take(&a, "k");
        assert_eq!(remembered.first(&a, "k", 0), None);
        remembered.set_version(&a, "k", Some(3));
        remembered.set_version(&a, "k", None);
        assert_eq!(remembered.version(&a, "k"), None);
        assert!(remembered.order.is_empty() && remembered.version_order.is_empty());
    }
}
