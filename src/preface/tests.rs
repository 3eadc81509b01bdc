use std::collections::BTreeMap;

use super::*;
use crate::io::sim::{ClientId, Faults, Sim, SimNet};

/// The networks that simulated clients come from.
const CLIENTS: &str = "10.0.0.0/8";

fn prefaced(seed: u64, slots: u32, faults: Faults, trusted: &str) -> (Prefaced<Sim>, SimNet) {
    let (sim, net) = Sim::new(seed, slots, faults);
    let mut kernel = Prefaced::new(sim, trusted.parse().unwrap());
    kernel.set_accepting(true);
    (kernel, net)
}

/// What a server has heard: of each connection where it came from, and its bytes.
#[derive(Debug, Default)]
struct Heard {
    by_slot: BTreeMap<Slot, (SocketAddr, Vec<u8>)>,
    closed: Vec<Slot>,
}

impl Heard {
    fn turn(&mut self, kernel: &mut Prefaced<Sim>) {
        let mut events = Vec::new();
        kernel.events(&mut events);
        let mut ready = Vec::new();
        for event in events {
            match event {
                Event::Accepted(slot, _) => {
                    let peer = kernel.peer(slot).unwrap();
                    assert!(self.by_slot.insert(slot, (peer, Vec::new())).is_none(), "{slot:?}");
                    kernel.poll(slot, Interest::Read);
                }
                Event::Readable(slot) => ready.push(slot),
                Event::Closed(slot) => self.closed.push(slot),
                Event::Writable(slot) => panic!("nobody writes {slot:?}"),
            }
        }
        let by_slot = &mut self.by_slot;
        kernel.receive_batch(&ready, &mut |slot, received| {
            let Received::Bytes(bytes) = received else { return };
            by_slot.get_mut(&slot).expect("it was told of").1.extend_from_slice(bytes);
        });
        ready.iter().for_each(|&slot| kernel.poll(slot, Interest::Read));
    }
}

fn line(client: u32) -> String {
    format!("PROXY TCP4 192.0.2.{client} 10.0.0.1 {} 443\r\n", 1000 + client)
}

/// However headers are cut, and whatever goes wrong beneath, a connection is told of with its client's
/// address, and with the bytes behind the header, all of them and no others.
///
/// Method: twenty clients of a network in which events are late and receives are cut write a header and
/// a text in random pieces.
#[test]
fn connections_are_their_clients() {
    for seed in 0..50 {
        let (mut kernel, net) = prefaced(seed, 32, Faults::rough(), CLIENTS);
        let mut heard = Heard::default();
        let text = |client: u32| format!("hello from {client}").repeat(client as usize);
        let mut left: Vec<(ClientId, Vec<u8>)> = (1..=20)
            .map(|client| (net.connect(), [line(client), text(client)].concat().into_bytes()))
            .collect();
        for turn in 0..4000u64 {
            for (at, (client, bytes)) in left.iter_mut().enumerate() {
                let dice = (seed + 1).wrapping_mul(turn * 31 + at as u64 * 7 + 1) >> 3;
                let piece = bytes.len().min((dice % 40) as usize);
                net.write(*client, &bytes.drain(..piece).collect::<Vec<u8>>());
            }
            heard.turn(&mut kernel);
        }
        let mut told: Vec<(SocketAddr, Vec<u8>)> = heard.by_slot.into_values().collect();
        told.sort();
        let mut expected: Vec<(SocketAddr, Vec<u8>)> = (1..=20)
            .map(|client| {
                let source = SocketAddr::from(([192, 0, 2, client as u8], 1000 + client as u16));
                (source, text(client).into_bytes())
            })
            .collect();
        expected.sort();
        assert_eq!(told, expected, "seed {seed}");
        assert!(kernel.pending.is_empty() && kernel.rests.is_empty(), "seed {seed}");
    }
}

/// Connections from elsewhere pass as they are, a header included.
#[test]
fn others_pass_as_they_are() {
    for trusted in ["", "192.0.2.0/24"] {
        let (mut kernel, net) = prefaced(1, 4, Faults::default(), trusted);
        let client = net.connect();
        net.write(client, line(1).as_bytes());
        let mut heard = Heard::default();
        (0..10).for_each(|_| heard.turn(&mut kernel));
        let told: Vec<_> = heard.by_slot.into_values().collect();
        assert_eq!(told, [(client.address(), line(1).into_bytes())]);
    }
}

/// A proxy that speaks for itself is told of as itself.
#[test]
fn a_proxy_that_speaks_for_itself_is_itself() {
    let (mut kernel, net) = prefaced(1, 4, Faults::default(), CLIENTS);
    let client = net.connect();
    net.write(client, b"PROXY UNKNOWN\r\nhello");
    let mut heard = Heard::default();
    (0..10).for_each(|_| heard.turn(&mut kernel));
    let told: Vec<_> = heard.by_slot.into_values().collect();
    assert_eq!(told, [(client.address(), b"hello".to_vec())]);
}

/// Who sends no header, leaves before its end, or does not send it in time is closed and never told of,
/// and its slot is free again.
#[test]
fn who_sends_no_header_is_closed() {
    for begins in ["GET / HTTP/1.1\r\n", "PROXY TCP4 nonsense\r\n", "PROXY TC", ""] {
        let (mut kernel, net) = prefaced(1, 1, Faults::default(), CLIENTS);
        let mut heard = Heard::default();
        for round in 0..3 {
            let client = net.connect();
            net.write(client, begins.as_bytes());
            (0..3).for_each(|_| heard.turn(&mut kernel));
            match round {
                0 => net.leave(client),
                _ => kernel.patience = Duration::ZERO,
            }
            (0..10).for_each(|_| heard.turn(&mut kernel));
            assert_eq!(net.slot(client), None, "{begins}");
            kernel.patience = Duration::from_secs(PREFACE_SECONDS_MAX);
        }
        assert!(heard.by_slot.is_empty() && heard.closed.is_empty(), "{begins}: {heard:?}");
        assert!(kernel.pending.is_empty() && kernel.forgotten.is_empty(), "{begins}");
    }
}

/// As many may be without their headers as may be; one more is closed.
#[test]
fn who_waits_is_bounded() {
    let slots = PREFACES_MAX as u32 + 10;
    let (mut kernel, net) = prefaced(1, slots, Faults::default(), CLIENTS);
    let clients: Vec<ClientId> = (0..slots).map(|_| net.connect()).collect();
    let mut heard = Heard::default();
    (0..10).for_each(|_| heard.turn(&mut kernel));
    assert_eq!(kernel.pending.len(), PREFACES_MAX);
    assert_eq!(clients.iter().filter(|&&client| net.slot(client).is_none()).count(), 10);
}
