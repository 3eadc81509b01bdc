//! What is bounded in homes and views, and what happens there.

use super::{home, plain, views};
use crate::{
    counters::Counters,
    frame::Format,
    hub::{Batch, Home, Joined, Lapped, Message, News, Reader, ReaderSet, Rest, Views},
    ids::{ChannelName, Offset, ShardId, Slot},
    io::{Exception, Outcome},
    policy::{Pattern, Policies, Policy, Retention, Slow},
    resume::Start,
};

/// A home and the views of its own shard, without policies.
fn pair(channels_max: usize, lag: usize) -> (Home, Views) {
    (home(Policies::default(), 1, channels_max, lag), views(Policies::default(), 0, lag))
}

fn join(views: &mut Views, slot: u32, name: &ChannelName, format: Format) -> Joined {
    views.join(Slot(slot), name, format, Start::Live, false)
}

fn interests(home: &mut Home, views: &mut Views) {
    views.tell(|message| {
        match message {
            Message::Interest { channel, said } => home.on_interest(&channel, said, 0),
            Message::Ask { channel, ask } => home.on_ask(channel, ask),
            _ => panic!("views tell of nothing else"),
        }
        Ok(())
    });
}

/// Lets a home and the views of its own shard tell each other all that they owe.
pub(super) fn exchange(home: &mut Home, views: &mut Views) -> Vec<News> {
    interests(home, views);
    let mut news = Vec::new();
    home.tell(ShardId(0), |message| {
        news.push(views.on_message(message, 0, 0));
        Ok(())
    });
    news
}

/// Above the limit a new channel is refused, a known one is not, and a freed place is free.
#[test]
fn channels_are_limited() {
    let (mut home, mut views) = pair(1, 1000);
    let live = |news: Vec<News>, slot: u32| {
        let [News::Started(started)] = &news[..] else { panic!("{news:?}") };
        let mut readers = ReaderSet::default();
        readers.insert(Reader(slot));
        assert_eq!(started.readers, readers);
    };
    let [a, b] = ["a", "b"].map(|name| ChannelName::new(name).unwrap());
    join(&mut views, 1, &a, Format::Sse);
    live(exchange(&mut home, &mut views), 1);
    join(&mut views, 2, &b, Format::Sse);
    assert_eq!(exchange(&mut home, &mut views), [News::Refused(b.clone(), vec![Slot(2)])]);
    assert_eq!(views.len(), 1, "a refused view is gone");
    join(&mut views, 3, &a, Format::WebSocket);
    live(exchange(&mut home, &mut views), 3);
    views.forget(Slot(1));
    views.forget(Slot(3));
    exchange(&mut home, &mut views);
    join(&mut views, 2, &b, Format::Sse);
    live(exchange(&mut home, &mut views), 2);
}

/// Publications that come faster than they are sent make the channel congested, nobody who had no
/// chance to be served is taken out, and a round that ends lifts it.
#[test]
fn the_unserved_are_spared_and_publishers_wait() {
    const LAG: usize = 10_000;
    let counters = Counters::default();
    let (mut home, mut views) = pair(10, LAG);
    let name = ChannelName::new("a").unwrap();
    (0..10).for_each(|slot| {
        join(&mut views, slot, &name, Format::WebSocket);
    });
    exchange(&mut home, &mut views);
    let mut published = 0;
    while !home.is_congested(&name) {
        home.publish(plain(&name, &[b'x'; 500]), 0);
        published += 1;
        let news = exchange(&mut home, &mut views);
        assert!(news.iter().all(|news| *news == News::Nothing), "nobody is taken out");
        interests(&mut home, &mut views);
    }
    assert!((LAG / 2..LAG / 2 + 1100).contains(&(published * 504)), "{published}");
    let mut batch = Batch::new();
    while views.has_work() {
        views.fill(&mut batch, 0);
        views.settle(&batch, &[], &mut Vec::new(), &counters);
    }
    exchange(&mut home, &mut views);
    assert!(!home.is_congested(&name));
    assert_eq!(counters.deliveries.get(), 10 * published as u64);
}

/// Frames that are cut where a window is shortened are kept up to the room there is, and no more.
#[test]
fn rests_are_kept_within_the_room() {
    let counters = Counters::default();
    let (mut home, mut views) = pair(10, 10_000);
    let name = ChannelName::new("a").unwrap();
    (0..3).for_each(|slot| {
        join(&mut views, slot, &name, Format::WebSocket);
    });
    let mut lapped = Vec::new();
    for _ in 0..100 {
        home.publish(plain(&name, &[b'x'; 4000]), 0);
        interests(&mut home, &mut views);
        home.tell(ShardId(0), |message| {
            if let News::Lapped(them) = views.on_message(message, 7000, 0) {
                lapped.extend(them);
            }
            Ok(())
        });
        let (mut batch, mut exceptions) = (Batch::new(), Vec::new());
        views.fill(&mut batch, 0);
        for index in 0..batch.len() {
            exceptions.push(Exception { index, outcome: Outcome::Short(1000) });
        }
        views.settle(&batch, &exceptions, &mut Vec::new(), &counters);
    }
    let kept = |lapped: &Lapped| match &lapped.rest {
        Rest::Kept(bytes) => Some(bytes.len()),
        Rest::TooMuch => None,
        Rest::None => panic!("every frame was cut"),
    };
    assert_eq!(lapped.iter().map(kept).collect::<Vec<_>>(), [Some(3004), Some(3004), None]);
}

/// A round's duration counts from the turn that began it to the moment it is counted.
#[test]
fn rounds_are_timed() {
    let counters = Counters::default();
    let (mut home, mut views) = pair(10, 10_000);
    let name = ChannelName::new("a").unwrap();
    join(&mut views, 0, &name, Format::Sse);
    exchange(&mut home, &mut views);
    home.publish(plain(&name, b"x"), 0);
    exchange(&mut home, &mut views);
    let mut batch = Batch::new();
    for now_us in [100, 150] {
        views.fill(&mut batch, now_us);
        views.settle(&batch, &[], &mut Vec::new(), &counters);
    }
    views.count_rounds(500, &counters);
    assert_eq!((counters.sweeps.get(), counters.sweep_us.get()), (1, 400));
}

/// Who was lapped in a channel that is kept goes on with the oldest that is, like one who was away,
/// whatever its shard still has in memory.
#[test]
fn who_skips_gets_what_is_kept() {
    let keep = Retention { count: 50, bytes: 1 << 20, age: None };
    let skip = Policy { history: keep, slow: Slow::Skip, ..Policy::default() };
    let policies = Policies::new([(Pattern::new("*"), skip)]);
    let (mut home, mut views) = (home(policies.clone(), 1, 10, 1000), views(policies, 0, 1000));
    let (name, counters, mut batch) =
        (ChannelName::new("a").unwrap(), Counters::default(), Batch::new());
    join(&mut views, 0, &name, Format::WebSocket);
    exchange(&mut home, &mut views);
    let mut sweep = |views: &mut Views, takes: bool| {
        while views.has_work() {
            views.fill(&mut batch, 0);
            let full = |index| Exception { index, outcome: Outcome::Short(0) };
            let exceptions: Vec<_> = (0..batch.len()).filter(|_| !takes).map(full).collect();
            views.settle(&batch, &exceptions, &mut Vec::new(), &counters);
            assert_eq!(views.next_skip(), None, "its home is asked first");
        }
    };
    for n in 0..200 {
        home.publish(plain(&name, &[b'x'; 100]), 0);
        exchange(&mut home, &mut views);
        sweep(&mut views, n < 10);
    }
    views.unblock(Slot(0));
    sweep(&mut views, true);
    exchange(&mut home, &mut views);
    let skipped = views.next_skip().expect("it is told of the gap");
    let (from, to) = (skipped.gap.from.offset, skipped.gap.to.offset);
    assert_eq!((from, to, skipped.publications), (Offset(10), Offset(150), 140));
    sweep(&mut views, true);
    assert_eq!(counters.deliveries.get(), 10 + 50);
}

/// However many channels there are, those that are asked for are the busiest, in order; what was
/// published long ago makes no channel busy.
#[test]
fn the_busiest_are_found_among_many() {
    let keep = Retention { count: 1, bytes: 1 << 20, age: None };
    let kept = Policy { history: keep, ..Policy::default() };
    let mut home = home(Policies::new([(Pattern::new("*"), kept)]), 1, 1000, 1000);
    let name = |n: usize| ChannelName::new(&format!("c{n}")).unwrap();
    (0..500).for_each(|_| _ = home.publish(plain(&name(300), b"x"), 0));
    const LATER: u64 = 600_000_000;
    for n in (0..300).map(|n| n * 7 % 300) {
        (0..=n).for_each(|_| _ = home.publish(plain(&name(n), b"x"), LATER));
    }
    for limit in [1, 10, 150, 299] {
        let found = home.busiest(limit, LATER);
        let names: Vec<&ChannelName> = found.iter().map(|it| &it.name).collect();
        let expected: Vec<ChannelName> = (0..300).rev().map(name).take(limit).collect();
        assert_eq!(names, expected.iter().collect::<Vec<_>>(), "the busiest {limit}");
        assert_eq!(found[0].publications_per_second, 60.0, "300 within 5 s");
    }
    let all = home.busiest(1000, LATER);
    assert_eq!((all.len(), &all[300].name), (301, &name(300)));
    assert_eq!(all[300].publications_per_second, 0.0, "that was ten minutes ago");
}
