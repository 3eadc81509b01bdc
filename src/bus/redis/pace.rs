//! How many entries to ask for at a time.

/// Entries in one answer at most.
const ENTRIES_MAX: usize = 1024;

/// Entries that are asked for before it is known how large they are.
const ENTRIES_FIRST: usize = 32;

/// Bytes that one answer should have at most: it is in memory at once. Entries can be larger than
/// those before them, so it can have more, once.
const BYTES_MAX: usize = 4 << 20;

/// Follows the size of the entries, so that an answer is large enough to be worth its round trip and
/// small enough to be kept.
#[derive(Debug)]
pub(super) struct Pace {
    entries: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace { entries: ENTRIES_FIRST }
    }

    /// Entries to ask for.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// An answer had so many entries, and so many bytes.
    pub(super) fn on_answer(&mut self, entries: usize, bytes: usize) {
        if bytes > BYTES_MAX {
            let fit = (entries as u128 * BYTES_MAX as u128 / bytes as u128) as usize;
            self.entries = fit.clamp(1, self.entries);
        } else if entries >= self.entries && bytes <= BYTES_MAX / 2 {
            self.entries = (self.entries * 2).min(ENTRIES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small entries are asked for by the thousand, large ones one by one.
    #[test]
    fn answers_stay_within_their_bytes() {
        let mut pace = Pace::new();
        let asked = |pace: &mut Pace, size: usize| {
            let entries = pace.entries();
            pace.on_answer(entries, entries * size);
            entries
        };
        let small: Vec<_> = (0..7).map(|_| asked(&mut pace, 100)).collect();
        assert_eq!(small, [32, 64, 128, 256, 512, 1024, 1024]);
        let large: Vec<_> = (0..3).map(|_| asked(&mut pace, 1 << 20)).collect();
        assert_eq!(large, [1024, 4, 4]);
        assert_eq!(asked(&mut pace, 100 << 20), 4);
        assert_eq!(asked(&mut pace, 100 << 20), 1);
        pace.on_answer(0, 0);
        assert_eq!(pace.entries(), 1, "an empty answer says nothing of sizes");
    }
}
