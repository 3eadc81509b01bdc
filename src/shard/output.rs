//! What we send to connections: private bytes, and sweeps.

use super::{Now, Shard, State};
use crate::{
    close::CloseReason,
    hub::{Batch, Notice, Rest},
    ids::Slot,
    io::{Interest, Kernel, Outcome, Send},
    limits::{SEND_BATCH, SENDS_PER_TURN_MAX},
};

/// Empty slices collected in one turn before the shard looks around: they cost no send.
const EMPTY_SLICES_MAX: usize = 16;

const NO_SEND: Send<'static> = Send { slot: Slot(0), bytes: &[] };

impl<K: Kernel> Shard<K> {
    /// Queues bytes for one connection alone; they leave between two frames.
    pub(super) fn send_private(&mut self, slot: Slot, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.outboxes.append(slot, bytes);
        self.views.hold(slot);
        self.make_ready(slot);
    }

    /// Keeps the rest of a frame that was cut on a connection which has left its channel. If that
    /// was too much the connection is closed as it is, since nothing else may be sent on it.
    pub(super) fn keep_rest(&mut self, slot: Slot, rest: Rest) {
        match rest {
            Rest::None => (),
            Rest::Kept(rest) if rest.len() <= self.outboxes.room() => {
                self.outboxes.put_rest(slot, rest);
                self.views.hold(slot);
            }
            Rest::Kept(_) | Rest::TooMuch => self.close(slot, CloseReason::PeerTooSlow),
        }
    }

    pub(super) fn make_ready(&mut self, slot: Slot) {
        let state = &mut self.states[slot.index()];
        if !state.has(State::READY) {
            state.set(State::READY);
            self.ready.push_back(slot);
        }
    }

    pub(super) fn on_writable(&mut self, slot: Slot) {
        if !self.states[slot.index()].is_open() {
            return;
        }
        self.views.unblock(slot);
        // Whose last send was taken whole although the socket was full has nothing left.
        self.on_flushed(slot);
        self.settle(slot);
    }

    /// Sends private bytes and the rests of cut frames, one send per connection, up to a turn's
    /// budget.
    pub(super) fn flush_ready(&mut self) -> bool {
        let mut left = self.ready.len().min(SENDS_PER_TURN_MAX);
        let worked = left > 0;
        let mut slots = Vec::with_capacity(left.min(SEND_BATCH));
        while left > 0 {
            let count = left.min(SEND_BATCH);
            left -= count;
            slots.extend(self.ready.drain(..count));
            self.flush_batch(&mut slots);
            slots.clear();
        }
        worked
    }

    fn flush_batch(&mut self, slots: &mut Vec<Slot>) {
        slots.retain(|&slot| {
            let state = &mut self.states[slot.index()];
            state.clear(State::READY);
            state.is_open() && !self.views.is_blocked(slot)
        });
        let mut sends = [NO_SEND; SEND_BATCH];
        let (mut count, mut idle) = (0, Vec::new());
        for &slot in slots.iter() {
            let rest = self.views.cut_rest(slot);
            let bytes = if rest.is_empty() { self.outboxes.waiting(slot) } else { rest };
            if bytes.is_empty() {
                idle.push(slot);
            } else {
                sends[count] = Send { slot, bytes };
                count += 1;
            }
        }
        let mut exceptions = std::mem::take(&mut self.scratch.exceptions);
        self.kernel.send_batch(&sends[..count], &mut exceptions);
        let mut written: Vec<(Slot, usize, Option<Outcome>)> =
            sends[..count].iter().map(|send| (send.slot, send.bytes.len(), None)).collect();
        for exception in exceptions.drain(..) {
            let (_, bytes, outcome) = &mut written[exception.index];
            *outcome = Some(exception.outcome);
            *bytes = if let Outcome::Short(bytes) = exception.outcome { bytes } else { 0 };
        }
        self.scratch.exceptions = exceptions;
        for (slot, bytes, outcome) in written {
            self.on_private_sent(slot, bytes, outcome);
        }
        idle.into_iter().for_each(|slot| self.on_flushed(slot));
    }

    fn on_private_sent(&mut self, slot: Slot, bytes: usize, outcome: Option<Outcome>) {
        if self.views.cut_rest(slot).is_empty() {
            self.outboxes.on_sent(slot, bytes);
        } else {
            let counters = &self.setup.counters[usize::from(self.setup.id.0)];
            self.views.on_cut_sent(slot, bytes, counters);
        }
        if bytes > 0 {
            self.on_moved(slot);
            self.settle(slot);
        }
        match outcome {
            None => self.on_flushed(slot),
            Some(Outcome::Broken) => self.close(slot, CloseReason::PeerLeft),
            Some(Outcome::Short(_)) => {
                self.views.block(slot);
                self.on_blocked(slot);
            }
        }
    }

    /// One send is through. What is left goes next time, so that nobody is served twice before
    /// everybody was served once.
    fn on_flushed(&mut self, slot: Slot) {
        if self.outboxes.has(slot) || !self.views.cut_rest(slot).is_empty() {
            return self.make_ready(slot);
        }
        self.views.release(slot);
        if self.states[slot.index()].has(State::FINISH) {
            self.kernel.shutdown(slot);
        }
        self.listen(slot, false);
    }

    /// A peer whose socket may have been full has taken something.
    fn on_moved(&mut self, slot: Slot) {
        self.sessions[slot.index()].on_progress(self.now.tick());
        self.schedule(slot);
    }

    fn on_blocked(&mut self, slot: Slot) {
        self.sessions[slot.index()].on_blocked(self.now.tick());
        self.schedule(slot);
        self.kernel.poll(slot, Interest::Write);
        self.settle(slot);
    }

    /// Serves channels, a batch of sends at a time, up to a turn's budget.
    pub(super) fn sweep(&mut self) -> bool {
        self.views.wake_rested(self.now.us);
        let worked = self.views.has_work();
        let (mut sent, mut empty) = (0, 0);
        let mut batch = std::mem::take(&mut self.scratch.batch);
        while self.views.has_work() && sent < SENDS_PER_TURN_MAX && empty < EMPTY_SLICES_MAX {
            self.views.fill(&mut batch, self.now.us);
            sent += batch.len();
            empty += usize::from(batch.is_empty());
            if !batch.is_empty() {
                self.send_swept(&batch);
            }
            self.tend();
        }
        self.scratch.batch = batch;
        worked
    }

    /// Counts the sweeps that have ended, as of `now`.
    pub(super) fn count_sweeps(&mut self, now: Now) {
        let counters = &self.setup.counters[usize::from(self.setup.id.0)];
        self.views.count_rounds(now.us, counters);
    }

    fn send_swept(&mut self, batch: &Batch) {
        let counters = &self.setup.counters[usize::from(self.setup.id.0)];
        let (exceptions, notices) = (&mut self.scratch.exceptions, &mut self.scratch.notices);
        let mut sends = [NO_SEND; SEND_BATCH];
        for (send, (slot, bytes)) in sends.iter_mut().zip(self.views.sends(batch)) {
            *send = Send { slot, bytes };
        }
        self.kernel.send_batch(&sends[..batch.len()], exceptions);
        self.views.settle(batch, exceptions, notices, counters);
        exceptions.clear();
        let mut notices = std::mem::take(&mut self.scratch.notices);
        for notice in notices.drain(..) {
            match notice {
                Notice::Moved(slot) => self.on_moved(slot),
                Notice::Blocked(slot) => self.on_blocked(slot),
                Notice::Broken(slot) => self.close(slot, CloseReason::PeerLeft),
                Notice::Fed(slot) => self.sessions[slot.index()].on_delivered(self.now.tick()),
            }
        }
        self.scratch.notices = notices;
    }
}
