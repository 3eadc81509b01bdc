//! What shards and the control plane hand each other: bounded queues, and one wake-up per batch.
//!
//! Every shard has two queues: an [`Inbox`] of messages from other shards, and an [`Ingress`] of
//! publications from outside. Both are bounded and lock-free. A sender never waits: a full queue
//! gives the message back. Between shards that is harmless because heads and interests are idempotent (the sender
//! keeps one bit that it owes one, and tells the newest next turn); outside publications are
//! refused with 503 or pushed back to the bus.
//!
//! Knows nothing of channels: what travels is a type parameter.
#![forbid(unsafe_code)]

mod ingress;
mod parking;
mod questions;

pub use ingress::{
    Accepted, Answer, Asker, Inflow, Ingress, Publish, Rejected, SequenceNews, Terms, Ticket,
};
pub use parking::Parking;
pub use questions::Questions;

/// The atomics of [`Parking`], so that `verify/loom` can put its own in their place.
mod sync {
    pub use std::sync::atomic::{AtomicBool, Ordering, fence};
}

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::ids::ShardId;

/// A shard's queue of messages from other shards, shared by all of them.
pub struct Inbox<M> {
    queue: ArrayQueue<M>,
    parking: Arc<Parking>,
}

impl<M> Inbox<M> {
    /// An empty inbox for `capacity` messages.
    pub fn new(capacity: usize, parking: Arc<Parking>) -> Self {
        Inbox { queue: ArrayQueue::new(capacity), parking }
    }

    /// Puts a message in, or gives it back if the inbox is full. The owner is not woken: call
    /// [`Inbox::wake`] after the last message of a batch.
    pub fn push(&self, message: M) -> Result<(), M> {
        self.queue.push(message)
    }

    /// Takes the oldest message.
    pub fn pop(&self) -> Option<M> {
        self.queue.pop()
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Wakes the owner if it is parked.
    pub fn wake(&self) {
        self.parking.wake();
    }
}

/// All inboxes, in the order of their shards.
pub struct Mesh<M> {
    inboxes: Arc<[Inbox<M>]>,
}

impl<M> Clone for Mesh<M> {
    fn clone(&self) -> Self {
        Mesh { inboxes: Arc::clone(&self.inboxes) }
    }
}

impl<M> Mesh<M> {
    /// A mesh of one shard per parking, each with an inbox for `capacity` messages.
    pub fn new<'a>(capacity: usize, shards: impl IntoIterator<Item = &'a Arc<Parking>>) -> Self {
        let inbox = |parking: &Arc<Parking>| Inbox::new(capacity, Arc::clone(parking));
        Mesh { inboxes: shards.into_iter().map(inbox).collect() }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.inboxes.len()).expect("shards are counted in 16 bits")
    }

    /// The inbox of one shard.
    pub fn inbox(&self, shard: ShardId) -> &Inbox<M> {
        &self.inboxes[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;
    use crate::io::Bell;

    struct ThreadBell(mpsc::SyncSender<()>);

    impl Bell for ThreadBell {
        fn ring(&self) {
            let _ = self.0.try_send(());
        }
    }

    fn mesh(capacity: usize) -> (Mesh<u32>, mpsc::Receiver<()>) {
        let (ring, rung) = mpsc::sync_channel(1);
        let parking = Parking::new(Arc::new(ThreadBell(ring)));
        (Mesh::new(capacity, [&parking]), rung)
    }

    /// A full inbox gives the message back and keeps what it has, in order.
    #[test]
    fn a_full_inbox_gives_the_message_back() {
        let (mesh, _rung) = mesh(2);
        let inbox = mesh.inbox(ShardId(0));
        assert_eq!([inbox.push(1), inbox.push(2), inbox.push(3)], [Ok(()), Ok(()), Err(3)]);
        assert_eq!([inbox.pop(), inbox.pop(), inbox.pop()], [Some(1), Some(2), None]);
    }

    /// Only a parked owner is woken, and only once.
    #[test]
    fn only_a_parked_owner_is_woken() {
        let (mesh, rung) = mesh(2);
        let inbox = mesh.inbox(ShardId(0));
        inbox.wake();
        assert!(rung.try_recv().is_err(), "nobody was parked");
        inbox.parking.park();
        inbox.wake();
        inbox.wake();
        assert!(rung.try_recv().is_ok());
        assert!(rung.try_recv().is_err(), "one wake-up is enough");
    }

    /// No message is ever left in the inbox of a sleeping owner.
    ///
    /// Method: the owner sleeps without a time-out whenever park, look, wait allows it; a lost
    /// wake-up would leave it there for ever and the test would not end.
    #[test]
    fn no_wake_up_is_lost() {
        const MESSAGES: u32 = 20_000;
        let (mesh, rung) = mesh(4);
        let sender = mesh.clone();
        let publisher = thread::spawn(move || {
            let inbox = sender.inbox(ShardId(0));
            for n in 0..MESSAGES {
                while inbox.push(n).is_err() {
                    inbox.wake();
                    thread::yield_now();
                }
                inbox.wake();
            }
        });
        let inbox = mesh.inbox(ShardId(0));
        let mut expected = 0;
        while expected < MESSAGES {
            while let Some(n) = inbox.pop() {
                assert_eq!(n, expected);
                expected += 1;
            }
            inbox.parking.park();
            if inbox.is_empty() && expected < MESSAGES {
                rung.recv().unwrap();
            }
            inbox.parking.unpark();
        }
        publisher.join().unwrap();
    }
}
