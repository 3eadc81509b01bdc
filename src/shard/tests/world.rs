//! Whole shards over simulated networks, one clock, publishers, and the book.
//!
//! Nothing runs but when the world says so. In a world that sleeps a shard is turned only if its
//! last turn did something, its bell was rung, its kernel has events, or its patience is over: so
//! a wake-up that is lost leaves it asleep with work to do, and something missing at rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    super::{Admission, Drain, Now, Setup, Shard},
    book::Book,
    client::{Circumstances, Client, Kind},
    protocol,
};
use crate::{
    counters::Counters,
    frame::Format,
    ids::{ChannelName, Epoch, ShardId},
    io::sim::{Dice, Faults, Sim, SimBell, SimNet},
    limits::{CUT_FRAME_BYTES_MAX, QUESTIONS_MAX},
    live::Live,
    mesh::{Ingress, Mesh, Parking, Publish, Questions, Ticket},
    session::Rules,
};

/// What a world is made of. The default is a calm one: a shard that sleeps, no faults, no limits.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shards: u16,
    pub slots: u32,
    pub channels: usize,
    /// Places in each inbox, and in each ingress.
    pub inbox: usize,
    pub places: usize,
    pub faults: Faults,
    pub lag_bytes_max: usize,
    pub channels_max: usize,
    pub connections_max: u32,
    pub sleepy: bool,
    pub jumpy: bool,
    pub tight: bool,
    /// Publications come past the desks, which keep no account then.
    pub no_desks: bool,
    pub window: Duration,
    pub rules: Rules,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            seed: 0,
            shards: 1,
            slots: 64,
            channels: 1,
            inbox: 64,
            places: 64,
            faults: Faults::default(),
            lag_bytes_max: usize::MAX,
            channels_max: usize::MAX,
            connections_max: u32::MAX,
            sleepy: true,
            jumpy: false,
            tight: false,
            no_desks: false,
            window: Duration::from_secs(4),
            rules: Rules::default(),
        }
    }
}

/// One shard and what surrounds it.
pub struct Node {
    pub shard: Shard<Sim>,
    pub net: SimNet,
    /// Its thread has ended.
    pub over: bool,
    /// It hangs and does not turn.
    pub stuck: bool,
    parking: Arc<Parking>,
    bell: Arc<SimBell>,
    sleep: Option<Sleep>,
    /// Its last turn did nothing. Others may do something before it lies down.
    drowsy: bool,
}

#[derive(Clone, Copy)]
struct Sleep {
    until_us: Option<u64>,
    rings: u64,
}

/// Everything handed to one shard's ingress, in order.
#[derive(Default)]
pub struct Desk {
    pushed: Vec<Pushed>,
    /// How many of those were answered.
    pub answered: usize,
    has_answers: Arc<AtomicBool>,
}

struct Pushed {
    channel: usize,
    payload: Vec<u8>,
    /// Where it stands in the book, once it has its position.
    page: Option<usize>,
    is_answered: bool,
    subscribers: u64,
}

pub struct World {
    pub plan: Plan,
    pub dice: Dice,
    pub now_us: u64,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub book: Book,
    pub names: Vec<ChannelName>,
    pub counters: Arc<[Counters]>,
    pub ingresses: Arc<[Ingress]>,
    pub admission: Arc<Admission>,
    pub drain: Arc<Drain>,
    /// What the shards' sessions live by.
    pub rules: Arc<Live<Rules>>,
    pub desks: Vec<Desk>,
}

impl World {
    pub fn new(plan: Plan) -> World {
        let shards = usize::from(plan.shards);
        let bells: Vec<Arc<SimBell>> = (0..shards).map(|_| Arc::default()).collect();
        let parkings: Vec<Arc<Parking>> =
            bells.iter().map(|bell| Parking::new(Arc::clone(bell) as _)).collect();
        let desks: Vec<Desk> = (0..shards).map(|_| Desk::default()).collect();
        let ingress = |(parking, desk): (&Arc<Parking>, &Desk)| {
            let flag = Arc::clone(&desk.has_answers);
            let tell = Arc::new(move || flag.store(true, Ordering::Relaxed));
            Ingress::new(plan.places, Arc::clone(parking), tell)
        };
        let mut world = World {
            dice: Dice::new(plan.seed ^ 0x5eed),
            now_us: 0,
            nodes: Vec::new(),
            clients: Vec::new(),
            book: Book::new(plan.channels),
            names: (0..plan.channels)
                .map(|n| ChannelName::new(&format!("channel/{n}")).unwrap())
                .collect(),
            counters: (0..shards).map(|_| Counters::default()).collect(),
            ingresses: parkings.iter().zip(&desks).map(ingress).collect(),
            admission: Arc::new(Admission::new(plan.connections_max)),
            drain: Arc::new(Drain::new(plan.window)),
            rules: Live::new(Rules {
                channels_max: plan.channels_max,
                lag_bytes_max: plan.lag_bytes_max,
                ..plan.rules.clone()
            }),
            desks,
            plan,
        };
        let mesh = Mesh::new(world.plan.inbox, &parkings);
        let ask = |parking: &Arc<Parking>| Questions::new(QUESTIONS_MAX, Arc::clone(parking));
        let questions: Arc<[_]> = parkings.iter().map(ask).collect();
        for (index, (bell, parking)) in bells.into_iter().zip(parkings).enumerate() {
            let setup = Setup {
                id: ShardId(index as u16),
                epoch: Epoch(0x18c2),
                rules: world.rules.reader(),
                mesh: mesh.clone(),
                ingresses: Arc::clone(&world.ingresses),
                questions: Arc::clone(&questions),
                inputs: Arc::default(),
                numbered: Vec::new(),
                journal: None,
                started_ms: 0,
                counters: Arc::clone(&world.counters),
                parking: Arc::clone(&parking),
                admission: Arc::clone(&world.admission),
                drain: Arc::clone(&world.drain),
            };
            let seed = world.plan.seed * 31 + index as u64;
            let (sim, net) = Sim::new(seed, world.plan.slots, world.plan.faults);
            let shard = Shard::new(sim, setup);
            world.nodes.push(Node {
                shard,
                net,
                over: false,
                stuck: false,
                parking,
                bell,
                sleep: None,
                drowsy: false,
            });
        }
        world
    }

    pub fn circumstances(&self) -> Circumstances {
        Circumstances {
            now_us: self.now_us,
            rules: self.plan.rules.clone(),
            draining: self.drain.has_begun(),
            jumpy: self.plan.jumpy,
            laps: self.plan.lag_bytes_max != usize::MAX,
            huge: (CUT_FRAME_BYTES_MAX..usize::MAX).contains(&self.plan.lag_bytes_max),
            tight: self.plan.tight,
            resets: self.plan.faults.reset > 0,
        }
    }

    pub fn home(&self, channel: usize) -> usize {
        usize::from(self.names[channel].bucket().home(self.plan.shards).0)
    }

    /// A client that has sent nothing yet. Returns its index.
    pub fn connect(&mut self, shard: usize, kind: Kind, channel: usize) -> usize {
        let path = match kind {
            Kind::Reader(Format::WebSocket) => format!("/ws/{}", self.names[channel]),
            Kind::Reader(Format::Json) => unreachable!("nobody here speaks it"),
            Kind::Reader(Format::Sse) => format!("/sse/{}?x=1", self.names[channel]),
            Kind::Lost(404) => "/nothing/here".into(),
            Kind::Lost(_) => "/ws/".into(),
        };
        let id = self.nodes[shard].net.connect();
        self.clients.push(Client::new(id, shard, kind, channel, protocol::request(&path)));
        self.clients.len() - 1
    }

    /// A client that has sent its whole request.
    pub fn join(&mut self, shard: usize, format: Format, channel: usize) -> usize {
        let client = self.connect(shard, Kind::Reader(format), channel);
        self.with(client, |client, net| client.ask(net, usize::MAX));
        client
    }

    /// Lets a client do something on its network.
    pub fn with(&mut self, client: usize, act: impl FnOnce(&mut Client, &SimNet)) {
        let client = &mut self.clients[client];
        act(client, &self.nodes[client.shard].net);
    }

    /// Hands a publication to its home's ingress. Says whether there was a place.
    pub fn publish(&mut self, channel: usize, payload: &[u8]) -> bool {
        let home = self.home(channel);
        let desk = &mut self.desks[home];
        let ticket = Ticket(desk.pushed.len() as u64);
        let publish = Publish::plain(ticket, self.names[channel].clone(), payload.to_vec().into());
        let Err(back) = self.ingresses[home].publish(publish.clone()) else {
            let payload = payload.to_vec();
            let (page, is_answered) = (None, false);
            desk.pushed.push(Pushed { channel, payload, page, is_answered, subscribers: 0 });
            return true;
        };
        assert_eq!(back, publish, "what is refused comes back as it was");
        assert!(desk.pushed.len() - desk.answered >= self.plan.places, "there was a place");
        false
    }

    pub fn wake_home(&self, channel: usize) {
        self.ingresses[self.home(channel)].wake();
    }

    /// The publishers of one shard take their answers, if they were told that there are some.
    pub fn take_answers(&mut self, home: usize) {
        if !self.desks[home].has_answers.swap(false, Ordering::Relaxed) {
            return;
        }
        while let Some(answer) = self.ingresses[home].take_answer() {
            let desk = &mut self.desks[home];
            let (before, rest) = desk.pushed.split_at_mut(answer.ticket.0 as usize);
            let pushed = &mut rest[0];
            let mut elders = before.iter().filter(|elder| elder.channel == pushed.channel);
            assert!(elders.all(|elder| elder.is_answered), "answered in its channel's order");
            assert!(!pushed.is_answered, "answered once");
            let page = pushed.page.expect("answered before it was counted");
            let accepted = answer.outcome.expect("nothing is rejected here");
            self.book.check_position(pushed.channel, page, accepted.position);
            (pushed.is_answered, pushed.subscribers) = (true, accepted.subscribers);
            desk.answered += 1;
        }
    }

    /// The number of subscribers that the newest answer to a channel's publisher named.
    pub fn last_subscribers(&self, channel: usize) -> u64 {
        let pushed = self.desks[self.home(channel)].pushed.iter();
        pushed.rev().find(|pushed| pushed.channel == channel).expect("it was published").subscribers
    }

    pub fn unanswered(&self) -> usize {
        self.desks.iter().map(|desk| desk.pushed.len() - desk.answered).sum()
    }

    /// Some time passes, every shard that has a reason to turns once, and clients read.
    pub fn step(&mut self, us: u64) -> bool {
        self.now_us += us;
        let first = self.dice.below(self.nodes.len());
        let mut turned = false;
        for index in 0..self.nodes.len() {
            turned |= self.turn((first + index) % self.nodes.len());
        }
        self.read();
        turned
    }

    pub fn read(&mut self) {
        let world = self.circumstances();
        for client in &mut self.clients {
            client.read(&self.nodes[client.shard].net, &mut self.book, &world);
        }
    }

    /// Turns a shard if it has a reason to. Says whether it had.
    fn turn(&mut self, index: usize) -> bool {
        let (sleepy, now_us) = (self.plan.sleepy, self.now_us);
        let node = &mut self.nodes[index];
        if node.over || node.stuck || !node.is_due(now_us) {
            return false;
        }
        if node.drowsy {
            node.lie_down(now_us);
            return true;
        }
        node.sleep = None;
        node.parking.unpark();
        let worked = node.shard.turn(Now { us: now_us });
        node.over = node.shard.is_drained();
        node.drowsy = sleepy && !worked && !node.over;
        if node.drowsy && self.dice.one_in(2) {
            node.lie_down(now_us);
        }
        self.place_publications(index);
        worked || sleepy
    }

    /// Writes down what was given a position in the turn of this home: what was taken and is not
    /// held back.
    fn place_publications(&mut self, home: usize) {
        if self.plan.no_desks {
            return;
        }
        let desk = &mut self.desks[home];
        let taken = desk.pushed.len() - self.ingresses[home].waiting();
        let held = &self.nodes[home].shard.held;
        for (number, pushed) in desk.pushed[..taken].iter_mut().enumerate() {
            if pushed.page.is_none() && !held.has(Ticket(number as u64)) {
                pushed.page = Some(self.book.write(pushed.channel, pushed.payload.clone()));
            }
        }
        let placed = desk.pushed.iter().filter(|pushed| pushed.page.is_some()).count();
        assert_eq!(self.counters[home].publications.get(), placed as u64);
    }

    /// Steps of a millisecond until nothing happens any more.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..20_000 {
            let turned = self.step(1000);
            (0..self.nodes.len()).for_each(|home| self.take_answers(home));
            let has_events = self.nodes.iter_mut().any(Node::has_events);
            quiet = if turned || has_events { 0 } else { quiet + 1 };
            if quiet == 4 {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Time passes in steps of `step_us`, until `done` or for so long at most.
    pub fn pass(&mut self, time: Duration, step_us: u64, done: impl Fn(&World) -> bool) {
        let until_us = self.now_us + time.as_micros() as u64;
        while self.now_us < until_us && !done(self) {
            self.step(step_us);
        }
    }

    pub fn begin_drain(&mut self) {
        self.drain.begin();
        self.nodes.iter().for_each(|node| node.parking.wake());
    }

    /// Seconds pass, in steps of 50 ms.
    pub fn seconds(&mut self, seconds: f64) {
        self.pass(Duration::from_secs_f64(seconds), 50_000, |_| false);
    }

    /// What a client was told at the end, and after how many seconds of the world's time.
    pub fn said(&self, client: usize) -> Option<(u16, f64)> {
        let client = &self.clients[client];
        client.said.map(|said| (said, client.said_us as f64 / 1e6))
    }

    /// Publishes to a channel, which must have a place, and wakes its home.
    pub fn tell(&mut self, channel: usize, payload: &[u8]) {
        assert!(self.publish(channel, payload), "no place");
        self.wake_home(channel);
    }

    /// Every slot that the connections of a shard stand in.
    pub fn connected(&self, shard: usize) -> usize {
        let clients = self.clients.iter().filter(|client| client.shard == shard);
        clients.filter(|client| self.nodes[shard].net.slot(client.id).is_some()).count()
    }
}

impl Node {
    fn lie_down(&mut self, now_us: u64) {
        self.drowsy = false;
        if self.shard.lie_down() {
            let patience = self.shard.patience(Now { us: now_us });
            let until_us = patience.map(|patience| now_us + patience.as_micros() as u64);
            self.sleep = Some(Sleep { until_us, rings: self.bell.rings() });
        }
    }

    fn is_due(&mut self, now_us: u64) -> bool {
        let Some(Sleep { until_us, rings }) = self.sleep else { return true };
        self.bell.rings() > rings || until_us.is_some_and(|until| until <= now_us) || self.hears()
    }

    fn hears(&mut self) -> bool {
        self.shard.kernel_mut().has_events()
    }

    fn has_events(&mut self) -> bool {
        !self.over && self.hears()
    }
}
