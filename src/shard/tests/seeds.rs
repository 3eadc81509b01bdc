//! Random worlds: everything at once, for as many seeds as there is time.

use std::time::Duration;

use super::{
    client::{Kind, Phase},
    protocol::{self, masked},
    world::{Plan, World},
};
use crate::{
    frame::Format,
    io::sim::{Dice, Faults},
    session::Rules,
};

/// What a random world does beside being a world.
struct Wild {
    world: World,
    /// Clients that it wants to have.
    crowd: usize,
    payload_max: usize,
    published: usize,
    drains_at: Option<usize>,
}

fn short_rules() -> Rules {
    Rules {
        handshake_timeout: Duration::from_millis(900),
        ping_interval: Duration::from_millis(1000),
        pong_timeout: Duration::from_millis(700),
        stall_timeout: Duration::from_millis(800),
        ..Rules::default()
    }
}

impl Wild {
    fn new(seed: u64) -> Wild {
        let mut dice = Dice::new(seed);
        let is_crowd = dice.one_in(8);
        let slots = if is_crowd { 300 + dice.below(300) } else { 8 + dice.below(50) };
        let shards = 1 + dice.below(3);
        let tight = dice.one_in(4);
        let crowd = if tight { slots * shards * 5 / 4 } else { slots * shards / 2 };
        let channels = 1 + dice.below(if is_crowd { 2 } else { 6 });
        let plan = Plan {
            seed,
            shards: shards as u16,
            slots: slots as u32,
            channels,
            inbox: dice.of(&[1, 1, 2, 5, 100]),
            places: dice.of(&[1, 2, 7, 64, 400]),
            faults: Faults::any(&mut dice, 3000),
            lag_bytes_max: if dice.one_in(3) { 300 + dice.below(4000) } else { usize::MAX },
            channels_max: if tight { dice.of(&[1, 2, 100]) } else { 100 },
            connections_max: if tight { (slots * shards / 2) as u32 } else { 9999 },
            sleepy: !dice.one_in(3),
            jumpy: dice.one_in(4),
            tight,
            no_desks: false,
            window: Duration::from_millis(dice.below(3000) as u64),
            rules: short_rules(),
        };
        let drains_at = dice.one_in(3).then(|| 100 + dice.below(400));
        let payload_max = if is_crowd { 60 } else { dice.of(&[10, 100, 300, 1500]) };
        Wild { world: World::new(plan), crowd, payload_max, published: 0, drains_at }
    }

    fn act(&mut self) {
        let dice = &mut self.world.dice;
        match dice.below(20) {
            0..5 => self.connect(),
            5..9 => self.publish(),
            9..11 => {
                let home = dice.below(self.world.nodes.len());
                self.world.take_answers(home);
            }
            11 if dice.one_in(20) && self.world.plan.jumpy => {
                self.world.now_us += dice.below(4_000_000) as u64;
            }
            11 if dice.one_in(3) => {
                let node = dice.below(self.world.nodes.len());
                self.world.nodes[node].stuck = dice.one_in(2);
            }
            11 if dice.one_in(10) => self.world.now_us += dice.below(150_000) as u64,
            _ if !self.world.clients.is_empty() => {
                let client = dice.below(self.world.clients.len());
                self.act_as(client);
            }
            _ => (),
        }
    }

    fn connect(&mut self) {
        let alive = self.world.clients.iter().filter(|client| !client.left).count();
        for _ in 0..(1 + self.crowd / 40).min(self.crowd.saturating_sub(alive)) {
            let dice = &mut self.world.dice;
            let kind = match dice.below(20) {
                0 => Kind::Lost(dice.of(&[404, 400])),
                1..12 => Kind::Reader(Format::WebSocket),
                _ => Kind::Reader(Format::Sse),
            };
            let shard = dice.below(self.world.nodes.len());
            let channel = if dice.one_in(2) { dice.below(self.world.names.len()) } else { 0 };
            let part = if dice.one_in(4) { dice.below(300) } else { usize::MAX };
            let (lingers, pipelined) = (dice.one_in(10), dice.below(40));
            let client = self.world.connect(shard, kind, channel);
            self.world.with(client, |client, net| {
                client.lingers = lingers;
                client.ask(net, part);
                let whole = client.is_websocket() && client.unsent() == 0;
                match pipelined {
                    0..2 if whole => client.ping(net, b"early".to_vec()),
                    2 if whole => client.close(net, Some(1000)),
                    3 if whole => {
                        client.close(net, None);
                        client.finish(net);
                    }
                    _ => (),
                }
            });
        }
    }

    fn publish(&mut self) {
        if self.world.drain.has_begun() {
            return;
        }
        let dice = &mut self.world.dice;
        let is_crowd = self.world.plan.slots >= 300;
        let burst = match dice.below(if is_crowd { 10 } else { 40 }) {
            0 if !is_crowd => 300,
            it if is_crowd => usize::from(it == 0),
            _ => 1 + dice.below(6),
        };
        let channel = dice.below(self.world.names.len());
        for _ in 0..burst {
            let payload = self.payload();
            if !self.world.publish(channel, &payload) {
                break;
            }
            self.published += 1;
        }
        self.world.wake_home(channel);
    }

    /// Text or bytes, in lines or not, and never twice the same.
    fn payload(&mut self) -> Vec<u8> {
        let dice = &mut self.world.dice;
        let mut payload = format!("{}:", self.published).into_bytes();
        let filler: &[u8] = dice.of(&[b"x", b"\n", b"two words ", b"a\r\nb\rc", b"\xff\x00"]);
        let len = if dice.one_in(3) { dice.below(self.payload_max) } else { dice.below(12) };
        payload.extend(filler.iter().cycle().take(len));
        payload
    }

    fn act_as(&mut self, index: usize) {
        let dice = &mut self.world.dice;
        let (act, number) = (dice.below(40), dice.below(300));
        let forever = self.published;
        self.world.with(index, |client, net| {
            let talks = client.speaks() && client.is_websocket() && client.phase == Phase::Live;
            match act {
                _ if client.left => (),
                0..12 if client.unsent() > 0 => client.ask(net, number),
                0 if talks && number < 20 => {
                    (0..150)
                        .for_each(|n| client.ping(net, format!("flood of pings {n:020}").into()));
                }
                0..6 if talks => client.ping(net, format!("{forever}").into_bytes()),
                6 if talks => client.close(net, (number > 100).then_some(1000 + number as u16 % 3)),
                7 if talks => {
                    let (bytes, code) = garbage(number);
                    client.garbage(net, &bytes, code);
                }
                8 if talks => {
                    client.close(net, None);
                    client.finish(net);
                }
                9 if number % 3 == 0 => client.finish(net),
                10 if number % 2 == 0 => client.go(net, true),
                11 if number % 2 == 0 => client.go(net, false),
                12..20 if client.stalled => client.stall(net, false),
                12..16 => client.stall(net, true),
                20 => client.mute = !client.mute,
                21 if !talks && client.phase == Phase::Live && client.speaks() => {
                    // More than one read, and no answer that would have it read again.
                    net.write(client.id, &[b'x'; 5000]);
                }
                _ => (),
            }
        });
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            (0..1 + self.world.dice.below(3)).for_each(|_| self.act());
            if self.drains_at == Some(step) {
                self.world.begin_drain();
            }
            if step % 16 == 0 {
                // Nobody hangs for long: time-outs are not to notice.
                self.world.nodes.iter_mut().for_each(|node| node.stuck = false);
            }
            let us = self.world.dice.of(&[50, 500, 2000, 9000]);
            self.world.step(us);
        }
    }

    /// Brings it to rest, looks, publishes once more, and sees everybody off.
    fn finish(mut self) -> usize {
        self.world.nodes.iter_mut().for_each(|node| node.stuck = false);
        if self.world.drain.has_begun() {
            return self.finish_drain();
        }
        self.world.come_to_rest();
        self.world.check_rest();
        for channel in 0..self.world.names.len() {
            assert!(self.world.publish(channel, format!("last {channel}").as_bytes()));
            self.world.wake_home(channel);
            let reading = self.world.live(|client| client.channel == channel).count() as u64;
            self.world.settle();
            assert_eq!(self.world.last_subscribers(channel), reading);
        }
        self.world.check_rest();
        self.world.check_the_end();
        self.frames()
    }

    /// All shards end in time, and nobody who is alive has missed anything before its last word.
    fn finish_drain(mut self) -> usize {
        self.world.come_to_rest();
        // A clock that jumps over the whole window leaves no time for goodbyes.
        let excused = self.world.plan.jumpy;
        if !excused {
            self.world.clients.iter().for_each(|client| client.check_complete(&self.world.book));
        }
        let longest = self.world.plan.window + Duration::from_secs(4);
        self.world.pass(longest, 10_000, |world| world.nodes.iter().all(|node| node.over));
        assert!(self.world.nodes.iter().all(|node| node.over), "a shard does not end");
        (0..self.world.nodes.len()).for_each(|home| self.world.take_answers(home));
        assert_eq!(self.world.unanswered(), 0, "publications without an answer");
        self.world.read();
        let forgotten: Vec<_> = self.world.live(|_| true).collect();
        assert!(excused || forgotten.is_empty(), "nobody said goodbye to {forgotten:?}");
        self.frames()
    }

    fn frames(&self) -> usize {
        self.world.clients.iter().map(|client| client.frames).sum()
    }
}

/// Bytes that no client may send, and the code that says so.
fn garbage(number: usize) -> (Vec<u8>, u16) {
    match number % 5 {
        0 => (vec![0x81, 0x01, b'x'], 1002),
        1 => (masked(3, b""), 1002),
        2 => (masked(protocol::TEXT, b"hello"), 1008),
        3 => (masked(protocol::CLOSE, &[3, 232, 0xff]), 1007),
        _ => (vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
    }
}

/// The seed that was asked for, or all of them.
fn seeds(all: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("STENTOR_SEED") {
        Ok(seed) => vec![seed.parse().expect("STENTOR_SEED is a number")],
        Err(_) => all.collect(),
    }
}

fn run_all(all: std::ops::Range<u64>, frames_min: usize) {
    let alone = std::env::var("STENTOR_SEED").is_ok();
    let mut frames = 0;
    for seed in seeds(all) {
        println!("STENTOR_SEED={seed}");
        let mut wild = Wild::new(seed);
        wild.run(600);
        frames += wild.finish();
    }
    assert!(alone || frames > frames_min, "the method reaches too little: {frames} frames");
}

/// Whatever clients, sockets, inboxes and clocks do, everybody gets exactly what it must, and at
/// rest nothing is left over.
///
/// Method: worlds of random size, with random faults, limits and patience; see the module's head.
#[test]
fn everybody_gets_exactly_what_it_must() {
    run_all(0..150, 1000);
}

/// The same again with other seeds, so that two cores share them.
#[test]
fn everybody_gets_exactly_what_it_must_again() {
    run_all(1000..1150, 1000);
}
