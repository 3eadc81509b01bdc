//! When each publication is due, and how large it is. Open loop: nothing here knows how the server
//! fares.
//!
//! Publications are numbered through the run: first those at the plan's rate, then broadcasts. All
//! of it follows from the plan alone, so that every thread and machine has the same schedule.

use std::time::Duration;

use crate::plan::{Plan, Publishing};

/// The due times of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    publishing: Publishing,
    /// How many are due at the plan's rate.
    rated: u32,
}

impl Schedule {
    /// The schedule of a plan. Nothing is due at a rate where there is no busy channel.
    pub fn new(plan: &Plan) -> Schedule {
        let publishing = plan.publishing.clone();
        let rated = u32::try_from(publishing.at_rate()).expect("a plan has fewer than 2^32");
        Schedule { rated: if plan.active.channels() == 0 { 0 } else { rated }, publishing }
    }

    /// The number of the first broadcast: as many publications as are due at the plan's rate.
    pub fn first_broadcast(&self) -> u32 {
        self.rated
    }

    /// All publications, a broadcast counted once.
    pub fn publications(&self) -> u32 {
        self.rated + self.publishing.broadcasts
    }

    /// Whether it goes to every channel.
    pub fn is_broadcast(&self, number: u32) -> bool {
        number >= self.rated
    }

    /// When a publication is due, since publishing began.
    pub fn due(&self, number: u32) -> Duration {
        let Publishing { rate_from, rate_to, burst, duration, broadcast_every, .. } =
            self.publishing;
        if let Some(broadcast) = number.checked_sub(self.rated) {
            return duration + broadcast_every * (broadcast + 1);
        }
        // The time at which as many as this one's burst begins with have become due: the root of
        // from·t + (to - from)/(2·duration)·t², in the form that stands a zero in either place.
        let before = f64::from(number - number % burst);
        let bend = (rate_to - rate_from) / (2.0 * duration.as_secs_f64());
        let root = (rate_from * rate_from + 4.0 * bend * before).max(0.0).sqrt();
        if before == 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(2.0 * before / (rate_from + root)).min(duration)
    }

    /// When the last is due; zero if nothing is.
    pub fn end(&self) -> Duration {
        self.publications().checked_sub(1).map_or(Duration::ZERO, |last| self.due(last))
    }

    /// Bytes of a publication's payload.
    pub fn payload_bytes(&self, number: u32) -> usize {
        let Publishing { payload_min, payload_max, .. } = self.publishing;
        // Multiples of an odd number far from a power of two visit all remainders evenly.
        let step = number.wrapping_mul(0x9e37_79b1) >> 8;
        (payload_min + step % (payload_max - payload_min + 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    fn schedule(change: impl FnOnce(&mut Publishing)) -> Schedule {
        let mut plan = sample();
        change(&mut plan.publishing);
        Schedule::new(&plan)
    }

    fn dues(schedule: &Schedule) -> Vec<u128> {
        (0..schedule.publications()).map(|number| schedule.due(number).as_millis()).collect()
    }

    /// At a constant rate publications are due at even distances, from the very beginning.
    #[test]
    fn a_constant_rate_is_even() {
        let schedule = schedule(|it| {
            (it.rate_from, it.rate_to, it.duration) = (4.0, 4.0, Duration::from_secs(2));
        });
        assert_eq!(dues(&schedule), [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
        assert_eq!(schedule.end(), Duration::from_millis(1750));
    }

    /// Over a ramp as many publications are due as the rate's mean says, ever closer together.
    #[test]
    fn a_rising_rate_rises_evenly() {
        let schedule = schedule(|it| {
            (it.rate_from, it.rate_to, it.duration) = (0.0, 8.0, Duration::from_secs(2));
        });
        // n = 2 t², so t = √(n/2).
        let want: Vec<u128> =
            (0..8).map(|n| (f64::from(n) / 2.0).sqrt() * 1e3).map(|ms| ms as u128).collect();
        assert_eq!(dues(&schedule), want);
    }

    /// A falling rate ends with the duration and not before.
    #[test]
    fn a_falling_rate_may_end_at_zero() {
        let schedule = schedule(|it| {
            (it.rate_from, it.rate_to, it.duration) = (8.0, 0.0, Duration::from_secs(2));
        });
        // n = 8 t - 2 t², so t = 2 - √(4 - n/2).
        let want: Vec<u128> = (0..8)
            .map(|n| 2e3 - (4.0 - f64::from(n) / 2.0).sqrt() * 1e3)
            .map(|ms| ms as u128)
            .collect();
        assert_eq!(dues(&schedule), want);
    }

    /// A burst is due at the instant of its first, and the rate stays what it is.
    #[test]
    fn a_burst_is_due_at_one_instant() {
        let schedule = schedule(|it| {
            (it.rate_from, it.rate_to, it.burst) = (4.0, 4.0, 4);
            it.duration = Duration::from_secs(2);
        });
        assert_eq!(dues(&schedule), [0, 0, 0, 0, 1000, 1000, 1000, 1000]);
    }

    /// Broadcasts come after everything else, one by one.
    #[test]
    fn broadcasts_come_last() {
        let schedule = schedule(|it| {
            (it.rate_from, it.rate_to, it.broadcasts) = (1.0, 1.0, 2);
            (it.duration, it.broadcast_every) = (Duration::from_secs(2), Duration::from_secs(5));
        });
        assert_eq!(dues(&schedule), [0, 1000, 7000, 12000]);
        assert_eq!((0..4).filter(|&it| schedule.is_broadcast(it)).collect::<Vec<_>>(), [2, 3]);
    }

    /// Nothing is due where nobody could get it, and nothing at a rate of zero.
    #[test]
    fn nothing_is_due_without_a_rate() {
        assert_eq!(schedule(|it| (it.rate_from, it.rate_to) = (0.0, 0.0)).publications(), 0);
        let mut plan = sample();
        plan.active.connections = 0;
        assert_eq!(Schedule::new(&plan).publications(), 0);
    }

    /// Payloads have every size of their range about equally often, and no other.
    #[test]
    fn sizes_fill_their_range() {
        let schedule = schedule(|it| (it.payload_min, it.payload_max) = (60, 69));
        let mut counts = [0; 10];
        (0..1000).for_each(|number| counts[schedule.payload_bytes(number) - 60] += 1);
        assert!(counts.iter().all(|count| (80..=120).contains(count)), "{counts:?}");
    }
}
