//! Bus sequences, and the channels that they number.
//!
//! A channel that one bus sequence feeds has the sequence's numbering: the epoch is the bus's
//! incarnation and the offsets are its own, so that every edge that reads it numbers alike. What
//! comes twice is known by its offset. What the bus had lost stands in the channel's log as a gap, in
//! its place, so that live, slow and resuming readers hear of it alike.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Home, channel::Channel, forgotten::Forgotten};
use crate::{
    frame::PayloadKind,
    hub::Ask,
    ids::{ChannelName, Epoch, Offset, Position},
    limits::{HELD_ASKS_MAX, KEY_BYTES_MAX},
    mesh::{Asker, Publish, SequenceNews, Terms, Ticket},
    policy::{Mode, Pattern},
    resume::Start,
};

/// The sequences that inputs read now.
#[derive(Default)]
pub(super) struct Sequences {
    by_epoch: HashMap<Epoch, Sequence>,
    /// Inputs, by number, that have yet to tell of sequences, and the channels that those may feed.
    awaited: Vec<(u16, Vec<Pattern>)>,
    /// Questions that cannot be answered before they have.
    asks: Vec<(ChannelName, Ask)>,
}

/// One of them, as far as it goes to channels of this home.
struct Sequence {
    feeds: Box<[Pattern]>,
    /// Only records behind this offset can be had here.
    floor: Offset,
    forgotten: Forgotten,
}

/// The key of a gap among the values of a channel of latest values. No publisher's can be as long.
pub(super) const GAP_KEY: &str = match std::str::from_utf8(&[b'g'; KEY_BYTES_MAX + 1]) {
    Ok(key) => key,
    Err(_) => unreachable!(),
};

/// What is to be done with a record, or with a publication to a channel that has a numbering.
pub(super) enum Numbered {
    /// It is the channel's next.
    Next,
    /// It was published before.
    Repeated,
    /// Another sequence has the channel.
    Elsewhere,
}

impl Sequences {
    /// None yet; these inputs will tell of some.
    pub fn awaiting(awaited: Vec<(u16, Vec<Pattern>)>) -> Self {
        Sequences { awaited, ..Sequences::default() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_epoch.is_empty()
    }

    /// Whether a sequence has this numbering.
    pub fn has(&self, epoch: Epoch) -> bool {
        self.by_epoch.contains_key(&epoch)
    }

    /// The numbering of the only sequence that can feed a channel.
    fn of(&self, name: &ChannelName) -> Option<Epoch> {
        let feeds = |sequence: &Sequence| {
            sequence.feeds.iter().any(|pattern| pattern.matches(name.as_str()))
        };
        let mut all = self.by_epoch.iter().filter(|(_, sequence)| feeds(sequence));
        let first = all.next()?;
        all.next().is_none().then_some(*first.0)
    }

    /// No publication of the channel that was made while it was not in memory has a higher offset,
    /// and none up to it can be had.
    fn last(&self, epoch: Epoch, name: &ChannelName) -> Offset {
        let sequence = self.by_epoch.get(&epoch);
        sequence.map_or(Offset(0), |it| it.floor.max(Offset(it.forgotten.last(name))))
    }
}

impl Home {
    /// Takes news of a bus sequence.
    pub fn on_sequence(&mut self, news: SequenceNews, now_us: u64) {
        match news {
            SequenceNews::Begins { epoch, replaces, feeds, floor } => {
                if let Some(old) = replaces.filter(|&old| old != epoch) {
                    self.sequences.by_epoch.remove(&old);
                }
                let new = Sequence { feeds, floor, forgotten: Forgotten::default() };
                self.sequences.by_epoch.entry(epoch).or_insert(new);
                self.renumber_for(epoch, replaces);
                self.ask_again();
            }
            SequenceNews::Hole { epoch, from, to } => {
                let Some(sequence) = self.sequences.by_epoch.get_mut(&epoch) else { return };
                sequence.floor = to.max(sequence.floor);
                self.tell_hole(epoch, from, to, now_us);
            }
            SequenceNews::CaughtUp { input } => {
                self.sequences.awaited.retain(|(number, _)| *number != input);
                self.ask_again();
            }
        }
    }

    /// Keeps a question of a client that has a position of a sequence which an input has yet to tell
    /// of: answered now, the client would be told of a gap where there is none. Gives it back if it
    /// can be answered, or too many wait.
    pub(super) fn hold_ask(&mut self, name: &ChannelName, ask: Ask) -> Option<Ask> {
        let Start::Since(since) = ask.start else { return Some(ask) };
        let is_known = self.sequences.has(since.epoch)
            || since.epoch == self.setup.epoch
            || Some(since.epoch) == self.setup.journal;
        let is_fed = |(_, feeds): &(u16, Vec<Pattern>)| {
            feeds.iter().any(|pattern| pattern.matches(name.as_str()))
        };
        if is_known
            || !self.sequences.awaited.iter().any(is_fed)
            || self.sequences.asks.len() == HELD_ASKS_MAX
        {
            return Some(ask);
        }
        self.sequences.asks.push((name.clone(), ask));
        None
    }

    /// Answers what can be answered now of the questions that were kept.
    fn ask_again(&mut self) {
        let asks = std::mem::take(&mut self.sequences.asks);
        asks.into_iter().for_each(|(name, ask)| self.on_ask(name, ask));
    }

    /// Gives channels the numbering of a sequence that has begun: those of the sequence that it takes
    /// the place of, and those without publications that only it can feed. Walks all channels.
    fn renumber_for(&mut self, epoch: Epoch, replaces: Option<Epoch>) {
        let is_meant = |name: &ChannelName, channel: &Channel| {
            let is_blank = !self.sequences.has(channel.epoch) && channel.is_blank();
            Some(channel.epoch) == replaces || (is_blank && self.sequence_of(name) == Some(epoch))
        };
        let names = self.names_of(is_meant);
        names.iter().for_each(|name| self.renumber(name, epoch));
    }

    fn names_of(&self, is_meant: impl Fn(&ChannelName, &Channel) -> bool) -> Vec<ChannelName> {
        let meant = self.channels.iter().filter(|(name, channel)| is_meant(name, channel));
        meant.map(|(name, _)| name.clone()).collect()
    }

    /// Begins a channel anew under a sequence's numbering. Its readers hear of it; those that have
    /// got something under the old one leave.
    fn renumber(&mut self, name: &ChannelName, epoch: Epoch) {
        let last = self.sequences.last(epoch, name);
        let Some(channel) = self.channels.get_mut(name) else { return };
        if channel.epoch == epoch {
            return;
        }
        let policy = self.setup.policies.get(channel.pattern);
        channel.renumber(name, policy, epoch, last);
        channel.owe_all(name, &mut self.owed);
    }

    /// Puts the gap into every channel of a sequence. Walks all channels.
    fn tell_hole(&mut self, epoch: Epoch, from: Offset, to: Offset, now_us: u64) {
        let names = self.names_of(|_, channel| channel.epoch == epoch && channel.last < to);
        let payload = Bytes::from(Position { epoch, offset: from }.to_string());
        for channel in names {
            let is_latest = self.setup.policies.of(&channel).mode == Mode::Latest;
            // It takes the place of the gap before it, and so tells of both.
            let earlier = self.channels.get(&channel).and_then(|channel| channel.gap());
            let key = is_latest.then(|| GAP_KEY.into());
            let gap = Publish {
                asker: Asker::Nobody,
                ticket: Ticket(0),
                channel,
                kind: PayloadKind::Gap,
                payload: earlier.unwrap_or_else(|| payload.clone()),
                terms: key.map(|key| Box::new(Terms { key: Some(key), ..Terms::default() })),
                position: Some(Position { epoch, offset: to }),
            };
            self.append(&gap, Position { epoch, offset: to }, now_us, 0);
        }
    }

    /// The sequence that a channel without publications belongs to.
    pub(super) fn sequence_of(&self, name: &ChannelName) -> Option<Epoch> {
        let is_ours = |name| self.setup.policies.tells_presence(name) || name.is_probe();
        if self.sequences.is_empty() || is_ours(name) {
            return None;
        }
        self.sequences.of(name)
    }

    /// Whether the channel's publications come from a sequence alone.
    pub(super) fn is_fed(&self, name: &ChannelName) -> bool {
        match self.channels.get(name) {
            Some(channel) => self.sequences.has(channel.epoch),
            None => self.sequence_of(name).is_some(),
        }
    }

    /// What a record is to its channel, which takes the record's numbering if it has none of a
    /// sequence.
    pub(super) fn number(&mut self, name: &ChannelName, position: Position) -> Numbered {
        let Position { epoch, offset } = position;
        // Of a sequence that was replaced meanwhile, or to a channel that is ours alone.
        if !self.sequences.has(epoch) || self.setup.policies.tells_presence(name) {
            return Numbered::Elsewhere;
        }
        let last = match self.channels.get(name) {
            Some(channel) if channel.epoch == epoch => channel.last,
            Some(channel) if self.sequences.has(channel.epoch) => return Numbered::Elsewhere,
            // Of a channel that is not in memory this may be another's: what is passed over by it is
            // told as a gap to whoever comes back from before.
            _ => self.sequences.last(epoch, name),
        };
        if offset <= last {
            return Numbered::Repeated;
        }
        self.renumber(name, epoch);
        Numbered::Next
    }

    /// Remembers how far a channel had come that is not in memory.
    pub(super) fn forget(&mut self, name: &ChannelName, position: Position) {
        let sequence = self.sequences.by_epoch.get_mut(&position.epoch);
        let forgotten = sequence.map_or(&mut self.forgotten, |sequence| &mut sequence.forgotten);
        forgotten.note(name, position.offset.0);
    }

    /// The numbering that a channel has which is not in memory, and the offset that its publications
    /// had at most until now.
    pub(super) fn beginning(&self, name: &ChannelName) -> Position {
        match self.sequence_of(name) {
            Some(epoch) => Position { epoch, offset: self.sequences.last(epoch, name) },
            None => {
                let journal = self.setup.journal.filter(|_| self.is_journaled(name));
                let epoch = journal.unwrap_or(self.setup.epoch);
                Position { epoch, offset: Offset(self.forgotten.last(name)) }
            }
        }
    }

    /// The same, for the channel of a record.
    pub(super) fn beginning_in(&self, name: &ChannelName, epoch: Epoch) -> Position {
        Position { epoch, offset: self.sequences.last(epoch, name) }
    }
}
