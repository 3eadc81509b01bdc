//! When things end: deadlines of connections, full tables, and the server's wish to stop.

use std::time::Duration;

use super::{Shard, publications::FeedEnd};
use crate::{
    close::CloseReason,
    ids::{ShardId, Slot, Tick},
    io::Kernel,
    limits::{CLOSING_SECONDS_MAX, DEADLINES_PER_TURN_MAX},
    session::Session,
};

impl<K: Kernel> Shard<K> {
    /// Whether the server stops and nothing is left to do here. A home stays as long as anybody
    /// anywhere may be owed what was published.
    pub fn is_drained(&self) -> bool {
        let Some(since) = self.draining_since else { return false };
        let longest = self.latecomers_window() + Duration::from_secs(2 * CLOSING_SECONDS_MAX + 1);
        let is_done = self.is_deserted()
            && self.nothing_waits()
            && self.held.is_empty()
            && !self.feeds.iter().any(FeedEnd::waits)
            && self.answers.is_empty()
            && !self.home.awaits_journal();
        is_done || self.now.tick() >= since.after(longest)
    }

    /// Whether no connection is left, here or elsewhere.
    pub(super) fn is_deserted(&self) -> bool {
        self.connections == 0 && self.setup.admission.is_empty()
    }

    /// Stops or starts accepting, and begins to drain, as the whole server does. Who comes during a
    /// drain is accepted all the same, to be told so, unless a successor will serve it: the backlog
    /// would keep it waiting in silence.
    pub(super) fn follow_signals(&mut self) {
        if self.setup.rules.refresh() {
            self.follow_rules();
        }
        self.keep_pace();
        let exhausted = self.connections + 1 + self.kernel.slots() / 100 >= self.kernel.slots();
        if self.setup.admission.tell_exhausted(self.setup.id, exhausted) {
            let mesh = &self.setup.mesh;
            (0..mesh.shards()).for_each(|shard| mesh.inbox(ShardId(shard)).wake());
        }
        if self.draining_since.is_none() && self.setup.drain.has_begun() {
            self.begin_drain();
        }
        let accepting = self.may_accept();
        if accepting != self.accepting {
            self.accepting = accepting;
            self.kernel.set_accepting(accepting);
            self.setup.drain.tell_accepting(accepting);
        }
    }

    /// The rules have changed, and what was made by them with them. Sessions' deadlines may have come
    /// nearer, so every connection is asked for its own: about as much work as a drain begins with.
    fn follow_rules(&mut self) {
        let rules = &self.setup.rules;
        self.home.set_limits(rules.channels_max, rules.lag_bytes_max);
        self.views.set_limits(rules.lag_bytes_max, rules.subscriptions_max);
        if !rules.policies.is_same(self.home.policies()) {
            self.views.set_policies(rules.policies.clone());
            self.home.set_policies(rules.policies.clone(), self.now.us);
        }
        for slot in (0..self.kernel.slots()).map(Slot) {
            if self.states[slot.index()].is_open() {
                self.schedule(slot);
            }
        }
    }

    pub(super) fn may_accept(&self) -> bool {
        !self.setup.admission.is_exhausted()
            && !self.is_pacing
            && !self.setup.drain.is_leaving_backlog()
    }

    /// Whether who comes is told that the server goes. A successor may have more to say, but who was
    /// accepted here never knocked there.
    pub(super) fn turns_away(&self) -> bool {
        self.draining_since.is_some() && !self.setup.drain.is_handed_over()
    }

    /// Spreads the ends of all connections over the drain's window.
    pub(super) fn begin_drain(&mut self) {
        let now = self.now.tick();
        self.draining_since = Some(now);
        for slot in (0..self.kernel.slots()).map(Slot) {
            if self.states[slot.index()].is_open() {
                self.schedule(slot);
            }
        }
    }

    /// When this connection is closed in a drain: somewhere in the window, by a hash of its slot.
    pub(super) fn drain_tick(&self, since: Tick, slot: Slot) -> Tick {
        let window = since.after(self.setup.drain.window()).0 - since.0;
        let share = u64::from(slot.0.wrapping_mul(0x9e37_79b9));
        Tick(since.0 + ((share * u64::from(window)) >> 32) as u32)
    }

    /// How long a drain waits for who has yet to ask, or to be answered. Such a one would take an end
    /// for an outage where a successor serves all others, so it has its usual time then.
    fn latecomers_window(&self) -> Duration {
        let drain = &self.setup.drain;
        match drain.is_handed_over() {
            true => drain.window().max(self.setup.rules.handshake_timeout),
            false => drain.window(),
        }
    }

    /// Whether a drain lets this connection be until it is answered.
    fn is_spared(&self, slot: Slot) -> bool {
        self.setup.drain.is_handed_over() && self.sessions[slot.index()].is_unanswered()
    }

    /// Whether a drain ends this connection now. Who has yet to be sent something gets a little
    /// longer: nothing more is published, so all but readers that have stopped soon have everything.
    pub(super) fn is_drain_due(&self, slot: Slot) -> bool {
        let (now, drain) = (self.now.tick(), &self.setup.drain);
        self.draining_since.is_some_and(|since| {
            let closing = Duration::from_secs(CLOSING_SECONDS_MAX);
            if self.is_spared(slot) {
                return now >= since.after(self.latecomers_window() + closing);
            }
            let last = since.after(drain.window() + closing);
            now >= last || (now >= self.drain_tick(since, slot) && !self.views.is_behind(slot))
        })
    }

    /// Tells sessions of their deadlines, up to a turn's budget.
    pub(super) fn fire_deadlines(&mut self) -> bool {
        self.wheel.advance(self.now.tick(), &mut self.scratch.slots);
        // In the order in which their sockets lie in memory.
        self.scratch.slots.sort_unstable();
        self.expired.extend(self.scratch.slots.drain(..));
        let count = self.expired.len().min(DEADLINES_PER_TURN_MAX);
        for _ in 0..count {
            let Some(slot) = self.expired.pop_front() else { break };
            // Since it expired the connection may have ended, and the slot even have another.
            if self.states[slot.index()].is_open() {
                self.on_deadline(slot);
            }
        }
        count > 0
    }

    pub(super) fn on_deadline(&mut self, slot: Slot) {
        let now = self.now.tick();
        if self.is_drain_due(slot) {
            match self.setup.drain.is_handed_over() {
                true => self.tell(slot, Session::on_handed_over),
                false => self.end(slot, CloseReason::ServerDraining),
            }
        }
        self.end_if_expired(slot);
        let mut out = std::mem::take(&mut self.scratch.out);
        let step = self.sessions[slot.index()].on_deadline(now, &self.setup.rules, &mut out);
        self.act(slot, step, &out);
        out.clear();
        self.scratch.out = out;
    }

    /// Sees to it that the session hears of its deadline. A deadline that has moved away is left
    /// where it was: the session finds it early and says when to come back.
    pub(super) fn schedule(&mut self, slot: Slot) {
        let session = &self.sessions[slot.index()];
        let mut due = session.deadline(&self.setup.rules);
        let is_ending = !session.is_closing() && !self.is_spared(slot);
        if let Some(since) = self.draining_since.filter(|_| is_ending) {
            // Not at once: what was published before the drain may be on its way here.
            due = due.min(self.drain_tick(since, slot).max(Tick(self.now.tick().0 + 1)));
        }
        if let Some(end) = self.token_end(slot) {
            due = due.min(end);
        }
        if self.wheel.deadline(slot).is_none_or(|set| due < set) {
            self.wheel.set(slot, due);
        }
    }
}
