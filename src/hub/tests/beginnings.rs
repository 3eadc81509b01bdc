//! Where subscribers begin, what is kept for them, and what publishers are promised.

use std::time::Duration;

use super::{EPOCH, plain};
use crate::{
    frame::Format,
    hub::{Ask, Beginning, Home, HomeSetup, Message, Reader, Said, ViewId},
    ids::{ChannelName, Offset, Position, ShardId},
    mesh::{Accepted, Publish, Rejected, Terms},
    policy::{Mode, Pattern, Policies, Policy, Retention},
    resume::{Begun, Gap, Start},
};

const VIEW: ViewId = ViewId { index: 0, generation: 1 };
const HUNDREDTH_US: u64 = 10_000;

fn name() -> ChannelName {
    ChannelName::new("a").unwrap()
}

fn home_with(policy: Policy) -> Home {
    Home::new(HomeSetup {
        epoch: EPOCH,
        journal: None,
        shards: 1,
        policies: Policies::new([(Pattern::new("*"), policy)]),
        numbered: Vec::new(),
        channels_max: 10,
        lag_bytes_max: 1 << 20,
    })
}

fn keeping(count: u32, bytes: usize, age: Option<Duration>) -> Home {
    home_with(Policy { history: Retention { count, bytes, age }, ..Policy::default() })
}

fn position(offset: u128) -> Position {
    Position { epoch: EPOCH, offset: Offset(offset) }
}

fn publish(home: &mut Home, publish: Publish, now_us: u64) -> Result<Accepted, Rejected> {
    home.publish(publish, now_us);
    home.next_answer().expect("answered at once").1.outcome
}

fn say(home: &mut Home, format: Format, subscribers: u32, first: bool, now_us: u64) {
    let (from, view, congested) = (ShardId(0), VIEW, false);
    let said = Said { from, view, format, subscribers, congested, first };
    home.on_interest(&name(), said, now_us);
}

/// Where a subscriber begins, and the payloads that it then gets.
fn begin(home: &mut Home, start: Start) -> (Begun, Vec<String>) {
    say(home, Format::WebSocket, 1, true, 0);
    let ask = Ask { from: ShardId(0), view: VIEW, reader: Reader(0), number: 1, start };
    home.on_ask(name(), ask);
    let mut beginning = None;
    home.tell(ShardId(0), |message| {
        if let Message::Begin { beginning: told, .. } = message {
            beginning = Some(*told);
        }
        Ok(())
    });
    say(home, Format::WebSocket, 0, false, 0);
    let Beginning { mark, begun, extents, .. } = beginning.expect("it was asked");
    let frames = extents.iter().flat_map(|extent| {
        (0..extent.bytes.frames()).filter_map(move |index| {
            let is_owed =
                extent.place(index).mark.byte >= mark.byte && !extent.bytes.is_replaced(index);
            let payload = crate::wire::websocket::payload(extent.bytes.frame(index));
            is_owed.then(|| String::from_utf8(payload.to_vec()).unwrap())
        })
    });
    (begun, frames.collect())
}

fn kept(home: &mut Home) -> Vec<String> {
    begin(home, Start::Last(u32::MAX)).1
}

/// Of a channel exactly as many publications are kept as its policy says, by count, by bytes of
/// payload, and by age.
#[test]
fn what_is_kept_is_exact() {
    let numbers =
        |range: std::ops::Range<u32>| range.map(|n| format!("{n:02}")).collect::<Vec<_>>();
    let fill = |home: &mut Home| {
        for n in 0..50u64 {
            publish(home, plain(&name(), format!("{n:02}").as_bytes()), n * HUNDREDTH_US).unwrap();
        }
    };
    let mut by_count = keeping(7, 1000, None);
    fill(&mut by_count);
    assert_eq!(kept(&mut by_count), numbers(43..50));
    let mut by_bytes = keeping(1000, 21, None);
    fill(&mut by_bytes);
    assert_eq!(kept(&mut by_bytes), numbers(40..50), "two bytes each");
    publish(&mut by_bytes, plain(&name(), &[b'x'; 22]), 0).unwrap();
    assert_eq!(kept(&mut by_bytes), [""; 0], "larger than all that may be kept");
    let mut by_age = keeping(1000, 1000, Some(Duration::from_secs(60)));
    fill(&mut by_age);
    assert_eq!(kept(&mut by_age), numbers(0..50));
    let due_us = by_age.next_due_us().expect("a timer for the oldest");
    assert!((60_000_000..60_020_001).contains(&due_us), "{due_us}");
    by_age.on_time(60_000_000 + 9 * HUNDREDTH_US);
    assert_eq!(kept(&mut by_age), numbers(10..50));
    by_age.on_time(120_000_000);
    assert_eq!((by_age.channels(), by_age.next_due_us()), (0, None), "an empty channel is freed");
}

/// Who asks for the newest gets so many, who asks for what was since gets that, or is told of the
/// gap and gets what is kept.
#[test]
fn a_subscriber_begins_where_it_asked() {
    let mut home = keeping(5, 1000, None);
    (1..=9u8).for_each(|n| _ = publish(&mut home, plain(&name(), &[b'0' + n]), 0));
    let mut from = |start| {
        let (Begun { position, gap }, payloads) = begin(&mut home, start);
        (position.offset.0, gap.map(|gap| (gap.from, gap.to)), payloads.concat())
    };
    let since = |offset| Start::Since(position(offset));
    assert_eq!(from(Start::Live), (9, None, "".into()));
    assert_eq!(from(Start::Last(0)), (9, None, "".into()));
    assert_eq!(from(Start::Last(2)), (7, None, "89".into()));
    assert_eq!(from(Start::Last(100)), (4, None, "56789".into()));
    assert_eq!(from(since(9)), (9, None, "".into()));
    assert_eq!(from(since(4)), (4, None, "56789".into()), "the last that can be recovered from");
    let gap = |from| Some((from, position(4)));
    assert_eq!(from(since(3)), (4, gap(position(3)), "56789".into()));
    assert_eq!(from(since(10)), (4, gap(position(10)), "56789".into()), "not yet given");
    let other = Position { epoch: crate::ids::Epoch(8), offset: Offset(6) };
    assert_eq!(from(Start::Since(other)), (4, gap(other), "56789".into()));
}

/// A channel that was freed, or was never kept, is remembered well enough to tell for certain that
/// nothing was missed.
#[test]
fn a_freed_channel_is_remembered() {
    let mut home = keeping(0, 0, None);
    (0..3).for_each(|_| _ = publish(&mut home, plain(&name(), b"x"), 0));
    assert_eq!(home.channels(), 0, "nobody reads it, and nothing is kept");
    let start = |offset| Start::Since(position(offset));
    assert_eq!(begin(&mut home, start(3)).0, Begun { position: position(3), gap: None });
    let gap = Some(Gap { from: position(2), to: position(3) });
    assert_eq!(begin(&mut home, start(2)).0, Begun { position: position(3), gap });
    assert_eq!(home.channels(), 0);
}

/// A format that is made later has all that is kept, in the same order, and goes when it was unread
/// for a minute; history stays.
#[test]
fn other_formats_are_made_of_what_is_kept() {
    let mut home = keeping(3, 1000, None);
    (0..5).for_each(|n| _ = publish(&mut home, plain(&name(), format!("{n}").as_bytes()), 0));
    let encodings = |home: &mut Home| {
        let published = home.publish(plain(&name(), b"x"), 0);
        home.next_answer();
        published.encodings
    };
    say(&mut home, Format::Sse, 1, true, 0);
    let start = Start::Last(10);
    let ask = Ask { from: ShardId(0), view: VIEW, reader: Reader(0), number: 1, start };
    home.on_ask(name(), ask);
    let mut events = String::new();
    home.tell(ShardId(0), |message| {
        if let Message::Begin { beginning, .. } = message {
            for extent in beginning.extents {
                events += std::str::from_utf8(extent.bytes.bytes()).unwrap();
            }
        }
        Ok(())
    });
    let data: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data, ["2", "3", "4"]);
    assert_eq!(encodings(&mut home), 2);
    say(&mut home, Format::Sse, 0, false, 5_000_000);
    home.on_time(64_000_000);
    assert_eq!(encodings(&mut home), 2, "whoever was cut off may come back");
    home.on_time(66_000_000);
    assert_eq!(encodings(&mut home), 1);
    assert_eq!(kept(&mut home), ["x", "x", "x"]);
}

/// Of a channel of latest values the newest of every key is kept, whatever came between; there are
/// as many keys as allowed, and a known one is always taken.
#[test]
fn the_newest_of_every_key_is_kept() {
    let history = Retention { count: 2, bytes: 1000, age: None };
    let mut home = home_with(Policy { mode: Mode::Latest, history, ..Policy::default() });
    let value = |key: &str, payload: &str| Publish {
        terms: Some(Box::new(Terms { key: Some(key.into()), ..Terms::default() })),
        ..plain(&name(), payload.as_bytes())
    };
    for (key, payload) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")] {
        publish(&mut home, value(key, payload), 0).unwrap();
    }
    assert_eq!(publish(&mut home, value("c", "c1"), 0), Err(Rejected::TooManyKeys));
    assert_eq!(begin(&mut home, Start::Live).1, ["b1", "a3"], "a newcomer gets them all");
    assert_eq!(begin(&mut home, Start::Since(position(2))).1, ["a3"]);
    publish(&mut home, value("b", "b2"), 0).unwrap();
    assert_eq!(begin(&mut home, Start::Live).1, ["a3", "b2"]);
    let report = home.report(&name()).unwrap();
    assert_eq!((report.kept, report.kept_bytes), (2, 4));
}

/// A key of idempotency is answered as the first time, for five minutes; a version that is not above
/// the last is refused, each key for itself.
#[test]
fn publishing_twice_is_harmless() {
    let mut home = keeping(10, 1000, None);
    let with = |terms: Terms| Publish { terms: Some(Box::new(terms)), ..plain(&name(), b"x") };
    let once = || with(Terms { idempotency: Some("k".into()), ..Terms::default() });
    let first = publish(&mut home, once(), 0).unwrap();
    assert_eq!((first.position, first.repeated), (position(1), false));
    let again = publish(&mut home, once(), 299_999_999).unwrap();
    assert_eq!((again.position, again.repeated), (position(1), true));
    assert_eq!(publish(&mut home, once(), 300_000_000).unwrap().position, position(2));
    let version = |key: Option<&str>, version| {
        let key = key.map(Into::into);
        with(Terms { key, version: Some(version), ..Terms::default() })
    };
    for (key, number, expected) in [
        (None, 5, Ok(3)),
        (None, 5, Err(Rejected::Stale(5))),
        (Some("k"), 1, Ok(4)),
        (Some("k"), 0, Err(Rejected::Stale(1))),
        (None, 6, Ok(5)),
    ] {
        let outcome = publish(&mut home, version(key, number), 0);
        assert_eq!(outcome.map(|accepted| accepted.position.offset.0), expected);
    }
}

/// What would be kept in one channel too many is refused; what would not is published.
#[test]
fn kept_channels_are_limited() {
    let mut home = keeping(1, 100, None);
    let channel = |n: u32| ChannelName::new(&n.to_string()).unwrap();
    (0..10).for_each(|n| _ = publish(&mut home, plain(&channel(n), b"x"), 0).unwrap());
    assert_eq!(publish(&mut home, plain(&channel(10), b"x"), 0), Err(Rejected::TooManyChannels));
    assert!(publish(&mut home, plain(&channel(9), b"x"), 0).is_ok());
}

/// Keys that are on their way to the disk count like those that have a value, and each once.
#[test]
fn keys_in_flight_count() {
    let history = Retention { count: 1, bytes: 1000, age: None };
    let latest = Policy { mode: Mode::Latest, history, ..Policy::default() };
    let mut home = Home::new(HomeSetup {
        epoch: EPOCH,
        journal: Some(crate::ids::Epoch(9)),
        shards: 1,
        policies: Policies::new([(Pattern::new("*"), latest)]),
        numbered: Vec::new(),
        channels_max: 10,
        lag_bytes_max: 1 << 20,
    });
    let value = |key: &str| Publish {
        terms: Some(Box::new(Terms { key: Some(key.into()), ..Terms::default() })),
        ..plain(&name(), b"x")
    };
    home.publish(value("a"), 0);
    home.publish(value("a"), 0);
    assert!(home.next_answer().is_none(), "not before they are on disk");
    home.publish(value("b"), 0);
    assert_eq!(home.next_answer().unwrap().1.outcome, Err(Rejected::TooManyKeys));
    home.on_landed(name().bucket(), 2, Ok(()), 0);
    let offsets: Vec<u128> = std::iter::from_fn(|| home.next_answer())
        .map(|(_, answer)| answer.outcome.unwrap().position.offset.0)
        .collect();
    assert_eq!(offsets, [1, 2]);
    home.publish(value("b"), 0);
    assert_eq!(home.next_answer().unwrap().1.outcome, Err(Rejected::TooManyKeys));
}

/// What the journal has is restored however many channels there may be now.
#[test]
fn more_channels_than_allowed_are_restored() {
    let mut home = keeping(1, 100, None);
    let channel = |n: u64| ChannelName::new(&n.to_string()).unwrap();
    (1..=12).for_each(|n| home.restore(&plain(&channel(n), b"x"), n, 0, 0));
    assert_eq!(home.channels(), 12);
    assert_eq!(publish(&mut home, plain(&channel(13), b"x"), 0), Err(Rejected::TooManyChannels));
}
