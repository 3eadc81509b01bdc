//! Connections of trusted proxies, which begin with whom they speak for: a kernel in front of a kernel.
//!
//! A connection from a trusted network is told of only once its PROXY header has come whole, and from
//! then on it is the client's: [`Kernel::peer`] has the client's address, and its first bytes are those
//! behind the header, whatever they are, TLS included. Connections of others pass as they are; a header
//! of theirs is a malformed request.
//!
//! Bounded: at most [`PREFACES_MAX`] connections wait for their headers, each for
//! [`PREFACE_SECONDS_MAX`] at most and with `PREFACE_BYTES_MAX` and one read; one more, or one that
//! sends anything else, is closed. Without trusted proxies everything passes, at the cost of a look at an
//! empty table.
#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    ids::Slot,
    io::{Event, Exception, Interest, Kernel, Listener, Received, Send},
    limits::{PREFACE_SECONDS_MAX, PREFACES_MAX, RECEIVE_BATCH},
    logs::limited,
    shield::Networks,
    wire::proxy::{self, ProxyError},
};

/// A kernel whose connections may come by way of proxies.
#[derive(Debug)]
pub struct Prefaced<K> {
    kernel: K,
    /// Whose connections begin with a header.
    trusted: Networks,
    /// Those whose headers have yet to end.
    pending: HashMap<Slot, Pending>,
    /// For whom the others speak.
    sources: HashMap<Slot, SocketAddr>,
    /// What came behind a header and has yet to be taken.
    rests: HashMap<Slot, Vec<u8>>,
    /// Those of them that are waited for.
    readable: Vec<Slot>,
    /// Closed by us: nobody else has heard of them.
    forgotten: HashSet<Slot>,
    events: Vec<Event>,
    /// How long a header may take.
    patience: Duration,
}

#[derive(Debug)]
struct Pending {
    listener: Listener,
    bytes: Vec<u8>,
    since: Instant,
}

/// What came for a connection that is pending.
enum Came {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

impl<K: Kernel> Prefaced<K> {
    /// Connections from these networks begin with a header; with none, nothing is changed.
    pub fn new(kernel: K, trusted: Networks) -> Self {
        Prefaced {
            kernel,
            trusted,
            pending: HashMap::new(),
            sources: HashMap::new(),
            rests: HashMap::new(),
            readable: Vec::new(),
            forgotten: HashSet::new(),
            events: Vec::new(),
            patience: Duration::from_secs(PREFACE_SECONDS_MAX),
        }
    }

    fn on_event(&mut self, event: Event, ready: &mut Vec<Slot>, events: &mut Vec<Event>) {
        match event {
            Event::Accepted(slot, listener) if self.is_of_proxy(slot) => {
                let pending = Pending { listener, bytes: Vec::new(), since: Instant::now() };
                self.pending.insert(slot, pending);
                if self.pending.len() > PREFACES_MAX {
                    return self.give_up(slot, "too many wait for their PROXY headers");
                }
                self.kernel.poll(slot, Interest::Read);
            }
            Event::Readable(slot) if self.pending.contains_key(&slot) => ready.push(slot),
            Event::Closed(slot) => {
                self.sources.remove(&slot);
                if !self.forgotten.remove(&slot) {
                    events.push(event);
                }
            }
            event => events.push(event),
        }
    }

    fn is_of_proxy(&mut self, slot: Slot) -> bool {
        self.kernel.peer(slot).is_some_and(|peer| self.trusted.contains(peer.ip()))
    }

    /// Reads what has come of headers, and tells of connections whose headers are whole.
    fn read(&mut self, ready: &[Slot], events: &mut Vec<Event>) {
        for slots in ready.chunks(RECEIVE_BATCH) {
            let mut came = Vec::with_capacity(slots.len());
            self.kernel.receive_batch(slots, &mut |slot, received| {
                came.push((
                    slot,
                    match received {
                        Received::Bytes(bytes) => Came::Bytes(bytes.to_vec()),
                        Received::Nothing => Came::Nothing,
                        Received::End | Received::Broken => Came::End,
                    },
                ));
            });
            came.into_iter().for_each(|(slot, came)| self.on_came(slot, came, events));
        }
    }

    fn on_came(&mut self, slot: Slot, came: Came, events: &mut Vec<Event>) {
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        match came {
            Came::Bytes(bytes) => pending.bytes.extend(bytes),
            Came::Nothing => {}
            Came::End => return self.give_up(slot, "it ended before its PROXY header did"),
        }
        match proxy::parse(&pending.bytes) {
            Ok(None) => self.kernel.poll(slot, Interest::Read),
            Ok(Some((source, length))) => {
                let Some(Pending { listener, mut bytes, .. }) = self.pending.remove(&slot) else {
                    return;
                };
                self.sources.extend(source.map(|source| (slot, source)));
                bytes.drain(..length);
                if !bytes.is_empty() {
                    self.rests.insert(slot, bytes);
                }
                events.push(Event::Accepted(slot, listener));
            }
            Err(error) => self.refuse(slot, error),
        }
    }

    fn refuse(&mut self, slot: Slot, error: ProxyError) {
        self.give_up(slot, &error.to_string());
    }

    /// Closes a connection that nobody else has heard of.
    fn give_up(&mut self, slot: Slot, why: &str) {
        let address = self.kernel.peer(slot).map(|peer| peer.ip());
        limited!(warn, "proxy_protocol", ?address, "a proxy's connection is closed: {why}");
        self.pending.remove(&slot);
        self.forgotten.insert(slot);
        self.kernel.close(slot);
    }

    fn expire(&mut self) {
        let is_late = |pending: &Pending| pending.since.elapsed() >= self.patience;
        let late = self.pending.iter().filter(|(_, pending)| is_late(pending));
        let late: Vec<Slot> = late.map(|(&slot, _)| slot).collect();
        late.into_iter()
            .for_each(|slot| self.give_up(slot, "its PROXY header did not come in time"));
    }
}

impl<K: Kernel> Kernel for Prefaced<K> {
    fn slots(&self) -> u32 {
        self.kernel.slots()
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.kernel.set_accepting(accepting);
    }

    fn poll(&mut self, slot: Slot, interest: Interest) {
        match interest {
            Interest::Read if self.rests.contains_key(&slot) => {
                if !self.readable.contains(&slot) {
                    self.readable.push(slot);
                }
            }
            _ => self.kernel.poll(slot, interest),
        }
    }

    fn receive_batch(&mut self, slots: &[Slot], told: &mut dyn FnMut(Slot, Received<'_>)) {
        if self.rests.is_empty() {
            return self.kernel.receive_batch(slots, told);
        }
        // In order: those of which something is here stand alone between the others.
        let mut slots = slots;
        while let Some(&first) = slots.first() {
            if let Some(rest) = self.rests.remove(&first) {
                told(first, Received::Bytes(&rest));
                slots = &slots[1..];
                continue;
            }
            let others = slots.iter().take_while(|slot| !self.rests.contains_key(slot)).count();
            self.kernel.receive_batch(&slots[..others], told);
            slots = &slots[others..];
        }
    }

    fn send_batch(&mut self, sends: &[Send<'_>], exceptions: &mut Vec<Exception>) {
        self.kernel.send_batch(sends, exceptions);
    }

    fn shutdown(&mut self, slot: Slot) {
        self.kernel.shutdown(slot);
    }

    fn close(&mut self, slot: Slot) {
        self.rests.remove(&slot);
        self.readable.retain(|&readable| readable != slot);
        self.kernel.close(slot);
    }

    fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        match self.sources.get(&slot) {
            Some(&source) => Some(source),
            None => self.kernel.peer(slot),
        }
    }

    fn events(&mut self, events: &mut Vec<Event>) {
        if self.trusted.is_empty() {
            return self.kernel.events(events);
        }
        let mut inner = std::mem::take(&mut self.events);
        self.kernel.events(&mut inner);
        let mut ready = Vec::new();
        for event in inner.drain(..) {
            self.on_event(event, &mut ready, events);
        }
        self.events = inner;
        self.read(&ready, events);
        self.expire();
        events.extend(self.readable.drain(..).map(Event::Readable));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.readable.is_empty() {
            return Ok(());
        }
        let look = (!self.pending.is_empty()).then_some(Duration::from_secs(1));
        self.kernel.wait(timeout.into_iter().chain(look).min())
    }
}

#[cfg(test)]
mod tests;
