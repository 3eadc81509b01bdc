//! What connections may make a shard keep, all together, and who goes when it is too much.
//!
//! Method: calm worlds whose bounds are a few kilobytes, and clients that reach them exactly.

use super::{
    client::{Kind, Phase},
    protocol::request,
    world::{Plan, World},
};
use crate::{
    close::CloseReason, frame::Format, io::sim::Faults, limits::CUT_FRAME_BYTES_MAX, session::Rules,
};

fn overloaded(world: &World) -> u64 {
    world.counters[0].closed[CloseReason::Overloaded.index()].get()
}

/// Of requests that have come in part the largest is answered 503 when all together are too much, and
/// the others go on.
#[test]
fn the_longest_half_of_a_request_is_answered_503() {
    let mut world = World::new(Plan { tight: true, ..Plan::default() });
    world.nodes[0].shard.received.bytes_max = 100;
    let [long, short, last] =
        [(); 3].map(|()| world.connect(0, Kind::Reader(Format::WebSocket), 0));
    for (client, bytes) in [(long, 60), (short, 30), (last, 10)] {
        world.with(client, |client, net| client.ask(net, bytes));
        world.settle();
    }
    assert_eq!((world.said(long), overloaded(&world)), (None, 0), "at the bound");
    world.with(last, |client, net| client.ask(net, 1));
    world.settle();
    assert_eq!((world.clients[long].said, overloaded(&world)), (Some(503), 1));
    for client in [short, last] {
        world.with(client, |client, net| client.ask(net, usize::MAX));
        world.settle();
        assert_eq!(world.clients[client].phase, Phase::Live);
    }
    assert_eq!(overloaded(&world), 1);
    world.check_rest();
    world.check_the_end();
}

/// Of messages that have come in part the largest ends with 1013 when all together are too much, and
/// the others are heard.
#[test]
fn the_longest_half_of_a_message_is_ended() {
    let mut world =
        World::new(Plan { rules: Rules { echo: true, ..Rules::default() }, ..Plan::default() });
    world.nodes[0].shard.received.bytes_max = 5000;
    let net = world.nodes[0].net.clone();
    let len = [(4000 >> 8) as u8, (4000 & 0xff) as u8];
    let message = [&[0x82, 0x80 | 126, len[0], len[1], 0, 0, 0, 0][..], &[b'x'; 4000]].concat();
    let [long, short] = [(); 2].map(|()| {
        let id = net.connect();
        net.write(id, request("/echo").as_bytes());
        world.settle();
        let head = net.take(id);
        assert!(head.starts_with(b"HTTP/1.1 101 ") && head.ends_with(b"\r\n\r\n"));
        id
    });
    // A header of eight bytes, and the payload behind it.
    net.write(long, &message[..8 + 2600]);
    net.write(short, &message[..8 + 2400]);
    world.settle();
    assert_eq!((net.take(long), net.take(short)), (vec![], vec![]), "at the bound");
    net.write(short, &message[8 + 2400..8 + 2401]);
    world.settle();
    let reason = CloseReason::Overloaded.label();
    let close = [&[0x88, 2 + reason.len() as u8, 0x03, 0xf5], reason.as_bytes()].concat();
    assert_eq!((net.take(long), overloaded(&world)), (close, 1));
    net.write(short, &message[8 + 2401..]);
    world.settle();
    let echo = [&[0x82, 126, len[0], len[1]][..], &[b'x'; 4000]].concat();
    assert!(net.take(short) == echo);
    assert_eq!(overloaded(&world), 1);
}

/// When what waits for all who do not read is too much, the one for whom most waits is cut off; the
/// others get what waits for them, and whoever reads notices nothing.
#[test]
fn the_fullest_outbox_is_dropped() {
    // A lag that lets connections end without a word.
    let lag_bytes_max = 3 * CUT_FRAME_BYTES_MAX;
    let faults = Faults { socket_bytes: 300, ..Faults::default() };
    let mut world = World::new(Plan { faults, lag_bytes_max, ..Plan::default() });
    let ping = |world: &mut World, client, count| {
        for n in 0..count {
            let payload = format!("{n:0100}").into_bytes();
            world.with(client, |client, net| client.ping(net, payload));
        }
        world.settle();
    };
    let [most, some, swift] = [(); 3].map(|()| world.join(0, Format::WebSocket, 0));
    world.settle();
    for client in [most, some] {
        world.with(client, |client, net| client.stall(net, true));
    }
    // A pong has 102 bytes, and is counted until all that was written with it is sent.
    world.nodes[0].shard.outboxes.bytes_max = 102 * 50;
    ping(&mut world, most, 30);
    ping(&mut world, some, 20);
    assert_eq!(overloaded(&world), 0, "at the bound");
    ping(&mut world, swift, 2);
    assert_eq!(overloaded(&world), 0, "what is taken at once does not wait");
    world.nodes[0].shard.outboxes.bytes_max -= 1;
    ping(&mut world, swift, 1);
    assert_eq!(overloaded(&world), 1);
    world.with(most, |client, net| client.stall(net, false));
    world.with(some, |client, net| client.stall(net, false));
    world.settle();
    assert_eq!((world.clients[most].phase, world.clients[most].said), (Phase::Over, None));
    assert_eq!([some, swift].map(|it| world.clients[it].phase), [Phase::Live; 2]);
    // Every pong has come.
    world.check_rest();
    world.check_the_end();
}
