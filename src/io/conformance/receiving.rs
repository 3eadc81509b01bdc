//! Receives, polls and the bell.

use std::{net::Shutdown, thread, time::Duration};

use super::{
    Rig,
    bench::{Bench, Got, pattern, read_exactly, reset, write},
    on_every_kernel,
};
use crate::{
    io::{Bell, Event, Interest, Kernel, Outcome},
    limits::{RECEIVE_BATCH, RECEIVE_BYTES},
};

on_every_kernel! {
    a_receive_tells_bytes_nothing_end_and_reset_apart
    a_long_input_comes_in_parts
    polls_fire_once
    a_half_closed_peer_does_not_look_writable
    a_bell_wakes_a_waiting_thread
    a_bell_rung_before_the_wait_is_heard
    a_wait_ends_by_itself
}

/// What a receive says is what the client did, for each connection of a full batch.
fn a_receive_tells_bytes_nothing_end_and_reset_apart<R: Rig>() {
    let mut bench = Bench::<R>::new(40);
    let mut clients = bench.connect_many(RECEIVE_BATCH);
    let slots: Vec<_> = clients.iter().map(|(_, slot)| *slot).collect();
    let nothing: Vec<_> = slots.iter().map(|&slot| (slot, Got::Nothing)).collect();
    assert_eq!(bench.receive_batch(&slots), nothing);

    let mut expected = nothing.clone();
    for (index, (client, slot)) in clients.iter_mut().enumerate() {
        let bytes = pattern(index, index % 3);
        write(client, &bytes);
        if !bytes.is_empty() {
            bench.until_readable(*slot);
            expected[index].1 = Got::Bytes(bytes);
        }
    }
    assert_eq!(bench.receive_batch(&slots), expected);
    assert_eq!(bench.receive_batch(&slots), nothing);

    let mut expected = nothing;
    for (index, (client, slot)) in clients.into_iter().enumerate() {
        match index % 3 {
            0 => client.shutdown(Shutdown::Write).unwrap(),
            1 => reset(client.try_clone().unwrap()),
            _ => continue,
        }
        drop(client);
        bench.until_readable(slot);
        expected[index].1 = if index % 3 == 0 { Got::End } else { Got::Broken };
    }
    for (index, expectation) in expected.iter_mut().enumerate().filter(|(index, _)| index % 3 == 2)
    {
        // `continue` above dropped these clients, too: an orderly end.
        bench.until_readable(slots[index]);
        expectation.1 = Got::End;
    }
    assert_eq!(bench.receive_batch(&slots), expected);
}

/// An input longer than a receive takes comes in parts of at most that, and nothing is missing.
fn a_long_input_comes_in_parts<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    let (mut client, slot) = bench.connect();
    let sent = pattern(0, 2 * RECEIVE_BYTES + 100);
    write(&mut client, &sent);
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    loop {
        bench.until_readable(slot);
        match bench.receive(slot) {
            Got::Bytes(bytes) => {
                assert!((1..=RECEIVE_BYTES).contains(&bytes.len()));
                got.extend(bytes);
            }
            Got::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(got == sent);
    assert_eq!(bench.receive(slot), Got::End, "the end stays");
}

/// A poll fires once however often it was armed and whatever follows, until it is armed again.
fn polls_fire_once<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    let (mut client, slot) = bench.connect();
    (0..3).for_each(|_| bench.kernel.poll(slot, Interest::Read));
    bench.expect_quiet();
    write(&mut client, b"a");
    assert_eq!(bench.next(), Event::Readable(slot));
    write(&mut client, b"b");
    bench.expect_quiet();
    // What is there already counts.
    bench.until_readable(slot);
    // Two interests at once are two polls.
    bench.kernel.poll(slot, Interest::Read);
    bench.kernel.poll(slot, Interest::Write);
    assert_eq!(bench.next_sorted(2), [Event::Readable(slot), Event::Writable(slot)]);
    bench.expect_quiet();
    assert_eq!(bench.receive(slot), Got::Bytes(b"ab".to_vec()));
    // One fires and the other stays armed.
    bench.kernel.poll(slot, Interest::Read);
    bench.kernel.poll(slot, Interest::Write);
    assert_eq!(bench.next(), Event::Writable(slot));
    bench.expect_quiet();
    write(&mut client, b"c");
    assert_eq!(bench.next(), Event::Readable(slot));
    bench.expect_quiet();
}

/// A peer that has finished sending but does not read is readable, and not writable for that.
fn a_half_closed_peer_does_not_look_writable<R: Rig>() {
    let mut bench = Bench::<R>::with_listener(4, |it| it.set_send_buffer_size(8192).unwrap());
    let mut client = bench.dial_narrow();
    let slot = bench.accepted();
    client.shutdown(Shutdown::Write).unwrap();
    let taken = bench.fill(&[slot]).remove(0);
    bench.kernel.poll(slot, Interest::Write);
    bench.expect_quiet();
    bench.until_readable(slot);
    bench.expect_quiet();
    // Room does, sooner or later.
    read_exactly(&mut client, taken.len());
    assert_eq!(bench.next(), Event::Writable(slot));
    // A reset wakes whoever waits.
    bench.fill(&[slot]);
    bench.kernel.poll(slot, Interest::Write);
    bench.expect_quiet();
    reset(client);
    assert_eq!(bench.next(), Event::Writable(slot));
    assert_eq!(bench.send(slot, b"more"), Some(Outcome::Broken));
}

/// A waiting thread is woken by the bell, each time.
fn a_bell_wakes_a_waiting_thread<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    bench.expect_quiet();
    for _ in 0..20 {
        let bell = bench.bell.clone();
        let ringer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(2));
            bell.ring();
        });
        bench.wait_for_the_bell();
        bench.expect_quiet();
        ringer.join().unwrap();
    }
}

/// A ring is kept for the next wait, even if connections were served in between.
fn a_bell_rung_before_the_wait_is_heard<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    let (mut client, slot) = bench.connect();
    bench.expect_quiet();
    for _ in 0..20 {
        bench.bell.ring();
        bench.bell.ring();
        assert_eq!(bench.send(slot, b"tick"), None);
        bench.kernel.events(&mut Vec::new());
        assert_eq!(bench.send(slot, b"tick"), None);
        bench.wait_for_the_bell();
        read_exactly(&mut client, 8);
    }
}

/// A wait with a time-out returns without an event, and without an error.
fn a_wait_ends_by_itself<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    for timeout in [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(3)] {
        bench.kernel.wait(Some(timeout)).unwrap();
    }
    bench.expect_quiet();
}
