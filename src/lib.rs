//! Stentor, an edge broadcaster: one publication in, millions of WebSocket and SSE subscribers out.
//!
//! This is the table of contents. `docs/architecture.md` tells how the parts work together.

pub mod close;
pub mod control;
pub mod counters;
pub mod frame;
pub mod ids;
pub mod io;
pub mod limits;
pub mod mesh;
pub mod segment;
