//! Sends: whole and in order, cut exactly, and nobody pays for another's broken connection.

use std::{io::Read, net::TcpStream, thread};

use super::{
    Rig,
    bench::{Bench, pattern, read_exactly, read_to_end, reset, write},
    on_every_kernel,
};
use crate::{
    ids::Slot,
    io::{Event, Exception, Interest, Kernel, Outcome},
    limits::SEND_BATCH,
};

on_every_kernel! {
    batches_arrive_whole_and_in_order
    a_cut_send_is_resumed_to_the_byte
    a_full_socket_takes_nothing
    a_broken_peer_harms_nobody_else
    exceptions_survive_a_flood_of_completions
    an_empty_batch_is_nothing
}

/// Batches of every size reach every connection whole, in the order of the calls.
///
/// Method: 300 batches of random members and lengths from a fixed seed; the clients' streams are
/// compared with what was sent to each.
fn batches_arrive_whole_and_in_order<R: Rig>() {
    let mut bench = Bench::<R>::new(70);
    let mut clients = bench.connect_many(SEND_BATCH);
    let mut sent = vec![Vec::<u8>::new(); clients.len()];
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..300 {
        let members: Vec<usize> = (0..clients.len()).filter(|_| random(3) > 0).collect();
        let bytes: Vec<Vec<u8>> =
            members.iter().map(|&to| pattern(sent[to].len(), 1 + random(200) as usize)).collect();
        let batch: Vec<(Slot, &[u8])> =
            members.iter().zip(&bytes).map(|(&to, bytes)| (clients[to].1, &bytes[..])).collect();
        assert_eq!(bench.send_batch(&batch), []);
        members.iter().zip(&bytes).for_each(|(&to, bytes)| sent[to].extend(bytes));
    }
    for ((client, slot), sent) in clients.iter_mut().zip(sent) {
        bench.close_now(*slot);
        assert!(read_to_end(client) == sent, "{slot:?}");
    }
}

/// A stream of 8 MB through a narrow socket arrives exactly, although most sends are cut.
///
/// Method: the sender goes on where the exception says that it stopped, after a write poll.
fn a_cut_send_is_resumed_to_the_byte<R: Rig>() {
    const TOTAL: usize = 8 * 1024 * 1024;
    let mut bench = Bench::<R>::with_listener(4, |listener| {
        listener.set_send_buffer_size(32 * 1024).unwrap();
        rustix::net::sockopt::set_tcp_nodelay(listener, true).unwrap();
    });
    let (client, slot) = bench.connect();
    let reader = thread::spawn(move || compare_stream(client, TOTAL));
    let stream = pattern(0, TOTAL);
    let (mut at, mut cuts) = (0, 0);
    while at < TOTAL {
        let end = TOTAL.min(at + 300_000);
        match bench.send(slot, &stream[at..end]) {
            None => at = end,
            Some(Outcome::Short(count)) => {
                assert!(count < end - at);
                at += count;
                cuts += 1;
                bench.kernel.poll(slot, Interest::Write);
                assert_eq!(bench.next(), Event::Writable(slot));
            }
            Some(Outcome::Broken) => panic!("broken at {at}"),
        }
    }
    bench.close_now(slot);
    reader.join().unwrap();
    assert!(cuts > 10, "only {cuts} sends were cut: the socket is not narrow");
}

fn compare_stream(mut client: TcpStream, total: usize) {
    let (mut at, mut part) = (0, vec![0; 50_000]);
    loop {
        let count = client.read(&mut part).unwrap();
        assert!(part[..count] == pattern(at, count), "differs after {at}");
        at += count;
        if count == 0 {
            break;
        }
    }
    assert_eq!(at, total);
}

/// A full socket takes nothing, says so each time, and delivers what it took.
fn a_full_socket_takes_nothing<R: Rig>() {
    let mut bench = Bench::<R>::with_listener(4, |it| it.set_send_buffer_size(8192).unwrap());
    let mut client = bench.dial_narrow();
    let slot = bench.accepted();
    let taken = bench.fill(&[slot]).remove(0);
    for _ in 0..3 {
        assert_eq!(bench.send(slot, b"more"), Some(Outcome::Short(0)));
    }
    bench.kernel.poll(slot, Interest::Write);
    bench.expect_quiet();
    assert!(read_exactly(&mut client, taken.len()) == taken);
    assert_eq!(bench.next(), Event::Writable(slot));
    assert_eq!(bench.send(slot, b"more"), None);
    assert_eq!(read_exactly(&mut client, 4), b"more");
}

/// A reset connection is named as broken, and the rest of its batch goes out.
fn a_broken_peer_harms_nobody_else<R: Rig>() {
    let mut bench = Bench::<R>::new(8);
    let mut clients = bench.connect_many(5);
    for broken in [2, 0, 2] {
        let (client, slot) = clients.remove(broken);
        reset(client);
        bench.until_readable(slot);
        let mut batch: Vec<(Slot, &[u8])> =
            clients.iter().map(|(_, slot)| (*slot, &b"tick"[..])).collect();
        batch.insert(broken, (slot, b"tick"));
        let expected = Exception { index: broken, outcome: Outcome::Broken };
        assert_eq!(bench.send_batch(&batch), [expected]);
        clients.iter_mut().for_each(|(client, _)| assert_eq!(read_exactly(client, 4), b"tick"));
        bench.close_now(slot);
    }
}

/// Exceptions are exact and events complete when far more happens than a completion queue holds.
///
/// Method: every connection becomes readable, and every second one of the batch is full, before
/// the kernel is entered once. Each exception is known beforehand, and so is each event.
fn exceptions_survive_a_flood_of_completions<R: Rig>() {
    let mut bench = Bench::<R>::with_listener(150, |it| it.set_send_buffer_size(8192).unwrap());
    let mut clients = bench.connect_narrow(150);
    let full: Vec<Slot> = clients.iter().step_by(2).take(SEND_BATCH / 2).map(|it| it.1).collect();
    bench.fill(&full);
    for _ in 0..3 {
        clients.iter().for_each(|(_, slot)| bench.kernel.poll(*slot, Interest::Read));
        bench.expect_quiet();
        clients.iter_mut().for_each(|(client, _)| write(client, b"?"));
        let batch: Vec<(Slot, &[u8])> =
            clients.iter().take(SEND_BATCH).map(|(_, slot)| (*slot, &b"tick"[..])).collect();
        let expected: Vec<Exception> = (0..SEND_BATCH)
            .filter(|index| full.contains(&batch[*index].0))
            .map(|index| Exception { index, outcome: Outcome::Short(0) })
            .collect();
        assert_eq!(bench.send_batch(&batch), expected);
        let mut readable: Vec<Event> =
            clients.iter().map(|(_, slot)| Event::Readable(*slot)).collect();
        readable.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(bench.next_sorted(clients.len()), readable);
        bench.expect_quiet();
        for (_, slot) in &clients {
            assert_eq!(bench.receive(*slot), super::bench::Got::Bytes(b"?".to_vec()));
        }
    }
}

/// Nothing to send and nothing to receive is no reason to fail.
fn an_empty_batch_is_nothing<R: Rig>() {
    let mut bench = Bench::<R>::new(2);
    assert_eq!(bench.send_batch(&[]), []);
    assert_eq!(bench.receive_batch(&[]), []);
    bench.expect_quiet();
}
