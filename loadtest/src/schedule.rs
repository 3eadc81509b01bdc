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
        let seconds = publishing.duration.as_secs_f64();
        let mean = (publishing.rate_from + publishing.rate_to) / 2.0;
        // Rounded first, since 0.1 × 30 is a little more than 3.
        let rated = ((mean * seconds * 1e6).round() / 1e6).ceil() as u32;
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
