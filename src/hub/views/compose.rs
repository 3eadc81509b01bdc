//! Publications that are not sent as they are, but written for one connection alone: answers to
//! long-polls, and event streams of several channels.

use super::{
    Views,
    reader::{BATCHED, BLOCKED, CUT, HELD, LAPPED, NO_VIEW, WAITING},
};
use crate::{
    frame::PayloadKind,
    hub::Reader,
    ids::{ChannelName, Position, Slot},
};

/// A publication for one connection alone.
pub struct Compose<'a> {
    /// Its channel.
    pub channel: &'a ChannelName,
    /// Its position.
    pub position: Position,
    /// What its payload is.
    pub kind: PayloadKind,
    /// Its frame, in the format that the connection reads.
    pub frame: &'a [u8],
}

/// What became of a publication that was handed to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// It was taken, and there is room for another.
    More,
    /// It was taken, and is the last for now.
    Last,
    /// It was not taken: it comes again.
    Nothing,
}

impl Views {
    /// A connection whose publications are to be written.
    pub fn next_compose(&mut self) -> Option<Slot> {
        let slot = self.composing.pop()?;
        self.subscribers[slot.index()].flags &= !BATCHED;
        Some(slot)
    }

    /// Gives what a connection is owed to `take`, publication by publication and channel by channel,
    /// as long as `take` says that there is room for more. What it took counts as sent.
    pub fn compose(&mut self, slot: Slot, mut take: impl FnMut(Compose<'_>) -> Took) {
        let mut more = !self.subscribers[slot.index()].has(BLOCKED | HELD | CUT);
        let own = Some(Reader::from(slot)).filter(|_| self.readers_of(slot).is_empty());
        let readers: Vec<Reader> = own.into_iter().chain(self.readers_of(slot).to_vec()).collect();
        for reader in readers {
            let index = self.subscribers[reader.index()].view;
            if more {
                more = self.compose_one(reader, &mut take);
            } else if index != NO_VIEW {
                // A round has visited it, and nobody would know that it is still behind.
                self.file(reader, index);
            }
        }
    }

    fn compose_one(&mut self, reader: Reader, take: &mut impl FnMut(Compose<'_>) -> Took) -> bool {
        let subscriber = self.subscribers[reader.index()];
        let Some(view) = self.table.get(subscriber.view as usize) else { return true };
        if subscriber.has(WAITING | LAPPED) {
            return true;
        }
        let channel = view.name.as_ref().expect("it has a member");
        let (mut more, mut end) = (true, None);
        for (stamp, frame, mark) in view.window.frames(subscriber.cursor) {
            let position = view.position(stamp.offset);
            let took = take(Compose { channel, position, kind: stamp.kind, frame });
            end = if took == Took::Nothing { end } else { Some(mark) };
            more = took == Took::More;
            if !more {
                break;
            }
        }
        // What follows the last that there is was replaced.
        let end = if more { Some(view.window.head().mark) } else { end };
        let index = subscriber.view;
        if let Some(end) = end {
            self.subscribers[reader.index()].begin(end);
        }
        self.file(reader, index);
        more
    }
}
