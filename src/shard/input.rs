//! What connections send to us.

use super::{Shard, State, clients::names_client};
use crate::{
    close::CloseReason,
    ids::Slot,
    io::{Interest, Kernel, Received},
    limits::{RECEIVE_BATCH, RECEIVE_BYTES, RECEIVES_PER_TURN_MAX},
    session::Step,
    shield::Excess,
};

/// What is to be done with a connection that was read.
struct Heard {
    slot: Slot,
    step: Step,
    /// Where what the session wrote ends in the scratch buffer.
    out_end: usize,
    /// Whether there may be more to read.
    more: bool,
}

impl<K: Kernel> Shard<K> {
    /// Reads from connections that have something, each at most once, and tells their sessions.
    pub(super) fn read(&mut self) -> bool {
        let count = self.readable.len().min(RECEIVES_PER_TURN_MAX);
        let mut left = count;
        while left > 0 {
            let batch = left.min(RECEIVE_BATCH);
            self.read_batch(batch);
            left -= batch;
        }
        count > 0
    }

    fn read_batch(&mut self, count: usize) {
        let mut slots = std::mem::take(&mut self.scratch.slots);
        let mut out = std::mem::take(&mut self.scratch.out);
        let states = &mut self.states;
        let take = |slot: &Slot| {
            states[slot.index()].clear(State::READABLE);
            states[slot.index()].is_open()
        };
        slots.extend(self.readable.drain(..count).filter(take));
        let mut heard = Vec::with_capacity(slots.len());
        let (now, rules, sessions) = (self.now.tick(), &self.setup.rules, &mut self.sessions);
        let (places, addresses) = (&self.places, &self.setup.admission.addresses);
        let states = &self.states;
        let mut refused = Vec::new();
        self.kernel.receive_batch(&slots, &mut |slot, received| {
            let session = &mut sessions[slot.index()];
            let step = match received {
                Received::Bytes(bytes) => {
                    let place = places[slot.index()];
                    match !names_client(states[slot.index()], session)
                        && session.awaits_request()
                        && addresses.request(place, &rules.shield, now).is_err()
                    {
                        true => {
                            refused.push(slot);
                            session.on_close(CloseReason::AddressLimited, now, rules, &mut out)
                        }
                        false => session.on_bytes(bytes, now, rules, &mut out),
                    }
                }
                Received::Nothing => Step::Wait,
                Received::End => session.on_end(),
                Received::Broken => Step::Drop(CloseReason::PeerLeft),
            };
            let more = matches!(received, Received::Bytes(bytes) if bytes.len() == RECEIVE_BYTES);
            heard.push(Heard { slot, step, out_end: out.len(), more });
        });
        for slot in refused {
            let address = self.peer(slot).map(|peer| peer.ip());
            self.report(address, Excess::Requests);
        }
        let mut start = 0;
        for Heard { slot, step, out_end, more } in heard {
            self.act(slot, step, &out[start..out_end]);
            start = out_end;
            self.listen(slot, more);
        }
        slots.clear();
        out.clear();
        (self.scratch.slots, self.scratch.out) = (slots, out);
    }

    /// Goes on listening to a connection: not while a subscription is pending, nor while it has
    /// yet to take what its last words brought, which bounds what a peer can make us keep.
    pub(super) fn listen(&mut self, slot: Slot, more: bool) {
        let gone = !self.states[slot.index()].is_open();
        if gone || self.outboxes.has(slot) || !self.sessions[slot.index()].takes_input() {
            return;
        }
        if more {
            self.make_readable(slot);
        } else {
            self.kernel.poll(slot, Interest::Read);
        }
    }

    pub(super) fn make_readable(&mut self, slot: Slot) {
        let state = &mut self.states[slot.index()];
        if !state.has(State::READABLE) {
            state.set(State::READABLE);
            self.readable.push_back(slot);
        }
    }
}
