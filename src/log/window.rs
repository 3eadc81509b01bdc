//! A reading shard's stretch of a channel's stream.

use std::collections::VecDeque;

use super::{Extent, Mark};

/// The part of a stream that a shard keeps for its subscribers. Contiguous from
/// [`Window::floor`] to [`Window::head`].
#[derive(Debug)]
pub struct Window {
    extents: VecDeque<Extent>,
    floor: u64,
    head: Mark,
    /// Bytes of memory that the segments occupy.
    memory: usize,
}

/// What a subscriber is owed next: one slice, to the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where they end.
    pub end: Mark,
}

impl Window {
    /// An empty window at a place in the stream: nothing before it will ever be read.
    pub fn at(head: Mark) -> Self {
        Window { extents: VecDeque::new(), floor: head.byte, head, memory: 0 }
    }

    /// The end of what is known.
    pub fn head(&self) -> Mark {
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

    /// Whether more than the newest segment is kept.
    pub fn is_behind(&self) -> bool {
        self.extents.len() > 1
    }

    /// Takes news of the stream: a new segment, or more of the newest. Old news changes nothing.
    /// Behind a gap the window starts anew, and its floor is above everyone.
    pub fn on_extent(&mut self, extent: Extent) {
        if extent.end.byte <= self.head.byte {
            return;
        }
        let start = extent.start();
        if start > self.head.byte {
            self.extents.clear();
            (self.floor, self.memory) = (start, 0);
        }
        self.head = extent.end;
        match self.extents.back_mut() {
            Some(newest) if newest.bytes.same_segment(&extent.bytes) => *newest = extent,
            _ => {
                self.memory += extent.bytes.capacity();
                self.extents.push_back(extent);
            }
        }
    }

    /// What a reader at `byte`, between the floor and the head, is owed next. `None` at the head.
    ///
    /// Called once per subscriber and sweep: most stand in the newest segment, found at once.
    pub fn due(&self, byte: u64) -> Option<Due<'_>> {
        debug_assert!(byte >= self.floor && byte <= self.head.byte);
        let newest = self.extents.back().filter(|newest| newest.start() <= byte);
        let extent = newest.or_else(|| {
            let after = self.extents.partition_point(|extent| extent.end.byte <= byte);
            self.extents.get(after)
        })?;
        let bytes = &extent.bytes.bytes()[(byte - extent.start()) as usize..];
        (!bytes.is_empty()).then_some(Due { bytes, end: extent.end })
    }

    /// The `len` bytes at `byte`, which lie in one segment.
    pub fn bytes(&self, byte: u64, len: usize) -> &[u8] {
        &self.due(byte).map_or(&[][..], |due| due.bytes)[..len]
    }

    /// Drops segments that end at or before `byte`: nobody here needs them any more. The newest
    /// stays, since more may be written to it.
    pub fn trim(&mut self, byte: u64) {
        while self.extents.len() > 1 && self.extents[0].end.byte <= byte {
            self.drop_oldest();
        }
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
        if extent.end.byte <= self.head.byte {
            return self.floor;
        }
        if extent.start() > self.head.byte {
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
            self.floor = oldest.end.byte;
        }
    }
}

/// Whether the oldest segment has to go where this much memory is taken.
fn is_too_much(memory: usize, oldest: &Extent, bytes_max: usize, spared: u64) -> bool {
    memory > bytes_max && (oldest.end.byte <= spared || memory > bytes_max.saturating_mul(2))
}
