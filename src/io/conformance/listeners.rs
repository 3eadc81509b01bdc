//! Several listeners: each connection is known by its own, and none keeps the others waiting.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpStream},
};

use super::{Rig, bench::Bench, on_every_kernel};
use crate::{
    io::{Event, Kernel, Listener},
    limits::{ACCEPTS_IN_FLIGHT, LISTENERS_MAX},
};

on_every_kernel! {
    a_connection_is_told_with_its_listener
    a_crowd_at_one_listener_keeps_no_other_waiting
    places_are_not_kept_for_listeners_without_clients
}

/// Clients by their address and their listener: at another one the same address may be another's.
type Waiting = HashMap<(SocketAddr, usize), TcpStream>;

/// Takes the next connection in, and says whose it is and by which listener it came.
fn next_client<R: Rig>(bench: &mut Bench<R>, waiting: &mut Waiting) -> (TcpStream, usize) {
    let Event::Accepted(slot, Listener(listener)) = bench.next() else { panic!("no client") };
    let peer = bench.kernel.peer(slot).unwrap();
    let listener = usize::from(listener);
    (waiting.remove(&(peer, listener)).expect("a client of this listener"), listener)
}

fn dial<R: Rig>(bench: &Bench<R>, listener: usize, count: usize, waiting: &mut Waiting) {
    for _ in 0..count {
        let client = bench.dial_at(listener);
        waiting.insert((client.local_addr().unwrap(), listener), client);
    }
}

/// With as many listeners as there may be, every connection is told with the one that it came to.
fn a_connection_is_told_with_its_listener<R: Rig>() {
    let mut bench = Bench::<R>::with_listeners(100, LISTENERS_MAX, |_| {});
    let (mut waiting, mut present) = (HashMap::new(), Vec::new());
    for listener in 0..LISTENERS_MAX {
        dial(&bench, listener, 5, &mut waiting);
    }
    (0..5 * LISTENERS_MAX).for_each(|_| present.push(next_client(&mut bench, &mut waiting)));
    assert!(waiting.is_empty());
    bench.expect_quiet();
}

/// Whoever comes to a quiet listener is among the next few that are taken in, however many wait at
/// another.
fn a_crowd_at_one_listener_keeps_no_other_waiting<R: Rig>() {
    let mut bench = Bench::<R>::with_listeners(400, 2, |_| {});
    bench.kernel.set_accepting(false);
    bench.expect_quiet();
    let (mut waiting, mut present) = (HashMap::new(), Vec::new());
    dial(&bench, 0, 300, &mut waiting);
    dial(&bench, 1, 3, &mut waiting);
    bench.kernel.set_accepting(true);
    let soon = 3 * ACCEPTS_IN_FLIGHT;
    (0..soon).for_each(|_| present.push(next_client(&mut bench, &mut waiting)));
    let quiet = present.iter().filter(|(_, listener)| *listener == 1).count();
    assert_eq!(quiet, 3, "of {soon}");
}

/// All clients of one listener get in although the other has none, but for one place at most; and
/// that one is there for whoever comes to the other.
fn places_are_not_kept_for_listeners_without_clients<R: Rig>() {
    let mut bench = Bench::<R>::with_listeners(20, 2, |_| {});
    let (mut waiting, mut present) = (HashMap::new(), Vec::new());
    dial(&bench, 0, 19, &mut waiting);
    (0..19).for_each(|_| present.push(next_client(&mut bench, &mut waiting)));
    dial(&bench, 1, 1, &mut waiting);
    assert_eq!(next_client(&mut bench, &mut waiting).1, 1);
}
