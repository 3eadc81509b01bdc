//! Who leaves: one here and one there at the plan's rate, or a share of all in a storm.

use std::time::Duration;

use super::Share;
use crate::{plan::Churn, shared::Shared};

/// The leaving of one thread's subscribers.
pub(super) struct Churning {
    plan: Churn,
    /// This thread's part of the rate.
    per_second: f64,
    left: u64,
    storms: u32,
    random: u64,
    duration: Duration,
}

/// How many leave at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leavers {
    /// Those that churn takes.
    pub(super) by_churn: u64,
    /// Those that a storm cuts off.
    pub(super) by_storm: u64,
    /// Which storm of the run it is, if it is any.
    pub(super) storm: u32,
}

impl Churning {
    pub(super) fn new(shared: &Shared, share: Share) -> Churning {
        let plan = shared.plan.churn;
        Churning {
            plan,
            per_second: plan.per_second / f64::from(share.threads),
            left: 0,
            storms: 0,
            random: u64::from(shared.run) << 32 | u64::from(share.remainder) << 1 | 1,
            duration: shared.plan.publishing.duration,
        }
    }

    /// How many of `live` subscribers leave, this long after publishing began.
    pub(super) fn leavers(&mut self, since: Duration, live: u64) -> Leavers {
        if since >= self.duration {
            return Leavers::default();
        }
        let due = (since.as_secs_f64() * self.per_second) as u64;
        let by_churn = due - self.left;
        self.left = due;
        let Churn { storm_share, storm_every, .. } = self.plan;
        let mut cut = Leavers::default();
        if storm_share > 0.0 && since >= storm_every * (self.storms + 1) {
            cut = Leavers {
                storm: self.storms,
                by_storm: (live as f64 * storm_share).ceil() as u64,
                by_churn: 0,
            };
            self.storms += 1;
        }
        Leavers { by_churn: by_churn.min(live - cut.by_storm), ..cut }
    }

    /// Picks so many different slots out of `slots` for which `is_live` holds; fewer if there are
    /// fewer.
    pub(super) fn pick(
        &mut self,
        count: u64,
        slots: usize,
        is_live: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut picked = Vec::new();
        if count == 0 {
            return picked;
        }
        // From a random slot on, in steps that visit every slot once.
        let (start, step) = (self.random() as usize % slots, coprime_step(slots));
        let all = (0..slots).map(|nth| (start + nth * step) % slots);
        picked.extend(all.filter(|&slot| is_live(slot)).take(count as usize));
        picked
    }

    /// Xorshift64*: who leaves needs no better.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A step of about the golden section of `slots` that shares no divisor with it.
fn coprime_step(slots: usize) -> usize {
    let near = (slots as f64 * 0.618) as usize;
    (near.max(1)..).find(|&step| gcd(step, slots) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn churning(per_second: f64, storm_share: f64) -> Churning {
        let plan = Churn { per_second, storm_share, storm_every: Duration::from_secs(3) };
        let duration = Duration::from_secs(10);
        Churning { plan, per_second, left: 0, storms: 0, random: 1, duration }
    }

    /// However often one looks, as many leave as the rate says, and none after the duration.
    #[test]
    fn churn_keeps_its_rate() {
        let mut churning = churning(7.5, 0.0);
        let looks = (0..1200).map(|look| Duration::from_millis(look * 10));
        let left: u64 = looks.map(|since| churning.leavers(since, 1000).by_churn).sum();
        assert_eq!(left, 74, "7.5 a second until just before the tenth second");
    }

    /// A storm comes at each of its times, once, and takes its share.
    #[test]
    fn a_storm_takes_its_share_once() {
        let mut churning = churning(0.0, 0.5);
        let mut left = |second| {
            let Leavers { by_storm, storm, by_churn } =
                churning.leavers(Duration::from_secs(second), 100);
            assert_eq!(by_churn, 0);
            (by_storm, storm)
        };
        let want = [(0, 0), (50, 0), (0, 0), (50, 1), (0, 0), (50, 2), (0, 0)];
        assert_eq!([2, 3, 4, 6, 7, 9, 12].map(&mut left), want);
    }

    /// However many are to leave, no more do than there are.
    #[test]
    fn nobody_leaves_twice_at_once() {
        let mut churning = churning(1000.0, 1.0);
        let leavers = churning.leavers(Duration::from_secs(3), 100);
        assert_eq!(leavers, Leavers { by_churn: 0, by_storm: 100, storm: 0 });
    }

    /// Nobody is picked twice, only live ones are, and never more than there are.
    #[test]
    fn picks_are_live_and_different() {
        for slots in [1, 2, 10, 97, 100] {
            let mut churning = churning(0.0, 0.0);
            let picked = churning.pick(slots as u64, slots, |slot| slot % 3 == 0);
            let live: BTreeSet<_> = (0..slots).filter(|slot| slot % 3 == 0).collect();
            assert_eq!(picked.len(), live.len());
            assert_eq!(picked.into_iter().collect::<BTreeSet<_>>(), live);
        }
        assert_eq!(churning(0.0, 0.0).pick(3, 100, |_| true).len(), 3);
    }
}
