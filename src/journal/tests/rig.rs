//! What the tests play: the shard, the operator who looks into files, and a disk that fails.

use std::{
    collections::HashSet,
    env, fs, io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use crate::{
    frame::PayloadKind,
    ids::{Bucket, ChannelName, ShardId},
    io::Bell,
    journal::{
        Journal, JournalError, Keeper, Landed, Landing, Record, Restored, Writer,
        directory::bucket_file,
        disk::{Disk, UringDisk},
        format::{self, Salt},
    },
    mesh::Parking,
};

pub const SHARD: ShardId = ShardId(0);

/// A directory that goes with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("stentor-journal-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, bucket: Bucket) -> PathBuf {
        bucket_file(&self.0, bucket)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A channel of a bucket: `news`, or another of the same or of another bucket.
pub fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// A record whose payload follows from its offset, and ends in no zero.
pub fn record(channel: &ChannelName, offset: u64) -> Record {
    Record {
        offset,
        at_ms: 1_000 + offset,
        channel: channel.clone(),
        kind: PayloadKind::Text,
        payload: Bytes::from(format!("payload {offset} of {channel}")),
        terms: None,
    }
}

/// The names of `count` channels in the bucket of `news`, that one the first.
pub fn neighbours(count: usize) -> Vec<ChannelName> {
    let bucket = channel("news").bucket();
    let others = (0..).map(|n| channel(&format!("c{n}"))).filter(|name| name.bucket() == bucket);
    [channel("news")].into_iter().chain(others).take(count).collect()
}

/// How many bytes of a file a record takes.
pub fn encoded_bytes(record: &Record) -> usize {
    let mut bytes = BytesMut::new();
    format::encode(record, Salt(0), &mut bytes).unwrap();
    bytes.len()
}

/// A running journal with one shard.
pub struct Rig {
    pub writer: Writer,
    pub landing: Arc<Landing>,
    pub keeper: Keeper,
    parking: Arc<Parking>,
    rung: mpsc::Receiver<()>,
    thread: JoinHandle<Result<(), JournalError>>,
}

impl Rig {
    pub fn start(dir: &Path) -> (Rig, Restored) {
        Rig::on(dir, 64, UringDisk)
    }

    pub fn on<D: Disk + Send>(dir: &Path, places: usize, disk: D) -> (Rig, Restored) {
        let (journal, restored) = Journal::open(dir).unwrap();
        (Rig::of(journal, places, disk), restored)
    }

    /// One that looks only once at a directory that another process has, before it rejects.
    pub fn impatient(dir: &Path) -> Rig {
        let (mut journal, _) = Journal::open(dir).unwrap();
        journal.looks_max = 1;
        Rig::of(journal, 64, UringDisk)
    }

    fn of<D: Disk + Send>(mut journal: Journal, places: usize, disk: D) -> Rig {
        let (ring, rung) = mpsc::sync_channel(1);
        let parking = Parking::new(Arc::new(ThreadBell(ring)));
        let (writer, mut landings) = journal.parts(places, &[Arc::clone(&parking)]);
        let landing = landings.remove(0);
        let keeper = journal.keeper().unwrap();
        let thread = thread::spawn(move || journal.run_on(disk));
        Rig { writer, landing, keeper, parking, rung, thread }
    }

    pub fn append(&self, records: &[Record]) {
        records.iter().for_each(|record| self.writer.append(SHARD, record.clone()).unwrap());
        self.writer.wake();
    }

    /// Waits for what becomes of the next record, as a shard does.
    pub fn landed(&self) -> Landed {
        loop {
            if let Some(landed) = self.landing.take() {
                return landed;
            }
            self.parking.park();
            if self.landing.is_empty() {
                self.rung.recv().unwrap();
            }
            self.parking.unpark();
        }
    }

    /// Appends one record and waits for it.
    pub fn write(&self, record: &Record) -> Landed {
        self.append(std::slice::from_ref(record));
        let landed = self.landed();
        assert_eq!((landed.bucket, landed.offset), (record.channel.bucket(), record.offset));
        landed
    }

    /// Waits until the bucket's compaction has ended, and ends the journal.
    pub fn end_compacted(self, bucket: Bucket) {
        while self.writer.is_compacting(bucket) {
            thread::yield_now();
        }
        self.end();
    }

    /// Ends the journal in order.
    pub fn end(self) {
        drop(self.writer);
        self.thread.join().unwrap().unwrap();
        assert!(self.landing.is_empty(), "something landed that nobody waited for");
    }
}

struct ThreadBell(mpsc::SyncSender<()>);

impl Bell for ThreadBell {
    fn ring(&self) {
        let _ = self.0.try_send(());
    }
}

/// Everything that the next start finds.
pub fn reopened(dir: &Path) -> Restored {
    Journal::open(dir).unwrap().1
}

/// The records of all buckets, in order of the buckets.
pub fn all(restored: &Restored) -> Vec<Record> {
    restored.records.iter().flatten().cloned().collect()
}

/// A call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Open,
    Create,
    Read,
    Write,
    Sync,
    Cut,
    Rename,
    Remove,
    SyncDir,
}

/// A disk that tells each call, and holds it up or lets it fail when told to. A write that fails has
/// written half.
#[derive(Clone)]
pub struct Faulty {
    faults: Arc<Mutex<Faults>>,
    gate: Arc<Semaphore>,
    tell: mpsc::Sender<(Call, usize)>,
}

#[derive(Default)]
struct Faults {
    failing: HashSet<(Call, i32)>,
    held: Option<Call>,
}

impl Faulty {
    pub fn new() -> (Faulty, mpsc::Receiver<(Call, usize)>) {
        let (tell, told) = mpsc::channel();
        let gate = Arc::new(Semaphore::new(0));
        (Faulty { faults: Arc::default(), gate, tell }, told)
    }

    /// From now on these calls fail so, and no others.
    pub fn fail(&self, calls: &[(Call, i32)]) {
        self.faults.lock().unwrap().failing = calls.iter().copied().collect();
    }

    /// From now on each such call waits for a [`Faulty::release`].
    pub fn hold(&self, call: Option<Call>) {
        self.faults.lock().unwrap().held = call;
    }

    pub fn release(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    async fn before(&self, call: Call, bytes: usize) -> io::Result<()> {
        // Before the call is told: whoever hears of it may change what is to be held.
        let is_held = self.faults.lock().unwrap().held == Some(call);
        let _ = self.tell.send((call, bytes));
        if is_held {
            self.gate.acquire().await.unwrap().forget();
        }
        let faults = self.faults.lock().unwrap();
        match faults.failing.iter().find(|(failing, _)| *failing == call) {
            Some((_, errno)) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(()),
        }
    }
}

type File = <UringDisk as Disk>::File;

impl Disk for Faulty {
    type File = File;

    async fn open(&self, path: &Path) -> io::Result<File> {
        self.before(Call::Open, 0).await?;
        UringDisk.open(path).await
    }

    async fn create(&self, path: &Path) -> io::Result<File> {
        self.before(Call::Create, 0).await?;
        UringDisk.create(path).await
    }

    async fn read(&self, file: &File, at: u64, max: usize) -> io::Result<Vec<u8>> {
        self.before(Call::Read, max).await?;
        UringDisk.read(file, at, max).await
    }

    async fn write(&self, file: &File, bytes: Bytes, at: u64) -> io::Result<()> {
        if let Err(error) = self.before(Call::Write, bytes.len()).await {
            UringDisk.write(file, bytes.slice(..bytes.len() / 2), at).await.unwrap();
            return Err(error);
        }
        UringDisk.write(file, bytes, at).await
    }

    async fn sync(&self, file: &File) -> io::Result<()> {
        self.before(Call::Sync, 0).await?;
        UringDisk.sync(file).await
    }

    async fn close(&self, file: File) {
        UringDisk.close(file).await;
    }

    async fn cut(&self, path: &Path, len: u64) -> io::Result<()> {
        self.before(Call::Cut, 0).await?;
        UringDisk.cut(path, len).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Call::Rename, 0).await?;
        UringDisk.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.before(Call::Remove, 0).await?;
        UringDisk.remove(path).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.before(Call::SyncDir, 0).await?;
        UringDisk.sync_dir(dir).await
    }
}
