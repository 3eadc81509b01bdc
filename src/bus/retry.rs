//! When a bus that fails is tried again, and when that is told.
#![forbid(unsafe_code)]

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

/// The shortest and the longest wait before a bus is tried again.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(100);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(10);
/// How often a failure that stays the same is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Which failures are told: each at its first time, and then once a minute while it stays.
#[derive(Default)]
pub(super) struct Told {
    last: Option<(String, Instant)>,
}

impl Told {
    /// Whether to tell of a failure.
    pub(super) fn is_due(&mut self, why: &str, now: Instant) -> bool {
        let is_told = |(last, at): &(String, Instant)| last == why && now < *at + TELL_EVERY;
        let is_due = !self.last.as_ref().is_some_and(is_told);
        if is_due {
            self.last = Some((why.to_owned(), now));
        }
        is_due
    }

    /// It went well in between: the next failure is a new one.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// Between half of the wait and all of it, so that edges that lost one bus do not come back at once.
pub(super) fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8);
    wait.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stays is told once a minute; what changes, or comes back after it went well, at once.
    #[test]
    fn a_failure_is_told_when_it_is_new_and_once_a_minute() {
        let start = Instant::now();
        let mut told = Told::default();
        for (seconds, why, expected) in [
            (0, "no stream", true),
            (1, "no stream", false),
            (59, "no stream", false),
            (60, "no stream", true),
            (119, "no stream", false),
            (119, "no answer", true),
            (119, "no stream", true),
            (178, "no stream", false),
            (179, "no stream", true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(told.is_due(why, now), expected, "{why} after {seconds} s");
        }
        told.forget();
        assert!(told.is_due("no stream", start + Duration::from_secs(180)), "it went well between");
    }
}
