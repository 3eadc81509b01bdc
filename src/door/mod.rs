//! TLS between a shard and its kernel: a kernel that speaks in plaintext where the peer hears
//! ciphertext.
//!
//! What it promises besides what a kernel does:
//! - Whoever comes to a plain listener passes through; without a TLS listener nothing is looked at.
//! - What is sent leaves in order, in records of up to 16 KiB. Only ciphertext that the kernel
//!   refused is kept, two records per connection at most, and so much over all connections
//!   ([`TLS_BYTES_PER_SHARD_MAX`]); [`Outcome::Short`] with all of the bytes says that all were
//!   taken and that the socket is full.
//! - Until its handshake is over a connection has nothing to read, and sending to it finds it
//!   broken. A turn makes [`HANDSHAKES_PER_TURN_MAX`] steps of handshakes; the rest wait for the
//!   next turn.
//! - Nothing that a peer sends panics or is kept beyond a record; who breaks the rules is told by
//!   an alert, and who speaks plain HTTP by a plain 400.
//!
//! After a shutdown what the peer says is not heard any more, only its end.
//!
//! Left to the shard: deadlines, also that of the handshake.
#![forbid(unsafe_code)]

mod batch;
mod certificates;
mod config;
#[cfg(test)]
mod tests;
mod tunnel;
mod validity;

use std::{
    collections::{BTreeMap, VecDeque},
    io, mem,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use crate::{
    counters::DoorCounters,
    ids::Slot,
    io::{Event, Exception, Interest, Kernel, Listener, Outcome, Received, Send},
    limits::{HANDSHAKES_PER_TURN_MAX, RECEIVE_BATCH, SEND_BATCH, TLS_BYTES_PER_SHARD_MAX},
};

pub use certificates::{CertificateError, Certificates, Files};
pub use config::{client_config, client_verifier, server_config};
pub use tunnel::Side;

use tunnel::{Scratch, Tunnel};

/// What a door needs for TLS.
pub struct Tls {
    /// Which side it is on.
    pub side: Side,
    /// The listeners whose connections speak TLS.
    pub listeners: Vec<Listener>,
    /// What it counts.
    pub counters: Arc<DoorCounters>,
}

/// A kernel, with TLS on some of its connections.
pub struct Door<K> {
    kernel: K,
    tunnels: Option<Tunnels>,
}

/// The connections that speak TLS.
struct Tunnels {
    tls: Tls,
    by_slot: Vec<Option<Box<Tunnel>>>,
    /// Connections that the shard is to read from although the kernel does not say so.
    readable: VecDeque<Slot>,
    /// Connections with ciphertext to be sent.
    flushes: Vec<Slot>,
    /// Steps of handshakes that this turn may still make.
    steps: u32,
    /// Those that keep something, by how long ago they began to, or last got rid of some.
    stopped: BTreeMap<u64, Slot>,
    /// When the next one does.
    next_stop: u64,
    /// Bytes that all of them keep.
    kept: usize,
    /// How many that may be.
    bytes_max: usize,
    buffer: Vec<u8>,
    plain: Vec<u8>,
    cipher: Scratch,
    exceptions: Vec<Exception>,
}

impl<K: Kernel> Door<K> {
    /// Puts a door before a kernel that has accepted nobody yet. Without TLS it stands open.
    pub fn new(kernel: K, tls: Option<Tls>) -> Self {
        let slots = kernel.slots() as usize;
        let tunnels = tls.map(|tls| Tunnels {
            tls,
            by_slot: (0..slots).map(|_| None).collect(),
            readable: VecDeque::new(),
            flushes: Vec::new(),
            steps: 0,
            stopped: BTreeMap::new(),
            next_stop: 1,
            kept: 0,
            bytes_max: TLS_BYTES_PER_SHARD_MAX,
            buffer: Vec::new(),
            plain: Vec::new(),
            cipher: Scratch::default(),
            exceptions: Vec::new(),
        });
        Door { kernel, tunnels }
    }

    /// The kernel behind it.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Begins TLS on a connection that was put into its slot by hand, and says the first word where
    /// that is ours.
    pub fn begin(&mut self, slot: Slot) {
        let Door { kernel, tunnels: Some(tunnels) } = self else { return };
        tunnels.open(slot);
        if matches!(tunnels.tls.side, Side::Client(..)) {
            tunnels.hear(slot, &[]);
            tunnels.flush(kernel);
        }
    }

    /// Whether the handshake with the peer in this slot is over, or there is none.
    pub fn is_open(&self, slot: Slot) -> bool {
        let tunnel = self.tunnels.as_ref().and_then(|it| it.by_slot[slot.index()].as_ref());
        tunnel.is_none_or(|tunnel| !tunnel.is_handshaking())
    }
}

impl Tunnels {
    fn has(&self, slot: Slot) -> bool {
        self.by_slot[slot.index()].is_some()
    }

    fn get(&mut self, slot: Slot) -> Option<&mut Tunnel> {
        self.by_slot[slot.index()].as_deref_mut()
    }

    fn open(&mut self, slot: Slot) {
        self.by_slot[slot.index()] = Some(Box::default());
    }

    fn close(&mut self, slot: Slot) {
        if let Some(tunnel) = self.by_slot[slot.index()].take() {
            self.stopped.remove(&tunnel.stopped_at);
            self.kept -= tunnel.kept();
            self.tls.counters.kept_bytes.set(self.kept as u64);
        }
    }

    /// Notes that a tunnel keeps more or less than it did. While all together keep too much, the one
    /// fails that has stood still longest: who is slow goes on, and who has stopped goes.
    fn recount(&mut self, slot: Slot, before: usize) {
        let Some(tunnel) = self.by_slot[slot.index()].as_deref_mut() else { return };
        let now = tunnel.kept();
        self.kept = self.kept - before + now;
        if now < before || (before == 0 && now > 0) {
            self.stopped.remove(&tunnel.stopped_at);
            tunnel.stopped_at = if now > 0 { self.next_stop } else { 0 };
            if now > 0 {
                self.stopped.insert(self.next_stop, slot);
                self.next_stop += 1;
            }
        }
        while self.kept > self.bytes_max
            && let Some((_, slot)) = self.stopped.pop_first()
        {
            self.give_up(slot);
        }
        self.tls.counters.kept_bytes.set(self.kept as u64);
    }

    /// Breaks a connection, of which nothing is kept then.
    fn give_up(&mut self, slot: Slot) {
        let Some(tunnel) = self.by_slot[slot.index()].as_deref_mut() else { return };
        self.kept -= tunnel.kept();
        tunnel.stopped_at = 0;
        tunnel.give_up();
        self.queue(slot);
    }

    /// Sees to it that the next turn tells the shard to read.
    fn queue(&mut self, slot: Slot) {
        if let Some(tunnel) = self.by_slot[slot.index()].as_deref_mut()
            && !mem::replace(&mut tunnel.queued, true)
        {
            self.readable.push_back(slot);
        }
    }

    /// Takes ciphertext in; what it says is in `plain` afterwards.
    fn hear(&mut self, slot: Slot, bytes: &[u8]) {
        self.plain.clear();
        let Tunnels { tls, by_slot, flushes, buffer, plain, .. } = self;
        let Some(tunnel) = by_slot[slot.index()].as_deref_mut() else { return };
        let (before, was_handshaking) = (tunnel.kept(), tunnel.is_handshaking());
        if tunnel.is_unborn() && is_http(bytes) {
            tunnel.answer_plainly(SPEAK_TLS);
        } else {
            tunnel.hear(&tls.side, bytes, buffer, plain);
        }
        if !tunnel.outgoing().is_empty() {
            flushes.push(slot);
        }
        let counters = &tls.counters;
        match (was_handshaking, tunnel.failed, tunnel.is_handshaking()) {
            (true, true, _) => counters.failed.add(1),
            (true, false, false) => {
                counters.handshakes.add(1);
                counters.resumed.add(u64::from(tunnel.is_resumed()));
            }
            _ => {}
        }
        self.recount(slot, before);
    }

    /// What the shard is told of a connection that was read.
    fn tell(&mut self, slot: Slot, received: Received<'_>, told: &mut dyn FnMut(Slot, Received)) {
        let (Received::Bytes(bytes), true) = (received, self.get(slot).is_some()) else {
            return told(slot, received);
        };
        self.hear(slot, bytes);
        let verdict = self.get(slot).and_then(|tunnel| tunnel.verdict());
        match verdict {
            _ if !self.plain.is_empty() => told(slot, Received::Bytes(&self.plain)),
            Some(verdict) => told(slot, verdict),
            None => told(slot, Received::Nothing),
        }
    }

    /// Tries to send what ciphertext waits. Who is done or broken hears of it.
    fn flush<K: Kernel>(&mut self, kernel: &mut K) {
        let mut slots = mem::take(&mut self.flushes);
        slots.sort_unstable();
        slots.dedup();
        for slots in slots.chunks(SEND_BATCH) {
            let (mut sends, mut count) = ([NO_SEND; SEND_BATCH], 0);
            for &slot in slots {
                let tunnel = self.by_slot[slot.index()].as_deref();
                if let Some(bytes) = tunnel.map(Tunnel::outgoing).filter(|it| !it.is_empty()) {
                    sends[count] = Send { slot, bytes };
                    count += 1;
                }
            }
            let mut exceptions = mem::take(&mut self.exceptions);
            kernel.send_batch(&sends[..count], &mut exceptions);
            let mut sent = [(Slot(0), 0, None); SEND_BATCH];
            for (sent, send) in sent.iter_mut().zip(&sends[..count]) {
                *sent = (send.slot, send.bytes.len(), None);
            }
            for Exception { index, outcome } in exceptions.drain(..) {
                sent[index].2 = Some(outcome);
            }
            self.exceptions = exceptions;
            sent[..count].iter().for_each(|&(slot, bytes, outcome)| {
                self.on_flushed(kernel, slot, bytes, outcome);
            });
        }
        slots.clear();
        self.flushes = slots;
    }

    fn on_flushed<K: Kernel>(
        &mut self,
        kernel: &mut K,
        slot: Slot,
        bytes: usize,
        outcome: Option<Outcome>,
    ) {
        let Some(tunnel) = self.get(slot) else { return };
        let before = tunnel.kept();
        match outcome {
            None => tunnel.on_sent(bytes),
            Some(Outcome::Short(sent)) => {
                tunnel.on_sent(sent);
                kernel.poll(slot, Interest::Write);
            }
            Some(Outcome::Broken) => tunnel.give_up(),
        }
        self.recount(slot, before);
        if outcome == Some(Outcome::Broken) {
            self.queue(slot);
        }
    }

    /// Tells the shard to read where the kernel will not: as many handshakes as the turn has steps
    /// for, and whatever stands before them.
    fn tell_readable(&mut self, events: &mut Vec<Event>) {
        let mut steps = self.steps;
        while let Some(&slot) = self.readable.front() {
            // Who is gone left its place in the queue.
            let tunnel = self.by_slot[slot.index()].as_deref_mut().filter(|it| it.queued);
            if let Some(tunnel) = tunnel {
                if tunnel.is_handshaking() && tunnel.verdict().is_none() {
                    if steps == 0 {
                        return;
                    }
                    steps -= 1;
                }
                tunnel.queued = false;
                events.push(Event::Readable(slot));
            }
            self.readable.pop_front();
        }
    }

    /// Looks at the kernel's events: who has come by TLS gets a tunnel, and where ciphertext waits
    /// for room the shard does not hear of it yet.
    fn take_events(&mut self, first: usize, events: &mut Vec<Event>) {
        let mut kept = first;
        for at in first..events.len() {
            let event = events[at];
            match event {
                Event::Accepted(slot, listener) if self.tls.listeners.contains(&listener) => {
                    self.open(slot);
                }
                Event::Writable(slot) => {
                    if let Some(tunnel) = self.get(slot) {
                        if !tunnel.outgoing().is_empty() {
                            self.flushes.push(slot);
                            continue;
                        }
                        tunnel.blocked = false;
                    }
                }
                _ => {}
            }
            events[kept] = event;
            kept += 1;
        }
        events.truncate(kept);
    }

    /// Sends what waits for room. Who has nothing left, and a shard that waits for it, is writable.
    fn flush_writable<K: Kernel>(&mut self, kernel: &mut K, events: &mut Vec<Event>) {
        if self.flushes.is_empty() {
            return;
        }
        let slots = self.flushes.clone();
        self.flush(kernel);
        for slot in slots {
            if let Some(tunnel) = self.get(slot)
                && tunnel.outgoing().is_empty()
                && mem::take(&mut tunnel.blocked)
            {
                events.push(Event::Writable(slot));
            }
        }
    }
}

impl<K: Kernel> Kernel for Door<K> {
    fn slots(&self) -> u32 {
        self.kernel.slots()
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.kernel.set_accepting(accepting);
    }

    fn poll(&mut self, slot: Slot, interest: Interest) {
        let tunnels = self.tunnels.as_mut();
        if let Some(tunnels) = tunnels
            && let Some(tunnel) = tunnels.get(slot)
        {
            match interest {
                Interest::Read if tunnel.verdict().is_some() => return tunnels.queue(slot),
                // It is in the queue, since the turn had no step left for it.
                Interest::Read if tunnel.queued => return,
                Interest::Read => {}
                Interest::Write => tunnel.blocked = true,
            }
        }
        self.kernel.poll(slot, interest);
    }

    fn receive_batch(&mut self, slots: &[Slot], told: &mut dyn FnMut(Slot, Received<'_>)) {
        let Door { kernel, tunnels: Some(tunnels) } = self else {
            return self.kernel.receive_batch(slots, told);
        };
        let (mut readable, mut count) = ([Slot(0); RECEIVE_BATCH], 0);
        for &slot in slots {
            let out_of_steps = tunnels.steps == 0;
            match tunnels.get(slot) {
                Some(tunnel) if tunnel.verdict().is_some() => {
                    let verdict = tunnel.verdict().unwrap_or(Received::Broken);
                    told(slot, verdict);
                    continue;
                }
                Some(tunnel) if tunnel.is_handshaking() && out_of_steps => {
                    tunnels.queue(slot);
                    told(slot, Received::Nothing);
                    continue;
                }
                Some(tunnel) if tunnel.is_handshaking() => tunnels.steps -= 1,
                _ => {}
            }
            readable[count] = slot;
            count += 1;
        }
        kernel.receive_batch(&readable[..count], &mut |slot, received| {
            tunnels.tell(slot, received, told);
        });
        tunnels.flush(kernel);
    }

    fn send_batch(&mut self, sends: &[Send<'_>], exceptions: &mut Vec<Exception>) {
        match &mut self.tunnels {
            Some(tunnels) if sends.iter().any(|send| tunnels.has(send.slot)) => {
                batch::send(&mut self.kernel, tunnels, sends, exceptions);
            }
            _ => self.kernel.send_batch(sends, exceptions),
        }
    }

    fn shutdown(&mut self, slot: Slot) {
        if let Some(tunnels) = &mut self.tunnels {
            batch::send_end(&mut self.kernel, tunnels, slot);
        }
        self.kernel.shutdown(slot);
    }

    fn close(&mut self, slot: Slot) {
        if let Some(tunnels) = &mut self.tunnels {
            tunnels.close(slot);
        }
        self.kernel.close(slot);
    }

    fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        self.kernel.peer(slot)
    }

    fn kept(&self, slot: Slot) -> usize {
        let tunnel = self.tunnels.as_ref().and_then(|it| it.by_slot[slot.index()].as_ref());
        tunnel.map_or(0, |tunnel| tunnel.kept())
    }

    fn events(&mut self, events: &mut Vec<Event>) {
        let Door { kernel, tunnels: Some(tunnels) } = self else {
            return self.kernel.events(events);
        };
        tunnels.steps = HANDSHAKES_PER_TURN_MAX;
        tunnels.tell_readable(events);
        let first = events.len();
        kernel.events(events);
        tunnels.take_events(first, events);
        tunnels.flush_writable(kernel, events);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.tunnels {
            Some(tunnels) if !tunnels.readable.is_empty() => Ok(()),
            _ => self.kernel.wait(timeout),
        }
    }
}

const NO_SEND: Send<'static> = Send { slot: Slot(0), bytes: &[] };

/// Whether these are the first bytes of a request in plain HTTP: a handshake begins with the number
/// of its kind of record, which is no letter.
fn is_http(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_uppercase)
}

const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 64\r\nconnection: close\r\n\r\n\
    this port speaks TLS; use https:// or wss:// instead of http://\n";
