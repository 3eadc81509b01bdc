//! Where a subscription begins, and what its subscriber is told of it.
//!
//! Vocabulary: of ours it imports only `ids`.
#![forbid(unsafe_code)]

use crate::ids::Position;

/// Where a subscriber wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next publication.
    Live,
    /// With so many of the newest that are kept, or all if there are fewer. In a channel of latest
    /// values these are the current values.
    Last(u32),
    /// Behind this position: with everything that was published since.
    Since(Position),
}

/// Publications that a subscriber does not get: those behind `from`, up to and with `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last position that the subscriber had.
    pub from: Position,
    /// The last position that it does not get. What follows it is delivered.
    pub to: Position,
}

/// How a subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Everything behind this position is delivered: what a client that hears nothing more resumes
    /// from.
    pub position: Position,
    /// What of the missed could not be recovered; `None` if everything was, or nothing was asked.
    pub gap: Option<Gap>,
}
