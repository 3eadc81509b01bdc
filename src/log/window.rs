//! A reading shard's stretch of a channel's stream.

use std::collections::VecDeque;

use super::{Extent, Mark, Place, Stamp};
use crate::ids::Offset;

/// The part of a stream that a shard keeps for its subscribers. Of a dense stream it is contiguous
/// from [`Window::floor`] to [`Window::head`]; of a sparse one everything that was not replaced is
/// in it.
#[derive(Debug)]
pub struct Window {
    extents: VecDeque<Extent>,
    floor: u64,
    head: Place,
    /// Bytes of memory that the segments occupy.
    memory: usize,
    sparse: bool,
}

/// What a subscriber is owed next: one slice, at most to the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<'a> {
    /// Where it begins: later than the subscriber stands where what is between was replaced.
    pub start: u64,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where they end.
    pub end: Mark,
}

/// Where a byte lies among frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Frames that end at or before it.
    pub frames: u64,
    /// Bytes from it to the end of the frame that it is inside of; none between two frames.
    pub missing: usize,
    /// The offset of the last publication that ends at or before it.
    pub before: Offset,
}

impl Window {
    /// An empty window at a place in the stream: nothing before it will be read, unless it is
    /// [added](Window::add_older).
    pub fn at(head: Place, sparse: bool) -> Self {
        Window { extents: VecDeque::new(), floor: head.mark.byte, head, memory: 0, sparse }
    }

    /// The end of what is known.
    pub fn head(&self) -> Place {
        self.head
    }

    /// The first byte that can be read. Whoever stands before it was lapped.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes of memory that the window's segments occupy.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether frames may have been replaced.
    pub fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// Whether nothing was ever in it.
    pub fn is_blank(&self) -> bool {
        self.extents.is_empty()
    }

    /// Whether more than the newest segment is kept.
    pub fn is_behind(&self) -> bool {
        self.extents.len() > 1
    }

    /// The oldest place that a subscriber can be put to.
    pub fn oldest(&self) -> Place {
        self.extents.front().map_or(self.head, |oldest| oldest.place(0))
    }

    /// The place before the newest publication, or the head if that is not kept.
    pub fn newest(&self) -> Place {
        let newest = self.extents.back().filter(|newest| !newest.bytes.is_empty());
        newest.map_or(self.head, |newest| newest.place(newest.bytes.frames() - 1))
    }

    /// The place behind the last publication with an offset of at most `offset`; at the earliest the
    /// oldest, at the latest the head.
    pub fn behind(&self, offset: Offset) -> Place {
        let first = self.extents.partition_point(|extent| extent.last() <= offset);
        match self.extents.get(first) {
            Some(extent) => extent.place(extent.bytes.frames_up_to(offset.0)),
            None => self.head,
        }
    }

    /// Takes news of the stream: a new segment, or more of the newest. Old news changes nothing.
    /// Behind a gap a dense window starts anew, and its floor is above everyone.
    pub fn on_extent(&mut self, extent: Extent) {
        if extent.end.byte <= self.head.mark.byte {
            return;
        }
        let start = extent.start();
        if start > self.head.mark.byte && !self.sparse {
            self.extents.clear();
            (self.floor, self.memory) = (start, 0);
        }
        self.head = extent.place(extent.bytes.frames());
        match self.extents.back_mut() {
            Some(newest) if newest.bytes.same_segment(&extent.bytes) => *newest = extent,
            _ => {
                if self.extents.is_empty() {
                    // A window that begins inside a segment has all of it.
                    self.floor = self.floor.min(start);
                }
                self.memory += extent.bytes.capacity();
                // Most windows have one segment, and room for four takes 192 bytes.
                self.extents.reserve_exact(usize::from(self.extents.is_empty()));
                self.extents.push_back(extent);
            }
        }
    }

    /// Takes extents for a subscriber that begins in the first of them, oldest first: those that are
    /// older than what is known. What is newer is to be taken [before](Window::on_extent).
    pub fn add_older(&mut self, extents: &[Extent]) {
        let Some(first) = extents.first() else { return };
        let known = self.extents.front().map_or(self.head.mark.byte, Extent::start);
        let older = extents.iter().filter(|extent| extent.end.byte <= known);
        for extent in older.rev() {
            self.memory += extent.bytes.capacity();
            self.extents.push_front(extent.clone());
        }
        if self.sparse {
            self.fill_holes(extents);
        }
        self.floor = self.floor.min(first.start());
    }

    /// Puts extents of a sparse stream that were dropped here, but not at home, back into their place.
    fn fill_holes(&mut self, extents: &[Extent]) {
        for extent in extents {
            let at = self.extents.partition_point(|known| known.end.byte < extent.end.byte);
            let next = self.extents.get(at);
            let is_known = next.is_none_or(|next| next.start() <= extent.start());
            if !is_known {
                self.memory += extent.bytes.capacity();
                self.extents.insert(at, extent.clone());
            }
        }
    }

    /// What a reader at `byte`, between the floor and the head, is owed next. `None` at the head,
    /// and where everything up to the head was replaced.
    ///
    /// Called once per subscriber and sweep: most stand in the newest segment, found at once.
    pub fn due(&self, byte: u64) -> Option<Due<'_>> {
        debug_assert!(self.sparse || byte >= self.floor, "{byte} {} {:?}", self.floor, self.head);
        debug_assert!(byte <= self.head.mark.byte);
        if self.sparse {
            return self.due_sparse(byte);
        }
        let extent = self.around(byte)?;
        let bytes = &extent.bytes.bytes()[(byte - extent.start()) as usize..];
        (!bytes.is_empty()).then_some(Due { start: byte, bytes, end: extent.end })
    }

    /// The run of frames at or behind `byte` that were not replaced.
    fn due_sparse(&self, byte: u64) -> Option<Due<'_>> {
        let first = self.extents.partition_point(|extent| extent.end.byte <= byte);
        self.extents.range(first..).find_map(|extent| {
            let (frames, start) = (&extent.bytes, extent.start());
            let inside = byte.saturating_sub(start) as usize;
            let is_current = |index: &usize| !frames.is_replaced(*index);
            let from = (frames.frames_until(inside)..frames.frames()).find(is_current)?;
            let until = (from..frames.frames()).find(|index| !is_current(index));
            let until = until.unwrap_or(frames.frames());
            let bytes = &frames.bytes()[frames.start(from)..frames.end(until - 1)];
            let start = start + frames.start(from) as u64;
            Some(Due { start, bytes, end: extent.place(until).mark })
        })
    }

    /// The extent that `byte` lies in, or that it ends, if nothing is behind it.
    fn around(&self, byte: u64) -> Option<&Extent> {
        let newest = self.extents.back().filter(|newest| newest.start() <= byte);
        newest.or_else(|| {
            let after = self.extents.partition_point(|extent| extent.end.byte <= byte);
            self.extents.get(after)
        })
    }

    /// The `len` bytes at `byte`, which lie in one segment.
    pub fn bytes(&self, byte: u64, len: usize) -> &[u8] {
        match self.around(byte) {
            Some(extent) => &extent.bytes.bytes()[(byte - extent.start()) as usize..][..len],
            None => &[],
        }
    }

    /// Where a byte that can be read lies among frames.
    pub fn find(&self, byte: u64) -> Around {
        // Behind the last segment of a sparse stream everything up to the head was replaced.
        let extent = self.around(byte).filter(|extent| byte < extent.end.byte);
        let Some(extent) = extent else {
            let Place { mark, before } = self.head;
            return Around { frames: mark.frames, missing: 0, before };
        };
        // What is missing between two segments of a sparse stream was replaced.
        let inside = byte.saturating_sub(extent.start()) as usize;
        let index = extent.bytes.frames_until(inside);
        let Place { mark, before } = extent.place(index);
        let missing = if mark.byte >= byte { 0 } else { extent.bytes.end(index) - inside };
        Around { frames: mark.frames, missing, before }
    }

    /// The frames at or behind `byte` that a subscriber is owed, one by one.
    pub fn frames(&self, byte: u64) -> impl Iterator<Item = (Stamp, &[u8], Mark)> {
        let first = self.extents.partition_point(|extent| extent.end.byte <= byte);
        self.extents.range(first..).flat_map(move |extent| {
            let inside = byte.saturating_sub(extent.start()) as usize;
            let indexes = extent.bytes.frames_until(inside)..extent.bytes.frames();
            let owed = indexes.filter(|&index| !self.sparse || !extent.bytes.is_replaced(index));
            owed.map(|index| {
                (extent.stamp(index), extent.bytes.frame(index), extent.place(index + 1).mark)
            })
        })
    }

    /// Drops segments that end at or before `byte`: nobody here needs them any more. The newest
    /// stays, since more may be written to it.
    pub fn trim(&mut self, byte: u64) {
        while self.extents.len() > 1 && self.extents[0].end.byte <= byte {
            self.drop_oldest();
        }
    }

    /// Drops the segments of a sparse window, but the newest, in which everything was replaced.
    pub fn trim_replaced(&mut self) {
        let Some(newest) = self.extents.pop_back() else { return };
        let memory = &mut self.memory;
        self.extents.retain(|extent| {
            let kept = !is_replaced(extent);
            *memory -= if kept { 0 } else { extent.bytes.capacity() };
            kept
        });
        self.extents.push_back(newest);
    }

    /// Whether `byte` is inside a segment of a sparse window, other than the newest, in which
    /// everything was replaced.
    pub fn pins(&self, byte: u64) -> bool {
        let newest = self.extents.back().map(Extent::start);
        let extent = self.around(byte).filter(|extent| Some(extent.start()) != newest);
        extent.is_some_and(is_replaced)
    }

    /// Drops the oldest segments until at most `bytes_max` bytes of memory or the newest segment
    /// alone are left. What ends above `spared` is given up only beyond twice as many bytes.
    pub fn limit(&mut self, bytes_max: usize, spared: u64) {
        while self.extents.len() > 1
            && is_too_much(self.memory, &self.extents[0], bytes_max, spared)
        {
            self.drop_oldest();
        }
    }

    /// The floor that there would be after `extent` was taken and the window limited.
    pub fn floor_with(&self, extent: &Extent, bytes_max: usize, spared: u64) -> u64 {
        if extent.end.byte <= self.head.mark.byte || self.sparse {
            return self.floor;
        }
        if extent.start() > self.head.mark.byte {
            return extent.start();
        }
        let same = |newest: &Extent| newest.bytes.same_segment(&extent.bytes);
        let added = match self.extents.back() {
            Some(newest) if same(newest) => 0,
            _ => extent.bytes.capacity(),
        };
        let (mut memory, mut floor) = (self.memory + added, self.floor);
        let droppable = self.extents.len() - usize::from(added == 0 && !self.extents.is_empty());
        for oldest in self.extents.iter().take(droppable) {
            if !is_too_much(memory, oldest, bytes_max, spared) {
                break;
            }
            (memory, floor) = (memory - oldest.bytes.capacity(), oldest.end.byte);
        }
        floor
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.extents.pop_front() {
            self.memory -= oldest.bytes.capacity();
            self.floor = self.floor.max(oldest.end.byte);
        }
    }
}

/// Whether the oldest segment has to go where this much memory is taken.
fn is_too_much(memory: usize, oldest: &Extent, bytes_max: usize, spared: u64) -> bool {
    memory > bytes_max && (oldest.end.byte <= spared || memory > bytes_max.saturating_mul(2))
}

/// Whether every frame was replaced.
fn is_replaced(extent: &Extent) -> bool {
    (0..extent.bytes.frames()).all(|index| extent.bytes.is_replaced(index))
}
