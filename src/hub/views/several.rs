//! Connections that read several channels: a reader for each.

use super::{
    Joined, Rest, Views,
    reader::{self, CUT, NO_VIEW, SEVERAL, Subscriber},
};
use crate::{
    frame::Format,
    hub::Reader,
    ids::{ChannelName, Slot},
    resume::Start,
};

/// The readers of one connection.
#[derive(Default)]
pub(super) struct Several {
    pub readers: Vec<Reader>,
    /// The one of which a frame was cut.
    pub cut: Option<Reader>,
}

impl Views {
    /// Whose connection a reader is.
    pub fn owner(&self, reader: Reader) -> Slot {
        reader::owner(reader, self.slots, &self.owners)
    }

    /// The reader of a connection that reads this channel. A connection may have tens of thousands, and
    /// so may a channel: the fewer are walked through.
    pub fn reader_of(&self, slot: Slot, channel: &ChannelName) -> Option<Reader> {
        let readers = self.readers_of(slot);
        let reader_in = |index: u32| {
            let members = &self.table[index as usize].members;
            if (members.len() as usize) < readers.len() {
                return members.iter().find(|&reader| self.owner(reader) == slot);
            }
            let reads = |reader: &&Reader| self.subscribers[reader.index()].view == index;
            readers.iter().find(reads).copied()
        };
        let mut views = Format::ALL.into_iter().filter_map(|format| self.view_of(channel, format));
        views.find_map(reader_in)
    }

    /// How many channels a connection reads.
    pub fn subscriptions(&self, slot: Slot) -> usize {
        self.readers_of(slot).len()
    }

    /// What a connection with several channels reads, live or not yet.
    pub fn channels(&self, slot: Slot) -> impl Iterator<Item = &ChannelName> {
        self.readers_of(slot).iter().filter_map(|&reader| self.channel_of(reader))
    }

    /// What a reader reads.
    pub fn channel_of(&self, reader: Reader) -> Option<&ChannelName> {
        let view = self.table.get(self.subscribers[reader.index()].view as usize)?;
        view.name.as_ref()
    }

    /// The readers of a connection with several channels; none of one that has only one.
    pub(super) fn readers_of(&self, slot: Slot) -> &[Reader] {
        self.several.get(&slot).map_or(&[], |several| &several.readers)
    }

    /// The reader that a frame was cut of, or that of a connection with one channel.
    pub(super) fn cut_reader(&self, slot: Slot) -> Option<Reader> {
        match self.subscribers[slot.index()].has(SEVERAL) {
            true => self.several.get(&slot).and_then(|several| several.cut),
            false => Some(Reader::from(slot)),
        }
    }

    pub(super) fn set_cut(&mut self, slot: Slot, reader: Option<Reader>) {
        let subscriber = &mut self.subscribers[slot.index()];
        if subscriber.has(SEVERAL) {
            subscriber.flags = subscriber.flags & !CUT | if reader.is_some() { CUT } else { 0 };
            if let Some(several) = self.several.get_mut(&slot) {
                several.cut = reader;
            }
        }
    }

    /// Lets the server itself read the channel of a probe, without a connection. What comes is served in
    /// the rounds of the sweep like every subscriber's, and is handed over by [`Views::compose`] for the
    /// slot that this gives: one behind those of all connections. A witness never leaves.
    pub fn add_witness(&mut self, channel: &ChannelName) -> (Slot, Joined) {
        debug_assert!(channel.is_probe());
        let last = self.subscribers.len();
        let slot = Slot(u32::try_from(last).expect("readers are counted in 32 bits"));
        self.subscribers.push(Subscriber::NONE);
        self.owners.push(slot);
        self.witnesses += 1;
        (slot, self.join(slot, channel, Format::WebSocket, Start::Live, true))
    }

    /// A new reader for a connection that may have several.
    pub(super) fn add_reader(&mut self, slot: Slot) -> Reader {
        let reader = self.free_readers.pop().unwrap_or_else(|| {
            self.subscribers.push(Subscriber::NONE);
            self.owners.push(slot);
            let last = self.subscribers.len() - 1;
            Reader(u32::try_from(last).expect("readers are counted in 32 bits"))
        });
        self.subscribers[reader.index()] = Subscriber::NONE;
        self.owners[(reader.0 - self.slots) as usize] = slot;
        self.subscribers[slot.index()].flags |= SEVERAL;
        self.several.entry(slot).or_default().readers.push(reader);
        reader
    }

    /// Gives back a reader that has left its view.
    pub(super) fn free_reader(&mut self, reader: Reader) {
        if reader.0 < self.slots {
            return;
        }
        debug_assert_eq!(self.subscribers[reader.index()].view, NO_VIEW);
        let slot = self.owner(reader);
        if let Some(several) = self.several.get_mut(&slot) {
            // Their order means nothing, and who leaves everything leaves from the back.
            if let Some(at) = several.readers.iter().rposition(|known| *known == reader) {
                several.readers.swap_remove(at);
            }
            if several.readers.is_empty() {
                self.several.remove(&slot);
            }
        }
        self.free_readers.push(reader);
    }

    /// Takes a connection out of everything that it reads. Of a frame that was cut at most `room`
    /// bytes may be kept.
    pub fn leave_all(&mut self, slot: Slot, room: usize) -> Rest {
        let mut rest = self.leave(Reader::from(slot), room).rest;
        for reader in self.readers_of(slot).to_vec().into_iter().rev() {
            let left = self.leave(reader, room).rest;
            rest = if rest == Rest::None { left } else { rest };
        }
        rest
    }
}
