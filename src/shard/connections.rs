//! Who is connected, for operators who ask, and closing whom they name.
//!
//! A walk over all slots is made in parts, so that no question holds a shard up: a part takes as many
//! steps as [`CONNECTION_STEPS_MAX`] says, and a connection that the kernel is asked about, or that
//! reads many channels, is several.

use super::Shard;
use crate::{
    close::CloseReason,
    hub::Reading,
    ids::{ConnectionId, Slot, Tick},
    io::Kernel,
    limits::{CONNECTION_STEPS_MAX, SHOWN_CONNECTION_STEPS, TICK_MS},
    report::{
        ConnectionReport, ConnectionsReport, LISTED_CHANNELS_MAX, SHOWN_CHANNELS_MAX, Wanted,
    },
};

/// Which of a slot's connections this is, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Birth {
    generation: u32,
    since: Tick,
}

impl Birth {
    /// Another connection has come into the slot.
    pub fn next(&mut self, now: Tick) {
        *self = Birth { generation: self.generation.wrapping_add(1), since: now };
    }
}

impl<K: Kernel> Shard<K> {
    /// What to call the connection that is, or was last, in this slot.
    pub(super) fn connection_id(&self, slot: Slot) -> ConnectionId {
        let generation = self.births[slot.index()].generation;
        ConnectionId { shard: self.setup.id, slot, generation }
    }

    /// Connections from a slot on, until there are enough or the walk has taken long enough.
    pub(super) fn connections(
        &mut self,
        wanted: &Wanted,
        from: Slot,
        limit: usize,
    ) -> ConnectionsReport {
        let mut report = ConnectionsReport::default();
        let mut steps = 0;
        for slot in (from.0..self.kernel.slots()).map(Slot) {
            if report.connections.len() == limit || steps >= CONNECTION_STEPS_MAX {
                report.next = Some(slot);
                break;
            }
            steps += 1 + self.views.subscriptions(slot);
            if !self.is_wanted(slot, wanted) {
                continue;
            }
            steps += SHOWN_CONNECTION_STEPS;
            let about = self.about(slot, LISTED_CHANNELS_MAX);
            let address = about.address.map(|address| address.ip().to_canonical());
            if wanted.address.is_none_or(|wanted| address == Some(wanted.to_canonical())) {
                report.connections.push(about);
            }
        }
        report
    }

    /// Whether it is what is wanted, as far as that costs nothing.
    fn is_wanted(&self, slot: Slot, wanted: &Wanted) -> bool {
        self.states[slot.index()].is_open()
            && wanted.transport.is_none_or(|it| it == self.sessions[slot.index()].transport())
            && wanted.channel.as_ref().is_none_or(|it| self.views.reads_channel(slot, it))
    }

    /// One connection, if it is there and not being closed yet; it may be closed.
    pub(super) fn connection(
        &mut self,
        id: ConnectionId,
        close: Option<CloseReason>,
    ) -> Option<ConnectionReport> {
        let is_there = id.slot.0 < self.kernel.slots()
            && self.connection_id(id.slot) == id
            && self.states[id.slot.index()].is_open()
            && !self.sessions[id.slot.index()].is_closing();
        let report = is_there.then(|| self.about(id.slot, SHOWN_CHANNELS_MAX))?;
        if let Some(reason) = close {
            self.end(id.slot, reason);
        }
        Some(report)
    }

    fn about(&mut self, slot: Slot, channels_max: usize) -> ConnectionReport {
        let address = self.peer(slot);
        let session = &self.sessions[slot.index()];
        let reading = self.views.reading(slot, channels_max, self.now.us);
        let Reading { subscriptions, channels, lag, blocked } = reading;
        let since = u64::from(self.births[slot.index()].since.0) * TICK_MS;
        ConnectionReport {
            id: self.connection_id(slot),
            address,
            subject: self.bearers.subject(slot).map(Into::into),
            transport: session.transport(),
            since_ms: self.setup.started_ms + since,
            blocked,
            pending_bytes: self.outboxes.waiting(slot).len() as u64,
            received_bytes: session.kept_bytes() as u64,
            subscriptions,
            channels,
            lag,
        }
    }
}
