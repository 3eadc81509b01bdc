//! What goes wrong in the simulated network.
#![forbid(unsafe_code)]

use super::Dice;

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

    /// Any network: one without faults, a rough one, or one of any chances. Its sockets hold 100 bytes
    /// and less than `socket_bytes_max` more.
    pub fn any(dice: &mut Dice, socket_bytes_max: usize) -> Faults {
        let socket_bytes = 100 + dice.below(socket_bytes_max);
        match dice.below(5) {
            0 => Faults::default(),
            1 => Faults { socket_bytes, ..Faults::rough() },
            2 => Faults { socket_bytes, ..Faults::rough_with_resets() },
            _ => Faults {
                cut_send: dice.below(400) as u32,
                refused_send: dice.below(300) as u32,
                cut_receive: dice.below(600) as u32,
                reset: dice.of(&[0, 0, 1, 10]),
                late: dice.below(500) as u32,
                spurious_writable: dice.below(100) as u32,
                socket_bytes,
            },
        }
    }
}
