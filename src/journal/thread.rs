//! The journal's thread: gives every bucket that has something to do a task of its own.
//!
//! A task writes what waits for its bucket as one group, lands it, and looks again; it ends when
//! nothing waits. So a bucket's records are in order, its next group gathers while this one is
//! synced, and no bucket waits for another. One compaction runs at a time, whatever the bucket: it
//! takes a file more, and up to its bucket's size of the disk.
//!
//! The directory can be lent: then what is under way is ended, files are closed and the lock is let
//! go, and records wait in their queues until it is ours again. They are rejected if it never will
//! be, and while it is not to be had back.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use super::{
    JournalError, Record, Shelf,
    disk::Disk,
    lane::{End, Lane},
    queue::{Compaction, Intake, Landed, Phase},
};
use crate::{
    ids::{BUCKETS, ShardId},
    limits::JOURNAL_GROUP_BYTES_MAX,
    logs::limited,
    mesh::Rejected,
};

/// Works until nothing can come any more and all is landed.
pub async fn run<D: Disk>(
    intake: Intake,
    mut shelf: Shelf<D>,
    ends: [Option<End>; BUCKETS],
) -> Result<(), JournalError> {
    let places = shelf.lanes(ends).map(Place::new).collect();
    let (busy, is_compacting, looks) = Default::default();
    let desk = Rc::new(Desk { intake, places, busy, is_compacting, looks });
    loop {
        // Looked at before the queues: what was appended before the end is seen after it.
        let is_closed = desk.intake.is_closed();
        match desk.intake.phase() {
            Phase::Works => {
                desk.gather_records();
                if !is_closed {
                    // One that has not begun can wait for the next start.
                    desk.gather_compaction();
                }
            }
            Phase::HasLeft => desk.reject_all(Rejected::HandedOver),
            // What is under way is ended first, and wakes us then.
            _ if desk.busy.get() > 0 => {}
            Phase::IsAskedToRest => desk.rest(&mut shelf).await,
            Phase::IsAskedToWork => desk.work_again(&mut shelf).await,
            Phase::Rests => {}
        }
        if is_closed && desk.busy.get() == 0 {
            return Ok(());
        }
        desk.intake.wait().await;
    }
}

/// How long to wait before a directory is looked at again that another process has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The same where it cannot be used: to find that out, all of it may have been read.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How often a directory that another process has is looked at while records wait: for ten seconds.
pub(super) const LOOKS_MAX: u32 = 200;

struct Desk<D: Disk> {
    intake: Intake,
    places: Vec<Place<D>>,
    /// Tasks that run.
    busy: Cell<u32>,
    is_compacting: Cell<bool>,
    /// How often the directory was not to be had back.
    looks: Cell<u32>,
}

/// A bucket and what waits for it: at most as many records as all shards have places.
struct Place<D: Disk> {
    /// Away while its task has it.
    lane: RefCell<Option<Lane<D>>>,
    records: RefCell<VecDeque<(ShardId, Record)>>,
    compaction: RefCell<Option<Compaction>>,
    /// After a compaction: the length of the file from which on another may be asked for.
    again_at: Cell<Option<u64>>,
}

impl<D: Disk> Place<D> {
    fn new(lane: Lane<D>) -> Self {
        Place {
            lane: RefCell::new(Some(lane)),
            records: RefCell::default(),
            compaction: RefCell::default(),
            again_at: Cell::default(),
        }
    }

    /// What waits, as far as one group may go.
    fn take_group(&self) -> (Vec<ShardId>, Vec<Record>) {
        let mut waiting = self.records.borrow_mut();
        let mut bytes = 0;
        let group = waiting.iter().take_while(|(_, record)| {
            let is_in = bytes < JOURNAL_GROUP_BYTES_MAX;
            bytes += record.payload.len();
            is_in
        });
        let count = group.count();
        waiting.drain(..count).unzip()
    }
}

impl<D: Disk> Desk<D> {
    /// Takes all that shards have handed over, and starts the tasks of those buckets that rest.
    fn gather_records(self: &Rc<Self>) {
        for shard in self.intake.shards() {
            while let Some(record) = self.intake.take(shard) {
                let at = usize::from(record.channel.bucket().0);
                self.places[at].records.borrow_mut().push_back((shard, record));
                self.start(at);
            }
        }
    }

    /// Lets go of the directory.
    async fn rest(&self, shelf: &mut Shelf<D>) {
        for place in &self.places {
            // Nobody is at work, so every lane is in its place.
            let lane = place.lane.take();
            if let Some(mut lane) = lane {
                lane.close().await;
                place.lane.replace(Some(lane));
            }
        }
        shelf.release();
        self.looks.set(0);
        self.intake.pass(Phase::IsAskedToRest, Phase::Rests);
        self.intake.nudge();
    }

    /// Takes the directory again, if nobody else has it now, and goes on where its files end. Whatever
    /// is wrong with it, those who only read lose nothing by it, so that it is tried until it is well.
    async fn work_again(&self, shelf: &mut Shelf<D>) {
        // It may never have been let go of.
        shelf.release();
        match shelf.take_back() {
            Ok(ends) => {
                for (place, lane) in self.places.iter().zip(shelf.lanes(ends)) {
                    place.lane.replace(Some(lane));
                }
                self.intake.pass(Phase::IsAskedToWork, Phase::Works);
                if self.looks.take() > 0 {
                    tracing::info!("journal {}: is ours again", shelf.directory.path().display());
                }
            }
            Err(error) => {
                // An operator may have to look at it, or to mend it.
                shelf.release();
                self.on_kept_away(&error, shelf.looks_max).await;
            }
        }
        self.intake.nudge();
    }

    /// The directory is not to be had back now. Who waits is told so at once, unless all that is wrong
    /// is that another process has yet to let it go.
    async fn on_kept_away(&self, error: &JournalError, looks_max: u32) {
        let is_in_use = matches!(error, JournalError::InUse { .. });
        self.looks.set(self.looks.get().saturating_add(1));
        if is_in_use && self.looks.get() < looks_max {
            return tokio::time::sleep(LOOK_AGAIN).await;
        }
        limited!(
            error,
            "journal",
            "cannot take back the journal that was lent: {error}; it is tried again, and \
             publications to kept channels are rejected until then"
        );
        self.reject_all(Rejected::JournalFailed);
        tokio::time::sleep(if is_in_use { LOOK_AGAIN } else { TRY_AGAIN }).await;
    }

    /// Tells everybody who waits why nothing is written.
    fn reject_all(&self, why: Rejected) {
        for shard in self.intake.shards() {
            while let Some(record) = self.intake.take(shard) {
                let bucket = record.channel.bucket();
                let landed =
                    Landed { bucket, offset: record.offset, result: Err(why), file_bytes: 0 };
                self.intake.land(shard, landed);
            }
            self.intake.wake(shard);
        }
    }

    /// Begins the next compaction, if none runs. The others stay in their queues.
    fn gather_compaction(self: &Rc<Self>) {
        if self.is_compacting.get() {
            return;
        }
        let mut shards = self.intake.shards();
        let next = shards.find_map(|shard| self.intake.take_compaction(shard));
        if let Some(compaction) = next {
            let at = usize::from(compaction.bucket.0);
            self.places[at].compaction.replace(Some(compaction));
            self.is_compacting.set(true);
            self.start(at);
        }
    }

    fn start(self: &Rc<Self>, at: usize) {
        let Some(lane) = self.places[at].lane.take() else { return };
        self.busy.set(self.busy.get() + 1);
        let desk = Rc::clone(self);
        tokio_uring::spawn(async move { desk.work(at, lane).await });
    }

    /// Groups and compactions by turns, so that neither keeps the other waiting for ever.
    async fn work(&self, at: usize, mut lane: Lane<D>) {
        let place = &self.places[at];
        loop {
            let (shards, records) = place.take_group();
            let compaction = place.compaction.take();
            if records.is_empty() && compaction.is_none() {
                break;
            }
            if !records.is_empty() {
                self.commit(&mut lane, &shards, &records).await;
            }
            if let Some(compaction) = compaction {
                let is_done = lane.compact(&compaction).await;
                let bytes = lane.file_bytes();
                place.again_at.set(Some(if is_done { 0 } else { bytes + bytes / 8 }));
                self.is_compacting.set(false);
                self.intake.nudge();
            }
            if place.again_at.get().is_some_and(|again_at| lane.file_bytes() >= again_at) {
                place.again_at.set(None);
                self.intake.compacted(lane.bucket());
            }
        }
        place.lane.replace(Some(lane));
        self.busy.set(self.busy.get() - 1);
        if self.busy.get() == 0 {
            self.intake.nudge();
        }
    }

    async fn commit(&self, lane: &mut Lane<D>, shards: &[ShardId], records: &[Record]) {
        let results = lane.commit(records).await;
        let (bucket, file_bytes) = (lane.bucket(), lane.file_bytes());
        for ((&shard, record), result) in shards.iter().zip(records).zip(results) {
            self.intake.land(shard, Landed { bucket, offset: record.offset, result, file_bytes });
        }
        let mut last = None;
        for &shard in shards {
            if last.replace(shard) != Some(shard) {
                self.intake.wake(shard);
            }
        }
    }
}
