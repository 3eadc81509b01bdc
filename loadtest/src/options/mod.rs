//! What a plan says, as flags and as the keys of a TOML file: one definition for both.
//!
//! Every option may be left out. [`Options::or`] lays one set over another (flags over a plan),
//! [`Options::resolve`] fills the rest with defaults, checks everything, and makes the [`Plan`].

mod bounds;
mod check;
mod table;
#[cfg(test)]
mod tests;
mod values;

use crate::{
    bus::Bus,
    plan::Plan,
    shelf::{Sheet, Shelf, ShelfError},
    slo::Slo,
};

pub use table::{OPTIONS, Options, Row};
pub use values::{
    Channels, Interval, Mix, PerSecond, Prefix, PublishTo, Rate, Share, Size, Sizes, Value, read,
    spelled,
};

/// One thing that is wrong with a plan, in words that end the search.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is no such plan, or it cannot be read.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// An option has a value that it cannot have, by itself or beside another's.
    #[error("{option}: '{value}' {problem}; {right}")]
    Outside {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        right: String,
    },
}

impl Options {
    /// What a plan file says.
    pub fn from_sheet(sheet: &Sheet) -> Result<Options, PlanError> {
        let keys: Vec<&str> = OPTIONS.iter().map(|row| row.name).collect();
        Ok(sheet.read(&keys)?)
    }

    /// The plan, complete and checked. What nobody has said is the default.
    pub fn resolve(&self, name: &str) -> Result<Plan, PlanError> {
        check::plan(self, name)
    }

    /// The bus that publications of this plan go through, if it publishes any.
    pub fn bus(&self, plan: &Plan) -> Result<Option<Bus>, PlanError> {
        check::bus(self.settled().publish_to, plan)
    }

    /// What must hold for a run to be a success; the oracle's verdict aside.
    pub fn objectives(&self) -> Slo {
        self.settled().slo
    }
}

/// The plans that come with the program.
pub const PLANS: Shelf = Shelf {
    kind: "plan",
    texts: &[
        ("idle", include_str!("../../plans/idle.toml")),
        ("ticker", include_str!("../../plans/ticker.toml")),
        ("chat", include_str!("../../plans/chat.toml")),
        ("notify", include_str!("../../plans/notify.toml")),
        ("storm", include_str!("../../plans/storm.toml")),
        ("resume", include_str!("../../plans/resume.toml")),
        ("slow-readers", include_str!("../../plans/slow-readers.toml")),
        ("stalled", include_str!("../../plans/stalled.toml")),
        ("million", include_str!("../../plans/million.toml")),
    ],
};
