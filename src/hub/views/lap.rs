//! Falling behind: what is no longer kept, and what becomes of those who had yet to read it.
//!
//! A window keeps segments while somebody may need them, up to a bound. When it has to drop one,
//! whoever stands in it is *lapped*. By their channel's policy subscribers then leave, or stay and skip
//! what they cannot get any more. Those who stay are usually stuck, and would be lapped again and
//! again before they can be told: so where they stood is noted once, and the gap is made up when they
//! can be served.

use super::{
    News, Rest, View, Views,
    reader::{LAPPED, WAITING},
};
use crate::{
    hub::{Reader, ViewId},
    ids::{ChannelName, Position, Slot},
    limits::CUT_FRAME_BYTES_MAX,
    log::{Extent, Place},
    policy::Slow,
    resume::{Begun, Gap, Start},
};

/// A subscriber that fell too far behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Lapped {
    /// The connection.
    pub slot: Slot,
    /// What is missing from a frame that was cut.
    pub rest: Rest,
    /// What it read, and the last position that it was sent, if it has left the view.
    pub left: Option<(ChannelName, Position)>,
}

/// A subscriber that was made to skip what is no longer kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    /// The connection.
    pub slot: Slot,
    /// What it reads.
    pub channel: ChannelName,
    /// What it does not get.
    pub gap: Gap,
    /// How many publications that is.
    pub publications: u32,
}

impl Views {
    pub(super) fn on_extent(
        &mut self,
        id: ViewId,
        extent: Extent,
        room: usize,
        now_us: u64,
    ) -> News {
        let is_news = |view: &&mut View| extent.end.byte > view.window.head().mark.byte;
        let Some(view) = self.view(id).filter(is_news) else {
            return News::Nothing;
        };
        let served = view.sweep.served;
        view.sweep.on_news(now_us);
        let bytes_max = self.bytes_max(id.index);
        let window = &self.table[id.index as usize].window;
        let floor = window.floor_with(&extent, bytes_max, served);
        let is_lapping = floor > window.floor();
        let lapped = if is_lapping { self.lap(id.index, floor, room) } else { vec![] };
        self.change_window(id.index, |window| {
            window.on_extent(extent);
            if !window.is_sparse() {
                window.limit(bytes_max, served);
            }
        });
        self.pass_over(id.index);
        let view = &mut self.table[id.index as usize];
        view.sweep.served = served.max(view.window.floor().min(view.window.head().mark.byte));
        self.weigh(id.index);
        self.activate(id.index);
        if lapped.is_empty() { News::Nothing } else { News::Lapped(lapped) }
    }

    /// Bytes of memory that a view's window may take.
    fn bytes_max(&self, index: u32) -> usize {
        self.setup.lag_bytes_max.saturating_add(self.table[index as usize].history)
    }

    /// Takes note of whoever stands below `floor`, while the frames that were cut there are still to
    /// be had. Walks all members, which is rare.
    fn lap(&mut self, index: u32, floor: u64, mut room: usize) -> Vec<Lapped> {
        let closes = self.policy(index).slow == Slow::Close;
        let is_lapped = |reader: &Reader| {
            let subscriber = &self.subscribers[reader.index()];
            subscriber.cursor < floor && !subscriber.has(LAPPED | WAITING)
        };
        let members = &self.table[index as usize].members;
        let readers: Vec<Reader> = members.iter().filter(is_lapped).collect();
        let mut lapped = Vec::new();
        for reader in readers {
            let most = room.min(CUT_FRAME_BYTES_MAX);
            if closes {
                let channel = self.channel_of(reader).cloned();
                let slot = self.owner(reader);
                let left = self.leave(reader, most);
                lapped.push(Lapped { slot, rest: left.rest, left: channel.zip(left.position) });
            } else {
                lapped.extend(self.mark_lapped(reader, index, most));
            }
            if let Some(Lapped { rest: Rest::Kept(bytes), .. }) = lapped.last() {
                room = room.saturating_sub(bytes.len());
            }
        }
        lapped
    }

    /// Notes where a reader stood. Gives the rest of a frame that was cut.
    fn mark_lapped(&mut self, reader: Reader, index: u32, room: usize) -> Option<Lapped> {
        let position = self.position_of(reader)?;
        let lapped = self.take_rest(reader, room);
        let subscriber = &mut self.subscribers[reader.index()];
        subscriber.flags |= LAPPED;
        // Not a place, but below every head: whoever looks at cursors alone finds it behind.
        subscriber.cursor = 0;
        self.lapped.insert(reader, position.offset);
        self.file(reader, index);
        lapped
    }

    /// Takes the rest of a reader's cut frame, which then counts as sent.
    pub(super) fn take_rest(&mut self, reader: Reader, room: usize) -> Option<Lapped> {
        let slot = self.owner(reader);
        let cut = self.subscribers[reader.index()].cut;
        if cut == 0 {
            return None;
        }
        let rest = match self.cut_rest(slot) {
            rest if rest.len() > room => Rest::TooMuch,
            rest => Rest::Kept(rest.to_vec()),
        };
        if let Rest::Kept(bytes) = &rest {
            self.kept_frames += 1;
            self.kept_bytes += bytes.len() as u64;
        }
        self.set_cut(slot, None);
        let subscriber = &mut self.subscribers[reader.index()];
        subscriber.cut = 0;
        subscriber.cursor += u64::from(cut);
        subscriber.frames = subscriber.frames.wrapping_add(1);
        Some(Lapped { slot, rest, left: None })
    }

    /// A subscriber that was lapped and can be served: it goes on with the oldest that is kept, or
    /// the newest, as its channel's policy says. Its session is to tell it of the gap.
    pub fn next_skip(&mut self) -> Option<Skipped> {
        if let Some(skipped) = self.skipped.pop() {
            return Some(skipped);
        }
        loop {
            let reader = self.skipping.pop()?;
            let subscriber = self.subscribers[reader.index()];
            let Some(&offset) = self.lapped.get(&reader) else { continue };
            let view = &self.table[subscriber.view as usize];
            let policy = self.policy(subscriber.view);
            let is_newest = policy.slow == Slow::Latest;
            if !is_newest && !policy.history.is_none() {
                // The home keeps more than the window does.
                self.come_back(reader, view.position(offset));
                continue;
            }
            self.lapped.remove(&reader);
            let view = &self.table[subscriber.view as usize];
            let target = if is_newest { view.window.newest() } else { view.window.oldest() };
            // Others may have brought back meanwhile what it missed.
            let is_gap = target.before > offset;
            let Place { mark, before } = if is_gap { target } else { view.window.behind(offset) };
            let gap = Gap { from: view.position(offset), to: view.position(before) };
            let publications = (mark.frames as u32).wrapping_sub(subscriber.frames);
            let channel = view.name.clone().expect("it has a member");
            let subscriber = &mut self.subscribers[reader.index()];
            subscriber.flags &= !LAPPED;
            subscriber.begin(mark);
            let index = subscriber.view;
            self.file(reader, index);
            if !is_gap {
                continue;
            }
            return Some(Skipped { slot: self.owner(reader), channel, gap, publications });
        }
    }

    /// Lets a reader that was lapped begin anew behind where it stood, as if it had been away.
    fn come_back(&mut self, reader: Reader, position: Position) {
        let subscriber = &mut self.subscribers[reader.index()];
        subscriber.flags = subscriber.flags & !LAPPED | WAITING;
        subscriber.cursor = u64::MAX;
        let index = subscriber.view;
        self.file(reader, index);
        self.ask(reader, index, Start::Since(position), true);
    }

    /// The home has said where a reader goes on that was lapped.
    pub(super) fn go_on(&mut self, reader: Reader, publications: u32, begun: &Begun) {
        self.lapped.remove(&reader);
        let channel = self.channel_of(reader).cloned();
        if let Some((gap, channel)) = begun.gap.zip(channel) {
            let slot = self.owner(reader);
            self.skipped.push(Skipped { slot, channel, gap, publications });
        }
    }

    /// What was found missing of frames whose segment goes: it is to be sent first.
    pub fn next_rest(&mut self) -> Option<Lapped> {
        self.rests.pop()
    }
}
