//! A kernel under test with its listener, and blocking clients to compare it with.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    ids::Slot,
    io::{Event, Exception, Interest, Kernel, Outcome, Received, Send, bell::EventBell},
};

use super::Rig;

/// What a receive brought, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Broken,
}

pub(super) struct Bench<R: Rig> {
    pub(super) kernel: R::Kernel,
    pub(super) bell: Arc<EventBell>,
    addresses: Vec<SocketAddr>,
    pending: VecDeque<Event>,
}

impl<R: Rig> Bench<R> {
    /// A kernel of this many slots that accepts.
    pub(super) fn new(slots: u32) -> Self {
        Self::with_listener(slots, |_| {})
    }

    /// The same; `tune` sets options that connections inherit.
    pub(super) fn with_listener(slots: u32, tune: impl Fn(&Socket)) -> Self {
        Self::with_listeners(slots, 1, tune)
    }

    /// The same with several listeners.
    pub(super) fn with_listeners(slots: u32, count: usize, tune: impl Fn(&Socket)) -> Self {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            tune(&listener);
            listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            listener.listen(1024).unwrap();
            addresses.push(listener.local_addr().unwrap().as_socket().unwrap());
            listeners.push(listener.into());
        }
        let bell = Arc::new(EventBell::new().unwrap());
        let mut kernel = R::open(slots, listeners, bell.clone());
        assert!(kernel.slots() == slots);
        kernel.set_accepting(true);
        Bench { kernel, bell, addresses, pending: VecDeque::new() }
    }

    /// A client that may or may not have been accepted yet.
    pub(super) fn dial(&self) -> TcpStream {
        self.dial_at(0)
    }

    /// The same at one of several listeners.
    pub(super) fn dial_at(&self, listener: usize) -> TcpStream {
        let client = TcpStream::connect(self.addresses[listener]).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    /// A client with a small receive buffer.
    pub(super) fn dial_narrow(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.addresses[0].into()).unwrap();
        let client = TcpStream::from(socket);
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// A client and the slot of its connection.
    pub(super) fn connect(&mut self) -> (TcpStream, Slot) {
        let client = self.dial();
        let slot = self.accepted();
        assert_eq!(self.kernel.peer(slot), Some(client.local_addr().unwrap()));
        (client, slot)
    }

    pub(super) fn connect_many(&mut self, count: usize) -> Vec<(TcpStream, Slot)> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// The same with small receive buffers.
    pub(super) fn connect_narrow(&mut self, count: usize) -> Vec<(TcpStream, Slot)> {
        (0..count).map(|_| (self.dial_narrow(), self.accepted())).collect()
    }

    /// The next event, which must be a new connection.
    pub(super) fn accepted(&mut self) -> Slot {
        match self.next() {
            Event::Accepted(slot, _) => slot,
            other => panic!("{other:?} instead of a new connection"),
        }
    }

    /// The next event, waiting for it.
    pub(super) fn next(&mut self) -> Event {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            assert!(Instant::now() < deadline, "nothing happened");
            self.pump(Duration::from_secs(1));
        }
    }

    /// The next events, in order of slot: their order in time is not promised.
    pub(super) fn next_sorted(&mut self, count: usize) -> Vec<Event> {
        let mut events: Vec<Event> = (0..count).map(|_| self.next()).collect();
        events.sort_by_key(|event| format!("{event:?}"));
        events
    }

    /// Asserts that nothing is reported, for long enough that a mistake would show.
    pub(super) fn expect_quiet(&mut self) {
        for _ in 0..5 {
            self.pump(Duration::from_millis(5));
        }
        assert_eq!(self.pending, [], "all should be quiet");
    }

    /// Waits without an end, as far as a test dares to.
    pub(super) fn wait_for_the_bell(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        self.kernel.wait(Some(DEADLINE)).unwrap();
        assert!(Instant::now() < deadline, "the bell was not heard");
    }

    /// One turn: wait, and take in what happened.
    pub(super) fn pump(&mut self, timeout: Duration) {
        self.kernel.wait(Some(timeout)).unwrap();
        let mut events = Vec::new();
        self.kernel.events(&mut events);
        self.pending.extend(events);
    }

    /// Sends a batch and returns what was not taken whole, by index.
    pub(super) fn send_batch(&mut self, sends: &[(Slot, &[u8])]) -> Vec<Exception> {
        let sends: Vec<Send<'_>> =
            sends.iter().map(|&(slot, bytes)| Send { slot, bytes }).collect();
        let before = Exception { index: usize::MAX, outcome: Outcome::Short(1) };
        let mut exceptions = vec![before];
        self.kernel.send_batch(&sends, &mut exceptions);
        assert_eq!(exceptions.remove(0), before, "what was there stays");
        exceptions.sort_by_key(|exception| exception.index);
        exceptions
    }

    /// Sends to one connection.
    pub(super) fn send(&mut self, slot: Slot, bytes: &[u8]) -> Option<Outcome> {
        let exceptions = self.send_batch(&[(slot, bytes)]);
        assert!(exceptions.len() <= 1, "{exceptions:?}");
        exceptions.first().map(|exception| exception.outcome)
    }

    /// Sends until the sockets take nothing more; returns what each took.
    ///
    /// An acknowledgement may be 40 ms late and makes room, so a socket counts as full only when it
    /// has been for longer.
    pub(super) fn fill(&mut self, slots: &[Slot]) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + DEADLINE;
        let mut taken = vec![Vec::new(); slots.len()];
        loop {
            assert!(Instant::now() < deadline, "the sockets are never full");
            let before: usize = taken.iter().map(Vec::len).sum();
            for (&slot, taken) in slots.iter().zip(&mut taken) {
                self.fill_for_now(slot, taken);
            }
            if taken.iter().map(Vec::len).sum::<usize>() == before {
                return taken;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn fill_for_now(&mut self, slot: Slot, taken: &mut Vec<u8>) {
        loop {
            let bytes = pattern(taken.len(), 64 * 1024);
            match self.send(slot, &bytes) {
                None => taken.extend(bytes),
                Some(Outcome::Short(0)) => return,
                Some(Outcome::Short(count)) => taken.extend(&bytes[..count]),
                Some(Outcome::Broken) => panic!("the connection is broken"),
            }
        }
    }

    pub(super) fn receive_batch(&mut self, slots: &[Slot]) -> Vec<(Slot, Got)> {
        let mut told = Vec::new();
        self.kernel.receive_batch(slots, &mut |slot, received| {
            let got = match received {
                Received::Bytes(bytes) => Got::Bytes(bytes.to_vec()),
                Received::Nothing => Got::Nothing,
                Received::End => Got::End,
                Received::Broken => Got::Broken,
            };
            told.push((slot, got));
        });
        told
    }

    pub(super) fn receive(&mut self, slot: Slot) -> Got {
        let mut told = self.receive_batch(&[slot]);
        assert_eq!((told.len(), told[0].0), (1, slot));
        told.remove(0).1
    }

    /// Waits until there is something to read.
    pub(super) fn until_readable(&mut self, slot: Slot) {
        self.kernel.poll(slot, Interest::Read);
        assert_eq!(self.next(), Event::Readable(slot));
    }

    /// Closes, and forgets what was reported of the connection before that, as a shard must.
    pub(super) fn close(&mut self, slot: Slot) {
        self.kernel.close(slot);
        self.pending
            .retain(|&event| ![Event::Readable(slot), Event::Writable(slot)].contains(&event));
    }

    /// Closes and waits for the end; what else happens is left for later.
    pub(super) fn close_now(&mut self, slot: Slot) {
        self.close(slot);
        let deadline = Instant::now() + DEADLINE;
        let closed = Event::Closed(slot);
        while !self.pending.contains(&closed) {
            assert!(Instant::now() < deadline, "{slot:?} is never closed");
            self.pump(Duration::from_secs(1));
        }
        let at = self.pending.iter().position(|&event| event == closed).unwrap();
        self.pending.remove(at);
        assert!(!self.pending.contains(&closed), "closed twice");
    }
}

/// The bytes of an endless stream in which no two places look alike, from `start` on.
pub(super) fn pattern(start: usize, length: usize) -> Vec<u8> {
    (start..start + length).map(|at| (at ^ ((at >> 8) * 31) ^ ((at >> 16) * 17)) as u8).collect()
}

/// Everything that the client gets until the end.
pub(super) fn read_to_end(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The next bytes that the client gets.
pub(super) fn read_exactly(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// The client writes all of it.
pub(super) fn write(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
}

/// The client goes away with a reset.
pub(super) fn reset(client: TcpStream) {
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
}

const DEADLINE: Duration = Duration::from_secs(30);
