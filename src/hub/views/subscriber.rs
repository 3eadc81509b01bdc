//! A connection as its view sees it: a place in a stream, and a few flags.

/// A connection's place in what it reads.
#[derive(Clone, Copy)]
pub(super) struct Subscriber {
    pub cursor: u64,
    /// Frames before the cursor, modulo 2^32; differences are what counts.
    pub frames: u32,
    /// The view, or [`NO_VIEW`].
    pub view: u32,
    /// Bytes that are missing from a frame that was cut.
    pub cut: u32,
    pub flags: u8,
}

pub(super) const NO_VIEW: u32 = u32::MAX;

/// The socket is full; the kernel will say when it is not.
pub(super) const BLOCKED: u8 = 1;
/// Private bytes go first.
pub(super) const HELD: u8 = 2;
/// In the view's `behind` set.
pub(super) const BEHIND: u8 = 4;
/// In the view's `late` set.
pub(super) const LATE: u8 = 8;
/// The socket was full when last something was sent to it, and has taken nothing since.
pub(super) const STUCK: u8 = 16;

const _: () = assert!(size_of::<Subscriber>() == 24);

impl Subscriber {
    pub const NONE: Subscriber =
        Subscriber { cursor: 0, frames: 0, view: NO_VIEW, cut: 0, flags: 0 };

    /// The same connection, reading nothing.
    pub fn without_view(&self) -> Subscriber {
        Subscriber { flags: self.flags & (BLOCKED | HELD | STUCK), ..Subscriber::NONE }
    }

    /// Whether the next bytes of the connection may be the next bytes of the stream.
    pub fn is_clean(&self) -> bool {
        self.flags & (BLOCKED | HELD) == 0 && self.cut == 0
    }
}
