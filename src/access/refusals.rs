//! Tokens whose signature was refused, so that who shows one again and again costs a look-up each.
//!
//! A token is known by its keyed hash, in the one place that the hash has: a later one in the same
//! place puts it out. That a good token has the hash of a refused one is as likely as guessing 64 bits
//! of a key that each process draws anew.

use crate::limits::TOKENS_REFUSED_REMEMBERED_MAX;

/// The hashes of tokens, none as long as nobody was refused.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<Option<u64>>);

impl Refusals {
    /// Whether this token was refused.
    pub fn has(&self, hash: u64) -> bool {
        self.0.get(place(hash)) == Some(&Some(hash))
    }

    /// Remembers a refused token.
    pub fn put(&mut self, hash: u64) {
        self.0.resize(TOKENS_REFUSED_REMEMBERED_MAX, None);
        self.0[place(hash)] = Some(hash);
    }
}

fn place(hash: u64) -> usize {
    (hash % TOKENS_REFUSED_REMEMBERED_MAX as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as there are places, each known by its whole hash; one more puts one out.
    #[test]
    fn the_refused_are_known_and_bounded() {
        let (mut refusals, places) = (Refusals::default(), TOKENS_REFUSED_REMEMBERED_MAX as u64);
        assert!(!refusals.has(0) && refusals.0.is_empty());
        (0..places).for_each(|hash| refusals.put(hash));
        assert!((0..places).all(|hash| refusals.has(hash) && !refusals.has(hash + places)));
        refusals.put(3 * places + 7);
        assert!(refusals.has(3 * places + 7) && !refusals.has(7));
        assert_eq!((0..places).filter(|hash| refusals.has(*hash)).count() as u64, places - 1);
        assert_eq!(refusals.0.len() as u64, places);
    }
}
