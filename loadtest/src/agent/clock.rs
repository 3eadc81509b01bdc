//! What another machine's clock says, as far as messages between the two can tell.
//!
//! A [`MachineClock`] shows nanoseconds since 1970 as the machine believed when the clock was
//! started, and runs evenly from there: nobody who sets the time of day moves it. The difference
//! between two of them is what an operator knows as the difference between two machines.
//!
//! Whoever asks for another clock's time knows that it was read between question and answer, so the
//! middle is wrong by half the round trip at most, however unevenly the two ways share it.

use std::time::{Duration, Instant, SystemTime};

/// A clock that runs evenly and that another machine can be told.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    started: Instant,
    shown_at_start: Duration,
}

/// One question for another clock's time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When it was asked, by our clock.
    pub asked: u64,
    /// What the other clock showed.
    pub shown: u64,
    /// When the answer was here, by our clock.
    pub answered: u64,
}

/// How far another clock is ahead of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Nanoseconds that it is ahead; negative if it is behind.
    pub nanos: i64,
    /// By how much that may be wrong at most.
    pub error_nanos: u64,
}

impl MachineClock {
    /// A clock that shows the time of day.
    pub fn start() -> MachineClock {
        let shown = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        MachineClock { started: Instant::now(), shown_at_start: shown.unwrap_or_default() }
    }

    /// The same clock, set ahead.
    #[cfg(test)]
    pub fn ahead_by(self, time: Duration) -> MachineClock {
        MachineClock { shown_at_start: self.shown_at_start + time, ..self }
    }

    /// What it shows at this instant.
    pub fn nanos(&self, at: Instant) -> u64 {
        let shown = match at.checked_duration_since(self.started) {
            Some(since) => self.shown_at_start + since,
            None => self.shown_at_start.saturating_sub(self.started.duration_since(at)),
        };
        shown.as_nanos() as u64
    }

    /// The instant at which it shows this; none if that is too far off.
    pub fn instant(&self, nanos: u64) -> Option<Instant> {
        let shown = Duration::from_nanos(nanos);
        match shown.checked_sub(self.shown_at_start) {
            Some(since) => self.started.checked_add(since),
            None => self.started.checked_sub(self.shown_at_start - shown),
        }
    }
}

impl Offset {
    /// What the exchange with the shortest round trip says; `None` if there was no exchange.
    pub fn best(exchanges: &[Exchange]) -> Option<Offset> {
        exchanges.iter().map(Exchange::offset).min_by_key(|offset| offset.error_nanos)
    }

    /// What the other clock shows when ours shows this.
    pub fn shown_there(&self, ours: u64) -> u64 {
        ours.saturating_add_signed(self.nanos)
    }
}

impl Exchange {
    fn offset(&self) -> Offset {
        // Rounded up, so that the error covers the nanosecond that halving loses.
        let half = (self.answered - self.asked).div_ceil(2);
        let middle = self.asked + (self.answered - self.asked) / 2;
        Offset { nanos: self.shown.wrapping_sub(middle).cast_signed(), error_nanos: half }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The true offset is within the error, however long either way took.
        ///
        /// Method: a clock that is ahead by a known time is asked through delays of any length.
        #[test]
        fn the_offset_is_no_further_off_than_its_error(
            ahead in -1_000_000_000_000i64..1_000_000_000_000,
            ways in prop::collection::vec((0u64..2_000_000_000, 0u64..2_000_000_000), 1..16),
        ) {
            let mut now = 1_700_000_000_000_000_000u64;
            let exchange = |(there, back): (u64, u64)| {
                let asked = now;
                let shown = (now + there).wrapping_add_signed(ahead);
                now += there + back;
                Exchange { asked, shown, answered: now }
            };
            let exchanges: Vec<_> = ways.iter().copied().map(exchange).collect();
            let offset = Offset::best(&exchanges).expect("there was one");
            prop_assert!(offset.nanos.abs_diff(ahead) <= offset.error_nanos);
            let shortest = ways.iter().map(|(there, back)| there + back).min().expect("one");
            prop_assert_eq!(offset.error_nanos, shortest.div_ceil(2));
        }
    }

    /// An instant told to another machine and back is the same instant.
    #[test]
    fn instants_are_told_exactly() {
        let ours = MachineClock::start();
        let theirs = ours.ahead_by(Duration::from_secs(90));
        let offset = Offset { nanos: 90_000_000_000, error_nanos: 0 };
        let started = Instant::now();
        for later in [0, 1, 999_999_999, 86_400_000_000_001] {
            let at = started + Duration::from_nanos(later);
            assert_eq!(theirs.instant(offset.shown_there(ours.nanos(at))), Some(at));
        }
        let before = ours.started - Duration::from_millis(5);
        assert_eq!(ours.instant(ours.nanos(before)), Some(before));
    }
}
