//! What the server and this machine use, as far as the kernel tells.
//!
//! Everything is read from `/proc`, when asked and not otherwise: who asks decides how often. What a
//! process and its descendants use costs most, some 2 ms for each hundred processes on the
//! machine: ask once in a second, not in a loop, and not on a thread that is measured. Nothing
//! here knows what is under test; a server is a process, its descendants, and addresses to dial.

pub(crate) mod files;
pub mod kernel;
pub mod machine;
pub mod process;
pub mod spawn;
mod table;
mod tail;

pub use kernel::KernelMemory;
pub use machine::{IdleShare, Machine};
pub use process::{Processes, Usage};
pub use spawn::{NotReady, Spawned};
