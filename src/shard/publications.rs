//! Publications from outside on their way into their channels.

use std::collections::{BTreeMap, VecDeque};

use super::Shard;
#[cfg(test)]
use crate::mesh::Ticket;
use crate::{
    ids::ChannelName,
    io::Kernel,
    limits::{PUBLICATION_BYTES_PER_TURN_MAX, PUBLICATIONS_PER_TURN_MAX},
    mesh::{Accepted, Answer, Publish},
};

/// Publications of channels that are congested: some shard cannot send them as fast as they come,
/// and going on would take from its subscribers what they had no chance to be sent.
///
/// Each keeps its place in the ingress until it is answered, so there are never more than that has
/// places; once all are taken, publishers are told to come back. Ordered, so that a simulation
/// can be repeated.
#[derive(Default)]
pub struct Held {
    by_channel: BTreeMap<ChannelName, VecDeque<Publish>>,
}

impl Held {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.by_channel.is_empty()
    }

    /// Whether the publication with this ticket is held.
    #[cfg(test)]
    pub fn has(&self, ticket: Ticket) -> bool {
        self.by_channel.values().flatten().any(|publish| publish.ticket == ticket)
    }

    fn put(&mut self, publish: Publish) {
        self.by_channel.entry(publish.channel.clone()).or_default().push_back(publish);
    }

    /// The oldest publication of a channel that is not congested.
    fn take(&mut self, is_congested: impl Fn(&ChannelName) -> bool) -> Option<Publish> {
        let channel = self.by_channel.keys().find(|&channel| !is_congested(channel))?.clone();
        let queue = self.by_channel.get_mut(&channel)?;
        let oldest = queue.pop_front();
        if queue.is_empty() {
            self.by_channel.remove(&channel);
        }
        oldest
    }
}

impl<K: Kernel> Shard<K> {
    /// Gives publications their positions, up to a turn's budget, and answers them: first those
    /// that were held back, then those that have come since.
    pub(super) fn take_publications(&mut self) -> bool {
        let (mut taken, mut bytes) = (0, 0);
        while taken < PUBLICATIONS_PER_TURN_MAX && bytes < PUBLICATION_BYTES_PER_TURN_MAX {
            let Some(publish) = self.next_publication() else { break };
            (taken, bytes) = (taken + 1, bytes + publish.payload.len());
            self.publish(publish);
        }
        if taken > 0 {
            self.ingress().flush_answers();
        }
        taken > 0
    }

    fn next_publication(&mut self) -> Option<Publish> {
        if let Some(publish) = self.held.take(|channel| self.home.is_congested(channel)) {
            return Some(publish);
        }
        loop {
            let publish = self.ingress().take()?;
            if !self.home.is_congested(&publish.channel) {
                return Some(publish);
            }
            self.held.put(publish);
        }
    }

    fn publish(&mut self, Publish { ticket, channel, payload, .. }: Publish) {
        let published = self.home.publish(&channel, &payload);
        let counters = self.counters();
        counters.publications.add(1);
        counters.publication_bytes.add(payload.len() as u64);
        counters.encodings.add(u64::from(published.encodings));
        let (position, subscribers) = (published.position, published.subscribers);
        let accepted = Accepted { position, subscribers, repeated: false };
        self.ingress().answer(Answer { ticket, outcome: Ok(accepted) });
    }
}
