//! What was published before under the same idempotency key, and the last version of each key.
//!
//! Both are bounded: beyond [`REMEMBERED_MAX`] of either the oldest is forgotten.

use std::collections::{HashMap, VecDeque};

use crate::{
    ids::{ChannelName, Position},
    limits::{IDEMPOTENCY_SECONDS, REMEMBERED_MAX},
};

type Key = (ChannelName, Box<str>);

/// What a home remembers of publishers' terms.
#[derive(Default)]
pub(super) struct Remembered {
    first: HashMap<Key, First>,
    /// When each of those came, in microseconds; the oldest first.
    order: VecDeque<(u64, Key)>,
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
        let age_us = IDEMPOTENCY_SECONDS * 1_000_000;
        while self.order.front().is_some_and(|(came_us, _)| came_us + age_us <= now_us) {
            self.forget_oldest();
        }
        self.first.get(&(channel.clone(), key.into())).copied()
    }

    /// Remembers a publication with a key that is new, or what became of one that waited.
    pub fn put(&mut self, channel: &ChannelName, key: &str, first: First, now_us: u64) {
        let key = (channel.clone(), key.into());
        if self.first.insert(key.clone(), first).is_none() {
            self.order.push_back((now_us, key));
        }
        if self.first.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
    }

    /// The publication was rejected after all: the key may be used again.
    pub fn take(&mut self, channel: &ChannelName, key: &str) {
        let key = (channel.clone(), Box::from(key));
        if self.first.remove(&key).is_some() {
            forget_newest(&mut self.order, |(_, known)| *known == key);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
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
            if self.versions.remove(&key).is_some() {
                forget_newest(&mut self.version_order, |known| *known == key);
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

/// Takes the newest that matches out of a queue. What is rejected has come a moment ago: it stands
/// near the back, so that a full disk does not cost a walk over everything for each publication.
fn forget_newest<T>(queue: &mut VecDeque<T>, matches: impl Fn(&T) -> bool) {
    if let Some(at) = queue.iter().rposition(matches) {
        queue.remove(at);
    }
}

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
        remembered.put(&a, "k", published(1), 1_000);
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
            remembered.put(&a, &n.to_string(), published(n), n);
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
        remembered.put(&a, "k", published(1), 0);
        remembered.take(&a, "k");
        assert_eq!(remembered.first(&a, "k", 0), None);
        remembered.set_version(&a, "k", Some(3));
        remembered.set_version(&a, "k", None);
        assert_eq!(remembered.version(&a, "k"), None);
        assert!(remembered.order.is_empty() && remembered.version_order.is_empty());
    }
}
