//! The side of channels that reads: this shard's views, and its subscribers as cursors.
//!
//! A reader is a place in its view's stream and a few flags, 24 bytes in a table. It is *clean* if
//! the next bytes of its connection may be the next bytes of the stream; sweeps serve the clean
//! ones. Everybody else (a full socket, a frame cut in the middle, private bytes that must go
//! first) is skipped, costs nothing, and comes back through [`Views::unblock`] or
//! [`Views::release`].
//!
//! A connection that reads one channel is its own reader. One that reads several has a reader for
//! each, behind the table of connections; their sockets are the connection's.

mod about;
mod answers;
mod compose;
mod join;
mod lag;
mod lap;
mod reader;
mod renumber;
mod several;
mod sweep;
mod visit;

pub use about::Reading;
pub use compose::{Compose, Took};
pub use join::{Joined, Left, NotJoined};
pub use lap::{Lapped, Skipped};
pub use sweep::{Batch, Notice};

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

use self::{
    join::Asking,
    reader::{BEHIND, BLOCKED, HELD, NO_VIEW, SEVERAL, Subscriber, WAITING},
    several::Several,
    sweep::Sweep,
};
use super::{Ask, Message, Reader, ReaderSet, Said, ViewId};
use crate::{
    frame::Format,
    ids::{ChannelName, Epoch, Offset, Position, ShardId, Slot},
    log::{Mark, Place, Window},
    policy::{PatternId, Policies, Policy},
    resume::Begun,
};

/// What views live by.
#[derive(Clone, Debug)]
pub struct ViewsSetup {
    /// The shard that they are on.
    pub shard: ShardId,
    /// Connections that there can be.
    pub slots: u32,
    /// How channels live.
    pub policies: Policies,
    /// Encoded bytes of each stream that are kept for subscribers that are behind, besides those
    /// that the home keeps anyway.
    pub lag_bytes_max: usize,
    /// Channels that one connection may read.
    pub subscriptions_max: u32,
}

/// The channels that this shard's subscribers read.
pub struct Views {
    setup: ViewsSetup,
    slots: u32,
    table: Vec<View>,
    free: Vec<u32>,
    /// The views by name and format, without a copy of either.
    by_name: HashTable<u32>,
    hasher: RandomState,
    /// By reader: first those that are connections, then those of connections with several channels.
    subscribers: Vec<Subscriber>,
    /// The connections of the latter.
    owners: Vec<Slot>,
    free_readers: Vec<Reader>,
    several: HashMap<Slot, Several>,
    /// Readers without a connection: see [`Views::add_witness`].
    witnesses: usize,
    /// Views whose home is owed a word about the number of their subscribers.
    owed: VecDeque<u32>,
    /// Questions of where readers begin that their homes have yet to be asked.
    asks: VecDeque<(u32, Ask)>,
    /// Readers that wait for the answer, by the number of their question.
    asking: HashMap<Reader, Asking>,
    asked: u32,
    /// Views with a sweep under way or due.
    active: VecDeque<u32>,
    /// Readers that came from another edge, which is further: per view, who they are and the offset
    /// up to which they have everything.
    ahead: HashMap<u32, Vec<(Reader, Offset)>>,
    /// Where readers stood that are to skip what is no longer kept.
    lapped: HashMap<Reader, Offset>,
    /// What sweeps found that is not for them: see [`Views::next_skip`], [`Views::next_compose`].
    skipping: Vec<Reader>,
    skipped: Vec<Skipped>,
    composing: Vec<Slot>,
    rests: Vec<Lapped>,
    /// Rests that were kept of subscribers who stay, and are yet to be counted as delivered.
    kept_frames: u64,
    kept_bytes: u64,
    /// Sockets that are full now.
    blocked: u32,
    /// Bytes of segments in all windows.
    memory: usize,
    /// Views that have work but rest, and until when, in microseconds. They count as active.
    resting: Vec<(u64, u32)>,
    /// Of full rounds that have ended since they were counted: when they began, and when the oldest
    /// publication came that they carried, in microseconds.
    ended: Vec<(u64, u64)>,
    /// Kept between slices for its memory alone.
    aside: Vec<Reader>,
}

/// What a message means for subscribers here.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Nothing to be done at once.
    Nothing,
    /// These get everything from where they begin.
    Started(Started),
    /// These cannot be served: there are too many channels. They have left the view.
    Refused(ChannelName, Vec<Slot>),
    /// What these had yet to read is no longer kept.
    Lapped(Vec<Lapped>),
    /// Their channel has begun anew, under another numbering. They have left the view.
    Renumbered(Vec<Lapped>),
}

/// Subscribers whose subscription is live.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Who they are.
    pub readers: ReaderSet,
    /// What they read.
    pub channel: ChannelName,
    /// What they are to be told.
    pub begun: Begun,
    /// Whether they came back, and asked for what was published since.
    pub resumed: bool,
}

/// What is missing from a frame that was cut on a connection which reads no longer.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest {
    /// Nothing: the connection stands between two frames.
    None,
    /// These bytes must go out before any others.
    Kept(Vec<u8>),
    /// More than may be kept: nothing can be sent on this connection any more.
    TooMuch,
}

/// One channel in one format, as this shard's subscribers read it.
struct View {
    /// None: the place in the table is not taken.
    name: Option<ChannelName>,
    format: Format,
    pattern: PatternId,
    generation: u32,
    live: bool,
    /// Whether the home was told of this view.
    asked: bool,
    owed: bool,
    active: bool,
    /// Publications come faster than rounds can carry them away; the home holds them back.
    congested: bool,
    epoch: Epoch,
    members: ReaderSet,
    /// Members that may stand below the last round's goal.
    behind: ReaderSet,
    /// Clean members that the current round will not reach, and that stand below its goal.
    late: ReaderSet,
    window: Window,
    /// Bytes of memory that the home keeps anyway and subscribers may begin in.
    history: usize,
    sweep: Sweep,
}

/// Messages that inboxes may give back before telling stops for this turn: other homes' inboxes
/// may have room, but a storm of owed views must not be walked through in every turn.
const REFUSALS_MAX: usize = 64;

impl Views {
    /// No views.
    pub fn new(setup: ViewsSetup) -> Self {
        Views {
            slots: setup.slots,
            subscribers: vec![Subscriber::NONE; setup.slots as usize],
            setup,
            table: Vec::new(),
            free: Vec::new(),
            by_name: HashTable::new(),
            hasher: RandomState::new(),
            owners: Vec::new(),
            free_readers: Vec::new(),
            several: HashMap::new(),
            witnesses: 0,
            owed: VecDeque::new(),
            asks: VecDeque::new(),
            asking: HashMap::new(),
            asked: 0,
            active: VecDeque::new(),
            ahead: HashMap::new(),
            lapped: HashMap::new(),
            skipping: Vec::new(),
            skipped: Vec::new(),
            composing: Vec::new(),
            rests: Vec::new(),
            kept_frames: 0,
            kept_bytes: 0,
            blocked: 0,
            memory: 0,
            resting: Vec::new(),
            ended: Vec::new(),
            aside: Vec::new(),
        }
    }

    /// How far subscribers may lag from now on, and how many channels a connection may read.
    pub fn set_limits(&mut self, lag_bytes_max: usize, subscriptions_max: u32) {
        (self.setup.lag_bytes_max, self.setup.subscriptions_max) =
            (lag_bytes_max, subscriptions_max);
    }

    /// How channels live from now on: the same patterns (see [`Policies::can_become`]).
    pub fn set_policies(&mut self, policies: Policies) {
        debug_assert!(self.setup.policies.can_become(&policies));
        self.setup.policies = policies;
    }

    /// Views now; those of witnesses do not count.
    pub fn len(&self) -> usize {
        self.by_name.len() - self.witnesses
    }

    /// Whether nobody reads anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections whose socket is full now.
    pub fn blocked(&self) -> u32 {
        self.blocked
    }

    /// Bytes of segments kept by all views.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The same, counted anew.
    #[cfg(test)]
    pub(super) fn table_memory(&self) -> usize {
        self.table.iter().map(|view| view.window.memory()).sum()
    }

    /// Whether a connection reads something.
    pub fn reads(&self, slot: Slot) -> bool {
        self.subscribers[slot.index()].view != NO_VIEW || !self.readers_of(slot).is_empty()
    }

    /// Whether a connection has yet to be sent something of what it reads.
    pub fn is_behind(&self, slot: Slot) -> bool {
        let is_behind = |reader: &Reader| {
            let subscriber = &self.subscribers[reader.index()];
            let view = self.table.get(subscriber.view as usize);
            view.is_some_and(|view| subscriber.cursor < view.window.head().mark.byte)
        };
        is_behind(&Reader::from(slot)) || self.readers_of(slot).iter().any(is_behind)
    }

    /// Private bytes of this connection go first from now on, between two frames.
    pub fn hold(&mut self, slot: Slot) {
        self.subscribers[slot.index()].flags |= HELD;
    }

    /// The private bytes are out.
    pub fn release(&mut self, slot: Slot) {
        self.subscribers[slot.index()].flags &= !HELD;
        self.resume(slot);
    }

    /// Whether the connection's socket is full.
    pub fn is_blocked(&self, slot: Slot) -> bool {
        self.subscribers[slot.index()].has(BLOCKED)
    }

    /// A send of private bytes found the socket full.
    pub fn block(&mut self, slot: Slot) {
        let subscriber = &mut self.subscribers[slot.index()];
        self.blocked += u32::from(!subscriber.has(BLOCKED));
        subscriber.flags |= BLOCKED;
    }

    /// The socket has room again.
    pub fn unblock(&mut self, slot: Slot) {
        let subscriber = &mut self.subscribers[slot.index()];
        self.blocked -= u32::from(subscriber.has(BLOCKED));
        subscriber.flags &= !BLOCKED;
        self.resume(slot);
    }

    /// Readers that have become clean are served by the next round, or by one for latecomers.
    fn resume(&mut self, slot: Slot) {
        let subscriber = &self.subscribers[slot.index()];
        if subscriber.view != NO_VIEW {
            self.file(Reader::from(slot), subscriber.view);
        } else if subscriber.has(SEVERAL) {
            for at in 0..self.readers_of(slot).len() {
                let reader = self.readers_of(slot)[at];
                let subscriber = &self.subscribers[reader.index()];
                // Who is not known to be behind is reached by a full round.
                if subscriber.has(BEHIND) && subscriber.view != NO_VIEW {
                    self.file(reader, subscriber.view);
                }
            }
        }
    }

    /// Takes a message from a home. Of frames that are cut where a window is shortened at most
    /// `room` bytes may be kept, over all connections. `now_us` is the server's time.
    pub fn on_message(&mut self, message: Message, room: usize, now_us: u64) -> News {
        match message {
            Message::Interest { .. } | Message::Ask { .. } | Message::Answered(_) => News::Nothing,
            Message::Live { view, head, epoch } => self.on_live(view, head, epoch, room),
            Message::Refused { view } => self.on_refused(view),
            Message::Head { view, extent } => self.on_extent(view, extent, room, now_us),
            Message::Begin { view, beginning } => self.on_begin(view, &beginning, room, now_us),
        }
    }

    /// Changes what a view keeps, and the account of it.
    fn change_window(&mut self, index: u32, change: impl FnOnce(&mut Window)) {
        let window = &mut self.table[index as usize].window;
        self.memory -= window.memory();
        change(window);
        self.memory += window.memory();
    }

    fn owe(&mut self, index: u32) {
        let view = &mut self.table[index as usize];
        if !view.owed {
            view.owed = true;
            self.owed.push_back(index);
        }
    }

    fn activate(&mut self, index: u32) {
        let view = &mut self.table[index as usize];
        if !view.active {
            view.active = true;
            self.active.push_back(index);
        }
    }

    fn view(&mut self, id: ViewId) -> Option<&mut View> {
        self.table.get_mut(id.index as usize).filter(|view| view.is(id))
    }

    fn policy(&self, index: u32) -> &Policy {
        self.setup.policies.get(self.table[index as usize].pattern)
    }

    fn free_view(&mut self, index: u32) {
        self.change_window(index, |window| *window = View::unused().window);
        let view = &mut self.table[index as usize];
        if let Some(name) = view.name.take() {
            let hash = self.hasher.hash_one((&name, view.format));
            if let Ok(entry) = self.by_name.find_entry(hash, |&known| known == index) {
                entry.remove();
            }
        }
        // Whoever still has it queued finds it unused. Its place is free once they have.
        let generation = view.generation;
        *view = View { generation, owed: view.owed, active: view.active, ..View::unused() };
        self.free_if_unqueued(index);
    }

    fn free_if_unqueued(&mut self, index: u32) {
        let view = &self.table[index as usize];
        if view.name.is_none() && !view.owed && !view.active {
            self.free.push(index);
        }
    }
}

impl Subscriber {
    /// Begins to read at a place.
    fn begin(&mut self, mark: Mark) {
        (self.cursor, self.frames) = (mark.byte, mark.frames as u32);
        self.flags &= !WAITING;
    }
}

impl View {
    fn unused() -> Self {
        let nowhere = Place { mark: Mark::default(), before: Offset(0) };
        View {
            name: None,
            format: Format::WebSocket,
            pattern: PatternId(0),
            generation: 0,
            live: false,
            asked: false,
            owed: false,
            active: false,
            congested: false,
            epoch: Epoch(0),
            members: ReaderSet::default(),
            behind: ReaderSet::default(),
            late: ReaderSet::default(),
            window: Window::at(nowhere, false),
            history: 0,
            sweep: Sweep::default(),
        }
    }

    /// Whether it is the view of this name, and not one that came later into its place.
    fn is(&self, id: ViewId) -> bool {
        self.name.is_some() && self.generation == id.generation
    }

    fn position(&self, offset: Offset) -> Position {
        Position { epoch: self.epoch, offset }
    }

    fn said(&self, from: ShardId, index: u32) -> Said {
        Said {
            from,
            view: ViewId { index, generation: self.generation },
            format: self.format,
            subscribers: self.members.len(),
            congested: self.congested,
            first: !self.asked,
        }
    }
}
