//! A channel's recent publications, encoded in one format, as one stream of bytes.
//!
//! The stream is cut into segments; a frame never spans two. [`Log`] is the home shard's side: it
//! appends, and keeps a segment until every reader was told of it. [`Window`] is a reading shard's
//! side: it holds the stretch of the stream that its subscribers still need. A subscriber is a
//! byte position in that stream, and what it is owed is one slice from there on.
//!
//! Neither side waits for the other. A window that was not told of a segment in time finds a gap,
//! and whoever stood before it was lapped; what to do about it is the shard's decision.
#![forbid(unsafe_code)]

mod window;

pub use window::{Due, Window};

use std::collections::VecDeque;

use crate::{
    limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN},
    segment::{Published, Writer},
};

/// A place in a stream: how many bytes and how many frames lie before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Bytes before it, since the stream began.
    pub byte: u64,
    /// Frames that end at or before it.
    pub frames: u64,
}

/// The written part of one segment, and where it ends in the stream.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The bytes, from the segment's beginning.
    pub bytes: Published,
    /// Where they end.
    pub end: Mark,
}

impl Extent {
    /// The stream position of the extent's first byte.
    pub fn start(&self) -> u64 {
        self.end.byte - self.bytes.len() as u64
    }
}

/// A channel's frames in one format, on its home shard.
#[derive(Debug)]
pub struct Log {
    /// Full segments that some reader may not have been told of, oldest first.
    sealed: VecDeque<Extent>,
    /// Bytes in those.
    sealed_bytes: usize,
    writer: Option<Writer>,
    head: Mark,
}

impl Log {
    /// An empty log. It allocates when the first frame comes.
    pub fn new() -> Self {
        Log { sealed: VecDeque::new(), sealed_bytes: 0, writer: None, head: Mark::default() }
    }

    /// The end of the stream.
    pub fn head(&self) -> Mark {
        self.head
    }

    /// Appends one frame of `len` bytes, which `fill` writes in place.
    pub fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        if self.writer.as_ref().is_none_or(|writer| writer.room() < len) {
            self.seal(len);
        }
        let writer = self.writer.as_mut().expect("`seal` starts a segment");
        writer.append(len, fill);
        self.head = Mark { byte: self.head.byte + len as u64, frames: self.head.frames + 1 };
    }

    /// Everything behind `byte`, oldest first. Begins later if older segments are forgotten.
    pub fn since(&self, byte: u64) -> impl Iterator<Item = Extent> {
        let unfinished = self.writer.iter().filter(|writer| !writer.is_empty());
        let newest = unfinished.map(|writer| Extent { bytes: writer.publish(), end: self.head });
        let sealed = self.sealed.iter().cloned();
        sealed.chain(newest).filter(move |extent| extent.end.byte > byte)
    }

    /// Forgets full segments that end at or before `byte`: every reader has them.
    pub fn forget(&mut self, byte: u64) {
        while self.sealed.front().is_some_and(|oldest| oldest.end.byte <= byte) {
            self.drop_oldest();
        }
    }

    /// Forgets the oldest full segments while there are more than `bytes_max` bytes in them.
    pub fn limit(&mut self, bytes_max: usize) {
        while self.sealed_bytes > bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.sealed.pop_front() {
            self.sealed_bytes -= oldest.bytes.len();
        }
    }

    /// Ends the current segment and starts one with room for `len` bytes, twice as large as the
    /// last: a million tiny channels stay tiny, and a busy one soon has few segments.
    fn seal(&mut self, len: usize) {
        let last = self.writer.take();
        let doubled = last.as_ref().map_or(SEGMENT_BYTES_MIN, |writer| 2 * writer.capacity());
        if let Some(writer) = last.filter(|writer| !writer.is_empty()) {
            self.sealed_bytes += writer.len();
            self.sealed.push_back(Extent { bytes: writer.publish(), end: self.head });
        }
        self.writer = Some(Writer::new(doubled.min(SEGMENT_BYTES_MAX).max(len)));
    }
}

impl Default for Log {
    fn default() -> Self {
        Log::new()
    }
}

#[cfg(test)]
mod tests;
