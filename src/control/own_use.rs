//! What the process itself uses, as the kernel tells it in `/proc/self`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

/// Memory and time that the process has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnUse {
    /// Bytes of memory that are resident.
    pub(super) resident_bytes: u64,
    /// Seconds of CPU, of all threads, in user space and in the kernel.
    pub(super) cpu_seconds: f64,
}

/// Reads them now. Where `/proc` is not mounted they are zero.
pub(super) fn own_use() -> OwnUse {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    OwnUse {
        resident_bytes: resident_bytes(&read("/proc/self/statm")).unwrap_or(0),
        cpu_seconds: cpu_seconds(&read("/proc/self/stat")).unwrap_or(0.0),
    }
}

/// The second number of `statm` counts pages.
fn resident_bytes(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// Fields 14 and 15 of `stat` count clock ticks. The second field is the program's name in
/// parentheses, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program's name with spaces and parentheses does not shift the fields.
    #[test]
    fn the_fields_are_counted_from_behind_the_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0";
        assert_eq!(cpu_seconds(stat), Some(400.0 / clock_ticks_per_second() as f64));
        assert_eq!(resident_bytes("9 3 1 0"), Some(3 * page_size() as u64));
        assert!(own_use().resident_bytes > 0, "this test is a process");
    }
}
