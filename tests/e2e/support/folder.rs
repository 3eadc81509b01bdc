//! A directory of a test's own, gone with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A fresh directory.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one; the name tells tests apart.
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("stentor-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory can be made");
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The same as text, for flags.
    pub fn text(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// Bytes of the files in it.
    pub fn bytes(&self) -> u64 {
        let files = fs::read_dir(&self.0).expect("it is there");
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
