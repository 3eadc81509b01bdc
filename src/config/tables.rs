//! `[[channels]]` and `[[inputs]]` tables of a settings file, read into the text that a flag would have
//! given. Every mistake is told with the line that it is on.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    channels::{self, Mistake},
    error::{ConfigError, ConfigErrors},
    inputs,
    sources::{Source, nearest, scalar_text},
    table::Setting,
};

/// What a kind of table is read into.
pub(super) trait Tables: Default {
    /// One table, as it is being read.
    type Draft: Default;

    /// The key of this name: what it is called, what kind of value is right, and whether a list of
    /// them is.
    fn key(name: &str) -> Option<(&'static str, &'static str, bool)>;

    /// The names of all keys.
    fn names() -> impl Iterator<Item = &'static str>;

    /// Takes the value of one key.
    fn set(draft: &mut Self::Draft, key: &'static str, value: &str) -> Result<(), Mistake>;

    /// Adds what was read, and gives it as text.
    fn add(&mut self, draft: Self::Draft) -> Result<String, Vec<Mistake>>;
}

/// The tables, or texts in their place, as one text; `None` if something is wrong with them.
pub(super) fn read(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(usize) -> Source,
    told: &mut ConfigErrors,
) -> Option<String> {
    match setting.name {
        "channels" => read_as::<channels::Entries>(setting, value, place, told),
        "inputs" => read_as::<inputs::Entries>(setting, value, place, told),
        other => unreachable!("{other} has no tables"),
    }
}

fn read_as<T: Tables>(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(usize) -> Source,
    told: &mut ConfigErrors,
) -> Option<String> {
    let before = told.wrong.len();
    let at = place(value.span().start);
    let mut reader = Reader { place, told, entries: T::default(), texts: Vec::new() };
    match value.get_ref() {
        DeValue::Array(array) => {
            array.iter().for_each(|element| reader.element(setting, element));
        }
        DeValue::Table(_) => {
            let right = format!("write [[{}]], with two brackets", setting.name);
            reader.wrong(setting.name, "{…}", at, "is a table", right);
        }
        _ => reader.element(setting, value),
    }
    let texts = reader.texts;
    (told.wrong.len() == before).then(|| texts.join(setting.shape.separator()))
}

struct Reader<'a, T> {
    place: &'a dyn Fn(usize) -> Source,
    told: &'a mut ConfigErrors,
    /// What was read from tables.
    entries: T,
    texts: Vec<String>,
}

impl<T: Tables> Reader<'_, T> {
    /// A table is an entry; a text may hold several and is judged with those of flags.
    fn element(&mut self, setting: &Setting, element: &Spanned<DeValue<'_>>) {
        let at = (self.place)(element.span().start);
        match element.get_ref() {
            DeValue::Table(table) => self.table(table, at),
            DeValue::String(text) => self.texts.push(text.clone().into_owned()),
            other => {
                let value = scalar_text(other).unwrap_or_else(|(value, _)| value);
                self.wrong(setting.name, &value, at, "is neither text nor table", setting.right());
            }
        }
    }

    fn table(&mut self, table: &DeTable<'_>, at: Source) {
        let before = self.told.wrong.len();
        let (mut draft, mut lines) = (T::Draft::default(), BTreeMap::new());
        for (name, value) in table {
            let line = (self.place)(name.span().start);
            let Some((key, kind, repeats)) = T::key(name.get_ref()) else {
                let nearest = nearest(name.get_ref(), T::names());
                let key = name.get_ref().clone().into_owned();
                self.told.wrong.push(ConfigError::UnknownKey { key, place: line, nearest });
                continue;
            };
            lines.insert(key, line.clone());
            let values = match value.get_ref() {
                DeValue::Array(array) if repeats => array.iter().map(Spanned::get_ref).collect(),
                value => vec![value],
            };
            for value in values {
                match scalar_text(value) {
                    Ok(text) => {
                        let set = T::set(&mut draft, key, &text);
                        set.unwrap_or_else(|mistake| self.mistake(mistake, line.clone()));
                    }
                    Err((value, problem)) => {
                        let right = format!("write {kind}");
                        self.wrong(key, &value, line.clone(), problem, right);
                    }
                }
            }
        }
        if self.told.wrong.len() > before {
            return;
        }
        match self.entries.add(draft) {
            Ok(text) => self.texts.push(text),
            Err(mistakes) => mistakes.into_iter().for_each(|mistake| {
                let line = lines.get(mistake.key).unwrap_or(&at).clone();
                self.mistake(mistake, line);
            }),
        }
    }

    fn mistake(&mut self, mistake: Mistake, place: Source) {
        let Mistake { key, value, problem, right } = mistake;
        self.wrong(key, &value, place, &problem, right);
    }

    fn wrong(
        &mut self,
        name: &'static str,
        value: &str,
        place: Source,
        problem: &str,
        right: String,
    ) {
        let (value, problem) = (value.to_owned(), problem.to_owned());
        self.told.wrong.push(ConfigError::Wrong { name, value, place, problem, right });
    }
}
