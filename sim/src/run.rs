//! A world's story: at random, but the same for the same seed, and judged at each rest.

use std::{thread, time::Duration};

use stentor::frame::PayloadKind;

use crate::{
    book::{Intent, payload},
    client::{Client, Kind},
    plan::{KEYS, Plan},
    world::World,
};

/// What happened in a world, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Publications that clients were given.
    pub heard: usize,
    /// Gaps that they were told.
    pub gaps: usize,
    /// Subscriptions that went on from somewhere.
    pub resumed: usize,
    /// Those of them that missed nothing.
    pub recovered: usize,
    /// Files of the journal that were written anew.
    pub compactions: usize,
}

impl std::ops::AddAssign for Story {
    fn add_assign(&mut self, other: Story) {
        self.heard += other.heard;
        self.gaps += other.gaps;
        self.resumed += other.resumed;
        self.recovered += other.recovered;
        self.compactions += other.compactions;
    }
}

/// Runs the world of a seed to its end. Panics if something is not as it must be.
pub fn run(seed: u64, is_told: bool) -> Story {
    let _named = Named(seed);
    let plan = Plan::new(seed);
    let (steps, restarts) = (plan.steps, plan.restarts);
    let mut world = World::new(plan, is_told);
    for part in 0..=restarts {
        for step in 0..steps / (restarts + 1) {
            (0..1 + world.dice.below(3)).for_each(|_| act(&mut world));
            if step % 16 == 0 {
                // Nobody hangs for long: time-outs are not to notice.
                world.nodes.iter_mut().for_each(|node| node.stuck = false);
            }
            let us = world.dice.of(&[50, 500, 2000, 9000]);
            world.step(us);
        }
        if part < restarts {
            if world.dice.one_in(3) {
                rest(&mut world);
            }
            world.restart();
        }
    }
    rest(&mut world);
    audit(&mut world);
    let book = &world.book;
    Story {
        heard: book.heard,
        gaps: book.gaps,
        resumed: book.resumed,
        recovered: book.recovered,
        compactions: world.disk.as_ref().map_or(0, |disk| disk.compactions),
    }
}

/// Says which seed it was that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("seed {0} failed; again with: stentor-sim --seed {0} --trace", self.0);
        }
    }
}

fn act(world: &mut World) {
    let id = world.dice.below(world.clients.len());
    let number = world.dice.below(300);
    match world.dice.below(24) {
        0..6 => publish(world),
        6 | 7 => world.take_answers(),
        8 if number < 15 && world.plan.jumpy => {
            world.now_us += world.dice.below(4_000_000) as u64;
            world.tell(|_| "the clock jumps".into());
        }
        8 if number < 100 => {
            let node = world.dice.below(world.nodes.len());
            world.nodes[node].stuck = world.dice.one_in(2);
        }
        8 if number < 150 => world.now_us += world.dice.below(100_000) as u64,
        9 if world.plan.disk_full => {
            let is_full = number < 100;
            world.disk.iter_mut().for_each(|disk| disk.set_full(is_full));
        }
        10..15 if world.clients[id].connection.is_none() => world.connect(id),
        15 | 16 => world.with(id, |client, sight| client.command(sight)),
        _ => act_as(world, id, number),
    }
}

fn act_as(world: &mut World, id: usize, number: usize) {
    let way = world.dice.below(20);
    let Some(connection) = &mut world.clients[id].connection else { return };
    match way {
        0..4 => world.clients[id].send_more(number),
        4..8 if connection.stalled => {
            connection.stalled = false;
            connection.net.resume(connection.id);
        }
        4..6 => {
            (connection.stalled, connection.was_slow) = (true, true);
            connection.net.stall(connection.id);
        }
        8 => connection.mute = !connection.mute,
        9 if number < 75 => {
            connection.net.reset(connection.id);
            world.tell(|_| format!("client {id} resets"));
            world.with(id, |client, sight| client.disconnect(sight));
        }
        10 if number < 150 => {
            world.tell(|_| format!("client {id} leaves"));
            world.with(id, |client, sight| client.disconnect(sight));
        }
        _ => (),
    }
}

/// Something new, or something whose answer was lost, by way of the ingress or of a subscriber.
fn publish(world: &mut World) {
    let own: Vec<usize> = (0..world.plan.channels.len())
        .filter(|&channel| world.plan.channels[channel].counts.is_none())
        .collect();
    let channel = world.dice.of(&own);
    let burst = if world.dice.one_in(30) { 40 } else { 1 + world.dice.below(4) };
    for _ in 0..burst {
        let is_retry = !world.retries.is_empty() && world.dice.one_in(2);
        let intent = match is_retry {
            true => world.retries.swap_remove(world.dice.below(world.retries.len())),
            false => intend(world, channel),
        };
        let speaker = world.dice.below(world.clients.len());
        let by_client = world.clients[speaker].kind == Kind::Commands
            && world.with(speaker, |client, sight| client.publish(intent, sight));
        if by_client {
            world.tell(|world| {
                format!("client {speaker} publishes {intent}: {:?}", world.book.intents[intent])
            });
        } else if !world.publish(intent) {
            // The same again may be tried by anybody: nothing has happened.
            if world.book.intents[intent].idempotency.is_some() {
                world.retries.push(intent);
            }
            break;
        } else if world.dice.one_in(12) && world.book.intents[intent].idempotency.is_some() {
            // A publisher that is not sure, and is told twice.
            world.retries.push(intent);
        }
    }
}

fn intend(world: &mut World, channel: usize) -> usize {
    let number = world.book.intents.len();
    let dice = &mut world.dice;
    let kind = dice.of(&[PayloadKind::Text, PayloadKind::Json, PayloadKind::Binary]);
    let filler = if dice.one_in(3) { dice.below(world.plan.payload_max) } else { dice.below(8) };
    let is_latest = world.plan.channels[channel].is_latest();
    let key = is_latest.then(|| format!("key{}", dice.below(KEYS as usize)));
    let idempotency = dice.one_in(2).then(|| format!("once{number}"));
    let (pushed, pushed_us) = (world.book.now(), world.now_us);
    let payload = payload(number, kind, filler);
    let (sent, acked, positions) = (0, None, Vec::new());
    world.book.intents.push(Intent {
        channel,
        kind,
        payload,
        key,
        idempotency,
        pushed,
        pushed_us,
        sent,
        acked,
        positions,
    });
    number
}

/// Everybody reads and answers, and everything comes to rest: then nobody is owed anything.
fn rest(world: &mut World) {
    world.tell(|_| "rest".into());
    world.nodes.iter_mut().for_each(|node| node.stuck = false);
    world.disk.iter_mut().for_each(|disk| disk.set_full(false));
    for client in &mut world.clients {
        client.is_resting = true;
        client.send_more(usize::MAX);
        if let Some(connection) = &mut client.connection {
            (connection.stalled, connection.mute) = (false, false);
            connection.net.resume(connection.id);
        }
    }
    world.settle();
    check_polls(world);
    for id in 0..world.clients.len() {
        if world.clients[id].kind == Kind::Poll {
            world.with(id, |client, sight| client.disconnect(sight));
        } else if world.clients[id].connection.is_none() && world.dice.one_in(2) {
            world.connect(id);
            world.clients[id].send_more(usize::MAX);
        }
    }
    linger(world);
    world.settle();
    assert_eq!(world.unanswered(), 0, "publications without an answer");
    for client in &world.clients {
        let connected = client.connection.as_ref().map(|connection| connection.id);
        world.tell(|_| {
            format!("client {} {:?} {connected:?} {:?}", client.id, client.kind, client.reads)
        });
    }
    let (plan, now_us) = (&world.plan, world.now_us);
    world.book.judge(plan, true, now_us);
    world.book.forget_judged();
    world.clients.iter_mut().for_each(|client| client.is_resting = false);
}

/// At rest no poll waits that could be answered.
fn check_polls(world: &World) {
    for client in &world.clients {
        if let Some(position) = client.polls_from() {
            let channel = client.reads[0].channel;
            let is_behind =
                world.lives_in(position.epoch) && world.book.is_behind(channel, position);
            assert!(!is_behind, "client {} polls from {position} in vain", client.id);
        }
    }
}

/// Time for the last presences, which are told once a second: until nobody came or went for longer.
fn linger(world: &mut World) {
    world.settle();
    if world.plan.channels.iter().all(|channel| channel.counts.is_none()) {
        return;
    }
    for _ in 0..6 {
        let before = world.book.comings_and_goings();
        pass(world, Duration::from_millis(2200));
        world.settle();
        if world.book.comings_and_goings() == before {
            return;
        }
    }
}

fn pass(world: &mut World, time: Duration) {
    let until_us = world.now_us + time.as_micros() as u64;
    while world.now_us < until_us {
        world.step(100_000);
        world.take_answers();
    }
}

/// In the end somebody asks each channel for all that it keeps.
fn audit(world: &mut World) {
    for id in 0..world.clients.len() {
        world.with(id, |client, sight| client.disconnect(sight));
    }
    world.plan.faults = Default::default();
    for channel in 0..world.plan.channels.len() {
        let id = world.clients.len();
        let mut auditor = Client::new(id, Kind::Sse, &[channel]);
        auditor.wants_all = true;
        world.clients.push(auditor);
        world.connect(id);
        world.clients[id].send_more(usize::MAX);
        world.settle();
    }
    linger(world);
    world.settle();
    let (plan, now_us) = (&world.plan, world.now_us);
    world.book.judge(plan, true, now_us);
}
