//! A kernel without sockets: a seeded network whose faults a test chooses and can repeat.
//!
//! One thread, no time: [`Kernel::wait`] returns at once, and each call of [`Kernel::events`] is a
//! moment in which clients read, arrive and leave. The same seed and the same calls give the same
//! events. What the real kernels only tolerate is an assertion here: the shard must not send twice
//! to a slot in a batch, send nothing, or touch a slot that it has closed or never had.
#![forbid(unsafe_code)]

use std::{
    cell::RefCell,
    collections::{HashSet, VecDeque},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    ids::Slot,
    io::{Bell, Event, Exception, Interest, Kernel, Outcome, Received, Send},
    limits::{RECEIVE_BATCH, RECEIVE_BYTES, SEND_BATCH},
};

mod dice;
mod faults;
mod net;
#[cfg(test)]
mod tests;

pub use dice::Dice;
pub use faults::Faults;
pub use net::{ClientId, SimNet, StreamEnd};
use net::{Link, Net};

/// The server's side of a simulated network.
#[derive(Debug)]
pub struct Sim {
    net: Rc<RefCell<Net>>,
    places: Vec<Place>,
    free: Vec<Slot>,
    accepting: bool,
    scratch: Vec<u8>,
}

/// What is in a slot.
#[derive(Clone, Copy, Debug)]
enum Place {
    Free,
    Open(Connection),
    Closing,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    client: ClientId,
    reading: bool,
    writing: bool,
    shut_down: bool,
}

impl Sim {
    /// A server of so many slots, and the clients that a test makes for it.
    pub fn new(seed: u64, slots: u32, faults: Faults) -> (Sim, SimNet) {
        let net = Rc::new(RefCell::new(Net {
            dice: Dice::new(seed),
            faults,
            links: Vec::new(),
            backlog: VecDeque::new(),
            last_timeout: None,
        }));
        let sim = Sim {
            net: net.clone(),
            places: vec![Place::Free; slots as usize],
            free: (0..slots).map(Slot).collect(),
            accepting: false,
            scratch: Vec::new(),
        };
        (sim, SimNet { net })
    }

    /// Whether a wait would return: [`Kernel::events`] has something to tell, be it late.
    pub fn has_events(&self) -> bool {
        let net = self.net.borrow();
        let fires = |place: &Place| match place {
            Place::Free => false,
            Place::Closing => true,
            Place::Open(connection) => {
                let link = &net.links[connection.client.0 as usize];
                connection.reading && link.is_readable()
                    || connection.writing && link.will_be_writable(net.faults.socket_bytes)
            }
        };
        self.accepting && !self.free.is_empty() && !net.backlog.is_empty()
            || self.places.iter().any(fires)
    }

    /// The connection in the slot, which must be open.
    fn connection(&mut self, slot: Slot) -> &mut Connection {
        match &mut self.places[slot.index()] {
            Place::Open(connection) => connection,
            Place::Free => panic!("slot {} is free", slot.0),
            Place::Closing => panic!("slot {} was closed", slot.0),
        }
    }

    /// The polls that are armed and ready, fired.
    fn fire_polls(&mut self, events: &mut Vec<Event>) {
        let mut net = self.net.borrow_mut();
        let Net { dice, faults, links, .. } = &mut *net;
        let before = events.len();
        for (index, place) in self.places.iter_mut().enumerate() {
            let (Place::Open(connection), slot) = (place, Slot(index as u32)) else { continue };
            let link = &mut links[connection.client.0 as usize];
            link.deliver();
            if connection.reading && link.is_readable() && !dice.chance(faults.late) {
                connection.reading = false;
                events.push(Event::Readable(slot));
            }
            let writable =
                link.is_writable(faults.socket_bytes) || dice.chance(faults.spurious_writable);
            if connection.writing && writable && !dice.chance(faults.late) {
                connection.writing = false;
                events.push(Event::Writable(slot));
            }
        }
        dice.shuffle(&mut events[before..]);
    }

    fn finish_closes(&mut self, events: &mut Vec<Event>) {
        let mut net = self.net.borrow_mut();
        let late = net.faults.late;
        for (index, place) in self.places.iter_mut().enumerate() {
            if matches!(place, Place::Closing) && !net.dice.chance(late) {
                *place = Place::Free;
                self.free.push(Slot(index as u32));
                events.push(Event::Closed(Slot(index as u32)));
            }
        }
    }

    /// Takes in clients while there is room, each into any free slot.
    fn accept(&mut self, events: &mut Vec<Event>) {
        let mut net = self.net.borrow_mut();
        let late = net.faults.late;
        while self.accepting && !self.free.is_empty() && !net.dice.chance(late) {
            let Some(client) = net.backlog.pop_front() else { return };
            let slot = self.free.swap_remove(net.dice.below(self.free.len()));
            net.links[client.0 as usize].slot = Some(slot);
            self.places[slot.index()] = Place::Open(Connection {
                client,
                reading: false,
                writing: false,
                shut_down: false,
            });
            let listener = net.links[client.0 as usize].listener;
            events.push(Event::Accepted(slot, listener));
        }
    }
}

impl Kernel for Sim {
    fn slots(&self) -> u32 {
        self.places.len() as u32
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    fn poll(&mut self, slot: Slot, interest: Interest) {
        let connection = self.connection(slot);
        match interest {
            Interest::Read => connection.reading = true,
            Interest::Write => connection.writing = true,
        }
    }

    fn receive_batch(&mut self, slots: &[Slot], told: &mut dyn FnMut(Slot, Received<'_>)) {
        assert!(slots.len() <= RECEIVE_BATCH, "a batch of {} receives", slots.len());
        assert_no_slot_twice(slots.iter().copied());
        for &slot in slots {
            let client = self.connection(slot).client;
            let mut scratch = std::mem::take(&mut self.scratch);
            let net = &mut *self.net.borrow_mut();
            let link = &mut net.links[client.0 as usize];
            scratch.clear();
            let mut count = link.to_server.len().min(RECEIVE_BYTES);
            if count > 1 && net.dice.chance(net.faults.cut_receive) {
                count = 1 + net.dice.below(count);
            }
            scratch.extend(link.to_server.drain(..count));
            match (count, link.broken, link.client_end) {
                (1.., ..) => told(slot, Received::Bytes(&scratch)),
                (0, true, _) => told(slot, Received::Broken),
                (0, false, true) => told(slot, Received::End),
                (0, false, false) => told(slot, Received::Nothing),
            }
            self.scratch = scratch;
        }
    }

    fn send_batch(&mut self, sends: &[Send<'_>], exceptions: &mut Vec<Exception>) {
        assert!(sends.len() <= SEND_BATCH, "a batch of {} sends", sends.len());
        assert_no_slot_twice(sends.iter().map(|send| send.slot));
        let before = exceptions.len();
        for (index, send) in sends.iter().enumerate() {
            assert!(!send.bytes.is_empty(), "a send of nothing to slot {}", send.slot.0);
            let Connection { client, shut_down, .. } = *self.connection(send.slot);
            assert!(!shut_down, "slot {} was shut down before the send", send.slot.0);
            let net = &mut *self.net.borrow_mut();
            let link = &mut net.links[client.0 as usize];
            if let Some(outcome) = send_to(link, send.bytes, &mut net.dice, &net.faults) {
                exceptions.push(Exception { index, outcome });
            }
        }
        self.net.borrow_mut().dice.shuffle(&mut exceptions[before..]);
    }

    fn shutdown(&mut self, slot: Slot) {
        let connection = self.connection(slot);
        connection.shut_down = true;
        let client = connection.client;
        self.net.borrow_mut().links[client.0 as usize].server_end = true;
    }

    fn close(&mut self, slot: Slot) {
        let client = self.connection(slot).client;
        self.places[slot.index()] = Place::Closing;
        self.net.borrow_mut().links[client.0 as usize].close();
    }

    fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        Some(self.connection(slot).client.address())
    }

    fn events(&mut self, events: &mut Vec<Event>) {
        self.fire_polls(events);
        self.finish_closes(events);
        self.accept(events);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.net.borrow_mut().last_timeout = timeout;
        Ok(())
    }
}

/// One send. `None`: it took everything.
fn send_to(link: &mut Link, bytes: &[u8], dice: &mut Dice, faults: &Faults) -> Option<Outcome> {
    if dice.chance(faults.reset) {
        link.reset();
    }
    if link.broken {
        return Some(Outcome::Broken);
    }
    if link.client_gone {
        link.reset();
        return None;
    }
    let mut count = bytes.len().min(faults.socket_bytes.saturating_sub(link.to_client.len()));
    if dice.chance(faults.refused_send) {
        count = 0;
    } else if dice.chance(faults.cut_send) {
        count = dice.below(count + 1);
    }
    link.to_client.extend(&bytes[..count]);
    (count < bytes.len()).then_some(Outcome::Short(count))
}

fn assert_no_slot_twice(slots: impl Iterator<Item = Slot>) {
    let mut seen = HashSet::new();
    for slot in slots {
        assert!(seen.insert(slot), "slot {} is twice in a batch", slot.0);
    }
}

/// A [`Bell`] that only counts: nothing waits in a simulation.
#[derive(Debug, Default)]
pub struct SimBell {
    rings: AtomicU64,
}

impl SimBell {
    /// How often it was rung.
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::Relaxed)
    }
}

impl Bell for SimBell {
    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
    }
}
