//! The engine: connections as direct descriptors of one or several io_urings.
//!
//! A ring's table is bounded by `RLIMIT_NOFILE`, so a shard with more connections owns several
//! rings; a slot is a ring and a place in its table. Nothing here borrows the caller's memory
//! between calls, an idle connection costs one poll (256 bytes of kernel memory) and four bytes.
//!
//! Accepting, too, is a try that fits the table: at most
//! [`ACCEPTS_IN_FLIGHT`](crate::limits::ACCEPTS_IN_FLIGHT) single accepts wait at the listeners, and
//! never more than there is room for. A multishot accept would take in a listener's whole backlog in
//! one go, and what does not fit the table the kernel drops.
//!
//! Left to others: `accepts` shares accepts out over the listeners, `ring` enters the kernel,
//! `batch` sends and receives, `table` knows what is under way on a slot.

use std::{
    fmt, io, marker,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    ids::Slot,
    io::{Event, Exception, Interest, Kernel, Listener, Received, Send, bell::EventBell},
    limits::{
        COMPLETION_ENTRIES, RECEIVE_BATCH, RECEIVE_BYTES, SEND_BATCH, SLOTS_PER_RING_MAX,
        SUBMISSION_ENTRIES,
    },
};

mod accepts;
mod batch;
mod call;
mod restrict;
mod ring;
mod table;
mod user_data;

use accepts::Accepts;
use batch::Members;
use ring::{Completion, Request, Ring, Shape};
use table::{Step, Table};
use user_data::{Kind, UserData};

/// The sizes of a shard's rings and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Connections that the shard can hold.
    pub slots: u32,
    /// How many of them one ring holds: at most `RLIMIT_NOFILE` and [`SLOTS_PER_RING_MAX`].
    pub slots_per_ring: u32,
    /// Entries in each submission queue: a power of two.
    pub submission_entries: u32,
    /// Entries in each completion queue: a power of two, at least `submission_entries`.
    pub completion_entries: u32,
}

impl Setup {
    /// As many rings as it takes where a process may have `nofile` files open, equally large.
    pub fn new(slots: u32, nofile: u64) -> Setup {
        let most = u32::try_from(nofile).unwrap_or(u32::MAX).clamp(1, SLOTS_PER_RING_MAX);
        let slots = slots.max(1);
        let rings = slots.div_ceil(most);
        Setup {
            slots,
            slots_per_ring: slots.div_ceil(rings),
            submission_entries: SUBMISSION_ENTRIES,
            completion_entries: COMPLETION_ENTRIES,
        }
    }

    /// How many rings that makes.
    pub fn rings(&self) -> u32 {
        self.slots.div_ceil(self.slots_per_ring)
    }

    /// The sizes of each ring; the last one may be smaller.
    fn shapes(self) -> impl Iterator<Item = Shape> {
        (0..self.rings()).map(move |ring| Shape {
            slots: self.slots_per_ring.min(self.slots - ring * self.slots_per_ring),
            submission_entries: self.submission_entries,
            completion_entries: self.completion_entries,
        })
    }
}

/// Why a shard's rings could not be opened. [`probe`](crate::io::probe) says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused to set a ring up.
    #[error("io_uring_setup failed: {0}")]
    Ring(#[source] io::Error),
    /// The kernel refused the table of direct descriptors.
    #[error("registering a table of {slots} connections failed: {error}")]
    Table {
        /// Places that were asked for.
        slots: u32,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// Something smaller failed: the eventfd that several rings share, or the listener's mode.
    #[error("preparing the rings failed: {0}")]
    Other(#[from] io::Error),
}

/// What is in use, for the start-up banner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Rings of this shard.
    pub rings: u32,
    /// Connections that they hold together.
    pub slots: u32,
    /// Entries in each submission queue.
    pub submission_entries: u32,
    /// Entries in each completion queue.
    pub completion_entries: u32,
    /// Whether submissions go without an index array: Linux 6.6 and later.
    pub without_array: bool,
    /// Whether a close lets go of the connection at once: Linux 6.13 and later. Before that it
    /// stays until requests that are older than the close have ended, so a shutdown comes first.
    pub prompt_close: bool,
    /// Whether the rings take only what a shard asks of them.
    pub restricted: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Features { rings, slots, submission_entries, completion_entries, .. } = self;
        let plural = if *rings == 1 { "" } else { "s" };
        write!(f, "{rings} ring{plural} {submission_entries}/{completion_entries} DEFER_TASKRUN")?;
        let array = if self.without_array { " NO_SQARRAY" } else { "" };
        let close = if self.prompt_close { "" } else { ", shutdown before close" };
        let open = if self.restricted { "" } else { ", NOT restricted to what is used" };
        write!(f, "{array}, {slots} slots{close}{open}")
    }
}

/// A shard's connections on io_uring. Stays on the thread that opened it.
pub struct Uring {
    rings: Vec<Ring>,
    slots_per_ring: u32,
    table: Table,
    accepts: Accepts,
    /// Answers being interpreted; kept for its capacity.
    answers: Vec<Completion>,
    scratch: Box<[u8]>,
    parking: Option<Parking>,
    prompt_close: bool,
    /// The kernel takes submissions from the opening thread only.
    _not_send: marker::PhantomData<*const ()>,
}

/// How a shard of several rings waits: the bell, and an eventfd that every ring signals.
struct Parking {
    bell: Arc<EventBell>,
    rings: EventBell,
}

impl Uring {
    /// Opens the rings on the calling thread, which must be the shard's own. Nothing is accepted
    /// before [`Kernel::set_accepting`].
    pub fn open(
        setup: &Setup,
        listeners: Vec<OwnedFd>,
        bell: Arc<EventBell>,
    ) -> Result<Uring, OpenError> {
        assert!(setup.slots > 0 && setup.slots_per_ring > 0, "{setup:?} holds nothing");
        let alone = setup.rings() == 1;
        let open = |shape| Ring::open(shape, alone.then(|| bell.clone()));
        let rings = setup.shapes().map(open).collect::<Result<Vec<_>, _>>()?;
        let parking = if alone { None } else { Some(Parking::new(&rings, bell)?) };
        Ok(Uring {
            rings,
            slots_per_ring: setup.slots_per_ring,
            table: Table::new(setup.slots),
            accepts: Accepts::new(listeners),
            answers: Vec::new(),
            scratch: vec![0; RECEIVE_BATCH * RECEIVE_BYTES].into_boxed_slice(),
            parking,
            prompt_close: version(&rustix::system::uname().release().to_string_lossy()) >= (6, 13),
            _not_send: marker::PhantomData,
        })
    }

    /// Closes as it has to before Linux 6.13, so that newer kernels can test it.
    #[cfg(test)]
    pub(super) fn close_like_before_6_13(&mut self) {
        self.prompt_close = false;
    }

    /// What is in use.
    pub fn features(&self) -> Features {
        let first = &self.rings[0];
        Features {
            submission_entries: first.uring.params().sq_entries(),
            completion_entries: first.uring.params().cq_entries(),
            without_array: first.without_array,
            rings: self.rings.len() as u32,
            slots: self.table.slots(),
            prompt_close: self.prompt_close,
            restricted: self.rings.iter().all(|ring| ring.restricted),
        }
    }

    /// Puts a connected socket into a free slot and reports [`Event::Accepted`] for it. Fails with
    /// `ENFILE` where no slot is free; the socket is closed then.
    pub fn adopt(&mut self, socket: OwnedFd) -> io::Result<Slot> {
        let Some(ring) = first_with_room(&self.rings) else {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        };
        let place = self.rings[ring].install(&socket)?;
        let slot = self.open_slot(ring, place, &mut Vec::new());
        let user_data = self.table.user_data(slot, Kind::Adopted);
        self.rings[ring].kept.push(Completion { user_data, result: 0 });
        Ok(slot)
    }

    /// The ring and the index in it of a slot.
    fn place(&self, slot: Slot) -> (usize, u32) {
        ((slot.0 / self.slots_per_ring) as usize, slot.0 % self.slots_per_ring)
    }

    /// Marks a place of a ring's table as filled. A connection that was closing there is gone.
    fn open_slot(&mut self, ring: usize, place: u32, events: &mut Vec<Event>) -> Slot {
        let slot = Slot(ring as u32 * self.slots_per_ring + place);
        if self.table.open(slot) {
            events.push(Event::Closed(slot));
        } else {
            self.rings[ring].used += 1;
        }
        slot
    }

    /// Says what an answer means.
    fn interpret(&mut self, answer: Completion, events: &mut Vec<Event>) {
        let Completion { user_data, result } = answer;
        let slot = Slot(user_data.slot());
        match user_data.kind() {
            Kind::Accept => self.on_accept(user_data, result, events),
            Kind::AcceptAgain => self.accepts.go_on(),
            Kind::Adopted => {
                if self.table.is_current(user_data) {
                    events.push(Event::Accepted(slot, Listener::default()));
                }
            }
            _ => match self.table.on_completion(user_data, result) {
                Step::Nothing => {}
                Step::Ready(Interest::Read) => events.push(Event::Readable(slot)),
                Step::Ready(Interest::Write) => events.push(Event::Writable(slot)),
                Step::PauseWriting => {
                    let (ring, _) = self.place(slot);
                    self.rings[ring].queue(Request::Pause(user_data));
                }
                Step::ResumeWriting => {
                    let (ring, place) = self.place(slot);
                    self.rings[ring].queue(Request::Poll(place, Interest::Write, user_data));
                }
                Step::Close => self.queue_close(slot),
                Step::Closed => {
                    let (ring, _) = self.place(slot);
                    self.rings[ring].used -= 1;
                    events.push(Event::Closed(slot));
                }
            },
        }
    }

    fn on_accept(&mut self, user_data: UserData, result: i32, events: &mut Vec<Event>) {
        let (listener, ring) = self.accepts.on_answer(user_data, result, &mut self.rings);
        if let Ok(place) = u32::try_from(result) {
            let slot = self.open_slot(ring, place, events);
            events.push(Event::Accepted(slot, listener));
        }
    }

    /// Queues what ends a connection: the cancellation of its polls, then the close, so that the
    /// peer gets its end in the same entry.
    fn queue_close(&mut self, slot: Slot) {
        let (ring, place) = self.place(slot);
        let closing = self.table.to_close(slot);
        for poll in closing.cancel.into_iter().flatten() {
            self.rings[ring].queue(Request::Cancel(poll));
        }
        self.rings[ring].queue(Request::Close(closing.close, place));
    }
}

impl Kernel for Uring {
    fn slots(&self) -> u32 {
        self.table.slots()
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.accepts.set(accepting, &mut self.rings);
    }

    fn poll(&mut self, slot: Slot, interest: Interest) {
        let (ring, place) = self.place(slot);
        if let Some(user_data) = self.table.arm(slot, interest) {
            self.rings[ring].queue(Request::Poll(place, interest, user_data));
        }
    }

    fn receive_batch(&mut self, slots: &[Slot], told: &mut dyn FnMut(Slot, Received<'_>)) {
        assert!(slots.len() <= RECEIVE_BATCH, "a batch of {} receives", slots.len());
        debug_assert!(slots.iter().all(|&slot| self.table.is_open(slot)), "{slots:?}");
        let mut results = [None; RECEIVE_BATCH];
        let mut left = Members::first(slots.len());
        while let Some(first) = left.iter().next() {
            let ring = self.place(slots[first]).0;
            let most = self.rings[ring].batch_max();
            let members = left.take_ring(most, |index| self.place(slots[index]).0);
            let base = ring as u32 * self.slots_per_ring;
            self.rings[ring].receive(slots, members, base, &mut self.scratch, &mut results);
        }
        let parts = self.scratch.chunks_exact(RECEIVE_BYTES);
        for ((&slot, part), result) in slots.iter().zip(parts).zip(results) {
            told(slot, batch::received(result, part));
        }
    }

    fn send_batch(&mut self, sends: &[Send<'_>], exceptions: &mut Vec<Exception>) {
        assert!(sends.len() <= SEND_BATCH, "a batch of {} sends", sends.len());
        let mut left = Members::first(sends.len());
        while let Some(first) = left.iter().next() {
            debug_assert!(self.table.is_open(sends[first].slot), "{:?}", sends[first].slot);
            let ring = self.place(sends[first].slot).0;
            let most = self.rings[ring].batch_max();
            let members = left.take_ring(most, |index| self.place(sends[index].slot).0);
            let base = ring as u32 * self.slots_per_ring;
            self.rings[ring].send(sends, members, base, exceptions);
        }
    }

    fn shutdown(&mut self, slot: Slot) {
        let (ring, place) = self.place(slot);
        if let Some(user_data) = self.table.shut_down(slot) {
            self.rings[ring].queue(Request::ShutDown(place, libc::SHUT_WR, user_data));
        }
    }

    fn close(&mut self, slot: Slot) {
        let (ring, place) = self.place(slot);
        if !self.prompt_close
            && let Some(user_data) = self.table.shut_down(slot)
        {
            self.rings[ring].queue(Request::ShutDown(place, libc::SHUT_RDWR, user_data));
        }
        if self.table.close(slot) {
            self.queue_close(slot);
        }
    }

    fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        let (ring, place) = self.place(slot);
        self.table.is_open(slot).then(|| self.rings[ring].peer(place))?
    }

    fn events(&mut self, events: &mut Vec<Event>) {
        for ring in 0..self.rings.len() {
            self.rings[ring].turn();
            // Interpreting may queue, and queueing may keep more answers: those wait.
            let mut answers = std::mem::take(&mut self.answers);
            std::mem::swap(&mut answers, &mut self.rings[ring].kept);
            for answer in answers.drain(..) {
                self.interpret(answer, events);
            }
            self.answers = answers;
        }
        self.accepts.top_up(&mut self.rings);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.parking {
            None => self.rings[0].park(timeout),
            Some(parking) => parking.park(&mut self.rings, timeout),
        }
    }
}

impl Drop for Uring {
    /// Takes the accepts back that wait at the listeners. The kernel takes a ring apart only after
    /// its descriptor is closed, on a thread of its own: an accept that still waited would hold its
    /// listener until then, and a successor would be told that the address is in use.
    fn drop(&mut self) {
        self.set_accepting(false);
        let mut ignored = Vec::new();
        for _ in 0..LAST_TURNS_MAX {
            if self.rings.iter().all(|ring| ring.accepts == 0)
                || self.wait(Some(LAST_TURN)).is_err()
            {
                return;
            }
            self.events(&mut ignored);
        }
    }
}

impl Parking {
    fn new(rings: &[Ring], bell: Arc<EventBell>) -> io::Result<Parking> {
        let signalled = EventBell::new()?;
        for ring in rings {
            ring.uring.submitter().register_eventfd(signalled.as_fd().as_raw_fd())?;
        }
        Ok(Parking { bell, rings: signalled })
    }

    /// Waits until a ring has an answer or deferred work, the bell was rung, or time is over.
    ///
    /// The rings' eventfd is cleared before the rings are looked at, so a signal that comes later
    /// ends the wait. The bell is cleared only after it has ended one.
    fn park(&self, rings: &mut [Ring], timeout: Option<Duration>) -> io::Result<()> {
        self.rings.clear();
        rings.iter_mut().for_each(Ring::turn);
        if rings.iter_mut().any(|ring| !ring.kept.is_empty() || ring.has_work()) {
            return Ok(());
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut ears =
            [PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.rings, PollFlags::IN)];
        match poll(&mut ears, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !ears[0].revents().is_empty() {
            self.bell.clear();
        }
        Ok(())
    }
}

/// The ring that the next connection goes to. One ring is filled after the other: what was made
/// together in the kernel's memory then lies together in slot order, in which it is sent to.
fn first_with_room(rings: &[Ring]) -> Option<usize> {
    rings.iter().position(|ring| ring.room() > 0)
}

/// The first two numbers of a kernel release; 0 for what is not a number.
pub(super) fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// How long, and how often, the end of a kernel waits for its accepts to be taken back: at most a
/// tenth of a second.
const LAST_TURN: Duration = Duration::from_millis(1);
const LAST_TURNS_MAX: u32 = 100;
