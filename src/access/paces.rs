//! How fast each publisher publishes: all who have a token of one subject together, or, of a token
//! without a subject, all who have that token.
//!
//! Bounded, in two generations: who publishes moves to the young one, and when that is full it becomes
//! the old one, of which whoever is quiet is forgotten. Who comes back begins with all permits.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
};

use crate::{ids::Tick, limits::PUBLISHERS_REMEMBERED_MAX, shield::Bucket};

/// Permits by publisher.
#[derive(Debug, Default)]
pub(super) struct Paces {
    young: HashMap<Publisher, Bucket>,
    old: HashMap<Publisher, Bucket>,
}

/// Who publishes, in a few bytes that nobody can choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Publisher(u64);

impl Publisher {
    /// Of this subject, or of this token where there is none.
    pub fn of(subject: Option<&str>, token: &str, hasher: &RandomState) -> Publisher {
        Publisher(hasher.hash_one((subject.is_some(), subject.unwrap_or(token))))
    }
}

impl Paces {
    /// Whether this publisher may publish once more at this rate per second; 0 is no limit.
    pub fn take(&mut self, publisher: Publisher, rate: u32, now: Tick) -> bool {
        if rate == 0 {
            return true;
        }
        if let Some(bucket) = self.young.get_mut(&publisher) {
            return bucket.take(rate, now);
        }
        let mut bucket = self.old.remove(&publisher).unwrap_or_default();
        let permitted = bucket.take(rate, now);
        if self.young.len() >= PUBLISHERS_REMEMBERED_MAX / 2 {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(publisher, bucket);
        permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has its own permits, as many at once as in ten seconds, and more with time.
    #[test]
    fn each_publisher_has_permits_of_its_own() {
        let (mut paces, hasher) = (Paces::default(), RandomState::new());
        let of = |subject, token| Publisher::of(subject, token, &hasher);
        assert_eq!(of(Some("anna"), "a"), of(Some("anna"), "b"));
        let publishers = [of(Some("anna"), "a"), of(Some("a"), "b"), of(None, "a"), of(None, "b")];
        let mut published =
            |now| publishers.map(|it| (0..100).filter(|_| paces.take(it, 2, Tick(now))).count());
        assert_eq!(published(0), [20; 4]);
        assert_eq!(published(0), [0; 4]);
        assert_eq!(published(10), [2; 4]);
        assert!((0..1000).all(|_| paces.take(publishers[0], 0, Tick(10))), "no limit");
    }

    /// However many publish, as many are remembered as may be, and who goes on publishing is.
    #[test]
    fn who_is_remembered_is_bounded() {
        let mut paces = Paces::default();
        let busy = Publisher(0);
        let mut permitted = 0;
        for number in 1..=3 * PUBLISHERS_REMEMBERED_MAX as u64 {
            permitted += usize::from(paces.take(busy, 1, Tick(0)));
            assert!(paces.take(Publisher(number), 1, Tick(0)));
            assert!(paces.young.len() + paces.old.len() <= PUBLISHERS_REMEMBERED_MAX, "{number}");
        }
        assert_eq!(permitted, 10);
    }
}
