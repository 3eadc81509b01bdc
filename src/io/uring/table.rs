//! What is known of each slot: which connection it holds and what is under way on it.
//!
//! Four bytes per slot: 24 bits of generation and 8 flags. A slot's generation changes when its
//! connection is gone, so a completion that carries an older one speaks of the dead.
//!
//! The kernel may hand a slot out again as soon as it has executed the close, and its accept may
//! be seen before the last completions of the connection that was there. The accept then proves
//! that the close is done: the old connection ends there, and what comes late is ignored.
#![forbid(unsafe_code)]

use crate::{
    ids::Slot,
    io::{
        Interest,
        uring::user_data::{GENERATION_MAX, Kind, UserData},
    },
};

/// What a completion means for its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing that anybody needs to know.
    Nothing,
    /// The poll for this interest fired.
    Ready(Interest),
    /// The poll for writing fired for nothing: arm it again after a pause ([`Table`]).
    PauseWriting,
    /// The pause is over: arm the poll for writing again.
    ResumeWriting,
    /// The close that had to wait can be queued now: see [`Table::to_close`].
    Close,
    /// The connection is gone and its slot is free.
    Closed,
}

/// The requests that end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// The polls to cancel, before the close: a close under an armed poll sends no FIN.
    pub(super) cancel: [Option<UserData>; 2],
    /// What the close carries.
    pub(super) close: UserData,
}

/// One state per slot.
///
/// A poll of io_uring always wakes for `POLLRDHUP`, asked or not: the write poll of a full socket
/// fires at once and for ever when its peer has finished sending. Such an answer is not reported,
/// and the poll is armed again after a pause, so that a half-closed laggard does not spin.
pub(super) struct Table {
    states: Vec<State>,
}

impl Table {
    pub(super) fn new(slots: u32) -> Table {
        Table { states: vec![State(0); slots as usize] }
    }

    pub(super) fn slots(&self) -> u32 {
        self.states.len() as u32
    }

    /// Whether there is a connection in the slot that has not been closed.
    pub(super) fn is_open(&self, slot: Slot) -> bool {
        self.states.get(slot.index()).is_some_and(|state| state.0 & (OPEN | CLOSING) == OPEN)
    }

    /// Whether the slot still holds the connection that `user_data` speaks of, not yet closed.
    pub(super) fn is_current(&self, user_data: UserData) -> bool {
        let slot = Slot(user_data.slot());
        self.is_open(slot) && self.states[slot.index()].generation() == user_data.generation()
    }

    /// What a request of this kind on the slot's present connection carries.
    pub(super) fn user_data(&self, slot: Slot, kind: Kind) -> UserData {
        UserData::new(kind, self.states[slot.index()].generation(), slot.0)
    }

    /// Puts a connection into the slot. Returns whether one that was being closed ended by it.
    pub(super) fn open(&mut self, slot: Slot) -> bool {
        let state = &mut self.states[slot.index()];
        let was_closing = state.has(CLOSING);
        assert!(was_closing || !state.has(OPEN), "the kernel filled a slot that was not empty");
        if was_closing {
            state.free();
        }
        state.set(OPEN);
        was_closing
    }

    /// Notes that a poll is armed. `None` where it was already, or where there is nothing to poll.
    pub(super) fn arm(&mut self, slot: Slot, interest: Interest) -> Option<UserData> {
        let (flag, kind) = poll_of(interest);
        if !self.is_open(slot) || self.states[slot.index()].has(flag) {
            return None;
        }
        self.states[slot.index()].set(flag);
        Some(self.user_data(slot, kind))
    }

    /// Notes that a shutdown is under way. `None` where it was already, or on a closed slot.
    pub(super) fn shut_down(&mut self, slot: Slot) -> Option<UserData> {
        if !self.is_open(slot) || self.states[slot.index()].has(SHUTTING) {
            return None;
        }
        self.states[slot.index()].set(SHUTTING);
        Some(self.user_data(slot, Kind::Shutdown))
    }

    /// Notes that the connection is to be closed. Returns whether that can be done at once: a
    /// shutdown looks the slot up on a worker thread, so until it is over the slot must not move on
    /// to another connection.
    pub(super) fn close(&mut self, slot: Slot) -> bool {
        assert!(self.is_open(slot), "slot {} is closed twice or holds nothing", slot.0);
        let state = &mut self.states[slot.index()];
        state.set(CLOSING);
        !state.has(SHUTTING)
    }

    /// The requests that close the connection, to be queued in one go.
    pub(super) fn to_close(&self, slot: Slot) -> Closing {
        let state = self.states[slot.index()];
        debug_assert!(state.has(CLOSING) && !state.has(SHUTTING));
        let armed = |interest| {
            let (flag, kind) = poll_of(interest);
            state.has(flag).then(|| self.user_data(slot, kind))
        };
        Closing {
            cancel: [
                armed(Interest::Read),
                // A pause is over soon; cancelling it would search the list of all pauses.
                armed(Interest::Write).filter(|_| !state.has(PAUSED)),
            ],
            close: self.user_data(slot, Kind::Close),
        }
    }

    /// Takes a completion in and says what follows from it.
    pub(super) fn on_completion(&mut self, user_data: UserData, result: i32) -> Step {
        let Some(state) = self.states.get_mut(user_data.slot() as usize) else {
            return Step::Nothing;
        };
        if state.generation() != user_data.generation() || !state.has(OPEN) {
            return Step::Nothing;
        }
        let ready = match user_data.kind() {
            Kind::Read => state.on_poll(Interest::Read),
            Kind::Write if state.has(PAUSED) => {
                state.clear(PAUSED);
                if !state.has(CLOSING) {
                    return Step::ResumeWriting;
                }
                state.on_poll(Interest::Write)
            }
            Kind::Write if result > 0 && result & WRITABLE == 0 && !state.has(CLOSING) => {
                state.set(PAUSED);
                return Step::PauseWriting;
            }
            Kind::Write => state.on_poll(Interest::Write),
            Kind::Shutdown => {
                state.clear(SHUTTING);
                return if state.has(CLOSING) { Step::Close } else { Step::Nothing };
            }
            // Out of memory: the connection is still there, so try again.
            Kind::Close if is_worth_retrying(result) => return Step::Close,
            Kind::Close => {
                state.set(CLOSED);
                Step::Nothing
            }
            _ => Step::Nothing,
        };
        if state.has(CLOSED) && !state.has(READING | WRITING) {
            state.free();
            return Step::Closed;
        }
        ready
    }
}

/// Generation and flags of a slot.
#[derive(Clone, Copy)]
struct State(u32);

impl State {
    fn generation(self) -> u32 {
        self.0 >> FLAG_BITS
    }

    /// Whether any of these flags is set.
    fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    fn set(&mut self, flags: u32) {
        self.0 |= flags;
    }

    fn clear(&mut self, flags: u32) {
        self.0 &= !flags;
    }

    /// Empties the slot and makes everything that is still under way on it a thing of the past.
    fn free(&mut self) {
        self.0 = (self.generation().wrapping_add(1) & GENERATION_MAX) << FLAG_BITS;
    }

    fn on_poll(&mut self, interest: Interest) -> Step {
        self.clear(poll_of(interest).0);
        if self.has(CLOSING) { Step::Nothing } else { Step::Ready(interest) }
    }
}

fn poll_of(interest: Interest) -> (u32, Kind) {
    match interest {
        Interest::Read => (READING, Kind::Read),
        Interest::Write => (WRITING, Kind::Write),
    }
}

/// Kernels before 6.13 allocate when they close a slot.
fn is_worth_retrying(result: i32) -> bool {
    [-libc::ENOMEM, -libc::EAGAIN, -libc::EINTR].contains(&result)
}

const FLAG_BITS: u32 = 8;
/// There is a connection in the slot.
const OPEN: u32 = 1;
/// A poll for reading is armed.
const READING: u32 = 2;
/// A poll for writing is armed.
const WRITING: u32 = 4;
/// A shutdown is under way.
const SHUTTING: u32 = 8;
/// The shard has closed the connection.
const CLOSING: u32 = 16;
/// The kernel has closed it, too.
const CLOSED: u32 = 32;
/// The poll for writing is not armed now but will be after a pause.
const PAUSED: u32 = 64;

/// What a write poll is to wake for.
const WRITABLE: i32 = (libc::POLLOUT | libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) as i32;

const _: () = assert!(size_of::<State>() <= 8, "a million idle connections");

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(3);

    /// The close is reported when it and every armed poll are over, whichever comes last.
    #[test]
    fn closed_means_that_nothing_is_under_way() {
        for close_first in [true, false] {
            let mut table = Table::new(8);
            assert!(!table.open(SLOT));
            let read = table.arm(SLOT, Interest::Read).unwrap();
            assert_eq!(table.arm(SLOT, Interest::Read), None, "armed already");
            assert!(table.close(SLOT));
            let Closing { cancel, close } = table.to_close(SLOT);
            assert_eq!(cancel, [Some(read), None]);
            let (first, last) = if close_first { (close, read) } else { (read, close) };
            assert_eq!(table.on_completion(first, 0), Step::Nothing);
            assert_eq!(table.on_completion(last, 0), Step::Closed);
            assert_eq!(table.on_completion(last, 0), Step::Nothing, "once only");
        }
    }

    /// An accept that overtakes the old connection's last completions ends it; they are ignored.
    #[test]
    fn a_slot_is_reborn_before_its_old_completions_are_seen() {
        let mut table = Table::new(8);
        table.open(SLOT);
        let read = table.arm(SLOT, Interest::Read).unwrap();
        assert!(table.close(SLOT));
        let close = table.to_close(SLOT).close;
        assert!(table.open(SLOT), "the old connection ends here");
        let read_again = table.arm(SLOT, Interest::Read).unwrap();
        assert_eq!(table.on_completion(read, 1), Step::Nothing);
        assert_eq!(table.on_completion(close, 0), Step::Nothing);
        assert_eq!(table.on_completion(read_again, 1), Step::Ready(Interest::Read));
        assert!(table.is_open(SLOT));
    }

    /// A write poll that fires only because the peer has finished sending is tried again later.
    #[test]
    fn a_half_closed_peer_pauses_the_write_poll() {
        let mut table = Table::new(8);
        table.open(SLOT);
        let write = table.arm(SLOT, Interest::Write).unwrap();
        let half_closed = i32::from(libc::POLLRDHUP);
        assert_eq!(table.on_completion(write, half_closed), Step::PauseWriting);
        assert_eq!(table.arm(SLOT, Interest::Write), None, "it counts as armed");
        assert_eq!(table.on_completion(write, -libc::ETIME), Step::ResumeWriting);
        let writable = i32::from(libc::POLLOUT) | half_closed;
        assert_eq!(table.on_completion(write, writable), Step::Ready(Interest::Write));

        table.arm(SLOT, Interest::Write);
        assert_eq!(table.on_completion(write, half_closed), Step::PauseWriting);
        assert!(table.close(SLOT));
        let closing = table.to_close(SLOT);
        assert_eq!(closing.cancel, [None, None]);
        assert_eq!(table.on_completion(closing.close, 0), Step::Nothing);
        assert_eq!(table.on_completion(write, -libc::ETIME), Step::Closed);
    }

    /// A close waits for a shutdown on the worker thread, which would otherwise hit a successor.
    #[test]
    fn a_close_waits_for_the_shutdown() {
        let mut table = Table::new(8);
        table.open(SLOT);
        let shutdown = table.shut_down(SLOT).unwrap();
        assert!(!table.close(SLOT));
        assert_eq!(table.on_completion(shutdown, -libc::ENOTCONN), Step::Close);
        let close = table.to_close(SLOT).close;
        assert_eq!(table.on_completion(close, -libc::ENOMEM), Step::Close, "try again");
        assert_eq!(table.on_completion(close, 0), Step::Closed);
    }

    /// Completions of kinds, slots and generations that we never gave out change nothing.
    #[test]
    fn a_stray_completion_is_ignored() {
        let mut table = Table::new(8);
        table.open(SLOT);
        for stray in [
            UserData::new(Kind::Read, 0, 8),
            UserData::new(Kind::Close, 1, SLOT.0),
            UserData::new(Kind::Read, 0, SLOT.0 + 1),
            UserData(u64::MAX),
        ] {
            assert_eq!(table.on_completion(stray, 0), Step::Nothing);
        }
        assert!(table.is_open(SLOT));
    }
}
