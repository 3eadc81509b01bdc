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
    is_measuring: bool,
    measured_seconds: u32,
    saturated_seconds: u32,
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
            is_measuring: false,
            measured_seconds: 0,
            saturated_seconds: 0,
        })
    }

    /// Resident memory, in bytes, when last looked at.
    pub fn resident(&self) -> u64 {
        self.last.resident
    }

    /// Processor time counts from now on.
    pub fn begin_measuring(&mut self) {
        self.is_measuring = true;
        self.cpu_at_begin = self.processes.usage().map_or(self.last.cpu, |usage| usage.cpu);
    }

    /// Processor time since then. A process that is gone has used what was last seen.
    pub fn end_measuring(&mut self) -> Duration {
        self.is_measuring = false;
        let cpu = self.processes.usage().map_or(self.last.cpu, |usage| usage.cpu);
        cpu.saturating_sub(self.cpu_at_begin)
    }

    /// What was used since the last time, if a second has passed.
    pub fn sample(&mut self, now: Instant) -> Option<UseSecond> {
        let passed = now.duration_since(self.looked);
        if passed < SECOND {
            return None;
        }
        let usage = self.processes.usage().ok()?;
        let processors =
            usage.cpu.saturating_sub(self.last.cpu).as_secs_f64() / passed.as_secs_f64();
        if self.is_measuring {
            self.measured_seconds += 1;
            self.saturated_seconds += u32::from(usage.busiest >= SATURATED);
        }
        (self.last, self.looked) = (usage, now);
        Some(UseSecond { processors, resident: usage.resident })
    }

    /// Share of the measured seconds in which one of its threads had no rest.
    pub fn saturated_share(&self) -> f64 {
        f64::from(self.saturated_seconds) / f64::from(self.measured_seconds.max(1))
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

    /// Nothing is expected any more.
    pub fn end_measuring(&mut self) {
        self.used.cpu = self.meter.end_measuring();
        self.used.saturated_share = self.meter.saturated_share();
    }

    /// Looks, if a second has passed, at this time since the run's epoch.
    pub fn sample(&mut self, elapsed: Duration, now: Instant) {
        if let Some(second) = self.meter.sample(now) {
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
