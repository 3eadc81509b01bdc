//! Stentor, an edge broadcaster: one publication in, millions of WebSocket and SSE subscribers out.
//!
//! This is the table of contents. `docs/architecture.md` tells how the parts work together.

pub mod access;
pub mod bus;
pub mod close;
pub mod config;
pub mod control;
pub mod counters;
pub mod doctor;
pub mod door;
pub mod frame;
pub mod hub;
pub mod ids;
pub mod inputs;
pub mod io;
pub mod journal;
pub mod limits;
pub mod live;
pub mod log;
pub mod logs;
pub mod mapping;
pub mod mesh;
pub mod orders;
pub mod payload;
pub mod policy;
pub mod preface;
pub mod report;
pub mod resume;
pub mod segment;
pub mod server;
pub mod session;
pub mod shard;
pub mod shield;
pub mod timers;
pub mod watch;
pub mod wire;
