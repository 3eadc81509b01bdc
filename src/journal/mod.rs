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

mod directory;
mod disk;
mod error;
pub mod format;
mod lane;
mod queue;
mod report;
pub mod scan;
#[cfg(test)]
mod tests;
mod thread;

use std::{path::Path, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    frame::PayloadKind,
    ids::{BUCKETS, ChannelName, Epoch},
    mesh::{Parking, Terms},
};

use directory::{Directory, all_buckets};
use disk::{Disk, UringDisk};
use lane::{End, Lane};

pub use error::{Damage, JournalError};
pub use queue::{AlreadyCompacting, Compaction, Intake, Keeper, Landed, Landing, Writer, queues};
pub use report::{Report, Summary, Torn};

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
    /// Records of each bucket up to this offset may have been dropped by a compaction; 0 for none.
    pub floors: Box<[u64; BUCKETS]>,
    /// The records of each bucket, by rising offset, those among them that retention will drop.
    pub records: Vec<Vec<Record>>,
    /// What was found.
    pub told: Summary,
}

/// An open journal.
pub struct Journal {
    directory: Directory,
    ends: Box<[Option<End>; BUCKETS]>,
    intake: Option<Intake>,
    /// See [`Shelf::looks_max`].
    looks_max: u32,
}

impl Journal {
    /// Opens the journal in a directory, which is made if it is missing, and locks it against other
    /// processes for as long as this lives. Torn tails are cut off.
    pub fn open(dir: &Path) -> Result<(Journal, Restored), JournalError> {
        // Here, since it is where the operator looks; the thread makes its own.
        drop(runtime()?);
        let directory = Directory::open(dir)?;
        let mut ends = Box::new([None; BUCKETS]);
        let mut offsets = Box::new([0; BUCKETS]);
        let mut floors = Box::new([0; BUCKETS]);
        let mut records: Vec<Vec<Record>> = (0..BUCKETS).map(|_| Vec::new()).collect();
        let report = directory.read(|bucket, scan| {
            let (at, end) = (usize::from(bucket.0), End::of(&scan));
            ends[at] = Some(end);
            (offsets[at], floors[at]) = (end.highest, scan.header.highest);
            records[at] = scan.records;
        })?;
        if let Some(damage) = report.damage.into_iter().next() {
            return Err(JournalError::Damaged(damage));
        }
        directory.mend(&report.summary.torn)?;
        let epoch = directory.epoch();
        let restored = Restored { epoch, offsets, floors, records, told: report.summary };
        let looks_max = thread::LOOKS_MAX;
        Ok((Journal { directory, ends, intake: None, looks_max }, restored))
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

    /// Who may have it rest while it runs. To be called after [`Journal::parts`].
    pub fn keeper(&self) -> Option<Keeper> {
        self.intake.as_ref().map(Intake::keeper)
    }

    /// Writes on the calling thread until every [`Writer`] was dropped and all is landed.
    pub fn run(self) -> Result<(), JournalError> {
        self.run_on(UringDisk)
    }

    fn run_on<D: Disk>(self, disk: D) -> Result<(), JournalError> {
        let Some(intake) = self.intake else { return Ok(()) };
        let (disk, looks_max) = (Rc::new(disk), self.looks_max);
        let shelf = Shelf { disk, directory: self.directory, looks_max };
        runtime()?.block_on(thread::run(intake, shelf, *self.ends))
    }
}

/// The directory and its files, from the disk that they are on.
struct Shelf<D: Disk> {
    disk: Rc<D>,
    directory: Directory,
    /// How often it is looked at while another process has it, before what waits is rejected.
    looks_max: u32,
}

impl<D: Disk> Shelf<D> {
    /// The file of every bucket, in order, where they end so.
    fn lanes(&self, ends: [Option<End>; BUCKETS]) -> impl Iterator<Item = Lane<D>> {
        let directory = &self.directory;
        all_buckets().zip(ends).map(|(bucket, end)| {
            Lane::new(Rc::clone(&self.disk), bucket, directory.epoch(), directory.path(), end)
        })
    }

    /// Unlocks the directory.
    fn release(&mut self) {
        self.directory.unlock();
    }

    /// Locks it again and reads where the files end: another process may have rewritten them.
    fn take_back(&mut self) -> Result<[Option<End>; BUCKETS], JournalError> {
        self.directory.lock_again()?;
        let mut ends = [None; BUCKETS];
        let report = self.directory.read(|bucket, scan| {
            ends[usize::from(bucket.0)] = Some(End::of(&scan));
        })?;
        match report.damage.into_iter().next() {
            Some(damage) => Err(JournalError::Damaged(damage)),
            None => self.directory.mend(&report.summary.torn).map(|()| ends),
        }
    }
}

/// Looks through the journal in a directory and changes nothing.
pub fn check(dir: &Path) -> Result<Report, JournalError> {
    Directory::look(dir)?.read(|_, _| ())
}

/// Every bucket has at most one call in the ring at a time.
fn runtime() -> Result<tokio_uring::Runtime, JournalError> {
    let mut builder = tokio_uring::builder();
    builder.entries(BUCKETS as u32);
    tokio_uring::Runtime::new(&builder).map_err(JournalError::Uring)
}

/// Files that an open journal may have open: one for each bucket, one that is being made, the lock,
/// and what its ring and its runtime need.
pub const FILES_MAX: u64 = BUCKETS as u64 + 16;
