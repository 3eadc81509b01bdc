//! What a piece of work cost its thread: processor time and wall time.

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

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
