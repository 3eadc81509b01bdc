//! What the journal asks of a file system, and the one that answers over io_uring.

use std::{fs, io, path::Path};

use bytes::{Buf, Bytes};
use tokio_uring::fs::{File, OpenOptions};

/// The calls that can fail, in the order of their danger. Tests put one that fails in front.
pub trait Disk: 'static {
    /// An open file.
    type File;

    /// Opens a file for reading and writing.
    async fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Makes a file for reading and writing; what was there is gone.
    async fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Reads up to `max` bytes, and less at the end only, or as the kernel likes.
    async fn read(&self, file: &Self::File, at: u64, max: usize) -> io::Result<Vec<u8>>;
    /// Writes all bytes.
    async fn write(&self, file: &Self::File, bytes: Bytes, at: u64) -> io::Result<()>;
    /// Returns when all that was written to the file is on the disk.
    async fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Closes the file.
    async fn close(&self, file: Self::File);
    /// Cuts the file off at `len` bytes.
    async fn cut(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Gives a file the name of another, which is gone.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    async fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in a directory are on the disk.
    async fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The machine's.
pub struct UringDisk;

impl Disk for UringDisk {
    type File = File;

    async fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path).await
    }

    async fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).await
    }

    async fn read(&self, file: &File, at: u64, max: usize) -> io::Result<Vec<u8>> {
        let (read, buffer) = file.read_at(Vec::with_capacity(max), at).await;
        read.map(|_| buffer)
    }

    async fn write(&self, file: &File, mut bytes: Bytes, mut at: u64) -> io::Result<()> {
        while bytes.has_remaining() {
            match file.write_at(bytes.clone(), at).submit().await.0? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    bytes.advance(written);
                    at += written as u64;
                }
            }
        }
        Ok(())
    }

    async fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data().await
    }

    async fn close(&self, file: File) {
        // What mattered was synced, so there is nothing that closing could still tell.
        let _ = file.close().await;
    }

    async fn cut(&self, path: &Path, len: u64) -> io::Result<()> {
        // There is no such call in the ring. It is rare, and short.
        fs::OpenOptions::new().write(true).open(path)?.set_len(len)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        tokio_uring::fs::rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        tokio_uring::fs::remove_file(path).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = File::open(dir).await?;
        let synced = dir.sync_all().await;
        let _ = dir.close().await;
        synced
    }
}
