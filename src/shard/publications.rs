//! Publications from outside on their way into their channels.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::Shard;
use crate::{
    hub::{Durable, Keep, Published},
    ids::{Bucket, ChannelName, Epoch},
    io::Kernel,
    journal::{Compaction, Landed, Landing, Record, Writer},
    limits::{PUBLICATION_BYTES_PER_TURN_MAX, PUBLICATIONS_PER_TURN_MAX},
    mesh::{Asker, Inflow, Publish, SequenceNews, Ticket},
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

    /// Whether something from this publisher is held.
    fn has_from(&self, asker: Asker) -> bool {
        self.by_channel.values().flatten().any(|publish| publish.asker == asker)
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

/// A shard's end of an input.
#[derive(Default)]
pub(super) struct FeedEnd {
    /// Whether it was answered since it was last told so.
    is_answered: bool,
    /// News of a sequence that is not to overtake records that are held. Nothing further is taken
    /// from the input until then.
    news: Option<SequenceNews>,
}

impl FeedEnd {
    /// Whether news waits for records before it.
    pub(super) fn waits(&self) -> bool {
        self.news.is_some()
    }

    /// The input is to hear that it was answered.
    pub(super) fn on_answered(&mut self) {
        self.is_answered = true;
    }
}

/// A shard's end of the journal.
pub struct JournalEnd {
    /// The numbering of what it keeps.
    pub epoch: Epoch,
    /// The way to the disk.
    pub writer: Writer,
    /// What became of it.
    pub landing: Arc<Landing>,
}

/// What an earlier run had on disk of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heritage {
    /// Its last offset.
    pub last: u64,
    /// Records up to this offset may have been dropped.
    pub floor: u64,
    /// Its records, by rising offset.
    pub records: Vec<Record>,
}

impl<K: Kernel> Shard<K> {
    /// Takes what an earlier run had on disk, of a bucket whose home this is. To be called before the
    /// first turn.
    pub fn restore(&mut self, bucket: Bucket, heritage: Heritage) {
        let Heritage { last, floor, records } = heritage;
        self.home.restore_floor(bucket, floor);
        for record in records {
            let Record { offset, at_ms, channel, kind, payload, terms } = record;
            let age_us = self.setup.started_ms.saturating_sub(at_ms).saturating_mul(1000);
            let (asker, ticket) = (Asker::Nobody, Ticket(0));
            let publish = Publish { asker, ticket, channel, kind, payload, terms, position: None };
            self.home.restore(&publish, offset, 0, age_us);
        }
        self.home.restore_offset(bucket, last);
    }

    /// Gives publications their positions, up to a turn's budget, and answers them: first those
    /// that were held back, then those that have come since.
    pub(super) fn take_publications(&mut self) -> bool {
        let (mut taken, mut bytes) = (0, 0);
        while taken < PUBLICATIONS_PER_TURN_MAX && bytes < PUBLICATION_BYTES_PER_TURN_MAX {
            let Some(publish) = self.next_publication() else { break };
            (taken, bytes) = (taken + 1, bytes + publish.payload.len());
            let published = self.home.publish(publish, self.now.us);
            self.count(published);
        }
        self.give_answers();
        self.write_journal();
        taken > 0
    }

    fn next_publication(&mut self) -> Option<Publish> {
        if let Some(publish) = self.held.take(|channel| self.home.is_congested(channel)) {
            return Some(publish);
        }
        let doors = self.feeds.len() + 1;
        (0..doors).find_map(|_| {
            let door = self.next_door;
            self.next_door = (door + 1) % doors;
            self.next_from(door)
        })
    }

    /// The next publication from the control plane's ingress, which is door 0, or from an input's,
    /// that is not to be held back.
    fn next_from(&mut self, door: usize) -> Option<Publish> {
        let me = usize::from(self.setup.id.0);
        loop {
            let inflow = match door.checked_sub(1) {
                None => self.setup.ingresses[me].take()?,
                Some(input) if self.feeds[input].news.is_some() => self.next_news(input)?,
                Some(input) => self.setup.inputs[input][me].take()?,
            };
            match inflow {
                Inflow::Publish(publish) if self.home.is_congested(&publish.channel) => {
                    self.held.put(publish);
                }
                Inflow::Publish(publish) => return Some(publish),
                Inflow::Sequence(news) => self.on_sequence(door, news),
            }
        }
    }

    /// News of a sequence that waited for records before it to be published, if they are.
    fn next_news(&mut self, input: usize) -> Option<Inflow> {
        let asker = Asker::Input(input as u16);
        let news = &mut self.feeds[input].news;
        news.take_if(|_| !self.held.has_from(asker)).map(Inflow::Sequence)
    }

    /// Takes news of a sequence, or keeps it until what came before it is published.
    fn on_sequence(&mut self, door: usize, news: SequenceNews) {
        let input = door - 1;
        if self.held.has_from(Asker::Input(input as u16)) {
            self.feeds[input].news = Some(news);
            return;
        }
        self.home.on_sequence(news, self.now.us);
        self.setup.inputs[input][usize::from(self.setup.id.0)].release();
        self.feeds[input].is_answered = true;
    }

    /// Hears from the journal what is on disk.
    pub(super) fn take_landed(&mut self) -> bool {
        let mut worked = false;
        for _ in 0..PUBLICATIONS_PER_TURN_MAX {
            let journal = self.setup.journal.as_ref();
            let Some(landed) = journal.and_then(|journal| journal.landing.take()) else { break };
            let Landed { bucket, offset, result, .. } = landed;
            let published = self.home.on_landed(bucket, offset, result, self.now.us);
            self.count(published);
            if result.is_ok() {
                self.compact(&landed);
            }
            worked = true;
        }
        self.give_answers();
        worked
    }

    /// Has the file written anew that a record has landed in, if that is worth it.
    fn compact(&mut self, landed: &Landed) {
        let &Landed { bucket, offset, file_bytes, .. } = landed;
        if let Some(journal) = &self.setup.journal
            && !journal.writer.is_compacting(bucket)
            && let Some(keep) = self.home.compaction(bucket, offset, file_bytes)
        {
            let Keep { floors, values: kept } = keep;
            let compaction = Compaction { bucket, as_of: offset, floors, kept };
            // Only this shard asks for its buckets, so none can have begun since.
            let _ = journal.writer.compact_to(self.setup.id, compaction);
        }
    }

    fn write_journal(&mut self) {
        let Some(journal) = self.setup.journal.as_ref().filter(|_| self.home.owes_journal()) else {
            return;
        };
        let at_ms = self.setup.started_ms + self.now.us / 1000;
        self.home.write(|durable| {
            let Durable { offset, publish } = durable;
            let Publish { asker, ticket, channel, kind, payload, terms, position } = publish;
            let record = Record { offset, at_ms, channel, kind, payload, terms };
            journal.writer.append(self.setup.id, record).map_err(|record| {
                let Record { offset, channel, kind, payload, terms, .. } = record;
                let publish = Publish { asker, ticket, channel, kind, payload, terms, position };
                Durable { offset, publish }
            })
        });
        journal.writer.wake();
    }

    fn give_answers(&mut self) {
        let mut heard = false;
        while let Some((asker, answer)) = self.home.next_answer() {
            heard |= self.send_answer(asker, answer);
        }
        if heard {
            self.ingress().flush_answers();
        }
        let me = usize::from(self.setup.id.0);
        for (feed, ingresses) in self.feeds.iter_mut().zip(self.setup.inputs.iter()) {
            if std::mem::take(&mut feed.is_answered) {
                ingresses[me].flush_answers();
            }
        }
    }

    fn count(&self, published: Published) {
        let counters = self.counters();
        counters.publications.add(u64::from(published.publications));
        counters.publication_bytes.add(published.bytes);
        counters.encodings.add(u64::from(published.encodings));
    }
}
