//! Plans and profiles: TOML texts that come with the program, or from a file of the user's.
//!
//! A [`Shelf`] finds a [`Sheet`] by the name of a built-in text or the path of a file, and reads
//! it into a type. What is in the type is the concern of whoever owns the type.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

/// Texts of one kind that come with the program.
#[derive(Debug)]
pub struct Shelf {
    /// What they are, as errors and flags call them: `plan`.
    pub kind: &'static str,
    /// Their names and texts, in the order of lists.
    pub texts: &'static [(&'static str, &'static str)],
}

/// One text and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// The built-in text's name, or the file's without its ending.
    pub name: String,
    /// The file as the user named it, or `built-in NAME`: for errors.
    pub place: String,
    /// The TOML.
    pub text: String,
}

/// Why there is no such text, or why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// No text has this name, and it does not look like a file's.
    #[error("{kind}: '{name}' is neither built in nor a file; {hint}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// The file could not be read.
    #[error("{kind}: cannot read {}: {why}", path.display())]
    Unreadable {
        /// What was looked for.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// There is a key that nobody knows.
    #[error("{place}:{line}: '{key}' is not a key; {hint}")]
    UnknownKey {
        /// The text.
        place: String,
        /// Counted from 1.
        line: usize,
        /// The key.
        key: String,
        /// What to write instead.
        hint: String,
    },
    /// It is not TOML, or a value has the wrong type.
    #[error("{place}:{line}: {why}")]
    Wrong {
        /// The text.
        place: String,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
}

impl Shelf {
    /// The built-in text of this name, or else the file of this path.
    pub fn find(&self, name: &str) -> Result<Sheet, ShelfError> {
        if let Some((name, text)) = self.texts.iter().find(|(known, _)| *known == name) {
            let place = format!("built-in {name}");
            return Ok(Sheet { name: name.to_string(), place, text: text.to_string() });
        }
        let path = Path::new(name);
        if !name.contains('/') && !name.ends_with(".toml") && !path.exists() {
            let known: Vec<&str> = self.texts.iter().map(|(known, _)| *known).collect();
            let hint = instead(name, &known);
            return Err(ShelfError::Unknown { kind: self.kind, name: name.to_owned(), hint });
        }
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        match fs::read_to_string(path) {
            Ok(text) => Ok(Sheet { name: stem, place: name.to_owned(), text }),
            Err(why) => Err(ShelfError::Unreadable { kind: self.kind, path: path.into(), why }),
        }
    }

    /// One line for each built-in text: its name and what its first line says.
    pub fn list(&self) -> String {
        let lines = self.texts.iter().map(|(name, text)| {
            let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
            format!("{name:<14} {about}\n")
        });
        lines.collect()
    }
}

impl Sheet {
    /// Reads the text into a type that has these keys.
    pub fn read<T: DeserializeOwned>(&self, keys: &[&str]) -> Result<T, ShelfError> {
        let wrong = |error: toml::de::Error| ShelfError::Wrong {
            place: self.place.clone(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            why: error.message().to_owned(),
        };
        let table = DeTable::parse(&self.text).map_err(wrong)?.into_inner();
        if let Some((key, _)) = table.iter().find(|(key, _)| !keys.contains(&&**key.get_ref())) {
            return Err(ShelfError::UnknownKey {
                place: self.place.clone(),
                line: self.line(key.span().start),
                key: key.get_ref().to_string(),
                hint: instead(key.get_ref(), keys),
            });
        }
        toml::from_str(&self.text).map_err(wrong)
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// What to write instead of a name that nobody knows: the one that was probably meant, with at
/// most one letter in four wrong, or any of them.
pub fn instead(name: &str, known: &[&str]) -> String {
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    match distances.min().filter(|(distance, known)| *distance <= 1 + known.len() / 4) {
        Some((_, nearest)) => format!("did you mean '{nearest}'?"),
        None => format!("write one of {}", known.join(", ")),
    }
}
