//! What tokens connections came with, until when they are good, and what that means for what they
//! read. Connections without a token have nothing here.

use std::collections::HashMap;

use super::Shard;
use crate::{
    access::Bearer,
    close::CloseReason,
    ids::{ChannelName, Slot, Tick},
    io::Kernel,
    logs::limited,
};

/// The bearers of one shard.
#[derive(Debug, Default)]
pub struct Bearers {
    by_slot: HashMap<Slot, Bearer>,
}

impl Bearers {
    /// A connection came with this, or brought a fresh one. Its seat stays its own.
    fn set(&mut self, slot: Slot, bearer: Bearer) {
        match self.by_slot.get_mut(&slot) {
            Some(known) => {
                known.grants = bearer.grants;
                known.seat = bearer.seat.or(known.seat.take());
            }
            None => _ = self.by_slot.insert(slot, bearer),
        }
    }

    /// The connection is over, or its request is.
    pub fn remove(&mut self, slot: Slot) {
        if !self.by_slot.is_empty() {
            self.by_slot.remove(&slot);
        }
    }

    /// Whose token a connection came with.
    pub fn subject(&self, slot: Slot) -> Option<&str> {
        self.by_slot.get(&slot).and_then(|bearer| bearer.grants.subject.as_deref())
    }

    /// Seconds since 1970 from which on a connection's token is worth nothing.
    fn until(&self, slot: Slot) -> Option<u64> {
        self.by_slot.get(&slot).map(|bearer| bearer.grants.until)
    }

    /// Whether nobody has one.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }
}

impl<K: Kernel> Shard<K> {
    /// Keeps what a session was shown. Of one that reads already, the channels are looked through.
    pub(super) fn take_bearer(&mut self, slot: Slot) {
        let Some(bearer) = self.sessions[slot.index()].take_bearer() else { return };
        self.bearers.set(slot, bearer);
        let channels: Vec<ChannelName> = self.views.channels(slot).cloned().collect();
        let session = &mut self.sessions[slot.index()];
        channels.iter().for_each(|channel| session.review(channel, &self.setup.rules));
    }

    /// When the connection's token runs out.
    pub(super) fn token_end(&self, slot: Slot) -> Option<Tick> {
        self.bearers.until(slot).map(|until| self.setup.rules.tick_of(until))
    }

    /// Ends a connection whose token has run out.
    pub(super) fn end_if_expired(&mut self, slot: Slot) {
        let now = self.now.tick();
        if !self.sessions[slot.index()].is_closing()
            && self.token_end(slot).is_some_and(|end| now >= end)
        {
            self.end(slot, CloseReason::TokenExpired);
        }
    }

    /// Tells the operator why somebody was refused.
    pub(super) fn log_barred(&mut self, slot: Slot) {
        let Some(why) = self.sessions[slot.index()].barred() else { return };
        let peer = self.peer(slot);
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        limited!(warn, "refused subscriber", %peer, "a subscriber was refused: {}", why.label());
    }
}
