//! What is wrong with the settings, in words that end the search: where it came from, which
//! setting, what was written, and what would be right.
#![forbid(unsafe_code)]

use std::{fmt, io, path::PathBuf};

use super::sources::Source;

/// One thing that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file could not be read.
    #[error("cannot read the settings in {path}: {why}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The settings file is not TOML.
    #[error("{place} is not TOML: {why}")]
    NotToml {
        /// The file, and the line.
        place: Source,
        /// What the parser said.
        why: String,
    },
    /// The settings file has a key that is no setting.
    #[error("'{key}' (from {place}) is not a setting; {hint}", hint = hint(nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The file, and the line.
        place: Source,
        /// The setting that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A setting has a value that it cannot have, by itself or beside another setting's.
    #[error("{name}: '{value}' ({}) {problem}; {right}", from(place))]
    Wrong {
        /// The setting.
        name: &'static str,
        /// What was written.
        value: String,
        /// Who wrote it.
        place: Source,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        right: String,
    },
}

/// Everything that there is to say of the settings when at least one thing is wrong.
#[derive(Debug, Default)]
pub struct ConfigErrors {
    /// What is wrong.
    pub wrong: Vec<ConfigError>,
    /// What looks like a mistake besides.
    pub warnings: Vec<String>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = self.wrong.iter().map(ConfigError::to_string);
        let lines: Vec<String> = wrong.chain(self.warnings.iter().cloned()).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Where a value came from, as it stands in brackets behind the value.
pub(super) fn from(source: &Source) -> String {
    match source {
        Source::Default => source.to_string(),
        _ => format!("from {source}"),
    }
}

/// What to do about an unknown name.
pub(super) fn hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean '{nearest}'?"),
        None => "`stentor config --reference` lists all of them".to_owned(),
    }
}
