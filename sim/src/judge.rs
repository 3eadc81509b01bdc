//! What must be true of everything that subscribers heard.

use std::collections::{BTreeMap, HashMap};

use stentor::{
    ids::{Epoch, Offset, Position},
    policy::Slow,
    resume::{Gap, Start},
};

use crate::{
    book::{Book, Intent, Item, Stint},
    plan::{ChannelPlan, Plan},
};

type Place = (u64, u128);

/// Judges stints against the book.
struct Judge<'a> {
    book: &'a Book,
    plan: &'a Plan,
    stint: &'a Stint,
    channel: &'a ChannelPlan,
    now_us: u64,
}

impl Book {
    /// Judges every stint. At rest, whoever still reads must have everything.
    pub fn judge(&self, plan: &Plan, is_at_rest: bool, now_us: u64) {
        for stint in &self.stints {
            let channel = &plan.channels[stint.channel];
            let judge = Judge { book: self, plan, stint, channel, now_us };
            judge.beginning();
            match (channel.counts, channel.is_latest()) {
                (Some(counted), _) => judge.counts(counted, is_at_rest),
                (None, true) => judge.values(is_at_rest),
                (None, false) => judge.sequence(is_at_rest),
            }
        }
    }

    /// Forgets stints that are over and were judged.
    pub fn forget_judged(&mut self) {
        // Numbers of open stints are known to their clients, so the others only lose their items.
        self.stints.iter_mut().filter(|stint| !stint.is_open).for_each(|stint| {
            stint.items = Vec::new();
        });
    }
}

impl Judge<'_> {
    /// Where it begins: not behind what was published once it had begun, with a gap only where the
    /// policy drops, and with as much as was asked for.
    fn beginning(&self) {
        let Some(begin) = self.stint.begin.filter(|_| self.channel.counts.is_none()) else {
            return;
        };
        for (_, intent) in self.up_to(begin) {
            let pushed = self.book.intents[intent].pushed;
            assert!(
                pushed < self.stint.begun,
                "begins behind a later publication: {}",
                self.told()
            );
        }
        if self.channel.is_latest() {
            assert!(self.stint.gap.is_none(), "a gap between values: {}", self.told());
            return;
        }
        if let Some(gap) = self.stint.gap {
            assert_eq!(gap.to, begin, "{}", self.told());
            if gap.from.epoch == gap.to.epoch {
                assert!(self.has_something(gap), "an empty gap: {}", self.told());
            }
            assert!(self.is_dropped(begin), "{begin} is still kept: {}", self.told());
        } else if let Start::Since(since) = self.stint.start {
            assert_eq!(begin.epoch, since.epoch, "{}", self.told());
            assert!(self.is_same(begin, since), "{since} is not {begin}: {}", self.told());
        }
        if let Start::Last(last) = self.stint.start {
            let known = self.behind(begin).filter(|&(_, it)| self.was_acked_before_asked(it));
            assert!(known.count() <= last as usize, "more than {last}: {}", self.told());
            let enough = self.behind(begin).count() + self.unknown().count() >= last as usize;
            assert!(enough || self.is_dropped(begin), "less than {last}: {}", self.told());
        }
    }

    /// In order, once, and nothing missing but what was told.
    fn sequence(&self, is_at_rest: bool) {
        let skips = !self.stint.tells_gaps && self.channel.policy.slow != Slow::Close;
        let mut cursor = self.stint.begin;
        for item in &self.stint.items {
            match *item {
                Item::Page(intent, position) => {
                    let before = cursor;
                    cursor = position.or_else(|| self.position(intent));
                    let Some((next, before)) = cursor.zip(before) else { continue };
                    assert!(next.offset > before.offset, "{next} again: {}", self.told());
                    let missing = self.count(before, next) - 1;
                    assert!(skips || missing == 0, "{before} to {next}: {}", self.told());
                }
                Item::Gap(gap) => {
                    self.skip(gap, cursor);
                    cursor = Some(gap.to);
                }
                Item::At(position) => {
                    let is_right = cursor.is_none_or(|cursor| self.is_same(cursor, position));
                    assert!(is_right, "{position} is not {cursor:?}: {}", self.told());
                    cursor = Some(position);
                }
                Item::Count(..) => unreachable!("of another channel"),
            }
        }
        if is_at_rest
            && self.stint.is_open
            && let Some(cursor) = cursor
        {
            let missing = self.behind(cursor).count();
            assert_eq!(missing, 0, "behind {cursor}: {}", self.told());
        }
    }

    /// A slow reader skips, or a poll could not be given everything.
    fn skip(&self, gap: Gap, cursor: Option<Position>) {
        let may_skip = self.channel.policy.slow != Slow::Close;
        if self.stint.is_poll && gap.from.epoch != gap.to.epoch {
            assert_eq!(Start::Since(gap.from), self.stint.start, "{}", self.told());
            return;
        }
        let lags = may_skip && self.plan.lag_bytes_max < 1 << 40;
        let is_resumed = self.stint.is_poll && self.is_dropped(gap.to);
        assert!(lags || is_resumed, "a gap {gap:?}: {}", self.told());
        let is_right = cursor.is_none_or(|cursor| self.is_same(cursor, gap.from));
        assert!(is_right, "{gap:?} from {cursor:?}: {}", self.told());
        assert!(self.has_something(gap), "an empty gap {gap:?}: {}", self.told());
    }

    /// In order, once, and nothing skipped but what was replaced; in the end all current values.
    fn values(&self, is_at_rest: bool) {
        let mut cursor = self.stint.begin.filter(|_| matches!(self.stint.start, Start::Since(_)));
        for item in &self.stint.items {
            let next = match *item {
                Item::Page(intent, position) => position.or_else(|| self.position(intent)),
                Item::At(position) => {
                    assert!(cursor.is_none_or(|it| it.offset <= position.offset));
                    continue;
                }
                Item::Gap(gap) => panic!("a gap between values {gap:?}: {}", self.told()),
                Item::Count(..) => unreachable!("of another channel"),
            };
            let Some(next) = next else { continue };
            if let Some(before) = cursor {
                assert!(next.offset > before.offset, "{next} again: {}", self.told());
                for (place, intent) in self.between(before, next) {
                    let is_skipped = place.1 < next.offset.0;
                    let is_replaced = self.is_replaced(place, intent);
                    assert!(!is_skipped || is_replaced, "{place:?} skipped: {}", self.told());
                }
            }
            cursor = Some(next);
        }
        if !is_at_rest || !self.stint.is_open {
            return;
        }
        let Some(epoch) = self.stint.begin.or(cursor).map(|position| position.epoch.0) else {
            return;
        };
        let mut newest: HashMap<&str, (Place, usize)> = HashMap::new();
        for (&place, &intent) in self.pages().range((epoch, 0)..=(epoch, u128::MAX)) {
            newest.insert(self.key(intent), (place, intent));
        }
        let none = Default::default();
        let values = self.book.maps.get(&(self.stint.client, self.stint.channel)).unwrap_or(&none);
        for (key, (place, intent)) in newest {
            let is_owed = values.base.is_none_or(|base| place.1 > base.offset.0);
            // What a plain WebSocket was sent, and nobody else, has no position that is known.
            let has = values
                .by_key
                .get(key)
                .is_some_and(|&has| has == intent || self.position(has).is_none());
            assert!(!is_owed || has, "not {place:?}, publication {intent}: {}", self.told());
        }
    }

    /// In order, at most once a second, and in the end the true number.
    fn counts(&self, counted: usize, is_at_rest: bool) {
        let mut last: Option<(u64, Position)> = None;
        for item in &self.stint.items {
            let Item::Count(count, position) = *item else { continue };
            if let Some((_, before)) = last.filter(|_| self.stint.tells_gaps) {
                assert!(position.offset > before.offset, "{position} again: {}", self.told());
            }
            last = Some((count, position));
        }
        let seconds = (self.now_us - self.stint.begun_us) as usize / 1_000_000;
        let told = self.stint.items.len();
        assert!(self.plan.jumpy || told <= seconds + 3, "{told} in {seconds} s: {}", self.told());
        if is_at_rest && self.stint.is_open && !matches!(self.stint.start, Start::Since(_)) {
            let now = self.book.subscribers(counted);
            let told = last.map_or(0, |(count, _)| count);
            assert_eq!(told, now, "subscribers of {counted}: {}", self.told());
        }
    }

    /// Whether everything up to a position may be gone, now: by number, by bytes, or by age.
    fn is_dropped(&self, position: Position) -> bool {
        let history = &self.channel.policy.history;
        if history.is_none() || self.up_to(position).next().is_none() {
            return true;
        }
        let behind: Vec<usize> = self.behind(position).map(|(_, intent)| intent).collect();
        let size = |intent: usize| self.book.intents[intent].payload.len();
        let last = self.up_to(position).next_back().map_or(0, |(_, intent)| size(intent));
        let (count, unknown) =
            self.unknown().fold((0, 0), |(count, bytes), it| (count + 1, bytes + it.payload.len()));
        let bytes = behind.iter().map(|&intent| size(intent)).sum::<usize>() + unknown;
        behind.len() + count >= history.count as usize
            || bytes + last > history.bytes
            || history.age.is_some_and(|age| {
                let oldest = self.up_to(position).next_back().expect("there is one").1;
                let age_us = age.as_micros() as u64;
                self.book.intents[oldest].pushed_us + age_us <= self.now_us
            })
    }

    /// Whether something is missing, as far as that can be known: of some publications nobody was
    /// told the position, and after a restart a gap may be that of another channel.
    fn has_something(&self, gap: Gap) -> bool {
        gap.from.offset < gap.to.offset
            && (self.count(gap.from, gap.to) > 0
                || self.unknown().next().is_some()
                || self.plan.journal && self.plan.compacts)
    }

    /// Publications that may stand somewhere, and nobody was told where.
    fn unknown(&self) -> impl Iterator<Item = &Intent> {
        let epoch = self.stint.begin.map(|begin| begin.epoch);
        let is_unknown = move |it: &&Intent| {
            let is_here = it.positions.iter().any(|position| Some(position.epoch) == epoch);
            let is_elsewhere = !it.positions.is_empty();
            let may_be = it.sent > if is_elsewhere { 1 } else { 0 };
            it.channel == self.stint.channel && may_be && !is_here
        };
        self.book.intents.iter().filter(is_unknown)
    }

    fn was_acked_before_asked(&self, intent: usize) -> bool {
        let known = &self.book.intents[intent];
        // What was published again after a restart may have been acknowledged before it.
        let once = known.positions.len() == 1;
        once && known.acked.is_some_and(|acked| acked < self.stint.asked)
    }

    fn is_replaced(&self, place: Place, intent: usize) -> bool {
        let later = self.pages().range((place.0, place.1 + 1)..=(place.0, u128::MAX));
        let key = self.key(intent);
        later.into_iter().any(|(_, &other)| self.key(other) == key)
            || self.unknown().any(|it| it.key.as_deref().unwrap_or("") == key)
    }

    fn key(&self, intent: usize) -> &str {
        self.book.intents[intent].key.as_deref().unwrap_or("")
    }

    /// Where a publication stands in the numbering of this stint.
    fn position(&self, intent: usize) -> Option<Position> {
        let epoch = self.stint.begin?.epoch;
        let positions = &self.book.intents[intent].positions;
        positions.iter().copied().find(|position| position.epoch == epoch)
    }

    fn pages(&self) -> &BTreeMap<Place, usize> {
        &self.book.channels[self.stint.channel].pages
    }

    /// Publications behind the first position, up to and with the second.
    fn between(&self, from: Position, to: Position) -> impl Iterator<Item = (Place, usize)> {
        assert_eq!(from.epoch, to.epoch, "{}", self.told());
        let (from, to) = (from.min_by_offset(to), from.max_by_offset(to));
        let range = (from.epoch.0, from.offset.0 + 1)..(to.epoch.0, to.offset.0 + 1);
        self.pages().range(range).map(|(&place, &intent)| (place, intent))
    }

    fn count(&self, from: Position, to: Position) -> usize {
        self.between(from, to).count()
    }

    /// Whether nothing stands between.
    fn is_same(&self, one: Position, other: Position) -> bool {
        one.epoch == other.epoch && self.count(one, other) == 0
    }

    fn behind(&self, position: Position) -> impl Iterator<Item = (Place, usize)> {
        self.between(position, at(position.epoch.0, u128::MAX - 1))
    }

    fn up_to(&self, to: Position) -> impl DoubleEndedIterator<Item = (Place, usize)> {
        let range = (to.epoch.0, 0)..=(to.epoch.0, to.offset.0);
        self.pages().range(range).map(|(&place, &intent)| (place, intent))
    }

    /// Everything about this stint, for whoever reads a failure.
    fn told(&self) -> String {
        let pages: Vec<_> = self
            .pages()
            .iter()
            .map(|(&(epoch, offset), intent)| format!("{}={intent}", at(epoch, offset)))
            .collect();
        format!("{:?} of {:?}; pages {}", self.stint, self.channel, pages.join(" "))
    }
}

trait ByOffset {
    fn min_by_offset(self, other: Self) -> Self;
    fn max_by_offset(self, other: Self) -> Self;
}

impl ByOffset for Position {
    fn min_by_offset(self, other: Self) -> Self {
        if self.offset <= other.offset { self } else { other }
    }

    fn max_by_offset(self, other: Self) -> Self {
        if self.offset > other.offset { self } else { other }
    }
}

fn at(epoch: u64, offset: u128) -> Position {
    Position { epoch: Epoch(epoch), offset: Offset(offset) }
}
