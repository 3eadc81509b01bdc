//! What a shard is asked from outside: a bounded queue of questions.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::Parking;

/// The questions to one shard. Each brings with it whatever takes its answer.
pub struct Questions<Q> {
    queue: ArrayQueue<Q>,
    parking: Arc<Parking>,
}

impl<Q> Questions<Q> {
    /// Room for `capacity` questions to the shard that `parking` wakes.
    pub fn new(capacity: usize, parking: Arc<Parking>) -> Self {
        Questions { queue: ArrayQueue::new(capacity), parking }
    }

    /// Asks, and wakes the shard; or gives the question back if as many wait as there may.
    pub fn ask(&self, question: Q) -> Result<(), Q> {
        self.queue.push(question)?;
        self.parking.wake();
        Ok(())
    }

    /// The shard takes the oldest question.
    pub fn take(&self) -> Option<Q> {
        self.queue.pop()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
