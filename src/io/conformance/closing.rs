//! Shutting down and closing.

use super::{
    Rig,
    bench::{Bench, Got, read_to_end, write},
    on_every_kernel,
};
use crate::io::{Event, Interest, Kernel};

on_every_kernel! {
    a_close_ends_the_peers_stream_whatever_is_armed
    a_closed_connection_says_nothing_more
    a_shutdown_leaves_reading_open
    a_close_right_after_a_shutdown_hits_nobody_else
}

/// A close under any armed polls gives the peer its end and reports one `Closed`.
fn a_close_ends_the_peers_stream_whatever_is_armed<R: Rig>() {
    let mut bench = Bench::<R>::with_listener(4, |it| it.set_send_buffer_size(8192).unwrap());
    for armed in 0..4 {
        let mut client = bench.dial_narrow();
        let slot = bench.accepted();
        let taken = bench.fill(&[slot]).remove(0);
        if armed & 1 != 0 {
            bench.kernel.poll(slot, Interest::Read);
        }
        if armed & 2 != 0 {
            bench.kernel.poll(slot, Interest::Write);
        }
        bench.expect_quiet();
        bench.close_now(slot);
        assert!(read_to_end(&mut client) == taken, "armed {armed}");
        bench.expect_quiet();
    }
}

/// What happened before a close but was not asked for is not reported after it.
fn a_closed_connection_says_nothing_more<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    for _ in 0..50 {
        let (mut client, slot) = bench.connect();
        let (_bystander, other) = bench.connect();
        bench.kernel.poll(slot, Interest::Read);
        bench.kernel.poll(slot, Interest::Write);
        write(&mut client, b"too late");
        // The polls fire while this enters the kernel.
        assert_eq!(bench.send(other, b"tick"), None);
        bench.close_now(slot);
        bench.close_now(other);
        bench.expect_quiet();
    }
}

/// After a shutdown the peer sees the end and can still be heard.
fn a_shutdown_leaves_reading_open<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    let (mut client, slot) = bench.connect();
    bench.kernel.poll(slot, Interest::Read);
    assert_eq!(bench.send(slot, b"goodbye"), None);
    bench.kernel.shutdown(slot);
    bench.kernel.shutdown(slot);
    bench.expect_quiet();
    assert_eq!(read_to_end(&mut client), b"goodbye");
    write(&mut client, b"farewell");
    assert_eq!(bench.next(), Event::Readable(slot));
    assert_eq!(bench.receive(slot), Got::Bytes(b"farewell".to_vec()));
    drop(client);
    bench.until_readable(slot);
    assert_eq!(bench.receive(slot), Got::End);
    bench.close_now(slot);
    bench.expect_quiet();
}

/// A shutdown that is still under way when the slot is closed does not reach the next connection.
///
/// Method: 500 rounds in a table of one slot; the next client must be able to read and be read.
fn a_close_right_after_a_shutdown_hits_nobody_else<R: Rig>() {
    let mut bench = Bench::<R>::new(1);
    for _ in 0..500 {
        let (mut client, slot) = bench.connect();
        let mut next = bench.dial();
        bench.kernel.shutdown(slot);
        bench.close_now(slot);
        assert_eq!(bench.accepted(), slot);
        assert_eq!(read_to_end(&mut client), b"");
        assert_eq!(bench.send(slot, b"welcome"), None);
        assert_eq!(super::bench::read_exactly(&mut next, 7), b"welcome");
        bench.close_now(slot);
    }
}
