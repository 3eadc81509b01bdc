//! Whole shards of stentor with their mesh, on a simulated network and disk, with clients and
//! publishers, on one seeded clock: judged by an oracle that forgets nothing.
//!
//! `docs/simulation.md` tells what is simulated, what must hold, and which bugs were planted to see
//! that it finds them.
#![forbid(unsafe_code)]

mod book;
mod client;
mod disk;
mod judge;
mod node;
mod plan;
mod run;
mod wire;
mod world;

pub use run::{Story, run};
