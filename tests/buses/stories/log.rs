//! Stories of buses with a log, which numbers the channels: nothing is lost or repeated.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::{Script, binary, expect_exactly, join_all, text};
use crate::{
    bus::{Bus, CHANNELS, Log, Record},
    edge::{await_ready, edge, edge_on, input, skipped, told_of_input},
    proxy::Proxy,
    support::{
        Dice, Folder, Follows, Gap, Item, Kind, Reader, Received, Seen, Server, Subscriber, Via,
        Whereabouts, eventually, follow,
    },
};

/// The broker is killed in mid-stream and comes back, again and again; subscribers stay connected
/// and get everything, in order, once.
pub fn a_killed_broker_costs_nothing<B: Log>() {
    let mut bus = B::start_alone();
    let edge = edge_on(&mut bus);
    let mut subscribers = Kind::BOTH.map(|kind| join_all::<B>(&edge, kind));
    let (mut script, mut dice, mut published) = (Script::new(4), Dice::new(5), 0);
    for _ in 0..B::KILLS {
        bus.publish(&script.on_any::<B>(3000, binary));
        await_records(&edge, published + dice.below(3000));
        bus.kill();
        bus.restart();
        published += 3000;
    }
    bus.publish(&script.on_any::<B>(100, binary));
    for subscribers in &mut subscribers {
        for (channel, subscriber) in subscribers.iter_mut().enumerate() {
            expect_exactly(subscriber, &script.made[channel]);
        }
    }
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 0);
    edge.stop();
}

/// The edge is killed in mid-stream and another takes its place, again and again; subscribers that
/// come back from the last position that they have get everything, in order, once, and all of them
/// see the same positions, which rise.
pub fn a_killed_edge_costs_nothing<B: Log>() {
    const EACH: [Follows; 3] = [Follows::Sse, Follows::Commands, Follows::Poll];
    let mut bus = B::start();
    let mut edge = edge_on(&mut bus);
    let at = Whereabouts::default();
    at.is_at(&edge);
    let (mut script, mut dice) = (Script::new(6), Dice::new(7));
    let begins = publish_one_each(&mut bus, &edge, &mut script);
    let followers: Vec<_> = (0..CHANNELS)
        .flat_map(|channel| EACH.map(|by| (channel, by)))
        .map(|(channel, by)| {
            let (at, since) = (at.clone(), begins[channel].clone());
            let follower = move || follow(&at, by, &B::channel(channel), &since, LAST);
            (channel, thread::spawn(follower))
        })
        .collect();
    let port = bus.port();
    for _ in 0..5 {
        let before = told_of_input(&edge, "stentor_input_records_total") as usize;
        bus.publish(&script.on_any::<B>(2000, text));
        await_records(&edge, before + dice.below(2000));
        edge.kill();
        edge = crate::edge::edge(&input(&bus, port, ""), &[]);
        at.is_at(&edge);
    }
    let last =
        (0..CHANNELS).map(|channel| Record { channel: B::channel(channel), payload: LAST.into() });
    bus.publish(&last.collect::<Vec<_>>());
    let mut positions: HashMap<usize, Vec<String>> = HashMap::new();
    for (channel, follower) in followers {
        let seen: Seen = follower.join().expect("a follower sees no gap");
        let (texts, told): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
        let mut expected = script.texts(channel).split_off(1);
        expected.push(LAST.to_owned());
        expect_same(&texts, &expected);
        assert!(told.is_sorted_by(|one, next| offset(one) < offset(next)), "positions rise");
        assert_eq!(*positions.entry(channel).or_insert_with(|| told.clone()), told);
    }
    edge.stop();
}

/// An input whose queue is always full, since the journal is behind it, makes the bus wait, and loses
/// nothing.
pub fn a_full_queue_holds_the_bus_back<B: Bus>() {
    let mut bus = B::start();
    let folder = Folder::new(&format!("held-{}", bus.port()));
    let port = bus.port();
    let edge = edge(&input(&bus, port, "in-flight=1"), &["--journal", folder.text()]);
    await_ready(&edge);
    let mut subscribers = join_all::<B>(&edge, Kind::WebSocket);
    let mut script = Script::new(8);
    bus.publish(&script.on_any::<B>(5000, binary));
    for (channel, subscriber) in subscribers.iter_mut().enumerate() {
        expect_exactly(subscriber, &script.made[channel]);
    }
    assert_eq!(skipped(&edge, "dropped"), 0);
    edge.stop();
}

/// Two edges read one log, one of them two seconds behind the other. A subscriber moves between them
/// fifty times while records are published, and sees each once, in order.
///
/// Method: on the edge that is ahead it sometimes reads all that there is, so that the other has yet to
/// come to where it is; that this happened is counted.
pub fn a_subscriber_moves_between_edges<B: Log>() {
    const VIAS: [Via; 4] = [Via::Sse, Via::Commands, Via::Poll, Via::Streams];
    let mut bus = B::start();
    let port = bus.port();
    let proxy = Proxy::to(port, Duration::ZERO);
    let edges = [port, proxy.port()].map(|port| edge(&input(&bus, port, ""), &[]));
    edges.iter().for_each(await_ready);
    let mut first = Subscriber::join(edges[0].subscribers, Kind::Sse, &B::channel(0));
    bus.publish(&[numbered::<B>(0)]);
    let Received::Publication { position: Some(mut since), .. } = first.next() else { panic!() };
    await_records(&edges[1], 1);
    proxy.set_delay(Duration::from_secs(2));
    let (published, over) = (AtomicUsize::new(1), AtomicBool::new(false));
    let mut ahead = 0;
    thread::scope(|scope| {
        scope.spawn(|| publish_on(&mut bus, &published, &over));
        // It ends with the subscriber, however that ends.
        let _ended = End(&over);
        let (mut next, mut dice) = (1, Dice::new(9));
        for visit in 0..50 {
            let edge = &edges[visit % 2];
            let behind = told_of_input(edge, "stentor_input_records_total") < next as u64;
            ahead += usize::from(visit % 2 == 1 && behind);
            let via = VIAS[dice.below(VIAS.len())];
            let mut reader = Reader::resume(edge.subscribers, via, &B::channel(0), &since);
            let until = match dice.below(3) {
                0 if visit % 2 == 0 => published.load(Ordering::SeqCst).max(next + 1),
                _ => next + 1 + dice.below(60),
            };
            while next < until {
                let expected = format!("{next}");
                let Item::Publication(text, Some(position)) = reader.next() else {
                    panic!("a gap")
                };
                assert_eq!(text, expected, "visit {visit} by {via:?} since {since}");
                (since, next) = (position, next + 1);
            }
        }
    });
    assert!(ahead >= 3, "the other edge was behind the subscriber {ahead} times of 25");
    edges.into_iter().for_each(|edge| edge.stop());
}

/// What a bus forgot while the edge was cut off is told: a live subscriber, and whoever resumes from
/// before it, hears of exactly that gap, and goes on behind it.
pub fn what_the_bus_forgot_is_told<B: Log>() {
    const KEPT: usize = 40;
    let mut bus = B::start();
    let proxy = Proxy::to(bus.port(), Duration::ZERO);
    let edge = edge(&input(&bus, proxy.port(), ""), &[]);
    await_ready(&edge);
    let mut live = Subscriber::join(edge.subscribers, Kind::Sse, &B::channel(0));
    bus.publish(&(0..100).map(numbered::<B>).collect::<Vec<_>>());
    let mut positions: Vec<String> = (0..100).map(|number| next_of(&mut live, number)).collect();
    proxy.cut();
    bus.publish(&(100..200).map(numbered::<B>).collect::<Vec<_>>());
    bus.trim(&B::channel(0), KEPT);
    proxy.mend();
    let Received::Gap(told) = live.next() else { panic!("a gap is told") };
    let behind: Vec<String> = (200 - KEPT..200).map(|number| next_of(&mut live, number)).collect();
    let expected = Gap { from: positions[99].clone(), to: before(&behind[0]) };
    assert_eq!(told, expected);
    assert_eq!(told_of_input(&edge, "stentor_input_holes_total"), 1);
    positions.resize(200 - KEPT, String::new());
    positions.extend(behind);
    for via in [Via::Sse, Via::LastEventId, Via::Streams, Via::Commands, Via::Poll, Via::Tag] {
        for since in [99, 49] {
            expect_gap::<B>(&edge, via, since, &positions, &expected.to);
        }
    }
    edge.stop();
}

/// Whoever resumes gets exactly what is not in the gap that it is told, which ends where it must.
#[track_caller]
fn expect_gap<B: Bus>(edge: &Server, via: Via, since: usize, positions: &[String], to: &str) {
    let channel = B::channel(0);
    let mut reader = Reader::resume(edge.subscribers, via, &channel, &positions[since]);
    let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
    while numbers.last() != Some(&199) {
        match reader.next() {
            Item::Publication(text, position) => {
                let number: usize = text.parse().expect("a number");
                assert_eq!(position.as_ref(), Some(&positions[number]));
                numbers.push(number);
            }
            Item::Gap(gap) => gaps.push(gap),
        }
    }
    let [gap] = &gaps[..] else { panic!("{via:?} since {since}: {gaps:?}") };
    assert_eq!(gap.to, to, "{via:?} since {since}");
    let from = positions.iter().position(|position| *position == gap.from);
    let from = from.unwrap_or_else(|| panic!("{via:?} since {since}: {gap:?}"));
    assert!((since..=99).contains(&from), "{via:?} since {since}: {gap:?}");
    let first_kept = positions.iter().rposition(String::is_empty).expect("some are gone") + 1;
    let expected: Vec<usize> = (since + 1..=from).chain(first_kept..200).collect();
    assert_eq!(numbers, expected, "{via:?} since {since}: {gap:?}");
}

/// A record of the first channel that says its number.
fn numbered<B: Bus>(number: usize) -> Record {
    Record { channel: B::channel(0), payload: number.to_string().into_bytes() }
}

/// The position of the next publication, which says this number.
#[track_caller]
fn next_of(subscriber: &mut Subscriber, number: usize) -> String {
    match subscriber.next() {
        Received::Publication { payload, position: Some(position) } => {
            assert_eq!(String::from_utf8(payload).as_deref(), Ok(number.to_string().as_str()));
            position
        }
        other => panic!("number {number} should come and not {other:?}"),
    }
}

/// Publishes records that say their numbers, in batches, until it is over.
fn publish_on<B: Bus>(bus: &mut B, published: &AtomicUsize, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let next = published.load(Ordering::SeqCst);
        bus.publish(&(next..next + 20).map(numbered::<B>).collect::<Vec<_>>());
        published.store(next + 20, Ordering::SeqCst);
        // 400 a second: an edge at the end of a long way reads a bounded number of records at a time.
        thread::sleep(Duration::from_millis(50));
    }
}

/// Says that it is over when it goes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Publishes the first of each channel; gives their positions.
#[track_caller]
fn publish_one_each<B: Bus>(bus: &mut B, edge: &Server, script: &mut Script) -> Vec<String> {
    let mut subscribers = join_all::<B>(edge, Kind::Sse);
    let records: Vec<Record> = (0..CHANNELS).map(|channel| script.on::<B>(channel, text)).collect();
    bus.publish(&records);
    let position = |subscriber: &mut Subscriber| match subscriber.next() {
        Received::Publication { position: Some(position), .. } => position,
        other => panic!("a publication with its position, not {other:?}"),
    };
    subscribers.iter_mut().map(position).collect()
}

/// Waits until the edge has read so many records.
#[track_caller]
fn await_records(edge: &Server, least: usize) {
    eventually(&format!("{least} records are read"), || {
        (told_of_input(edge, "stentor_input_records_total") >= least as u64).then_some(())
    });
}

#[track_caller]
fn expect_same(seen: &[String], expected: &[String]) {
    let differs = seen.iter().zip(expected).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("number {at} should be {:?} and is {:?}", expected[at], seen[at]);
    }
    assert_eq!(seen.len(), expected.len());
}

/// The offset in a position.
#[track_caller]
fn offset(position: &str) -> u128 {
    let (_, offset) = position.rsplit_once('-').expect("epoch-offset");
    offset.parse().expect("a number")
}

/// The position just before this one.
#[track_caller]
fn before(position: &str) -> String {
    let (epoch, _) = position.rsplit_once('-').expect("epoch-offset");
    format!("{epoch}-{}", offset(position) - 1)
}

/// What the last publication of each channel says.
const LAST: &str = "the last";
