//! A channel's recent publications, encoded in one format, as one stream of bytes.
//!
//! The stream is cut into segments; a frame never spans two. [`Log`] is the home shard's side: it
//! appends, and keeps what is history and what some reader was not told of. [`Window`] is a reading
//! shard's side: it holds the stretch of the stream that its subscribers still need. A subscriber is
//! a byte position in that stream, and what it is owed is one slice from there on.
//!
//! A stream is *dense* or *sparse*. In a sparse one, of a channel of latest values, frames can be
//! replaced by later ones: they are owed to nobody any more, and segments that hold nothing else go,
//! also from the middle.
//!
//! Neither side waits for the other. A window that was not told of a segment in time finds a gap,
//! and whoever stood before it was lapped; what to do about it is the shard's decision.
#![forbid(unsafe_code)]

mod window;

pub use window::{Around, Due, Window};

use std::collections::VecDeque;

use crate::{
    frame::PayloadKind,
    ids::Offset,
    limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SPARSE_SEGMENT_BYTES_MAX},
    segment::{ENTRY_BYTES, Entry, Published, Writer},
};

/// A place in a stream: how many bytes and how many frames lie before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Bytes before it, since the stream began.
    pub byte: u64,
    /// Frames that end at or before it, dropped ones included.
    pub frames: u64,
}

/// A place between two frames, as a subscriber may begin there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub mark: Mark,
    /// The offset of the last publication before it.
    pub before: Offset,
}

/// What is known of a frame besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The publication's offset.
    pub offset: Offset,
    /// What its payload is.
    pub kind: PayloadKind,
    /// When it came, in hundredths of a second since the server started, modulo 2^32.
    pub time: u32,
}

/// The written part of one segment, and where it ends in the stream.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The frames, from the segment's beginning.
    pub bytes: Published,
    /// Where they end.
    pub end: Mark,
    /// The offset of the last publication before the segment.
    pub before: Offset,
}

impl Extent {
    /// The stream position of the extent's first byte.
    pub fn start(&self) -> u64 {
        self.end.byte - self.bytes.len() as u64
    }

    /// The place before its frame `index`, or at its end if there are just so many.
    pub fn place(&self, index: usize) -> Place {
        let byte = self.start() + self.bytes.start(index) as u64;
        let frames = self.end.frames - (self.bytes.frames() - index) as u64;
        let before = if index == 0 { self.before } else { self.stamp(index - 1).offset };
        Place { mark: Mark { byte, frames }, before }
    }

    /// What is known of its frame `index`.
    pub fn stamp(&self, index: usize) -> Stamp {
        let Entry { kind, time, offset, .. } = self.bytes.entry(index);
        Stamp { offset: Offset(offset), kind: PayloadKind::from_code(kind), time }
    }

    /// The offset of its last publication.
    pub fn last(&self) -> Offset {
        self.place(self.bytes.frames()).before
    }
}

/// A segment that is full.
#[derive(Debug)]
struct Sealed {
    extent: Extent,
    /// Frames that were not replaced.
    current: u32,
}

/// A channel's frames in one format, on its home shard.
#[derive(Debug)]
pub struct Log {
    /// Full segments that are history, or that some reader may not have been told of, oldest first.
    sealed: VecDeque<Sealed>,
    /// Bytes in those.
    sealed_bytes: usize,
    writer: Option<Writer>,
    /// Frames of the newest segment that were not replaced.
    current: u32,
    sparse: bool,
    head: Place,
    /// The offset of the last publication before the newest segment.
    before: Offset,
}

impl Log {
    /// An empty log that begins at a place in the channel: `frames` were before it, the last of them
    /// with the offset `before`. It allocates when the first frame comes.
    pub fn new(frames: u64, before: Offset, sparse: bool) -> Self {
        Log {
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            writer: None,
            current: 0,
            sparse,
            head: Place { mark: Mark { byte: 0, frames }, before },
            before,
        }
    }

    /// The end of the stream.
    pub fn head(&self) -> Place {
        self.head
    }

    /// Bytes of frames in the log, and how many segments they lie in.
    pub fn size(&self) -> (usize, usize) {
        let writer = self.writer.as_ref().map_or(0, Writer::len);
        (self.sealed_bytes + writer, self.sealed.len() + usize::from(self.writer.is_some()))
    }

    /// Appends one frame of `len` bytes, which `fill` writes in place. It is the frame of the number
    /// that [`Log::head`] then has.
    pub fn append(&mut self, len: usize, stamp: Stamp, fill: impl FnOnce(&mut [u8])) {
        if self.writer.as_ref().is_none_or(|writer| !writer.has_room(len)) {
            self.seal(len);
        }
        let Stamp { offset, kind, time } = stamp;
        let entry = Entry { end: 0, kind: kind.code(), time, offset: offset.0 };
        let writer = self.writer.as_mut().expect("`seal` starts a segment");
        writer.append(len, entry, fill);
        self.current += 1;
        let Mark { byte, frames } = self.head.mark;
        let mark = Mark { byte: byte + len as u64, frames: frames + 1 };
        self.head = Place { mark, before: offset };
    }

    /// Everything behind `byte`, oldest first. Begins later if older segments are forgotten.
    pub fn since(&self, byte: u64) -> impl Iterator<Item = Extent> {
        let first = self.sealed.partition_point(|sealed| sealed.extent.end.byte <= byte);
        let sealed = self.sealed.range(first..).map(|sealed| sealed.extent.clone());
        sealed.chain(self.newest().filter(move |newest| newest.end.byte > byte))
    }

    fn newest(&self) -> Option<Extent> {
        let writer = self.writer.as_ref().filter(|writer| !writer.is_empty())?;
        Some(Extent { bytes: writer.publish(), end: self.head.mark, before: self.before })
    }

    /// The place at a byte between two frames; at the earliest the oldest that is kept.
    pub fn behind_byte(&self, byte: u64) -> Place {
        self.first_where(
            |extent| extent.end.byte > byte,
            |extent| extent.bytes.frames_until(byte.saturating_sub(extent.start()) as usize),
        )
    }

    /// The place behind the last publication with an offset of at most `offset`; at the earliest
    /// before the oldest that is kept.
    pub fn behind(&self, offset: Offset) -> Place {
        self.first_where(
            |extent| extent.last() > offset,
            |extent| extent.bytes.frames_up_to(offset.0),
        )
    }

    /// The place behind so many frames; at the earliest before the oldest that is kept.
    pub fn behind_frames(&self, frames: u64) -> Place {
        self.first_where(
            |extent| extent.end.frames > frames,
            |extent| frames.saturating_sub(extent.place(0).mark.frames) as usize,
        )
    }

    /// The place before frame `index` of the first segment that is `wanted`, or the head.
    fn first_where(
        &self,
        wanted: impl Fn(&Extent) -> bool,
        index: impl Fn(&Extent) -> usize,
    ) -> Place {
        let first = self.sealed.partition_point(|sealed| !wanted(&sealed.extent));
        if let Some(sealed) = self.sealed.get(first) {
            return sealed.extent.place(index(&sealed.extent));
        }
        let newest = self.newest().filter(wanted);
        newest.map_or(self.head, |newest| newest.place(index(&newest)))
    }

    /// The extent that a frame lies in, and its index there, if it is kept. Frames count from 1.
    pub fn find(&self, frame: u64) -> Option<(Extent, usize)> {
        let at = self.sealed.partition_point(|sealed| sealed.extent.end.frames < frame);
        let extent = match self.sealed.get(at) {
            Some(sealed) => sealed.extent.clone(),
            None => self.newest()?,
        };
        let index = frame.checked_sub(extent.place(0).mark.frames + 1)? as usize;
        (index < extent.bytes.frames()).then_some((extent, index))
    }

    /// In a sparse log, marks a frame as replaced; a full segment without any other goes.
    pub fn replace(&mut self, frame: u64) {
        let Some((extent, index)) = self.find(frame) else { return };
        extent.bytes.replace(index);
        let at = self.sealed.partition_point(|sealed| sealed.extent.end.frames < frame);
        let current = match self.sealed.get_mut(at) {
            Some(sealed) => &mut sealed.current,
            None => &mut self.current,
        };
        *current -= 1;
        if *current == 0 && at < self.sealed.len() {
            self.sealed_bytes -= extent.bytes.len();
            self.sealed.remove(at);
        }
    }

    /// Forgets full segments of a dense log that every reader was told of (they end at or before
    /// `byte`) and that are no history (they end with frame `frames` at the latest).
    pub fn forget(&mut self, byte: u64, frames: u64) {
        let is_over = |end: Mark| end.byte <= byte && end.frames <= frames;
        while self.oldest().is_some_and(is_over) {
            self.drop_oldest();
        }
    }

    /// Forgets the oldest full segments of a dense log, told or not, while more than `bytes_max` bytes
    /// are in full segments that are no history (they end with frame `frames` at the latest).
    pub fn limit(&mut self, bytes_max: usize, frames: u64) {
        if self.sealed_bytes <= bytes_max || self.sparse {
            return;
        }
        let extents = self.sealed.iter().map(|sealed| &sealed.extent);
        let over = extents.take_while(|extent| extent.end.frames <= frames);
        let mut bytes: usize = over.map(|extent| extent.bytes.len()).sum();
        while bytes > bytes_max {
            bytes -= self.sealed.front().map_or(bytes, |oldest| oldest.extent.bytes.len());
            self.drop_oldest();
        }
    }

    /// Where the oldest full segment of a dense log ends.
    fn oldest(&self) -> Option<Mark> {
        let oldest = self.sealed.front().filter(|_| !self.sparse);
        oldest.map(|sealed| sealed.extent.end)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.sealed.pop_front() {
            self.sealed_bytes -= oldest.extent.bytes.len();
        }
    }

    /// Ends the current segment and starts one with room for a frame of `len` bytes, twice as large
    /// as the last: a million tiny channels stay tiny, and a busy one soon has few segments.
    fn seal(&mut self, len: usize) {
        let most = if self.sparse { SPARSE_SEGMENT_BYTES_MAX } else { SEGMENT_BYTES_MAX };
        let last = self.writer.take();
        let doubled = last.as_ref().map_or(SEGMENT_BYTES_MIN, |writer| 2 * writer.capacity());
        if let Some(writer) = last.filter(|_| self.current > 0) {
            self.sealed_bytes += writer.len();
            let (bytes, end, before) = (writer.publish(), self.head.mark, self.before);
            let extent = Extent { bytes, end, before };
            self.sealed.push_back(Sealed { extent, current: self.current });
        }
        (self.current, self.before) = (0, self.head.before);
        self.writer = Some(Writer::new(doubled.min(most).max(len + ENTRY_BYTES)));
    }
}

#[cfg(test)]
mod tests;
