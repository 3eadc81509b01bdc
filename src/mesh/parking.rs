//! How a shard goes to sleep without missing what is put into its queues.
//!
//! `verify/loom` compiles this file against loom's atomics and tries every interleaving.

use std::sync::Arc;

use super::sync::{AtomicBool, Ordering, fence};
use crate::io::Bell;

/// Whether a shard sleeps, and the bell that wakes it. Shared by all who put something into one of
/// its queues.
pub struct Parking {
    parked: AtomicBool,
    bell: Arc<dyn Bell>,
}

impl Parking {
    /// Of a shard that is awake and is woken with `bell`.
    pub fn new(bell: Arc<dyn Bell>) -> Arc<Self> {
        Arc::new(Parking { parked: AtomicBool::new(false), bell })
    }

    /// Wakes the owner if it is parked: once per batch of messages, after the last. Costs a fence
    /// and a load if it is awake.
    pub fn wake(&self) {
        // The fence orders the push before the load, as `park` orders its store before the look
        // at the queues that follows it: one of the two always sees the other.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed) {
            self.bell.ring();
        }
    }

    /// The owner says that it is about to wait. It must look at its queues once more after this,
    /// and only wait if they are empty.
    pub fn park(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is back at work.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }
}
