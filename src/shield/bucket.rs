//! Permits that come back with time.

use super::BURST_SECONDS;
use crate::{ids::Tick, limits::TICK_MS};

/// Parts of a permit that come back in a tick for each permit per second.
const PARTS: u64 = 1000 / TICK_MS;

const _: () = assert!(1000 % TICK_MS == 0, "so that a permit has whole parts");

/// Permits for what may be done so many times per second, and at once as often as in
/// [`BURST_SECONDS`]. Full when it is new.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Parts of permits that were taken and have not come back.
    spent: u32,
    /// As of when.
    at: Tick,
}

impl Bucket {
    /// Takes a permit, if there is one. A rate of 0 is no limit.
    pub fn take(&mut self, rate: u32, now: Tick) -> bool {
        let back = u64::from(now.0.saturating_sub(self.at.0)) * u64::from(rate);
        let spent = u64::from(self.spent).saturating_sub(back) + PARTS;
        let fits = rate == 0 || spent <= u64::from(rate) * PARTS * u64::from(BURST_SECONDS);
        if fits {
            // A rate that is beyond what can be counted is no limit.
            // A clock that another thread read earlier must not let the same time pass twice.
            self.spent = u32::try_from(spent).unwrap_or(u32::MAX);
            self.at = self.at.max(now);
        }
        fits
    }
}

/// What a connection has said of what it may, in the two bytes that a session has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent(u16);

impl Spent {
    /// The most that can be counted.
    pub const MOST: u16 = u16::MAX - 2;
    /// Of a connection that may say as much as it likes.
    pub const EXEMPT: Spent = Spent(u16::MAX);
    /// Of one whose next request has yet to say for whom it is.
    pub const UNTOLD: Spent = Spent(u16::MAX - 1);

    /// Takes one permit of so many; whether there was one.
    pub fn take(&mut self, most: u16) -> bool {
        let fits = *self == Spent::EXEMPT || self.0 < most;
        if fits && *self != Spent::EXEMPT {
            self.0 += 1;
        }
        fits
    }

    /// Gives back what comes back at this rate per second in the time between two ticks.
    pub fn rest(&mut self, from: Tick, to: Tick, rate: u32) {
        if self.0 == 0 || self.0 > Spent::MOST {
            return;
        }
        let back = u64::from(to.0.saturating_sub(from.0)) * u64::from(rate).div_ceil(PARTS);
        self.0 = self.0.saturating_sub(u16::try_from(back).unwrap_or(u16::MAX));
    }
}

/// Keeps what is done down to so many per second, and at once to a tenth of that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Microseconds, by which what was done is ahead of its time.
    ahead_us: u64,
    at_us: u64,
    /// Since it was too far ahead, until it has come back half way.
    is_holding: bool,
}

/// Microseconds by which it may be ahead: long enough for who comes in a bunch, and short for a storm.
const AHEAD_US_MAX: u64 = 100_000;

impl Pace {
    /// One more was done.
    pub fn on_done(&mut self, rate: u32, now_us: u64) {
        if rate > 0 {
            self.catch_up(now_us);
            self.ahead_us += 1_000_000 / u64::from(rate);
        }
    }

    /// Whether to wait: from when it is too far ahead until half of that has passed, so that nobody
    /// goes to and fro for each.
    pub fn must_wait(&mut self, rate: u32, now_us: u64) -> bool {
        self.catch_up(now_us);
        let most = if self.is_holding { AHEAD_US_MAX / 2 } else { AHEAD_US_MAX };
        self.is_holding = rate > 0 && self.ahead_us > most;
        self.is_holding
    }

    /// When to ask again, of who must wait.
    pub fn waits_until_us(&self) -> Option<u64> {
        let over_us = self.ahead_us.saturating_sub(AHEAD_US_MAX / 2);
        self.is_holding.then_some(self.at_us + over_us)
    }

    fn catch_up(&mut self, now_us: u64) {
        self.ahead_us = self.ahead_us.saturating_sub(now_us.saturating_sub(self.at_us));
        self.at_us = now_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over any time no more is permitted than at once and what came back, and not less.
    #[test]
    fn permits_come_back_with_time_and_no_faster() {
        for rate in [1, 3, 10, 500] {
            let mut bucket = Bucket::default();
            let mut permitted = |now| (0..100_000).filter(|_| bucket.take(rate, Tick(now))).count();
            let at_once = (rate * BURST_SECONDS) as usize;
            assert_eq!(permitted(0), at_once, "{rate}");
            assert_eq!(permitted(0), 0, "{rate}");
            assert_eq!(
                (permitted(5), permitted(10)),
                (rate as usize / 2, rate.div_ceil(2) as usize)
            );
            assert_eq!(permitted(1_000_000), at_once, "{rate}");
            // A clock that another thread read a moment earlier brings nothing back.
            assert_eq!(permitted(999_999), 0, "{rate}");
            assert_eq!(permitted(1_000_005), rate as usize / 2, "{rate}");
            assert_eq!((permitted(1_000_002), permitted(1_000_005)), (0, 0), "{rate}");
        }
        let mut free = Bucket::default();
        assert!((0..100_000).all(|_| free.take(0, Tick(0))));
        assert!((0..1000).all(|_| free.take(u32::MAX, Tick(0))));
    }

    /// What a connection may say at once is exact, comes back, and who is exempt says what it likes.
    #[test]
    fn a_connection_spends_and_rests() {
        let mut spent = Spent::default();
        let said = |spent: &mut Spent| (0..200_000).filter(|_| spent.take(50)).count();
        assert_eq!(said(&mut spent), 50);
        spent.rest(Tick(100), Tick(102), 100);
        assert_eq!(said(&mut spent), 20);
        spent.rest(Tick(102), Tick(101), 100);
        assert_eq!(said(&mut spent), 0);
        // Rates below ten per second are those of a tick.
        spent.rest(Tick(102), Tick(103), 1);
        assert_eq!(said(&mut spent), 1);
        spent.rest(Tick(0), Tick(u32::MAX), u32::MAX);
        assert_eq!(spent, Spent::default());
        let mut exempt = Spent::EXEMPT;
        assert_eq!(said(&mut exempt), 200_000);
        exempt.rest(Tick(0), Tick(1000), 100);
        assert_eq!(exempt, Spent::EXEMPT);
        let mut most = Spent::default();
        assert_eq!((0..200_000).filter(|_| most.take(Spent::MOST)).count(), 65_533);
        let mut untold = Spent::UNTOLD;
        untold.rest(Tick(0), Tick(1000), 100);
        assert_eq!((untold, untold.take(Spent::MOST)), (Spent::UNTOLD, false));
    }

    /// However eager, a pace lets through as many as its rate, besides those that it lets at once.
    #[test]
    fn a_pace_is_kept() {
        let (mut pace, mut done, rate) = (Pace::default(), 0, 5000);
        for now_us in (0..=1_000_000).step_by(250) {
            while !pace.must_wait(rate, now_us) {
                pace.on_done(rate, now_us);
                done += 1;
            }
        }
        assert!((5000..=5502).contains(&done), "{done}");
        let until = pace.waits_until_us().unwrap();
        assert!((1_000_000..=1_050_000).contains(&until), "{until}");
        assert!(pace.must_wait(rate, until - 1) && !pace.must_wait(rate, until));
        assert_eq!(pace.waits_until_us(), None);
        // Without a rate nobody waits, whatever was done.
        (0..100_000).for_each(|_| pace.on_done(0, until));
        assert!(!pace.must_wait(0, until));
    }
}
