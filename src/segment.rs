//! Append-only bytes with one writer and many readers: what shards share.
//!
//! A [`Writer`] fills a fixed allocation: frames from the front, and for each frame an [`Entry`] from
//! the back, which says where it ends, when it came and what it is. What was written can be handed out as
//! [`Published`]: the segment together with two lengths, within which nothing changes again but one
//! mark per frame, [`Published::replace`]. Readers get bytes only through a `Published`, so none of
//! them can see what is being written. No lock and no atomic is touched on reading a frame; handing
//! out costs one reference count.
//!
//! Left to others: what the bytes mean, and in which order segments follow each other.
//!
//! This is one of the two places with `unsafe` (the other is `io`). Why it is sound: the writer
//! is unique (neither `Writer` nor its parts can be cloned), it writes only between its two lengths,
//! and every `Published` ends at or outside of those. The two never overlap. The word of an entry that
//! has the mark is accessed by atomic operations alone once it is published.

use std::{
    cell::UnsafeCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A fixed run of bytes, zeroed at first, then written once from both ends. In words, so that entries
/// are aligned.
struct Segment {
    words: Box<[UnsafeCell<u64>]>,
}

// SAFETY: readers and the writer touch disjoint parts of `words` (see the module's account). The
// writes within a `Published`'s lengths happen before it is made, and safe code cannot move it to
// another thread without an edge that orders what happened before on the one before the other.
unsafe impl Sync for Segment {}

/// What is known of a frame besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the frame ends, in bytes from the segment's beginning. Below [`FRAMES_BYTES_MAX`].
    pub end: u32,
    /// A small number that means something to whoever writes and reads: below 4.
    pub kind: u8,
    /// When it came, in a unit of the writer's choice.
    pub time: u32,
    /// Its number in a numbering of the writer's choice.
    pub offset: u128,
}

/// An entry as it lies in memory: the offset's two halves, then the end with kind and mark, then the
/// time.
const ENTRY_WORDS: usize = 3;

/// Bytes that the entry of one frame takes.
pub const ENTRY_BYTES: usize = 8 * ENTRY_WORDS;

/// Bytes of frames in one segment stay below this.
pub const FRAMES_BYTES_MAX: usize = 1 << KIND_SHIFT;

const KIND_SHIFT: u32 = 29;
const REPLACED: u32 = 1 << 31;

impl Segment {
    fn new(bytes: usize) -> Self {
        let zeroed = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        let raw = Box::into_raw(zeroed) as *mut [UnsafeCell<u64>];
        // SAFETY: `UnsafeCell<u64>` has the layout of `u64`, and the box was just given up.
        Segment { words: unsafe { Box::from_raw(raw) } }
    }

    fn bytes(&self) -> usize {
        8 * self.words.len()
    }

    fn start(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.words.as_ptr()).cast()
    }

    /// The first word of an entry. Panics if the segment has no room for so many.
    fn entry(&self, index: usize) -> *mut u64 {
        let first = self.words.len().checked_sub((index + 1) * ENTRY_WORDS);
        let first = first.expect("entries are within the segment");
        // SAFETY: it is inside the allocation (checked above). The pointer is one to all of it, not to
        // one word, because the entry's other words are reached by it.
        unsafe { self.start().cast::<u64>().add(first) }
    }

    /// The word of an entry with its frame's end and the mark, for an entry that was published.
    fn mark(&self, index: usize) -> &AtomicU32 {
        let entry = self.entry(index);
        // SAFETY: the third word of an entry is inside the allocation and aligned for its first half;
        // nothing but atomic operations accesses it after it was published.
        unsafe { AtomicU32::from_ptr(entry.add(2).cast()) }
    }
}

/// The one who appends to a segment.
pub struct Writer {
    segment: Arc<Segment>,
    len: usize,
    entries: usize,
}

impl Writer {
    /// Starts an empty segment of at least `bytes` bytes, frames and entries together.
    pub fn new(bytes: usize) -> Self {
        Writer { segment: Arc::new(Segment::new(bytes)), len: 0, entries: 0 }
    }

    /// Bytes of frames written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the segment takes in all.
    pub fn capacity(&self) -> usize {
        self.segment.bytes()
    }

    /// Whether a frame of `len` bytes fits, with its entry.
    pub fn has_room(&self, len: usize) -> bool {
        let taken = self.len + (self.entries + 1) * ENTRY_BYTES;
        len < FRAMES_BYTES_MAX - self.len && taken + len <= self.capacity()
    }

    /// Appends a frame of `len` bytes, all of which `fill` must write in place. `entry.end` is set
    /// here.
    ///
    /// Panics if the frame does not fit: see [`Writer::has_room`].
    pub fn append(&mut self, len: usize, entry: Entry, fill: impl FnOnce(&mut [u8])) {
        assert!(self.has_room(len), "{len} bytes do not fit behind {self:?}");
        // SAFETY: `len..len + len` is inside the allocation and below all entries (checked above),
        // above everything that was published, and reachable by nobody but this unique writer. If
        // `fill` panics the lengths do not move, and the half-written part is never published.
        let target =
            unsafe { std::slice::from_raw_parts_mut(self.segment.start().add(self.len), len) };
        fill(target);
        self.len += len;
        let end = self.len as u32 | u32::from(entry.kind & 3) << KIND_SHIFT;
        let words = self.segment.entry(self.entries);
        // SAFETY: the entry's three words are inside the allocation (checked above), below every
        // entry that was published and above every frame, and nobody else can reach them.
        unsafe {
            words.write(entry.offset as u64);
            words.add(1).write((entry.offset >> 64) as u64);
            words.add(2).cast::<u32>().write(end);
            words.add(2).cast::<u32>().add(1).write(entry.time);
        }
        self.entries += 1;
    }

    /// Everything written so far, for readers anywhere.
    pub fn publish(&self) -> Published {
        let (len, entries) = (self.len as u32, self.entries as u32);
        Published { segment: Arc::clone(&self.segment), len, entries }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({} frames, {} of {} B)", self.entries, self.len, self.capacity())
    }
}

/// The part of a segment that was written before this was made. Immutable but for the marks, cheap to
/// clone, and it keeps the segment alive.
#[derive(Clone)]
pub struct Published {
    segment: Arc<Segment>,
    len: u32,
    entries: u32,
}

impl Published {
    /// The frames, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the writer never again writes below `len`, `len` is inside the allocation and below
        // all entries, and `segment` keeps it alive for as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.segment.start(), self.len as usize) }
    }

    /// How many bytes of frames there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.entries as usize
    }

    /// What is known of a frame. Panics if there are not so many.
    pub fn entry(&self, index: usize) -> Entry {
        assert!(index < self.frames(), "frame {index} of {}", self.entries);
        let (words, end) = (self.segment.entry(index), self.segment.mark(index));
        let end = end.load(Ordering::Relaxed);
        // SAFETY: the writer never again writes the entries that were published, and those words are
        // inside the allocation.
        let (low, high, time) = unsafe {
            (words.read(), words.add(1).read(), words.add(2).cast::<u32>().add(1).read())
        };
        Entry {
            end: end & (FRAMES_BYTES_MAX as u32 - 1),
            kind: (end >> KIND_SHIFT) as u8 & 3,
            time,
            offset: u128::from(high) << 64 | u128::from(low),
        }
    }

    /// Where a frame ends, in bytes from the segment's beginning.
    pub fn end(&self, index: usize) -> usize {
        assert!(index < self.frames(), "frame {index} of {}", self.entries);
        let end = self.segment.mark(index).load(Ordering::Relaxed);
        (end & (FRAMES_BYTES_MAX as u32 - 1)) as usize
    }

    /// Where a frame begins.
    pub fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.end(index - 1) }
    }

    /// The bytes of a frame.
    pub fn frame(&self, index: usize) -> &[u8] {
        &self.bytes()[self.start(index)..self.end(index)]
    }

    /// How many frames end at or before `byte`.
    pub fn frames_until(&self, byte: usize) -> usize {
        self.partition(|index| self.end(index) <= byte)
    }

    /// How many frames have an offset of at most `offset`, where offsets rise.
    pub fn frames_up_to(&self, offset: u128) -> usize {
        self.partition(|index| self.entry(index).offset <= offset)
    }

    /// How many frames, from the first on, are as `is_before` says of their index.
    fn partition(&self, is_before: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.frames());
        while low < high {
            let middle = low + (high - low) / 2;
            (low, high) = if is_before(middle) { (middle + 1, high) } else { (low, middle) };
        }
        low
    }

    /// Marks a frame as replaced by a later one. Readers may see it late; it is never taken back.
    pub fn replace(&self, index: usize) {
        assert!(index < self.frames(), "frame {index} of {}", self.entries);
        self.segment.mark(index).fetch_or(REPLACED, Ordering::Relaxed);
    }

    /// Whether a frame was marked as replaced.
    pub fn is_replaced(&self, index: usize) -> bool {
        assert!(index < self.frames(), "frame {index} of {}", self.entries);
        self.segment.mark(index).load(Ordering::Relaxed) & REPLACED != 0
    }

    /// Bytes that the whole segment occupies.
    pub fn capacity(&self) -> usize {
        self.segment.bytes()
    }

    /// Whether both are parts of the same segment, the later one then being the longer.
    pub fn same_segment(&self, other: &Published) -> bool {
        Arc::ptr_eq(&self.segment, &other.segment)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({} frames, {} of {} B)", self.entries, self.len, self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u128) -> Entry {
        Entry {
            end: 0,
            kind: (offset % 4) as u8,
            time: offset as u32 * 3,
            offset: offset << 64 | 5,
        }
    }

    /// What was published stays as it was while more is written behind it, on another thread.
    ///
    /// Method: a reader thread checks each published prefix against the only bytes and entries that
    /// it may hold, while the writer goes on. Run under Miri this also proves the absence of a data
    /// race.
    #[test]
    fn published_bytes_never_change() {
        const PIECES: u8 = 100;
        let (sender, receiver) = std::sync::mpsc::channel::<Published>();
        let reader = std::thread::spawn(move || {
            let expected: Vec<u8> = (0..PIECES).flat_map(|n| vec![n; 7]).collect();
            let mut kept = Vec::new();
            for published in receiver {
                kept.push(published);
                for published in &kept {
                    assert_eq!(published.bytes(), &expected[..published.len()]);
                    for n in 0..published.frames() {
                        let wanted = Entry { end: 7 * (n as u32 + 1), ..entry(n as u128) };
                        assert_eq!(published.entry(n), wanted);
                        assert_eq!(published.frame(n), &expected[7 * n..7 * n + 7]);
                    }
                }
            }
            kept.len()
        });
        let mut writer = Writer::new((7 + ENTRY_BYTES) * usize::from(PIECES));
        for n in 0..PIECES {
            writer.append(7, entry(u128::from(n)), |bytes| bytes.fill(n));
            sender.send(writer.publish()).unwrap();
        }
        assert!(!writer.has_room(8));
        drop((writer, sender));
        assert_eq!(reader.join().unwrap(), usize::from(PIECES));
    }

    /// A writer whose filling panics has not moved: the next append takes the same place.
    #[test]
    fn a_panic_publishes_nothing() {
        let mut writer = Writer::new(8 + ENTRY_BYTES);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writer.append(4, entry(1), |bytes| {
                bytes[0] = 9;
                panic!("half way");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((writer.publish().bytes(), writer.publish().frames()), (&b""[..], 0));
        writer.append(4, entry(1), |bytes| bytes.copy_from_slice(b"good"));
        assert_eq!(writer.publish().bytes(), b"good");
    }

    /// More than fits is refused before anything is touched.
    #[test]
    #[should_panic(expected = "9 bytes do not fit behind Writer(0 frames, 0 of 32 B)")]
    fn a_segment_has_an_end() {
        Writer::new(8 + ENTRY_BYTES).append(9, entry(0), |_| ());
    }

    /// Frames are found by where they end and by their offsets, at every byte and offset.
    #[test]
    fn frames_are_found_by_byte_and_offset() {
        let mut writer = Writer::new(1024);
        let lens = [3usize, 1, 20, 7];
        for (n, &len) in lens.iter().enumerate() {
            let entry = Entry { offset: 10 * n as u128 + 10, ..entry(0) };
            writer.append(len, entry, |bytes| bytes.fill(n as u8));
        }
        let published = writer.publish();
        let ends: Vec<usize> = lens
            .iter()
            .scan(0, |end, len| {
                *end += len;
                Some(*end)
            })
            .collect();
        for byte in 0..=31 {
            let expected = ends.iter().filter(|&&end| end <= byte).count();
            assert_eq!(published.frames_until(byte), expected, "byte {byte}");
        }
        for offset in 0..=50u128 {
            let expected = (1..=4).filter(|n| n * 10 <= offset).count();
            assert_eq!(published.frames_up_to(offset), expected, "offset {offset}");
        }
    }

    /// A mark is seen by everyone who has the segment, and changes nothing else of the frame.
    #[test]
    fn a_replaced_frame_is_marked_for_all() {
        let mut writer = Writer::new(1024);
        (0..3).for_each(|n| writer.append(5, entry(n), |bytes| bytes.fill(n as u8)));
        let (early, late) = (writer.publish(), writer.publish());
        late.replace(1);
        assert_eq!([0, 1, 2].map(|n| early.is_replaced(n)), [false, true, false]);
        assert_eq!(early.entry(1), Entry { end: 10, ..entry(1) });
    }
}
