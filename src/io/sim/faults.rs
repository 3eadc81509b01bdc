//! What goes wrong in the simulated network, and the dice that decide when.
#![forbid(unsafe_code)]

/// Chances in a thousand, and sizes. [`Faults::default`] is a network without faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A send is cut although there is room; the rest goes after a write poll.
    pub cut_send: u32,
    /// A send is refused although there is room; a write poll fires later.
    pub refused_send: u32,
    /// A receive brings less than is there.
    pub cut_receive: u32,
    /// A send of a batch finds that the peer has just reset the connection.
    pub reset: u32,
    /// An event is held back for this call of `events`.
    pub late: u32,
    /// A write poll fires although the socket is still full.
    pub spurious_writable: u32,
    /// Bytes that a connection's send buffer holds.
    pub socket_bytes: usize,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            cut_send: 0,
            refused_send: 0,
            cut_receive: 0,
            reset: 0,
            late: 0,
            spurious_writable: 0,
            socket_bytes: 64 * 1024,
        }
    }
}

impl Faults {
    /// Everything but resets goes wrong often, and sockets are small.
    pub fn rough() -> Faults {
        Faults {
            cut_send: 150,
            refused_send: 150,
            cut_receive: 300,
            reset: 0,
            late: 300,
            spurious_writable: 50,
            socket_bytes: 700,
        }
    }

    /// The same, with resets in the middle of batches.
    pub fn rough_with_resets() -> Faults {
        Faults { reset: 5, ..Faults::rough() }
    }
}

/// Seeded dice: splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// True this often in a thousand.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille as usize
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
