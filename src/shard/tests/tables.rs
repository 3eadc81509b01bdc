//! Full tables and too many channels: who is refused, how, and for how long.
//!
//! Method: calm worlds, in which every shard sleeps until something wakes it.

use super::{
    client::Phase,
    world::{Plan, World},
};
use crate::{close::CloseReason, frame::Format};

fn tight(plan: Plan) -> World {
    World::new(Plan { tight: true, ..plan })
}

/// Above the server's limit a client is answered 503, and each place that becomes free is taken.
#[test]
fn a_full_server_answers_503_until_somebody_leaves() {
    let mut world = tight(Plan { shards: 2, connections_max: 3, ..Plan::default() });
    let clients: Vec<usize> = (0..5).map(|n| world.join(n % 2, Format::WebSocket, 0)).collect();
    world.settle();
    let refused: Vec<usize> =
        clients.iter().copied().filter(|&it| world.said(it).is_some()).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|&it| world.clients[it].said == Some(503)));
    assert_eq!(world.counters.iter().map(|shard| shard.refused.get()).sum::<u64>(), 2);
    world.check_rest();
    let late = world.join(0, Format::Sse, 0);
    world.settle();
    assert_eq!(world.clients[late].said, Some(503));
    let alive = clients.into_iter().find(|it| !refused.contains(it)).unwrap();
    world.with(alive, |client, net| client.go(net, false));
    world.settle();
    let next = world.join(1, Format::Sse, 0);
    world.settle();
    assert_eq!(world.clients[next].phase, Phase::Live);
    world.check_rest();
    world.check_the_end();
}

/// The last slots of a table only answer 503.
#[test]
fn the_last_slots_of_a_table_only_refuse() {
    let mut world = tight(Plan { slots: 100, ..Plan::default() });
    (0..100).for_each(|_| _ = world.join(0, Format::WebSocket, 0));
    world.settle();
    assert_eq!(world.live(|_| true).count(), 98);
    assert_eq!(world.counters[0].closed[CloseReason::Overloaded.index()].get(), 2);
    world.check_rest();
    world.check_the_end();
}

/// While one shard's table is nearly full no shard accepts, and all go on as soon as it has room.
#[test]
fn one_exhausted_table_stops_all_shards() {
    let mut world = tight(Plan { shards: 3, slots: 20, ..Plan::default() });
    (0..20).for_each(|_| _ = world.join(1, Format::WebSocket, 0));
    world.settle();
    assert!(world.admission.is_exhausted());
    let waiting = [0, 1, 2].map(|shard| world.join(shard, Format::Sse, 0));
    world.settle();
    assert!(waiting.iter().all(|&it| world.clients[it].phase == Phase::Asking));
    assert_eq!([0, 2].map(|shard| world.nodes[shard].net.waiting()), [1, 1]);
    (0..10).for_each(|client| world.with(client, |client, net| client.go(net, true)));
    world.settle();
    assert!(waiting.iter().all(|&it| world.clients[it].phase == Phase::Live), "still waiting");
    world.check_rest();
    world.check_the_end();
}

/// A channel too many is answered 503; known channels go on, and a freed place is free.
#[test]
fn a_channel_too_many_is_refused() {
    let mut world = tight(Plan { channels: 2, channels_max: 1, ..Plan::default() });
    let first = world.join(0, Format::WebSocket, 0);
    world.settle();
    let refused = [Format::WebSocket, Format::Sse].map(|format| world.join(0, format, 1));
    world.settle();
    assert!(refused.iter().all(|&it| world.clients[it].said == Some(503)));
    let known = world.join(0, Format::Sse, 0);
    world.settle();
    world.tell(0, b"for two");
    world.settle();
    assert_eq!([first, known].map(|it| world.clients[it].frames), [1, 1]);
    world.check_rest();
    [first, known].into_iter().for_each(|it| world.with(it, |client, net| client.finish(net)));
    world.settle();
    let next = world.join(0, Format::Sse, 1);
    world.settle();
    assert_eq!(world.clients[next].phase, Phase::Live);
    world.check_the_end();
}

/// A home that does not answer costs its subscribers a 503 at the handshake's time-out.
#[test]
fn a_home_that_is_stuck_is_an_overload() {
    let mut world = tight(Plan { shards: 2, ..Plan::default() });
    let home = world.home(0);
    world.nodes[home].stuck = true;
    let client = world.join(1 - home, Format::WebSocket, 0);
    world.seconds(9.8);
    assert_eq!(world.clients[client].said, None);
    world.seconds(0.4);
    assert_eq!(world.clients[client].said, Some(503));
    world.nodes[home].stuck = false;
    world.seconds(1.0);
    world.check_rest();
    world.check_the_end();
}
