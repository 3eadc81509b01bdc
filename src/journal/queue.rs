//! What shards and the journal's thread hand each other: bounded queues, places, wake-ups.
//!
//! A record holds one of its shard's places from [`Writer::append`] until the shard took what became
//! of it from its [`Landing`]. There are as many places as either queue has room, so neither can
//! overflow. Their payloads are bounded where they were let in: by the control plane and by the
//! connections that published them.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use super::Record;
use crate::{
    ids::{BUCKETS, Bucket, ChannelName, ShardId},
    mesh::{Parking, Rejected},
};

/// The shards' end of the journal. Cheap to clone; when the last one is dropped the journal writes
/// what it has and ends.
#[derive(Clone)]
pub struct Writer {
    ends: Arc<Ends>,
}

/// Drops when no shard can append any more.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.work.notify_one();
    }
}

/// What becomes of a shard's records, in order per bucket.
pub struct Landing {
    landed: ArrayQueue<Landed>,
    /// Places free: capacity less records that wait, are being written, or were not taken back.
    free: AtomicUsize,
    parking: Arc<Parking>,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed {
    /// The bucket of its channel.
    pub bucket: Bucket,
    /// Its offset.
    pub offset: u64,
    /// On the disk for good, or not at all.
    pub result: Result<(), Rejected>,
    /// Bytes of the bucket's file, for deciding whether to compact it.
    pub file_bytes: u64,
}

/// The bucket's last compaction has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bucket is being compacted already")]
pub struct AlreadyCompacting;

/// The journal's end: what there is to do, and where what became of it goes.
///
/// The thread with the disk is one that takes from it; tests and simulations may be others.
pub struct Intake {
    shared: Arc<Shared>,
}

/// What stays when a bucket's file is rewritten; everything else in it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The bucket.
    pub bucket: Bucket,
    /// The last offset of the bucket that had landed when the rest was collected. Of channels without
    /// a floor stays what is above it: the first record of such a one may still have been on its
    /// way.
    pub as_of: u64,
    /// Of each of these channels stays what is above its floor.
    pub floors: Vec<(ChannelName, u64)>,
    /// Records that stay besides: the current values of channels of latest values, among which are
    /// older ones that nobody needs.
    pub kept: Vec<u64>,
}

struct Shared {
    lines: Box<[Line]>,
    compacting: [AtomicBool; BUCKETS],
    work: Notify,
    is_closed: AtomicBool,
    phase: Mutex<Phase>,
    phase_changed: Condvar,
}

/// Whose the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Ours, and records are written.
    Works,
    /// Somebody wants it. What is under way is written, and nothing more.
    IsAskedToRest,
    /// Another process may have it. Records wait.
    Rests,
    /// It is to be had again.
    IsAskedToWork,
    /// Another process has it for good. Records are rejected.
    HasLeft,
}

/// Lends the directory of a running journal to another process, or leaves it for good.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

impl Keeper {
    /// Has the journal finish what it is writing and unlock its directory. Records that come
    /// meanwhile wait in their places. Says whether it rests within `wait`; it works on otherwise.
    pub fn rest(&self, wait: Duration) -> bool {
        self.shared.set(Phase::IsAskedToRest);
        let phase = self.shared.phase();
        let rested = self
            .shared
            .phase_changed
            .wait_timeout_while(phase, wait, |phase| *phase == Phase::IsAskedToRest);
        let (mut phase, _) = rested.unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::IsAskedToRest {
            *phase = Phase::IsAskedToWork;
            self.shared.work.notify_one();
        }
        *phase == Phase::Rests
    }

    /// Has it lock its directory again, as soon as nobody else does, and read where its files end.
    pub fn work(&self) {
        self.shared.set(Phase::IsAskedToWork);
    }

    /// The directory is somebody else's now: whatever waits, or comes, is rejected.
    pub fn leave(&self) {
        self.shared.set(Phase::HasLeft);
    }
}

impl Shared {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        *self.phase() = phase;
        self.phase_changed.notify_all();
        self.work.notify_one();
    }
}

/// One shard's queues.
struct Line {
    records: ArrayQueue<Record>,
    compactions: ArrayQueue<Compaction>,
    landing: Arc<Landing>,
}

/// Both ends, with `capacity` places for each of the shards that `parkings` wake.
pub fn queues(capacity: usize, parkings: &[Arc<Parking>]) -> (Writer, Vec<Arc<Landing>>, Intake) {
    let landing = |parking: &Arc<Parking>| {
        Arc::new(Landing {
            landed: ArrayQueue::new(capacity),
            free: AtomicUsize::new(capacity),
            parking: Arc::clone(parking),
        })
    };
    let landings: Vec<_> = parkings.iter().map(landing).collect();
    let line = |landing: &Arc<Landing>| Line {
        records: ArrayQueue::new(capacity),
        compactions: ArrayQueue::new(BUCKETS),
        landing: Arc::clone(landing),
    };
    let shared = Arc::new(Shared {
        lines: landings.iter().map(line).collect(),
        compacting: [const { AtomicBool::new(false) }; BUCKETS],
        work: Notify::new(),
        is_closed: AtomicBool::new(false),
        phase: Mutex::new(Phase::Works),
        phase_changed: Condvar::new(),
    });
    let writer = Writer { ends: Arc::new(Ends(Arc::clone(&shared))) };
    (writer, landings, Intake { shared })
}

impl Writer {
    /// Hands over a record of a bucket whose home is `shard`; gives it back if every place is taken.
    /// Offsets rise within a bucket. The journal is not woken: call [`Writer::wake`] after the last
    /// record of a batch.
    pub fn append(&self, shard: ShardId, record: Record) -> Result<(), Record> {
        let line = self.line(shard);
        let take_one = |free: usize| free.checked_sub(1);
        match line.landing.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take_one) {
            Ok(_) => line.records.push(record),
            Err(_) => Err(record),
        }
    }

    /// Asks to rewrite a bucket's file without what is not kept: of each channel named in `floors`
    /// stays only what is above its floor, of the others only what is above `as_of`. See
    /// [`Writer::compact_to`].
    pub fn compact(
        &self,
        shard: ShardId,
        bucket: Bucket,
        as_of: u64,
        floors: Vec<(ChannelName, u64)>,
    ) -> Result<(), AlreadyCompacting> {
        self.compact_to(shard, Compaction { bucket, as_of, floors, kept: Vec::new() })
    }

    /// Asks to rewrite a bucket's file. Refused while the bucket's last compaction runs, or, where
    /// that failed, until its file has grown by an eighth.
    pub fn compact_to(
        &self,
        shard: ShardId,
        compaction: Compaction,
    ) -> Result<(), AlreadyCompacting> {
        if self.compacting(compaction.bucket).swap(true, Ordering::AcqRel) {
            return Err(AlreadyCompacting);
        }
        let pushed = self.line(shard).compactions.push(compaction);
        assert!(pushed.is_ok(), "there is room for one compaction of each bucket");
        self.wake();
        Ok(())
    }

    /// Whether [`Writer::compact`] would be refused: to be asked before floors are collected.
    pub fn is_compacting(&self, bucket: Bucket) -> bool {
        self.compacting(bucket).load(Ordering::Acquire)
    }

    /// Wakes the journal if it waits: once per batch of records, after the last.
    pub fn wake(&self) {
        self.ends.0.work.notify_one();
    }

    fn line(&self, shard: ShardId) -> &Line {
        &self.ends.0.lines[usize::from(shard.0)]
    }

    fn compacting(&self, bucket: Bucket) -> &AtomicBool {
        &self.ends.0.compacting[usize::from(bucket.0)]
    }
}

impl Landing {
    /// The shard takes the oldest, which frees a place.
    pub fn take(&self) -> Option<Landed> {
        let landed = self.landed.pop()?;
        self.free.fetch_add(1, Ordering::AcqRel);
        Some(landed)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.landed.is_empty()
    }
}

impl Intake {
    /// Every shard, in order.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shared.lines.len()).map(|shard| ShardId(shard as u16))
    }

    /// Takes a shard's oldest record. It must be landed.
    pub fn take(&self, shard: ShardId) -> Option<Record> {
        self.line(shard).records.pop()
    }

    /// Takes a shard's oldest compaction. [`Intake::compacted`] must be called when it has ended.
    pub fn take_compaction(&self, shard: ShardId) -> Option<Compaction> {
        self.line(shard).compactions.pop()
    }

    /// Tells a shard what became of one of its records. [`Intake::wake`] makes it known.
    pub fn land(&self, shard: ShardId, landed: Landed) {
        let pushed = self.line(shard).landing.landed.push(landed);
        assert!(pushed.is_ok(), "landed without a record: every place has room for one");
    }

    /// Wakes a shard if it is parked.
    pub fn wake(&self, shard: ShardId) {
        self.line(shard).landing.parking.wake();
    }

    /// The bucket may be compacted again.
    pub fn compacted(&self, bucket: Bucket) {
        self.shared.compacting[usize::from(bucket.0)].store(false, Ordering::Release);
    }

    /// Whether nothing will be appended any more. What was waits in the queues.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Who may ask the journal to rest.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper { shared: Arc::clone(&self.shared) }
    }

    /// Whose the directory is.
    pub(super) fn phase(&self) -> Phase {
        *self.shared.phase()
    }

    /// Goes from one phase to another, unless it was asked for something else meanwhile.
    pub(super) fn pass(&self, from: Phase, to: Phase) {
        let mut phase = self.shared.phase();
        if *phase == from {
            *phase = to;
            self.shared.phase_changed.notify_all();
        }
    }

    /// Waits until a shard has woken the journal.
    pub(super) async fn wait(&self) {
        self.shared.work.notified().await;
    }

    /// Lets [`Intake::wait`] return.
    pub(super) fn nudge(&self) {
        self.shared.work.notify_one();
    }

    fn line(&self, shard: ShardId) -> &Line {
        &self.shared.lines[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use bytes::Bytes;

    use super::*;
    use crate::{frame::PayloadKind, io::Bell};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Bell for Count {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record(offset: u64) -> Record {
        Record {
            offset,
            at_ms: 0,
            channel: ChannelName::new("a").unwrap(),
            kind: PayloadKind::Text,
            payload: Bytes::new(),
            terms: None,
        }
    }

    const SHARD: ShardId = ShardId(0);
    const BUCKET: Bucket = Bucket(192);

    /// A place is taken from the append until the shard took back what became of the record.
    #[test]
    fn places_are_bounded_from_append_to_landing() {
        let (writer, landings, intake) = queues(2, &[Parking::new(Arc::new(Count::default()))]);
        let landed = |offset| Landed { bucket: BUCKET, offset, result: Ok(()), file_bytes: 9 };
        assert_eq!([1, 2].map(|n| writer.append(SHARD, record(n))), [Ok(()), Ok(())]);
        assert_eq!(writer.append(SHARD, record(3)), Err(record(3)));
        assert_eq!(intake.take(SHARD), Some(record(1)));
        assert_eq!(writer.append(SHARD, record(3)), Err(record(3)), "taken, but not landed");
        intake.land(SHARD, landed(1));
        assert_eq!(writer.append(SHARD, record(3)), Err(record(3)), "landed, but not heard");
        assert_eq!(landings[0].take(), Some(landed(1)));
        assert_eq!(writer.append(SHARD, record(3)), Ok(()));
        assert!(landings[0].is_empty());
    }

    /// A bucket has one compaction at a time, and all buckets may have one at once.
    #[test]
    fn a_bucket_is_compacted_once_at_a_time() {
        let (writer, _landings, intake) = queues(1, &[Parking::new(Arc::new(Count::default()))]);
        for bucket in 0..=255 {
            assert_eq!(writer.compact(SHARD, Bucket(bucket), 7, vec![]), Ok(()));
        }
        assert_eq!(writer.compact(SHARD, BUCKET, 8, vec![]), Err(AlreadyCompacting));
        let first = Compaction { bucket: Bucket(0), as_of: 7, floors: vec![], kept: vec![] };
        assert_eq!(intake.take_compaction(SHARD), Some(first));
        assert!(writer.is_compacting(Bucket(0)), "taken, but not ended");
        intake.compacted(Bucket(0));
        assert!(!writer.is_compacting(Bucket(0)) && writer.is_compacting(BUCKET));
        assert_eq!(writer.compact(SHARD, Bucket(0), 8, vec![]), Ok(()));
    }

    /// The journal ends with the last of its writers, a parked shard is woken, and one that is awake
    /// is not.
    #[test]
    fn the_last_writer_closes() {
        let bell = Arc::new(Count::default());
        let parking = Parking::new(Arc::clone(&bell) as _);
        let (writer, _landings, intake) = queues(1, &[Arc::clone(&parking)]);
        let other = writer.clone();
        drop(writer);
        assert!(!intake.is_closed());
        drop(other);
        assert!(intake.is_closed());
        intake.wake(SHARD);
        assert_eq!(bell.0.load(Ordering::Relaxed), 0);
        parking.park();
        intake.wake(SHARD);
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    }
}
