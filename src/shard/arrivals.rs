//! Connections that come, and the slots of those that have gone.

use super::{Shard, State};
use crate::{
    close::CloseReason,
    ids::Slot,
    io::{Interest, Kernel},
    report::Transport,
    session::Session,
};

impl<K: Kernel> Shard<K> {
    pub(super) fn on_accepted(&mut self, slot: Slot) {
        let now = self.now.tick();
        self.connections += 1;
        self.counters().accepted.add(1);
        self.sessions[slot.index()] = Session::new(now, slot.0);
        self.states[slot.index()].set(State::OPEN);
        self.births[slot.index()].next(now);
        self.count_transport(slot, Some(Transport::Handshake));
        let reserve = self.kernel.slots() / 50;
        if self.connections + reserve <= self.kernel.slots()
            && !self.turns_away()
            && self.setup.admission.enter()
        {
            self.states[slot.index()].set(State::ADMITTED);
            if self.count_in(slot) {
                // Who is turned away costs little, and must not keep others waiting.
                self.pace.on_done(self.setup.rules.shield.accepts, self.now.us);
                self.kernel.poll(slot, Interest::Read);
                self.schedule(slot);
            }
            return;
        }
        self.counters().refused.add(1);
        let draining = self.turns_away();
        self.end(
            slot,
            if draining { CloseReason::ServerDraining } else { CloseReason::Overloaded },
        );
    }

    pub(super) fn on_closed(&mut self, slot: Slot) {
        if self.states[slot.index()].has(State::ADMITTED) {
            self.setup.admission.leave();
        }
        self.count_transport(slot, None);
        self.count_out(slot);
        self.forget_client(slot);
        self.states[slot.index()].clear(!State::QUEUED);
        self.connections -= 1;
    }
}
