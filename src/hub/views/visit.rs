//! What a sweep does with each reader.

use super::{
    View,
    reader::{BATCHED, BEHIND, COMPOSED, LAPPED, LATE, Subscriber, owner},
    sweep::Entry,
};
use crate::{hub::Reader, ids::Slot, log::Mark};

/// A view's readers as they are visited.
pub(super) struct Visiting<'a> {
    pub index: u32,
    pub view: &'a View,
    pub head: Mark,
    pub slots: u32,
    pub owners: &'a [Slot],
}

/// What is to be done with a reader.
pub(super) enum Visit {
    /// Nothing: it is at the head, or its turn comes without this.
    Nothing,
    /// Send it this.
    Send(Entry),
    /// File it: it cannot be served now, or stands where it did not before.
    Aside,
    /// Make it skip what is no longer kept.
    Skip,
    /// Write its connection's publications.
    Compose(Slot),
}

impl Visiting<'_> {
    pub fn visit(&self, reader: Reader, subscribers: &mut [Subscriber]) -> Visit {
        let subscriber = &subscribers[reader.index()];
        if reader.0 < self.slots && subscriber.is_clean() {
            if subscriber.cursor < self.head.byte {
                return self.send(reader, Slot(reader.0), subscribers);
            }
            return if subscriber.has(BEHIND | LATE) { Visit::Aside } else { Visit::Nothing };
        }
        self.visit_other(reader, subscribers)
    }

    /// The same for readers that are not clean, or not alone on their connection.
    fn visit_other(&self, reader: Reader, subscribers: &mut [Subscriber]) -> Visit {
        let subscriber = subscribers[reader.index()];
        let slot = owner(reader, self.slots, self.owners);
        let connection = &mut subscribers[slot.index()];
        let is_behind = subscriber.has(LAPPED) || subscriber.cursor < self.head.byte;
        if !is_behind || !subscriber.is_ready_on(connection) {
            let is_known = !is_behind && !subscriber.has(BEHIND | LATE);
            return if is_known { Visit::Nothing } else { Visit::Aside };
        }
        if subscriber.has(LAPPED) {
            return Visit::Skip;
        }
        // One send for each connection and batch: who comes second is a latecomer.
        if connection.has(BATCHED) {
            return Visit::Aside;
        }
        if subscriber.has(COMPOSED) {
            connection.flags |= BATCHED;
            return Visit::Compose(slot);
        }
        let visit = self.send(reader, slot, subscribers);
        if matches!(visit, Visit::Send(_)) && reader.0 >= self.slots {
            subscribers[slot.index()].flags |= BATCHED;
        }
        visit
    }

    fn send(&self, reader: Reader, slot: Slot, subscribers: &mut [Subscriber]) -> Visit {
        let subscriber = &mut subscribers[reader.index()];
        let Some(due) = self.view.window.due(subscriber.cursor) else {
            // Everything up to the head was replaced.
            (subscriber.cursor, subscriber.frames) = (self.head.byte, self.head.frames as u32);
            return Visit::Aside;
        };
        let is_sparse = self.view.window.is_sparse();
        let from_frames = match is_sparse {
            true => self.view.window.find(due.start).frames as u32,
            false => subscriber.frames,
        };
        let (from, end, view) = (due.start, due.end, self.index);
        Visit::Send(Entry { slot, reader, view, from, from_frames, end })
    }
}
