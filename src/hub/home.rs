//! The side of a channel that orders and encodes its publications.

use std::collections::{HashMap, VecDeque};

use super::{Message, ViewId};
use crate::{
    frame::{Format, PayloadKind, Publication},
    ids::{BUCKETS, ChannelName, Epoch, Offset, Position, ShardId},
    log::{Log, Mark},
    wire,
};

/// The channels whose home this shard is.
pub struct Home {
    epoch: Epoch,
    /// The last offset given in each bucket. Only the buckets of this shard move.
    offsets: Box<[u128; BUCKETS]>,
    channels: HashMap<ChannelName, Channel>,
    channels_max: usize,
    lag_bytes_max: usize,
    /// Per target shard, in order: whom it is yet to be told about.
    owed: Vec<VecDeque<Owed>>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The position it was given.
    pub position: Position,
    /// Subscribers that the home knew of at that moment.
    pub subscribers: u64,
    /// Formats it was encoded in.
    pub encodings: u32,
}

/// What a reading shard says of its view.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// The shard that reads.
    pub from: ShardId,
    /// Its view.
    pub view: ViewId,
    /// The format that the view reads.
    pub format: Format,
    /// Subscribers now; none at all ends the interest.
    pub subscribers: u32,
    /// Whether publications come faster than they can be sent there.
    pub congested: bool,
    /// Whether this is the first that the home hears of the view.
    pub first: bool,
}

/// A channel that somebody reads.
#[derive(Default)]
struct Channel {
    logs: [Option<Box<Log>>; Format::ALL.len()],
    interests: Vec<Interest>,
}

/// A view somewhere that reads the channel.
struct Interest {
    from: ShardId,
    view: ViewId,
    format: Format,
    subscribers: u32,
    congested: bool,
    /// Whether the view was told that it is live.
    live: bool,
    /// The place up to which it was told.
    told: Mark,
    /// Whether it stands in the queue of those that are owed news.
    owed: bool,
}

enum Owed {
    News { channel: ChannelName, view: ViewId },
    Refusal { view: ViewId },
}

impl Home {
    /// No channels yet. At most `channels_max` at once, and of each stream at most
    /// `lag_bytes_max` bytes are kept for a shard whose inbox stays full.
    pub fn new(epoch: Epoch, shards: u16, channels_max: usize, lag_bytes_max: usize) -> Self {
        Home {
            epoch,
            offsets: Box::new([0; BUCKETS]),
            channels: HashMap::new(),
            channels_max,
            lag_bytes_max,
            owed: (0..shards).map(|_| VecDeque::new()).collect(),
        }
    }

    /// Channels with a reader.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Gives a publication its position and encodes it for each format that is read. Costs no
    /// memory where nobody reads.
    pub fn publish(&mut self, name: &ChannelName, payload: &[u8]) -> Published {
        let last = &mut self.offsets[usize::from(name.bucket().0)];
        *last += 1;
        let position = Position { epoch: self.epoch, offset: Offset(*last) };
        let mut published = Published { position, subscribers: 0, encodings: 0 };
        let Some(channel) = self.channels.get_mut(name) else {
            return published;
        };
        let kind = PayloadKind::of(payload);
        let publication = Publication { channel: name, position, kind, key: None, payload };
        for (format, log) in Format::ALL.into_iter().zip(&mut channel.logs) {
            if let Some(log) = log {
                let len = wire::encoded_len(format, &publication);
                log.append(len, |out| wire::encode(format, &publication, out));
                log.limit(self.lag_bytes_max);
                published.encodings += 1;
            }
        }
        for interest in &mut channel.interests {
            published.subscribers += u64::from(interest.subscribers);
            interest.owe(name, &mut self.owed);
        }
        published
    }

    /// Whether some shard cannot send the channel's publications as fast as they come. They are
    /// to be held back until it can: its subscribers are not to blame.
    pub fn is_congested(&self, name: &ChannelName) -> bool {
        let channel = self.channels.get(name);
        channel.is_some_and(|channel| channel.interests.iter().any(|reader| reader.congested))
    }

    /// Takes what a reading shard says of its view.
    pub fn on_interest(&mut self, name: &ChannelName, said: Said) {
        if said.first {
            return self.add_interest(name, said);
        }
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        let Said { from, view, format, subscribers, congested, .. } = said;
        let of_view = |interest: &Interest| (interest.from, interest.view) == (from, view);
        let Some(place) = channel.interests.iter().position(of_view) else {
            return;
        };
        if subscribers > 0 {
            let interest = &mut channel.interests[place];
            (interest.subscribers, interest.congested) = (subscribers, congested);
            return;
        }
        channel.interests.swap_remove(place);
        if !channel.interests.iter().any(|interest| interest.format == format) {
            channel.logs[format.index()] = None;
        }
        if channel.interests.is_empty() {
            self.channels.remove(name);
        }
    }

    fn add_interest(&mut self, name: &ChannelName, said: Said) {
        let Said { from, view, format, subscribers, congested, .. } = said;
        if self.channels.len() >= self.channels_max && !self.channels.contains_key(name) {
            self.owed[usize::from(from.0)].push_back(Owed::Refusal { view });
            return;
        }
        let channel = self.channels.entry(name.clone()).or_default();
        let told = channel.logs[format.index()].get_or_insert_default().head();
        let mut interest =
            Interest { from, view, format, subscribers, congested, live: false, told, owed: false };
        interest.owe(name, &mut self.owed);
        channel.interests.push(interest);
    }

    /// Whether somebody is owed news.
    pub fn owes(&self) -> bool {
        self.owed.iter().any(|queue| !queue.is_empty())
    }

    /// Tells `target` what it is owed, oldest debt first, until `push` gives a message back: then
    /// its inbox is full, and the rest is told next time, merged with what comes until then.
    pub fn tell(&mut self, target: ShardId, mut push: impl FnMut(Message) -> Result<(), Message>) {
        while let Some(owed) = self.owed[usize::from(target.0)].front() {
            let pushed = match owed {
                Owed::Refusal { view } => push(Message::Refused { view: *view }).is_ok(),
                Owed::News { channel: name, view } => {
                    let channel = self.channels.get_mut(name);
                    channel.is_none_or(|channel| {
                        channel.tell(target, *view, self.lag_bytes_max, &mut push)
                    })
                }
            };
            if !pushed {
                break;
            }
            self.owed[usize::from(target.0)].pop_front();
        }
    }
}

impl Interest {
    fn owe(&mut self, name: &ChannelName, owed: &mut [VecDeque<Owed>]) {
        if !self.owed {
            self.owed = true;
            let news = Owed::News { channel: name.clone(), view: self.view };
            owed[usize::from(self.from.0)].push_back(news);
        }
    }

    /// Tells the view what it does not know. Says whether it knows everything now.
    fn tell(&mut self, log: &Log, push: &mut impl FnMut(Message) -> Result<(), Message>) -> bool {
        let view = self.view;
        if !self.live {
            self.live = push(Message::Live { view, head: self.told }).is_ok();
        }
        if !self.live {
            return false;
        }
        for extent in log.since(self.told.byte) {
            let end = extent.end;
            if push(Message::Head { view, extent }).is_err() {
                return false;
            }
            self.told = end;
        }
        self.owed = false;
        true
    }
}

impl Channel {
    /// Tells one view what it does not know, and forgets what then everybody knows. Says whether
    /// that view knows everything now; one that is gone does.
    fn tell(
        &mut self,
        target: ShardId,
        view: ViewId,
        lag_bytes_max: usize,
        push: &mut impl FnMut(Message) -> Result<(), Message>,
    ) -> bool {
        let of_view = |interest: &&mut Interest| (interest.from, interest.view) == (target, view);
        let Some(interest) = self.interests.iter_mut().find(of_view) else {
            return true;
        };
        let format = interest.format;
        let Some(log) = self.logs[format.index()].as_deref_mut() else {
            return true;
        };
        let knows_all = interest.tell(log, push);
        let readers = self.interests.iter().filter(|interest| interest.format == format);
        log.forget(readers.map(|reader| reader.told.byte).min().unwrap_or(u64::MAX));
        log.limit(lag_bytes_max);
        knows_all
    }
}
