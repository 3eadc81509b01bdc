//! A journal's directory: its lock, its numbering, its files' names, and reading all of it.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File, OpenOptions, TryLockError},
    hash::{BuildHasher, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Damage, JournalError, Report, Summary, Torn,
    format::{Salt, VERSION},
    scan::Scan,
};
use crate::ids::{BUCKETS, Bucket, Epoch};

/// A directory that no other process uses as long as this lives.
pub struct Directory {
    path: PathBuf,
    epoch: Epoch,
    /// Locked. A copy of a directory may lack one, and can be checked.
    lock: Option<File>,
}

impl Directory {
    /// Opens the directory for writing, and makes what of it is missing.
    pub fn open(path: &Path) -> Result<Directory, JournalError> {
        make_dir(path).map_err(told("make", path))?;
        let file = path.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).open(&file);
        let lock = lock.map_err(told("open", &file))?;
        locked(lock.try_lock(), path, &file)?;
        let epoch = match read_meta(path)? {
            Some(epoch) => epoch,
            None => make_meta(path)?,
        };
        Ok(Directory { path: path.to_owned(), epoch, lock: Some(lock) })
    }

    /// Opens the directory for reading; nothing in it is made or changed.
    pub fn look(path: &Path) -> Result<Directory, JournalError> {
        let file = path.join(LOCK);
        let lock = match File::open(&file) {
            Ok(lock) => {
                locked(lock.try_lock_shared(), path, &file)?;
                Some(lock)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(told("open", &file)(error)),
        };
        let epoch = read_meta(path)?;
        let epoch = epoch.ok_or_else(|| JournalError::Missing { dir: path.to_owned() })?;
        Ok(Directory { path: path.to_owned(), epoch, lock })
    }

    /// Lets other processes have it.
    pub fn unlock(&mut self) {
        // Closing would do, but for children that were forked meanwhile and have yet to become
        // another program: they hold what is only closed.
        let _ = self.lock.take().as_ref().map(File::unlock);
    }

    /// Locks it after [`Directory::unlock`]. Fails if it is another journal's meanwhile.
    pub fn lock_again(&mut self) -> Result<(), JournalError> {
        let again = Directory::open(&self.path)?;
        if again.epoch != self.epoch {
            let problem = "is of another journal than the one that was lent".to_owned();
            return Err(JournalError::Meta { file: self.path.join(META), problem });
        }
        *self = again;
        Ok(())
    }

    /// The numbering of all its offsets.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every bucket's file, shows what is in those that are well to `visit`, and changes
    /// nothing.
    pub fn read(&self, mut visit: impl FnMut(Bucket, Scan)) -> Result<Report, JournalError> {
        let mut report = Report { summary: Summary::default(), damage: Vec::new() };
        for bucket in all_buckets() {
            let file = bucket_file(&self.path, bucket);
            let bytes = match fs::read(&file) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(told("read", &file)(error)),
            };
            report.summary.buckets += 1;
            match Scan::of(&bytes, bucket, self.epoch) {
                Err(broken) => {
                    report.damage.push(Damage { file, at: broken.at, problem: broken.problem });
                }
                Ok(scan) => {
                    report.summary.records += scan.records.len() as u64;
                    report.summary.bytes += scan.end;
                    let torn = bytes.len() as u64 - scan.end;
                    if torn > 0 {
                        report.summary.torn.push(Torn { bucket, at: scan.end, bytes: torn });
                    }
                    visit(bucket, scan);
                }
            }
        }
        Ok(report)
    }

    /// Cuts off torn tails, and removes what an interrupted compaction has left.
    pub fn mend(&self, torn: &[Torn]) -> Result<(), JournalError> {
        for torn in torn {
            let file = bucket_file(&self.path, torn.bucket);
            cut(&file, torn.at).map_err(told("cut the torn tail off", &file))?;
        }
        for bucket in all_buckets() {
            let file = new_file(&self.path, bucket);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(told("remove", &file)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// The file of a bucket.
pub fn bucket_file(dir: &Path, bucket: Bucket) -> PathBuf {
    dir.join(format!("bucket-{:02x}.log", bucket.0))
}

/// Where the next file of a bucket is written, before it takes the place of the last.
pub fn new_file(dir: &Path, bucket: Bucket) -> PathBuf {
    dir.join(format!("bucket-{:02x}.new", bucket.0))
}

/// Every bucket, in order.
pub fn all_buckets() -> impl Iterator<Item = Bucket> {
    (0..BUCKETS).map(|bucket| Bucket(bucket as u8))
}

/// A salt that nobody can guess: the seeds of the standard library's hash tables come from the
/// kernel.
pub fn new_salt() -> Salt {
    Salt(RandomState::new().build_hasher().finish())
}

fn told<'a>(what: &'static str, file: &'a Path) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |error| JournalError::Io { what, file: file.to_owned(), error }
}

fn locked(lock: Result<(), TryLockError>, dir: &Path, file: &Path) -> Result<(), JournalError> {
    lock.map_err(|error| match error {
        TryLockError::WouldBlock => JournalError::InUse { dir: dir.to_owned() },
        TryLockError::Error(error) => told("lock", file)(error),
    })
}

/// Makes the directory so that a crash does not take it back.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    path.canonicalize()?.parent().map_or(Ok(()), sync)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn cut(file: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    file.set_len(len)?;
    file.sync_all()
}

/// The numbering, or `None` where there is no journal yet.
fn read_meta(dir: &Path) -> Result<Option<Epoch>, JournalError> {
    let file = dir.join(META);
    let wrong =
        |problem: &str| JournalError::Meta { file: file.clone(), problem: problem.to_owned() };
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let has_files = all_buckets().any(|bucket| bucket_file(dir, bucket).exists());
            return match has_files {
                true => Err(wrong("is missing, and there are buckets that belong to it")),
                false => Ok(None),
            };
        }
        Err(error) => return Err(told("read", &file)(error)),
    };
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("stentor-journal "));
    let version = version.and_then(|digits| digits.parse::<u32>().ok());
    let epoch = lines.next().and_then(|line| line.strip_prefix("epoch "));
    let epoch = epoch.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Epoch);
    match (version, epoch) {
        (Some(version), _) if version != VERSION => {
            Err(wrong("is of another version of stentor; use that one"))
        }
        (Some(_), Some(epoch)) if meta(epoch) == text => Ok(Some(epoch)),
        _ => Err(wrong("is damaged")),
    }
}

/// Begins a numbering that no other life of this or another journal had: microseconds since 1970.
fn make_meta(dir: &Path) -> Result<Epoch, JournalError> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = Epoch(since_1970.as_micros() as u64);
    let (file, new) = (dir.join(META), dir.join(META_NEW));
    let made = File::create(&new).and_then(|mut writer| {
        writer.write_all(meta(epoch).as_bytes())?;
        writer.sync_all()?;
        fs::rename(&new, &file)?;
        sync(dir)
    });
    made.map_err(told("write", &file))?;
    Ok(epoch)
}

/// The text of `META`.
fn meta(epoch: Epoch) -> String {
    let text = format!("stentor-journal {VERSION}\nepoch {:x}\n", epoch.0);
    let checksum = crc32fast::hash(text.as_bytes());
    format!("{text}crc32 {checksum:08x}\n")
}

const LOCK: &str = "LOCK";
const META: &str = "META";
const META_NEW: &str = "META.new";
