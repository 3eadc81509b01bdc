//! Tokens that were good, so that those who come back all at once cost a look-up each.
//!
//! Two generations: what is used moves to the young one, and when that is full it becomes the old
//! one, whose unused rest is forgotten. Found only by the whole token.

use std::{collections::HashMap, mem, sync::Arc};

use super::Grants;
use crate::limits::{TOKENS_REMEMBERED_BYTES_MAX, TOKENS_REMEMBERED_MAX};

/// Tokens with what they grant.
#[derive(Debug)]
pub(super) struct Cache {
    young: HashMap<Box<str>, Arc<Grants>>,
    old: HashMap<Box<str>, Arc<Grants>>,
    /// Of the young.
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Cache::new(TOKENS_REMEMBERED_MAX, TOKENS_REMEMBERED_BYTES_MAX)
    }
}

impl Cache {
    /// Remembers at most so many tokens, of at most so many bytes together.
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        let (young, old) = Default::default();
        Cache { young, old, bytes: 0, entries_max: entries_max / 2, bytes_max: bytes_max / 2 }
    }

    /// What this token was found to grant.
    pub fn get(&mut self, token: &str) -> Option<Arc<Grants>> {
        if let Some(grants) = self.young.get(token) {
            return Some(Arc::clone(grants));
        }
        let (token, grants) = self.old.remove_entry(token)?;
        self.insert(token, &grants);
        Some(grants)
    }

    /// Remembers a good token, unless it takes more than there is.
    pub fn put(&mut self, token: &str, grants: &Arc<Grants>) {
        if weight(token, grants) <= self.bytes_max {
            self.insert(token.into(), grants);
        }
    }

    fn insert(&mut self, token: Box<str>, grants: &Arc<Grants>) {
        let weight = weight(&token, grants);
        if self.young.len() >= self.entries_max || self.bytes + weight > self.bytes_max {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        // Two threads may have verified the same token at once.
        if self.young.insert(token, Arc::clone(grants)).is_none() {
            self.bytes += weight;
        }
    }
}

/// About what an entry takes, its place in the table included.
fn weight(token: &str, grants: &Grants) -> usize {
    token.len() + grants.bytes() + 2 * size_of::<(Box<str>, Arc<Grants>)>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Arc<Grants> {
        Arc::new(Grants { until: 7, ..Grants::default() })
    }

    /// Never more entries than there may be, and what is used again is not forgotten.
    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut cache = Cache::new(8, 1 << 20);
        for number in 0..1000 {
            cache.put(&number.to_string(), &grants());
            assert!(cache.young.len() + cache.old.len() <= 8, "after {number}");
            if number >= 3 {
                cache.put("mine", &grants());
            }
            assert_eq!(cache.get("mine").is_some(), number >= 3, "after {number}");
        }
        assert!(cache.get("999").is_some() && cache.get("900").is_none());
        assert!(cache.get("99").is_none(), "found by the whole token only");
    }

    /// The same for bytes: what alone takes more than there is, is not remembered at all.
    #[test]
    fn bytes_are_bounded() {
        let one = weight(&"x".repeat(100), &grants());
        let mut cache = Cache::new(1000, 8 * one);
        for number in 0..1000 {
            cache.put(&format!("{number:0>100}"), &grants());
            let kept = cache.young.len() + cache.old.len();
            assert_eq!(kept, (number + 1).min(4 + number % 4 + 1), "after {number}");
        }
        let huge = "x".repeat(4 * one);
        cache.put(&huge, &grants());
        assert!(cache.get(&huge).is_none());
    }
}
