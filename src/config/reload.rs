//! What becomes of a running server's settings when they are read again.
#![forbid(unsafe_code)]

use super::{
    Config, SETTINGS, Setting,
    check::clashes,
    error::ConfigErrors,
    refused,
    sources::{Given, Source},
};

/// A setting that has another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which one.
    pub setting: &'static Setting,
    /// What it was, without secrets.
    pub from: String,
    /// What it is to be, without secrets.
    pub to: String,
}

impl Config {
    /// These settings, but for those of `newer` that a running server can take over; and everything
    /// that differs. What the new values do not fit beside an old one is an error.
    pub fn reloaded(&self, newer: &Config) -> Result<(Config, Vec<Difference>), ConfigErrors> {
        let mut mixed = self.clone();
        mixed.settings.take_live(&newer.settings);
        let sources = SETTINGS.iter().zip(&newer.sources).zip(&mut mixed.sources);
        sources.filter(|((setting, _), _)| setting.is_live).for_each(|((_, newer), mine)| {
            mine.clone_from(newer);
        });
        let given = mixed.given();
        let wrong: Vec<_> =
            clashes(&mixed.settings).iter().map(|clash| refused(clash, &given)).collect();
        if !wrong.is_empty() {
            return Err(ConfigErrors { wrong, ..ConfigErrors::default() });
        }
        Ok((mixed, self.differences(newer)))
    }

    fn differences(&self, newer: &Config) -> Vec<Difference> {
        let (mine, theirs) = (self.settings.texts(), newer.settings.texts());
        let (from, to) = (self.settings.shown(), newer.settings.shown());
        let differs = |at: &usize| mine[*at] != theirs[*at];
        let difference = |at: usize| {
            let (from, to) = (from[at].join("; "), to[at].join("; "));
            Difference { setting: &SETTINGS[at], from, to }
        };
        (0..SETTINGS.len()).filter(differs).map(difference).collect()
    }

    /// The settings as they would have to be given.
    fn given(&self) -> Vec<Given> {
        let texts = self.settings.texts().into_iter().zip(&self.sources);
        texts.map(|(text, source): (_, &Source)| Given { text, source: source.clone() }).collect()
    }
}
