//! One core and its turn: everything that a shard owns, and the order in which it is served.
//!
//! A shard is a thread with its own connections, sessions, views, homes and timers. It shares
//! nothing but immutable bytes; what it hears of others comes through its inbox. A turn learns
//! (events, messages, publications), tells others, reads, writes, sweeps, and looks at the clock's
//! deadlines; each part has a budget, so that none starves the rest.
//!
//! Promises: the kernel is asked for at most one send per connection and batch, private bytes
//! leave only between frames, and a connection that is over is forgotten everywhere before its
//! slot is used again.
//!
//! Left to others: what bytes mean (`session`), who is owed what (`hub`), the kernel (`io`).
#![forbid(unsafe_code)]

mod admission;
mod arrivals;
mod bearers;
mod calls;
mod clients;
mod connections;
mod deadlines;
mod holdings;
mod input;
mod outbox;
mod output;
mod park;
mod publications;
mod questions;
mod setup;
mod shield;
mod state;
mod subscriptions;
mod witness;

pub use admission::{Admission, Drain};
pub use publications::{Heritage, JournalEnd};
pub use setup::Setup;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use crate::{
    close::CloseReason,
    counters::Counters,
    frame::Format,
    hub::{Batch, Home, HomeSetup, Message, Notice, Views, ViewsSetup},
    ids::{ShardId, Slot, Tick},
    io::{Event, Exception, Kernel},
    limits::{CUT_FRAME_BYTES_MAX, INPUT_BYTES_PER_SHARD_MAX, MESSAGES_PER_TURN_MAX, TICK_MS},
    mesh::Ingress,
    report::Transport,
    session::{Session, Step},
    shield::{Pace, Place},
    timers::Wheel,
};

use bearers::Bearers;
use connections::Birth;
use holdings::Holdings;
use outbox::Outboxes;
use publications::{FeedEnd, Held};
use state::State;
use witness::Witness;

/// One core's share of the server.
pub struct Shard<K> {
    kernel: K,
    setup: Setup,
    home: Home,
    views: Views,
    sessions: Vec<Session>,
    states: Vec<State>,
    /// Who is in each slot.
    births: Vec<Birth>,
    wheel: Wheel,
    outboxes: Outboxes,
    bearers: Bearers,
    /// What has come in part of requests and messages.
    received: Holdings,
    /// Connections with private bytes, or the rest of a cut frame, and a socket with room.
    ready: VecDeque<Slot>,
    /// Connections with something to read.
    readable: VecDeque<Slot>,
    /// Connections whose deadline has come.
    expired: VecDeque<Slot>,
    held: Held,
    /// By the number of the input.
    feeds: Vec<FeedEnd>,
    /// Where the next publication is looked for: at the control plane's door or an input's.
    next_door: usize,
    /// Publications of subscribers here that their homes have yet to answer, by ticket: whose, and
    /// the session's number for it.
    calls: HashMap<u64, (Slot, u32)>,
    last_call: u64,
    /// Answers to subscribers elsewhere that have yet to be told.
    answers: VecDeque<(ShardId, Message)>,
    /// Where connections count for their addresses.
    places: Vec<Place>,
    /// For whom connections of trusted proxies are.
    clients: HashMap<Slot, SocketAddr>,
    /// Bytes that addresses were told are kept for their connections, where there are any.
    settled: HashMap<Slot, usize>,
    /// Connections that are being told that their addresses have too many.
    refusals: u32,
    witness: Option<Witness>,
    pace: Pace,
    /// Whether who comes waits until those before have been served.
    is_pacing: bool,
    connections: u32,
    draining_since: Option<Tick>,
    accepting: bool,
    now: Now,
    scratch: Scratch,
}

/// The time, read once per turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Microseconds since the server started.
    pub us: u64,
}

impl Now {
    fn tick(self) -> Tick {
        Tick(u32::try_from(self.us / (1000 * TICK_MS)).unwrap_or(u32::MAX))
    }
}

/// Kept between turns for its memory alone.
#[derive(Default)]
struct Scratch {
    events: Vec<Event>,
    slots: Vec<Slot>,
    out: Vec<u8>,
    exceptions: Vec<Exception>,
    notices: Vec<Notice>,
    local: Vec<Message>,
    batch: Batch,
}

impl<K: Kernel> Shard<K> {
    /// A shard without connections.
    pub fn new(kernel: K, setup: Setup) -> Self {
        let slots = kernel.slots();
        let home = HomeSetup {
            epoch: setup.epoch,
            journal: setup.journal.as_ref().map(|journal| journal.epoch),
            shards: setup.mesh.shards(),
            policies: setup.rules.policies.clone(),
            numbered: setup.numbered.clone(),
            channels_max: setup.rules.channels_max,
            lag_bytes_max: setup.rules.lag_bytes_max,
        };
        let views = ViewsSetup {
            shard: setup.id,
            slots,
            policies: setup.rules.policies.clone(),
            lag_bytes_max: setup.rules.lag_bytes_max,
            subscriptions_max: setup.rules.subscriptions_max,
        };
        Shard {
            home: Home::new(home),
            views: Views::new(views),
            sessions: (0..slots).map(|_| Session::new(Tick(0), 0)).collect(),
            states: vec![State::default(); slots as usize],
            births: vec![Birth::default(); slots as usize],
            wheel: Wheel::new(slots),
            outboxes: Outboxes::default(),
            bearers: Bearers::default(),
            received: Holdings::new(INPUT_BYTES_PER_SHARD_MAX),
            ready: VecDeque::new(),
            readable: VecDeque::new(),
            expired: VecDeque::new(),
            held: Held::default(),
            feeds: setup.inputs.iter().map(|_| FeedEnd::default()).collect(),
            next_door: 0,
            calls: HashMap::new(),
            last_call: 0,
            answers: VecDeque::new(),
            places: vec![Place::NONE; slots as usize],
            clients: HashMap::new(),
            settled: HashMap::new(),
            refusals: 0,
            witness: None,
            pace: Pace::default(),
            is_pacing: false,
            connections: 0,
            draining_since: None,
            accepting: false,
            now: Now::default(),
            scratch: Scratch::default(),
            kernel,
            setup,
        }
    }

    /// Turns until the server has drained, parking when there is nothing to do. `start` is the
    /// server's, so that all shards count the same ticks.
    pub fn run(mut self, start: Instant) -> std::io::Result<()> {
        let clock = || Now { us: start.elapsed().as_micros() as u64 };
        loop {
            let now = clock();
            let worked = self.turn(now);
            if self.is_drained() {
                return Ok(());
            }
            let after = clock();
            self.count_sweeps(after);
            let counters = self.counters();
            counters.busy_us.add(after.us - now.us);
            if !worked {
                self.park(after)?;
            }
        }
    }

    /// The kernel, for a test that plays it.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// One turn. Says whether anything was done, in which case another should follow at once.
    pub fn turn(&mut self, now: Now) -> bool {
        self.now = now;
        self.count_sweeps(now);
        self.follow_signals();
        let mut worked = self.take_events();
        worked |= self.take_messages();
        worked |= self.take_landed();
        worked |= self.take_publications();
        worked |= self.take_questions();
        worked |= self.home.on_time(now.us);
        worked |= self.exchange();
        worked |= self.read();
        worked |= self.exchange();
        worked |= self.flush_ready();
        worked |= self.sweep();
        worked |= self.fire_deadlines();
        // Last, when whoever reads has taken what there was for it.
        worked |= self.shed();
        self.counters().turns.add(1);
        self.tell_gauges();
        worked
    }

    fn counters(&self) -> &Counters {
        &self.setup.counters[usize::from(self.setup.id.0)]
    }

    fn ingress(&self) -> &Ingress {
        &self.setup.ingresses[usize::from(self.setup.id.0)]
    }

    /// Whether no publication waits to be taken, and no news of inputs.
    fn nothing_waits(&self) -> bool {
        let me = usize::from(self.setup.id.0);
        // Of an input whose news waits for records that are held nothing is taken.
        let mut inputs = self.setup.inputs.iter().zip(&self.feeds);
        self.ingress().waiting() == 0
            && inputs.all(|(ingresses, feed)| feed.waits() || ingresses[me].waiting() == 0)
    }

    fn take_events(&mut self) -> bool {
        let mut events = std::mem::take(&mut self.scratch.events);
        self.kernel.events(&mut events);
        let worked = !events.is_empty();
        for event in events.drain(..) {
            match event {
                Event::Accepted(slot, _) => self.on_accepted(slot),
                Event::Readable(slot) => self.make_readable(slot),
                Event::Writable(slot) => self.on_writable(slot),
                Event::Closed(slot) => self.on_closed(slot),
            }
        }
        self.scratch.events = events;
        worked
    }

    fn take_messages(&mut self) -> bool {
        for taken in 0..MESSAGES_PER_TURN_MAX {
            match self.setup.mesh.inbox(self.setup.id).pop() {
                Some(message) => self.on_message(message),
                None => return taken > 0,
            }
        }
        true
    }

    fn on_message(&mut self, message: Message) {
        let now_us = self.now.us;
        match message {
            Message::Interest { channel, said } => self.home.on_interest(&channel, said, now_us),
            Message::Ask { channel, ask } => self.home.on_ask(channel, ask),
            Message::Answered(answer) => self.on_answered(answer),
            message => {
                let news = self.views.on_message(message, self.outboxes.room(), now_us);
                self.on_news(news);
            }
        }
    }

    /// Tells homes and views what they are owed, here and elsewhere; at most one wake-up each. Says
    /// whether anything was told here: publications that were held back may go on then, and no
    /// wake-up says so.
    fn exchange(&mut self) -> bool {
        let mut worked = false;
        // An interest of our own is answered in the same turn.
        while self.exchange_once() {
            worked = true;
        }
        worked
    }

    fn exchange_once(&mut self) -> bool {
        self.tell_presence();
        let Shard { setup, views, home, scratch, answers, .. } = self;
        let (me, mesh) = (setup.id, &setup.mesh);
        let mut told = [0u64; 4];
        let mut local = std::mem::take(&mut scratch.local);
        let mut push = |target: ShardId, message| {
            if target == me {
                local.push(message);
                return Ok(());
            }
            told[usize::from(target.0 / 64)] |= 1 << (target.0 % 64);
            mesh.inbox(target).push(message)
        };
        if views.owes() {
            views.tell(|message| match &message {
                Message::Interest { channel, .. } | Message::Ask { channel, .. } => {
                    push(channel.bucket().home(mesh.shards()), message)
                }
                _ => unreachable!("views tell homes of nothing else"),
            });
        }
        while let Some((target, answer)) = answers.pop_front() {
            if let Err(answer) = push(target, answer) {
                answers.push_front((target, answer));
                break;
            }
        }
        if home.owes() {
            (0..mesh.shards()).map(ShardId).for_each(|target| {
                home.tell(target, |message| push(target, message));
            });
        }
        for shard in (0..mesh.shards()).map(ShardId) {
            if told[usize::from(shard.0 / 64)] >> (shard.0 % 64) & 1 == 1 {
                mesh.inbox(shard).wake();
            }
        }
        let again = !local.is_empty();
        local.drain(..).for_each(|message| self.on_message(message));
        self.scratch.local = local;
        again
    }

    /// Ends a conversation in the words of its protocol.
    fn end(&mut self, slot: Slot, reason: CloseReason) {
        let mut out = Vec::new();
        let now = self.now.tick();
        let step = self.sessions[slot.index()].on_close(reason, now, &self.setup.rules, &mut out);
        self.act(slot, step, &out);
    }

    /// Does what a session decided, after queueing what it wrote.
    fn act(&mut self, slot: Slot, step: Step, out: &[u8]) {
        if !self.states[slot.index()].is_open() {
            return;
        }
        self.send_private(slot, out);
        self.take_bearer(slot);
        match step {
            Step::Wait => self.schedule(slot),
            Step::Call => {
                self.schedule(slot);
                self.carry_out(slot);
            }
            Step::Ask(client) => self.on_client(slot, client),
            Step::Unsubscribe => {
                self.bearers.remove(slot);
                self.schedule(slot);
                let rest = self.views.leave_all(slot, 0);
                self.keep_rest(slot, rest);
            }
            Step::Subscribe { .. } if self.turns_away() => {
                self.end(slot, CloseReason::ServerDraining);
            }
            Step::Subscribe { channel, format, start } => {
                self.schedule(slot);
                self.subscribe(slot, &channel, format, start);
            }
            Step::Finish(reason) => {
                // Whoever publishes and closes in one breath is published.
                self.carry_out(slot);
                self.count_end(slot, reason);
                self.bearers.remove(slot);
                self.log_barred(slot);
                self.states[slot.index()].set(State::FINISH);
                self.schedule(slot);
                self.make_ready(slot);
                // Last, since it closes the connection if the rest is too much.
                let room = self.outboxes.room().min(CUT_FRAME_BYTES_MAX);
                let rest = self.views.leave_all(slot, room);
                self.keep_rest(slot, rest);
            }
            Step::Drop(reason) => self.close(slot, reason),
        }
        if self.states[slot.index()].is_open() {
            let session = &self.sessions[slot.index()];
            self.received.set(slot, session.kept_bytes());
            let transport = session.transport();
            self.count_format(slot, session.format());
            self.count_transport(slot, Some(transport));
            self.settle(slot);
        }
    }

    /// Counts the connection as a subscriber of this format, and no more of another.
    fn count_format(&mut self, slot: Slot, format: Option<Format>) {
        let state = &mut self.states[slot.index()];
        let was = state.format();
        if was == format {
            return;
        }
        state.set_format(format);
        let subscribers = &self.counters().subscribers;
        was.into_iter().for_each(|was| subscribers[was.index()].sub(1));
        format.into_iter().for_each(|is| subscribers[is.index()].add(1));
    }

    /// Counts the connection as spoken to in this way, and no more in another.
    fn count_transport(&mut self, slot: Slot, transport: Option<Transport>) {
        let state = &mut self.states[slot.index()];
        let was = state.transport();
        if was == transport {
            return;
        }
        state.set_transport(transport);
        let transports = &self.counters().transports;
        was.into_iter().for_each(|was| transports[was.index()].sub(1));
        transport.into_iter().for_each(|is| transports[is.index()].add(1));
    }

    fn count_end(&mut self, slot: Slot, reason: CloseReason) {
        let state = &mut self.states[slot.index()];
        if state.has(State::ENDED) {
            return;
        }
        state.set(State::ENDED);
        self.counters().on_closed(reason);
        self.report_end(slot, reason);
    }

    /// Closes a connection at once and forgets everything about it but that its slot is taken.
    fn close(&mut self, slot: Slot, reason: CloseReason) {
        if !self.states[slot.index()].is_open() {
            return;
        }
        self.count_end(slot, reason);
        self.count_format(slot, None);
        self.count_transport(slot, Some(Transport::Closing));
        self.states[slot.index()].set(State::CLOSING);
        self.forget_calls(slot);
        self.views.forget(slot);
        self.outboxes.remove(slot);
        self.bearers.remove(slot);
        self.received.set(slot, 0);
        self.wheel.cancel(slot);
        self.sessions[slot.index()] = Session::new(Tick(0), 0);
        self.kernel.close(slot);
        self.settle(slot);
    }

    fn tell_gauges(&self) {
        let counters = self.counters();
        counters.connections.set(u64::from(self.connections));
        counters.blocked.set(u64::from(self.views.blocked()));
        counters.views.set(self.views.len() as u64);
        counters.log_bytes.set(self.views.memory() as u64);
        counters.channels.set(self.home.channels() as u64);
        counters.inbox.set(self.setup.mesh.inbox(self.setup.id).len() as u64);
    }
}

#[cfg(test)]
mod tests;
