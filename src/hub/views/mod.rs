//! The side of channels that reads: this shard's views, and its subscribers as cursors.
//!
//! A subscriber is a place in its view's stream and a few flags, 24 bytes in a table by slot. It
//! is *clean* if the next bytes of its connection may be the next bytes of the stream; sweeps
//! serve the clean ones. Everybody else (a full socket, a frame cut in the middle, private bytes
//! that must go first) is skipped, costs nothing, and comes back through [`Views::unblock`] or
//! [`Views::release`].
//!
//! A connection reads at most one view.

mod subscriber;
mod sweep;

pub use sweep::{Batch, Notice};

use std::collections::{HashMap, VecDeque};

use self::{
    subscriber::{BLOCKED, HELD, NO_VIEW, Subscriber},
    sweep::Sweep,
};
use super::{Message, Said, SlotSet, ViewId};
use crate::{
    frame::Format,
    ids::{ChannelName, ShardId, Slot},
    limits::CUT_FRAME_BYTES_MAX,
    log::{Extent, Mark, Window},
    wire,
};

/// The channels that this shard's subscribers read.
pub struct Views {
    table: Vec<View>,
    free: Vec<u32>,
    by_name: HashMap<(ChannelName, Format), u32>,
    subscribers: Vec<Subscriber>,
    /// Views whose home is owed a word about the number of their subscribers.
    owed: VecDeque<u32>,
    /// Views with a sweep under way or due.
    active: VecDeque<u32>,
    lag_bytes_max: usize,
    /// Sockets that are full now.
    blocked: u32,
    /// Bytes of segments in all windows.
    memory: usize,
    /// When the full rounds began that have ended since they were counted, in microseconds.
    ended: Vec<u64>,
    /// Kept between slices for its memory alone.
    aside: Vec<Slot>,
}

/// What came of joining a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The subscriber gets everything from now on.
    Live,
    /// The home was asked; [`News::Live`] or [`News::Refused`] follows.
    Waiting,
}

/// What a message means for subscribers here.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Nothing to be done at once.
    Nothing,
    /// These get everything from now on.
    Live(SlotSet),
    /// These cannot be served: there are too many channels. They have left the view.
    Refused(SlotSet),
    /// What these had yet to read is no longer kept. They have left the view.
    Lapped(Vec<Lapped>),
}

/// A subscriber that fell too far behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Lapped {
    /// The connection.
    pub slot: Slot,
    /// What is missing from a frame that was cut.
    pub rest: Rest,
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
    generation: u32,
    live: bool,
    /// Whether the home was told of this view.
    asked: bool,
    owed: bool,
    active: bool,
    /// Publications come faster than rounds can carry them away; the home holds them back.
    congested: bool,
    members: SlotSet,
    /// Members that may stand below the last round's goal.
    behind: SlotSet,
    /// Clean members that the current round will not reach, and that stand below its goal.
    late: SlotSet,
    window: Window,
    sweep: Sweep,
}

/// Messages that inboxes may give back before telling stops for this turn: other homes' inboxes
/// may have room, but a storm of owed views must not be walked through in every turn.
const REFUSALS_MAX: usize = 64;

impl Views {
    /// No views, and a table for `slots` connections. Of each stream at most `lag_bytes_max`
    /// bytes are kept for subscribers that are behind.
    pub fn new(slots: u32, lag_bytes_max: usize) -> Self {
        Views {
            table: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            subscribers: vec![Subscriber::NONE; slots as usize],
            owed: VecDeque::new(),
            active: VecDeque::new(),
            lag_bytes_max,
            blocked: 0,
            memory: 0,
            ended: Vec::new(),
            aside: Vec::new(),
        }
    }

    /// Views now.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether nobody reads anything.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Subscribers whose socket is full now.
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

    /// Lets a connection read a channel. It must read nothing now.
    pub fn join(&mut self, slot: Slot, name: &ChannelName, format: Format) -> Joined {
        debug_assert_eq!(self.subscribers[slot.index()].view, NO_VIEW);
        let index = match self.by_name.get(&(name.clone(), format)) {
            Some(&index) => index,
            None => self.add_view(name.clone(), format),
        };
        let view = &mut self.table[index as usize];
        view.members.insert(slot);
        let head = view.window.head();
        let subscriber = &mut self.subscribers[slot.index()];
        *subscriber = Subscriber {
            cursor: head.byte,
            frames: head.frames as u32,
            view: index,
            ..subscriber.without_view()
        };
        let joined = if view.live { Joined::Live } else { Joined::Waiting };
        self.owe(index);
        joined
    }

    /// Takes a connection out of what it reads. Of a frame that was cut at most `room` bytes may
    /// be kept.
    pub fn leave(&mut self, slot: Slot, room: usize) -> Rest {
        let rest = match self.cut_rest(slot) {
            [] => Rest::None,
            rest if rest.len() > room => Rest::TooMuch,
            rest => Rest::Kept(rest.to_vec()),
        };
        let subscriber = &mut self.subscribers[slot.index()];
        let index = std::mem::replace(subscriber, subscriber.without_view()).view;
        if index != NO_VIEW {
            let view = &mut self.table[index as usize];
            view.members.remove(slot);
            view.behind.remove(slot);
            view.late.remove(slot);
            self.owe(index);
        }
        rest
    }

    /// The connection is gone, and with it whatever was known of it.
    pub fn forget(&mut self, slot: Slot) {
        self.leave(slot, 0);
        self.unblock(slot);
        self.subscribers[slot.index()] = Subscriber::NONE;
    }

    /// Whether a connection reads something.
    pub fn reads(&self, slot: Slot) -> bool {
        self.subscribers[slot.index()].view != NO_VIEW
    }

    /// Whether a connection has yet to be sent something of what it reads.
    pub fn is_behind(&self, slot: Slot) -> bool {
        let subscriber = &self.subscribers[slot.index()];
        let view = self.table.get(subscriber.view as usize);
        view.is_some_and(|view| subscriber.cursor < view.window.head().byte)
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
        self.subscribers[slot.index()].flags & BLOCKED != 0
    }

    /// A send of private bytes found the socket full.
    pub fn block(&mut self, slot: Slot) {
        let subscriber = &mut self.subscribers[slot.index()];
        self.blocked += u32::from(subscriber.flags & BLOCKED == 0);
        subscriber.flags |= BLOCKED;
    }

    /// The socket has room again.
    pub fn unblock(&mut self, slot: Slot) {
        let subscriber = &mut self.subscribers[slot.index()];
        self.blocked -= u32::from(subscriber.flags & BLOCKED != 0);
        subscriber.flags &= !BLOCKED;
        self.resume(slot);
    }

    /// A subscriber that has become clean is served by the next round, or by one for latecomers.
    fn resume(&mut self, slot: Slot) {
        let index = self.subscribers[slot.index()].view;
        if index != NO_VIEW {
            self.file(slot, index);
        }
    }

    /// Takes a message from a home. Of frames that are cut where a window is shortened at most
    /// `room` bytes may be kept, over all connections.
    pub fn on_message(&mut self, message: Message, room: usize) -> News {
        match message {
            Message::Interest { .. } => News::Nothing,
            Message::Live { view, head } => self.on_live(view, head),
            Message::Refused { view } => self.on_refused(view),
            Message::Head { view, extent } => self.on_extent(view, extent, room),
        }
    }

    fn on_live(&mut self, id: ViewId, head: Mark) -> News {
        let Some(view) = self.view(id) else {
            return News::Nothing;
        };
        view.live = true;
        view.window = Window::at(head);
        (view.sweep.goal, view.sweep.served) = (head.byte, head.byte);
        let members = view.members.clone();
        for slot in members.iter() {
            let subscriber = &mut self.subscribers[slot.index()];
            (subscriber.cursor, subscriber.frames) = (head.byte, head.frames as u32);
        }
        News::Live(members)
    }

    fn on_refused(&mut self, id: ViewId) -> News {
        let Some(view) = self.view(id) else {
            return News::Nothing;
        };
        let members = std::mem::take(&mut view.members);
        for slot in members.iter() {
            let subscriber = &mut self.subscribers[slot.index()];
            *subscriber = subscriber.without_view();
        }
        self.free_view(id.index);
        News::Refused(members)
    }

    fn on_extent(&mut self, id: ViewId, extent: Extent, room: usize) -> News {
        let lag_bytes_max = self.lag_bytes_max;
        let Some(view) = self.view(id) else {
            return News::Nothing;
        };
        let served = view.sweep.served;
        let floor = view.window.floor_with(&extent, lag_bytes_max, served);
        let is_lapping = floor > view.window.floor();
        let lapped = if is_lapping { self.lap(id.index, floor, room) } else { vec![] };
        self.change_window(id.index, |window| {
            window.on_extent(extent);
            window.limit(lag_bytes_max, served);
        });
        let view = &mut self.table[id.index as usize];
        view.sweep.served = served.max(view.window.floor());
        self.weigh(id.index);
        self.activate(id.index);
        if lapped.is_empty() { News::Nothing } else { News::Lapped(lapped) }
    }

    /// Changes what a view keeps, and the account of it.
    fn change_window(&mut self, index: u32, change: impl FnOnce(&mut Window)) {
        let window = &mut self.table[index as usize].window;
        self.memory -= window.memory();
        change(window);
        self.memory += window.memory();
    }

    /// Takes out whoever stands below `floor`, while the frames that were cut there are still to
    /// be had. Walks all members, which is rare.
    fn lap(&mut self, index: u32, floor: u64, mut room: usize) -> Vec<Lapped> {
        let is_lapped = |slot: &Slot| self.subscribers[slot.index()].cursor < floor;
        let slots: Vec<Slot> =
            self.table[index as usize].members.iter().filter(is_lapped).collect();
        let mut leave = |slot| {
            let rest = self.leave(slot, room.min(CUT_FRAME_BYTES_MAX));
            room -= if let Rest::Kept(bytes) = &rest { bytes.len() } else { 0 };
            Lapped { slot, rest }
        };
        slots.into_iter().map(&mut leave).collect()
    }

    /// Whether some home is owed a word.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Tells homes how many subscribers the views have, oldest debt first, until `push` gives a
    /// message back. A view that was left by all is gone once its home knows.
    pub fn tell(&mut self, from: ShardId, mut push: impl FnMut(Message) -> Result<(), Message>) {
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
            let id = ViewId { index, generation: view.generation };
            let said = Said {
                from,
                view: id,
                format: view.format,
                subscribers,
                congested: view.congested,
                first: !view.asked,
            };
            let interest = Message::Interest { channel, said };
            // A view that came and went before its home heard of it need not be mentioned.
            let silent = !view.asked && subscribers == 0;
            if !silent && push(interest).is_err() {
                self.owed.push_back(index);
                refused += 1;
                continue;
            }
            (view.owed, view.asked) = (false, true);
            if subscribers == 0 {
                self.free_view(index);
            }
        }
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
        let view = self.table.get_mut(id.index as usize)?;
        (view.name.is_some() && view.generation == id.generation).then_some(view)
    }

    fn add_view(&mut self, name: ChannelName, format: Format) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(View::unused());
            u32::try_from(self.table.len() - 1).expect("views are counted in 32 bits")
        });
        let generation = self.table[index as usize].generation.wrapping_add(1);
        self.by_name.insert((name.clone(), format), index);
        self.table[index as usize] =
            View { name: Some(name), format, generation, ..View::unused() };
        index
    }

    fn free_view(&mut self, index: u32) {
        self.change_window(index, |window| *window = Window::at(Mark::default()));
        let view = &mut self.table[index as usize];
        if let Some(name) = view.name.take() {
            self.by_name.remove(&(name, view.format));
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

    /// Finds where, in the bytes from a frame's beginning on, the frame begins that byte `at`
    /// lies in. Returns the frames before it, and its missing bytes (none at a boundary).
    fn frame_around(format: Format, bytes: &[u8], at: usize) -> (u32, usize) {
        let (mut frames, mut end) = (0, 0);
        while end < at {
            end += wire::frame_len(format, &bytes[end..]);
            frames += u32::from(end <= at);
        }
        (frames, end - at)
    }
}

impl View {
    fn unused() -> Self {
        View {
            name: None,
            format: Format::WebSocket,
            generation: 0,
            live: false,
            asked: false,
            owed: false,
            active: false,
            congested: false,
            members: SlotSet::default(),
            behind: SlotSet::default(),
            late: SlotSet::default(),
            window: Window::at(Mark::default()),
            sweep: Sweep::default(),
        }
    }
}
