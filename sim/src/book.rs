//! The oracle's book: what was published, where it came to stand, and what each subscriber heard.
//!
//! Positions become known when a publisher or a subscriber is told of them: whoever is told later
//! must be told the same. What a subscriber hears from its beginning to its end is a *stint*; stints
//! are judged at rest, when everything that may be known is.

use std::collections::{BTreeMap, HashMap, HashSet};

use stentor::{
    frame::PayloadKind,
    ids::{Epoch, Offset, Position},
    resume::{Gap, Start},
};

use crate::plan::Plan;

/// All that is known.
pub struct Book {
    /// What publishers meant to publish, by number.
    pub intents: Vec<Intent>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) stints: Vec<Stint>,
    pub(crate) maps: HashMap<(usize, usize), Values>,
    /// Publications whose publisher was told so, by numbering.
    firsts: HashSet<(usize, u64)>,
    /// Everything that happens has a number.
    clock: u64,
    /// Publications that subscribers were given.
    pub heard: usize,
    /// Gaps that they were told of.
    pub gaps: usize,
    /// Subscriptions that were resumed, and of those the ones that got everything.
    pub resumed: usize,
    /// Of those the ones that got everything.
    pub recovered: usize,
}

/// What somebody means to publish. No two have the same payload.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Where.
    pub channel: usize,
    /// As what.
    pub kind: PayloadKind,
    /// The payload.
    pub payload: Vec<u8>,
    /// What it is the value of.
    pub key: Option<String>,
    /// Makes sure that it is published once.
    pub idempotency: Option<String>,
    /// When it was handed over first: by the book's clock, and the world's.
    pub pushed: u64,
    pub(crate) pushed_us: u64,
    /// How often it was sent to a server.
    pub sent: usize,
    /// When its publisher was told its position.
    pub acked: Option<u64>,
    /// In the order of the numberings.
    pub(crate) positions: Vec<Position>,
}

/// What is known of a channel.
#[derive(Default)]
pub(crate) struct Channel {
    /// The intent at each position.
    pub pages: BTreeMap<(u64, u128), usize>,
    /// For a channel that counts subscribers: the number at each position.
    pub counts: BTreeMap<(u64, u128), u64>,
}

/// What a subscriber of a channel of latest values has.
#[derive(Default)]
pub(crate) struct Values {
    pub by_key: HashMap<String, usize>,
    /// What it was told is missing: it knows only what came behind this.
    pub base: Option<Position>,
}

/// From the beginning of a subscription to its end.
#[derive(Debug)]
pub(crate) struct Stint {
    pub client: usize,
    pub channel: usize,
    /// How the client reads, for whoever reads a failure.
    pub how: &'static str,
    pub tells_gaps: bool,
    pub begin: Option<Position>,
    pub start: Start,
    pub gap: Option<Gap>,
    /// When it was asked for and when it began, by the book's clock.
    pub asked: u64,
    pub begun: u64,
    pub begun_us: u64,
    pub items: Vec<Item>,
    pub is_open: bool,
    /// Whether a poll's gap may be a slow reader's.
    pub is_poll: bool,
}

/// What a subscriber heard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    Page(usize, Option<Position>),
    Count(u64, Position),
    Gap(Gap),
    /// Everything up to here was delivered.
    At(Position),
}

/// What opens a stint.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Who.
    pub client: usize,
    /// What.
    pub channel: usize,
    /// By which transport.
    pub how: &'static str,
    /// What it asked for.
    pub start: Start,
    /// Whether it goes on from where it stood.
    pub goes_on: bool,
    /// When, by [`Book::now`].
    pub asked: u64,
    /// Where it begins, if it was told.
    pub begin: Option<Position>,
    /// What it was told is missing.
    pub gap: Option<Gap>,
}

impl Book {
    /// Nothing was published.
    pub fn new(plan: &Plan) -> Book {
        Book {
            intents: Vec::new(),
            channels: plan.channels.iter().map(|_| Channel::default()).collect(),
            stints: Vec::new(),
            maps: HashMap::new(),
            firsts: HashSet::new(),
            clock: 0,
            heard: 0,
            gaps: 0,
            resumed: 0,
            recovered: 0,
        }
    }

    /// The book's clock, one later with each look.
    pub fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Somebody was told the position of a publication: everybody must be told the same.
    pub fn learn(&mut self, intent: usize, position: Position) {
        let known = &mut self.intents[intent];
        let place = (position.epoch.0, position.offset.0);
        let pages = &mut self.channels[known.channel].pages;
        let there = *pages.entry(place).or_insert(intent);
        assert_eq!(there, intent, "two publications at {position} of channel {}", known.channel);
        match known.positions.iter().find(|known| known.epoch == position.epoch) {
            Some(&before) => assert_eq!(before, position, "publication {intent} stands twice"),
            None => known.positions.push(position),
        }
    }

    /// A publisher was told the position of its publication. Only one is told that it was the first.
    pub fn acknowledge(&mut self, intent: usize, position: Position, repeated: bool) {
        self.learn(intent, position);
        let now = self.now();
        let known = &mut self.intents[intent];
        known.acked.get_or_insert(now);
        let has_key = known.idempotency.is_some();
        assert!(!repeated || has_key, "{intent} has no key, and is told to be a repetition");
        let is_new = repeated || self.firsts.insert((intent, position.epoch.0));
        assert!(is_new, "{intent} was told twice that it is the first");
    }

    /// Any position that the channel ever had, the `nth` of them.
    pub fn some_position(&self, channel: usize, nth: usize) -> Option<Position> {
        let pages = &self.channels[channel].pages;
        let (&(epoch, offset), _) = pages.iter().nth(nth % pages.len().max(1))?;
        Some(Position { epoch: Epoch(epoch), offset: Offset(offset) })
    }

    /// A subscription begins. Returns the stint's number.
    pub fn open(&mut self, opening: Opening, now_us: u64) -> usize {
        let Opening { client, channel, how, start, goes_on, asked, begin, gap } = opening;
        if let Start::Since(since) = start {
            self.resumed += 1;
            self.recovered += usize::from(gap.is_none());
            if let Some(gap) = gap {
                self.gaps += 1;
                assert!(gap.from == since || how == "poll", "{how} asked {since}, told {gap:?}");
            }
            let lives_on = begin.is_none_or(|begin| begin.epoch == since.epoch);
            let values = self.maps.entry((client, channel)).or_default();
            if !goes_on || !lives_on {
                let base = Some(since).filter(|_| lives_on);
                *values = Values { base, ..Values::default() };
            }
        } else {
            self.maps.insert((client, channel), Values::default());
        }
        let begun = self.now();
        self.stints.push(Stint {
            client,
            channel,
            how,
            tells_gaps: how != "ws",
            begin,
            start,
            gap,
            asked,
            begun,
            begun_us: now_us,
            items: Vec::new(),
            is_open: true,
            is_poll: how == "poll",
        });
        self.stints.len() - 1
    }

    /// A subscriber was given a publication. Gives back where it stands now, as far as it can know.
    pub fn hear(
        &mut self,
        stint: usize,
        payload: &[u8],
        position: Option<Position>,
    ) -> Option<Position> {
        let (client, channel, how) = self.reader(stint);
        let number = number_of(payload)
            .unwrap_or_else(|| panic!("{how} client {client} was given {payload:?}"));
        let known = self.intents.get(number);
        let known = known.unwrap_or_else(|| panic!("nobody published {number}"));
        assert_eq!(known.channel, channel, "a publication of another channel");
        assert!(known.payload == payload, "not as it was published: {payload:?}, {known:?}");
        if let Some(position) = position {
            self.learn(number, position);
        }
        let key = self.intents[number].key.clone().unwrap_or_default();
        let values = self.maps.entry((client, channel)).or_default();
        values.by_key.insert(key, number);
        self.heard += 1;
        let stint = &mut self.stints[stint];
        assert!(stint.is_open, "behind its end: {stint:?}");
        stint.items.push(Item::Page(number, position));
        let epoch = stint.begin.map(|begin| begin.epoch);
        let positions = &self.intents[number].positions;
        position.or_else(|| positions.iter().copied().find(|known| Some(known.epoch) == epoch))
    }

    /// A subscriber was told how many subscribers another channel has.
    pub fn hear_count(&mut self, stint: usize, payload: &[u8], position: Option<Position>) {
        let (client, channel, how) = self.reader(stint);
        let text = std::str::from_utf8(payload).expect("a count is text");
        let count = text.strip_prefix(r#"{"subscribers":"#).and_then(|it| it.strip_suffix('}'));
        let count: u64 = count
            .and_then(|it| it.parse().ok())
            .unwrap_or_else(|| panic!("{how} client {client} was given a presence of {text:?}"));
        let Some(position) = position.or(self.stints[stint].begin) else { return };
        if how != "ws" {
            let counts = &mut self.channels[channel].counts;
            let known = *counts.entry((position.epoch.0, position.offset.0)).or_insert(count);
            assert_eq!(known, count, "two presences at {position}");
        }
        self.heard += 1;
        self.stints[stint].items.push(Item::Count(count, position));
    }

    /// A subscriber was told that something is missing.
    pub fn tell_gap(&mut self, stint: usize, gap: Gap) {
        self.gaps += 1;
        self.stints[stint].items.push(Item::Gap(gap));
    }

    /// A subscriber was told how far it has come.
    pub fn tell_position(&mut self, stint: usize, position: Position) {
        self.stints[stint].items.push(Item::At(position));
    }

    /// A subscription is over.
    pub fn close(&mut self, stint: usize) {
        self.stints[stint].is_open = false;
    }

    /// Whether something was published to the channel behind a position.
    pub fn is_behind(&self, channel: usize, position: Position) -> bool {
        let (epoch, offset) = (position.epoch.0, position.offset.0);
        let pages = self.channels[channel].pages.range((epoch, offset + 1)..);
        pages.into_iter().next().is_some_and(|((other, _), _)| *other == epoch)
    }

    /// Subscriptions to a channel that are not over.
    pub fn subscribers(&self, channel: usize) -> u64 {
        let open = self.stints.iter().filter(|stint| stint.is_open && stint.channel == channel);
        open.count() as u64
    }

    /// How often subscriptions began, and how many are not over.
    pub fn comings_and_goings(&self) -> (usize, usize) {
        (self.stints.len(), self.stints.iter().filter(|stint| stint.is_open).count())
    }

    fn reader(&self, stint: usize) -> (usize, usize, &'static str) {
        let Stint { client, channel, how, .. } = self.stints[stint];
        (client, channel, how)
    }
}

/// The number in a payload, whatever its kind: digits up to a colon, behind one byte that says what
/// it is.
fn number_of(payload: &[u8]) -> Option<usize> {
    let rest = match payload.first()? {
        b'"' | 0xff => &payload[1..],
        _ => payload,
    };
    let end = rest.iter().position(|&byte| byte == b':')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// A payload that nobody else has.
pub fn payload(number: usize, kind: PayloadKind, filler: usize) -> Vec<u8> {
    let text = format!("{number}:{}", "x".repeat(filler));
    match kind {
        PayloadKind::Text => text.into_bytes(),
        PayloadKind::Binary => [&[0xff], text.as_bytes()].concat(),
        PayloadKind::Json => format!("\"{text}\"").into_bytes(),
        PayloadKind::Gap => unreachable!("nobody publishes a gap"),
    }
}
