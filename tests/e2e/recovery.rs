//! Coming back: whoever says where it left off gets exactly what it missed and then what follows,
//! or is told exactly what it does not get.

use std::thread;

use serde_json::json;

use crate::support::{
    Dice, Gap, Io, Item, Kind, Poller, Press, Publisher, Reader, Server, Streams, Subscriber, Talk,
    Via, eventually,
};

on_both_kernels!(
    what_was_missed_comes_first,
    the_newest_come_first,
    gaps_are_told_exactly,
    a_restart_is_a_gap,
    nothing_is_lost_or_repeated_under_fire,
    gaps_are_exact_under_fire,
    a_thousand_come_back_to_one_shard,
);

/// Over every transport, from every position: what was published since, at its position, and then
/// what is published next.
fn what_was_missed_comes_first(io: Io) {
    let server = Server::start(io, &["--channels", "* history=100"]);
    let mut publisher = Publisher::of(&server);
    let mut book = publish(&mut publisher, 0..10);
    let mut readers: Vec<(Via, usize, Reader)> = Vec::new();
    for via in Via::ALL {
        for (from, since) in book.iter().enumerate() {
            let reader = Reader::resume(server.subscribers, via, "news", since);
            readers.push((via, from, reader));
        }
    }
    for (via, from, reader) in &mut readers {
        for number in *from + 1..10 {
            assert_eq!(reader.next(), expected(*via, &book, number), "{via:?} from {from}");
        }
    }
    book.extend(publish(&mut publisher, 10..13));
    for (via, from, reader) in &mut readers {
        for number in 10..13 {
            assert_eq!(reader.next(), expected(*via, &book, number), "{via:?} from {from}");
        }
    }
    server.stop();
}

/// `last=N` brings the newest N, or all that are kept, and then what is published next. With a
/// `Last-Event-ID` it counts for nothing.
fn the_newest_come_first(io: Io) {
    let server = Server::start(io, &["--channels", "* history=8"]);
    let mut publisher = Publisher::of(&server);
    for (last, first) in [(0, 10), (1, 9), (8, 2), (9, 2), (4_000_000_000_u32, 2)] {
        let (address, channel) = (server.subscribers, format!("last:{last}"));
        let mut book = publish_to(&mut publisher, &channel, 0..10);
        let begins_at = book[first - 1].clone();
        let asked = format!("{channel}?last={last}");
        let mut plain = Kind::BOTH.map(|kind| Subscriber::join(address, kind, &asked));
        for subscriber in &plain {
            let begun = &subscriber.begun;
            assert_eq!((&begun.position, begun.recovered), (&begins_at, None), "{asked}");
        }
        let id = format!("Last-Event-ID: {}\r\n", book[5]);
        let mut known = Subscriber::join_with(address, Kind::Sse, &asked, &id);
        assert_eq!((&known.begun.position, known.begun.recovered), (&book[5], Some(true)));
        let mut talk = Talk::open(address, "");
        let told = talk.subscribe(&channel, &json!({ "last": last }));
        let wanted = json!({ "type": "subscribed", "channel": channel, "position": begins_at });
        assert_eq!(told, wanted);
        let mut streams = Streams::open(address, &format!("channels={channel}&last={last}"), "");
        assert_eq!(streams.first, format!("{channel}={begins_at}"));
        let polled = Poller::connect(address).poll(&format!("{asked}&timeout=0"), "");
        let texts = polled.publications.iter().filter_map(|it| it["data"].as_str());
        assert!(texts.eq((first..10).map(text)), "{asked}: {polled:?}");
        book.extend(publish_to(&mut publisher, &channel, 10..11));
        for (number, id) in book.iter().enumerate().skip(first) {
            let object = json!({ "channel": channel, "id": id, "data": text(number) });
            assert_eq!(talk.hear(), object);
            assert_eq!(streams.next().expect("an event").data, text(number));
            for subscriber in &mut plain {
                assert_eq!(subscriber.publication(), text(number).as_bytes(), "{asked}");
            }
        }
        (6..11).for_each(|number| assert_eq!(known.publication(), text(number).as_bytes()));
    }
    server.stop();
}

/// Who left off before what is kept is told, over every transport, of exactly what it does not
/// get, and gets the rest; where nothing is kept that is all that it missed, and nothing if it
/// missed nothing. A position that was never given is none that could be recovered. `/metrics` counts
/// who came back, who of them got all, and the gaps.
fn gaps_are_told_exactly(io: Io) {
    let server = Server::start(io, &["--channels", "kept* history=5"]);
    let mut publisher = Publisher::of(&server);
    for (channel, kept) in [("kept", 5), ("forgotten", 0)] {
        // Somebody reads, or positions would be of a channel that is not there.
        let _reader = Subscriber::join(server.subscribers, Kind::Sse, channel);
        let mut book = publish_to(&mut publisher, channel, 0..20);
        let floor = 20 - kept - 1;
        for via in Via::ALL {
            let strange = "1-7".to_owned();
            for since in [&book[0], &book[3], &book[floor - 1], &strange] {
                let before = counted(&server);
                let mut reader = Reader::resume(server.subscribers, via, channel, since);
                let gap = Gap { from: since.clone(), to: book[floor].clone() };
                assert_eq!(reader.next(), Item::Gap(gap), "{via:?} {channel}");
                for number in floor + 1..20 {
                    assert_eq!(reader.next(), expected(via, &book, number), "{via:?} {channel}");
                }
                check_counted(&server, via, before, [1, 0, 1]);
            }
        }
        let mut whole: Vec<(Via, Reader)> = Vec::new();
        for via in Via::ALL {
            let before = counted(&server);
            let mut reader = Reader::resume(server.subscribers, via, channel, &book[floor]);
            for number in floor + 1..20 {
                assert_eq!(reader.next(), expected(via, &book, number), "{via:?} {channel}");
            }
            check_counted(&server, via, before, [1, 1, 0]);
            whole.push((via, reader));
        }
        book.extend(publish_to(&mut publisher, channel, 20..21));
        // Who polls is nobody while it does not ask.
        whole.retain(|(via, _)| kept > 0 || ![Via::Poll, Via::Tag].contains(via));
        for (via, reader) in &mut whole {
            assert_eq!(reader.next(), expected(*via, &book, 20), "{via:?} {channel}");
        }
    }
    server.stop();
}

/// Without a journal a restart begins another epoch: everything from before is told as a gap up to
/// where the new numbering stands, and what is published then arrives.
fn a_restart_is_a_gap(io: Io) {
    let flags = ["--channels", "* history=5"];
    let before = Server::start(io, &flags);
    let book = publish(&mut Publisher::of(&before), 0..3);
    before.stop();
    let server = Server::start(io, &flags);
    let mut publisher = Publisher::of(&server);
    let mut now = Vec::new();
    let mut readers: Vec<(Via, Reader)> = Vec::new();
    for via in Via::ALL {
        let mut reader = Reader::resume(server.subscribers, via, "news", &book[2]);
        let Item::Gap(gap) = reader.next() else { panic!("{via:?}: no gap") };
        let (epoch, offset) = gap.to.split_once('-').expect("a position");
        assert_eq!((&gap.from, offset), (&book[2], "0"), "{via:?}");
        assert!(!book[2].starts_with(&format!("{epoch}-")), "{via:?}: the same epoch");
        readers.push((via, reader));
    }
    now.extend(publish(&mut publisher, 0..2));
    for (via, reader) in &mut readers {
        for number in 0..2 {
            assert_eq!(reader.next(), expected(*via, &now, number), "{via:?}");
        }
    }
    server.stop();
}

/// While a publisher never pauses, clients of every transport drop their connections at random,
/// 200 times each, with whatever they had not read, and come back from the last that they have:
/// nothing is skipped, nothing is repeated, and every position is the one that the publisher was
/// told.
fn nothing_is_lost_or_repeated_under_fire(io: Io) {
    let channels = "news history=1000000 history-bytes=1GiB";
    let server = Server::start(io, &["--inbox", "16", "--channels", channels]);
    let press = Press::run(&server, "news", text);
    let clients: Vec<_> = (0..)
        .zip(Via::ALL)
        .map(|(seed, via)| {
            let (address, book) = (server.subscribers, press.book.clone());
            thread::spawn(move || {
                let (mut dice, mut next) = (Dice::new(seed), 1);
                for round in 0..200 {
                    let mut reader = Reader::resume(address, via, "news", &book.position(next - 1));
                    for _ in 0..dice.below(30) {
                        let place = || format!("seed {seed}, {via:?}, round {round}");
                        match reader.next() {
                            Item::Publication(told, at) => {
                                assert_eq!(told, text(next), "{}", place());
                                assert!(
                                    at.is_none_or(|at| at == book.position(next)),
                                    "{}",
                                    place()
                                );
                            }
                            gap => panic!("{}: {gap:?}", place()),
                        }
                        next += 1;
                    }
                }
            })
        })
        .collect();
    end(press, clients);
    server.stop();
}

/// The same where so little is kept that clients often come back too late: each gap that they are
/// told of ends exactly before what they get next.
fn gaps_are_exact_under_fire(io: Io) {
    let server = Server::start(io, &["--inbox", "16", "--channels", "news history=20"]);
    let press = Press::run(&server, "news", text);
    let clients: Vec<_> = (0..)
        .zip(Via::ALL)
        .map(|(seed, via)| {
            let (address, book) = (server.subscribers, press.book.clone());
            thread::spawn(move || {
                let (mut dice, mut next, mut gaps) = (Dice::new(seed), 1, 0);
                while gaps < 20 {
                    // Behind the head by less than is kept, or more.
                    let behind = [0, 5, 15, 25, 100][dice.below(5)];
                    eventually("it was published", || (book.len() > next + behind).then_some(()));
                    let since = book.position(next - 1);
                    let mut reader = Reader::resume(address, via, "news", &since);
                    let mut is_new = true;
                    let mut left = 1 + dice.below(30);
                    while left > 0 {
                        match reader.next() {
                            Item::Publication(told, _) => {
                                assert_eq!(told, text(next), "seed {seed}, {via:?}, {gaps} gaps");
                                (next, left, is_new) = (next + 1, left - 1, false);
                            }
                            Item::Gap(gap) => {
                                // Whoever polls comes back each time.
                                assert!(is_new || [Via::Poll, Via::Tag].contains(&via), "{via:?}");
                                let since = book.position(next - 1);
                                assert_eq!(gap.from, since, "seed {seed}, {via:?}");
                                let last = book.number(&gap.to);
                                assert!(last >= next, "seed {seed}, {via:?}: an empty gap");
                                (next, gaps, is_new) = (last + 1, gaps + 1, false);
                            }
                        }
                    }
                }
            })
        })
        .collect();
    end(press, clients);
    server.stop();
}

/// A thousand subscribers of one shard come back at the same time from positions of their own, over
/// every transport, and each gets what it missed and then what follows.
fn a_thousand_come_back_to_one_shard(io: Io) {
    let server = Server::start(io, &["--shards", "1", "--channels", "* history=200"]);
    let mut publisher = Publisher::of(&server);
    let mut book = publish(&mut publisher, 0..100);
    let mut dice = Dice::new(1);
    let mut readers: Vec<(Via, usize, Reader)> = (0..1000)
        .map(|index| {
            let (via, from) = (Via::ALL[index % Via::ALL.len()], dice.below(100));
            (via, from, Reader::resume(server.subscribers, via, "news", &book[from]))
        })
        .collect();
    book.extend(publish(&mut publisher, 100..105));
    for (via, from, reader) in &mut readers {
        for number in *from + 1..105 {
            assert_eq!(reader.next(), expected(*via, &book, number), "{via:?} from {from}");
        }
    }
    assert_eq!(server.stat("/gaps"), 0);
    server.stop();
}

/// How many subscriptions came back, how many of those got all, and how many gaps were told.
fn counted(server: &Server) -> [u64; 3] {
    ["subscriptions_resumed", "subscriptions_recovered", "gaps"]
        .map(|name| server.metric(&format!("stentor_{name}_total")) as u64)
}

/// Holds what was counted since to what a reader has met. Who polls comes back with every question.
#[track_caller]
fn check_counted(server: &Server, via: Via, before: [u64; 3], met: [u64; 3]) {
    let now = counted(server);
    if ![Via::Poll, Via::Tag].contains(&via) {
        assert_eq!([0, 1, 2].map(|n| now[n] - before[n]), met, "{via:?}");
    }
}

/// Waits for the clients, then stops the publisher, whatever they found.
fn end(press: Press, clients: Vec<thread::JoinHandle<()>>) {
    let outcomes: Vec<_> = clients.into_iter().map(thread::JoinHandle::join).collect();
    press.end();
    outcomes.into_iter().for_each(|outcome| outcome.unwrap());
}

/// Publishes these to "news"; their positions.
fn publish(publisher: &mut Publisher, numbers: std::ops::Range<usize>) -> Vec<String> {
    publish_to(publisher, "news", numbers)
}

fn publish_to(
    publisher: &mut Publisher,
    channel: &str,
    numbers: std::ops::Range<usize>,
) -> Vec<String> {
    numbers.map(|number| publisher.publish(channel, text(number).as_bytes()).0).collect()
}

fn text(number: usize) -> String {
    format!("publication {number}")
}

/// What a reader is told of a publication: plain WebSockets have no room for its position.
fn expected(via: Via, book: &[String], number: usize) -> Item {
    let position = (via != Via::WebSocket).then(|| book[number].clone());
    Item::Publication(text(number), position)
}
