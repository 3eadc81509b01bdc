//! A journal on a real disk, its thread, and what a shard sees of both.

mod compaction;
mod faults;
mod lending;
mod recovery;
mod rig;
mod writing;
