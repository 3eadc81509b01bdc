//! What a shard knows of a connection, in bits.

use crate::{frame::Format, report::Transport};

const _: () = assert!(Format::ALL.len() < 4, "a format and none are two bits");
const _: () = assert!(Transport::ALL.len() < 8, "a transport and none are three bits");

/// What the shard knows of a slot beyond its session. Bits.
#[derive(Clone, Copy, Default)]
pub(super) struct State(u16);

impl State {
    /// There is a connection.
    pub const OPEN: u16 = 1;
    /// It counts against the server's limit.
    pub const ADMITTED: u16 = 2;
    /// In the ready queue.
    pub const READY: u16 = 4;
    /// Its end was counted.
    pub const ENDED: u16 = 8;
    /// To be shut down once its private bytes are out.
    pub const FINISH: u16 = 16;
    /// Given back to the kernel; waits for [`Event::Closed`].
    pub const CLOSING: u16 = 32;
    /// Being told that its address has too much.
    pub const REFUSED: u16 = 64;
    /// Comes by way of a proxy whose requests say for whom they are.
    pub const PROXIED: u16 = 128;
    /// Counted as a subscriber of a format: two bits, none for none, else its number and one.
    const FORMAT_SHIFT: u16 = 9;
    const FORMAT: u16 = 3 << State::FORMAT_SHIFT;
    /// Counted as spoken to in a way: three bits, none for none, else its number and one.
    const TRANSPORT_SHIFT: u16 = 11;
    const TRANSPORT: u16 = 7 << State::TRANSPORT_SHIFT;
    /// In the readable queue.
    pub const READABLE: u16 = 256;
    /// In some queue; outlives the connection, since queues are not searched at its end.
    pub const QUEUED: u16 = State::READY | State::READABLE;

    /// The format as a subscriber of which it is counted.
    pub fn format(self) -> Option<Format> {
        let code = (self.0 & State::FORMAT) >> State::FORMAT_SHIFT;
        code.checked_sub(1).map(|index| Format::ALL[usize::from(index)])
    }

    pub fn set_format(&mut self, format: Option<Format>) {
        let code = format.map_or(0, |format| format.index() as u16 + 1);
        self.0 = self.0 & !State::FORMAT | code << State::FORMAT_SHIFT;
    }

    /// The transport that it is counted under.
    pub fn transport(self) -> Option<Transport> {
        let code = (self.0 & State::TRANSPORT) >> State::TRANSPORT_SHIFT;
        code.checked_sub(1).map(|index| Transport::ALL[usize::from(index)])
    }

    pub fn set_transport(&mut self, transport: Option<Transport>) {
        let code = transport.map_or(0, |transport| transport.index() as u16 + 1);
        self.0 = self.0 & !State::TRANSPORT | code << State::TRANSPORT_SHIFT;
    }

    pub fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    pub fn set(&mut self, bit: u16) {
        self.0 |= bit;
    }

    /// Whether the slot is free, and no queue knows of it.
    #[cfg(test)]
    pub fn is_free(self) -> bool {
        self.0 == 0
    }

    /// Whether there is a connection that is not being closed.
    pub fn is_open(self) -> bool {
        self.0 & (State::OPEN | State::CLOSING) == State::OPEN
    }

    pub fn clear(&mut self, bit: u16) {
        self.0 &= !bit;
    }
}
