//! The side of a channel that orders, encodes and keeps its publications.
//!
//! A publication gets its position, is laid out once in each format that is read or kept, and becomes
//! history as far as its channel's policy says. Where a journal is kept, it first waits until it is
//! on disk: nobody sees what could be lost.

mod channel;
mod forgotten;
mod kept;
mod pace;
mod presence;
mod publish;
mod remembered;
mod reports;
mod sequences;
mod tell;
mod timers;

pub use publish::{Durable, Published};
pub use timers::Keep;

use std::collections::{BTreeSet, HashMap, VecDeque};

use channel::Channel;
use forgotten::Forgotten;
use presence::Presence;
use publish::Waiting;
use remembered::Remembered;
use sequences::Sequences;
use tell::Owed;

use crate::{
    ids::{BUCKETS, ChannelName, Epoch, Position},
    mesh::{Answer, Asker},
    policy::{Pattern, PatternId, Policies, Policy},
};

/// What a home lives by.
#[derive(Clone, Debug)]
pub struct HomeSetup {
    /// The numbering of this run.
    pub epoch: Epoch,
    /// The numbering of channels in the journal, if there is one.
    pub journal: Option<Epoch>,
    /// Shards in all.
    pub shards: u16,
    /// How channels live.
    pub policies: Policies,
    /// Inputs whose channels a bus numbers, by number, and the channels that they may feed.
    pub numbered: Vec<(u16, Vec<Pattern>)>,
    /// Channels at one time.
    pub channels_max: usize,
    /// Encoded bytes of a stream, besides its history, that are kept for a shard whose inbox stays
    /// full.
    pub lag_bytes_max: usize,
}

/// The channels whose home this shard is.
pub struct Home {
    setup: HomeSetup,
    /// The last offset given in each bucket. Only the buckets of this shard move.
    offsets: Box<[u64; BUCKETS]>,
    /// Boxed, so that the table's free places are small.
    channels: HashMap<ChannelName, Box<Channel>>,
    /// How many of these are of probes.
    probes: usize,
    forgotten: Forgotten,
    sequences: Sequences,
    remembered: Remembered,
    waiting: Waiting,
    presence: Presence,
    /// How large each bucket's file in the journal is to be before it is looked at next.
    look_at: Box<[u64; BUCKETS]>,
    /// Per target shard, in order: what it is yet to be told.
    owed: Vec<VecDeque<Owed>>,
    /// When channels are to be looked after, in microseconds: one for each at most.
    timers: BTreeSet<(u64, ChannelName)>,
    answers: VecDeque<(Asker, Answer)>,
    durables: VecDeque<Durable>,
}

impl Home {
    /// No channels yet.
    pub fn new(setup: HomeSetup) -> Self {
        Home {
            offsets: Box::new([0; BUCKETS]),
            channels: HashMap::new(),
            probes: 0,
            forgotten: Forgotten::default(),
            sequences: Sequences::awaiting(setup.numbered.clone()),
            remembered: Remembered::default(),
            waiting: Waiting::default(),
            presence: Presence::default(),
            look_at: Box::new([0; BUCKETS]),
            owed: (0..setup.shards).map(|_| VecDeque::new()).collect(),
            timers: BTreeSet::new(),
            answers: VecDeque::new(),
            durables: VecDeque::new(),
            setup,
        }
    }

    /// How channels live.
    pub fn policies(&self) -> &Policies {
        &self.setup.policies
    }

    /// How many channels there may be from now on, and how much is kept for shards that lag.
    pub fn set_limits(&mut self, channels_max: usize, lag_bytes_max: usize) {
        (self.setup.channels_max, self.setup.lag_bytes_max) = (channels_max, lag_bytes_max);
    }

    /// Channels with a reader, or of which something is kept; those of probes do not count.
    pub fn channels(&self) -> usize {
        self.channels.len() - self.probes
    }

    /// Whether some shard cannot send the channel's publications as fast as they come. They are
    /// to be held back until it can: its subscribers are not to blame.
    pub fn is_congested(&self, name: &ChannelName) -> bool {
        self.channels.get(name).is_some_and(|channel| channel.is_congested())
    }

    /// The numbering of a channel.
    fn epoch_of(&self, name: &ChannelName) -> Epoch {
        match self.channels.get(name) {
            Some(channel) => channel.epoch,
            None => self.beginning(name).epoch,
        }
    }

    /// Whether a channel's publications go into the journal, if there is one.
    fn is_journaled(&self, name: &ChannelName) -> bool {
        self.setup.journal.is_some()
            && !self.setup.policies.of(name).history.is_none()
            && !self.setup.policies.tells_presence(name)
    }

    /// Whether there are as many channels as there may be, and this would be one more.
    fn is_full_for(&self, name: &ChannelName) -> bool {
        self.channels() >= self.setup.channels_max
            && !name.is_probe()
            && !self.channels.contains_key(name)
    }

    /// The channel, which is made if need be, and its policy.
    fn channel(&mut self, name: &ChannelName) -> (&mut Channel, &Policy) {
        if !self.channels.contains_key(name) {
            self.make_channel(name, self.beginning(name));
        }
        let policies = &self.setup.policies;
        let channel = self.channels.get_mut(name).expect("it is there");
        let policy = policies.get(channel.pattern);
        (channel, policy)
    }

    /// Makes a channel whose publications had at most this offset until now.
    fn make_channel(&mut self, name: &ChannelName, beginning: Position) {
        let policies = &self.setup.policies;
        let pattern = policies.pattern(name);
        let made = Channel::new(pattern, policies.get(pattern), beginning);
        self.channels.insert(name.clone(), Box::new(made));
        self.probes += usize::from(name.is_probe());
    }

    fn policy(&self, pattern: PatternId) -> &Policy {
        self.setup.policies.get(pattern)
    }

    /// Frees a channel that nobody reads and of which nothing is kept.
    fn free_if_empty(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.get(name).filter(|channel| channel.is_empty()) else {
            return;
        };
        let position = channel.position();
        if let Some(due_us) = channel.kept.as_ref().and_then(|kept| kept.timed) {
            self.timers.remove(&(due_us, name.clone()));
        }
        self.forget(name, position);
        self.channels.remove(name);
        self.probes -= usize::from(name.is_probe());
    }
}
