//! What is kept of which channels, and who is served how: patterns with their policies, as text.
//!
//! `ticker.* history=1000 slow=skip; user.* mode=latest`: a pattern, then what holds for it, and a
//! semicolon before the next. A `[[channels]]` table of a settings file is the same with its keys on
//! lines of their own, and is read by `tables.rs` through the same [`Draft`].
#![forbid(unsafe_code)]

use std::{cmp::Ordering, time::Duration};

use super::{
    sources::nearest,
    table::Shape,
    tables::Tables,
    values::{Size, TOO_LITTLE, TOO_MUCH, Value},
};
use crate::{
    ids::{CHANNEL_NAME_MAX, ChannelName, NotAChannel},
    limits::{HISTORY_BYTES_UNLESS_TOLD, LATEST_KEYS_MAX, PATTERNS_MAX},
    policy::{Mode, Pattern, Policies, Policy, Retention, Slow, Who},
};

/// Patterns of channels, each with its policy, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    /// As we would write them; says all that the policies do.
    text: String,
    policies: Policies,
}

impl Channels {
    /// What the patterns decide.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let mut entries = Entries::default();
        for text in text.split(';').filter(|text| !text.trim().is_empty()) {
            entries.push(Entry::read(text)?).map_err(Mistake::in_text)?;
        }
        Ok(Channels { text: entries.text(), policies: Policies::new(entries.0) })
    }
}

impl PartialEq for Channels {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl PartialOrd for Channels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.text.partial_cmp(&other.text)
    }
}

impl Value for Channels {
    const NOUN: &'static str = "CHANNELS";
    const KIND: &'static str = "patterns with what holds for them";
    const LIKE: &'static str = "like ticker.* history=1000 slow=skip; user.* mode=latest";
    const SHAPE: Shape = Shape::Entries;

    fn parse(text: &str) -> Result<Self, String> {
        Channels::read(text).map_err(|fault| fault.problem)
    }

    fn right(text: &str) -> Option<String> {
        Channels::read(text).err().map(|fault| fault.right)
    }

    fn text(&self) -> String {
        self.text.clone()
    }

    fn shown(&self) -> Vec<String> {
        let entries = self.text.split(Self::SHAPE.separator());
        entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }
}

/// What is wrong with a text, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub problem: String,
    pub right: String,
}

/// What is wrong with a key of one entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub key: &'static str,
    /// What was written.
    pub value: String,
    pub problem: String,
    pub right: String,
}

impl Mistake {
    pub fn new(
        key: &'static str,
        value: impl Into<String>,
        problem: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Mistake { key, value: value.into(), problem: problem.into(), right: right.into() }
    }

    /// Where the pattern is the first word, a mistake in it is told without the name of its key.
    fn in_text(self) -> Fault {
        let Mistake { key, value, problem, right } = self;
        let problem = match key {
            "match" => format!("has the pattern '{value}', which {problem}"),
            _ => format!("has '{key}={value}', which {problem}"),
        };
        Fault { problem, right }
    }
}

/// A pattern and its policy.
pub(super) struct Entry {
    pattern: Pattern,
    policy: Policy,
}

impl Entry {
    /// Reads `ticker.* history=1000`.
    fn read(text: &str) -> Result<Self, Fault> {
        let mut draft = Draft::default();
        for (at, word) in text.split_whitespace().enumerate() {
            let (key, value) = if at == 0 { (&KEYS[0], word) } else { key_and_value(word)? };
            draft.set(key, value).map_err(Mistake::in_text)?;
        }
        draft.finish().map_err(Mistake::in_text)
    }

    /// As an operator would write it, with all that follows from what was written.
    pub fn text(&self) -> String {
        let Policy { mode, history, slow, presence, subscribe, publish } = &self.policy;
        let count = Some(history.count).filter(|&count| count != COUNT_UNLESS_TOLD);
        let age = history.age.map(|age| age.text());
        let words = [
            (*mode == Mode::Latest).then(|| "mode=latest".to_owned()),
            count.filter(|_| !history.is_none()).map(|count| format!("history={count}")),
            (!history.is_none()).then(|| format!("history-bytes={}", Size(history.bytes as u64))),
            age.map(|age| format!("history-age={age}")),
            (*slow != Slow::Close).then(|| format!("slow={}", spelled(SLOWS, *slow))),
            presence.then(|| "presence=true".to_owned()),
            (*subscribe != Who::Public)
                .then(|| format!("subscribe={}", spelled(SUBSCRIBERS, *subscribe))),
            (*publish != Who::Nobody).then(|| format!("publish={}", spelled(PUBLISHERS, *publish))),
        ];
        let pattern = Some(self.pattern.as_str().to_owned());
        [pattern].into_iter().chain(words).flatten().collect::<Vec<_>>().join(" ")
    }
}

fn key_and_value(word: &str) -> Result<(&'static Key, &str), Fault> {
    let fault = |problem: &str, right: String| Fault {
        problem: format!("has '{word}', which {problem}"),
        right,
    };
    let Some((name, value)) = word.split_once('=') else {
        let right = "write words like history=1000 behind a pattern, and a ; before the next";
        return Err(fault("is no setting of channels", right.to_owned()));
    };
    match key_named(name) {
        Some(key) => Ok((key, value)),
        None => {
            let names = KEYS[1..].iter().map(|key| key.name);
            let right = match nearest(name, names.clone()) {
                Some(nearest) => format!("did you mean '{nearest}'?"),
                None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
            };
            Err(fault("is no setting of channels", right))
        }
    }
}

/// Entries that do not hide each other, and are not too many.
#[derive(Default)]
pub(super) struct Entries(Vec<(Pattern, Policy)>);

impl Entries {
    /// Adds an entry that some channel can live by.
    pub fn push(&mut self, entry: Entry) -> Result<(), Mistake> {
        let Entry { pattern, policy } = entry;
        let refused = |problem: String, right: &str| {
            Err(Mistake::new("match", pattern.as_str(), problem, right))
        };
        if self.0.len() == PATTERNS_MAX {
            let problem = format!("is one more than the {PATTERNS_MAX} that there may be");
            return refused(problem, "let one pattern with a * stand for several");
        }
        // A pattern that matches the text of another, stars and all, matches all its names.
        match self.0.iter().find(|(earlier, _)| earlier.matches(pattern.as_str())) {
            Some((earlier, _)) if *earlier == pattern => {
                refused("is there already".into(), "the first decides, so leave out one of the two")
            }
            Some((earlier, _)) => {
                let problem = format!("is never reached behind '{}'", earlier.as_str());
                refused(problem, "the first that matches decides, so write the narrower one first")
            }
            None => {
                self.0.push((pattern, policy));
                Ok(())
            }
        }
    }

    fn text(&self) -> String {
        let entry = |(pattern, policy): &(Pattern, Policy)| {
            Entry { pattern: pattern.clone(), policy: policy.clone() }.text()
        };
        self.0.iter().map(entry).collect::<Vec<_>>().join("; ")
    }
}

impl Tables for Entries {
    type Draft = Draft;

    fn key(name: &str) -> Option<(&'static str, &'static str, bool)> {
        key_named(name).map(|key| (key.name, key.kind, false))
    }

    fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|key| key.name)
    }

    fn set(draft: &mut Draft, key: &'static str, value: &str) -> Result<(), Mistake> {
        draft.set(key_named(key).expect("a key of ours"), value)
    }

    fn add(&mut self, draft: Draft) -> Result<String, Vec<Mistake>> {
        let entry = draft.finish().map_err(|mistake| vec![mistake])?;
        let text = entry.text();
        self.push(entry).map_err(|mistake| vec![mistake])?;
        Ok(text)
    }
}

/// What was said of one pattern so far.
#[derive(Default)]
pub(super) struct Draft {
    pattern: Option<Pattern>,
    mode: Option<Mode>,
    count: Option<u32>,
    bytes: Option<Size>,
    age: Option<Duration>,
    slow: Option<Slow>,
    presence: Option<bool>,
    subscribe: Option<Who>,
    publish: Option<Who>,
}

impl Draft {
    /// Takes the value of one key.
    pub fn set(&mut self, key: &'static Key, value: &str) -> Result<(), Mistake> {
        let mistake = |(problem, right)| Mistake::new(key.name, value, problem, right);
        let set = match key.name {
            "match" => once(&mut self.pattern, pattern_of(value)),
            "mode" => once(&mut self.mode, one_of(MODES, value)),
            "history" => once(&mut self.count, ranged(value, "0", COUNT_MAX)),
            "history-bytes" => once(&mut self.bytes, ranged(value, "1", "64GiB")),
            // 24 days: ages are kept in 32 bits of milliseconds.
            "history-age" => once(&mut self.age, ranged(value, "1s", "576h")),
            "slow" => once(&mut self.slow, one_of(SLOWS, value)),
            "presence" => once(&mut self.presence, one_of(TRUTHS, value)),
            "publish" => once(&mut self.publish, one_of(PUBLISHERS, value)),
            "subscribe" => once(&mut self.subscribe, one_of(SUBSCRIBERS, value)),
            other => unreachable!("{other} is in the table of keys, and not here"),
        };
        set.map_err(mistake)
    }

    /// What was said, and what follows where nothing was.
    pub fn finish(self) -> Result<Entry, Mistake> {
        let history = self.history()?;
        let right = "write the channels that this is for, like ticker.*";
        let pattern = self.pattern.ok_or_else(|| Mistake::new("match", "", "is missing", right))?;
        let mode = self.mode.unwrap_or(Mode::Log);
        let policy = Policy {
            mode,
            history,
            slow: self.slow.unwrap_or(Slow::Close),
            presence: self.presence.unwrap_or(false),
            subscribe: self.subscribe.unwrap_or(Who::Public),
            publish: self.publish.unwrap_or(Who::Nobody),
        };
        Ok(Entry { pattern, policy })
    }

    fn history(&self) -> Result<Retention, Mistake> {
        let is_latest = self.mode == Some(Mode::Latest);
        if self.count == Some(0) {
            let besides = [
                self.bytes.map(|bytes| ("history-bytes", bytes.text())),
                self.age.map(|age| ("history-age", age.text())),
                is_latest.then(|| ("mode", "latest".to_owned())),
            ];
            return match besides.into_iter().flatten().next() {
                Some((key, value)) => {
                    let problem = "is about what is kept, and history=0 keeps nothing";
                    Err(Mistake::new(key, value, problem, "leave out one of the two"))
                }
                None => Ok(Retention::NONE),
            };
        }
        let is_asked = self.count.is_some() || self.bytes.is_some() || self.age.is_some();
        if !is_asked && !is_latest {
            return Ok(Retention::NONE);
        }
        let count_unless_told = if is_latest { LATEST_KEYS_MAX } else { COUNT_UNLESS_TOLD };
        Ok(Retention {
            count: self.count.unwrap_or(count_unless_told),
            bytes: self.bytes.map_or(HISTORY_BYTES_UNLESS_TOLD, Size::bytes),
            age: self.age,
        })
    }
}

/// What is wrong with a value, and what would be right.
pub(super) type Refused = (String, String);

fn once<T>(place: &mut Option<T>, value: Result<T, Refused>) -> Result<(), Refused> {
    if place.is_some() {
        return Err(("is given a second time".into(), "write it once".into()));
    }
    *place = Some(value?);
    Ok(())
}

/// A pattern that some name matches.
fn pattern_of(text: &str) -> Result<Pattern, Refused> {
    let problem = match ChannelName::check(text.replace('*', "").as_bytes()) {
        Ok(()) => return Ok(Pattern::new(text)),
        // Nothing but stars.
        Err(NotAChannel::Empty) if !text.is_empty() => return Ok(Pattern::new(text)),
        Err(NotAChannel::TooLong) => {
            format!("matches no name, for those have at most {CHANNEL_NAME_MAX} bytes")
        }
        Err(NotAChannel::BadByte(byte)) => {
            format!("matches no name, for none has the byte 0x{byte:02x}")
        }
        Err(NotAChannel::Empty | NotAChannel::BadEscape) => "matches no name".to_owned(),
    };
    Err((problem, "write letters, digits and ._-:/ and * for any of them, like ticker.*".into()))
}

pub(super) fn one_of<T: Copy>(choices: &[(&str, T)], text: &str) -> Result<T, Refused> {
    let chosen = choices.iter().find(|(spelling, _)| *spelling == text);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let spellings: Vec<_> = choices.iter().map(|(spelling, _)| *spelling).collect();
        ("is not among the choices".to_owned(), format!("write {}", spellings.join(" or ")))
    })
}

pub(super) fn ranged<T: Value>(text: &str, low: &str, high: &str) -> Result<T, Refused> {
    let range = || format!("write {} from {low} to {high}", T::KIND);
    let value = T::parse(text).map_err(|problem| {
        let is_of_range = [TOO_LITTLE, TOO_MUCH].contains(&problem.as_str());
        let right = if is_of_range { range() } else { format!("write {} {}", T::KIND, T::LIKE) };
        (problem, right)
    })?;
    let bound = |text| T::parse(text).expect("our own bounds are values");
    match value.outside(&bound(low), &bound(high)) {
        Some(problem) => Err((problem.to_owned(), range())),
        None => Ok(value),
    }
}

fn spelled<T: Copy + PartialEq>(choices: &[(&'static str, T)], value: T) -> &'static str {
    let found = choices.iter().find(|(_, choice)| *choice == value);
    found.expect("every choice has a spelling").0
}

/// What may be said of a pattern.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub default: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
}

/// The key of this name.
fn key_named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// All keys, the pattern first.
pub(super) static KEYS: [Key; 9] = [
    Key {
        name: "match",
        default: "required",
        kind: "a pattern",
        help: "The channels; `*` stands for any characters. The first pattern that matches decides.",
    },
    Key {
        name: "mode",
        default: "`log`",
        kind: "log or latest",
        help: "With log every publication counts, with latest only the newest of each key.",
    },
    Key {
        name: "history",
        default: "`0`; with `mode=latest` `10000`; without a bound if bytes or age are given",
        kind: "a whole number, 0 to 1000000000",
        help: "Publications that are kept for those who come back; with latest, keys.",
    },
    Key {
        name: "history-bytes",
        default: "`16MiB` where anything is kept",
        kind: "a size, 1 to 64GiB",
        help: "Payload bytes that are kept of each channel. A larger publication is not kept at all.",
    },
    Key {
        name: "history-age",
        default: "none",
        kind: "a duration, 1s to 576h",
        help: "How long a publication is kept.",
    },
    Key {
        name: "slow",
        default: "`close`",
        kind: "close, skip or latest",
        help: "What befalls a subscriber whose next publication is gone: it is closed and told \
               where to resume, goes on with the oldest that is kept, or with the newest.",
    },
    Key {
        name: "presence",
        default: "`false`",
        kind: "true or false",
        help: "Publishes the number of subscribers to `{channel}:presence` when it changes.",
    },
    Key {
        name: "subscribe",
        default: "`public`",
        kind: "public, token or nobody",
        help: "Who may subscribe: everybody, who has a token that grants it, or nobody. Who may read \
               a channel may read its presence.",
    },
    Key {
        name: "publish",
        default: "`nobody`",
        kind: "public, token or nobody; true for public, false for nobody",
        help: "Which subscribers may publish, over `stentor.v1`.",
    },
];

const MODES: &[(&str, Mode)] = &[("log", Mode::Log), ("latest", Mode::Latest)];
const SLOWS: &[(&str, Slow)] =
    &[("close", Slow::Close), ("skip", Slow::Skip), ("latest", Slow::Latest)];
const SUBSCRIBERS: &[(&str, Who)] =
    &[("public", Who::Public), ("token", Who::Token), ("nobody", Who::Nobody)];
/// It was `true` or `false` once, and means the same.
const PUBLISHERS: &[(&str, Who)] = &[
    ("public", Who::Public),
    ("token", Who::Token),
    ("nobody", Who::Nobody),
    ("true", Who::Public),
    ("false", Who::Nobody),
];
const TRUTHS: &[(&str, bool)] = &[("true", true), ("false", false)];

const COUNT_MAX: &str = "1000000000";
/// What `history` is where only bytes or age bound it.
const COUNT_UNLESS_TOLD: u32 = u32::MAX;
