//! Coming and going: readers join views, and homes are told and asked.

use std::hash::BuildHasher;

use super::{
    REFUSALS_MAX, Rest, Views,
    reader::{COMPOSED, LAPPED, NO_VIEW, Subscriber, WAITING},
};
use crate::{
    frame::Format,
    hub::{Ask, Message, Reader, ViewId},
    ids::{ChannelName, Offset, Position, Slot},
    log::{Mark, Place, Window},
    policy::Mode,
    resume::{Begun, Start},
};

/// What came of joining a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The subscriber gets everything from now on.
    Live(Reader, Begun),
    /// The home was asked; [`News::Started`](super::News::Started) or
    /// [`News::Refused`](super::News::Refused) follows.
    Waiting(Reader),
}

/// Why a connection cannot read one more channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// It reads this one already.
    Already,
    /// It reads as many as it may.
    TooMany,
}

/// A reader's question of where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub number: u32,
    pub start: Start,
    /// Whether the reader had begun, and was lapped.
    pub is_lapped: bool,
}

/// What a reader leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// What is missing from a frame that was cut.
    pub rest: Rest,
    /// The last position that it was sent, the cut frame's included; none if it had not begun.
    pub position: Option<Position>,
}

impl Views {
    /// Lets a connection read a channel, as its only one. It must read nothing now. If it is to be
    /// `composed` its publications are not sent as they are: see [`Views::compose`].
    pub fn join(
        &mut self,
        slot: Slot,
        name: &ChannelName,
        format: Format,
        start: Start,
        composed: bool,
    ) -> Joined {
        debug_assert!(!self.reads(slot));
        self.join_as(Reader::from(slot), name, format, start, composed)
    }

    /// Lets a connection that may read several channels read one more.
    pub fn join_several(
        &mut self,
        slot: Slot,
        name: &ChannelName,
        format: Format,
        start: Start,
        composed: bool,
    ) -> Result<Joined, NotJoined> {
        if self.reader_of(slot, name).is_some() {
            return Err(NotJoined::Already);
        }
        if self.subscriptions(slot) >= self.setup.subscriptions_max as usize {
            return Err(NotJoined::TooMany);
        }
        let reader = self.add_reader(slot);
        Ok(self.join_as(reader, name, format, start, composed))
    }

    fn join_as(
        &mut self,
        reader: Reader,
        name: &ChannelName,
        format: Format,
        start: Start,
        composed: bool,
    ) -> Joined {
        let known = self.view_of(name, format);
        let index = known.unwrap_or_else(|| self.add_view(name.clone(), format));
        let view = &mut self.table[index as usize];
        view.members.insert(reader);
        let subscriber = &mut self.subscribers[reader.index()];
        let mark = Mark { byte: u64::MAX, frames: 0 };
        *subscriber = Subscriber { view: index, ..subscriber.without_view() };
        subscriber.begin(mark);
        subscriber.flags |= WAITING | if composed { COMPOSED } else { 0 };
        let head = view.window.head();
        let is_at_head = start == Start::Live && !view.window.is_sparse();
        let joined = if is_at_head && view.live {
            subscriber.begin(head.mark);
            let position = view.position(head.before);
            Joined::Live(reader, Begun { position, gap: None })
        } else {
            Joined::Waiting(reader)
        };
        self.owe(index);
        if !is_at_head {
            self.ask(reader, index, start, false);
        }
        joined
    }

    pub(super) fn ask(&mut self, reader: Reader, index: u32, start: Start, is_lapped: bool) {
        self.asked = self.asked.wrapping_add(1);
        let number = self.asked;
        self.asking.insert(reader, Asking { number, start, is_lapped });
        let view = ViewId { index, generation: self.table[index as usize].generation };
        self.asks.push_back((index, Ask { from: self.setup.shard, view, reader, number, start }));
    }

    /// Takes a reader out of what it reads. Of a frame that was cut at most `room` bytes may be kept.
    pub fn leave(&mut self, reader: Reader, room: usize) -> Left {
        let slot = self.owner(reader);
        let subscriber = self.subscribers[reader.index()];
        let is_cut = subscriber.cut > 0 && !subscriber.has(LAPPED);
        let rest = match if is_cut { self.cut_rest(slot) } else { &[] } {
            [] => Rest::None,
            rest if rest.len() > room => Rest::TooMuch,
            rest => Rest::Kept(rest.to_vec()),
        };
        let index = subscriber.view;
        if index == NO_VIEW {
            return Left { rest, position: None };
        }
        let position = self.position_of(reader);
        if is_cut {
            self.set_cut(slot, None);
        }
        self.asking.remove(&reader);
        self.lapped.remove(&reader);
        self.stop_ahead(reader, index);
        self.subscribers[reader.index()] = subscriber.without_view();
        let view = &mut self.table[index as usize];
        view.members.remove(reader);
        view.behind.remove(reader);
        view.late.remove(reader);
        self.owe(index);
        self.free_reader(reader);
        Left { rest, position }
    }

    /// The last position that a reader was sent, that of a cut frame included.
    pub(super) fn position_of(&self, reader: Reader) -> Option<Position> {
        let subscriber = &self.subscribers[reader.index()];
        let view = self.table.get(subscriber.view as usize)?;
        let ahead = self.ahead.get(&subscriber.view).into_iter().flatten();
        let ahead = ahead.filter(|(it, _)| *it == reader).map(|(_, offset)| *offset).next();
        let offset = match self.lapped.get(&reader).copied().or(ahead) {
            Some(offset) => offset,
            None if subscriber.has(WAITING) => return None,
            None => view.window.find(subscriber.cursor + u64::from(subscriber.cut)).before,
        };
        Some(view.position(offset))
    }

    /// The connection is gone, and with it whatever was known of it.
    pub fn forget(&mut self, slot: Slot) {
        self.leave_all(slot, 0);
        self.unblock(slot);
        self.subscribers[slot.index()] = Subscriber::NONE;
    }

    /// Whether some home is owed a word.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty() || !self.asks.is_empty()
    }

    /// Tells homes how many subscribers the views have and asks where those begin, oldest debt
    /// first, until `push` gives messages back. A view that was left by all is gone once its home
    /// knows.
    pub fn tell(&mut self, mut push: impl FnMut(Message) -> Result<(), Message>) {
        let mut refused = 0;
        for _ in 0..self.owed.len() {
            if refused == REFUSALS_MAX {
                break;
            }
            let Some(index) = self.owed.pop_front() else { break };
            let view = &mut self.table[index as usize];
            let Some(channel) = view.name.clone() else {
                view.owed = false;
                self.free_if_unqueued(index);
                continue;
            };
            let subscribers = view.members.len();
            let said = view.said(self.setup.shard, index);
            // A view that came and went before its home heard of it need not be mentioned.
            let silent = !view.asked && subscribers == 0;
            if !silent && push(Message::Interest { channel, said }).is_err() {
                self.owed.push_back(index);
                refused += 1;
                continue;
            }
            (view.owed, view.asked) = (false, true);
            if subscribers == 0 {
                self.free_view(index);
            }
        }
        self.put_questions(&mut push);
    }

    /// A question waits until the home knows the view; one whose reader has left is dropped.
    fn put_questions(&mut self, push: &mut impl FnMut(Message) -> Result<(), Message>) {
        let mut refused = 0;
        for _ in 0..self.asks.len() {
            if refused == REFUSALS_MAX {
                break;
            }
            let Some((index, ask)) = self.asks.pop_front() else { break };
            let is_asked = self.asking.get(&ask.reader).is_some_and(|a| a.number == ask.number);
            let view = &self.table[index as usize];
            let Some(channel) = view.name.clone().filter(|_| is_asked && view.is(ask.view)) else {
                continue;
            };
            if !view.asked || push(Message::Ask { channel, ask }).is_err() {
                self.asks.push_back((index, ask));
                refused += 1;
            }
        }
    }

    /// The view of a channel in a format.
    pub(super) fn view_of(&self, name: &ChannelName, format: Format) -> Option<u32> {
        let hash = self.hasher.hash_one((name, format));
        let is_it = |&index: &u32| {
            let view = &self.table[index as usize];
            view.name.as_ref() == Some(name) && view.format == format
        };
        self.by_name.find(hash, is_it).copied()
    }

    fn add_view(&mut self, name: ChannelName, format: Format) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(super::View::unused());
            u32::try_from(self.table.len() - 1).expect("views are counted in 32 bits")
        });
        let generation = self.table[index as usize].generation.wrapping_add(1);
        let pattern = self.setup.policies.pattern(&name);
        let sparse = self.setup.policies.get(pattern).mode == Mode::Latest;
        let nowhere = Place { mark: Mark::default(), before: Offset(0) };
        let window = Window::at(nowhere, sparse);
        let hash = self.hasher.hash_one((&name, format));
        let unused = super::View::unused();
        self.table[index as usize] =
            super::View { name: Some(name), format, pattern, generation, window, ..unused };
        let (table, hasher) = (&self.table, &self.hasher);
        self.by_name.insert_unique(hash, index, |&known| {
            let view = &table[known as usize];
            hasher.hash_one((view.name.as_ref().expect("it has a name"), view.format))
        });
        index
    }
}
