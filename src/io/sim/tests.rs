//! A streaming server on the simulated network, and each misuse that it catches.

use std::{
    collections::HashMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::*;
use crate::io::Listener;

/// A server that sends each client its own stream, with cursors, and closes at the end.
struct Streamer {
    sim: Sim,
    cursors: HashMap<Slot, (ClientId, usize)>,
    blocked: HashSet<Slot>,
    closing: HashSet<Slot>,
    trace: Vec<Event>,
}

const LENGTH: usize = 5000;

fn stream(client: ClientId) -> Vec<u8> {
    part(client, 0..LENGTH)
}

fn part(client: ClientId, range: Range<usize>) -> Vec<u8> {
    range.map(|at| (at as u32 ^ (at as u32 >> 7) ^ (client.0 * 77)) as u8).collect()
}

/// What one client got, and how it ended.
type Story = (ClientId, Vec<u8>, StreamEnd);

impl Streamer {
    fn new(sim: Sim) -> Streamer {
        Streamer {
            sim,
            cursors: HashMap::new(),
            blocked: HashSet::new(),
            closing: HashSet::new(),
            trace: Vec::new(),
        }
    }

    fn turn(&mut self, client_of: impl Fn(SocketAddr) -> ClientId) {
        let mut events = Vec::new();
        self.sim.events(&mut events);
        for &event in &events {
            match event {
                Event::Accepted(slot, _) => {
                    assert!(!self.closing.contains(&slot));
                    let client = client_of(self.sim.peer(slot).unwrap());
                    assert_eq!(self.cursors.insert(slot, (client, 0)), None);
                }
                Event::Writable(slot) => assert!(self.blocked.remove(&slot), "{slot:?}"),
                Event::Readable(slot) => panic!("nobody reads {slot:?}"),
                Event::Closed(slot) => assert!(self.closing.remove(&slot), "{slot:?}"),
            }
        }
        self.trace.extend(events);
        let mut due: Vec<Slot> = self.cursors.keys().copied().collect();
        due.retain(|slot| !self.blocked.contains(slot));
        due.sort();
        due.chunks(SEND_BATCH).for_each(|slots| self.send(slots));
    }

    fn send(&mut self, slots: &[Slot]) {
        let range = |at: usize| at..LENGTH.min(at + 900);
        let due = |slot: &Slot| self.cursors[slot];
        let parts: Vec<Vec<u8>> =
            slots.iter().map(due).map(|(client, at)| part(client, range(at))).collect();
        let sends: Vec<Send<'_>> =
            slots.iter().zip(&parts).map(|(&slot, bytes)| Send { slot, bytes }).collect();
        let mut exceptions = Vec::new();
        self.sim.send_batch(&sends, &mut exceptions);
        for (index, &slot) in slots.iter().enumerate() {
            let cursor = &mut self.cursors.get_mut(&slot).unwrap().1;
            match exceptions.iter().find(|it| it.index == index).map(|it| it.outcome) {
                None => *cursor = range(*cursor).end,
                Some(Outcome::Short(count)) => {
                    *cursor += count;
                    self.blocked.insert(slot);
                    self.sim.poll(slot, Interest::Write);
                }
                Some(Outcome::Broken) => *cursor = LENGTH,
            }
            if *cursor == LENGTH {
                self.cursors.remove(&slot);
                self.blocked.remove(&slot);
                self.closing.insert(slot);
                self.sim.close(slot);
            }
        }
    }
}

fn run(seed: u64, faults: Faults) -> (Vec<Event>, Vec<Story>) {
    let (mut sim, net) = Sim::new(seed, 7, faults);
    sim.set_accepting(true);
    let clients: Vec<ClientId> = (0..40).map(|_| net.connect()).collect();
    clients.iter().step_by(3).for_each(|&client| net.stall(client));
    let mut server = Streamer::new(sim);
    for turn in 0.. {
        assert!(turn < 10_000, "seed {seed}: never done");
        let all = clients.clone();
        server.turn(|peer| *all.iter().find(|client| client.address() == peer).unwrap());
        if turn == 200 {
            clients.iter().for_each(|&client| net.resume(client));
        }
        if clients.iter().all(|&client| net.end(client).is_some()) && server.closing.is_empty() {
            break;
        }
    }
    let ends = |&client: &ClientId| (client, net.take(client), net.end(client).unwrap());
    (server.trace, clients.iter().map(ends).collect())
}

/// Whatever goes wrong, each client gets exactly its stream; after a reset, the beginning of it.
///
/// Method: 40 clients on 7 slots, a third of which stall for a while, on 100 seeds without and with resets.
#[test]
fn a_stream_survives_every_fault() {
    let mut resets = 0;
    for seed in 0..100 {
        for (client, got, end) in run(seed, Faults::rough()).1 {
            assert_eq!(end, StreamEnd::Finished, "seed {seed}");
            assert!(got == stream(client), "seed {seed}, {client:?}");
        }
        for (client, got, end) in run(seed, Faults::rough_with_resets()).1 {
            assert!(stream(client).starts_with(&got), "seed {seed}, {client:?}");
            resets += usize::from(end == StreamEnd::Reset);
            assert!(end == StreamEnd::Reset || got.len() == LENGTH, "seed {seed}, {client:?}");
        }
    }
    assert!(resets > 100, "only {resets} resets");
}

/// The same seed gives the same events, another seed gives others.
#[test]
fn a_seed_repeats_itself() {
    assert_eq!(run(1, Faults::rough()), run(1, Faults::rough()));
    assert_ne!(run(1, Faults::rough()).0, run(2, Faults::rough()).0);
}

/// Receives bring the client's bytes in order, whatever the cuts, then the end or the reset.
#[test]
fn a_client_is_heard_to_the_end() {
    for seed in 0..100 {
        let (mut sim, net) = Sim::new(seed, 2, Faults::rough());
        sim.set_accepting(true);
        let client = net.connect();
        net.write(client, &stream(client));
        if seed % 2 == 0 {
            net.finish(client)
        } else {
            net.reset(client)
        }
        let (mut got, mut events, mut ended) = (Vec::<u8>::new(), Vec::new(), false);
        while !ended {
            sim.events(&mut events);
            for event in events.drain(..) {
                let (Event::Accepted(slot, _) | Event::Readable(slot)) = event else { panic!() };
                sim.poll(slot, Interest::Read);
                sim.receive_batch(&[slot], &mut |_, received| match received {
                    Received::Bytes(bytes) => got.extend(bytes),
                    Received::Nothing => panic!("seed {seed}: the end comes first"),
                    Received::End => ended = seed % 2 == 0,
                    Received::Broken => ended = seed % 2 == 1,
                });
            }
        }
        assert!(got == stream(client), "seed {seed}");
    }
}

/// A close that leaves input unread resets the connection, and what was under way is lost.
#[test]
fn a_close_with_unread_input_is_a_reset() {
    let (mut sim, net) = Sim::new(0, 1, Faults::default());
    sim.set_accepting(true);
    let client = net.connect();
    net.stall(client);
    let mut events = Vec::new();
    sim.events(&mut events);
    assert_eq!(events, [Event::Accepted(Slot(0), Listener::default())]);
    sim.send_batch(&[Send { slot: Slot(0), bytes: b"answer" }], &mut Vec::new());
    net.write(client, b"too much");
    sim.close(Slot(0));
    net.resume(client);
    assert_eq!((net.take(client), net.end(client)), (Vec::new(), Some(StreamEnd::Reset)));
}

/// A client that left takes one more send without a word; the next finds it gone.
#[test]
fn a_client_that_left_breaks_the_second_send() {
    let (mut sim, net) = Sim::new(0, 1, Faults::default());
    sim.set_accepting(true);
    let client = net.connect();
    sim.events(&mut Vec::new());
    net.leave(client);
    let sends = [Send { slot: Slot(0), bytes: b"tick" }];
    let mut exceptions = Vec::new();
    sim.send_batch(&sends, &mut exceptions);
    assert_eq!(exceptions, []);
    sim.send_batch(&sends, &mut exceptions);
    assert_eq!(exceptions, [Exception { index: 0, outcome: Outcome::Broken }]);
}

/// Each misuse of the kernel is an assertion, in a table with one open, one closed, one free slot.
#[test]
fn misuse_is_an_assertion() {
    let (open, closed, free) = (Slot(0), Slot(1), Slot(2));
    let refuses = |misuse: &dyn Fn(&mut Sim)| {
        let (mut sim, net) = Sim::new(3, 3, Faults { late: 0, ..Faults::default() });
        let connection =
            Connection { client: net.connect(), reading: false, writing: false, shut_down: false };
        sim.places[open.index()] = Place::Open(connection);
        sim.places[closed.index()] = Place::Closing;
        catch_unwind(AssertUnwindSafe(|| misuse(&mut sim))).is_err()
    };
    let send = |slot, bytes| Send { slot, bytes };
    assert!(!refuses(&|sim| sim.send_batch(&[send(open, b"x")], &mut Vec::new())), "control");
    assert!(refuses(&|sim| sim.send_batch(&[send(open, b"x"); 2], &mut Vec::new())));
    assert!(refuses(&|sim| sim.send_batch(&[send(open, b"")], &mut Vec::new())));
    let many: Vec<Send<'_>> = (0..=SEND_BATCH).map(|it| send(Slot(it as u32), b"x")).collect();
    assert!(refuses(&|sim| sim.send_batch(&many, &mut Vec::new())));
    assert!(refuses(&|sim| sim.receive_batch(&[open; 2], &mut |_, _| {})));
    assert!(refuses(&|sim| {
        sim.shutdown(open);
        sim.send_batch(&[send(open, b"x")], &mut Vec::new());
    }));
    assert!(refuses(&|sim| {
        sim.close(open);
        sim.close(open);
    }));
    for slot in [closed, free] {
        assert!(refuses(&|sim| sim.send_batch(&[send(slot, b"x")], &mut Vec::new())));
        assert!(refuses(&|sim| sim.receive_batch(&[slot], &mut |_, _| {})));
        assert!(refuses(&|sim| sim.poll(slot, Interest::Read)));
        assert!(refuses(&|sim| sim.shutdown(slot)));
        assert!(refuses(&|sim| sim.close(slot)));
        assert!(refuses(&|sim| _ = sim.peer(slot)));
    }
}
