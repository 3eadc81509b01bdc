//! Whole shards on a simulated network, against an oracle that forgets nothing.
//!
//! Promise: a subscriber gets every publication of its channel from its handshake to its end, in
//! order, once, byte by byte; it is ended only for a reason; every publisher is answered once; and
//! at rest nothing is owed, kept or counted that is not there.
//!
//! Method: one to three shards with everything that a server gives them, over [`io::sim`]
//! (short sends, refused sends, late events, resets, full tables), are turned by one seeded clock.
//! Clients do real handshakes and decode what they get with a decoder of their own. Failures print
//! their seed, and `STENTOR_SEED=n` runs that one alone.
//!
//! [`io::sim`]: crate::io::sim

mod book;
mod client;
mod deadlines;
mod draining;
mod protocol;
mod rest;
mod seeds;
mod slow;
mod tables;
mod world;

/// Small and seeded, so that a failure can be replayed from the seed that it prints.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
