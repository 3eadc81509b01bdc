//! Sweeps: serving every subscriber of a channel what it is owed, in slices.
//!
//! A *round* visits all members of a view in slot order, once. Between its slices the shard does
//! other things, and publications that come meanwhile reach everybody not yet visited. Nobody is
//! served twice before everybody was served once: who becomes clean after the round has passed
//! waits for the next. If nothing new was published there is no next full round, only one for
//! those latecomers.
//!
//! A round that lasted is followed by a rest of half its length. Whatever comes meanwhile
//! joins one send later, and who runs on the same cores (on a test machine, the subscribers) gets
//! to run: at 200 publications/s to 10,000 subscribers on two cores shared with them, rounds
//! without rest starved the readers.
//!
//! Views with work stand in a queue. A batch takes from the one in front until the batch is full
//! or its round is over, and puts it at the back, so a small channel is done in its first slice
//! beside a huge one.

use super::{
    View, Views,
    reader::{BATCHED, BEHIND, BLOCKED, LAPPED, LATE, STUCK},
    visit::{Visit, Visiting},
};
use crate::{
    counters::Counters,
    frame::Format,
    hub::Reader,
    ids::Slot,
    io::{Exception, Outcome},
    limits::{CUT_FRAME_BYTES_MAX, SEND_BATCH},
    log::Mark,
    policy::PROBES,
};

/// Where a view's sweep stands.
#[derive(Default)]
pub(super) struct Sweep {
    round: Round,
    /// The first reader not yet visited.
    next: u32,
    /// The head when the last full round began.
    pub(super) goal: u64,
    /// The goal of the last full round that ended: every clean member stands there or above.
    pub(super) served: u64,
    /// When the round began, in microseconds.
    began_us: u64,
    /// When the next full round may begin, in microseconds.
    rest_until_us: u64,
    /// When the oldest news came that no full round has begun with, and those of the running one, in
    /// microseconds; 0 where there are none.
    news_us: u64,
    carried_us: u64,
}

impl Sweep {
    /// There is something that no round has begun with.
    pub(super) fn on_news(&mut self, now_us: u64) {
        if self.news_us == 0 {
            self.news_us = now_us.max(1);
        }
    }
}

/// The `next` of a round that has visited everybody. It ends when its last batch is settled.
const OVER: u32 = u32::MAX;

/// Views and subscribers visited for one batch, so that one over many who are owed nothing, or
/// cannot be served, is bounded, too.
const VISITS_MAX: usize = 8 * SEND_BATCH;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Round {
    #[default]
    None,
    /// Over all members.
    Full,
    /// Over the latecomers of the rounds before.
    Late,
}

/// Sends of one batch: whom, from where, to where.
#[derive(Default)]
pub struct Batch {
    entries: Vec<Entry>,
}

pub(super) struct Entry {
    pub slot: Slot,
    pub reader: Reader,
    pub view: u32,
    pub from: u64,
    pub from_frames: u32,
    pub end: Mark,
}

/// What became of a send, where the shard must act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A socket that had been full has taken something. May be followed by `Blocked`.
    Moved(Slot),
    /// The socket is full. Poll it for room.
    Blocked(Slot),
    /// The connection is broken.
    Broken(Slot),
    /// An event stream was sent something, so no heartbeat is due on it.
    Fed(Slot),
}

impl Batch {
    /// An empty batch with room for [`SEND_BATCH`] sends.
    pub fn new() -> Self {
        Batch { entries: Vec::with_capacity(SEND_BATCH) }
    }

    /// Sends in the batch.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Views {
    /// Whether somebody may be owed something.
    pub fn has_work(&self) -> bool {
        !self.active.is_empty()
    }

    /// Lets views go on whose rest is over.
    pub fn wake_rested(&mut self, now_us: u64) {
        let active = &mut self.active;
        self.resting.retain(|&(until_us, index)| {
            let is_over = until_us <= now_us;
            if is_over {
                active.push_back(index);
            }
            !is_over
        });
    }

    /// When the first rest is over, in microseconds.
    pub fn rest_ends(&self) -> Option<u64> {
        self.resting.iter().map(|&(until_us, _)| until_us).min()
    }

    /// Collects the next sends, at most [`SEND_BATCH`], each to another connection. Must be
    /// followed by [`Views::settle`] before anything else.
    pub fn fill(&mut self, batch: &mut Batch, now_us: u64) {
        batch.entries.clear();
        let mut visits = VISITS_MAX;
        for _ in 0..self.active.len() {
            let Some(index) = self.active.pop_front() else { break };
            let more = self.fill_from(index, batch, &mut visits, now_us);
            if more {
                self.active.push_back(index);
            } else if self.resting.last().is_none_or(|&(_, resting)| resting != index) {
                self.table[index as usize].active = false;
                self.free_if_unqueued(index);
            }
            if batch.len() == SEND_BATCH || visits == 0 {
                break;
            }
        }
    }

    /// Takes one slice of a view's round. Says whether the view has more to do.
    fn fill_from(
        &mut self,
        index: u32,
        batch: &mut Batch,
        visits: &mut usize,
        now_us: u64,
    ) -> bool {
        *visits = visits.saturating_sub(1);
        if self.table[index as usize].sweep.next == OVER {
            self.end_round(index, now_us);
        }
        let view = &mut self.table[index as usize];
        if view.name.is_none() {
            return false;
        }
        match view.begin_round(now_us) {
            Begin::Round => (),
            Begin::Nothing => return false,
            Begin::Rest(until_us) => {
                self.resting.push((until_us, index));
                return false;
            }
        }
        let head = view.window.head().mark;
        let mut aside = std::mem::take(&mut self.aside);
        let mut next = OVER;
        let visited = if view.sweep.round == Round::Full { &view.members } else { &view.late };
        let visiting = Visiting { index, view, head, slots: self.slots, owners: &self.owners };
        for reader in visited.from(Reader(view.sweep.next)) {
            if batch.len() == SEND_BATCH || *visits == 0 {
                next = reader.0;
                break;
            }
            *visits -= 1;
            match visiting.visit(reader, &mut self.subscribers) {
                Visit::Nothing => (),
                Visit::Send(entry) => batch.entries.push(entry),
                Visit::Aside => aside.push(reader),
                Visit::Skip => self.skipping.push(reader),
                Visit::Compose(slot) => self.composing.push(slot),
            }
        }
        self.table[index as usize].sweep.next = next;
        aside.drain(..).for_each(|reader| self.file(reader, index));
        self.aside = aside;
        true
    }

    /// The bytes of each send, in order.
    pub fn sends(&self, batch: &Batch) -> impl Iterator<Item = (Slot, &[u8])> {
        batch.entries.iter().map(|entry| {
            let len = (entry.end.byte - entry.from) as usize;
            (entry.slot, self.table[entry.view as usize].window.bytes(entry.from, len))
        })
    }

    /// Moves the cursors of a batch that was sent, all but the `exceptions` whole. Appends what
    /// the shard must act on.
    pub fn settle(
        &mut self,
        batch: &Batch,
        exceptions: &[Exception],
        notices: &mut Vec<Notice>,
        counters: &Counters,
    ) {
        let mut bytes = std::mem::take(&mut self.kept_bytes);
        let mut frames = std::mem::take(&mut self.kept_frames);
        for entry in &batch.entries {
            let subscriber = &mut self.subscribers[entry.reader.index()];
            bytes += entry.end.byte - entry.from;
            frames += u64::from((entry.end.frames as u32).wrapping_sub(entry.from_frames));
            (subscriber.cursor, subscriber.frames) = (entry.end.byte, entry.end.frames as u32);
            let view = &self.table[entry.view as usize];
            let is_unfinished = subscriber.has(BEHIND | LATE) || entry.end.byte < view.sweep.goal;
            if view.format == Format::Sse {
                notices.push(Notice::Fed(entry.slot));
            }
            if entry.reader.0 >= self.slots {
                self.subscribers[entry.slot.index()].flags &= !BATCHED;
            }
            if is_unfinished {
                self.file(entry.reader, entry.view);
            }
        }
        for exception in exceptions {
            let entry = &batch.entries[exception.index];
            let (bytes_missed, frames_missed) = self.take_back(entry, exception.outcome);
            bytes -= bytes_missed;
            frames -= frames_missed;
        }
        // Stuck ones that took something come before those that are stuck now: a socket may be both.
        let stuck = |entry: &&Entry| self.subscribers[entry.slot.index()].flags & STUCK != 0;
        for entry in batch.entries.iter().filter(stuck) {
            if self.subscribers[entry.reader.index()].cursor > entry.from {
                notices.push(Notice::Moved(entry.slot));
            }
        }
        for exception in exceptions {
            let slot = batch.entries[exception.index].slot;
            notices.push(match exception.outcome {
                Outcome::Short(_) => Notice::Blocked(slot),
                Outcome::Broken => Notice::Broken(slot),
            });
        }
        for entry in &batch.entries {
            let flags = &mut self.subscribers[entry.slot.index()].flags;
            *flags = if *flags & BLOCKED != 0 { *flags | STUCK } else { *flags & !STUCK };
        }
        counters.deliveries.add(frames);
        counters.delivered_bytes.add(bytes);
        counters.sends.add(batch.len() as u64);
        counters.short_sends.add(exceptions.len() as u64);
    }

    /// Puts a reader into the sets that it belongs to: at the head in none, below it behind, and
    /// among the latecomers if it can be served.
    pub(super) fn file(&mut self, reader: Reader, index: u32) {
        let connection = &self.subscribers[self.owner(reader).index()];
        let is_ready = self.subscribers[reader.index()].is_ready_on(connection);
        let view = &mut self.table[index as usize];
        let subscriber = &mut self.subscribers[reader.index()];
        let is_behind = subscriber.has(LAPPED) || subscriber.cursor < view.window.head().mark.byte;
        let is_late = is_behind && is_ready;
        let belongs = if is_behind { BEHIND } else { 0 } | if is_late { LATE } else { 0 };
        let changed = belongs ^ (subscriber.flags & (BEHIND | LATE));
        subscriber.flags ^= changed;
        if changed & BEHIND != 0 {
            view.behind.set(reader, is_behind);
        }
        if changed & LATE != 0 {
            view.late.set(reader, is_late);
        }
        if is_late {
            self.activate(index);
        }
    }

    /// Puts a cursor back to what was written. Returns the bytes and frames that were not.
    fn take_back(&mut self, entry: &Entry, outcome: Outcome) -> (u64, u64) {
        let written = match outcome {
            Outcome::Short(written) => written,
            Outcome::Broken => 0,
        };
        let view = &self.table[entry.view as usize];
        let byte = entry.from + written as u64;
        let around = view.window.find(byte);
        let frames = if written == 0 { entry.from_frames } else { around.frames as u32 };
        let missing = if written == 0 { 0 } else { around.missing };
        let subscriber = &mut self.subscribers[entry.reader.index()];
        (subscriber.cursor, subscriber.frames) = (byte, frames);
        subscriber.cut = missing as u32;
        self.set_cut(entry.slot, Some(entry.reader).filter(|_| missing > 0));
        self.block(entry.slot);
        self.file(entry.reader, entry.view);
        let frames_missed = (entry.end.frames as u32).wrapping_sub(frames);
        (entry.end.byte - byte, u64::from(frames_missed))
    }

    /// What is missing from the frame that was cut on this connection, if it is.
    pub fn cut_rest(&self, slot: Slot) -> &[u8] {
        let Some(reader) = self.cut_reader(slot) else { return &[] };
        let subscriber = &self.subscribers[reader.index()];
        match subscriber.cut {
            0 => &[],
            cut => {
                let view = &self.table[subscriber.view as usize];
                view.window.bytes(subscriber.cursor, cut as usize)
            }
        }
    }

    /// So much of the cut frame's rest was written.
    pub fn on_cut_sent(&mut self, slot: Slot, written: usize, counters: &Counters) {
        let Some(reader) = self.cut_reader(slot) else { return };
        let subscriber = &mut self.subscribers[reader.index()];
        subscriber.cursor += written as u64;
        subscriber.cut -= written as u32;
        counters.delivered_bytes.add(written as u64);
        if subscriber.cut == 0 && written > 0 {
            subscriber.frames = subscriber.frames.wrapping_add(1);
            counters.deliveries.add(1);
            let index = subscriber.view;
            self.set_cut(slot, None);
            self.file(reader, index);
        }
    }

    /// A round is over: whatever no member needs any more is dropped, and publishers who had to
    /// wait for it may go on.
    fn end_round(&mut self, index: u32, now_us: u64) {
        let view = &mut self.table[index as usize];
        let round = std::mem::take(&mut view.sweep.round);
        view.sweep.next = 0;
        if round == Round::Full {
            view.sweep.served = view.sweep.goal;
            let lasted_us = now_us.saturating_sub(view.sweep.began_us);
            view.sweep.rest_until_us = now_us + lasted_us / REST_SHARE;
            if view.pattern != PROBES {
                self.ended.push((view.sweep.began_us, view.sweep.carried_us));
            }
        }
        if view.window.is_behind() {
            self.trim(index);
        }
        self.weigh(index);
    }

    /// Drops what no member needs any more.
    fn trim(&mut self, index: u32) {
        let view = &self.table[index as usize];
        let mut needed = view.sweep.served;
        let mut pinning = Vec::new();
        for reader in view.behind.iter() {
            let subscriber = &self.subscribers[reader.index()];
            if subscriber.has(LAPPED) {
                continue;
            }
            needed = needed.min(subscriber.cursor);
            if view.window.is_sparse() && subscriber.cut > 0 && view.window.pins(subscriber.cursor)
            {
                pinning.push(reader);
            }
        }
        for reader in pinning {
            let rest = self.take_rest(reader, CUT_FRAME_BYTES_MAX);
            self.rests.extend(rest);
            self.file(reader, index);
        }
        self.change_window(index, |window| {
            window.trim(needed);
            if window.is_sparse() {
                window.trim_replaced();
            }
        });
    }

    /// Counts the full rounds that have ended. They are timed here and not where they end, since
    /// the clock is read but once per turn.
    pub fn count_rounds(&mut self, now_us: u64, counters: &Counters) {
        for (began_us, carried_us) in self.ended.drain(..) {
            counters.on_sweep(now_us.saturating_sub(began_us));
            if carried_us > 0 {
                counters.on_written(now_us.saturating_sub(carried_us));
            }
        }
    }

    /// Finds out whether the channel's publishers are faster than we can send, and owes its home
    /// a word if that has changed. Between the two bounds it stays as it was.
    pub(super) fn weigh(&mut self, index: u32) {
        let view = &mut self.table[index as usize];
        let unserved = view.window.head().mark.byte.saturating_sub(view.sweep.served) as usize;
        let lag_bytes_max = self.setup.lag_bytes_max;
        let congested = !view.window.is_sparse()
            && match view.congested {
                true => unserved > lag_bytes_max / 4,
                false => unserved > lag_bytes_max / 2,
            };
        if congested != view.congested {
            view.congested = congested;
            self.owe(index);
        }
    }
}

impl View {
    /// Goes on with the round, or begins one if there is a reason to.
    fn begin_round(&mut self, now_us: u64) -> Begin {
        if self.sweep.round != Round::None {
            return Begin::Round;
        }
        let head = self.window.head().mark.byte;
        let is_due = head > self.sweep.goal && self.live;
        if is_due && now_us >= self.sweep.rest_until_us {
            self.sweep.goal = head;
            self.sweep.round = Round::Full;
            self.sweep.carried_us = std::mem::take(&mut self.sweep.news_us);
        } else if !self.late.is_empty() {
            self.sweep.round = Round::Late;
        } else if is_due {
            return Begin::Rest(self.sweep.rest_until_us);
        } else {
            return Begin::Nothing;
        }
        (self.sweep.next, self.sweep.began_us) = (0, now_us);
        Begin::Round
    }
}

/// What a view is to do next.
enum Begin {
    /// Go on with its round.
    Round,
    /// Wait until then, in microseconds.
    Rest(u64),
    /// Nothing, until something happens.
    Nothing,
}

/// The part of a round's length that the rest behind it takes.
const REST_SHARE: u64 = 2;
