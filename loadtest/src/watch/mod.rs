//! What the server and this machine use.

use serde::Serialize;

/// This machine, as reports describe it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What the processors call themselves.
    pub processor: String,
}
