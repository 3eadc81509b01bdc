//! How fast a channel goes now: its publications per second.
//!
//! What is past counts less and less, so that eight bytes are enough and no clock has to tick.

/// Publications of late. Times are in hundredths of a second and may wrap around.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// How many, each counted for less the longer ago it was.
    recent: f32,
    /// When that was right.
    at: u32,
}

impl Pace {
    /// Counts a publication. Bursts cost an addition each.
    pub fn count(&mut self, now: u32) {
        if now != self.at {
            *self = Pace { recent: self.faded(now), at: now };
        }
        self.recent += 1.0;
    }

    /// Publications per second, over the last [`WINDOW`] or so; 0 once that is next to nothing.
    pub fn per_second(&self, now: u32) -> f64 {
        let rate = f64::from(self.faded(now)) * 100.0 / f64::from(WINDOW);
        if rate < NEXT_TO_NOTHING { 0.0 } else { rate }
    }

    fn faded(&self, now: u32) -> f32 {
        // A shard's own clock never goes back, but a question may carry the time of a turn before.
        let passed = now.wrapping_sub(self.at).cast_signed().max(0);
        self.recent * (-(passed as f32) / WINDOW).exp()
    }
}

/// What a publication counts for has fallen to 1/e after this: 5 s.
const WINDOW: f32 = 500.0;
/// A publication in 100 s.
const NEXT_TO_NOTHING: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    /// A steady rate is told within a hundredth, a burst counts at once and fades, and the clock's
    /// wrapping around changes nothing.
    #[test]
    fn the_rate_is_that_of_late() {
        for begin in [0, u32::MAX - 3000] {
            let mut pace = Pace::default();
            let at = |hundredths: u32| begin.wrapping_add(hundredths);
            (0..6000).for_each(|hundredth| (0..3).for_each(|_| pace.count(at(hundredth))));
            let rate = pace.per_second(at(5999));
            assert!((rate - 300.0).abs() < 3.0, "{rate}");
            let later = pace.per_second(at(5999 + 500));
            assert!((later / rate - (-1.0f64).exp()).abs() < 1e-5, "{later} after {rate}");
            assert_eq!(pace.per_second(at(5999 + 10_000)), 0.0);
            assert_eq!(pace.per_second(at(5998)), rate, "a time that has passed already");
        }
        let mut burst = Pace::default();
        (0..1000).for_each(|_| burst.count(7));
        assert_eq!(burst.per_second(7), 200.0);
    }
}
