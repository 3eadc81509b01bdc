//! How many entries to ask for at a time.

/// Entries that are asked for at most: an answer with so many keeps a server for some milliseconds.
/// Where it is far away, each second brings as many of them as there are round trips in it.
const ENTRIES_MAX: usize = 16 * 1024;

/// Entries that are asked for before it is known how large they are.
const ENTRIES_FIRST: usize = 128;

/// How much more is asked for at once, if what was asked for is small.
const GROWTH: usize = 8;

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

    /// An answer had so many entries, and so many bytes; `is_full` if there may be more.
    pub(super) fn on_answer(&mut self, is_full: bool, entries: usize, bytes: usize) {
        if bytes > BYTES_MAX {
            let fit = (entries as u128 * BYTES_MAX as u128 / bytes as u128) as usize;
            self.entries = fit.clamp(1, self.entries);
        } else if is_full {
            // Half is left for entries that are larger.
            let growth = (BYTES_MAX / 2 / bytes.max(1)).clamp(1, GROWTH);
            self.entries = (self.entries * growth).min(ENTRIES_MAX);
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
            pace.on_answer(true, entries, entries * size);
            entries
        };
        let small: Vec<_> = (0..5).map(|_| asked(&mut pace, 10)).collect();
        assert_eq!(small, [128, 1024, 8192, 16384, 16384]);
        let large: Vec<_> = (0..3).map(|_| asked(&mut pace, 1 << 20)).collect();
        assert_eq!(large, [16384, 4, 4]);
        assert_eq!(asked(&mut pace, 100 << 20), 4);
        assert_eq!(asked(&mut pace, 100 << 20), 1);
        pace.on_answer(false, 0, 0);
        assert_eq!(pace.entries(), 1, "an empty answer says nothing of sizes");
    }
}
