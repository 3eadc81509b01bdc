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
    /// Whether it is so from now on; otherwise only after a restart.
    pub is_applied: bool,
}

impl Config {
    /// These settings, but for those of `newer` that a running server can take over; and everything
    /// that differs. What the new values do not fit beside an old one is an error.
    pub fn reloaded(&self, newer: &Config) -> Result<(Config, Vec<Difference>), ConfigErrors> {
        let mut mixed = self.clone();
        mixed.settings.take_live(&newer.settings);
        if !self.takes_channels_of(newer) {
            mixed.settings.channels.clone_from(&self.settings.channels);
        }
        let sources = SETTINGS.iter().zip(&newer.sources).zip(&mut mixed.sources);
        sources.filter(|((setting, _), _)| self.takes(setting, newer)).for_each(
            |((_, newer), mine)| {
                mine.clone_from(newer);
            },
        );
        let given = mixed.given();
        let wrong: Vec<_> =
            clashes(&mixed.settings).iter().map(|clash| refused(clash, &given)).collect();
        if !wrong.is_empty() {
            return Err(ConfigErrors { wrong, ..ConfigErrors::default() });
        }
        Ok((mixed, self.differences(newer)))
    }

    /// Whether a running server can take over the new value of this setting.
    fn takes(&self, setting: &Setting, newer: &Config) -> bool {
        setting.is_live && (setting.name != "channels" || self.takes_channels_of(newer))
    }

    fn takes_channels_of(&self, newer: &Config) -> bool {
        self.settings.channels.policies().can_become(newer.settings.channels.policies())
    }

    fn differences(&self, newer: &Config) -> Vec<Difference> {
        let (mine, theirs) = (self.settings.texts(), newer.settings.texts());
        let (from, to) = (self.settings.shown(), newer.settings.shown());
        let differs = |at: &usize| mine[*at] != theirs[*at];
        let difference = |at: usize| {
            let (from, to) = (from[at].join("; "), to[at].join("; "));
            let is_applied = self.takes(&SETTINGS[at], newer);
            Difference { setting: &SETTINGS[at], from, to, is_applied }
        };
        (0..SETTINGS.len()).filter(differs).map(difference).collect()
    }

    /// The settings as they would have to be given.
    fn given(&self) -> Vec<Given> {
        let texts = self.settings.texts().into_iter().zip(&self.sources);
        texts.map(|(text, source): (_, &Source)| Given { text, source: source.clone() }).collect()
    }
}
