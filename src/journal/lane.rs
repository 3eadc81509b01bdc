//! One bucket's file: writing behind its end, healing after a write that failed, compacting.
//!
//! The file's first `len` bytes are synced and whole. A write that fails is cut off before the next
//! begins, so a full disk heals when there is room again. A sync that fails is
//! another thing: the kernel may have dropped what it could not write, and says so once. From
//! then on nothing of this bucket is accepted until the journal is opened again.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Record,
    directory::{bucket_file, new_file, new_salt},
    disk::Disk,
    format::{self, Found, HEADER_BYTES, Header, Salt},
    queue::Compaction,
    scan::Scan,
};
use crate::{
    ids::{Bucket, Epoch},
    limits::JOURNAL_COPY_BYTES,
    logs::limited,
    mesh::Rejected,
};

/// A bucket's file.
pub struct Lane<D: Disk> {
    disk: Rc<D>,
    bucket: Bucket,
    epoch: Epoch,
    dir: PathBuf,
    end: End,
    /// Opened with the first write, and then kept.
    file: Option<D::File>,
    state: State,
    /// Whether the log has been told of a failure, and not of its end.
    is_told: bool,
}

/// Where a file ends, and what its next record must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Bytes of the file; 0 if there is none.
    pub len: u64,
    /// The file's salt.
    pub salt: Salt,
    /// The highest offset that the bucket was given.
    pub highest: u64,
}

impl End {
    /// Where a file that was read ends.
    pub fn of(scan: &Scan) -> End {
        End { len: scan.end, salt: scan.header.salt, highest: scan.highest() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The file ends where it should.
    Well,
    /// There are bytes behind its end.
    Ragged,
    /// Nobody knows what is on the disk.
    Lost,
}

/// What went wrong, and how.
struct Trouble {
    what: &'static str,
    error: io::Error,
    state: State,
}

impl<D: Disk> Lane<D> {
    /// The file of a bucket that was found to end so; `None` if it has none.
    pub fn new(disk: Rc<D>, bucket: Bucket, epoch: Epoch, dir: &Path, end: Option<End>) -> Self {
        let end = end.unwrap_or_else(|| End { len: 0, salt: new_salt(), highest: 0 });
        let (state, dir) = (State::Well, dir.to_owned());
        Lane { disk, bucket, epoch, dir, end, file: None, state, is_told: false }
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.end.len
    }

    /// Which one.
    pub fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// Writes and syncs the records together; tells of each whether it is there for good.
    pub async fn commit(&mut self, records: &[Record]) -> Vec<Result<(), Rejected>> {
        // Before anything is encoded: a new file has a new salt.
        if let Err(trouble) = self.ready().await {
            return vec![Err(self.on_trouble(trouble)); records.len()];
        }
        let (mut bytes, mut highest) = (BytesMut::new(), self.end.highest);
        let mut fits = Vec::with_capacity(records.len());
        for record in records {
            let rises = record.offset > highest;
            fits.push(rises && format::encode(record, self.end.salt, &mut bytes).is_ok());
            match fits.last() {
                Some(true) => highest = record.offset,
                _ => limited!(
                    error,
                    "journal",
                    "journal: the record {} of {} is too large, or does not follow {highest}",
                    record.offset,
                    record.channel
                ),
            }
        }
        let outcome = match bytes.is_empty() {
            true => Ok(()),
            false => self.write(bytes.freeze(), highest).await,
        };
        let outcome = outcome.map_err(|trouble| self.on_trouble(trouble));
        fits.into_iter().map(|fits| if fits { outcome } else { Err(JOURNAL_FAILED) }).collect()
    }

    /// Rewrites the file without what is not kept. Whatever fails before the new file has taken the
    /// old one's place leaves the old one as it was; `false` then.
    pub async fn compact(&mut self, compaction: &Compaction) -> bool {
        if self.end.len == 0 {
            return true;
        }
        let compacted = match self.ready().await {
            Ok(()) => self.replace(Some(compaction)).await,
            Err(trouble) => Err(trouble),
        };
        compacted.map_err(|trouble| self.on_trouble(trouble)).is_ok()
    }

    /// Closes the file, which nobody writes from here any more.
    pub async fn close(&mut self) {
        if let Some(file) = self.file.take() {
            self.disk.close(file).await;
        }
    }

    async fn write(&mut self, bytes: Bytes, highest: u64) -> Result<(), Trouble> {
        let file = self.file.as_ref().expect("opened by ready");
        let len = bytes.len() as u64;
        if let Err(error) = self.disk.write(file, bytes, self.end.len).await {
            self.state = State::Ragged;
            return match self.cut().await {
                Err(trouble) if trouble.state == State::Lost => Err(trouble),
                // If it could not be cut, that is tried again before the next write.
                _ => Err(self.trouble("write", error)),
            };
        }
        if let Err(error) = self.disk.sync(file).await {
            // What was refused should not come back, as far as that can still be had.
            let _ = self.disk.cut(&self.path(), self.end.len).await;
            return Err(lost("sync", error));
        }
        self.end = End { len: self.end.len + len, highest, ..self.end };
        if self.is_told {
            self.is_told = false;
            limited!(info, "journal", "journal: {} can be written again", self.path().display());
        }
        Ok(())
    }

    /// Opens the file, or makes it, and sees to it that it ends where it should.
    async fn ready(&mut self) -> Result<(), Trouble> {
        if self.state == State::Lost {
            let error = io::Error::other("it failed before, and must be opened again");
            return Err(lost("write", error));
        }
        if self.end.len == 0 {
            return self.replace(None).await;
        }
        if self.file.is_none() {
            let file = self.disk.open(&self.path()).await;
            self.file = Some(file.map_err(|error| self.trouble("open", error))?);
        }
        match self.state {
            State::Ragged => self.cut().await,
            _ => Ok(()),
        }
    }

    /// Cuts off what a failed write has left, for good: it was refused, and must not come back.
    async fn cut(&mut self) -> Result<(), Trouble> {
        let cut = self.disk.cut(&self.path(), self.end.len).await;
        cut.map_err(|error| self.trouble("cut", error))?;
        let file = self.file.as_ref().expect("it was written to");
        self.disk.sync(file).await.map_err(|error| lost("sync", error))?;
        self.state = State::Well;
        Ok(())
    }

    /// Puts a new file in the place of the old one, with what a compaction keeps, or with nothing.
    async fn replace(&mut self, compaction: Option<&Compaction>) -> Result<(), Trouble> {
        let (path, new) = (self.path(), new_file(&self.dir, self.bucket));
        let (file, end) = match self.write_new(&new, compaction).await {
            Ok(written) => written,
            Err(error) => {
                let _ = self.disk.remove(&new).await;
                return Err(self.trouble("rewrite", error));
            }
        };
        if let Err(error) = self.disk.rename(&new, &path).await {
            let _ = self.disk.remove(&new).await;
            return Err(self.trouble("replace", error));
        }
        // From here on the old file has no name, and a crash may still give it back.
        if let Err(error) = self.disk.sync_dir(&self.dir).await {
            return Err(lost("sync the directory of", error));
        }
        if let Some(old) = self.file.replace(file) {
            self.disk.close(old).await;
        }
        self.end = end;
        Ok(())
    }

    async fn write_new(
        &self,
        new: &Path,
        compaction: Option<&Compaction>,
    ) -> io::Result<(D::File, End)> {
        let end = End { len: 0, salt: new_salt(), highest: self.end.highest };
        let header =
            Header { bucket: self.bucket, epoch: self.epoch, salt: end.salt, highest: end.highest };
        let file = self.disk.create(new).await?;
        let mut copy = Copy { disk: &*self.disk, file: &file, end, out: BytesMut::new() };
        copy.out.extend_from_slice(&header.encode());
        if let (Some(compaction), Some(old)) = (compaction, &self.file) {
            self.copy_kept(old, compaction, &mut copy).await?;
        }
        copy.flush().await?;
        let end = copy.end;
        self.disk.sync(&file).await?;
        Ok((file, end))
    }

    async fn copy_kept(
        &self,
        old: &D::File,
        compaction: &Compaction,
        copy: &mut Copy<'_, D>,
    ) -> io::Result<()> {
        let floors: HashMap<_, _> =
            compaction.floors.iter().map(|(name, at)| (name, *at)).collect();
        let kept: HashSet<u64> = compaction.kept.iter().copied().collect();
        let is_kept = |record: &Record| {
            let floor = floors.get(&record.channel).unwrap_or(&compaction.as_of);
            record.offset > *floor || kept.contains(&record.offset)
        };
        let (mut at, mut waiting) = (HEADER_BYTES as u64, BytesMut::new());
        while at < self.end.len {
            let max = (self.end.len - at).min(JOURNAL_COPY_BYTES as u64) as usize;
            let read = self.disk.read(old, at, max).await?;
            if read.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += read.len() as u64;
            waiting.extend_from_slice(&read);
            while let Found::Record(record, bytes) = self.next(&waiting)? {
                waiting.advance(bytes);
                if is_kept(&record) {
                    copy.push(&record).await?;
                }
            }
        }
        match waiting.is_empty() {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "a record is cut off")),
        }
    }

    fn next(&self, bytes: &[u8]) -> io::Result<Found> {
        match format::decode(bytes, self.end.salt) {
            Found::Bad(problem) => Err(io::Error::new(io::ErrorKind::InvalidData, problem)),
            found => Ok(found),
        }
    }

    fn path(&self) -> PathBuf {
        bucket_file(&self.dir, self.bucket)
    }

    /// Trouble that changes nothing about the file.
    fn trouble(&self, what: &'static str, error: io::Error) -> Trouble {
        Trouble { what, error, state: self.state }
    }

    /// Tells the log once, and the publishers in their words.
    fn on_trouble(&mut self, trouble: Trouble) -> Rejected {
        let Trouble { what, error, state } = trouble;
        let gets_worse = state == State::Lost && self.state != State::Lost;
        if !self.is_told || gets_worse {
            let path = self.path();
            let path = path.display();
            match state {
                State::Lost => limited!(
                    error,
                    "journal",
                    "journal: cannot {what} {path}: {error}; nothing of this bucket is accepted \
                     until the next start"
                ),
                _ => {
                    limited!(error, "journal", "journal: cannot {what} {path}: {error}; trying on")
                }
            }
        }
        (self.is_told, self.state) = (true, state);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded if state != State::Lost => {
                Rejected::DiskFull
            }
            _ => JOURNAL_FAILED,
        }
    }
}

/// A new file while it is filled.
struct Copy<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    end: End,
    out: BytesMut,
}

impl<D: Disk> Copy<'_, D> {
    async fn push(&mut self, record: &Record) -> io::Result<()> {
        let encoded = format::encode(record, self.end.salt, &mut self.out);
        encoded.expect("it was read from a file, so it fits into one");
        if self.out.len() >= JOURNAL_COPY_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let bytes = self.out.split().freeze();
        let len = bytes.len() as u64;
        self.disk.write(self.file, bytes, self.end.len).await?;
        self.end.len += len;
        Ok(())
    }
}

fn lost(what: &'static str, error: io::Error) -> Trouble {
    Trouble { what, error, state: State::Lost }
}

const JOURNAL_FAILED: Rejected = Rejected::JournalFailed;
