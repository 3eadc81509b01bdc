//! What operators are told of connections, and closing them.
//!
//! Method: calm worlds; what the walk tells is compared with what the clients know of themselves.

use std::collections::BTreeSet;

use super::{
    client::Kind,
    world::{Plan, World},
};
use crate::{
    close::CloseReason,
    frame::Format,
    ids::{ConnectionId, ShardId, Slot},
    io::sim::Faults,
    limits::{CONNECTION_STEPS_MAX, SHOWN_CONNECTION_STEPS},
    report::{ConnectionReport, Lag, Transport, Wanted},
};

/// Everything that a walk tells, in pages of `limit`, and how many pages there were.
fn walk(world: &mut World, wanted: &Wanted, limit: usize) -> (Vec<ConnectionReport>, usize) {
    let (mut all, mut from, mut pages) = (Vec::new(), Some(Slot(0)), 0);
    while let Some(at) = from {
        let report = world.nodes[0].shard.connections(wanted, at, limit);
        assert!(report.connections.len() <= limit);
        all.extend(report.connections);
        (from, pages) = (report.next, pages + 1);
    }
    (all, pages)
}

/// Turns the shard once, as a question that waits for it would.
fn wake(world: &mut World) {
    world.nodes[0].shard.setup.parking.wake();
    world.settle();
}

fn id_of(world: &World, client: usize) -> ConnectionId {
    let slot = world.nodes[0].net.slot(world.clients[client].id).expect("it is connected");
    world.nodes[0].shard.connection_id(slot)
}

/// A walk tells of every connection once, with where it comes from and what it reads, whatever the
/// size of its pages; and of those alone that are wanted.
#[test]
fn every_connection_is_told_once() {
    let mut world = World::new(Plan { channels: 3, ..Plan::default() });
    let formats = [Format::WebSocket, Format::Sse];
    let clients: Vec<usize> = (0..20).map(|n| world.join(0, formats[n % 2], n % 3)).collect();
    let silent = world.connect(0, Kind::Lost(404), 0);
    world.with(silent, |client, _| client.mute = true);
    world.settle();
    world.seconds(1.0);
    let known = |world: &World, client: usize| {
        let kind = [Transport::WebSocket, Transport::Sse][client % 2];
        let it = &world.clients[client];
        (id_of(world, client), Some(it.id.address()), kind, world.names[client % 3].clone())
    };
    let readers: BTreeSet<_> =
        clients.iter().map(|&it| format!("{:?}", known(&world, it))).collect();
    for limit in [1, 7, 1000] {
        let (told, _) = walk(&mut world, &Wanted::default(), limit);
        let told: Vec<_> = told.into_iter().filter(|it| it.subscriptions > 0).collect();
        assert_eq!(told.len(), clients.len());
        let told = told.iter().map(|it| {
            let channel = it.channels[0].channel.clone();
            assert_eq!((it.subscriptions, it.channels.len(), it.blocked), (1, 1, false));
            format!("{:?}", (it.id, it.address, it.transport, channel))
        });
        assert_eq!(told.collect::<BTreeSet<_>>(), readers, "pages of {limit}");
    }
    let count = |world: &mut World, wanted: Wanted| walk(world, &wanted, 5).0.len();
    let channel = Some(world.names[1].clone());
    assert_eq!(count(&mut world, Wanted { channel: channel.clone(), ..Wanted::default() }), 7);
    let transport = Some(Transport::Sse);
    assert_eq!(count(&mut world, Wanted { transport, ..Wanted::default() }), 10);
    assert_eq!(count(&mut world, Wanted { transport, channel, address: None }), 4);
    let address = Some(world.clients[3].id.address().ip());
    let same = (0..20).filter(|&it| Some(world.clients[it].id.address().ip()) == address).count();
    let told = walk(&mut world, &Wanted { address, ..Wanted::default() }, 5).0;
    assert_eq!(told.iter().filter(|it| it.subscriptions > 0).count(), same);
    let address = Some("192.0.2.1".parse().unwrap());
    assert_eq!(count(&mut world, Wanted { address, ..Wanted::default() }), 0);
}

/// However large the table and the page: one part of a walk takes no more steps than it may.
#[test]
fn a_walk_is_made_in_parts() {
    let slots = 3 * CONNECTION_STEPS_MAX as u32;
    let mut world = World::new(Plan { slots, places: 1024, inbox: 1024, ..Plan::default() });
    let per_part = CONNECTION_STEPS_MAX / SHOWN_CONNECTION_STEPS;
    for _ in 0..2 * per_part {
        world.join(0, Format::Sse, 0);
    }
    world.settle();
    let mut from = Some(Slot(0));
    let (mut told, mut parts) = (0, 0);
    while let Some(at) = from {
        let report = world.nodes[0].shard.connections(&Wanted::default(), at, usize::MAX);
        assert!(report.connections.len() <= per_part);
        told += report.connections.len();
        let walked = report.next.map_or(slots, |next| next.0) - at.0;
        assert!(walked as usize <= CONNECTION_STEPS_MAX);
        (from, parts) = (report.next, parts + 1);
    }
    assert_eq!(told, 2 * per_part);
    assert!(parts >= 5, "{parts}: two of connections, and three of a table that is mostly empty");
}

/// An id names one connection: its successor in the same slot has another, and what is closed is told
/// why, while the others read on.
#[test]
fn who_is_closed_is_told_and_gone() {
    for (format, reason, said) in [
        (Format::WebSocket, CloseReason::Expelled, 1008),
        (Format::WebSocket, CloseReason::Moved, 1012),
        (Format::Sse, CloseReason::Expelled, 200),
    ] {
        let mut world = World::new(Plan::default());
        let [closed, stays] = [(); 2].map(|()| world.join(0, format, 0));
        world.settle();
        let id = id_of(&world, closed);
        let other = ConnectionId { generation: id.generation + 1, ..id };
        let beyond = ConnectionId { slot: Slot(64), ..id };
        assert_eq!(id.shard, ShardId(0));
        for nobody in [other, beyond] {
            assert_eq!(world.nodes[0].shard.connection(nobody, Some(reason)), None);
        }
        world.clients[closed].expelled = Some(reason);
        let report = world.nodes[0].shard.connection(id, Some(reason)).expect("it is there");
        assert_eq!((report.id, report.subscriptions), (id, 1));
        wake(&mut world);
        world.seconds(5.0);
        assert_eq!(world.clients[closed].said, Some(said));
        assert_eq!(world.counters[0].closed[reason.index()].get(), 1);
        assert_eq!(world.nodes[0].shard.connection(id, Some(reason)), None);
        let successors: Vec<usize> = (0..62).map(|_| world.join(0, format, 0)).collect();
        world.settle();
        let ids: BTreeSet<ConnectionId> =
            successors.iter().map(|&client| id_of(&world, client)).collect();
        assert!(ids.contains(&other), "the slot was used again: {ids:?}");
        world.tell(0, b"all");
        world.settle();
        assert_eq!(world.clients[stays].frames, 1);
        world.check_rest();
    }
}

/// A reader that has stopped is told of with what it has yet to be sent, and with when it connected.
#[test]
fn who_lags_is_told_of() {
    let faults = Faults { socket_bytes: 200, ..Faults::default() };
    let mut world = World::new(Plan { faults, ..Plan::default() });
    world.seconds(3.0);
    let [slow, swift] = [(); 2].map(|()| world.join(0, Format::WebSocket, 0));
    world.settle();
    world.with(slow, |client, net| client.stall(net, true));
    for _ in 0..5 {
        world.tell(0, &[b'x'; 98]);
        world.settle();
    }
    world.seconds(2.0);
    wake(&mut world);
    let [slow, swift] = [slow, swift].map(|client| {
        let id = id_of(&world, client);
        world.nodes[0].shard.connection(id, None).expect("it is there")
    });
    // Frames of 100 bytes: two are in the socket, three are not.
    let Lag { publications, bytes, ms } = slow.lag;
    assert_eq!((publications, bytes, slow.blocked), (3, 300, true));
    assert!((2000..2200).contains(&ms), "{ms}");
    assert_eq!((swift.lag, swift.blocked), (Lag::default(), false));
    assert_eq!(slow.channels[0].lag, slow.lag);
    assert!((3000..3200).contains(&slow.since_ms), "{}", slow.since_ms);
    let all = world.nodes[0].shard.views.channel_lag(&world.names[0], 10, world.now_us);
    assert_eq!((all.subscribers, all.behind), ([2, 0, 0], 1));
    assert_eq!((all.most.publications, all.most.bytes), (3, 300));
}
