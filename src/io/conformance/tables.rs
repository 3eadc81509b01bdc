//! Slots: handed out once, reused after the close, and never more than there are.

use std::{collections::HashMap, net::TcpStream};

use super::{
    Rig,
    bench::{Bench, read_exactly, read_to_end},
    on_every_kernel,
};
use crate::{
    ids::Slot,
    io::{Event, Interest, Kernel},
};

on_every_kernel! {
    each_connection_gets_a_slot_of_its_own
    slots_are_reused_only_after_their_close
    a_full_table_lets_clients_wait
    clients_wait_while_nothing_is_accepted
    a_socket_can_be_adopted
    an_address_is_free_once_its_kernel_is_gone
}

/// Every client gets one slot below the number of slots, known by its peer's address.
fn each_connection_gets_a_slot_of_its_own<R: Rig>() {
    let mut bench = Bench::<R>::new(50);
    let clients: Vec<TcpStream> = (0..50).map(|_| bench.dial()).collect();
    let mut slots: Vec<Slot> = clients.iter().map(|_| bench.accepted()).collect();
    let mut peers: Vec<_> = slots.iter().filter_map(|&slot| bench.kernel.peer(slot)).collect();
    let mut expected: Vec<_> = clients.iter().map(|it| it.local_addr().unwrap()).collect();
    peers.sort();
    expected.sort();
    assert_eq!(peers, expected);
    slots.sort();
    assert_eq!(slots, (0..50).map(Slot).collect::<Vec<_>>());
    bench.expect_quiet();
}

/// Through thousands of connections each slot alternates between accepted and closed.
///
/// Method: seven clients over five slots, so that one is always waiting to be accepted; polls are
/// armed at random, closes come singly and in groups, and each greeting reaches its own client.
fn slots_are_reused_only_after_their_close<R: Rig>() {
    let mut bench = Bench::<R>::new(5);
    let mut waiting: HashMap<_, TcpStream> = HashMap::new();
    let mut present: HashMap<Slot, TcpStream> = HashMap::new();
    let mut closing: Vec<Slot> = Vec::new();
    for round in 0..3000u32 {
        while waiting.len() + present.len() < 7 {
            let client = bench.dial();
            waiting.insert(client.local_addr().unwrap(), client);
        }
        match bench.next() {
            Event::Accepted(slot, _) => {
                assert!(!closing.contains(&slot) && !present.contains_key(&slot), "{slot:?}");
                let peer = bench.kernel.peer(slot).unwrap();
                let mut client = waiting.remove(&peer).expect("a client of ours");
                assert_eq!(bench.send(slot, &round.to_be_bytes()), None);
                assert_eq!(read_exactly(&mut client, 4), round.to_be_bytes());
                present.insert(slot, client);
                bench.kernel.poll(slot, Interest::Read);
                if round % 3 == 0 {
                    bench.kernel.poll(slot, Interest::Write);
                }
            }
            Event::Closed(slot) => {
                let at = closing.iter().position(|&it| it == slot).expect("it was closed");
                closing.remove(at);
            }
            Event::Writable(slot) => assert!(present.contains_key(&slot)),
            Event::Readable(slot) => panic!("nobody wrote to {slot:?}"),
        }
        if present.len() == 5 || closing.is_empty() && round % 2 == 0 {
            for _ in 0..=round % 5 {
                let Some(&slot) = present.keys().next() else { break };
                let mut client = present.remove(&slot).unwrap();
                bench.close(slot);
                closing.push(slot);
                bench.pump(std::time::Duration::ZERO);
                if round % 2 == 0 {
                    bench.pump(std::time::Duration::ZERO);
                    assert_eq!(read_to_end(&mut client), b"");
                }
            }
        }
    }
}

/// Where every slot is taken, clients wait in the backlog, and none is dropped.
fn a_full_table_lets_clients_wait<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    let mut clients: HashMap<_, TcpStream> = (0..60)
        .map(|_| bench.dial())
        .map(|client| (client.local_addr().unwrap(), client))
        .collect();
    let mut slots: Vec<Slot> = (0..4).map(|_| bench.accepted()).collect();
    loop {
        bench.expect_quiet();
        for &slot in &slots {
            let mut client = clients.remove(&bench.kernel.peer(slot).unwrap()).unwrap();
            assert_eq!(bench.send(slot, b"your turn"), None);
            bench.close(slot);
            bench.pump(std::time::Duration::ZERO);
            assert_eq!(read_to_end(&mut client), b"your turn");
        }
        let next = slots.len().min(clients.len());
        let (mut closed, mut accepted) = (Vec::new(), Vec::new());
        while closed.len() < slots.len() || accepted.len() < next {
            match bench.next() {
                Event::Closed(slot) => closed.push(slot),
                Event::Accepted(slot, _) => accepted.push(slot),
                other => panic!("{other:?}"),
            }
        }
        if clients.is_empty() {
            return;
        }
        slots = accepted;
    }
}

/// Clients that come while nothing is accepted wait, and are taken in afterwards.
fn clients_wait_while_nothing_is_accepted<R: Rig>() {
    let mut bench = Bench::<R>::new(40);
    for _ in 0..10 {
        let (_client, slot) = bench.connect();
        bench.kernel.set_accepting(false);
        bench.kernel.set_accepting(false);
        bench.expect_quiet();
        let mut waiting = [bench.dial(), bench.dial()];
        bench.expect_quiet();
        bench.kernel.set_accepting(true);
        bench.kernel.set_accepting(true);
        for client in &mut waiting {
            let slot = bench.accepted();
            assert_eq!(bench.kernel.peer(slot), Some(client.local_addr().unwrap()));
            bench.close_now(slot);
            assert_eq!(read_to_end(client), b"");
        }
        bench.close_now(slot);
    }
}

/// A connected socket gets a slot like an accepted one, where there is one, and is closed where
/// there is none.
fn a_socket_can_be_adopted<R: Rig>() {
    let mut bench = Bench::<R>::new(4);
    bench.kernel.set_accepting(false);
    bench.expect_quiet();
    for _ in 0..20 {
        let mut far = Vec::new();
        for _ in 0..4 {
            let (near, peer) = pair();
            let slot = R::adopt(&mut bench.kernel, near.into()).unwrap();
            assert_eq!(bench.accepted(), slot);
            assert_eq!(bench.kernel.peer(slot), Some(peer.local_addr().unwrap()));
            assert_eq!(bench.send(slot, b"hello"), None);
            far.push((slot, peer));
        }
        let (near, mut peer) = pair();
        assert!(R::adopt(&mut bench.kernel, near.into()).is_err());
        assert_eq!(read_to_end(&mut peer), b"");
        for (slot, mut peer) in far {
            assert_eq!(read_exactly(&mut peer, 5), b"hello");
            bench.close_now(slot);
            assert_eq!(read_to_end(&mut peer), b"");
        }
    }
    // Closed before anybody asked: its arrival is not reported any more.
    let (near, _peer) = pair();
    let slot = R::adopt(&mut bench.kernel, near.into()).unwrap();
    bench.close_now(slot);
    bench.expect_quiet();
}

/// Whoever comes after a kernel can listen where it has listened, at once, whoever is connected.
fn an_address_is_free_once_its_kernel_is_gone<R: Rig>() {
    for round in 0..20 {
        let mut bench = Bench::<R>::with_listener(4, |it| it.set_reuse_address(true).unwrap());
        let (client, _) = bench.connect();
        let address = client.peer_addr().unwrap();
        drop(bench);
        let successor = std::net::TcpListener::bind(address);
        assert!(successor.is_ok(), "round {round}: {successor:?}");
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, far)
}
