//! Channels that bus sequences number: whose they are, what comes twice, what begins anew.

use super::{EPOCH, plain, views};
use crate::{
    frame::{Format, PayloadKind},
    hub::{Home, HomeSetup, Joined, Lapped, Message, News, Rest, Skipped, Views},
    ids::{ChannelName, Epoch, Offset, Position, ShardId, Slot},
    mesh::{Accepted, Publish, Rejected, SequenceNews},
    policy::{Pattern, Policies, Policy, Retention},
    resume::{Begun, Gap, Start},
    wire::websocket,
};

const FIRST: Epoch = Epoch(0xf1);
const SECOND: Epoch = Epoch(0xf2);

/// A home and the views of one shard, which talk without a bound.
struct Edge {
    home: Home,
    views: Views,
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn at(epoch: Epoch, offset: u128) -> Position {
    Position { epoch, offset: Offset(offset) }
}

impl Edge {
    fn new(history: u32) -> Self {
        Edge::awaiting(history, Vec::new())
    }

    /// One with inputs that have yet to tell of their sequences.
    fn awaiting(history: u32, numbered: Vec<(u16, Vec<Pattern>)>) -> Self {
        let history = Retention { count: history, bytes: 1000, age: None };
        let policies =
            Policies::new([(Pattern::new("*"), Policy { history, ..Policy::default() })]);
        let setup = HomeSetup {
            epoch: EPOCH,
            journal: Some(Epoch(8)),
            shards: 1,
            policies: policies.clone(),
            numbered,
            channels_max: 100,
            lag_bytes_max: 1000,
        };
        Edge { home: Home::new(setup), views: views(policies, 0, 1000) }
    }

    fn begin(&mut self, epoch: Epoch, replaces: Option<Epoch>, feeds: &str, floor: u128) {
        let (feeds, floor) = ([Pattern::new(feeds)].into(), Offset(floor));
        self.home.on_sequence(SequenceNews::Begins { epoch, replaces, feeds, floor }, 0);
    }

    fn hole(&mut self, epoch: Epoch, from: u128, to: u128) {
        let (from, to) = (Offset(from), Offset(to));
        self.home.on_sequence(SequenceNews::Hole { epoch, from, to }, 0);
    }

    fn record(&mut self, channel: &str, position: Position) -> Result<Accepted, Rejected> {
        let payload = position.offset.0.to_string();
        let publish =
            Publish { position: Some(position), ..plain(&name(channel), payload.as_bytes()) };
        self.home.publish(publish, 0);
        self.home.next_answer().expect("answered at once, journal or not").1.outcome
    }

    /// Lets both sides say what they owe, until nobody does. Gives what became of subscribers.
    fn talk(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        while self.views.owes() || self.home.owes() {
            let mut to_home = Vec::new();
            self.views.tell(|message| {
                to_home.push(message);
                Ok(())
            });
            for message in to_home {
                match message {
                    Message::Interest { channel, said } => self.home.on_interest(&channel, said, 0),
                    Message::Ask { channel, ask } => self.home.on_ask(channel, ask),
                    other => panic!("{other:?}"),
                }
            }
            let mut to_views = Vec::new();
            self.home.tell(ShardId(0), |message| {
                to_views.push(message);
                Ok(())
            });
            let news = to_views.into_iter().map(|it| self.views.on_message(it, usize::MAX, 0));
            all.extend(news.filter(|news| *news != News::Nothing));
        }
        all
    }

    /// Where a subscriber of plain WebSocket begins.
    fn subscribe(&mut self, slot: u32, channel: &str, start: Start) -> Begun {
        let (slot, format) = (Slot(slot), Format::WebSocket);
        match self.views.join(slot, &name(channel), format, start, true) {
            Joined::Live(_, begun) => begun,
            Joined::Waiting(reader) => {
                let news = self.talk();
                let begun = news.iter().find_map(|news| match news {
                    News::Started(started) if started.readers.iter().any(|it| it == reader) => {
                        Some(started.begun)
                    }
                    _ => None,
                });
                begun.expect("it has begun")
            }
        }
    }

    /// What a subscriber is owed: offsets, and gaps as they are told.
    fn take(&mut self, slot: u32) -> Vec<String> {
        let mut taken = Vec::new();
        self.views.compose(Slot(slot), |it| {
            let payload = String::from_utf8(websocket::payload(it.frame).to_vec()).unwrap();
            taken.push(match it.kind {
                PayloadKind::Gap => format!("{payload}..{}", it.position),
                _ => {
                    assert_eq!(it.position.offset.0.to_string(), payload);
                    payload
                }
            });
            crate::hub::Took::More
        });
        taken
    }
}

/// A channel of a sequence has its offsets and epoch, with a journal too; what was published before
/// is answered as repeated; and what is not of the sequence is refused.
#[test]
fn a_sequence_numbers_its_channels() {
    let mut edge = Edge::new(10);
    edge.begin(FIRST, None, "ticks.*", 40);
    edge.begin(SECOND, None, "news", 0);
    let accepted = edge.record("ticks.a", at(FIRST, u128::MAX - 1)).unwrap();
    assert_eq!((accepted.position, accepted.repeated), (at(FIRST, u128::MAX - 1), false));
    edge.record("news", at(SECOND, 7)).unwrap();
    for (offset, repeated) in [(7, true), (6, true), (9, false), (8, true), (9, true)] {
        assert_eq!(edge.record("news", at(SECOND, offset)).unwrap().repeated, repeated);
    }
    edge.home.publish(plain(&name("news"), b"mine"), 0);
    assert_eq!(edge.home.next_answer().unwrap().1.outcome, Err(Rejected::FedByBus));
    edge.home.publish(plain(&name("ticks.not-seen-yet"), b"mine"), 0);
    assert_eq!(edge.home.next_answer().unwrap().1.outcome, Err(Rejected::FedByBus));
    assert_eq!(edge.record("news", at(FIRST, u128::MAX)), Err(Rejected::FedByBus));
    assert_eq!(
        edge.record("news", at(Epoch(3), 1)),
        Err(Rejected::FedByBus),
        "nobody announced it"
    );
    assert!(!edge.home.owes_journal(), "the bus is its journal");
    edge.home.publish(plain(&name("chat"), b"mine"), 0);
    assert!(edge.home.owes_journal(), "others are kept as ever");
}

/// Whoever subscribes before the input has connected stays, and is told positions of the sequence
/// from then on; before anything was published nobody need know.
#[test]
fn subscribers_that_were_first_stay() {
    for history in [0, 10] {
        let mut edge = Edge::new(history);
        let begun = edge.subscribe(0, "ticks.a", Start::Live);
        assert_eq!(begun.position.offset, Offset(0));
        edge.begin(FIRST, None, "ticks.*", 40);
        assert_eq!(edge.talk(), []);
        edge.record("ticks.a", at(FIRST, 41)).unwrap();
        assert_eq!(edge.talk(), []);
        assert_eq!(edge.take(0), ["41"]);
        let begun = edge.subscribe(1, "ticks.b", Start::Live);
        assert_eq!(begun.position, at(FIRST, 40), "known from the pattern before its first record");
        // One that no pattern tells of, as where two sequences could feed a channel.
        edge.begin(SECOND, None, "*", 0);
        let begun = edge.subscribe(2, "ticks.c", Start::Live);
        assert_ne!(begun.position.epoch, FIRST);
        edge.record("ticks.c", at(FIRST, 42)).unwrap();
        assert_eq!(edge.talk(), []);
        assert_eq!(edge.take(2), ["42"]);
    }
}

/// A client that comes from an edge that is further waits: it gets what is behind its own position,
/// whatever it leaves with meanwhile.
#[test]
fn a_client_that_is_ahead_waits() {
    for history in [0, 10] {
        let mut edge = Edge::new(history);
        edge.begin(FIRST, None, "a", 0);
        edge.record("a", at(FIRST, 1)).unwrap();
        let begun = edge.subscribe(0, "a", Start::Since(at(FIRST, 5)));
        assert_eq!(begun, Begun { position: at(FIRST, 5), gap: None });
        edge.subscribe(1, "a", Start::Since(at(FIRST, 3)));
        for offset in 2..=4 {
            edge.record("a", at(FIRST, offset)).unwrap();
            edge.talk();
        }
        assert_eq!(edge.take(0), [""; 0]);
        assert_eq!(edge.take(1), ["4"]);
        let reader = crate::hub::Reader::from(Slot(0));
        assert_eq!(edge.views.leave(reader, 0).position, Some(at(FIRST, 5)), "and not 4");
        edge.subscribe(0, "a", Start::Since(at(FIRST, 5)));
        (5..=7).for_each(|offset| _ = edge.record("a", at(FIRST, offset)).unwrap());
        edge.talk();
        assert_eq!(
            (edge.take(0), edge.take(1)),
            (vec!["6".into(), "7".into()], vec!["5".into(), "6".into(), "7".into()])
        );
    }
}

/// What the bus lost is told in its place: to live subscribers, to those who come back from before
/// it, and of channels that were not in memory; and not to those who come from behind it.
#[test]
fn a_hole_is_told_in_its_place() {
    let mut edge = Edge::new(10);
    edge.begin(FIRST, None, "*", 0);
    edge.subscribe(0, "a", Start::Live);
    edge.record("a", at(FIRST, 1)).unwrap();
    edge.hole(FIRST, 2, 8);
    edge.record("a", at(FIRST, 9)).unwrap();
    edge.talk();
    assert_eq!(edge.take(0), ["1", "f1-2..f1-8", "9"]);
    let begun = edge.subscribe(1, "a", Start::Since(at(FIRST, 0)));
    assert_eq!(begun.gap, None);
    assert_eq!(edge.take(1), ["1", "f1-2..f1-8", "9"]);
    edge.subscribe(2, "a", Start::Since(at(FIRST, 8)));
    assert_eq!(edge.take(2), ["9"]);
    let gap = |from, to| Some(Gap { from: at(FIRST, from), to: at(FIRST, to) });
    assert_eq!(edge.subscribe(3, "other", Start::Since(at(FIRST, 3))).gap, gap(3, 8));
    assert_eq!(edge.subscribe(4, "another", Start::Since(at(FIRST, 8))).gap, None);
    // An SSE subscriber has the log made from what is kept, the hole among it.
    let joined =
        edge.views.join(Slot(5), &name("a"), Format::Sse, Start::Since(at(FIRST, 1)), true);
    assert!(matches!(joined, Joined::Waiting(_)));
    edge.talk();
    let mut text = String::new();
    edge.views.compose(Slot(5), |it| {
        text.push_str(std::str::from_utf8(it.frame).unwrap());
        crate::hub::Took::More
    });
    let expected =
        "event: gap\nid: f1-8\ndata: {\"channel\":\"a\",\"from\":\"f1-2\",\"to\":\"f1-8\"}\n\n";
    assert!(text.contains(expected), "{text}");
}

/// A sequence that the bus has made anew begins anew here: who had got something leaves with the
/// position that it had, who had not stays, and old records are refused.
#[test]
fn a_sequence_that_was_made_anew_begins_anew() {
    for history in [0, 10] {
        let mut edge = Edge::new(history);
        edge.begin(FIRST, None, "*", 0);
        edge.subscribe(0, "a", Start::Live);
        edge.subscribe(1, "silent", Start::Live);
        edge.record("a", at(FIRST, 100)).unwrap();
        edge.talk();
        assert_eq!(edge.take(0), ["100"]);
        edge.begin(SECOND, Some(FIRST), "*", 0);
        let left = Some((name("a"), at(FIRST, 100)));
        let lapped = Lapped { slot: Slot(0), rest: Rest::None, left };
        assert_eq!(edge.talk(), [News::Renumbered(vec![lapped])]);
        assert_eq!(edge.record("a", at(FIRST, 101)), Err(Rejected::FedByBus));
        edge.record("a", at(SECOND, 1)).unwrap();
        edge.record("silent", at(SECOND, 2)).unwrap();
        edge.talk();
        assert_eq!(edge.take(1), ["2"]);
        let begun = edge.subscribe(0, "a", Start::Since(at(FIRST, 100)));
        let floor = if history == 0 { 1 } else { 0 };
        let gap = Gap { from: at(FIRST, 100), to: at(SECOND, floor) };
        assert_eq!(begun, Begun { position: at(SECOND, floor), gap: Some(gap) });
        assert_eq!(edge.views.next_skip(), None::<Skipped>);
    }
}

/// Who has a position of a sequence that an input has yet to tell of waits for that, and then gets
/// what it missed; it waits no longer than until the input has told of all, and others do not wait.
#[test]
fn a_position_is_judged_once_its_sequence_is_known() {
    let numbered = vec![(3, vec![Pattern::new("ticks.*")])];
    let mut edge = Edge::awaiting(10, numbered);
    let ask = |edge: &mut Edge, slot, channel, since| {
        let (slot, start) = (Slot(slot), Start::Since(since));
        let joined = edge.views.join(slot, &name(channel), Format::WebSocket, start, true);
        assert!(matches!(joined, Joined::Waiting(_)));
    };
    let begun = |news: Vec<News>| -> Vec<Begun> {
        let begun = news.into_iter().map(|news| match news {
            News::Started(started) if started.resumed => Some(started.begun),
            News::Started(_) => None,
            other => panic!("{other:?}"),
        });
        begun.flatten().collect()
    };
    ask(&mut edge, 0, "ticks.a", at(FIRST, 5));
    ask(&mut edge, 1, "ticks.a", at(SECOND, 5));
    ask(&mut edge, 2, "chat", at(FIRST, 5));
    ask(&mut edge, 3, "ticks.a", at(EPOCH, 1));
    assert_eq!(begun(edge.talk()).len(), 2, "those that no sequence can help");
    edge.begin(FIRST, None, "ticks.*", 2);
    edge.record("ticks.a", at(FIRST, 6)).unwrap();
    assert_eq!(begun(edge.talk()), [Begun { position: at(FIRST, 5), gap: None }]);
    assert_eq!(edge.take(0), ["6"]);
    edge.home.on_sequence(SequenceNews::CaughtUp { input: 3 }, 0);
    let gap = Gap { from: at(SECOND, 5), to: at(FIRST, 2) };
    assert_eq!(begun(edge.talk()), [Begun { position: at(FIRST, 2), gap: Some(gap) }]);
}

/// So many may wait for a sequence to be told of; one more is answered at once.
#[test]
fn who_waits_for_a_sequence_is_bounded() {
    let mut edge = Edge::awaiting(0, vec![(0, vec![Pattern::new("*")])]);
    edge.subscribe(0, "a", Start::Live);
    let view = crate::hub::ViewId { index: 0, generation: 1 };
    let ask = |number| crate::hub::Ask {
        from: ShardId(0),
        view,
        reader: crate::hub::Reader::from(Slot(0)),
        number,
        start: Start::Since(at(FIRST, 1)),
    };
    let held = crate::limits::HELD_ASKS_MAX as u32;
    (0..held).for_each(|number| edge.home.on_ask(name("a"), ask(number)));
    assert!(!edge.home.owes());
    edge.home.on_ask(name("a"), ask(held));
    assert!(edge.home.owes());
}

/// A record of a channel that is not in memory may come behind a later one of another channel: it
/// was held back, or another input reads the same sequence.
#[test]
fn a_record_behind_a_later_one_is_published() {
    let mut edge = Edge::new(10);
    edge.begin(FIRST, None, "*", 0);
    edge.record("b", at(FIRST, 6)).unwrap();
    assert!(!edge.record("a", at(FIRST, 5)).unwrap().repeated);
}

/// A record that was held until its last reader had gone is told as a gap, or kept.
#[test]
fn held_is_not_lost_silently() {
    let mut edge = Edge::new(0);
    edge.begin(FIRST, None, "*", 0);
    edge.subscribe(0, "a", Start::Live);
    edge.record("a", at(FIRST, 4)).unwrap();
    edge.talk();
    edge.take(0);
    // a is congested, so 5 is held; its only reader goes.
    edge.record("b", at(FIRST, 6)).unwrap();
    edge.views.leave(crate::hub::Reader::from(Slot(0)), 0);
    edge.talk();
    edge.record("a", at(FIRST, 5)).unwrap();
    let begun = edge.subscribe(0, "a", Start::Since(at(FIRST, 4)));
    assert!(begun.gap.is_some(), "{begun:?}");
}

/// No record comes into a channel that tells the presence of another.
#[test]
fn presence_is_not_fed() {
    let policy = Policy { presence: true, ..Policy::default() };
    let mut edge = Edge::new(0);
    let policies = Policies::new([(Pattern::new("*"), policy)]);
    let setup = HomeSetup {
        epoch: EPOCH,
        journal: None,
        shards: 1,
        policies,
        numbered: Vec::new(),
        channels_max: 100,
        lag_bytes_max: 1000,
    };
    edge.home = Home::new(setup);
    edge.begin(FIRST, None, "*", 0);
    assert_eq!(edge.record("a:presence", at(FIRST, 1)), Err(Rejected::FedByBus));
}

/// A publication that waits for the disk while a bus takes its channel is refused.
#[test]
fn what_waits_for_the_journal_is_not_numbered_by_the_bus() {
    let mut edge = Edge::new(10);
    edge.subscribe(0, "a", Start::Live);
    edge.home.publish(plain(&name("a"), b"1"), 0);
    assert!(edge.home.owes_journal());
    edge.home.write(|_| Ok(()));
    edge.begin(FIRST, None, "*", 1000);
    edge.record("a", at(FIRST, 1001)).unwrap();
    edge.home.on_landed(name("a").bucket(), 1, Ok(()), 0);
    let answer = edge.home.next_answer().unwrap().1.outcome;
    assert!(!answer.is_ok_and(|it| it.position == at(FIRST, 1)), "{answer:?}");
    assert!(edge.record("a", at(FIRST, 1001)).unwrap().repeated);
    edge.talk();
    assert_eq!(edge.take(0), ["1001"]);
}

fn latest() -> Edge {
    let history = Retention { count: 10, bytes: 1000, age: None };
    let policy = Policy { history, mode: crate::policy::Mode::Latest, ..Policy::default() };
    let policies = Policies::new([(Pattern::new("*"), policy)]);
    let setup = HomeSetup {
        epoch: EPOCH,
        journal: None,
        shards: 1,
        policies: policies.clone(),
        numbered: Vec::new(),
        channels_max: 100,
        lag_bytes_max: 1000,
    };
    Edge { home: Home::new(setup), views: views(policies, 0, 1000) }
}

/// Two holes in a channel of latest values are told as one that is both.
#[test]
fn two_holes_of_latest_values() {
    let mut edge = latest();
    edge.begin(FIRST, None, "*", 0);
    edge.record("a", at(FIRST, 1)).unwrap();
    edge.hole(FIRST, 1, 10);
    edge.record("a", at(FIRST, 15)).unwrap();
    edge.hole(FIRST, 20, 30);
    edge.subscribe(0, "a", Start::Since(at(FIRST, 1)));
    let taken = edge.take(0);
    assert!(taken.iter().any(|it| it.starts_with("f1-1..")), "{taken:?}");
}

/// A hole is told of a channel of latest values that was not in memory, too.
#[test]
fn a_hole_of_latest_values_not_in_memory() {
    let mut edge = latest();
    edge.begin(FIRST, None, "*", 0);
    edge.hole(FIRST, 1, 10);
    let begun = edge.subscribe(0, "a", Start::Since(at(FIRST, 1)));
    assert!(begun.gap.is_some() || !edge.take(0).is_empty(), "{begun:?}");
}

/// A record that found no room is told as a gap to whoever comes back from before it.
#[test]
fn refused_for_room_is_not_silent() {
    let mut edge = Edge::new(10);
    edge.begin(FIRST, None, "*", 0);
    for number in 0..100 {
        edge.views.join(Slot(0), &name(&format!("c{number}")), Format::Sse, Start::Live, true);
        edge.talk();
        edge.views.forget(Slot(0));
        if number < 99 {
            edge.record(&format!("c{number}"), at(FIRST, number + 1)).unwrap();
        } else {
            edge.views.join(Slot(0), &name("c99"), Format::Sse, Start::Live, true);
            edge.talk();
        }
    }
    assert_eq!(edge.record("a", at(FIRST, 101)), Err(Rejected::TooManyChannels));
    edge.views.forget(Slot(0));
    edge.talk();
    let begun = edge.subscribe(1, "a", Start::Since(at(FIRST, 0)));
    assert_eq!(begun.gap, Some(Gap { from: at(FIRST, 0), to: at(FIRST, 101) }));
}
