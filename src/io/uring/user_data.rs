//! What a request carries so that its completion can be understood: kind, generation and slot.
//!
//! Completions may come in any order and long after the slot has moved on. The generation tells
//! to which of a slot's connections a completion belongs.
#![forbid(unsafe_code)]

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nobody cares: a cancellation.
    Ignored = 0,
    /// An accept; the slot is the ring's number, and the generation the listener's.
    Accept,
    /// The pause after a failed accept is over.
    AcceptAgain,
    /// A connection was put into the slot by hand. Never seen by the kernel.
    Adopted,
    /// A poll for reading.
    Read,
    /// A poll for writing.
    Write,
    /// A shutdown.
    Shutdown,
    /// A close.
    Close,
    /// The poll on the bell.
    Bell,
    /// Part of the batch under way; the slot is the index in the batch.
    Batch,
}

const KINDS: [Kind; 10] = [
    Kind::Ignored,
    Kind::Accept,
    Kind::AcceptAgain,
    Kind::Adopted,
    Kind::Read,
    Kind::Write,
    Kind::Shutdown,
    Kind::Close,
    Kind::Bell,
    Kind::Batch,
];

/// The 64 bits that travel with a request: kind (8), generation (24), slot (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserData(pub u64);

impl UserData {
    pub(super) fn new(kind: Kind, generation: u32, slot: u32) -> UserData {
        debug_assert!(generation <= GENERATION_MAX);
        UserData(u64::from(kind as u8) << 56 | u64::from(generation) << 32 | u64::from(slot))
    }

    /// The kind. A number that we never gave out is nobody's.
    pub(super) fn kind(self) -> Kind {
        KINDS.get((self.0 >> 56) as usize).copied().unwrap_or(Kind::Ignored)
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & GENERATION_MAX
    }

    pub(super) fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// Generations count modulo 2^24. All requests of a connection are over before its slot is given
/// up, so a stale completion is one generation old, not sixteen million.
pub(super) const GENERATION_MAX: u32 = 0x00ff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes in comes out, at the edges of every field.
    #[test]
    fn user_data_carries_kind_generation_and_slot() {
        for kind in KINDS {
            for generation in [0, 1, GENERATION_MAX] {
                for slot in [0, 1, u32::MAX] {
                    let user_data = UserData::new(kind, generation, slot);
                    assert_eq!(user_data.kind(), kind);
                    assert_eq!(user_data.generation(), generation);
                    assert_eq!(user_data.slot(), slot);
                }
            }
        }
        assert_eq!(UserData(u64::MAX).kind(), Kind::Ignored);
    }
}
