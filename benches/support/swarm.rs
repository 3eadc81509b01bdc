//! Many subscribers on one thread: real connections with real handshakes, on io_uring, in a ring's
//! table so that they cost no file descriptors. They answer pings.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use stentor::{
    ids::Slot,
    io::{
        Event, Interest, Kernel, Received, Send,
        bell::EventBell,
        dial::{dial, progress},
        probe::raise_nofile,
        uring::{Setup, Uring},
    },
    limits::{RECEIVE_BATCH, SEND_BATCH},
};

use super::decoder::{Decoder, Format, Message};

/// Connections from one source address. There are 28,000 ports, and `connect` looks at half of them.
const PER_ADDRESS: u32 = 10_000;

/// Connections made before their answers are waited for.
const AT_ONCE: u32 = 256;

/// How long an answer to a handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Subscribers of one channel.
pub struct Swarm {
    kernel: Uring,
    format: Format,
    places: Vec<Place>,
    events: Vec<Event>,
    readable: Vec<Slot>,
    pongs: Vec<(Slot, Vec<u8>)>,
    live: u32,
    pub pings: u64,
    /// More lines in the head of each request, each ended.
    pub lines: String,
}

/// One subscriber.
#[derive(Default)]
struct Place {
    is_live: bool,
    decoder: Decoder,
}

impl Swarm {
    /// Room for so many.
    pub fn new(most: u32, format: Format) -> io::Result<Swarm> {
        let setup = Setup::new(most, raise_nofile()?);
        let kernel = Uring::open(&setup, Vec::new(), Arc::new(EventBell::new()?));
        let kernel = kernel.map_err(io::Error::other)?;
        Ok(Swarm {
            places: (0..kernel.slots()).map(|_| Place::default()).collect(),
            kernel,
            format,
            events: Vec::new(),
            readable: Vec::new(),
            pongs: Vec::new(),
            live: 0,
            pings: 0,
            lines: String::new(),
        })
    }

    /// Slots in the table: subscribers are numbered below this.
    #[allow(dead_code, reason = "not every bench keeps books by subscriber")]
    pub fn slots(&self) -> usize {
        self.places.len()
    }

    /// Connects this many more subscribers and returns when all of them are live.
    #[allow(dead_code, reason = "benches with several paths say them")]
    pub fn connect(&mut self, server: SocketAddr, path: &str, count: u32) -> io::Result<()> {
        self.connect_each(server, count, |_| path.to_owned(), |_, _, _| {})
    }

    /// The same, each with a path by its number, and tells of publications meanwhile.
    pub fn connect_each(
        &mut self,
        server: SocketAddr,
        count: u32,
        path: impl Fn(u32) -> String,
        mut told: impl FnMut(usize, Instant, &[u8]),
    ) -> io::Result<()> {
        let upgrade = match self.format {
            Format::WebSocket => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
            Format::Sse => "Accept: text/event-stream\r\n",
        };
        let end = format!("HTTP/1.1\r\nHost: {server}\r\n{upgrade}{}\r\n", self.lines);
        let mut left = count;
        while left > 0 {
            let some = left.min(AT_ONCE);
            let first = self.live;
            let slots = connect(server, first..first + some)?
                .into_iter()
                .map(|socket| self.kernel.adopt(socket))
                .collect::<io::Result<Vec<_>>>()?;
            let requests: Vec<String> =
                (first..first + some).map(|number| format!("GET {} {end}", path(number))).collect();
            self.send_all(slots.iter().zip(&requests).map(|(&slot, head)| (slot, head.as_bytes())));
            slots.iter().for_each(|&slot| self.kernel.poll(slot, Interest::Read));
            let begun = Instant::now();
            while self.live < first + some {
                if begun.elapsed() > PATIENCE {
                    return Err(io::Error::other(format!("{} subscribers and no more", self.live)));
                }
                self.turn(Duration::from_millis(100), &mut told)?;
            }
            left -= some;
        }
        Ok(())
    }

    /// Waits for something to read, reads it, and tells of every publication: who got it, when,
    /// and what.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut told: impl FnMut(usize, Instant, &[u8]),
    ) -> io::Result<()> {
        self.kernel.wait(Some(timeout))?;
        self.kernel.events(&mut self.events);
        let readable = self.events.drain(..).filter_map(|event| match event {
            Event::Readable(slot) => Some(slot),
            _ => None,
        });
        self.readable.extend(readable);
        let Swarm { kernel, format, places, readable, pongs, live, pings, .. } = self;
        for slots in readable.chunks(RECEIVE_BATCH) {
            kernel.receive_batch(slots, &mut |slot, received| {
                let place = &mut places[slot.index()];
                let bytes = match received {
                    Received::Bytes(bytes) => bytes,
                    Received::Nothing => return,
                    Received::End | Received::Broken => panic!("subscriber {} was cut off", slot.0),
                };
                let now = Instant::now();
                let bytes = if place.is_live { bytes } else { after_head(bytes) };
                *live += u32::from(!place.is_live);
                place.is_live = true;
                place.decoder.feed(*format, bytes, |message| match message {
                    Message::Payload(payload) => told(slot.index(), now, payload),
                    Message::Ping(payload) => {
                        *pings += 1;
                        pongs.push((slot, pong(payload)));
                    }
                });
            });
            slots.iter().for_each(|&slot| kernel.poll(slot, Interest::Read));
        }
        self.readable.clear();
        let pongs = std::mem::take(&mut self.pongs);
        self.send_all(pongs.iter().map(|(slot, bytes)| (*slot, &bytes[..])));
        Ok(())
    }

    fn send_all<'a>(&mut self, sends: impl Iterator<Item = (Slot, &'a [u8])>) {
        let sends: Vec<_> = sends.map(|(slot, bytes)| Send { slot, bytes }).collect();
        let mut exceptions = Vec::new();
        for sends in sends.chunks(SEND_BATCH) {
            self.kernel.send_batch(sends, &mut exceptions);
        }
        assert!(exceptions.is_empty(), "a full socket: {exceptions:?}");
    }
}

/// Connects the subscribers of these numbers, from addresses that have ports left.
fn connect(server: SocketAddr, numbers: Range<u32>) -> io::Result<Vec<OwnedFd>> {
    let source = |number| Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number / PER_ADDRESS);
    let dialled = numbers.map(|number| Ok((dial(server, Some(source(number).into()), None)?, ())));
    let mut pending = dialled.collect::<io::Result<Vec<_>>>()?;
    let mut standing = Vec::new();
    while !pending.is_empty() {
        progress(&mut pending, &mut |(), outcome| standing.push(outcome))?;
    }
    standing.into_iter().collect()
}

/// What follows the head of an answer that grants the request.
fn after_head(bytes: &[u8]) -> &[u8] {
    let granted = bytes.starts_with(b"HTTP/1.1 101 ") || bytes.starts_with(b"HTTP/1.1 200 ");
    assert!(granted, "refused: {}", String::from_utf8_lossy(bytes));
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").expect("a whole head");
    &bytes[end + 4..]
}

/// The answer to a ping, masked with zeros.
fn pong(payload: &[u8]) -> Vec<u8> {
    let header = [0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    [&header[..], payload].concat()
}
