//! What happens to the pieces of one connection.
//!
//! Pure: the proxy says which publication is due and sends what comes out.

use std::{mem, ops::ControlFlow};

use super::{
    Fault,
    pieces::{Piece, Publication},
};

/// The faults of one connection.
pub struct Planter {
    kind: Fault,
    /// The first of two publications to swap.
    held: Option<Publication>,
    planted: u64,
}

impl Planter {
    pub fn new(kind: Fault) -> Planter {
        Planter { kind, held: None, planted: 0 }
    }

    /// Passes a piece on into `out`, changed if it is a publication that is due. A break means that
    /// the connection ends here. The second of two that are swapped is counted and not changed.
    pub fn pass(
        &mut self,
        piece: Piece,
        is_due: impl FnOnce() -> bool,
        out: &mut Vec<u8>,
    ) -> ControlFlow<()> {
        match piece {
            Piece::Control(bytes) => out.extend(bytes),
            Piece::End(bytes) => {
                self.release(out);
                out.extend(bytes);
            }
            Piece::Publication(publication) => {
                let is_due = is_due();
                if let Some(held) = self.held.take() {
                    publication.write(out);
                    held.write(out);
                    self.planted += 1;
                } else if is_due {
                    return self.plant(publication, out);
                } else {
                    publication.write(out);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Sends a publication that is held, for none came to swap it with.
    pub fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            held.write(out);
        }
    }

    /// Whether a publication is held.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// How many faults were planted since it was last asked.
    pub fn take_planted(&mut self) -> u64 {
        mem::take(&mut self.planted)
    }

    fn plant(&mut self, mut publication: Publication, out: &mut Vec<u8>) -> ControlFlow<()> {
        let is_planted = match self.kind {
            Fault::Swap => {
                self.held = Some(publication);
                return ControlFlow::Continue(());
            }
            Fault::Cut => {
                self.planted += 1;
                return ControlFlow::Break(());
            }
            // Planted in the request.
            Fault::Rewind => false,
            Fault::Drop => {
                self.planted += 1;
                return ControlFlow::Continue(());
            }
            Fault::Repeat => {
                publication.write(out);
                true
            }
            Fault::Truncate => truncate(&mut publication.payload),
            Fault::Corrupt => corrupt(&mut publication.payload),
        };
        self.planted += u64::from(is_planted);
        publication.write(out);
        ControlFlow::Continue(())
    }
}

/// Takes off the last bytes. Says whether there were any.
fn truncate(payload: &mut Vec<u8>) -> bool {
    let had_bytes = !payload.is_empty();
    payload.truncate(payload.len().saturating_sub(TRUNCATED_BYTES));
    had_bytes
}

/// Changes the printable byte that is nearest behind the middle into another. Says whether there is
/// one.
fn corrupt(payload: &mut [u8]) -> bool {
    let middle = payload.len() / 2;
    let printable = payload[middle..].iter_mut().find(|byte| (b' '..=b'~').contains(byte));
    let Some(byte) = printable else { return false };
    // The one printable byte whose neighbour is not printable.
    *byte ^= if *byte == b'~' { 2 } else { 1 };
    true
}

/// What a truncated publication has lost.
pub const TRUNCATED_BYTES: usize = 4;
