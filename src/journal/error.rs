//! Why a journal cannot be opened, and what an operator does about it.

use std::{fmt, io, path::PathBuf};

/// Why a journal cannot be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open.
    #[error(
        "the journal in {dir} is in use by another process; stop that one, or name another \
         directory", dir = dir.display()
    )]
    InUse {
        /// Its directory.
        dir: PathBuf,
    },
    /// There is nothing to check.
    #[error("{dir} has no journal: it has no file META", dir = dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// A file that nothing can be read from without.
    #[error(
        "{file} {problem}; put the right one back from a copy, or move the directory away to begin \
         anew", file = file.display()
    )]
    Meta {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Files are damaged before whole records: going on would lose what was acknowledged.
    #[error(
        "{0}; nothing was changed: see `stentor journal check`, then put the file back from a copy, \
         or move it away, which loses its publications and begins its offsets anew"
    )]
    Damaged(Damage),
    /// The file system refused something.
    #[error("cannot {what} {file}: {error}", file = file.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        file: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The kernel has no io_uring for us.
    #[error("the journal needs io_uring, which this machine refuses ({0}); see `stentor doctor`")]
    Uring(io::Error),
}

/// A place in a file that is not as it was written, with whole records behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The byte at which the damage begins.
    pub at: u64,
    /// What is wrong there.
    pub problem: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.file.display(), self.at, self.problem)
    }
}
