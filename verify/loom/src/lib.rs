//! No wake-up is lost, in any interleaving that the memory model allows.
//!
//! Compiles `src/mesh/parking.rs` as it is, with loom's atomics in place of the real ones. Run with
//! `cargo test --manifest-path verify/loom/Cargo.toml`; it takes a few seconds.

/// The trait that `Parking` is written against.
pub mod io {
    /// Wakes a shard.
    pub trait Bell: Send + Sync {
        /// Makes the current or the next wait return.
        fn ring(&self);
    }
}

/// The module under test.
#[path = "../../../src/mesh"]
pub mod mesh {
    mod parking;

    pub use parking::Parking;

    mod sync {
        pub use loom::sync::atomic::{AtomicBool, Ordering, fence};
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use loom::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use crate::{io::Bell, mesh::Parking};

    /// Counts how often it was rung.
    struct Counting(AtomicUsize);

    impl Bell for Counting {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What an owner that has parked, looked at its queue and found it empty must be able to rely
    /// on: every push that it did not see rings the bell.
    ///
    /// Method: the queue is a relaxed counter, the weakest that one could be; the owner's wait is
    /// the question whether the bell was or will be rung. All interleavings of one owner and
    /// `senders` senders.
    fn an_unseen_push_rings(senders: usize) {
        loom::model(move || {
            let bell = Arc::new(Counting(AtomicUsize::new(0)));
            let parking = Parking::new(bell.clone());
            let queue = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..senders)
                .map(|_| {
                    let (parking, queue) = (parking.clone(), queue.clone());
                    thread::spawn(move || {
                        queue.fetch_add(1, Ordering::Relaxed);
                        parking.wake();
                    })
                })
                .collect();
            parking.park();
            let seen = queue.load(Ordering::Relaxed);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let rung = bell.0.load(Ordering::SeqCst);
            assert!(seen == senders || rung > 0, "saw {seen}, and would sleep for ever");
            assert!(rung <= 1, "one wake-up is enough");
        });
    }

    /// One sender.
    #[test]
    fn one_push_is_seen_or_rings() {
        an_unseen_push_rings(1);
    }

    /// Two at once: only one of them rings.
    #[test]
    fn of_two_pushes_one_rings() {
        an_unseen_push_rings(2);
    }
}
