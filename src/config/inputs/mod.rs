//! Inputs from message buses, as text: `nats url=nats://127.0.0.1:4222 subject=ticks.>`, the kind
//! first, then words, and a semicolon before the next input.
//!
//! An `[[inputs]]` table of a settings file is the same with its keys on lines of their own. Each
//! input is first read by itself ([`Draft`]); what needs the others, the channels or the environment
//! is decided by [`Inputs::settled`], and where numbers come from in `numbering.rs`.
#![forbid(unsafe_code)]

mod checks;
mod draft;
mod kinds;
mod numbering;
mod sugar;
mod words;

use std::cmp::Ordering;

pub use kinds::{KEYS, KINDS, Key, Kind};
pub use sugar::{InputFlag, input_flags};

pub(super) use draft::Draft;
pub(super) use sugar::text_of_flags;
pub(super) use words::masked_text;

use super::{
    channels::{Channels, Fault, Mistake},
    sources::nearest,
    table::Shape,
    tables::Tables,
    values::Value,
};
use crate::{
    inputs::{Input, LinesFrom, Source, StartAt},
    limits::INPUTS_MAX,
};
use draft::Entry;
use words::Word;

/// Inputs, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    entries: Vec<Entry>,
    all: Vec<Input>,
}

/// What is wrong with inputs beside each other, the channels or the environment.
pub(super) struct Trouble {
    pub problem: String,
    pub right: String,
}

impl Inputs {
    /// All of them.
    pub fn all(&self) -> &[Input] {
        &self.all
    }

    /// Text of secrets put in, where to begin, and who numbers what; and what looks like a mistake.
    pub(super) fn settled(
        mut self,
        channels: &Channels,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<String>), Vec<Trouble>> {
        let mut troubles = Vec::new();
        for (input, entry) in self.all.iter_mut().zip(&self.entries) {
            if !numbering::keeps_any(channels, &input.feeds()) {
                begin_with_the_new(&mut input.source);
            }
            troubles.extend(put_secrets_in(&mut input.source, entry, variable).err());
        }
        let (decisions, warnings) = match numbering::decide(&self.entries) {
            Ok(decided) => decided,
            Err(more) => {
                troubles.extend(more);
                return Err(troubles);
            }
        };
        for (input, numbered_by_bus) in self.all.iter_mut().zip(decisions) {
            input.numbered_by_bus = numbered_by_bus;
        }
        if troubles.is_empty() { Ok((self, warnings)) } else { Err(troubles) }
    }

    /// The name of the input that this names: by its name, or by its kind if no other is of that.
    pub(super) fn publishable(&self, wanted: &str) -> Result<Box<str>, Trouble> {
        let by_name = self.entries.iter().find(|entry| *entry.input.name == *wanted);
        let of_kind = || self.entries.iter().filter(|entry| entry.kind.name == wanted);
        let found = by_name.or_else(|| of_kind().next());
        let names = || {
            let can = self.entries.iter().filter(|entry| entry.kind.name != "lines");
            let names: Vec<_> = can.map(|entry| &*entry.input.name).collect();
            match names.is_empty() {
                true => "add an input, like --input 'nats url=nats://127.0.0.1:4222 \
                         subject=ticks.>'"
                    .to_owned(),
                false => format!("write {}", names.join(" or ")),
            }
        };
        let trouble = |problem: &str| Trouble { problem: problem.to_owned(), right: names() };
        match found {
            None => Err(trouble("is no input's name")),
            Some(entry) if entry.kind.name == "lines" => {
                Err(trouble("is an input of lines, which have no bus"))
            }
            Some(_) if by_name.is_none() && of_kind().count() > 1 => {
                Err(trouble("is the kind of several inputs"))
            }
            Some(entry) => Ok(entry.input.name.clone()),
        }
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let mut entries = Entries::default();
        for words in words::entries(text)? {
            let draft = draft_of(&words)?;
            let label = draft.label();
            let first = |mistakes: Vec<Mistake>| mistakes.into_iter().next().expect("a mistake");
            let in_text = |mistakes| in_text(first(mistakes), &label);
            let entry = draft.finish().map_err(in_text)?;
            entries.push(entry).map_err(|mistake| in_text(vec![mistake]))?;
        }
        let entries = named(entries.0);
        let all = entries.iter().map(|entry| entry.input.clone()).collect();
        Ok(Inputs { entries, all })
    }
}

/// The words of one input.
fn draft_of(words: &[Word]) -> Result<Draft, Fault> {
    let mut draft = Draft::default();
    let (first, rest) = words.split_first().expect("an entry has words");
    match sugar::source_and_channel(first) {
        Some((from, channel)) => {
            let said = [("kind", Some("lines")), ("from", Some(from)), ("channel", channel)];
            for (key, value) in said {
                let set = value.map(|value| draft.set(key, value)).transpose();
                set.expect("the first words are no mistake");
            }
        }
        None if first.value.is_some() && key_named(&first.name).is_some() => {
            let problem = format!("has '{}' where the kind of the input should be", first.name);
            return Err(Fault { problem, right: format!("begin with {}", KEYS[0].value) });
        }
        None => {
            let set = draft.set("kind", &first.name);
            set.map_err(|Mistake { value, problem, right, .. }| Fault {
                problem: format!("begins with '{value}', which {problem}"),
                right,
            })?;
        }
    }
    for word in rest {
        let key = key_named(&word.name).filter(|key| key.name != "kind");
        let (Some(key), Some(value)) = (key, &word.value) else {
            return Err(unknown_word(word, &draft.label()));
        };
        draft.set(key.name, value).map_err(|mistake| in_text(mistake, &draft.label()))?;
    }
    Ok(draft)
}

fn unknown_word(word: &Word, label: &str) -> Fault {
    let names = KEYS[1..].iter().map(|key| key.name);
    let right = match (&word.value, nearest(&word.name, names)) {
        (None, _) => "write words like subject=ticks.>, and a ; before the next input".to_owned(),
        (_, Some(nearest)) => format!("did you mean '{nearest}'?"),
        (_, None) => "`stentor config --reference` lists all of them".to_owned(),
    };
    let shown = match &word.value {
        Some(_) => format!("{}=…", word.name),
        None => words::masked("url", &word.name),
    };
    Fault { problem: format!("has '{shown}' for {label}, which is no key of inputs"), right }
}

/// A mistake in a text, which has no lines to tell it by.
fn in_text(Mistake { key, value, problem, right }: Mistake, label: &str) -> Fault {
    let problem = match value.is_empty() && problem == "is missing" {
        true => format!("lacks {key} for {label}"),
        false => format!("has '{key}={value}' for {label}, which {problem}"),
    };
    Fault { problem, right }
}

/// The key of this name, whichever kind it is for.
fn key_named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Inputs that have no more in common than they may, and are not too many.
#[derive(Default)]
pub(super) struct Entries(Vec<Entry>);

impl Entries {
    fn push(&mut self, entry: Entry) -> Result<(), Mistake> {
        let name = entry.input.name.clone();
        let refused = |key, value: &str, problem: String, right: &str| {
            Err(Mistake::new(key, value, problem, right))
        };
        if self.0.len() == INPUTS_MAX {
            let problem = format!("is one more than the {INPUTS_MAX} inputs that there may be");
            return refused("kind", entry.kind.name, problem, "let one input read more");
        }
        if !name.is_empty() && self.0.iter().any(|other| other.input.name == name) {
            let problem = "is the name of another input".to_owned();
            return refused("name", &name, problem, "give each its own");
        }
        if let Source::Lines(lines) = &entry.input.source {
            let is_same = |other: &Entry| matches!(&other.input.source, Source::Lines(other) if other.from == lines.from);
            if self.0.iter().any(is_same) {
                let from = match &lines.from {
                    LinesFrom::Stdin => "stdin".to_owned(),
                    LinesFrom::Unix(path) => format!("unix:{}", path.display()),
                    LinesFrom::Tcp(address) => format!("tcp:{address}"),
                };
                let problem = "is read by another input".to_owned();
                return refused("from", &from, problem, "let one input read it");
            }
        }
        self.0.push(entry);
        Ok(())
    }
}

impl Tables for Entries {
    type Draft = Draft;

    fn key(name: &str) -> Option<(&'static str, &'static str, bool)> {
        let found = key_named(name)?;
        let repeats = KEYS.iter().any(|key| key.name == name && key.repeats);
        Some((found.name, found.value, repeats))
    }

    fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|key| key.name)
    }

    fn set(draft: &mut Draft, key: &'static str, value: &str) -> Result<(), Mistake> {
        draft.set(key, value)
    }

    fn add(&mut self, draft: Draft) -> Result<String, Vec<Mistake>> {
        let entry = draft.finish()?;
        let text = entry.text();
        self.push(entry).map_err(|mistake| vec![mistake])?;
        Ok(text)
    }
}

/// Each with a name: its kind, with a number where others have that name.
fn named(mut entries: Vec<Entry>) -> Vec<Entry> {
    for at in 0..entries.len() {
        if !entries[at].input.name.is_empty() {
            continue;
        }
        let kind = entries[at].kind.name;
        let is_free = |name: &String| entries.iter().all(|entry| *entry.input.name != **name);
        let numbered = (2..).map(|number| format!("{kind}-{number}"));
        let free = [kind.to_owned()].into_iter().chain(numbered).find(is_free);
        entries[at].input.name = free.expect("numbers do not end").into();
    }
    entries
}

/// Where no channel of it keeps anything, there is no history to fill.
fn begin_with_the_new(source: &mut Source) {
    let start = match source {
        Source::JetStream(it) => &mut it.start,
        Source::RedisStreams(it) => &mut it.start,
        Source::Kafka(it) => &mut it.start,
        Source::AmqpStream(it) => &mut it.start,
        _ => return,
    };
    if matches!(start, StartAt::History(_)) {
        *start = StartAt::New;
    }
}

/// Replaces what stands for text from elsewhere, and looks at the URL that comes out.
fn put_secrets_in(
    source: &mut Source,
    entry: &Entry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Trouble> {
    let place = |key: &str, text: &mut String| {
        if !text.contains("${") {
            return Ok(());
        }
        let checked = words::expanded(text, variable).and_then(|whole| match key {
            "url" => checks::url(entry.kind.name, &whole),
            "brokers" => checks::brokers(&whole),
            _ => Ok(whole),
        });
        *text = checked.map_err(|(problem, right)| {
            let shown = words::masked(key, text);
            let label = entry.label();
            Trouble { problem: format!("has '{key}={shown}' for {label}, which {problem}"), right }
        })?;
        Ok(())
    };
    match source {
        Source::Nats(it) => place("url", &mut it.url),
        Source::JetStream(it) => place("url", &mut it.nats.url),
        Source::RedisChannels(it) => place("url", &mut it.url),
        Source::RedisStreams(it) => place("url", &mut it.url),
        Source::Amqp(it) => place("url", &mut it.url),
        Source::AmqpStream(it) => place("url", &mut it.url),
        Source::Mqtt(it) => place("url", &mut it.url),
        Source::Kafka(it) => {
            place("brokers", &mut it.brokers)?;
            it.properties.iter_mut().try_for_each(|(_, value)| place("property", value))
        }
        Source::Lines(_) => Ok(()),
    }
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl PartialOrd for Inputs {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.text().partial_cmp(&other.text())
    }
}

impl Value for Inputs {
    const NOUN: &'static str = "INPUTS";
    const KIND: &'static str = "inputs with what they read";
    const LIKE: &'static str =
        "like nats url=nats://127.0.0.1:4222 subject=ticks.> channel={subject}";
    const SHAPE: Shape = Shape::Entries;

    fn parse(text: &str) -> Result<Self, String> {
        Inputs::read(text).map_err(|fault| fault.problem)
    }

    fn right(text: &str) -> Option<String> {
        Inputs::read(text).err().map(|fault| fault.right)
    }

    fn text(&self) -> String {
        self.entries.iter().map(Entry::text).collect::<Vec<_>>().join("; ")
    }

    fn shown(&self) -> Vec<String> {
        self.entries.iter().map(Entry::shown).collect()
    }
}
