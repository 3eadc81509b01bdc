//! Files that a running server reads again when they change: certificates, keys, lists.
//!
//! Whoever has such a file registers how to read it. The server looks at the files once a second,
//! at one `stat` each, and calls that where time, size or inode has changed; a reload calls all.
//! What cannot be read changes nothing, is told, and is tried again with the next change.
//!
//! Vocabulary: imports of ours only the words for what came of it.
#![forbid(unsafe_code)]

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, sync::Mutex, sync::PoisonError};

use crate::{limits::WATCHED_MAX, orders::FileReloaded};

/// Reads files again and lives by them. Says in a few words what holds now, or what is wrong.
pub type Read = Box<dyn Fn() -> Result<String, String> + Send>;

/// Every file that is watched.
#[derive(Default)]
pub struct Files {
    watched: Mutex<Vec<Watched>>,
}

struct Watched {
    name: &'static str,
    paths: Vec<PathBuf>,
    stamps: Vec<Option<Stamp>>,
    read: Read,
}

/// Tells one state of a file from another: device, inode, size, and time to the nanosecond.
type Stamp = (u64, u64, u64, i64, i64);

impl Files {
    /// Watches these files together: `read` is called once where any of them has changed. `name` is
    /// that of the setting which names them.
    ///
    /// # Panics
    ///
    /// If more are registered than the code has settings for.
    pub fn watch(&self, name: &'static str, paths: Vec<PathBuf>, read: Read) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(watched.len() < WATCHED_MAX, "each setting registers its files once");
        let stamps = paths.iter().map(stamp).collect();
        watched.push(Watched { name, paths, stamps, read });
    }

    /// Reads what has changed again.
    pub fn poll(&self) -> Vec<FileReloaded> {
        self.read_where(|has_changed| has_changed)
    }

    /// Reads everything again.
    pub fn read_all(&self) -> Vec<FileReloaded> {
        self.read_where(|_| true)
    }

    fn read_where(&self, is_due: impl Fn(bool) -> bool) -> Vec<FileReloaded> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let due = watched.iter_mut().filter_map(|files| {
            // Taken before reading: what changes meanwhile is read once more.
            let stamps: Vec<_> = files.paths.iter().map(stamp).collect();
            let has_changed = stamps != files.stamps;
            files.stamps = stamps;
            is_due(has_changed).then(|| files.read_again())
        });
        due.collect()
    }
}

impl Watched {
    fn read_again(&self) -> FileReloaded {
        let (now, problem) = match (self.read)() {
            Ok(now) => (Some(now), None),
            Err(problem) => (None, Some(problem)),
        };
        FileReloaded { name: self.name, now, problem }
    }
}

/// The file's state; `None` if there is none.
fn stamp(path: &PathBuf) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("stentor-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Files that read their text, which must not be `bad`.
    fn texts(path: &Path) -> (Files, Arc<Mutex<String>>) {
        let (files, held) = (Files::default(), Arc::new(Mutex::new(String::new())));
        let (from, to) = (path.to_owned(), Arc::clone(&held));
        let read = move || {
            let text = fs::read_to_string(&from).map_err(|why| why.kind().to_string())?;
            if text == "bad" {
                return Err("it is bad".to_owned());
            }
            to.lock().unwrap().clone_from(&text);
            Ok(text)
        };
        files.watch("key", vec![path.to_owned()], Box::new(read));
        (files, held)
    }

    fn told(now: Option<&str>, problem: Option<&str>) -> Vec<FileReloaded> {
        let (now, problem) = (now.map(str::to_owned), problem.map(str::to_owned));
        vec![FileReloaded { name: "key", now, problem }]
    }

    /// A change is read once, however it was made; a bad one changes nothing and is told once.
    #[test]
    fn what_has_changed_is_read_once() {
        let folder = folder("watch");
        let path = folder.join("key");
        fs::write(&path, "one").unwrap();
        let (files, held) = texts(&path);
        assert_eq!(files.poll(), []);
        fs::write(&path, "other").unwrap();
        assert_eq!((files.poll(), files.poll()), (told(Some("other"), None), vec![]));
        // As kubernetes and certbot do: another file comes into its place.
        fs::write(folder.join("new"), "third").unwrap();
        fs::rename(folder.join("new"), &path).unwrap();
        assert_eq!((files.poll(), files.poll()), (told(Some("third"), None), vec![]));
        fs::write(&path, "bad").unwrap();
        assert_eq!((files.poll(), files.poll()), (told(None, Some("it is bad")), vec![]));
        assert_eq!(files.read_all(), told(None, Some("it is bad")));
        fs::remove_file(&path).unwrap();
        assert_eq!(files.poll(), told(None, Some("entity not found")));
        assert_eq!(*held.lock().unwrap(), "third");
        fs::remove_dir_all(folder).unwrap();
    }

    /// As many as there may be, and not one more.
    #[test]
    #[should_panic(expected = "registers its files once")]
    fn the_list_is_bounded() {
        let files = Files::default();
        (0..=WATCHED_MAX).for_each(|_| files.watch("key", vec![], Box::new(|| Ok(String::new()))));
    }
}
