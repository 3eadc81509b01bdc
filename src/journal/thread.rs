//! The journal's thread: gives every bucket that has something to do a task of its own.
//!
//! A task writes what waits for its bucket as one group, lands it, and looks again; it ends when
//! nothing waits. So a bucket's records are in order, its next group gathers while this one is
//! synced, and no bucket waits for another. One compaction runs at a time, whatever the bucket: it
//! takes a file more, and up to its bucket's size of the disk.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use super::{
    Record,
    disk::Disk,
    lane::Lane,
    queue::{Compaction, Intake, Landed},
};
use crate::{ids::ShardId, limits::JOURNAL_GROUP_BYTES_MAX};

/// Works until nothing can come any more and all is landed. `lanes` has one of each bucket, in
/// order.
pub async fn run<D: Disk>(intake: Intake, lanes: Vec<Lane<D>>) {
    let places = lanes.into_iter().map(Place::new).collect();
    let desk =
        Rc::new(Desk { intake, places, busy: Cell::new(0), is_compacting: Cell::new(false) });
    loop {
        // Looked at before the queues: what was appended before the end is seen after it.
        let is_closed = desk.intake.is_closed();
        desk.gather_records();
        if !is_closed {
            // One that has not begun can wait for the next start.
            desk.gather_compaction();
        }
        if is_closed && desk.busy.get() == 0 {
            return;
        }
        desk.intake.wait().await;
    }
}

struct Desk<D: Disk> {
    intake: Intake,
    places: Vec<Place<D>>,
    /// Tasks that run.
    busy: Cell<u32>,
    is_compacting: Cell<bool>,
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
