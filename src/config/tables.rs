//! `[[channels]]` tables of a settings file, read into the text that a flag would have given. Every
//! mistake is told with the line that it is on.
#![forbid(unsafe_code)]

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    channels::{Draft, Entries, Entry, KEYS, Mistake, key_named},
    error::{ConfigError, ConfigErrors},
    sources::{Source, nearest, scalar_text},
    table::Setting,
};

/// The tables, or texts in their place, as one text; `None` if something is wrong with them.
pub(super) fn read(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(usize) -> Source,
    told: &mut ConfigErrors,
) -> Option<String> {
    let before = told.wrong.len();
    let at = place(value.span().start);
    let mut reader = Reader { place, told, entries: Entries::default(), texts: Vec::new() };
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

struct Reader<'a> {
    place: &'a dyn Fn(usize) -> Source,
    told: &'a mut ConfigErrors,
    /// What was read from tables.
    entries: Entries,
    texts: Vec<String>,
}

impl Reader<'_> {
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
        let mut draft = Draft::default();
        let mut pattern_at = at.clone();
        for (name, value) in table {
            let line = (self.place)(name.span().start);
            let Some(key) = key_named(name.get_ref()) else {
                let nearest = nearest(name.get_ref(), KEYS.iter().map(|key| key.name));
                let key = name.get_ref().clone().into_owned();
                self.told.wrong.push(ConfigError::UnknownKey { key, place: line, nearest });
                continue;
            };
            if key.name == KEYS[0].name {
                pattern_at = line.clone();
            }
            match scalar_text(value.get_ref()) {
                Ok(text) => {
                    let set = draft.set(key, &text);
                    set.unwrap_or_else(|mistake| self.mistake(mistake, line));
                }
                Err((value, problem)) => {
                    let right = format!("write {}", key.kind);
                    self.wrong(key.name, &value, line, problem, right);
                }
            }
        }
        if self.told.wrong.len() > before {
            return;
        }
        match draft.finish() {
            Ok(entry) => self.entry(entry, pattern_at),
            Err(mistake) => self.mistake(mistake, at),
        }
    }

    fn entry(&mut self, entry: Entry, at: Source) {
        self.texts.push(entry.text());
        self.entries.push(entry).unwrap_or_else(|mistake| self.mistake(mistake, at));
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
