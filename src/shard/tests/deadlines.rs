//! Time-outs and signs of life, each at its time and not before.
//!
//! Method: calm worlds in steps of 50 ms with the rules that a server has unless told otherwise,
//! whose shards sleep for as long as they say that they may.

use std::time::Duration;

use super::{
    client::{Kind, Phase},
    world::{Plan, World},
};
use crate::{close::CloseReason, frame::Format, io::sim::Faults};

fn calm() -> World {
    World::new(Plan::default())
}

/// Who answers pings stays, for as long as it does; who falls silent is closed with 1001 when the
/// pong time-out after the next ping is over.
#[test]
fn a_peer_lives_while_it_answers_pings() {
    let mut world = calm();
    let clients: Vec<usize> = (0..10).map(|_| world.join(0, Format::WebSocket, 0)).collect();
    world.seconds(600.0);
    for &client in &clients {
        let pings = world.clients[client].pings;
        assert!((10..=12).contains(&pings), "{pings} pings in ten minutes");
    }
    let silent_from = world.now_us as f64 / 1e6;
    clients[..5].iter().for_each(|&it| world.clients[it].mute = true);
    world.seconds(80.0);
    for &client in &clients[..5] {
        let (code, at) = world.said(client).expect("closed");
        assert_eq!((code, world.clients[client].reason), (1001, Some(CloseReason::PeerSilent)));
        assert!((20.0..75.3).contains(&(at - silent_from)), "after {} s", at - silent_from);
    }
    assert_eq!(world.live(|_| true).count(), 5, "the others stay");
    world.settle();
    world.check_rest();
    world.check_the_end();
}

/// Anything that a peer sends counts as a sign of life, and spares it the ping.
#[test]
fn who_speaks_is_not_pinged() {
    let mut world = calm();
    let client = world.join(0, Format::WebSocket, 0);
    for round in 0..20 {
        world.seconds(30.0);
        world.with(client, |client, net| client.ping(net, vec![round]));
    }
    assert_eq!((world.clients[client].pings, world.clients[client].phase), (0, Phase::Live));
}

/// A request that does not come whole is answered 408 at the handshake's time-out, however it is
/// drawn out, and a connection that says nothing at all as well.
#[test]
fn a_handshake_has_its_time() {
    let mut world = calm();
    let [slow, mute] = [(); 2].map(|()| world.connect(0, Kind::Reader(Format::WebSocket), 0));
    for _ in 0..98 {
        world.with(slow, |client, net| client.ask(net, 1));
        world.seconds(0.1);
    }
    assert_eq!([slow, mute].map(|it| world.clients[it].said), [None, None]);
    world.seconds(0.4);
    assert_eq!([slow, mute].map(|it| world.clients[it].said), [Some(408), Some(408)]);
    world.settle();
    world.check_the_end();
}

/// A peer that takes nothing is cut off at the stall time-out; one that takes a little stays.
#[test]
fn a_stalled_peer_is_cut_off() {
    let faults = Faults { socket_bytes: 2000, ..Faults::default() };
    let mut world = World::new(Plan { faults, ..Plan::default() });
    let [dead, slow] = [(); 2].map(|()| world.join(0, Format::Sse, 0));
    world.settle();
    [dead, slow].iter().for_each(|&it| world.with(it, |client, net| client.stall(net, true)));
    (0..50).for_each(|n| world.tell(0, format!("{n:0200}").as_bytes()));
    world.settle();
    assert_eq!(world.nodes[0].shard.views.blocked(), 2);
    let id = world.clients[dead].id;
    for second in 0..29 {
        assert!(world.nodes[0].net.slot(id).is_some(), "cut off after {second} s");
        if second % 20 == 10 {
            world.with(slow, |client, net| client.stall(net, false));
            world.step(1000);
            world.with(slow, |client, net| client.stall(net, true));
        }
        world.seconds(1.0);
    }
    world.seconds(1.3);
    assert!(world.nodes[0].net.slot(id).is_none(), "it is still there");
    assert_eq!(world.counters[0].closed[CloseReason::PeerStalled.index()].get(), 1);
    world.with(dead, |client, net| client.stall(net, false));
    world.with(slow, |client, net| client.stall(net, false));
    world.settle();
    assert_eq!(world.clients[slow].frames, 50);
    world.check_rest();
    world.check_the_end();
}

/// An event stream gets a comment when nothing was sent for the ping interval, and never else.
#[test]
fn a_heartbeat_comes_only_into_silence() {
    let mut world = calm();
    let client = world.join(0, Format::Sse, 0);
    for n in 0..30 {
        world.seconds(40.0);
        world.tell(0, format!("{n}").as_bytes());
    }
    assert_eq!((world.clients[client].frames, world.clients[client].heartbeats), (29, 0));
    world.seconds(560.0);
    let heartbeats = world.clients[client].heartbeats;
    assert!((10..=11).contains(&heartbeats), "{heartbeats} heartbeats");
    world.settle();
    world.check_rest();
}

/// A client that stays after the server's goodbye is dropped two seconds later.
#[test]
fn a_goodbye_is_not_waited_for_long() {
    let mut world = calm();
    let client = world.join(0, Format::WebSocket, 0);
    world.settle();
    world.clients[client].lingers = true;
    world.with(client, |client, net| client.close(net, Some(1000)));
    world.seconds(1.8);
    assert_eq!(world.clients[client].said, Some(1000));
    let id = world.clients[client].id;
    assert!(world.nodes[0].net.slot(id).is_some());
    world.seconds(0.5);
    assert!(world.nodes[0].net.slot(id).is_none());
    world.check_rest();
}

/// A shard without anything to do sleeps: it turns a handful of times per ping, not per tick.
#[test]
fn an_idle_shard_sleeps() {
    let mut world = calm();
    (0..10).for_each(|_| _ = world.join(0, Format::WebSocket, 0));
    world.settle();
    let before = world.counters[0].turns.get();
    world.pass(Duration::from_secs(600), 10_000, |_| false);
    let turns = world.counters[0].turns.get() - before;
    let pings: usize = world.clients.iter().map(|client| client.pings).sum();
    assert!(turns < 10 * pings as u64, "{turns} turns for {pings} pings");
}
