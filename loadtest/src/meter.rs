//! What the load tester and the server use, second by second.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    record::{ClientUse, UseSecond},
    watch::{Processes, Usage, process::SATURATED},
};

/// A process that is looked at once a second.
pub struct Meter {
    processes: Processes,
    last: Usage,
    looked: Instant,
    cpu_at_begin: Duration,
    load: Load,
}

/// How much of the time, and of what was received in it, one of its threads had no rest.
#[derive(Debug, Default)]
struct Load {
    is_measuring: bool,
    /// What had been received when it was last looked at.
    received: u64,
    time: Part,
    deliveries: Part,
}

/// A part of a whole.
#[derive(Debug, Default)]
struct Part {
    saturated: f64,
    all: f64,
}

/// What this process uses.
pub struct OwnMeter {
    /// What it has used so far.
    pub used: ClientUse,
    meter: Meter,
}

impl Meter {
    /// Begins to look at these.
    pub fn new(mut processes: Processes) -> io::Result<Meter> {
        let last = processes.usage()?;
        Ok(Meter {
            processes,
            last,
            looked: Instant::now(),
            cpu_at_begin: Duration::ZERO,
            load: Load::default(),
        })
    }

    /// Resident memory, in bytes, when last looked at.
    pub fn resident(&self) -> u64 {
        self.last.resident
    }

    /// Processor time counts from now on.
    pub fn begin_measuring(&mut self) {
        self.load.is_measuring = true;
        self.cpu_at_begin = self.processes.usage().map_or(self.last.cpu, |usage| usage.cpu);
    }

    /// Processor time since then, in which so much was received in all. A process that is gone has
    /// used what was last seen.
    pub fn end_measuring(&mut self, received: u64) -> Duration {
        let (usage, passed) = (self.processes.usage(), self.looked.elapsed());
        if let Ok(usage) = &usage {
            self.load.count(usage.busiest, passed, received);
        }
        self.load.is_measuring = false;
        let cpu = usage.map_or(self.last.cpu, |usage| usage.cpu);
        cpu.saturating_sub(self.cpu_at_begin)
    }

    /// What was used since the last time, if a second has passed, by the end of which so much had
    /// been received.
    pub fn sample(&mut self, now: Instant, received: u64) -> Option<UseSecond> {
        let passed = now.duration_since(self.looked);
        if passed < SECOND {
            return None;
        }
        let usage = self.processes.usage().ok()?;
        let processors =
            usage.cpu.saturating_sub(self.last.cpu).as_secs_f64() / passed.as_secs_f64();
        self.load.count(usage.busiest, passed, received);
        (self.last, self.looked) = (usage, now);
        Some(UseSecond { processors, resident: usage.resident })
    }

    /// Share of the measured seconds in which one of its threads had no rest, or of what was
    /// received in these seconds, if that is more: a broadcast is over in a few seconds of a run,
    /// and all of its latencies are.
    pub fn saturated_share(&self) -> f64 {
        self.load.time.share().max(self.load.deliveries.share())
    }
}

impl Load {
    /// Adds the time since the last look.
    fn count(&mut self, busiest: f64, passed: Duration, received: u64) {
        let arrived = received.saturating_sub(self.received) as f64;
        self.received = received;
        if self.is_measuring && passed >= SHORTEST {
            let is_saturated = busiest >= SATURATED;
            self.time.add(is_saturated, passed.as_secs_f64());
            self.deliveries.add(is_saturated, arrived);
        }
    }
}

impl Part {
    fn add(&mut self, is_saturated: bool, amount: f64) {
        self.all += amount;
        self.saturated += if is_saturated { amount } else { 0.0 };
    }

    fn share(&self) -> f64 {
        if self.all > 0.0 { self.saturated / self.all } else { 0.0 }
    }
}

impl OwnMeter {
    /// Begins before anybody is connected.
    pub fn start() -> io::Result<OwnMeter> {
        let meter = Meter::new(Processes::own()?)?;
        let used = ClientUse { resident_before: meter.resident(), ..ClientUse::default() };
        Ok(OwnMeter { used, meter })
    }

    /// Publications are due from now on.
    pub fn begin_measuring(&mut self) {
        self.meter.begin_measuring();
    }

    /// Nothing is expected any more, and so much was received.
    pub fn end_measuring(&mut self, received: u64) {
        self.used.cpu = self.meter.end_measuring(received);
        self.used.saturated_share = self.meter.saturated_share();
    }

    /// Looks, if a second has passed, at this time since the run's epoch, when so much has been
    /// received.
    pub fn sample(&mut self, elapsed: Duration, now: Instant, received: u64) {
        if let Some(second) = self.meter.sample(now, received) {
            self.used.resident = self.used.resident.max(second.resident);
            fill(&mut self.used.seconds, elapsed.as_secs() as usize, second);
        }
    }
}

/// Puts a sample at its second, and the one before into those that were missed.
pub fn fill(seconds: &mut Vec<UseSecond>, second: usize, sample: UseSecond) {
    let before = seconds.last().copied().unwrap_or(sample);
    if seconds.len() < second {
        seconds.resize(second, before);
    }
    seconds.push(sample);
}

const SECOND: Duration = Duration::from_secs(1);

/// A shorter time says nothing of whether a thread had rest.
const SHORTEST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds count, and so does what was received in them, whichever is more; what was
    /// before the measurement, and too short a look, do not.
    #[test]
    fn a_short_broadcast_saturates_as_much_as_it_brings() {
        let mut load = Load::default();
        load.count(1.0, SECOND, 0);
        load.is_measuring = true;
        for received in [100, 200, 300] {
            load.count(0.2, 32 * SECOND, received);
        }
        assert_eq!((load.time.share(), load.deliveries.share()), (0.0, 0.0));
        load.count(1.0, 4 * SECOND, 1200);
        assert_eq!((load.time.share(), load.deliveries.share()), (0.04, 0.75));
        load.count(1.0, SHORTEST / 2, 1200);
        assert_eq!(load.time.share(), 0.04);
        assert_eq!(Part::default().share(), 0.0);
    }

    /// A run of less than a second is looked at in the end.
    ///
    /// Method: a thread that never rests, this one, for a third of a second.
    #[test]
    fn a_short_run_is_looked_at() {
        let mut own = OwnMeter::start().expect("this process can be looked at");
        own.begin_measuring();
        let begun = Instant::now();
        while begun.elapsed() < SECOND / 3 {}
        own.end_measuring(1);
        assert_eq!(own.used.saturated_share, 1.0);
    }
}
