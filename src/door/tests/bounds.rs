//! What peers that mean harm, or do not know better, can do to a door.

use super::*;
use crate::limits::TLS_RECORD_BYTES;

/// Turns until nobody has anything left to say, with nobody in the way.
fn turns(desk: &mut Desk, net: &SimNet, clients: &mut [Client]) {
    let mut dice = Dice::new(1);
    for _ in 0..200 {
        desk.turn();
        clients.iter_mut().for_each(|client| client.turn(net, &mut dice));
    }
}

/// Handshakes that come at once are made a few per turn, in order of arrival, and all of them in
/// the end.
#[test]
fn a_turn_makes_a_few_handshakes() {
    let agreed = Agreed::new("budget");
    let (mut desk, net) = Desk::new(1, 100, Faults::default(), &agreed);
    let mut clients: Vec<_> = (0..60).map(|_| agreed.client(&net, 0, vec![1])).collect();
    let mut dice = Dice::new(1);
    clients.iter_mut().for_each(|client| client.turn(&net, &mut dice));
    let mut answered = 0;
    for turn in 1..=12 {
        desk.turn();
        let waits = desk.door.tunnels.as_ref().unwrap().readable.len();
        let now = clients.iter().filter(|it| !net.take(it.id).is_empty()).count();
        answered += now;
        assert!(now <= HANDSHAKES_PER_TURN_MAX as usize, "{now} in turn {turn}");
        assert!(waits > 0 || answered + RECEIVE_BATCH >= 60 || turn < 3, "{waits} {answered}");
    }
    assert_eq!(answered, 60);
}

/// A session is taken up again by its ticket, and counted.
#[test]
fn a_ticket_saves_a_handshake() {
    let agreed = Agreed::new("ticket");
    for version in [0, 1] {
        let (mut desk, net) = Desk::new(1, 4, Faults::default(), &agreed);
        for resumed in [0, 1] {
            desk.texts = vec![vec![7; 10]];
            let mut clients = [agreed.client(&net, version, b"hello".to_vec())];
            turns(&mut desk, &net, &mut clients);
            assert_eq!(clients[0].heard, [7; 10]);
            assert_eq!(desk.counters.resumed.get(), resumed);
        }
        assert_eq!(desk.counters.handshakes.get(), 2);
    }
}

/// Whoever speaks plain HTTP is told in plain HTTP what to do, and whoever speaks nonsense gets an
/// alert; both are broken for the shard, and counted.
#[test]
fn other_protocols_are_refused() {
    let agreed = Agreed::new("other");
    for (said, answer) in [
        (&b"GET /ws/news HTTP/1.1\r\nHost: a\r\n\r\n"[..], &b"HTTP/1.1 400 Bad Request\r\n"[..]),
        (&[0x16, 3, 1, 0, 4, 9, 9, 9, 9], &[]),
        (&[0; 100], &[0x15, 3]),
    ] {
        let (mut desk, net) = Desk::new(1, 4, Faults::default(), &agreed);
        let client = net.connect_to(SECURE);
        net.write(client, said);
        (0..10).for_each(|_| desk.turn());
        let heard = net.take(client);
        assert!(heard.starts_with(answer), "{heard:?}");
        if let Some(at) = heard.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(heard[..at].to_vec()).unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", heard.len() - at - 4)));
        }
        assert!(desk.places.values().all(|place| place.is_broken && place.heard.is_empty()));
        assert_eq!((desk.counters.failed.get(), desk.counters.kept_bytes.get()), (1, 0));
    }
}

/// A peer that changes its keys, or sends empty records, without end is heard or cut off; nothing is
/// kept of it, and its neighbour is served.
#[test]
fn endless_key_updates_are_bounded() {
    let agreed = Agreed::new("updates");
    let (mut desk, net) = Desk::new(1, 4, Faults::default(), &agreed);
    desk.texts = vec![vec![1; 9], vec![1; 9]];
    let mut clients = [0, 0].map(|version| agreed.client(&net, version, b"hello".to_vec()));
    for _ in 0..400 {
        desk.turn();
        let mut dice = Dice::new(1);
        let tls = clients[0].tls.as_mut().unwrap();
        if !tls.is_handshaking() {
            (0..20).for_each(|_| tls.refresh_traffic_keys().unwrap());
        }
        let mut cipher = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut cipher).unwrap();
        }
        let is_handshaking = tls.is_handshaking();
        net.write(clients[0].id, &cipher);
        clients[1].turn(&net, &mut dice);
        if is_handshaking {
            clients[0].turn(&net, &mut dice);
        }
        assert!(desk.counters.kept_bytes.get() < 40_000);
    }
    assert_eq!(clients[1].heard, [1; 9]);
}

/// All connections together keep so much: beyond it some are cut off, whether by records that never
/// end or by not reading; the others go on.
#[test]
fn what_all_keep_is_bounded() {
    let agreed = Agreed::new("kept");
    let (mut desk, net) = Desk::new(1, 100, Faults::default(), &agreed);
    desk.door.tunnels.as_mut().unwrap().bytes_max = 20_000;
    let mut clients: Vec<_> = (0..50).map(|_| agreed.client(&net, 0, Vec::new())).collect();
    turns(&mut desk, &net, &mut clients);
    assert_eq!(desk.counters.handshakes.get(), 50);
    // A record that claims 16 KiB, and of which only a kilobyte comes.
    let part = [&[0x17, 3, 3, 0x40, 0][..], &[0; 1000]].concat();
    clients[1..].iter().for_each(|client| net.write(client.id, &part));
    (0..50).for_each(|_| desk.turn());
    assert!(desk.counters.kept_bytes.get() <= 20_000);
    let cut = desk.places.values().filter(|place| place.is_broken).count();
    assert_eq!(cut, 49 - 20_000 / 1005);
    // Who keeps nothing goes on.
    clients[0].text = b"hello".to_vec();
    desk.texts = vec![vec![5; 100_000]];
    turns(&mut desk, &net, &mut clients[..1]);
    assert_eq!(clients[0].heard, vec![5; 100_000]);
}

/// Beyond what all together may keep those go that have stood still longest, one after the other. Who
/// reads slowly, and has as much kept for it, is served to the end.
#[test]
fn who_has_stopped_goes_and_who_is_slow_stays() {
    let agreed = Agreed::new("slow");
    // No whole number of records, so that the last one is cut.
    let faults = Faults { socket_bytes: 40_000, ..Faults::default() };
    let (mut desk, net) = Desk::new(1, 60, faults, &agreed);
    let text = vec![5; 1_500_000];
    desk.texts = vec![text.clone(); 60];
    let mut clients: Vec<_> = (0..60).map(|_| agreed.client(&net, 0, Vec::new())).collect();
    turns(&mut desk, &net, &mut clients);
    // Room for what the good ones may have waiting, and for little more.
    let bytes_max = 4 * (TLS_RECORD_BYTES + 64);
    desk.door.tunnels.as_mut().unwrap().bytes_max = bytes_max;
    // They have the first slot and the last one, so that neither is what decides.
    let good = [0, 59];
    clients.iter_mut().for_each(|client| client.text = b"hello".to_vec());
    let mut dice = Dice::new(1);
    let slots: Vec<Slot> = clients.iter().map(|client| net.slot(client.id).unwrap()).collect();
    for round in 0..2000 {
        // Those who ask, and never read on, come a few at a time.
        for client in clients[1..59].iter_mut().skip(4 * round).take(4) {
            client.turn(&net, &mut dice);
            net.stall(client.id);
        }
        for number in good {
            net.stall(clients[number].id);
            desk.turn();
            net.resume(clients[number].id);
            clients[number].turn(&net, &mut dice);
        }
        assert!(desk.counters.kept_bytes.get() <= bytes_max as u64, "round {round}");
    }
    for number in good {
        let heard = clients[number].heard.len();
        assert!(clients[number].heard == text, "{number} heard {heard}");
    }
    let cut = slots[1..59].iter().filter(|slot| desk.places[slot].is_broken).count();
    assert!((1..58).contains(&cut), "{cut} of those who stopped");
}

/// Of what a peer does not read, the door keeps no more than two records.
#[test]
fn a_peer_that_does_not_read_keeps_two_records() {
    let agreed = Agreed::new("stalled");
    let (mut desk, net) = Desk::new(1, 4, Faults::default(), &agreed);
    desk.texts = vec![vec![3; 3_000_000]];
    let mut clients = [agreed.client(&net, 0, b"hello".to_vec())];
    let mut dice = Dice::new(1);
    while desk.places.values().all(|place| place.heard.is_empty()) {
        desk.turn();
        clients[0].turn(&net, &mut dice);
    }
    net.stall(clients[0].id);
    (0..100).for_each(|_| desk.turn());
    let kept = desk.counters.kept_bytes.get();
    assert!((1..=2 * (16_384 + 64)).contains(&kept), "{kept}");
    assert_eq!(desk.door.kept(net.slot(clients[0].id).unwrap()) as u64, kept, "it is all for one");
    let place = desk.places.values().next().unwrap();
    assert!(place.is_blocked && place.said < 200_000);
    net.resume(clients[0].id);
    turns(&mut desk, &net, &mut clients);
    assert!(clients[0].heard == vec![3; 3_000_000]);
    assert_eq!(desk.counters.kept_bytes.get(), 0);
}

/// The place of one that has gone can be had by another, whatever waited.
#[test]
fn a_slot_is_used_again() {
    let agreed = Agreed::new("again");
    let (mut desk, net) = Desk::new(1, 1, Faults::default(), &agreed);
    for _ in 0..5 {
        desk.texts = vec![vec![3; 3_000_000]];
        let mut clients = [agreed.client(&net, 0, b"hello".to_vec())];
        let mut dice = Dice::new(1);
        while desk.places.values().all(|place| place.heard.is_empty()) {
            desk.turn();
            clients[0].turn(&net, &mut dice);
        }
        net.stall(clients[0].id);
        (0..20).for_each(|_| desk.turn());
        let (slot, _) = desk.places.pop_first().unwrap();
        desk.door.close(slot);
        assert_eq!(desk.counters.kept_bytes.get(), 0);
        let mut events = Vec::new();
        desk.door.events(&mut events);
        assert_eq!(events, [Event::Closed(slot)]);
    }
}

/// Nothing that a peer sends panics, be it a handshake with mistakes or records with mistakes after
/// one; and nothing is kept of it but a part of a record.
#[test]
fn nothing_that_comes_panics() {
    let agreed = Agreed::new("nonsense");
    for seed in 0..1500 {
        let mut dice = Dice::new(seed);
        let (mut desk, net) = Desk::new(seed, 4, Faults::default(), &agreed);
        desk.texts = vec![vec![1; 9]];
        desk.is_hasty = dice.chance(500);
        let mut clients = [agreed.client(&net, dice.below(2), b"hello".to_vec())];
        let version = dice.below(2);
        for _ in 0..dice.below(8) {
            desk.turn();
            clients[0].turn(&net, &mut dice);
        }
        let mut other = agreed.client(&net, version, b"hello".to_vec());
        let tls = if dice.chance(500) { &mut other.tls } else { &mut clients[0].tls };
        let tls = tls.as_mut().unwrap();
        let mut wrong = Vec::new();
        let _ = tls.refresh_traffic_keys();
        tls.writer().write_all(b"more").unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut wrong).unwrap();
        }
        if wrong.is_empty() || dice.chance(100) {
            wrong = (0..200).map(|_| dice.below(256) as u8).collect();
            wrong[..3].copy_from_slice(&[20 + dice.below(5) as u8, 3, 3]);
        }
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(wrong.len());
            wrong[at] = dice.below(256) as u8;
        }
        wrong.truncate(1 + dice.below(2 * wrong.len()));
        for piece in wrong.chunks(1 + dice.below(100)) {
            net.write(clients[0].id, piece);
            desk.turn();
        }
        (0..5).for_each(|_| desk.turn());
        assert!(desk.counters.kept_bytes.get() < 20_000, "seed {seed}");
    }
}
