//! Readers that fall behind, cut frames, and last words.
//!
//! Method: calm worlds with small sockets, in which one client stops reading at a chosen moment.

use super::{
    client::Phase,
    world::{Plan, World},
};
use crate::{close::CloseReason, frame::Format, io::sim::Faults, limits::CUT_FRAME_BYTES_MAX};

fn small_sockets(socket_bytes: usize, lag_bytes_max: usize) -> World {
    let faults = Faults { socket_bytes, ..Faults::default() };
    World::new(Plan { faults, lag_bytes_max, ..Plan::default() })
}

/// Publishes frames of at least `len` bytes, one at a time.
fn publish(world: &mut World, count: usize, len: usize) {
    for _ in 0..count {
        let number = world.book.len(0);
        world.tell(0, format!("{number} ").repeat(len / 2).as_bytes());
        world.settle();
    }
}

/// Who is lapped in the middle of a frame gets the rest of that frame, then is told why, and
/// whoever reads misses nothing.
#[test]
fn a_lapped_reader_ends_at_a_frame_boundary() {
    for format in [Format::WebSocket, Format::Sse] {
        let mut world = small_sockets(700, 2000);
        let [slow, swift] = [(); 2].map(|()| world.join(0, format, 0));
        world.settle();
        world.with(slow, |client, net| client.stall(net, true));
        publish(&mut world, 30, 200);
        let slot = world.nodes[0].net.slot(world.clients[slow].id).unwrap();
        let waiting = world.nodes[0].shard.outboxes.waiting(slot).len();
        assert!(waiting > 50, "{waiting} bytes wait: no frame was cut");
        world.with(slow, |client, net| client.stall(net, false));
        world.settle();
        let code = if format == Format::Sse { 200 } else { 1013 };
        assert_eq!(world.clients[slow].said, Some(code));
        assert!((1..30).contains(&world.clients[slow].frames));
        assert_eq!(world.clients[swift].frames, 30);
        assert_eq!(world.counters[0].closed[CloseReason::PeerTooSlow.index()].get(), 1);
        world.check_rest();
        world.check_the_end();
    }
}

/// When the rest of a cut frame is too much to keep, the connection ends as it is: anything else
/// would land inside the frame.
#[test]
fn too_long_a_rest_ends_without_a_word() {
    let mut world = small_sockets(1000, 3 * CUT_FRAME_BYTES_MAX);
    let [slow, swift] = [(); 2].map(|()| world.join(0, Format::WebSocket, 0));
    world.settle();
    world.with(slow, |client, net| client.stall(net, true));
    publish(&mut world, 4, 2 * CUT_FRAME_BYTES_MAX);
    world.with(slow, |client, net| client.stall(net, false));
    world.settle();
    let slow = &world.clients[slow];
    assert_eq!((slow.said, slow.phase, slow.frames), (None, Phase::Over, 0));
    assert_eq!(world.counters[0].closed[CloseReason::PeerTooSlow.index()].get(), 1);
    assert_eq!((world.clients[swift].phase, world.clients[swift].said), (Phase::Live, None));
    assert_eq!(world.clients[swift].frames, 4);
    world.check_rest();
    world.check_the_end();
}

/// So does one whose client says goodbye in the middle of such a frame, and nothing of it stays.
#[test]
fn a_goodbye_inside_too_long_a_frame_is_not_answered() {
    let mut world = small_sockets(1000, 3 * CUT_FRAME_BYTES_MAX);
    let client = world.join(0, Format::WebSocket, 0);
    world.settle();
    world.with(client, |client, net| client.stall(net, true));
    publish(&mut world, 1, 2 * CUT_FRAME_BYTES_MAX);
    world.with(client, |client, net| client.close(net, None));
    world.settle();
    assert!(world.nodes[0].shard.wheel.next().is_none(), "a deadline of nobody");
    world.with(client, |client, net| client.stall(net, false));
    world.settle();
    assert_eq!((world.clients[client].said, world.clients[client].phase), (None, Phase::Over));
    world.check_the_end();
}

/// A pong waits for the frame that is under way, however long its socket takes.
#[test]
fn private_bytes_wait_for_the_end_of_a_frame() {
    let mut world = small_sockets(300, usize::MAX);
    let client = world.join(0, Format::WebSocket, 0);
    world.settle();
    world.with(client, |client, net| client.stall(net, true));
    world.tell(0, &[b'x'; 2000]);
    world.settle();
    for payload in [b"one", b"two"] {
        world.with(client, |client, net| client.ping(net, payload.to_vec()));
        world.settle();
    }
    world.tell(0, b"behind the pongs");
    world.with(client, |client, net| client.stall(net, false));
    world.settle();
    assert_eq!(world.clients[client].frames, 2);
    world.check_rest();
    world.check_the_end();
}

/// A close frame that comes with the request, or just before the end of the client's stream, is
/// answered before the connection ends.
#[test]
fn a_close_right_before_the_end_is_answered() {
    let mut world = World::new(Plan { shards: 2, ..Plan::default() });
    for shard in 0..2 {
        let at_once = world.join(shard, Format::WebSocket, 0);
        let later = world.join(shard, Format::WebSocket, 0);
        world.with(at_once, |client, net| {
            client.ping(net, b"alive?".to_vec());
            client.close(net, Some(1001));
            client.finish(net);
        });
        world.settle();
        world.with(later, |client, net| {
            client.close(net, None);
            client.finish(net);
        });
        world.settle();
        assert_eq!([at_once, later].map(|it| world.clients[it].said), [Some(1001), Some(1005)]);
    }
    world.check_rest();
}

/// A sweep over more subscribers than a turn serves reaches those who come while it is under way
/// and survives those who leave, and a burst is one send to whoever was not yet reached.
#[test]
fn a_long_sweep_meets_joins_and_leaves() {
    let mut world = World::new(Plan { slots: 2000, places: 4000, ..Plan::default() });
    let crowd: Vec<usize> = (0..1200).map(|_| world.join(0, Format::WebSocket, 0)).collect();
    world.settle();
    for round in 0..40 {
        world.tell(0, format!("round {round}").as_bytes());
        world.step(100);
        for n in 0..10 {
            let leaver = crowd[(round * 29 + n * 117) % crowd.len()];
            world.with(leaver, |client, net| {
                if !client.left {
                    client.go(net, n % 2 == 0)
                }
            });
            world.join(0, Format::ALL[n % 2], 0);
        }
        world.step(100);
    }
    world.settle();
    world.check_rest();
    let (sends, frames) = (world.counters[0].sends.get(), world.counters[0].deliveries.get());
    assert!(sends < frames * 9 / 10, "{sends} sends for {frames} deliveries");
    world.check_the_end();
}
