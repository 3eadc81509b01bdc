//! Stentor's own shard: a publication comes through its ingress, is given its position and encoded
//! by its home, and leaves in sweeps. One shard, driven turn by turn on the calling thread.

use std::{
    ops::Range,
    os::fd::OwnedFd,
    slice,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::process::{Resource, getrlimit};
use stentor::{
    counters::Counters,
    frame::Format,
    ids::{ChannelName, Epoch, ShardId},
    io::{
        Kernel,
        bell::EventBell,
        epoll::Epoll,
        uring::{self, Uring},
    },
    limits::SEGMENT_BYTES_MAX,
    mesh::{Ingress, Mesh, Parking, Publish, Questions, Ticket},
    session::Rules,
    shard::{Admission, Drain, Now, Setup, Shard},
};

use super::{Contender, frame};
use crate::support::clients::Clients;

const REQUEST: &[u8] = b"GET /ws/bench HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const CHANNEL: &str = "bench";
const INGRESS_PLACES: usize = 64;
const INBOX_MESSAGES: usize = 1024;
const LAG_BYTES_MAX: usize = 16 << 20;

struct Stentor<K> {
    shard: Shard<K>,
    ingresses: Arc<[Ingress]>,
    counters: Arc<[Counters]>,
    channel: ChannelName,
    begun: Instant,
    subscribers: u64,
}

pub fn start_uring(sockets: Vec<OwnedFd>, clients: &mut Clients) -> Box<dyn Contender> {
    let nofile = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let setup = uring::Setup::new(places(&sockets), nofile);
    let mut kernel = Uring::open(&setup, Vec::new(), bell()).expect("io_uring");
    for socket in sockets {
        kernel.adopt(socket).expect("a free slot");
    }
    Box::new(Stentor::start(kernel, clients))
}

pub fn start_epoll(sockets: Vec<OwnedFd>, clients: &mut Clients) -> Box<dyn Contender> {
    let mut kernel = Epoll::open(places(&sockets), Vec::new(), bell()).expect("epoll");
    for socket in sockets {
        kernel.adopt(socket).expect("a free slot");
    }
    Box::new(Stentor::start(kernel, clients))
}

/// A table in which the sockets are not so many that the shard would refuse some.
fn places(sockets: &[OwnedFd]) -> u32 {
    sockets.len() as u32 + sockets.len() as u32 / 25 + 100
}

fn bell() -> Arc<EventBell> {
    Arc::new(EventBell::new().expect("an eventfd"))
}

impl<K: Kernel> Stentor<K> {
    /// Serves the handshakes of all clients. One comes first and alone, until the channel's
    /// segments have grown to what they are on a channel that was not opened just now.
    fn start(kernel: K, clients: &mut Clients) -> Stentor<K> {
        let parking = Parking::new(bell());
        let ingress = Ingress::new(INGRESS_PLACES, Arc::clone(&parking), Arc::new(|| ()));
        let ingresses: Arc<[Ingress]> = [ingress].into();
        let counters: Arc<[Counters]> = [Counters::default()].into();
        let never = Duration::from_secs(3600);
        let setup = Setup {
            id: ShardId(0),
            epoch: Epoch(1),
            rules: Rules {
                handshake_timeout: never,
                ping_interval: never,
                lag_bytes_max: LAG_BYTES_MAX,
                ..Rules::default()
            }
            .into(),
            mesh: Mesh::new(INBOX_MESSAGES, [&parking]),
            ingresses: Arc::clone(&ingresses),
            questions: [Questions::new(1, Arc::clone(&parking))].into(),
            inputs: Arc::default(),
            numbered: Vec::new(),
            journal: None,
            started_ms: 0,
            counters: Arc::clone(&counters),
            parking,
            admission: Arc::new(Admission::new(u32::MAX)),
            drain: Arc::new(Drain::new(Duration::ZERO)),
        };
        let mut stentor = Stentor {
            shard: Shard::new(kernel, setup),
            ingresses,
            counters,
            channel: ChannelName::new(CHANNEL).expect("a name"),
            begun: Instant::now(),
            subscribers: 0,
        };
        stentor.welcome(0..1, clients);
        let payload = Bytes::from_static(&[b'0'; 100]);
        for _ in 0..2 * SEGMENT_BYTES_MAX / payload.len() {
            stentor.deliver(slice::from_ref(&payload));
            clients.expect(0..1, &frame(&payload));
        }
        stentor.welcome(1..clients.len(), clients);
        stentor
    }

    /// Serves the handshakes of these clients.
    fn welcome(&mut self, who: Range<usize>, clients: &mut Clients) {
        clients.say(who.clone(), REQUEST);
        self.subscribers += who.len() as u64;
        while self.counters[0].subscribers[Format::WebSocket.index()].get() < self.subscribers {
            self.turn();
        }
        while self.turn() {}
        clients.expect_upgrade(who);
    }

    fn turn(&mut self) -> bool {
        self.shard.turn(Now { us: self.begun.elapsed().as_micros() as u64 })
    }
}

impl<K: Kernel> Contender for Stentor<K> {
    fn deliver(&mut self, payloads: &[Bytes]) {
        let wanted = self.counters[0].deliveries.get() + self.subscribers * payloads.len() as u64;
        for payload in payloads {
            let (channel, payload) = (self.channel.clone(), payload.clone());
            let publication = Publish::plain(Ticket(0), channel, payload);
            self.ingresses[0].publish(publication).expect("a free place");
        }
        while self.counters[0].deliveries.get() < wanted {
            self.turn();
        }
        while self.ingresses[0].take_answer().is_some() {}
    }
}
