use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::*;

/// A stream as Redis keeps it, and which of its entries were trimmed unread.
struct Model {
    entries: BTreeSet<Id>,
    last: Id,
    added: u64,
    deleted: Id,
    lost: BTreeSet<Id>,
    counts: bool,
}

impl Model {
    fn new(counts: bool) -> Self {
        let (entries, lost) = (BTreeSet::new(), BTreeSet::new());
        Model { entries, last: Id(0), added: 0, deleted: Id(0), lost, counts }
    }

    fn add(&mut self, step: u64) {
        self.last = Id(self.last.0 + u128::from(step));
        self.entries.insert(self.last);
        self.added += 1;
    }

    /// Keeps the newest. What was trimmed and is above `read` is lost.
    fn trim(&mut self, keep: usize, read: Id) {
        while self.entries.len() > keep {
            self.lost.extend(self.entries.pop_first().filter(|id| *id > read));
        }
    }

    fn delete(&mut self, place: usize) {
        if let Some(id) = self.entries.iter().nth(place % self.entries.len().max(1)).copied() {
            self.entries.remove(&id);
            self.deleted = self.deleted.max(id);
        }
    }

    fn behind(&self, last: Id, count: usize) -> Vec<Id> {
        self.entries.iter().copied().filter(|id| *id > last).take(count).collect()
    }

    fn summary(&self) -> Summary {
        Summary {
            first: self.entries.first().copied(),
            last: self.last,
            length: self.entries.len() as u64,
            added: self.counts.then_some(self.added),
            deleted: self.counts.then_some(self.deleted),
        }
    }
}

/// What may happen to a stream besides entries and trimming.
#[derive(Clone, Copy, Debug)]
struct Weather {
    counts: bool,
    deletes: bool,
    /// Between an answer with entries and that with the state.
    between: bool,
    reconnects: bool,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        self.0 = hasher.finish();
        self.0 % sides
    }
}

/// Plays a stream with its reader; returns the holes told, and the ids lost.
fn play(seed: u64, weather: Weather) -> (Vec<(Id, Id)>, BTreeSet<Id>) {
    let (mut dice, mut model) = (Dice(seed), Model::new(weather.counts));
    let (before, keep) = (dice.below(5), 1 + dice.below(12) as usize);
    (0..before).for_each(|_| model.add(3));
    let summary = (before > 0).then(|| model.summary());
    let start = if dice.below(2) == 0 { model.last } else { Id(0) };
    let start = model.entries.first().map_or(start, |first| start.max(first.before()));
    let mut progress = Progress::new("k", start, summary.as_ref());
    let mut holes = Vec::new();
    for turn in 0..200 {
        for _ in 0..dice.below(8) {
            model.add(1 + dice.below(3));
            match dice.below(4) {
                0 => model.trim(keep, progress.last),
                1 if weather.deletes => model.delete(dice.below(64) as usize),
                _ => (),
            }
        }
        if turn == 199 {
            model.trim(0, progress.last);
        }
        if weather.reconnects && dice.below(5) == 0 {
            progress.on_connected();
        }
        let ids = model.behind(progress.last, 1 + dice.below(6) as usize);
        if weather.between {
            (0..dice.below(4)).for_each(|_| model.add(1));
            let read = ids.last().copied().unwrap_or(progress.last);
            model.trim(1 + dice.below(12) as usize, read);
        }
        let summary = model.summary();
        assert_eq!(progress.look("k", &summary), Change::None, "seed {seed}, turn {turn}");
        holes.extend(progress.hole(&ids, &summary));
        progress.advance(&ids, &summary);
        let behind = model.behind(progress.last, usize::MAX).len() as u64;
        if let Some(lag) = progress.lag(&summary) {
            assert!(lag >= behind, "seed {seed}, turn {turn}: {lag} and {behind}");
        }
    }
    // Whatever was lost last is told when the next comes, or when nothing is left.
    model.trim(0, progress.last);
    holes.extend(progress.hole(&[], &model.summary()));
    (holes, model.lost)
}

fn is_in(hole: &(Id, Id), id: &Id) -> bool {
    hole.0 < *id && *id <= hole.1
}

/// Whatever is trimmed before it is read lies in a hole that is told, whatever else happens to the
/// stream, and whether or not the server counts.
#[test]
fn nothing_is_lost_in_silence() {
    let mut told = 0;
    for seed in 0..30 {
        for flags in 0..16 {
            let flag = |bit: u32| flags & (1 << bit) != 0;
            let weather = Weather {
                counts: flag(0),
                deletes: flag(1),
                between: flag(2),
                reconnects: flag(3),
            };
            let (holes, lost) = play(seed, weather);
            let silent: Vec<_> =
                lost.iter().filter(|id| !holes.iter().any(|hole| is_in(hole, id))).collect();
            assert!(silent.is_empty(), "seed {seed}, {weather:?}: {silent:?} not in {holes:?}");
            told += holes.len();
        }
    }
    assert!(told > 500, "{told}");
}

/// Where the server counts and nothing is deleted by its id, no hole is told in which nothing was lost,
/// although a stream that is kept short often ends before what was read.
#[test]
fn holes_are_exact() {
    let mut told = 0;
    for seed in 0..300 {
        let weather = Weather { counts: true, deletes: false, between: false, reconnects: false };
        let (holes, lost) = play(seed, weather);
        for hole in &holes {
            assert!(lost.iter().any(|id| is_in(hole, id)), "seed {seed}: {hole:?} is none");
        }
        told += holes.len();
    }
    assert!(told > 500, "{told}");
}

fn read(model: &Model, progress: &mut Progress) {
    assert_eq!(progress.look("k", &model.summary()), Change::None);
    let ids = model.behind(progress.last, usize::MAX);
    progress.advance(&ids, &model.summary());
}

fn filled(ids: std::ops::RangeInclusive<u64>) -> Model {
    let mut model = Model::new(true);
    model.last = Id(u128::from(*ids.start()) - 1);
    ids.for_each(|_| model.add(1));
    model
}

/// A stream that was made anew with ids that go back has another numbering, which every edge that
/// saw the one and the other comes to, also where the first id is the same again.
#[test]
fn a_stream_made_anew_is_another() {
    for reconnects in [false, true] {
        let old = filled(1..=20);
        let mut progress = Progress::new("k", Id(0), None);
        read(&old, &mut progress);
        let mut epochs = vec![progress.epoch];
        for round in 0..3 {
            let mut new = filled(1..=3);
            if reconnects {
                // More than there can be in the old stream up to its third.
                new.added += 2 + round;
                progress.on_connected();
            }
            let replaces = progress.epoch;
            let change = progress.look("k", &new.summary());
            let epoch = progress.epoch;
            assert_eq!(change, Change::MadeAnew { epoch, replaces, floor: Id(0) });
            assert_eq!(new.behind(progress.last, 10).len(), 3, "it is read from its beginning");
            read(&new, &mut progress);
            assert!(!epochs.contains(&epoch), "round {round}");
            epochs.push(epoch);
            // Long enough that the next goes back again.
            (0..5).for_each(|_| new.add(1));
            read(&new, &mut progress);
        }
    }
}

/// A server that lost its newest entries, which were read, goes on in the same numbering; so does a
/// stream that was made anew with greater ids, with a hole where something may have been lost.
#[test]
fn a_stream_that_fell_back_goes_on() {
    let model = filled(1..=20);
    let mut progress = Progress::new("k", Id(0), None);
    read(&model, &mut progress);
    let epoch = progress.epoch;
    let mut back = filled(1..=15);
    progress.on_connected();
    assert_eq!(progress.look("k", &back.summary()), Change::FellBack { to: Id(15) });
    back.last = Id(30);
    back.add(1);
    let summary = back.summary();
    assert_eq!(progress.look("k", &summary), Change::None);
    assert_eq!((progress.hole(&[Id(31)], &summary), progress.epoch), (None, epoch));
    progress.advance(&[Id(31)], &summary);

    let mut anew = Model::new(true);
    anew.last = Id(99);
    anew.add(1);
    let summary = anew.summary();
    assert_eq!(progress.look("k", &summary), Change::None);
    assert_eq!(progress.hole(&[Id(100)], &summary), Some((Id(31), Id(99))));
    progress.advance(&[Id(100)], &summary);
    assert_eq!((progress.last, progress.epoch), (Id(100), epoch));
}

/// Ids that are remembered have a limit; a stream that fell back further than that is taken for
/// another.
#[test]
fn what_is_remembered_is_bounded() {
    let most = RECENT_MAX as u64;
    for (count, is_known) in [(most, true), (most + 1, false)] {
        let model = filled(1..=count);
        let mut progress = Progress::new("k", Id(0), None);
        read(&model, &mut progress);
        assert_eq!(progress.recent.len(), RECENT_MAX);
        progress.on_connected();
        let change = progress.look("k", &filled(1..=1).summary());
        assert_eq!(change == Change::FellBack { to: Id(1) }, is_known, "{count}");
    }
}
