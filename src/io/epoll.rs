//! The same promises on epoll: where io_uring is forbidden, and as the baseline that it is held to.
//!
//! Every connection is a file descriptor, so a process holds as many as `RLIMIT_NOFILE` allows
//! less [`EPOLL_RESERVED_FILES`]. A connection is registered when its first poll is armed, with
//! `EPOLLONESHOT`; sends and receives are plain system calls that do not wait.
#![forbid(unsafe_code)]

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, SocketFlags},
    process::{Resource, getrlimit},
};

use crate::{
    ids::Slot,
    io::{Event, Exception, Interest, Kernel, Listener, Outcome, Received, Send, bell::EventBell},
    limits::{
        ACCEPTS_IN_FLIGHT, EPOLL_RESERVED_FILES, LISTENERS_MAX, PAUSE_MS, RECEIVE_BATCH,
        RECEIVE_BYTES, SEND_BATCH,
    },
};

/// A shard's connections on epoll.
pub struct Epoll {
    epoll: OwnedFd,
    listeners: Vec<OwnedFd>,
    /// Whether the listeners are being watched now.
    listening: bool,
    /// Whether they ever were.
    has_listened: bool,
    accepting: bool,
    /// An accept failed for want of something: do not try before.
    paused_until: Option<Instant>,
    bell: Arc<EventBell>,
    places: Vec<Place>,
    free: Vec<Slot>,
    /// What epoll reported and nobody has looked at.
    ready: Vec<epoll::Event>,
    /// What happened and is still to be reported, except ends.
    pending: Vec<Event>,
    /// Slots whose end is still to be reported.
    ended: Vec<Slot>,
    scratch: Box<[u8]>,
}

/// A place for a connection.
#[derive(Default)]
struct Place {
    socket: Option<OwnedFd>,
    generation: u32,
    registered: bool,
    armed: EventFlags,
}

impl Epoll {
    /// Opens a table of at most `slots` connections, fewer where `RLIMIT_NOFILE` is too low.
    /// Nothing is accepted before [`Kernel::set_accepting`].
    pub fn open(slots: u32, listeners: Vec<OwnedFd>, bell: Arc<EventBell>) -> io::Result<Epoll> {
        assert!(listeners.len() <= LISTENERS_MAX, "{} listeners", listeners.len());
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = files.saturating_sub(EPOLL_RESERVED_FILES).max(1);
        let slots = slots.min(u32::try_from(most).unwrap_or(u32::MAX));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Epoll {
            epoll,
            listeners,
            listening: false,
            has_listened: false,
            accepting: false,
            paused_until: None,
            bell,
            places: (0..slots).map(|_| Place::default()).collect(),
            free: (0..slots).rev().map(Slot).collect(),
            ready: Vec::with_capacity(READY_MAX),
            pending: Vec::new(),
            ended: Vec::new(),
            scratch: vec![0; RECEIVE_BYTES].into_boxed_slice(),
        })
    }

    /// Puts a connected socket into a free slot and reports [`Event::Accepted`] for it. Fails with
    /// `ENFILE` where no slot is free; the socket is closed then.
    pub fn adopt(&mut self, socket: OwnedFd) -> io::Result<Slot> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let slot = self.free.pop().ok_or(Errno::NFILE)?;
        self.fill(slot, socket, Listener::default());
        Ok(slot)
    }

    fn fill(&mut self, slot: Slot, socket: OwnedFd, listener: Listener) {
        self.places[slot.index()].socket = Some(socket);
        self.pending.push(Event::Accepted(slot, listener));
    }

    /// The connection in the slot. `None` where there is none, which is a mistake of the caller.
    fn socket(&self, slot: Slot) -> Option<&OwnedFd> {
        let socket = self.places.get(slot.index())?.socket.as_ref();
        debug_assert!(socket.is_some(), "slot {} holds nothing", slot.0);
        socket
    }

    /// Tells epoll what the connection waits for now.
    fn register(&mut self, slot: Slot) {
        let place = &mut self.places[slot.index()];
        let Some(socket) = &place.socket else { return };
        let token = EventData::new_u64(u64::from(place.generation) << 32 | u64::from(slot.0));
        let flags = place.armed | EventFlags::ONESHOT;
        let registered = if place.registered {
            epoll::modify(&self.epoll, socket, token, flags)
        } else {
            epoll::add(&self.epoll, socket, token, flags)
        };
        match registered {
            Ok(()) => place.registered = true,
            // Out of memory. Better to wake the caller, who will try, than to leave it asleep.
            Err(_) => self.fire(slot, EventFlags::ERR),
        }
    }

    /// Reports the armed polls that these flags wake, and arms the rest again.
    fn fire(&mut self, slot: Slot, flags: EventFlags) {
        let place = &mut self.places[slot.index()];
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let woken = if broken { place.armed } else { place.armed & flags };
        place.armed -= woken;
        if woken.contains(EventFlags::IN) {
            self.pending.push(Event::Readable(slot));
        }
        if woken.contains(EventFlags::OUT) {
            self.pending.push(Event::Writable(slot));
        }
        if !self.places[slot.index()].armed.is_empty() {
            self.register(slot);
        }
    }

    /// Takes in a listener's clients as long as there are any and there is room, up to its share.
    fn accept(&mut self, index: usize) {
        let share = ACCEPTS_IN_FLIGHT as usize / self.listeners.len();
        for _ in 0..share {
            let (listener, Some(&slot)) = (&self.listeners[index], self.free.last()) else {
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(listener, flags) {
                Ok(socket) => {
                    self.free.pop();
                    self.fill(slot, socket, Listener(index as u8));
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => {
                    let pause = Duration::from_millis(PAUSE_MS);
                    self.paused_until = Some(Instant::now() + pause);
                    return;
                }
            }
        }
    }

    /// Watches the listeners while a client could be taken in.
    fn listen(&mut self) {
        if self.paused_until.is_some_and(|until| until <= Instant::now()) {
            self.paused_until = None;
        }
        let wanted = self.accepting && self.paused_until.is_none() && !self.free.is_empty();
        if wanted == self.listening {
            return;
        }
        if wanted && !self.has_listened {
            // Not sooner: another server may accept from the same sockets until we do.
            let unblock = |listener| rustix::io::ioctl_fionbio(listener, true).is_ok();
            self.has_listened = self.listeners.iter().all(unblock);
        }
        let flags = if wanted { EventFlags::IN } else { EventFlags::empty() };
        let watch = |(index, listener)| {
            let token = token_of(index);
            match epoll::modify(&self.epoll, listener, token, flags) {
                // Added only now: one that is bound and does not listen yet always reports a hang-up.
                Err(Errno::NOENT) => epoll::add(&self.epoll, listener, token, flags).is_ok(),
                done => done.is_ok(),
            }
        };
        // One that fails is tried again with all others.
        if self.listeners.iter().enumerate().all(watch) {
            self.listening = wanted;
        }
    }

    /// Appends what epoll has to say to `ready`.
    fn ask(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        self.ready.reserve(READY_MAX);
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn interpret(&mut self, event: epoll::Event) {
        match event.data.u64() {
            // Left ringing: only a wait may forget it.
            BELL => {}
            token if token > LISTENER => {
                if self.accepting {
                    self.accept((token - LISTENER) as usize - 1);
                }
            }
            token => {
                let (generation, slot) = ((token >> 32) as u32, Slot(token as u32));
                let place = &self.places[slot.index()];
                if place.generation == generation && place.socket.is_some() {
                    self.fire(slot, event.flags);
                }
            }
        }
    }
}

impl Kernel for Epoll {
    fn slots(&self) -> u32 {
        self.places.len() as u32
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
        self.listen();
    }

    fn poll(&mut self, slot: Slot, interest: Interest) {
        let flag = match interest {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
        };
        let Some(place) = self.places.get_mut(slot.index()) else { return };
        if place.socket.is_some() && !place.armed.contains(flag) {
            place.armed |= flag;
            self.register(slot);
        }
    }

    fn receive_batch(&mut self, slots: &[Slot], told: &mut dyn FnMut(Slot, Received<'_>)) {
        assert!(slots.len() <= RECEIVE_BATCH, "a batch of {} receives", slots.len());
        let mut scratch = mem::take(&mut self.scratch);
        for &slot in slots {
            let received = match self.socket(slot) {
                Some(socket) => rustix::net::recv(socket, &mut scratch[..], RecvFlags::DONTWAIT),
                None => Err(Errno::BADF),
            };
            match received {
                Ok((0, _)) => told(slot, Received::End),
                Ok((count, _)) => told(slot, Received::Bytes(&scratch[..count])),
                Err(Errno::AGAIN | Errno::INTR) => told(slot, Received::Nothing),
                Err(_) => told(slot, Received::Broken),
            }
        }
        self.scratch = scratch;
    }

    fn send_batch(&mut self, sends: &[Send<'_>], exceptions: &mut Vec<Exception>) {
        assert!(sends.len() <= SEND_BATCH, "a batch of {} sends", sends.len());
        for (index, send) in sends.iter().enumerate() {
            debug_assert!(!send.bytes.is_empty(), "a send of nothing");
            let sent = match self.socket(send.slot) {
                Some(it) => {
                    rustix::net::send(it, send.bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                }
                None => Err(Errno::BADF),
            };
            let outcome = match sent {
                Ok(count) if count == send.bytes.len() => continue,
                Ok(count) => Outcome::Short(count),
                Err(Errno::AGAIN | Errno::INTR) => Outcome::Short(0),
                Err(_) => Outcome::Broken,
            };
            exceptions.push(Exception { index, outcome });
        }
    }

    fn shutdown(&mut self, slot: Slot) {
        if let Some(socket) = self.socket(slot) {
            // The only error is that the peer is gone already.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
        }
    }

    fn close(&mut self, slot: Slot) {
        let place = &mut self.places[slot.index()];
        let socket = place.socket.take();
        assert!(socket.is_some(), "slot {} is closed twice or holds nothing", slot.0);
        let generation = (place.generation + 1) & GENERATION_MAX;
        *place = Place { generation, ..Place::default() };
        // The descriptor is the only one of its connection, so epoll forgets it as well.
        drop(socket);
        self.pending.retain(|event| slot_of(event) != slot);
        self.ended.push(slot);
    }

    fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        socket2::SockRef::from(self.socket(slot)?).peer_addr().ok()?.as_socket()
    }

    fn events(&mut self, events: &mut Vec<Event>) {
        if self.ready.is_empty() {
            // Whatever is wrong with epoll, the next wait will say it.
            let _ = self.ask(Some(Duration::ZERO));
        }
        let mut ready = mem::take(&mut self.ready);
        for event in ready.drain(..) {
            self.interpret(event);
        }
        self.ready = ready;
        events.append(&mut self.pending);
        events.extend(self.ended.iter().copied().map(Event::Closed));
        self.free.append(&mut self.ended);
        self.listen();
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !(self.pending.is_empty() && self.ended.is_empty() && self.ready.is_empty()) {
            return Ok(());
        }
        let pause = self.paused_until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = [timeout, pause].into_iter().flatten().min();
        self.ask(timeout)?;
        if self.ready.iter().any(|event| event.data.u64() == BELL) {
            self.bell.clear();
        }
        Ok(())
    }
}

fn token_of(listener: usize) -> EventData {
    EventData::new_u64(LISTENER + 1 + listener as u64)
}

fn slot_of(event: &Event) -> Slot {
    match *event {
        Event::Accepted(slot, _)
        | Event::Readable(slot)
        | Event::Writable(slot)
        | Event::Closed(slot) => slot,
    }
}

/// Answers taken from epoll at once.
const READY_MAX: usize = 1024;
/// Tokens that no connection has: their generations stay below [`GENERATION_MAX`].
const BELL: u64 = u64::MAX;
/// What follows is the listeners', in their order.
const LISTENER: u64 = BELL - 1 - LISTENERS_MAX as u64;
const GENERATION_MAX: u32 = u32::MAX >> 1;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener that is bound and does not listen yet, as in a successor that waits, wakes nobody
    /// until it is accepted from.
    #[test]
    fn a_held_listener_is_silent() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let listener = socket.try_clone().expect("the same socket").into();
        let bell = Arc::new(EventBell::new().expect("a bell"));
        let mut kernel = Epoll::open(2, vec![listener], bell).expect("epoll");
        kernel.ask(Some(Duration::ZERO)).expect("an answer");
        assert!(kernel.ready.is_empty(), "woken while held");
        socket.listen(1).expect("a listener");
        kernel.set_accepting(true);
        let address = socket.local_addr().ok().and_then(|it| it.as_socket()).expect("an address");
        let _client = TcpStream::connect(address).expect("a client");
        kernel.wait(None).expect("an answer");
        let mut events = Vec::new();
        kernel.events(&mut events);
        assert_eq!(events.len(), 1, "the client is taken in");
    }
}
