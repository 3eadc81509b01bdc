//! The journal's disk: files in memory, synced in groups, and torn where the power fails.
//!
//! Records stand in it in the journal's own format. What was written and not synced may be there
//! after a crash in part, or not at all; what was synced is there.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::BytesMut;
use stentor::{
    ids::{Bucket, Epoch, ShardId},
    io::sim::Dice,
    journal::{
        Compaction, Intake, Landed, Landing, Record, Writer,
        format::{Header, Salt, encode},
        queues,
        scan::Scan,
    },
    mesh::{Parking, Rejected},
    shard::Heritage,
};

/// The disk, which outlives its server.
pub struct Disk {
    /// The numbering of what it keeps.
    pub epoch: Epoch,
    files: BTreeMap<u8, File>,
    intake: Option<Intake>,
    salts: u64,
    is_full: bool,
    /// What the server is told of a file's size besides the truth.
    extra_bytes: u64,
    /// Compactions that were carried out.
    pub compactions: usize,
}

#[derive(Default)]
struct File {
    bytes: BytesMut,
    /// The first so many bytes are synced.
    synced: usize,
    salt: u64,
    highest: u64,
    /// Taken from a shard, not written yet.
    waiting: VecDeque<(ShardId, Record)>,
    /// Written, not synced yet.
    written: Vec<(ShardId, u64)>,
    compaction: Option<Compaction>,
}

impl Disk {
    /// An empty disk.
    pub fn new(epoch: Epoch, compacts: bool) -> Disk {
        let extra_bytes = if compacts { 8 << 20 } else { 0 };
        let files = BTreeMap::new();
        Disk { epoch, files, intake: None, salts: 0, is_full: false, extra_bytes, compactions: 0 }
    }

    /// A server has begun. Gives the ends of its shards.
    pub fn attach(
        &mut self,
        places: usize,
        parkings: &[Arc<Parking>],
    ) -> (Writer, Vec<Arc<Landing>>) {
        let (writer, landings, intake) = queues(places, parkings);
        self.intake = Some(intake);
        (writer, landings)
    }

    /// The disk is full, or has room again.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Does a part of what there is to do. Says whether there was anything.
    pub fn step(&mut self, dice: &mut Dice) -> bool {
        let Some(intake) = &self.intake else { return false };
        let mut worked = false;
        for shard in intake.shards() {
            while let Some(record) = intake.take(shard) {
                let file = self.files.entry(record.channel.bucket().0).or_default();
                file.waiting.push_back((shard, record));
                worked = true;
            }
            while let Some(compaction) = intake.take_compaction(shard) {
                let file = self.files.entry(compaction.bucket.0).or_default();
                file.compaction = Some(compaction);
                worked = true;
            }
        }
        for (&bucket, file) in &mut self.files {
            worked |= !file.is_idle();
            if dice.one_in(2) {
                continue;
            }
            let bucket = Bucket(bucket);
            if !file.written.is_empty() {
                file.sync(bucket, intake, self.extra_bytes);
            } else if self.is_full && !file.waiting.is_empty() {
                file.refuse(bucket, intake, self.extra_bytes);
            } else if let Some(compaction) = file.compaction.take() {
                self.salts += 1;
                file.compact(&compaction, self.epoch, self.salts);
                self.compactions += 1;
                intake.compacted(bucket);
            } else if !file.waiting.is_empty() {
                self.salts += 1;
                let count = 1 + dice.below(file.waiting.len());
                file.write(bucket, self.epoch, self.salts, count);
            }
        }
        worked
    }

    /// The server is gone and the power failed: of what was not synced a part is there.
    pub fn crash(&mut self, dice: &mut Dice) {
        self.intake = None;
        for file in self.files.values_mut() {
            let torn = dice.below(file.bytes.len() - file.synced + 1);
            file.bytes.truncate(file.synced + torn);
            (file.waiting, file.written, file.compaction) = Default::default();
        }
    }

    /// What the next server finds: of each bucket its last offset and its records. Torn tails are
    /// cut off.
    pub fn recover(&mut self) -> Vec<(Bucket, Heritage)> {
        let mut found = Vec::new();
        for (&bucket, file) in &mut self.files {
            if file.bytes.is_empty() {
                continue;
            }
            let scan = Scan::of(&file.bytes, Bucket(bucket), self.epoch)
                .unwrap_or_else(|broken| panic!("the file of bucket {bucket}: {broken:?}"));
            file.bytes.truncate(scan.end as usize);
            (file.synced, file.highest) = (file.bytes.len(), scan.highest());
            let floor = scan.header.highest;
            let heritage = Heritage { last: file.highest, floor, records: scan.records };
            found.push((Bucket(bucket), heritage));
        }
        found
    }
}

impl File {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.written.is_empty() && self.compaction.is_none()
    }

    fn begin(&mut self, bucket: Bucket, epoch: Epoch, salt: u64) {
        // Any salt will do as long as no payload has it.
        self.salt = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let header = Header { bucket, epoch, salt: Salt(self.salt), highest: self.highest };
        self.bytes.clear();
        self.bytes.extend_from_slice(&header.encode());
        self.synced = self.bytes.len();
    }

    fn write(&mut self, bucket: Bucket, epoch: Epoch, salt: u64, count: usize) {
        if self.bytes.is_empty() {
            self.begin(bucket, epoch, salt);
        }
        for (shard, record) in self.waiting.drain(..count) {
            assert!(record.offset > self.highest, "offsets rise within a bucket: {record:?}");
            self.highest = record.offset;
            encode(&record, Salt(self.salt), &mut self.bytes).expect("it is small");
            self.written.push((shard, record.offset));
        }
    }

    fn sync(&mut self, bucket: Bucket, intake: &Intake, extra_bytes: u64) {
        self.synced = self.bytes.len();
        let file_bytes = self.synced as u64 + extra_bytes;
        for (shard, offset) in self.written.drain(..) {
            intake.land(shard, Landed { bucket, offset, result: Ok(()), file_bytes });
            intake.wake(shard);
        }
    }

    fn refuse(&mut self, bucket: Bucket, intake: &Intake, extra_bytes: u64) {
        let (file_bytes, result) = (self.synced as u64 + extra_bytes, Err(Rejected::DiskFull));
        for (shard, record) in self.waiting.drain(..) {
            intake.land(shard, Landed { bucket, offset: record.offset, result, file_bytes });
            intake.wake(shard);
        }
    }

    /// Writes the file anew, at once: a crash finds the old one or the new one.
    fn compact(&mut self, compaction: &Compaction, epoch: Epoch, salt: u64) {
        if self.bytes.is_empty() {
            return;
        }
        let scan = Scan::of(&self.bytes, compaction.bucket, epoch).expect("it is whole");
        self.begin(compaction.bucket, epoch, salt);
        for record in scan.records {
            let mut floors = compaction.floors.iter();
            let floor = floors.find(|(name, _)| *name == record.channel).map(|(_, floor)| *floor);
            let is_value = compaction.kept.contains(&record.offset);
            if is_value || record.offset > floor.unwrap_or(compaction.as_of) {
                encode(&record, Salt(self.salt), &mut self.bytes).expect("it is small");
            }
        }
        self.synced = self.bytes.len();
    }
}
