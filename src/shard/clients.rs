//! For whom trusted proxies speak: each request of theirs names its client, in its head.
//!
//! What is limited by address is then limited by that one: a connection counts for the client of its
//! last request, until it has another or ends. Whoever is not named counts for nobody; what a connection
//! may say is limited all the same.

use std::net::SocketAddr;

use super::{Shard, State};
use crate::{
    ids::Slot,
    io::Kernel,
    logs::limited,
    session::{Client, Session},
    shield::Place,
};

impl<K: Kernel> Shard<K> {
    /// Whose connection it is: of the client that a proxy named, or of who connected.
    pub(super) fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        match self.clients.get(&slot) {
            Some(&client) => Some(client),
            None => self.kernel.peer(slot),
        }
    }

    /// A request came by way of a trusted proxy: it goes on, unless its client has too much.
    pub(super) fn on_client(&mut self, slot: Slot, client: Client) {
        let address = match client {
            Client::Address(address) => Some(address),
            Client::Itself | Client::Unnamed => None,
        };
        let known = match address {
            Some(address) => self.clients.insert(slot, address),
            None => self.clients.remove(&slot),
        };
        if known.map(|known| known.ip()) != address.map(|address| address.ip()) {
            self.leave_place(slot);
        }
        let is_exempt = match address {
            Some(address) => self.setup.rules.shield.spares(address.ip()),
            None => client == Client::Itself,
        };
        if client == Client::Itself {
            // Where a proxy's configuration forgot the header, that is everybody.
            let proxy = self.kernel.peer(slot);
            limited!(
                warn,
                "client_header",
                ?proxy,
                "a trusted proxy named no client: no limit holds"
            );
        }
        if let Some(address) = address.filter(|_| !is_exempt) {
            if self.places[slot.index()] == Place::NONE && !self.enter(slot, address.ip()) {
                return;
            }
            let (place, limits) = (self.places[slot.index()], &self.setup.rules.shield);
            let asked = self.setup.admission.addresses.request(place, limits, self.now.tick());
            if let Err(excess) = asked {
                return self.limit_address(slot, excess);
            }
        }
        self.tell(slot, |session, now, rules, out| session.on_told(is_exempt, now, rules, out));
    }

    /// The connection is over.
    pub(super) fn forget_client(&mut self, slot: Slot) {
        if !self.clients.is_empty() {
            self.clients.remove(&slot);
        }
    }
}

/// Whether what was read begins a request that says for whom it is; then its session is told so.
pub(super) fn names_client(state: State, session: &mut Session) -> bool {
    let begins = state.has(State::PROXIED) && session.awaits_request();
    if begins {
        session.await_client();
    }
    begins
}
