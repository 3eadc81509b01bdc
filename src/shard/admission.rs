//! What all shards decide together: how many connections there may be, and when to stop.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::{ids::ShardId, shield::Addresses};

/// The limit of connections over all shards.
///
/// Touched once per accept and once per close, never per delivery.
#[derive(Debug)]
pub struct Admission {
    connections_max: u32,
    connections: AtomicU32,
    /// A bit per shard whose table is nearly full. With SO_REUSEPORT a listener that alone stops
    /// accepting would leave its share of the clients hanging, so all stop together.
    exhausted: [AtomicU64; 4],
    /// What each address has of them.
    pub addresses: Addresses,
}

impl Admission {
    /// Admits at most `connections_max` connections at one time.
    pub fn new(connections_max: u32) -> Self {
        let connections = AtomicU32::new(0);
        let (exhausted, addresses) = Default::default();
        Admission { connections_max, connections, exhausted, addresses }
    }

    /// Admits one more connection, unless there are as many as there may be.
    pub fn enter(&self) -> bool {
        let admitted = self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max;
        if !admitted {
            self.leave();
        }
        admitted
    }

    /// A connection that was admitted is over.
    pub fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether nobody who was admitted is left.
    pub fn is_empty(&self) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
    }

    /// A shard says whether its table is nearly full. Returns whether that is news, for which
    /// shards that sleep must be woken.
    pub fn tell_exhausted(&self, shard: ShardId, exhausted: bool) -> bool {
        let (word, bit) = (&self.exhausted[usize::from(shard.0 / 64)], 1 << (shard.0 % 64));
        let is_news = (word.load(Ordering::Relaxed) & bit != 0) != exhausted;
        if is_news {
            word.fetch_xor(bit, Ordering::Relaxed);
        }
        is_news
    }

    /// Whether any shard's table is nearly full.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }
}

/// The server's wish to stop, and whether anybody is accepted meanwhile.
#[derive(Debug)]
pub struct Drain {
    begun: AtomicBool,
    window_ms: AtomicU64,
    leaves_backlog: AtomicBool,
    /// Nobody is accepted, since another server does.
    holds_accepts: AtomicBool,
    handed_over: AtomicBool,
    /// Shards that accept.
    accepting: AtomicU32,
}

impl Drain {
    /// Not yet; once it is begun, connections are closed over this window.
    pub fn new(window: Duration) -> Self {
        let window_ms = AtomicU64::new(window.as_millis() as u64);
        let [begun, leaves_backlog, holds_accepts, handed_over] = [false; 4].map(AtomicBool::new);
        let accepting = AtomicU32::new(0);
        Drain { begun, window_ms, leaves_backlog, holds_accepts, handed_over, accepting }
    }

    /// From now on nobody is accepted, and connections are closed. Shards that sleep must be
    /// woken.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether it was begun.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Whether the listeners outlive this server: who comes during the drain is left to a successor
    /// then, and not told to go away.
    pub fn leave_backlog(&self, listeners_outlive_us: bool) {
        self.leaves_backlog.store(listeners_outlive_us, Ordering::Relaxed);
    }

    /// From now on nobody is accepted, or everybody again: another server has the same listeners, and
    /// who comes is left to it. Shards that sleep must be woken.
    pub fn hold_accepts(&self, hold: bool) {
        self.holds_accepts.store(hold, Ordering::SeqCst);
    }

    /// Whether nobody is accepted now, since another server does or will.
    pub fn is_leaving_backlog(&self) -> bool {
        self.holds_accepts.load(Ordering::SeqCst)
            || (self.leaves_backlog.load(Ordering::Relaxed) && self.has_begun())
    }

    /// A successor accepts. Who was accepted here before is served in the drain like all others, and
    /// not turned away.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::SeqCst);
    }

    /// Whether a successor accepts.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::SeqCst)
    }

    /// A shard says that it accepts, or that it does no more.
    pub fn tell_accepting(&self, accepts: bool) {
        match accepts {
            true => self.accepting.fetch_add(1, Ordering::SeqCst),
            false => self.accepting.fetch_sub(1, Ordering::SeqCst),
        };
    }

    /// Whether any shard accepts.
    pub fn anybody_accepts(&self) -> bool {
        self.accepting.load(Ordering::SeqCst) > 0
    }

    /// Over how long connections are closed.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms.load(Ordering::Relaxed))
    }

    /// Sets that, before it is begun.
    pub fn set_window(&self, window: Duration) {
        self.window_ms.store(window.as_millis() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exactly as many are admitted as there may be, and one more for each that leaves.
    #[test]
    fn the_limit_is_exact() {
        let admission = Admission::new(2);
        assert_eq!([admission.enter(), admission.enter(), admission.enter()], [true, true, false]);
        admission.leave();
        assert_eq!([admission.enter(), admission.enter()], [true, false]);
    }

    /// One exhausted shard is enough, and saying it twice is like saying it once.
    #[test]
    fn any_exhausted_shard_counts() {
        let admission = Admission::new(2);
        for shard in [0, 63, 64, 255].map(ShardId) {
            assert!(admission.tell_exhausted(shard, true));
            assert!(!admission.tell_exhausted(shard, true));
            assert!(admission.is_exhausted());
            assert!(admission.tell_exhausted(shard, false));
            assert!(!admission.is_exhausted());
        }
    }
}
