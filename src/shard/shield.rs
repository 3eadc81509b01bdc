//! What one address may have of this server: who is counted where, and what befalls who has too much.

use std::net::IpAddr;

use super::{Shard, State};
use crate::{
    close::CloseReason,
    ids::Slot,
    io::Kernel,
    limits::REFUSALS_MAX,
    logs::limited,
    shield::{Excess, Place},
};

impl<K: Kernel> Shard<K> {
    /// Counts a new connection for its address, or turns it away. Says whether it may stay.
    pub(super) fn count_in(&mut self, slot: Slot) -> bool {
        let (limits, is_named) =
            (&self.setup.rules.shield, self.setup.rules.client_header.is_some());
        let has_limits = limits.counts_addresses()
            || limits.messages > 0
            || limits.publications > 0
            || limits.message_timeout.is_some();
        if !has_limits && !is_named {
            return true;
        }
        // Whose address cannot be told has left already.
        let Some(address) = self.peer(slot).map(|peer| peer.ip()) else { return true };
        if is_named && self.setup.rules.shield.trusted.contains(address) {
            self.states[slot.index()].set(State::PROXIED);
            return true;
        }
        self.enter(slot, address)
    }

    /// Counts a connection for an address, or turns it away. Says whether it may stay.
    pub(super) fn enter(&mut self, slot: Slot, address: IpAddr) -> bool {
        let limits = &self.setup.rules.shield;
        if limits.spares(address) {
            self.sessions[slot.index()].exempt();
            return true;
        }
        let now = self.now.tick();
        match self.setup.admission.addresses.enter(address, limits, now) {
            Ok(place) => {
                self.places[slot.index()] = place;
                if place != Place::NONE {
                    self.counters().counted.add(1);
                }
                true
            }
            Err(excess) => {
                self.turn_away(slot, address, excess);
                false
            }
        }
    }

    /// The connection's place at its address is free again.
    pub(super) fn count_out(&mut self, slot: Slot) {
        self.leave_place(slot);
        if self.states[slot.index()].has(State::REFUSED) {
            self.refusals -= 1;
        }
    }

    /// What is counted for an address is not of this connection any more.
    pub(super) fn leave_place(&mut self, slot: Slot) {
        let place = std::mem::replace(&mut self.places[slot.index()], Place::NONE);
        if place == Place::NONE {
            return;
        }
        let (addresses, limits) = (&self.setup.admission.addresses, &self.setup.rules.shield);
        if let Some(held) = self.settled.remove(&slot) {
            let _ = addresses.hold(place, held, 0, limits);
        }
        addresses.leave(place);
        self.counters().counted.sub(1);
    }

    /// Tells a new connection that there are too many of its address, unless many are being told:
    /// telling takes a slot and time, of which an attacker gets only so much.
    fn turn_away(&mut self, slot: Slot, address: IpAddr, excess: Excess) {
        self.report(Some(address), excess);
        if self.refusals < REFUSALS_MAX {
            self.refusals += 1;
            self.states[slot.index()].set(State::REFUSED);
            self.end(slot, CloseReason::AddressLimited);
        } else {
            self.close(slot, CloseReason::AddressLimited);
        }
    }

    /// Ends a connection whose address has too much.
    pub(super) fn limit_address(&mut self, slot: Slot, excess: Excess) {
        let address = self.peer(slot).map(|peer| peer.ip());
        self.report(address, excess);
        self.end(slot, CloseReason::AddressLimited);
    }

    /// Tells the address's account what is kept for this connection now, and ends it if that is too
    /// much. Who has sent half of something is told so; who does not take what waits could not be.
    pub(super) fn settle(&mut self, slot: Slot) {
        let place = self.places[slot.index()];
        if place == Place::NONE {
            return;
        }
        let received = self.received.of(slot);
        // What TLS keeps counts, too: records that have come in part, and ciphertext that nobody takes.
        let held = received + self.outboxes.large(slot) + self.kernel.kept(slot);
        let before = match held {
            0 => self.settled.remove(&slot),
            _ => self.settled.insert(slot, held),
        };
        let (addresses, limits) = (&self.setup.admission.addresses, &self.setup.rules.shield);
        let Err(excess) = addresses.hold(place, before.unwrap_or(0), held, limits) else { return };
        if received > 0 {
            return self.limit_address(slot, excess);
        }
        let address = self.peer(slot).map(|peer| peer.ip());
        self.report(address, excess);
        self.close(slot, CloseReason::AddressLimited);
    }

    /// Counts a channel that nobody here read before for the address that asked for it.
    pub(super) fn count_channel(&mut self, slot: Slot, views_before: usize) {
        if self.views.len() <= views_before || !self.states[slot.index()].is_open() {
            return;
        }
        let (place, limits) = (self.places[slot.index()], &self.setup.rules.shield);
        let named = self.setup.admission.addresses.name_channel(place, limits, self.now.tick());
        if let Err(excess) = named {
            self.limit_address(slot, excess);
        }
    }

    /// Decides whether so many have come that the next ones wait.
    pub(super) fn keep_pace(&mut self) {
        let must_wait = self.pace.must_wait(self.setup.rules.shield.accepts, self.now.us);
        if must_wait && !self.is_pacing {
            self.report(None, Excess::Accepts);
        }
        self.is_pacing = must_wait;
    }

    /// Counts an excess, and says so in the log.
    pub(super) fn report(&self, address: Option<IpAddr>, excess: Excess) {
        self.counters().excess[excess.index()].add(1);
        log(address, excess);
    }

    /// Counts an end that was the peer's excess.
    pub(super) fn report_end(&mut self, slot: Slot, reason: CloseReason) {
        let excess = match reason {
            CloseReason::Flooded => Excess::Messages,
            CloseReason::MessageTimeout => Excess::MessageTime,
            _ => return,
        };
        let address = self.peer(slot).map(|peer| peer.ip());
        self.report(address, excess);
    }

    /// When those who wait to be accepted are looked at again.
    pub(super) fn pace_ends_us(&self) -> Option<u64> {
        self.pace.waits_until_us()
    }
}

/// Each limit's lines are limited by themselves, so that none hides another.
fn log(address: Option<IpAddr>, excess: Excess) {
    let address = address.map(|address| address.to_canonical());
    let address = address.map(tracing::field::display);
    macro_rules! line {
        ($kind:literal, $what:literal) => {
            limited!(warn, $kind, address, concat!("over a limit: ", $what))
        };
    }
    match excess {
        Excess::Connections => line!("address_connections", "connections of an address"),
        Excess::Connects => line!("address_connection_rate", "new connections of an address"),
        Excess::Requests => line!("address_request_rate", "requests of an address"),
        Excess::Channels => line!("address_channel_rate", "new channels of an address"),
        Excess::Bytes => line!("address_memory", "memory for an address"),
        Excess::Messages => line!("message_rate", "frames and commands of a connection"),
        Excess::Publications => line!("publish_rate", "publications of a connection"),
        Excess::MessageTime => line!("message_timeout", "time for a message"),
        Excess::Accepts => line!("accept_rate", "new connections; the next ones wait"),
    }
}
