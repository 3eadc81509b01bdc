//! The clients' side of the simulated network, for the test that drives it.
#![forbid(unsafe_code)]

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use crate::{
    ids::Slot,
    io::{
        Listener,
        sim::{Dice, Faults},
    },
};

/// A simulated client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    /// The address that the server sees.
    pub fn address(self) -> SocketAddr {
        SocketAddr::from((
            Ipv4Addr::from_bits(0x0a00_0000 | self.0 >> 8),
            1024 + (self.0 & 0xff) as u16,
        ))
    }
}

/// How the server's stream ended for a client that has read all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// In order.
    Finished,
    /// With a reset. What was under way is lost.
    Reset,
}

/// The clients of a [`Sim`](super::Sim). Cheap to clone.
#[derive(Clone, Debug)]
pub struct SimNet {
    pub(super) net: Rc<RefCell<Net>>,
}

impl SimNet {
    /// A new client. It waits in the listener's backlog until the server accepts it.
    pub fn connect(&self) -> ClientId {
        self.connect_to(Listener::default())
    }

    /// The same at one of several listeners.
    pub fn connect_to(&self, listener: Listener) -> ClientId {
        let mut net = self.net.borrow_mut();
        let client = ClientId(net.links.len() as u32);
        net.links.push(Link { listener, ..Link::default() });
        net.backlog.push_back(client);
        client
    }

    /// The client sends bytes. Lost if the connection has ended.
    pub fn write(&self, client: ClientId, bytes: &[u8]) {
        let mut link = self.link(client);
        assert!(!link.client_end, "{client:?} has finished sending");
        if link.is_alive() {
            link.to_server.extend(bytes);
        }
    }

    /// The client has finished sending and reads on.
    pub fn finish(&self, client: ClientId) {
        self.link(client).client_end = true;
    }

    /// The client goes away in order. The server sees the end; what it sends then is lost, and
    /// the send after that finds the connection broken.
    pub fn leave(&self, client: ClientId) {
        let mut link = self.link(client);
        (link.client_end, link.client_gone) = (true, true);
    }

    /// The client goes away with a reset.
    pub fn reset(&self, client: ClientId) {
        self.link(client).reset();
    }

    /// The client stops reading.
    pub fn stall(&self, client: ClientId) {
        self.link(client).stalled = true;
    }

    /// The client reads on.
    pub fn resume(&self, client: ClientId) {
        self.link(client).stalled = false;
    }

    /// What the client has read since the last call.
    pub fn take(&self, client: ClientId) -> Vec<u8> {
        let mut link = self.link(client);
        link.deliver();
        std::mem::take(&mut link.read)
    }

    /// How the server's stream ended, once the client has read all of it.
    pub fn end(&self, client: ClientId) -> Option<StreamEnd> {
        let mut link = self.link(client);
        link.deliver();
        match (link.broken, link.server_end && link.to_client.is_empty()) {
            (true, _) => Some(StreamEnd::Reset),
            (false, true) => Some(StreamEnd::Finished),
            (false, false) => None,
        }
    }

    /// The slot that the server has for the client now.
    pub fn slot(&self, client: ClientId) -> Option<Slot> {
        self.link(client).slot
    }

    /// Clients that wait to be accepted.
    pub fn waiting(&self) -> usize {
        self.net.borrow().backlog.len()
    }

    /// The time-out of the server's last wait; `None` if it would wait for ever.
    pub fn last_timeout(&self) -> Option<Duration> {
        self.net.borrow().last_timeout
    }

    fn link(&self, client: ClientId) -> RefMut<'_, Link> {
        RefMut::map(self.net.borrow_mut(), |net| &mut net.links[client.0 as usize])
    }
}

/// Everything that both sides see.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    pub(super) links: Vec<Link>,
    pub(super) backlog: VecDeque<ClientId>,
    pub(super) last_timeout: Option<Duration>,
}

/// A client's connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) listener: Listener,
    pub(super) slot: Option<Slot>,
    pub(super) to_server: VecDeque<u8>,
    /// In the server's send buffer.
    pub(super) to_client: VecDeque<u8>,
    read: Vec<u8>,
    stalled: bool,
    pub(super) client_end: bool,
    pub(super) client_gone: bool,
    pub(super) server_end: bool,
    pub(super) broken: bool,
}

impl Link {
    fn is_alive(&self) -> bool {
        let closed = self.server_end && self.slot.is_none();
        !(self.broken || closed)
    }

    /// The client reads, if it does.
    pub(super) fn deliver(&mut self) {
        if !self.stalled {
            self.read.extend(self.to_client.drain(..));
        }
    }

    /// The connection breaks. What is in the server's send buffer is lost.
    pub(super) fn reset(&mut self) {
        self.broken = true;
        self.to_client.clear();
    }

    /// Something to read, the end, or an error.
    pub(super) fn is_readable(&self) -> bool {
        !self.to_server.is_empty() || self.client_end || self.broken
    }

    /// The send buffer is at most half full, or an error.
    pub(super) fn is_writable(&self, socket_bytes: usize) -> bool {
        self.broken || self.to_client.len() * 2 <= socket_bytes
    }

    /// The same, once the client has read what it can.
    pub(super) fn will_be_writable(&self, socket_bytes: usize) -> bool {
        !self.stalled || self.is_writable(socket_bytes)
    }

    /// The server closes. With unread input that is a reset, which destroys what is under way.
    pub(super) fn close(&mut self) {
        (self.server_end, self.slot) = (true, None);
        if !self.to_server.is_empty() {
            self.reset();
        }
    }
}
