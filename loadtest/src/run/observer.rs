//! What is seen of a run while it goes on: gauges, processors and memory, second by second.

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    live::{Phase, Snapshot},
    meter::{self, Meter, OwnMeter},
    record::ServerUse,
    shared::Shared,
    tally::heat::{self, Heat},
    watch::{KernelMemory, Processes},
};

/// What is seen of a run.
pub(super) struct Observer {
    /// What the server used, if it is watched.
    pub(super) server: Option<ServerUse>,
    /// What this process used.
    pub(super) own: OwnMeter,
    server_process: Option<Meter>,
    kernel_before: KernelMemory,
    received: (Instant, u64),
    rate: f64,
}

impl Observer {
    /// Begins before anybody is connected. Says whether the connections' other ends will be on this
    /// machine, if the server is.
    pub(super) fn start(server: Option<u32>, is_all_here: bool) -> io::Result<Observer> {
        let server_process = server.map(|pid| Meter::new(Processes::of(pid)?)).transpose()?;
        let server = server_process.as_ref().map(|meter| ServerUse {
            resident_before: meter.resident(),
            kernel_is_both_ends: is_all_here,
            ..ServerUse::default()
        });
        Ok(Observer {
            server,
            own: OwnMeter::start()?,
            server_process,
            kernel_before: KernelMemory::now()?,
            received: (Instant::now(), 0),
            rate: 0.0,
        })
    }

    /// Publications are due from now on. All connections stand.
    pub(super) fn begin_measuring(&mut self) {
        self.own.begin_measuring();
        let Some(server) = &mut self.server else { return };
        self.server_process.iter_mut().for_each(Meter::begin_measuring);
        if let Ok(kernel) = KernelMemory::now() {
            let before = self.kernel_before;
            server.kernel = kernel.slab.saturating_sub(before.slab)
                + kernel.buffers.saturating_sub(before.buffers);
        }
    }

    /// Nothing is expected any more.
    pub(super) fn end_measuring(&mut self, shared: &Shared) {
        let received = shared.sum(|gauges| &gauges.received);
        self.own.end_measuring(received);
        if let (Some(server), Some(meter)) = (&mut self.server, &mut self.server_process) {
            server.cpu = meter.end_measuring(received);
            server.saturated_share = meter.saturated_share();
        }
    }

    /// What there is to see now.
    pub(super) fn look(&mut self, shared: &Shared, phase: Phase) -> Snapshot {
        let now = Instant::now();
        let elapsed = shared.since_epoch(now);
        let (requested, received) =
            (u64::from(shared.plan.connections()), shared.sum(|gauges| &gauges.received));
        self.sample(elapsed, now, received);
        let (since, before) = self.received;
        if now.duration_since(since) >= SECOND {
            self.rate = (received - before) as f64 / now.duration_since(since).as_secs_f64();
            self.received = (now, received);
        }
        let heat = heat_of(shared);
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
            p50_micros: heat::quantile(&heat, 0.5),
            p99_micros: heat::quantile(&heat, 0.99),
            faults: shared.sum(|gauges| &gauges.faults),
            server: self.server.as_ref().and_then(|server| server.seconds.last().copied()),
            client: self.own.used.seconds.last().copied().unwrap_or_default(),
        }
    }

    /// Looks at the processes, once a second.
    fn sample(&mut self, elapsed: Duration, now: Instant, received: u64) {
        self.own.sample(elapsed, now, received);
        let (Some(server), Some(meter)) = (&mut self.server, &mut self.server_process) else {
            return;
        };
        if let Some(used) = meter.sample(now, received) {
            server.resident = server.resident.max(used.resident);
            meter::fill(&mut server.seconds, elapsed.as_secs() as usize, used);
        }
    }
}

/// Deliveries by latency, over all threads.
fn heat_of(shared: &Shared) -> Heat {
    std::array::from_fn(|row| shared.sum(|gauges| &gauges.heat[row]))
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
