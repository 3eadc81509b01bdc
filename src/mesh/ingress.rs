//! Publications from outside, and the answers to their publishers.
//!
//! An [`Ingress`] belongs to one shard. Whoever publishes holds one of its places from the push
//! until the answer was taken, so neither queue can overflow: there are as many places as either
//! queue has room. Without a free place a publication is refused at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;

use super::Parking;
use crate::{
    frame::PayloadKind,
    ids::{ChannelName, Epoch, Offset, Position, ShardId},
    policy::Pattern,
};

/// Names a publication between its publisher and the shard; the publisher's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A publication on its way to its home shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Who is to be answered.
    pub asker: Asker,
    /// Comes back in the [`Answer`].
    pub ticket: Ticket,
    /// Where it is published.
    pub channel: ChannelName,
    /// What the payload is.
    pub kind: PayloadKind,
    /// The payload as it came.
    pub payload: Bytes,
    /// What else its publisher asks for, if anything.
    pub terms: Option<Box<Terms>>,
    /// Where it stands in the bus sequence that it comes from, if that numbers the channel.
    pub position: Option<Position>,
}

impl Publish {
    /// A publication without further terms, of the kind that its payload looks like, whose publisher
    /// takes the answers of the ingress.
    pub fn plain(ticket: Ticket, channel: ChannelName, payload: Bytes) -> Self {
        let kind = PayloadKind::of(&payload);
        let asker = Asker::Outside;
        Publish { asker, ticket, channel, kind, payload, terms: None, position: None }
    }
}

/// Who published, and so is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Whoever takes the answers of the ingress: the control plane.
    Outside,
    /// A subscriber on this shard, by its inbox.
    Shard(ShardId),
    /// The input of this number, by its own ingress.
    Input(u16),
    /// Nobody: a home that publishes the presence of a channel.
    Nobody,
}

/// What comes into a shard from outside, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Inflow {
    /// A publication.
    Publish(Publish),
    /// News of a bus sequence.
    Sequence(SequenceNews),
}

/// What every home is told of a bus sequence, in order with its records.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceNews {
    /// Records come from here on.
    Begins {
        /// The numbering: the same on every edge that reads the sequence.
        epoch: Epoch,
        /// The numbering that it takes the place of: the bus has made the sequence anew.
        replaces: Option<Epoch>,
        /// Every channel that it may feed matches one of these.
        feeds: Box<[Pattern]>,
        /// Only records behind this offset come.
        floor: Offset,
    },
    /// Records were lost on the bus before they could be read: those behind `from`, up to and with
    /// `to`. Each channel of the sequence may have been among theirs.
    Hole {
        /// The numbering.
        epoch: Epoch,
        /// The last offset before the hole.
        from: Offset,
        /// The last offset that was lost.
        to: Offset,
    },
    /// An input has told of all its sequences, and brought what it was to bring first.
    CaughtUp {
        /// Its number: see [`Asker::Input`].
        input: u16,
    },
}

/// What a publisher may ask for besides publishing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What the payload is the value of, in a channel of latest values.
    pub key: Option<Box<str>>,
    /// The version of the key's value, or of the channel's where there is no key: one that is not
    /// above the last is refused.
    pub version: Option<u64>,
    /// A publication with a key that was used in the last five minutes in this channel is not
    /// published again, but answered as the first was.
    pub idempotency: Option<Box<str>>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The publication's ticket.
    pub ticket: Ticket,
    /// Published, or why not.
    pub outcome: Result<Accepted, Rejected>,
}

/// A publication that has its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The position that it was given.
    pub position: Position,
    /// Subscribers that the home shard knew of at that moment, over all shards.
    pub subscribers: u64,
    /// Whether it had been published before: with the same idempotency key, or from the same place in
    /// a bus sequence.
    pub repeated: bool,
}

/// Why a publication was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The version is not above the last.
    #[error("version {0} or a later one was published already; publish a higher one, or nothing")]
    Stale(u64),
    /// More keys than there may be.
    #[error("the channel has as many keys as its history-count allows; publish to one of those")]
    TooManyKeys,
    /// The channel is kept, and as many are as there may be.
    #[error("there are as many channels as channels-max allows, and this one would be kept")]
    TooManyChannels,
    /// The channel's publications come from a bus, with the bus's positions.
    #[error("the channel is fed by a bus; publish there, or see --publish-to")]
    FedByBus,
    /// The journal's disk is full.
    #[error("the journal's disk is full; nothing was published, make room and try again")]
    DiskFull,
    /// The journal could not be written.
    #[error("the journal cannot be written; nothing was published, see the log")]
    JournalFailed,
    /// The journal belongs to a successor.
    #[error("the journal belongs to the server's successor; nothing was published, connect again")]
    HandedOver,
}

/// The queue of outside publications to one shard, and of its answers back.
pub struct Ingress {
    inflow: ArrayQueue<Inflow>,
    answers: ArrayQueue<Answer>,
    /// Places free: capacity less publications that wait, are in work, or have an answer waiting.
    free: AtomicUsize,
    parking: Arc<Parking>,
    answered: Arc<dyn Fn() + Send + Sync>,
}

impl Ingress {
    /// Places for `capacity` publications to the shard that `parking` wakes. `answered` is called
    /// by the shard, at most once per turn, when answers are waiting.
    pub fn new(
        capacity: usize,
        parking: Arc<Parking>,
        answered: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Ingress {
            inflow: ArrayQueue::new(capacity),
            answers: ArrayQueue::new(capacity),
            free: AtomicUsize::new(capacity),
            parking,
            answered,
        }
    }

    /// Places in all, taken or free.
    pub fn capacity(&self) -> usize {
        self.inflow.capacity()
    }

    /// Hands a publication to the shard, or gives it back if every place is taken. The
    /// shard is not woken: call [`Ingress::wake`] after the last publication of a batch.
    pub fn publish(&self, publication: Publish) -> Result<(), Publish> {
        if !self.take_place() {
            return Err(publication);
        }
        let pushed = self.inflow.push(Inflow::Publish(publication));
        assert!(pushed.is_ok(), "there is room for as many as there are places");
        Ok(())
    }

    /// Hands news of a bus sequence to the shard, behind what was published before, or gives it
    /// back if every place is taken. The place is free once the shard has taken it.
    pub fn tell(&self, news: SequenceNews) -> Result<(), SequenceNews> {
        if !self.take_place() {
            return Err(news);
        }
        let pushed = self.inflow.push(Inflow::Sequence(news));
        assert!(pushed.is_ok(), "there is room for as many as there are places");
        Ok(())
    }

    fn take_place(&self) -> bool {
        let taken =
            self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1));
        taken.is_ok()
    }

    /// Wakes the shard if it is parked.
    pub fn wake(&self) {
        self.parking.wake();
    }

    /// The shard takes the oldest that has come in.
    pub fn take(&self) -> Option<Inflow> {
        self.inflow.pop()
    }

    /// Publications that wait for the shard, and news.
    pub fn waiting(&self) -> usize {
        self.inflow.len()
    }

    /// The shard answers a publication that it took. [`Ingress::flush_answers`] makes it known.
    pub fn answer(&self, answer: Answer) {
        let pushed = self.answers.push(answer);
        assert!(pushed.is_ok(), "an answer without a publication: every place has room for one");
    }

    /// The shard says that it has answered all it will answer this turn.
    pub fn flush_answers(&self) {
        (self.answered)();
    }

    /// The shard took a publication whose publisher hears of it elsewhere, or not at all: its place
    /// is free at once.
    pub fn release(&self) {
        self.free.fetch_add(1, Ordering::AcqRel);
    }

    /// The publisher takes an answer, which frees its place.
    pub fn take_answer(&self) -> Option<Answer> {
        let answer = self.answers.pop()?;
        self.free.fetch_add(1, Ordering::AcqRel);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Bell;

    /// A place is taken from the push until the answer was taken; without one, the publication
    /// comes back.
    #[test]
    fn places_are_bounded_from_push_to_answer() {
        struct Silence;
        impl Bell for Silence {
            fn ring(&self) {}
        }
        let ingress = Ingress::new(2, Parking::new(Arc::new(Silence)), Arc::new(|| ()));
        let publish = |n| Publish::plain(Ticket(n), ChannelName::new("a").unwrap(), Bytes::new());
        let position = Position { epoch: Epoch(1), offset: Offset(7) };
        let accepted = Accepted { position, subscribers: 0, repeated: false };
        let answer = |n| Answer { ticket: Ticket(n), outcome: Ok(accepted) };
        assert_eq!(ingress.publish(publish(1)), Ok(()));
        assert_eq!(ingress.publish(publish(2)), Ok(()));
        assert_eq!(ingress.publish(publish(3)), Err(publish(3)));
        assert_eq!(ingress.take(), Some(Inflow::Publish(publish(1))));
        assert_eq!(ingress.publish(publish(3)), Err(publish(3)), "taken, but not answered");
        ingress.answer(answer(1));
        assert_eq!(ingress.publish(publish(3)), Err(publish(3)), "answered, but not heard");
        assert_eq!(ingress.take_answer(), Some(answer(1)));
        assert_eq!(ingress.publish(publish(3)), Ok(()));
    }
}
