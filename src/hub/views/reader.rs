//! A reader as its view sees it: a place in a stream, and a few flags.

use crate::{hub::Reader, ids::Slot};

/// A reader's place in what it reads, and what is known of its connection if the reader has the number
/// of a slot.
#[derive(Clone, Copy)]
pub(super) struct Subscriber {
    pub cursor: u64,
    /// Frames before the cursor, modulo 2^32; differences are what counts.
    pub frames: u32,
    /// The view, or [`NO_VIEW`].
    pub view: u32,
    /// Bytes that are missing from a frame that was cut.
    pub cut: u32,
    pub flags: u16,
}

pub(super) const NO_VIEW: u32 = u32::MAX;

/// Of a connection: the socket is full; the kernel will say when it is not.
pub(super) const BLOCKED: u16 = 1;
/// Of a connection: private bytes go first.
pub(super) const HELD: u16 = 2;
/// In the view's `behind` set.
pub(super) const BEHIND: u16 = 4;
/// In the view's `late` set.
pub(super) const LATE: u16 = 8;
/// Of a connection: its socket was full when last something was sent to it, and has taken nothing
/// since.
pub(super) const STUCK: u16 = 16;
/// It has yet to be told where it begins. Its cursor is at the end of all streams.
pub(super) const WAITING: u16 = 32;
/// What it had yet to read is no longer kept; it is to skip that once it can be served. Its cursor
/// says nothing.
pub(super) const LAPPED: u16 = 64;
/// Its publications are not sent as they are, but written for it alone.
pub(super) const COMPOSED: u16 = 128;
/// Of a connection: it may read several channels, by readers of their own.
pub(super) const SEVERAL: u16 = 256;
/// Of a connection with several channels: a frame of one of them was cut.
pub(super) const CUT: u16 = 512;
/// Of a connection with several channels: it is in the batch that is being filled.
pub(super) const BATCHED: u16 = 1024;

/// Of a connection, and so kept where its reader leaves a view.
const CONNECTION: u16 = BLOCKED | HELD | STUCK | SEVERAL | CUT | BATCHED;

const _: () = assert!(size_of::<Subscriber>() == 24);

impl Subscriber {
    pub const NONE: Subscriber =
        Subscriber { cursor: 0, frames: 0, view: NO_VIEW, cut: 0, flags: 0 };

    /// The same connection, reading nothing.
    pub fn without_view(&self) -> Subscriber {
        Subscriber { flags: self.flags & CONNECTION, ..Subscriber::NONE }
    }

    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Whether the next bytes of the connection may be the next bytes of the stream, for a reader that
    /// has its connection for itself.
    pub fn is_clean(&self) -> bool {
        !self.has(BLOCKED | HELD | WAITING | LAPPED | COMPOSED) && self.cut == 0
    }

    /// Whether the next bytes of its connection may be the reader's own, in whatever way it is served.
    pub fn is_ready_on(&self, connection: &Subscriber) -> bool {
        !connection.has(BLOCKED | HELD | CUT) && !self.has(WAITING) && self.cut == 0
    }
}

/// Whose connection a reader is: its own, if it has the number of one of the `slots`, and otherwise
/// that of its place behind them.
pub(super) fn owner(reader: Reader, slots: u32, owners: &[Slot]) -> Slot {
    match reader.0.checked_sub(slots) {
        Some(at) => owners[at as usize],
        None => Slot(reader.0),
    }
}
