//! A server of whole shards, its disk, its clients and publishers, and the one clock.
//!
//! Nothing runs but when the world says so.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use stentor::{
    counters::Counters,
    hub::Message,
    ids::{Epoch, ShardId},
    io::sim::{Dice, Sim, SimBell},
    limits::QUESTIONS_MAX,
    mesh::{Accepted, Asker, Ingress, Mesh, Parking, Publish, Questions, Rejected, Terms, Ticket},
    report::Question,
    shard::{Admission, Drain, JournalEnd, Setup, Shard},
};

use crate::{
    book::Book,
    client::{Client, Kind, Sight},
    disk::Disk,
    node::Node,
    plan::Plan,
};

/// Everything.
pub struct World {
    /// What it is made of.
    pub plan: Plan,
    /// What decides.
    pub dice: Dice,
    /// Microseconds since the world began.
    pub now_us: u64,
    /// The shards of the server that runs now.
    pub nodes: Vec<Node>,
    /// The clients.
    pub clients: Vec<Client>,
    /// The oracle's book.
    pub book: Book,
    /// The disk, where there is a journal.
    pub disk: Option<Disk>,
    /// Publications that were not answered, and may be tried again.
    pub retries: Vec<usize>,
    ingresses: Arc<[Ingress]>,
    has_answers: Vec<Arc<AtomicBool>>,
    /// What was handed to ingresses and not answered, by ticket.
    pushed: HashMap<u64, usize>,
    tickets: u64,
    /// When the server began, and the how manieth it is.
    server_us: u64,
    servers: u64,
    is_told: bool,
}

/// When the world began, in milliseconds since 1970.
const STARTED_MS: u64 = 1_700_000_000_000;

/// The numbering of what the disk keeps, and those of the servers but for their number.
const EPOCH_OF_JOURNAL: Epoch = Epoch(0x70);
const EPOCHS: u64 = 0x1000;

impl World {
    /// A world with its first server. `is_told` prints what happens in it.
    pub fn new(plan: Plan, is_told: bool) -> World {
        let disk = plan.journal.then(|| Disk::new(EPOCH_OF_JOURNAL, plan.compacts));
        let mut world = World {
            dice: Dice::new(plan.seed ^ 0x5eed),
            now_us: 0,
            nodes: Vec::new(),
            clients: Vec::new(),
            book: Book::new(&plan),
            disk,
            retries: Vec::new(),
            ingresses: Arc::new([]),
            has_answers: Vec::new(),
            pushed: HashMap::new(),
            tickets: 0,
            server_us: 0,
            servers: 0,
            is_told,
            plan,
        };
        world.tell(|world| format!("{:#?}", world.plan));
        for id in 0..world.plan.clients {
            let client = world.new_client(id);
            world.clients.push(client);
        }
        world.start();
        world
    }

    /// Says what happens, if somebody listens.
    pub fn tell(&self, what: impl FnOnce(&World) -> String) {
        if self.is_told {
            println!("{:9} {}", self.now_us, what(self));
        }
    }

    fn new_client(&mut self, id: usize) -> Client {
        use Kind::{Commands, Poll, Sse, Streams, WebSocket};
        let kind = self.dice.of(&[WebSocket, Sse, Streams, Poll, Commands, Commands]);
        let mut channels: Vec<usize> = (0..self.plan.channels.len()).collect();
        let several = matches!(kind, Streams | Commands);
        let count = if several { 1 + self.dice.below(channels.len().min(4)) } else { 1 };
        while channels.len() > count {
            channels.remove(self.dice.below(channels.len()));
        }
        Client::new(id, kind, &channels)
    }

    /// Starts a server, with what the disk has.
    fn start(&mut self) {
        self.servers += 1;
        self.server_us = self.now_us;
        let shards = usize::from(self.plan.shards);
        let bells: Vec<Arc<SimBell>> = (0..shards).map(|_| Arc::default()).collect();
        let parkings: Vec<Arc<Parking>> =
            bells.iter().map(|bell| Parking::new(Arc::clone(bell) as _)).collect();
        self.has_answers = (0..shards).map(|_| Arc::default()).collect();
        let places = self.plan.places;
        let ingress = |(parking, flag): (&Arc<Parking>, &Arc<AtomicBool>)| {
            let flag = Arc::clone(flag);
            let tell = Arc::new(move || flag.store(true, Ordering::Relaxed));
            Ingress::new(places, Arc::clone(parking), tell)
        };
        self.ingresses = parkings.iter().zip(&self.has_answers).map(ingress).collect();
        let ask = |parking: &Arc<Parking>| Questions::new(QUESTIONS_MAX, Arc::clone(parking));
        let common = Common {
            mesh: Mesh::new(self.plan.inbox, &parkings),
            questions: parkings.iter().map(ask).collect(),
            counters: (0..shards).map(|_| Counters::default()).collect(),
            admission: Arc::new(Admission::new(100_000)),
            drain: Arc::new(Drain::new(Duration::from_secs(1))),
        };
        let mut ends = self.journal_ends(&parkings);
        for (index, (bell, parking)) in bells.into_iter().zip(parkings).enumerate() {
            let setup = self.setup(index, &common, &parking, ends[index].take());
            let seed = self.plan.seed * 31 + self.servers * 7 + index as u64;
            let (sim, net) = Sim::new(seed, self.plan.slots, self.plan.faults);
            self.nodes.push(Node::new(Shard::new(sim, setup), net, parking, bell));
        }
        let found = self.disk.as_mut().map_or(Vec::new(), Disk::recover);
        for (bucket, heritage) in found {
            let home = bucket.home(self.plan.shards);
            self.nodes[usize::from(home.0)].restore(bucket, heritage);
        }
    }

    fn journal_ends(&mut self, parkings: &[Arc<Parking>]) -> Vec<Option<JournalEnd>> {
        let places = self.plan.places;
        let Some(disk) = &mut self.disk else { return parkings.iter().map(|_| None).collect() };
        let (writer, landings) = disk.attach(places, parkings);
        let epoch = disk.epoch;
        let end = |landing| Some(JournalEnd { epoch, writer: writer.clone(), landing });
        landings.into_iter().map(end).collect()
    }

    fn setup(
        &self,
        index: usize,
        common: &Common,
        parking: &Arc<Parking>,
        journal: Option<JournalEnd>,
    ) -> Setup {
        Setup {
            id: ShardId(index as u16),
            epoch: Epoch(EPOCHS + self.servers),
            rules: self.plan.rules().into(),
            mesh: common.mesh.clone(),
            ingresses: Arc::clone(&self.ingresses),
            questions: Arc::clone(&common.questions),
            inputs: Arc::default(),
            numbered: Vec::new(),
            journal,
            started_ms: STARTED_MS + self.now_us / 1000,
            counters: Arc::clone(&common.counters),
            parking: Arc::clone(parking),
            admission: Arc::clone(&common.admission),
            drain: Arc::clone(&common.drain),
        }
    }

    /// The server dies, and the power with it; another one starts, perhaps with more shards or fewer.
    pub fn restart(&mut self) {
        self.tell(|_| "the server dies".into());
        for id in 0..self.clients.len() {
            self.with(id, |client, sight| {
                // What was on its way may still come.
                if sight.dice.one_in(2) {
                    client.read(sight);
                }
                client.disconnect(sight);
            });
        }
        self.nodes.clear();
        for (_, intent) in self.pushed.drain() {
            if self.book.intents[intent].idempotency.is_some() {
                self.retries.push(intent);
            }
        }
        if self.plan.compacts {
            // What is not kept any more is not known to be a repetition, either.
            self.retries.clear();
        }
        // In an order that does not depend on a map's.
        self.retries.sort_unstable();
        if let Some(disk) = &mut self.disk {
            disk.crash(&mut self.dice);
        }
        self.now_us += self.dice.below(500_000) as u64;
        self.plan.shards = 1 + self.dice.below(3) as u16;
        self.start();
    }

    /// Lets a client do something.
    pub fn with<T>(&mut self, id: usize, act: impl FnOnce(&mut Client, &mut Sight<'_>) -> T) -> T {
        let World { plan, dice, now_us, book, clients, retries, .. } = self;
        let mut sight = Sight { book, plan, dice, now_us: *now_us, retries };
        act(&mut clients[id], &mut sight)
    }

    /// Connects a client that is not.
    pub fn connect(&mut self, id: usize) {
        let node = self.dice.below(self.nodes.len());
        let net = self.nodes[node].net.clone();
        self.with(id, |client, sight| client.connect(&net, sight));
        self.tell(|world| {
            let client = &world.clients[id];
            format!("client {id} connects to {node}, {:?}: {:?}", client.kind, client.reads)
        });
    }

    /// Hands a publication to its home's ingress. Says whether there was a place.
    pub fn publish(&mut self, intent: usize) -> bool {
        let known = &self.book.intents[intent];
        let channel = &self.plan.channels[known.channel].name;
        let terms = Terms {
            key: known.key.as_deref().map(Into::into),
            version: None,
            idempotency: known.idempotency.as_deref().map(Into::into),
        };
        let terms = (terms != Terms::default()).then(|| Box::new(terms));
        self.tickets += 1;
        let home = usize::from(channel.bucket().home(self.plan.shards).0);
        let pushed = self.ingresses[home].publish(Publish {
            asker: Asker::Outside,
            ticket: Ticket(self.tickets),
            channel: channel.clone(),
            kind: known.kind,
            payload: Bytes::from(known.payload.clone()),
            position: None,
            terms,
        });
        self.ingresses[home].wake();
        if pushed.is_ok() {
            self.pushed.insert(self.tickets, intent);
            self.book.intents[intent].sent += 1;
            self.tell(|world| format!("publication {intent}: {:?}", world.book.intents[intent]));
        }
        pushed.is_ok()
    }

    /// Publishers take their answers.
    pub fn take_answers(&mut self) {
        for (ingress, flag) in self.ingresses.iter().zip(&self.has_answers) {
            if !flag.swap(false, Ordering::Relaxed) {
                continue;
            }
            while let Some(answer) = ingress.take_answer() {
                let intent = self.pushed.remove(&answer.ticket.0).expect("answered once");
                match answer.outcome {
                    Ok(Accepted { position, repeated, .. }) => {
                        self.book.acknowledge(intent, position, repeated);
                    }
                    Err(Rejected::DiskFull) if self.plan.disk_full => {
                        if self.book.intents[intent].idempotency.is_some() {
                            self.retries.push(intent);
                        }
                    }
                    Err(rejected) => panic!("publication {intent} was rejected: {rejected}"),
                }
            }
        }
    }

    /// Whether the server that runs now goes on with this numbering.
    pub fn lives_in(&self, epoch: Epoch) -> bool {
        epoch == EPOCH_OF_JOURNAL || epoch.0 == EPOCHS + self.servers
    }

    /// Publications that nobody has answered.
    pub fn unanswered(&self) -> usize {
        self.pushed.len()
    }

    /// Some time passes, every shard that has a reason to turns once, the disk works, and clients
    /// read. Says whether anything happened.
    pub fn step(&mut self, us: u64) -> bool {
        self.now_us += us;
        let first = self.dice.below(self.nodes.len());
        let (now_us, sleepy, count) =
            (self.now_us - self.server_us, self.plan.sleepy, self.nodes.len());
        let mut worked = false;
        for index in 0..count {
            let node = &mut self.nodes[(first + index) % count];
            worked |= node.turn(now_us, sleepy, &mut self.dice);
        }
        if let Some(disk) = &mut self.disk {
            worked |= disk.step(&mut self.dice);
        }
        for id in 0..self.clients.len() {
            self.with(id, |client, sight| client.read(sight));
        }
        worked
    }

    /// Steps of a millisecond until nothing happens any more.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..20_000 {
            let worked = self.step(1000);
            self.take_answers();
            let has_events = self.nodes.iter_mut().any(Node::has_events);
            quiet = if worked || has_events { 0 } else { quiet + 1 };
            if quiet == 4 {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

/// What the shards of one server have in common.
struct Common {
    mesh: Mesh<Message>,
    questions: Arc<[Questions<Question>]>,
    counters: Arc<[Counters]>,
    admission: Arc<Admission>,
    drain: Arc<Drain>,
}
