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

impl Views {
    /// A connection whose publications are to be written.
    pub fn next_compose(&mut self) -> Option<Slot> {
        let slot = self.composing.pop()?;
        self.subscribers[slot.index()].flags &= !BATCHED;
        Some(slot)
    }

    /// Gives what a connection is owed to `take`, publication by publication and channel by channel,
    /// as long as `take` says that there is room for more. Its bytes count as sent.
    pub fn compose(&mut self, slot: Slot, mut take: impl FnMut(Compose<'_>) -> bool) {
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

    fn compose_one(&mut self, reader: Reader, take: &mut impl FnMut(Compose<'_>) -> bool) -> bool {
        let subscriber = self.subscribers[reader.index()];
        let Some(view) = self.table.get(subscriber.view as usize) else { return true };
        if subscriber.has(WAITING | LAPPED) {
            return true;
        }
        let channel = view.name.as_ref().expect("it has a member");
        let (mut more, mut end) = (true, None);
        for (stamp, frame, mark) in view.window.frames(subscriber.cursor) {
            end = Some(mark);
            let position = view.position(stamp.offset);
            more = take(Compose { channel, position, kind: stamp.kind, frame });
            if !more {
                break;
            }
        }
        // What follows the last that there is was replaced.
        let end =
            if more { view.window.head().mark } else { end.unwrap_or(view.window.head().mark) };
        let index = subscriber.view;
        self.subscribers[reader.index()].begin(end);
        self.file(reader, index);
        more
    }
}
