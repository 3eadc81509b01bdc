//! The subscribers of one thread: connected, read, answered, judged, on a ring of their own.
//!
//! Connections are direct descriptors, so they cost no open files once they are made, and
//! a subscriber is a `Place` of 48 bytes. A thread's subscribers are those whose number leaves
//! its remainder; what each of them does follows from its number ([`Layout`](crate::plan::Layout)).
//!
//! A turn: begin and finish connections, wait, read whoever has something, answer pings.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use stentor::{
    counters::DoorCounters,
    door::{self, Door},
    ids::Slot,
    io::{
        Event, Interest, Kernel, Outcome, Received, Send,
        bell::EventBell,
        probe::raise_nofile,
        uring::{OpenError, Setup, Uring},
    },
    limits::{RECEIVE_BATCH, SEND_BATCH},
};

use crate::{
    decoder::{Fault, Stream, Transport},
    oracle::{Published, Seat},
    plan::Pace,
    shared::{Shared, Stage},
    tally::Tally,
    tls::{Client, Tls},
};

mod bookmarks;
mod churn;
mod desk;
mod opening;
mod slow;
mod threads;

use churn::{Churning, Leavers};
use desk::Desk;
use opening::{Attempt, Opening};
use slow::SlowReaders;

pub use threads::{SwarmError, Threads};

/// Which of the subscribers a thread drives: those whose number leaves this remainder.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The remainder.
    pub remainder: u32,
    /// Threads of subscribers on all machines.
    pub threads: u32,
}

impl Share {
    /// How many of all subscribers that are.
    pub fn of(self, all: u32) -> u32 {
        (all + self.threads - 1 - self.remainder) / self.threads
    }
}

/// The subscribers of one thread.
pub struct Swarm {
    shared: Arc<Shared>,
    /// Where this thread's gauges are.
    thread: usize,
    kernel: Door<Uring>,
    /// How TLS is spoken, if it is.
    tls: Option<Client>,
    /// Requests that wait until a handshake is over: one at most for each connection under way.
    shaking: HashMap<Slot, Vec<u8>>,
    places: Vec<Place>,
    opening: Opening,
    churning: Churning,
    slow: SlowReaders,
    desk: Desk,
    events: Vec<Event>,
    readable: Vec<Slot>,
    gone: Vec<(Slot, End)>,
    looked: Instant,
    /// When it last learnt what has happened.
    gathered: Instant,
}

/// A slot of the table, and the subscriber that has it.
struct Place {
    stream: Stream,
    holder: Subscriber,
}

const _: () = assert!(size_of::<Place>() == 48, "a million of them are 48 MB");

/// A subscriber that has a connection.
#[derive(Default)]
struct Subscriber {
    number: u32,
    /// When it sent its request or, once that was granted, when that was: microseconds since the
    /// epoch, modulo 2^32. Of no use once a publication has come.
    since_micros: u32,
    seat: Seat,
    phase: Phase,
    pace: Pace,
    /// Whether it was live before, in another session.
    was_live: bool,
    /// Whether it has a bookmark: it resumes or polls, or is owed nothing of announced gaps.
    has_bookmark: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Empty,
    Requested,
    Live,
}

/// Why a connection ended that the load tester did not end.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Refused(Fault),
    #[error("{0}")]
    Broken(Fault),
    #[error("{0}")]
    Closed(String),
}

impl Swarm {
    /// A thread's rings and tables. The thread that opens them is the one that runs them.
    pub fn open(shared: Arc<Shared>, share: Share, thread: usize) -> Result<Swarm, SwarmError> {
        let subscribers = share.of(shared.plan.connections());
        let setup = Setup::new(
            subscribers + subscribers / 50 + SPARE_SLOTS,
            raise_nofile().map_err(OpenError::from)?,
        );
        let bell = EventBell::new().map_err(OpenError::from)?;
        let kernel = Uring::open(&setup, Vec::new(), Arc::new(bell))?;
        let secure = shared.subscribe.iter().find_map(|(_, it)| it.tls.as_ref());
        let tls = secure.map(Tls::client).transpose().map_err(SwarmError::Tls)?;
        let kernel = Door::new(kernel, tls.as_ref().map(inside));
        let slots = kernel.slots() as usize;
        Ok(Swarm {
            thread,
            kernel,
            tls,
            shaking: HashMap::new(),
            places: (0..slots).map(|_| Place::default()).collect(),
            opening: Opening::new(&shared, share),
            churning: Churning::new(&shared, share),
            slow: SlowReaders::default(),
            desk: Desk::new(shared.clone(), subscribers),
            events: Vec::new(),
            readable: Vec::new(),
            gone: Vec::new(),
            looked: Instant::now(),
            gathered: Instant::now(),
            shared,
        })
    }

    /// Drives the subscribers until the run is over, and says what became of them.
    pub fn run(mut self) -> io::Result<Tally> {
        while self.shared.stage.now() != Stage::Over {
            self.turn()?;
        }
        Ok(self.finish())
    }

    fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.open_connections(now)?;
        self.cut_connections(now);
        for slot in self.slow.due(now) {
            self.kernel.poll(slot, Interest::Read);
        }
        self.gather(now)?;
        let mut writable = false;
        for event in self.events.drain(..) {
            match event {
                Event::Readable(slot) => self.readable.push(slot),
                Event::Writable(_) => writable = true,
                Event::Accepted(..) | Event::Closed(_) => {}
            }
        }
        self.receive();
        if writable || !self.desk.unsent.is_empty() {
            self.send();
        }
        self.bury();
        if now.duration_since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.look(now);
        }
        Ok(())
    }

    /// Learns what has happened, and waits for it only if nothing has: what is there at once may have
    /// come at any time since the turn before.
    fn gather(&mut self, now: Instant) -> io::Result<()> {
        self.kernel.wait(Some(Duration::ZERO))?;
        self.kernel.events(&mut self.events);
        self.desk.readable_since = self.gathered;
        if self.events.is_empty() {
            self.kernel.wait(Some(self.patience(now)))?;
            self.desk.readable_since = Instant::now();
            self.kernel.events(&mut self.events);
        }
        self.gathered = Instant::now();
        Ok(())
    }

    /// How long this turn may wait: connections under way are looked at every millisecond.
    fn patience(&self, now: Instant) -> Duration {
        let mut patience = LOOK_EVERY;
        patience = patience.min(self.opening.patience(now));
        patience.min(self.slow.patience(now))
    }

    /// Begins connections that are due, and puts those that stand into the table.
    fn open_connections(&mut self, now: Instant) -> io::Result<()> {
        self.opening.begin(&self.shared, now, &mut self.desk);
        for (attempt, socket) in self.opening.finish(&mut self.desk)? {
            let slot = match self.kernel.kernel_mut().adopt(socket) {
                Ok(slot) => slot,
                Err(error) => {
                    self.opening.on_no_place(attempt, &error, &mut self.desk, now);
                    continue;
                }
            };
            let role = self.shared.layout.role(attempt.subscriber);
            let holder = Subscriber {
                number: attempt.subscriber,
                since_micros: self.desk.micros(Instant::now()),
                seat: Seat::new(role.channel, 0),
                phase: Phase::Requested,
                pace: role.pace,
                was_live: attempt.was_live,
                has_bookmark: self.desk.keeps_bookmark(&role),
            };
            self.places[slot.index()] = Place { stream: Stream::new(role.transport), holder };
            let since = self.shared.plan.resume && attempt.was_live;
            let request = self.desk.request(attempt.subscriber, since);
            if self.shared.subscribe(role.transport).tls.is_some() {
                self.kernel.begin(slot);
                self.kernel.poll(slot, Interest::Read);
                self.shaking.insert(slot, request);
            } else {
                self.desk.unsent.insert(slot, request);
            }
            self.opening.on_requested(slot, attempt, now);
        }
        if !self.desk.unsent.is_empty() {
            self.send();
        }
        Ok(())
    }

    /// Ends connections as churn and storms have it.
    fn cut_connections(&mut self, now: Instant) {
        let shared = self.shared.clone();
        if shared.stage.now() != Stage::Publishing {
            return;
        }
        let began = shared.epoch + shared.stage.publishing_began();
        let since = now.saturating_duration_since(began);
        let Leavers { by_churn, by_storm, storm } = self.churning.leavers(since, self.desk.live);
        let is_live = |slot: usize| self.places[slot].holder.phase == Phase::Live;
        let slots = self.churning.pick(by_churn + by_storm, self.places.len(), is_live);
        for (nth, slot) in (0..).zip(slots) {
            self.leave(Slot(slot as u32), (nth < by_storm).then_some(storm), now);
        }
    }

    /// A subscriber goes, cut off by a storm or not, and comes back at once.
    fn leave(&mut self, slot: Slot, storm: Option<u32>, now: Instant) {
        let Place { holder, .. } = std::mem::take(&mut self.places[slot.index()]);
        self.desk.on_left(&holder, storm, now);
        self.opening.again(Attempt::back(holder.number), now);
        self.close(slot);
    }

    /// Closes a connection whose place has been emptied, and forgets whatever waits for it.
    fn close(&mut self, slot: Slot) {
        self.desk.unsent.remove(&slot);
        self.shaking.remove(&slot);
        self.slow.forget(slot);
        self.kernel.close(slot);
    }

    /// Reads whoever has something.
    fn receive(&mut self) {
        let Swarm { kernel, places, desk, readable, gone, slow, opening, shared, .. } = self;
        let (tls, shaking) = (&self.tls, &mut self.shaking);
        for slots in readable.chunks(RECEIVE_BATCH) {
            kernel.receive_batch(slots, &mut |slot, received| {
                let place = &mut places[slot.index()];
                let bytes = match received {
                    Received::Bytes(bytes) => bytes,
                    Received::Nothing => return,
                    Received::End | Received::Broken if shaking.contains_key(&slot) => {
                        let why = tls.as_ref().map(Client::why).unwrap_or_default();
                        return gone.push((slot, End::Closed(why)));
                    }
                    Received::End => {
                        return gone.push((slot, End::Closed("the server ended it".into())));
                    }
                    Received::Broken => {
                        return gone.push((slot, End::Closed("the connection broke".into())));
                    }
                };
                if place.holder.phase == Phase::Empty {
                    return;
                }
                if place.holder.pace == Pace::Slow {
                    let pace = shared.plan.slow.bytes_per_second;
                    slow.on_read(slot, bytes.len(), pace, Instant::now());
                }
                let was_live = place.holder.phase == Phase::Live;
                if let Some(end) = desk.on_bytes(slot, place, bytes) {
                    gone.push((slot, end));
                }
                if !was_live && place.holder.phase == Phase::Live {
                    opening.on_granted(slot);
                    if place.holder.pace == Pace::Stalled {
                        slow.stall(slot);
                    }
                }
            });
            for &slot in slots {
                if kernel.is_open(slot)
                    && let Some(request) = shaking.remove(&slot)
                {
                    desk.unsent.insert(slot, request);
                }
                let is_held = places[slot.index()].holder.phase != Phase::Empty;
                if is_held && !slow.is_waiting(slot) {
                    kernel.poll(slot, Interest::Read);
                }
            }
        }
        readable.clear();
    }

    /// Sends requests and pongs. What a full socket leaves is kept until there is room.
    fn send(&mut self) {
        let unsent: Vec<_> = self.desk.unsent.drain().collect();
        for part in unsent.chunks(SEND_BATCH) {
            let sends = part.iter().map(|(slot, bytes)| Send { slot: *slot, bytes });
            let sends: Vec<_> = sends.collect();
            let mut exceptions = Vec::new();
            self.kernel.send_batch(&sends, &mut exceptions);
            for exception in exceptions {
                let (slot, bytes) = &part[exception.index];
                match exception.outcome {
                    // All is taken, though not sent: what follows waits for its turn anyway.
                    Outcome::Short(sent) if sent == bytes.len() => {}
                    Outcome::Short(sent) => {
                        self.desk.unsent.insert(*slot, bytes[sent..].to_vec());
                        self.kernel.poll(*slot, Interest::Write);
                    }
                    // Reading says the same, and after whatever came before.
                    Outcome::Broken => {}
                }
            }
            for &(slot, _) in part {
                if !self.slow.is_waiting(slot) {
                    self.kernel.poll(slot, Interest::Read);
                }
            }
        }
    }

    /// Takes leave of connections that ended, and has their subscribers come back.
    fn bury(&mut self) {
        let now = Instant::now();
        let late = self.opening.late(now);
        self.gone.extend(
            late.into_iter()
                .map(|slot| (slot, End::Closed("no answer to the request within 20 s".into()))),
        );
        for (slot, end) in std::mem::take(&mut self.gone) {
            let Place { holder, .. } = std::mem::take(&mut self.places[slot.index()]);
            match holder.phase {
                Phase::Empty => continue,
                Phase::Requested => self.opening.on_denied(slot, &end, &mut self.desk, now),
                Phase::Live => {
                    self.desk.on_end(&holder, &end, now);
                    self.opening.again(Attempt::back(holder.number), now);
                }
            }
            self.close(slot);
        }
    }

    /// Tells the gauges, and closes the second if it is over.
    fn look(&mut self, now: Instant) {
        self.desk.roll(now);
        let gauges = &self.shared.gauges[self.thread];
        self.desk.tell(gauges);
        if self.shared.stage.now() == Stage::Settling {
            let ledger = &self.shared.ledger;
            let is_behind = |place: &&Place| {
                let Subscriber { seat, phase, pace, .. } = &place.holder;
                let is_served = || seat.is_served(ledger.handed_over(seat.channel()));
                *phase == Phase::Live && *pace == Pace::Good && !is_served()
            };
            let behind = self.places.iter().filter(is_behind).count() as u64;
            let behind = behind + self.opening.coming_back();
            gauges.behind.store(behind + 1, Ordering::Release);
        }
    }

    /// Settles all sessions and adds everything up.
    fn finish(mut self) -> Tally {
        let ledger = &self.shared.ledger;
        let holders = self.places.iter().map(|place| &place.holder);
        for holder in holders.filter(|holder| holder.phase == Phase::Live) {
            match holder.pace {
                Pace::Good => self.desk.oracle.on_end(holder.number, &holder.seat, ledger),
                _ => self.desk.oracle.on_left(holder.number, &holder.seat, ledger),
            }
        }
        self.desk.roll(Instant::now());
        let gone = self.opening.coming_back();
        if gone > 0 {
            self.desk.connections.failures.count("did not come back before the run was over", gone);
            self.desk.connections.failed += gone;
        }
        self.desk.tell(&self.shared.gauges[self.thread]);
        self.desk.into_tally()
    }
}

impl Default for Place {
    fn default() -> Place {
        Place { stream: Stream::new(Transport::WebSocket), holder: Subscriber::default() }
    }
}

/// A door for subscribers, who come in from nobody.
fn inside(client: &Client) -> door::Tls {
    let counters = Arc::new(DoorCounters::default());
    door::Tls { side: client.side.clone(), listeners: Vec::new(), counters }
}

/// Places beyond a thread's subscribers and a fiftieth of them: closed ones that are not gone yet.
const SPARE_SLOTS: u32 = 1024;

/// How often gauges are told and time-outs looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
