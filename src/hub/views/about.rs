//! What is known of a connection, and of a channel's readers here, for operators.

use super::{
    View, Views,
    reader::{BEHIND, BLOCKED, LAPPED, NO_VIEW},
};
use crate::{
    frame::Format,
    hub::Reader,
    ids::{ChannelName, Slot},
    report::{ChannelLag, Lag, SubscriptionReport},
};

/// What a connection reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How many channels.
    pub subscriptions: u64,
    /// The first of these, by name.
    pub channels: Vec<SubscriptionReport>,
    /// How far it lags, over all of them.
    pub lag: Lag,
    /// Whether its socket is full.
    pub blocked: bool,
}

impl Views {
    /// What a connection reads; of its channels at most `channels_max` are named. Walks all of them.
    pub fn reading(&self, slot: Slot, channels_max: usize, now_us: u64) -> Reading {
        let mut reading =
            Reading { blocked: self.subscribers[slot.index()].has(BLOCKED), ..Reading::default() };
        let mut named: Vec<(&ChannelName, Reader, Lag)> = Vec::new();
        for reader in self.all_readers_of(slot) {
            let Some(channel) = self.channel_of(reader) else { continue };
            let lag = self.lag_of(reader, now_us);
            reading.subscriptions += 1;
            reading.lag = reading.lag.and(lag);
            named.push((channel, reader, lag));
        }
        named.sort_unstable_by_key(|(channel, ..)| *channel);
        named.truncate(channels_max);
        let report = |(channel, reader, lag): (&ChannelName, Reader, Lag)| SubscriptionReport {
            channel: channel.clone(),
            position: self.position_of(reader),
            lag,
        };
        reading.channels = named.into_iter().map(report).collect();
        reading
    }

    /// Whether a connection reads this channel.
    pub fn reads_channel(&self, slot: Slot, channel: &ChannelName) -> bool {
        let view = self.subscribers[slot.index()].view;
        let alone = self.table.get(view as usize).and_then(|view| view.name.as_ref());
        alone == Some(channel) || self.reader_of(slot, channel).is_some()
    }

    /// How far the subscribers of one channel lag. At most `looks_max` of those behind are looked at.
    pub fn channel_lag(&self, channel: &ChannelName, looks_max: usize, now_us: u64) -> ChannelLag {
        let mut all = ChannelLag::default();
        let mut looks = looks_max;
        for format in Format::ALL {
            let Some(index) = self.view_of(channel, format) else { continue };
            let view = &self.table[index as usize];
            all.subscribers[format.index()] = u64::from(view.members.len());
            all.behind += u64::from(view.behind.len());
            for reader in view.behind.iter().take(looks) {
                looks -= 1;
                let Lag { publications, bytes, ms } = self.lag_in(view, reader, now_us);
                let most = &mut all.most;
                most.publications = most.publications.max(publications);
                most.bytes = most.bytes.max(bytes);
                most.ms = most.ms.max(ms);
            }
        }
        all
    }

    fn all_readers_of(&self, slot: Slot) -> impl Iterator<Item = Reader> {
        let own = Reader::from(slot);
        let own = Some(own).filter(|own| self.subscribers[own.index()].view != NO_VIEW);
        own.into_iter().chain(self.readers_of(slot).iter().copied())
    }

    /// Whoever the running round has yet to visit counts as being at the head.
    fn lag_of(&self, reader: Reader, now_us: u64) -> Lag {
        let subscriber = &self.subscribers[reader.index()];
        match self.table.get(subscriber.view as usize) {
            Some(view) if subscriber.has(BEHIND) => self.lag_in(view, reader, now_us),
            _ => Lag::default(),
        }
    }

    /// How far a reader of the view that is behind lags.
    pub(super) fn lag_in(&self, view: &View, reader: Reader, now_us: u64) -> Lag {
        let now = (now_us / 10_000) as u32;
        let subscriber = &self.subscribers[reader.index()];
        let oldest = view.window.oldest().mark;
        let (from, frames) = match subscriber.has(LAPPED) {
            true => (oldest.byte, oldest.frames as u32),
            false => (subscriber.cursor, subscriber.frames),
        };
        let head = view.window.head().mark;
        let first = view.window.frames(from).next();
        let age = first.map_or(0, |(stamp, ..)| now.wrapping_sub(stamp.time));
        Lag {
            publications: u64::from((head.frames as u32).wrapping_sub(frames)),
            bytes: head.byte.saturating_sub(from),
            ms: u64::from(age) * 10,
        }
    }
}
