//! Append-only bytes with one writer and many readers: what shards share.
//!
//! A [`Writer`] fills a fixed allocation from the front. What it has written it can hand out as
//! [`Published`]: the segment together with a length, below which the bytes never change again.
//! Readers get bytes only through a `Published`, so none of them can see what is being written.
//! No lock and no atomic is touched on reading; handing out costs one reference count.
//!
//! Left to others: what the bytes mean, and in which order segments follow each other.
//!
//! This is one of the two places with `unsafe` (the other is `io`). Why it is sound: the writer
//! is unique (neither `Writer` nor its parts can be cloned), it writes only at or above its
//! length, and every `Published` ends at or below that. The two never overlap.

use std::{cell::UnsafeCell, fmt, sync::Arc};

/// A fixed run of bytes, zeroed at first, then written once from front to back.
struct Segment {
    bytes: Box<[UnsafeCell<u8>]>,
}

// SAFETY: readers and the writer touch disjoint parts of `bytes` (see the module's account). The
// writes below a `Published`'s length happen before it is made, and safe code cannot move it to
// another thread without an edge that orders what happened before on the one before the other.
unsafe impl Sync for Segment {}

impl Segment {
    fn new(capacity: usize) -> Self {
        let zeroed = vec![0u8; capacity].into_boxed_slice();
        let raw = Box::into_raw(zeroed) as *mut [UnsafeCell<u8>];
        // SAFETY: `UnsafeCell<u8>` has the layout of `u8`, and the box was just given up.
        Segment { bytes: unsafe { Box::from_raw(raw) } }
    }

    fn start(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.bytes.as_ptr())
    }
}

/// The one who appends to a segment.
pub struct Writer {
    segment: Arc<Segment>,
    len: usize,
}

impl Writer {
    /// Starts an empty segment of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Writer { segment: Arc::new(Segment::new(capacity)), len: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes the segment can hold in all.
    pub fn capacity(&self) -> usize {
        self.segment.bytes.len()
    }

    /// Bytes that can still be written.
    pub fn room(&self) -> usize {
        self.capacity() - self.len
    }

    /// Appends `len` bytes, all of which `fill` must write in place.
    ///
    /// Panics if `len` is more than [`Writer::room`].
    pub fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        assert!(len <= self.room(), "{len} bytes do not fit into {}", self.room());
        // SAFETY: `len..len + len` is inside the allocation (checked above), above everything
        // that was published, and reachable by nobody but this unique writer. If `fill` panics
        // the length does not move, and the half-written part is never published.
        let target =
            unsafe { std::slice::from_raw_parts_mut(self.segment.start().add(self.len), len) };
        fill(target);
        self.len += len;
    }

    /// Everything written so far, for readers anywhere.
    pub fn publish(&self) -> Published {
        Published { segment: Arc::clone(&self.segment), len: self.len }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({} of {} B)", self.len, self.capacity())
    }
}

/// The part of a segment that was written before this was made. Immutable, cheap to clone, and it
/// keeps the segment alive.
#[derive(Clone)]
pub struct Published {
    segment: Arc<Segment>,
    len: usize,
}

impl Published {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the writer never again writes below `len`, `len` is inside the allocation, and
        // `segment` keeps it alive for as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.segment.start(), self.len) }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the whole segment occupies.
    pub fn capacity(&self) -> usize {
        self.segment.bytes.len()
    }

    /// Whether both are parts of the same segment, the later one then being the longer.
    pub fn same_segment(&self, other: &Published) -> bool {
        Arc::ptr_eq(&self.segment, &other.segment)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({} of {} B)", self.len, self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was published stays as it was while more is written behind it, on another thread.
    ///
    /// Method: a reader thread checks each published prefix against the only bytes it may hold,
    /// while the writer goes on. Run under Miri this also proves the absence of a data race.
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
                }
            }
            kept.len()
        });
        let mut writer = Writer::new(7 * usize::from(PIECES));
        for n in 0..PIECES {
            writer.append(7, |bytes| bytes.fill(n));
            sender.send(writer.publish()).unwrap();
        }
        assert_eq!(writer.room(), 0);
        drop((writer, sender));
        assert_eq!(reader.join().unwrap(), usize::from(PIECES));
    }

    /// A writer whose filling panics has not moved: the next append takes the same place.
    #[test]
    fn a_panic_publishes_nothing() {
        let mut writer = Writer::new(8);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writer.append(4, |bytes| {
                bytes[0] = 9;
                panic!("half way");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(writer.publish().bytes(), b"");
        writer.append(4, |bytes| bytes.copy_from_slice(b"good"));
        assert_eq!(writer.publish().bytes(), b"good");
    }

    /// More than fits is refused before anything is touched.
    #[test]
    #[should_panic(expected = "9 bytes do not fit into 8")]
    fn a_segment_has_an_end() {
        Writer::new(8).append(9, |_| ());
    }
}
