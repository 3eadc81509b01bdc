//! One io_uring: what is queued reaches the kernel, and what the kernel answers is not lost.
//!
//! Answers are set aside in `kept` until the shard asks for them, except those to a batch under
//! way ([`batch`](super::batch)). Under `DEFER_TASKRUN` the kernel works only while it is entered
//! with `GETEVENTS`, so every entry here carries it.
//!
//! The kernel's answer to an entry itself is either "not now" (memory, a full completion queue) or
//! proof of a bug of ours. The first is tried again. The second ends the process: requests that
//! point into memory of the caller could then neither be finished nor taken back.

use std::{
    io::{self, Write},
    mem,
    os::fd::{AsFd, AsRawFd, RawFd},
    process,
    sync::Arc,
    thread,
    time::Duration,
};

use io_uring::{
    EnterFlags, IoUring, opcode,
    squeue::{Entry, Flags},
    types::{self, Fd, Fixed, SubmitArgs, Timespec},
};

use crate::{
    io::{
        Interest,
        bell::EventBell,
        uring::{
            OpenError,
            restrict::restrict,
            user_data::{Kind, UserData},
        },
    },
    limits::PAUSE_MS,
};

/// The sizes of one ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) slots: u32,
    pub(super) submission_entries: u32,
    pub(super) completion_entries: u32,
}

/// An answer of the kernel that nobody has looked at yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: UserData,
    pub(super) result: i32,
}

/// A request that points to no memory but that of constants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// Wait for readiness of the connection at this index, once.
    Poll(u32, Interest, UserData),
    /// Cancel the request that carries this.
    Cancel(UserData),
    /// Cancel every request that carries this.
    CancelAll(UserData),
    /// Shut one or both directions of the connection down.
    ShutDown(u32, i32, UserData),
    /// Close the connection.
    Close(UserData, u32),
    /// Accept one connection into any free place of the table.
    Accept(RawFd, UserData),
    /// Complete after [`PAUSE_MS`].
    Pause(UserData),
}

/// A ring with a table of connections.
pub(super) struct Ring {
    pub(super) uring: IoUring,
    /// Answers to everything but batches, oldest first. At most a handful per slot.
    pub(super) kept: Vec<Completion>,
    /// Places in the table.
    pub(super) slots: u32,
    /// Connections in the table that we know of.
    pub(super) used: u32,
    /// Accepts under way; each may fill a place.
    pub(super) accepts: u32,
    bell: Option<BellPoll>,
    /// Whether the kernel takes the ring without an index array.
    pub(super) without_array: bool,
    /// Whether it takes only what a shard asks.
    pub(super) restricted: bool,
}

struct BellPoll {
    bell: Arc<EventBell>,
    armed: bool,
    /// It was rung, and no wait has returned for it yet.
    rung: bool,
}

impl Ring {
    /// Opens a ring with an empty table. A ring that parks by itself listens to `bell`.
    pub(super) fn open(shape: Shape, bell: Option<Arc<EventBell>>) -> Result<Ring, OpenError> {
        let (uring, without_array) = set_up(shape)?;
        let table = |error| OpenError::Table { slots: shape.slots, error };
        uring.submitter().register_files_sparse(shape.slots).map_err(table)?;
        // Only shutdowns run on workers. The limit is per thread and a hint: an old kernel that
        // does not know it works with more.
        let _ = uring.submitter().register_iowq_max_workers(&mut [1, 2]);
        let restricted = restrict(&uring);
        uring.submitter().register_enable_rings().map_err(OpenError::Ring)?;
        Ok(Ring {
            uring,
            kept: Vec::new(),
            slots: shape.slots,
            used: 0,
            accepts: 0,
            bell: bell.map(|bell| BellPoll { bell, armed: false, rung: false }),
            without_array,
            restricted,
        })
    }

    /// Places that neither hold a connection nor may be filled by an accept under way.
    pub(super) fn room(&self) -> u32 {
        self.slots.saturating_sub(self.used + self.accepts)
    }

    /// Queues a request for the next entry. A full queue is entered first.
    pub(super) fn queue(&mut self, request: Request) {
        let entry = request.entry();
        while self.uring.submission().is_full() {
            self.enter(0);
            self.reap(&mut |_, _| {});
        }
        // SAFETY: the entry points to nothing but, for a pause, a constant.
        unsafe { self.push(&entry) };
    }

    /// Queues an entry. There must be room.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay valid until the request has completed, or for ever if
    /// that is never seen.
    pub(super) unsafe fn push(&mut self, entry: &Entry) {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.uring.submission().push(entry) };
        // Room was made before. A send that is not queued would count as sent whole.
        if pushed.is_err() {
            give_up(None);
        }
    }

    /// Enters until everything queued has been consumed and no answer is held back for want of
    /// room. Answers to a batch go to `told`, with their index.
    pub(super) fn settle(&mut self, told: &mut dyn FnMut(usize, i32)) {
        loop {
            self.enter(0);
            self.reap(told);
            if !self.is_backed_up() {
                return;
            }
        }
    }

    /// Whether something waits for the kernel to take it, or in the kernel for want of room.
    fn is_backed_up(&mut self) -> bool {
        let queue = self.uring.submission();
        !queue.is_empty() || queue.cq_overflow()
    }

    /// Empties both queues, so that a batch finds all of them for itself.
    pub(super) fn make_room(&mut self) {
        self.reap(&mut |_, _| {});
        if self.is_backed_up() {
            self.settle(&mut |_, _| {});
        }
    }

    /// Lets the kernel do what is queued or deferred, and keeps its answers. Enters only if there
    /// is something to do, and a bounded number of times.
    pub(super) fn turn(&mut self) {
        self.reap(&mut |_, _| {});
        for _ in 0..ENTRIES_PER_TURN {
            if !self.has_work() {
                return;
            }
            self.enter(0);
            self.reap(&mut |_, _| {});
        }
    }

    /// Whether entering would do anything.
    pub(super) fn has_work(&mut self) -> bool {
        self.is_backed_up() || self.uring.submission().taskrun()
    }

    /// Enters with what is queued and waits for an answer, the bell or the time-out.
    pub(super) fn park(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.arm_bell();
        self.reap(&mut |_, _| {});
        if !self.kept.is_empty() || self.take_ringing() {
            return Ok(());
        }
        let entered = match timeout {
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
            None => self.uring.submit_and_wait(1),
        };
        self.reap(&mut |_, _| {});
        self.take_ringing();
        match entered.map_err(|error| error.raw_os_error()) {
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR)) => Ok(()),
            Err(Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM)) => Ok(()),
            Err(errno) => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO))),
        }
    }

    /// Whether the bell was rung since the last wait.
    fn take_ringing(&mut self) -> bool {
        self.bell.as_mut().is_some_and(|poll| mem::take(&mut poll.rung))
    }

    fn arm_bell(&mut self) {
        if self.bell.as_ref().is_none_or(|poll| poll.armed) {
            return;
        }
        while self.uring.submission().is_full() {
            self.enter(0);
            self.reap(&mut |_, _| {});
        }
        let Some(poll) = &mut self.bell else { return };
        poll.armed = true;
        let bell = Fd(poll.bell.as_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(bell, libc::POLLIN as u32).build();
        let entry = entry.user_data(UserData::new(Kind::Bell, 0, 0).0);
        // SAFETY: a poll points to no memory.
        unsafe { self.push(&entry) };
    }

    /// Hands everything queued to the kernel and runs deferred work. May do only part of it.
    fn enter(&mut self, wait_for: u32) {
        let queued = self.uring.submission().len() as u32;
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: no argument is passed, and the entries keep the promise made to `push`.
        let entered = unsafe {
            self.uring.submitter().enter::<libc::sigset_t>(queued, wait_for, flags, None)
        };
        match entered.map_err(|error| error.raw_os_error()) {
            Ok(_) | Err(Some(libc::EINTR | libc::EBUSY)) => {}
            Err(Some(libc::EAGAIN | libc::ENOMEM)) => thread::sleep(Duration::from_millis(1)),
            Err(errno) => give_up(errno),
        }
    }

    /// Takes the kernel's answers: `told` hears those to a batch, the rest is kept.
    pub(super) fn reap(&mut self, told: &mut dyn FnMut(usize, i32)) {
        let Ring { uring, kept, bell, .. } = self;
        for answer in uring.completion() {
            let user_data = UserData(answer.user_data());
            match user_data.kind() {
                Kind::Batch => told(user_data.slot() as usize, answer.result()),
                Kind::Ignored => {}
                // Cleared before the shard looks at its inbox, so that no ring is lost.
                Kind::Bell => {
                    if let Some(poll) = bell {
                        poll.armed = false;
                        poll.rung = true;
                        poll.bell.clear();
                    }
                }
                _ => kept.push(Completion { user_data, result: answer.result() }),
            }
        }
    }
}

impl Request {
    fn entry(self) -> Entry {
        match self {
            Request::Poll(index, interest, user_data) => {
                let events = match interest {
                    Interest::Read => libc::POLLIN,
                    Interest::Write => libc::POLLOUT,
                };
                opcode::PollAdd::new(Fixed(index), events as u32).build().user_data(user_data.0)
            }
            Request::Cancel(target) => {
                let ignored = UserData::new(Kind::Ignored, 0, 0).0;
                let entry = opcode::AsyncCancel::new(target.0).build();
                entry.flags(Flags::SKIP_SUCCESS).user_data(ignored)
            }
            Request::CancelAll(target) => {
                let ignored = UserData::new(Kind::Ignored, 0, 0).0;
                let targets = types::CancelBuilder::user_data(target.0).all();
                let entry = opcode::AsyncCancel2::new(targets).build();
                entry.flags(Flags::SKIP_SUCCESS).user_data(ignored)
            }
            Request::ShutDown(index, how, user_data) => {
                opcode::Shutdown::new(Fixed(index), how).build().user_data(user_data.0)
            }
            Request::Close(user_data, index) => {
                opcode::Close::new(Fixed(index)).build().user_data(user_data.0)
            }
            Request::Accept(listener, user_data) => {
                let (no_address, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
                opcode::Accept::new(Fd(listener), no_address, no_length)
                    .file_index(Some(types::DestinationSlot::auto_target()))
                    .build()
                    .user_data(user_data.0)
            }
            Request::Pause(user_data) => {
                opcode::Timeout::new(&raw const PAUSE).build().user_data(user_data.0)
            }
        }
    }
}

/// Sets a ring up with the best flags that the kernel takes.
fn set_up(shape: Shape) -> Result<(IoUring, bool), OpenError> {
    let mut without_array = true;
    let mut patience = MEMORY_TRIES;
    loop {
        match build(shape, without_array) {
            Ok(uring) => return Ok((uring, without_array)),
            // Before 6.6 there is always an index array.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && without_array => {
                without_array = false;
            }
            // The memory of rings that were closed just now is given back a moment later.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && patience > 0 => {
                patience -= 1;
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(OpenError::Ring(error)),
        }
    }
}

fn build(shape: Shape, without_array: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_r_disabled()
        .setup_cqsize(shape.completion_entries)
        .dontfork();
    if without_array {
        builder.setup_no_sqarray();
    }
    builder.build(shape.submission_entries)
}

/// Ends the process: the kernel refuses an entry for a reason that trying again will not mend.
/// Not a panic, because unwinding would free memory that queued requests point to.
fn give_up(errno: Option<i32>) -> ! {
    let error = io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO));
    let why = "io_uring_enter failed for good, which is a bug in Stentor";
    let _ = writeln!(io::stderr(), "stentor: {why}: {error}");
    process::abort()
}

const PAUSE_NANOSECONDS: u32 = (PAUSE_MS % 1000) as u32 * 1_000_000;
static PAUSE: Timespec = Timespec::new().sec(PAUSE_MS / 1000).nsec(PAUSE_NANOSECONDS);

/// Entries that one turn makes into one ring. Newer kernels run at least 20 deferred answers per
/// entry; the rest is left to the next turn.
const ENTRIES_PER_TURN: u32 = 64;

/// Times that opening a ring is tried again for want of memory.
const MEMORY_TRIES: u32 = 10;

const _: () = assert!(mem::size_of::<Completion>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring does what a shard asks of it, and refuses everything else: other requests, other flags of
    /// requests, and other registrations.
    #[test]
    fn a_ring_is_restricted_to_what_is_used() {
        let shape = Shape { slots: 4, submission_entries: 64, completion_entries: 128 };
        let mut ring = Ring::open(shape, None).expect("io_uring");
        assert!(ring.restricted);
        let used = opcode::Timeout::new(&raw const PAUSE).build();
        // SAFETY: the entry points to a constant.
        assert_eq!(unsafe { ring.call(used) }, -libc::ETIME);
        let flagged = opcode::Timeout::new(&raw const PAUSE).build().flags(Flags::ASYNC);
        for refused in [opcode::Nop::new().build(), flagged] {
            // SAFETY: the entries point to nothing but a constant.
            assert_eq!(unsafe { ring.call(refused) }, -libc::EACCES);
        }
        let registered = ring.uring.submitter().unregister_files();
        assert_eq!(registered.unwrap_err().raw_os_error(), Some(libc::EACCES));
    }
}
