//! What the server and this machine use, as far as the kernel tells.
//!
//! Everything is read from `/proc`, when asked and not otherwise: who asks decides how often, and a
//! question costs well below a millisecond for each hundred processes on the machine. Nothing
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
