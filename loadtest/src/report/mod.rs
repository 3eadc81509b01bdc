//! What a run came to, told four ways: JSON, a table, a page with plots, and a histogram's text.
//!
//! All of them are pure functions of a [`Record`](crate::record::Record) and a [`Verdict`], and
//! take whatever is derived from [`Figures`], so that no two of them differ. Where nothing was
//! measured they say so: a missing figure is never 0. Writing files is left to others.

pub mod compare;
mod figures;
pub mod hgrm;
pub mod html;
pub mod json;
mod plots;
#[cfg(test)]
mod sample;
pub mod series;
pub mod table;
mod verdict;
mod when;
mod words;

pub use figures::{Figures, Percentiles, Spread, Whose};
pub use verdict::{Fault, Outcome, Verdict};
