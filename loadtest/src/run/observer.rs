//! What is seen of a run while it goes on: gauges, processors and memory, second by second.

use std::{
    io,
    time::{Duration, Instant},
};

use std::sync::atomic::Ordering;

use crate::{
    live::{Phase, Snapshot},
    record::{ClientUse, ServerUse, UseSecond},
    shared::Shared,
    tally::{self, HEAT_ROWS},
    watch::{KernelMemory, Processes, Usage, process::SATURATED},
};

/// What is seen of a run.
pub(super) struct Observer {
    /// What the server used, if it is watched.
    pub(super) server: Option<ServerUse>,
    /// What the load tester used.
    pub(super) client: ClientUse,
    server_process: Option<Meter>,
    own_process: Meter,
    kernel_before: KernelMemory,
    is_measuring: bool,
    received: (Instant, u64),
    rate: f64,
}

/// A process that is looked at once a second.
struct Meter {
    processes: Processes,
    last: Usage,
    looked: Instant,
    cpu_at_begin: Duration,
    measured_seconds: u32,
    saturated_seconds: u32,
}

impl Observer {
    /// Begins before anybody is connected.
    pub(super) fn start(server: Option<u32>) -> io::Result<Observer> {
        let server_process = server.map(|pid| Meter::new(Processes::of(pid)?)).transpose()?;
        let own_process = Meter::new(Processes::own()?)?;
        let server = server_process.as_ref().map(|meter| ServerUse {
            resident_before: meter.last.resident,
            kernel_is_both_ends: true,
            ..ServerUse::default()
        });
        Ok(Observer {
            server,
            client: ClientUse { resident_before: own_process.last.resident, ..Default::default() },
            server_process,
            own_process,
            kernel_before: KernelMemory::now()?,
            is_measuring: false,
            received: (Instant::now(), 0),
            rate: 0.0,
        })
    }

    /// Publications are due from now on. All connections stand.
    pub(super) fn begin_measuring(&mut self) {
        self.is_measuring = true;
        self.own_process.begin();
        let Some(server) = &mut self.server else { return };
        self.server_process.iter_mut().for_each(Meter::begin);
        if let Ok(kernel) = KernelMemory::now() {
            let before = self.kernel_before;
            server.kernel = kernel.slab.saturating_sub(before.slab)
                + kernel.buffers.saturating_sub(before.buffers);
        }
    }

    /// Nothing is expected any more.
    pub(super) fn end_measuring(&mut self) {
        self.is_measuring = false;
        self.client.cpu = self.own_process.end();
        self.client.saturated_share = self.own_process.saturated_share();
        if let (Some(server), Some(meter)) = (&mut self.server, &mut self.server_process) {
            server.cpu = meter.end();
            server.saturated_share = meter.saturated_share();
        }
    }

    /// What there is to see now.
    pub(super) fn look(&mut self, shared: &Shared, phase: Phase) -> Snapshot {
        let now = Instant::now();
        let elapsed = shared.since_epoch(now);
        self.sample(elapsed, now);
        let (requested, received) =
            (u64::from(shared.plan.connections()), shared.sum(|gauges| &gauges.received));
        let (since, before) = self.received;
        if now.duration_since(since) >= SECOND {
            self.rate = (received - before) as f64 / now.duration_since(since).as_secs_f64();
            self.received = (now, received);
        }
        let heat = heat(shared);
        let connections = shared.sum(|gauges| &gauges.live);
        Snapshot {
            phase,
            elapsed,
            phase_share: phase_share(shared, phase, elapsed, connections),
            connections,
            requested,
            failed: shared.sum(|gauges| &gauges.failed),
            publications: shared.published.load(Ordering::Relaxed),
            deliveries: received,
            deliveries_per_second: self.rate,
            p50_micros: percentile(&heat, 0.5),
            p99_micros: percentile(&heat, 0.99),
            faults: shared.sum(|gauges| &gauges.faults),
            server: self.server.as_ref().and_then(|server| server.seconds.last().copied()),
            client: self.client.seconds.last().copied().unwrap_or_default(),
        }
    }

    /// Looks at the processes, once a second.
    fn sample(&mut self, elapsed: Duration, now: Instant) {
        let second = elapsed.as_secs() as usize;
        if let Some(used) = self.own_process.sample(now, self.is_measuring) {
            self.client.resident = self.client.resident.max(used.resident);
            fill(&mut self.client.seconds, second, used);
        }
        let (Some(server), Some(meter)) = (&mut self.server, &mut self.server_process) else {
            return;
        };
        if let Some(used) = meter.sample(now, self.is_measuring) {
            server.resident = server.resident.max(used.resident);
            fill(&mut server.seconds, second, used);
        }
    }
}

impl Meter {
    fn new(mut processes: Processes) -> io::Result<Meter> {
        let last = processes.usage()?;
        Ok(Meter {
            processes,
            last,
            looked: Instant::now(),
            cpu_at_begin: Duration::ZERO,
            measured_seconds: 0,
            saturated_seconds: 0,
        })
    }

    fn begin(&mut self) {
        self.cpu_at_begin = self.processes.usage().map_or(self.last.cpu, |usage| usage.cpu);
    }

    /// Processor time since the beginning. A server that is gone has used what was last seen.
    fn end(&mut self) -> Duration {
        let cpu = self.processes.usage().map_or(self.last.cpu, |usage| usage.cpu);
        cpu.saturating_sub(self.cpu_at_begin)
    }

    /// What was used since the last time, if a second has passed.
    fn sample(&mut self, now: Instant, is_measuring: bool) -> Option<UseSecond> {
        let passed = now.duration_since(self.looked);
        if passed < SECOND {
            return None;
        }
        let usage = self.processes.usage().ok()?;
        let processors =
            usage.cpu.saturating_sub(self.last.cpu).as_secs_f64() / passed.as_secs_f64();
        if is_measuring {
            self.measured_seconds += 1;
            self.saturated_seconds += u32::from(usage.busiest >= SATURATED);
        }
        (self.last, self.looked) = (usage, now);
        Some(UseSecond { processors, resident: usage.resident })
    }

    fn saturated_share(&self) -> f64 {
        f64::from(self.saturated_seconds) / f64::from(self.measured_seconds.max(1))
    }
}

/// Puts a sample at its second, and the one before into those that were missed.
fn fill(seconds: &mut Vec<UseSecond>, second: usize, sample: UseSecond) {
    let before = seconds.last().copied().unwrap_or(sample);
    if seconds.len() < second {
        seconds.resize(second, before);
    }
    seconds.push(sample);
}

/// Deliveries by latency, over all threads.
fn heat(shared: &Shared) -> [u64; HEAT_ROWS] {
    std::array::from_fn(|row| shared.sum(|gauges| &gauges.heat[row]))
}

/// The latency, roughly, below which this share of the deliveries are.
fn percentile(heat: &[u64; HEAT_ROWS], share: f64) -> Option<f64> {
    let all: u64 = heat.iter().sum();
    let mut left = (all as f64 * share).ceil() as u64;
    let row = heat.iter().position(|&count| {
        let is_here = count >= left && left > 0;
        left = left.saturating_sub(count);
        is_here
    });
    row.map(|row| tally::heat_floor(row) * MIDDLE_OF_ROW)
}

/// How much of a phase is over.
fn phase_share(shared: &Shared, phase: Phase, elapsed: Duration, connections: u64) -> f64 {
    let publishing = elapsed.saturating_sub(shared.stage.publishing_began()).as_secs_f64();
    let duration = shared.plan.publishing.duration.as_secs_f64();
    let share = match phase {
        Phase::Starting => 0.0,
        Phase::Ramp => connections as f64 / f64::from(shared.plan.connections()),
        Phase::Publishing => publishing / duration,
        Phase::Broadcasts => {
            (publishing - duration) / (shared.schedule.end().as_secs_f64() - duration)
        }
        Phase::Settling | Phase::Done => 1.0,
    };
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 }
}

const SECOND: Duration = Duration::from_secs(1);

/// The geometric middle of a row of the heat map, over its floor.
const MIDDLE_OF_ROW: f64 = 1.189;
