//! What a piece of work cost its thread: processor time and wall time.

#![allow(dead_code, reason = "no bench uses all of it")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What some work cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Processor time of the calling thread, in the kernel and outside.
    pub cpu: Duration,
    /// Time by the clock on the wall.
    pub wall: Duration,
}

/// Does the work and says what it cost.
pub fn cost_of(work: impl FnOnce()) -> Cost {
    let (wall, cpu) = (Instant::now(), thread_cpu());
    work();
    Cost { cpu: thread_cpu() - cpu, wall: wall.elapsed() }
}

/// Processor time of this process so far.
pub fn process_cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
