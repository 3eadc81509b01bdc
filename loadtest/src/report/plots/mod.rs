//! The plots of a page, each an `svg` element of its own.
//!
//! They show a run in at most [`COLUMNS_MAX`] columns, however long it was.

mod axis;
mod canvas;
mod curves;
mod heat_map;
mod percentiles;

pub use canvas::{HALF, WIDE, css};
pub use curves::{connections, deliveries, memory, processors};
pub use heat_map::{LEVELS, heat_map, legend};
pub use percentiles::percentiles;

/// Columns of a plot over time, at most.
pub const COLUMNS_MAX: usize = 600;
