//! The end of a server: everybody is told, spread over the window, and every shard ends.
//!
//! Method: calm worlds that begin to drain in a chosen state. Shards sleep, so one that is not
//! woken never ends.

use std::time::Duration;

use super::{
    client::{Kind, Phase},
    protocol::Head,
    world::{Plan, World},
};
use crate::{close::CloseReason, frame::Format, io::sim::Faults};

fn is_over(world: &World) -> bool {
    world.nodes.iter().all(|node| node.over)
}

/// Drains to the end, which must come within the window and what a goodbye may take.
fn drain(world: &mut World) {
    world.begin_drain();
    let longest = world.plan.window + Duration::from_millis(2400);
    world.pass(longest, 10_000, is_over);
    assert!(is_over(world), "a shard has not ended");
}

/// Subscribers are told evenly over the window: 1012, or the end of the stream.
#[test]
fn goodbyes_are_spread_over_the_window() {
    let mut world = World::new(Plan { shards: 2, slots: 300, ..Plan::default() });
    for n in 0..400 {
        world.join(n % 2, Format::ALL[n / 2 % 2], 0);
    }
    world.seconds(300.0);
    let began_us = world.now_us;
    drain(&mut world);
    let mut quarters = [0; 5];
    for client in &world.clients {
        assert_eq!(client.said, Some(if client.is_websocket() { 1012 } else { 200 }));
        quarters[((client.said_us - began_us) / 1_000_000) as usize] += 1;
    }
    assert!(quarters[..4].iter().all(|told| (70..130).contains(told)), "{quarters:?}");
    assert!(quarters[4] < 10, "{quarters:?}");
    let told: u64 = world.counters.iter().map(|it| it.closed[11].get()).sum();
    assert_eq!((told, CloseReason::ALL[11]), (400, CloseReason::ServerDraining));
}

/// Half a request, a subscription whose home does not answer, a peer that was just pinged and one
/// whose socket is full are all ended in time; who comes late is told so.
#[test]
fn nobody_holds_a_drain_up() {
    let faults = Faults { socket_bytes: 500, ..Faults::default() };
    let mut world = World::new(Plan { shards: 2, channels: 2, faults, ..Plan::default() });
    let away = world.home(0);
    let here = 1 - away;
    assert_eq!(world.home(1), here, "one channel is homed here, one away");
    let half = world.connect(here, Kind::Reader(Format::WebSocket), 1);
    let [full, pinged, quick] = [(); 3].map(|()| world.join(here, Format::WebSocket, 1));
    world.settle();
    world.with(pinged, |client, _| client.mute = true);
    world.pass(Duration::from_secs(60), 10_000, |world| world.clients[pinged].pings > 0);
    world.with(full, |client, net| client.stall(net, true));
    (0..20).for_each(|n| world.tell(1, format!("{n:0100}").as_bytes()));
    let half = if world.clients[half].phase == Phase::Over {
        world.connect(here, Kind::Reader(Format::WebSocket), 1)
    } else {
        half
    };
    world.with(half, |client, net| client.ask(net, 30));
    world.settle();
    world.nodes[away].stuck = true;
    let pending = world.join(here, Format::Sse, 0);
    world.settle();
    assert_eq!(world.clients[pending].phase, Phase::Asking);
    world.begin_drain();
    let late = world.join(here, Format::WebSocket, 1);
    world.pass(Duration::from_millis(6400), 10_000, |_| false);
    world.nodes[away].stuck = false;
    world.pass(Duration::from_secs(2), 10_000, is_over);
    assert!(is_over(&world), "a shard has not ended");
    world.with(full, |client, net| client.stall(net, false));
    world.read();
    let said = [half, pending, pinged, quick].map(|it| world.clients[it].said);
    assert_eq!(said, [Some(503), Some(503), Some(1012), Some(1012)]);
    let reason = |client: usize| world.clients[client].reason;
    assert_eq!([half, pending].map(reason), [Some(CloseReason::ServerDraining); 2]);
    assert_eq!(world.clients[full].phase, Phase::Over);
    assert_eq!((world.clients[late].said, world.nodes[here].net.waiting()), (Some(503), 0));
}

/// After a hand-over who was accepted at the last moment is served, though its request comes behind
/// the end of the window: whatever its slot, its handshake is completed, and only then is it told. A
/// poll that waits is answered with nothing. Who never asks is told of its own time-out.
#[test]
fn a_hand_over_turns_nobody_away() {
    let mut world = World::new(Plan::default());
    let [never, late @ ..] =
        [(); 20].map(|()| world.connect(0, Kind::Reader(Format::WebSocket), 0));
    let poll = world.nodes[0].net.connect();
    late.iter().for_each(|&late| world.with(late, |client, net| client.ask(net, 30)));
    let asked = format!("GET /poll/{} HTTP/1.1\r\nHost: h\r\n\r\n", world.names[0]);
    world.nodes[0].net.write(poll, asked.as_bytes());
    world.settle();
    assert_eq!(world.nodes[0].net.take(poll), b"", "it waits");
    world.drain.hand_over();
    world.begin_drain();
    world.seconds(6.5);
    assert!(late.iter().all(|&late| world.said(late).is_none()));
    late.iter().for_each(|&late| world.with(late, |client, net| client.ask(net, usize::MAX)));
    world.settle();
    world.seconds(0.5);
    assert!(late.iter().all(|&late| world.clients[late].said == Some(1012)));
    let answer = Head::take(&world.nodes[0].net.take(poll)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("Connection: close"), "{}", answer.text);
    world.pass(Duration::from_secs(8), 10_000, is_over);
    assert!(is_over(&world), "a shard has not ended");
    assert_eq!(world.clients[never].said, Some(408));
}

/// A home without subscribers of its own stays until it has told others all that was published,
/// and everybody's publishers are answered.
#[test]
fn a_home_stays_until_all_are_told() {
    for inbox in [1, 2, 64] {
        let mut world = World::new(Plan { shards: 2, inbox, places: 1000, ..Plan::default() });
        let home = world.home(0);
        let clients =
            [Format::WebSocket, Format::Sse].map(|format| world.join(1 - home, format, 0));
        world.settle();
        (0..600).for_each(|n| world.tell(0, format!("{n}").as_bytes()));
        world.begin_drain();
        // The readers' shard is late, and its inbox stays full.
        world.nodes[1 - home].stuck = true;
        (0..10).for_each(|_| _ = world.step(1000));
        world.nodes[1 - home].stuck = false;
        (0..50).for_each(|_| _ = world.step(1000));
        let frames = clients.map(|it| world.clients[it].frames);
        assert_eq!(frames, [600, 600], "an inbox of {inbox}");
        world.pass(Duration::from_secs(7), 10_000, is_over);
        assert!(is_over(&world), "a shard has not ended");
        world.take_answers(home);
        assert_eq!(world.unanswered(), 0, "publications without an answer");
    }
}

/// A server without subscribers answers what it was handed before it ends.
#[test]
fn the_last_publications_are_answered() {
    let mut world = World::new(Plan { places: 1000, ..Plan::default() });
    (0..1000).for_each(|n| world.tell(0, format!("{n}").as_bytes()));
    drain(&mut world);
    world.take_answers(0);
    assert_eq!(world.unanswered(), 0);
}

/// Without a window everybody is told at once.
#[test]
fn a_window_of_nothing_is_at_once() {
    let mut world = World::new(Plan { window: Duration::ZERO, ..Plan::default() });
    (0..20).for_each(|n| _ = world.join(0, Format::ALL[n % 2], 0));
    world.settle();
    let began_us = world.now_us;
    drain(&mut world);
    assert!(world.now_us - began_us < 300_000);
    assert!(world.clients.iter().all(|client| client.said.is_some()));
}
