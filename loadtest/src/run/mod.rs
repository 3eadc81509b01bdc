//! A run from beginning to end: start the server, connect everybody, publish, wait for the last
//! delivery, and add up.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use stentor::io::uring::OpenError;

use crate::{
    decoder::Transport,
    live::{Display, Phase},
    order::Order,
    plan::Layout,
    preflight::{self, Demand, Finding, Limits, Severity},
    publisher::Publisher,
    record::{Publications, Record},
    schedule::Schedule,
    shared::{Clock, Gauges, Ledger, Shared, Stage},
    swarm::{Share, Swarm},
    tally::Tally,
    watch::{Machine, NotReady, Spawned},
};

mod observer;

use observer::Observer;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A limit of this machine would be hit.
    #[error("this machine's limits do not allow the run:\n{}", listed(.0))]
    Limits(Vec<Finding>),
    /// The server could not be started.
    #[error("starting the server failed: {0}")]
    Spawn(#[source] io::Error),
    /// The server did not come up.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The process that was to be watched cannot be.
    #[error("watching the server failed: {0}")]
    Watch(#[source] io::Error),
    /// The rings of a thread could not be opened.
    #[error("opening a ring for subscribers failed: {0}")]
    Ring(#[from] OpenError),
    /// A thread of subscribers failed.
    #[error("driving subscribers failed: {0}")]
    Drive(#[source] io::Error),
}

/// Makes the run that was ordered.
///
/// `interrupted` ends it early: what was published by then is waited for and reported.
pub fn run(
    order: &Order,
    interrupted: &AtomicBool,
    display: &mut Display,
) -> Result<Record, RunError> {
    check_limits(order, display)?;
    let server = start_server(order)?;
    let pid = server.as_ref().map(Spawned::pid).or(order.pid);
    let mut observer = Observer::start(pid).map_err(RunError::Watch)?;
    let (began, shared) = (SystemTime::now(), Arc::new(share(order)));
    let mut campaign =
        Campaign { order, interrupted, shared: &shared, observer: &mut observer, display };
    let (tally, publications, measured) = campaign.run()?;
    let Observer { server, client, .. } = observer;
    Ok(Record {
        plan: order.plan.clone(),
        profile: order.endpoints.profile.clone(),
        target: target(order),
        began,
        machine: Machine::read().map_err(RunError::Watch)?,
        measured,
        first_broadcast: shared.schedule.first_broadcast(),
        tally,
        publications,
        server,
        client,
        agents: Vec::new(),
    })
}

/// A run under way.
struct Campaign<'a> {
    order: &'a Order,
    interrupted: &'a AtomicBool,
    shared: &'a Arc<Shared>,
    observer: &'a mut Observer,
    display: &'a mut Display,
}

impl Campaign<'_> {
    fn run(&mut self) -> Result<(Tally, Publications, Duration), RunError> {
        thread::scope(|scope| {
            let over = EndAtDrop(self.shared.clone());
            let threads = self.order.threads;
            let swarms: Vec<_> = (0..threads)
                .map(|thread| {
                    let shared = self.shared.clone();
                    let share = Share { remainder: thread, threads };
                    scope.spawn(move || -> Result<Tally, RunError> {
                        let swarm = Swarm::open(shared, share, thread as usize)?;
                        swarm.run().map_err(RunError::Drive)
                    })
                })
                .collect();
            let interrupted = self.interrupted;
            let is_failing = || swarms.iter().any(|swarm| swarm.is_finished());
            let is_ending = || is_failing() || interrupted.load(Ordering::Relaxed);
            self.ramp(&is_ending);
            let shared = self.shared;
            shared.stage.begin_publishing(shared.since_epoch(Instant::now()) + BEFORE_PUBLISHING);
            let publish = self.order.endpoints.publish.as_ref();
            let publishers: Vec<_> = publish
                .into_iter()
                .flat_map(|publish| {
                    (0..self.order.plan.publishing.publishers).map(move |it| (publish, it))
                })
                .map(|(publish, index)| {
                    scope.spawn(move || Publisher::new(shared, publish, index).run())
                })
                .collect();
            self.observer.begin_measuring();
            self.publish(&is_ending);
            if is_ending() {
                shared.stage.advance(Stage::Settling);
            }
            while !publishers.iter().all(|publisher| publisher.is_finished()) && !is_failing() {
                self.watch(Phase::Broadcasts);
            }
            shared.stage.advance(Stage::Settling);
            self.settle(&is_failing);
            self.observer.end_measuring();
            let began = shared.stage.publishing_began();
            // Publishing may have been interrupted before it began.
            let measured = shared.since_epoch(Instant::now()).saturating_sub(began);
            drop(over);
            let mut publications = Publications::default();
            for publisher in publishers {
                publications.merge(publisher.join().expect("a publisher does not panic"));
            }
            let mut tally = Tally::default();
            for swarm in swarms {
                tally.merge(swarm.join().expect("a swarm does not panic")?);
            }
            Ok((tally, publications, measured))
        })
    }

    /// Until every subscriber is connected or given up.
    fn ramp(&mut self, is_failing: &dyn Fn() -> bool) {
        let all = u64::from(self.order.plan.connections());
        loop {
            let settled = self.shared.sum(|it| &it.established) + self.shared.sum(|it| &it.failed);
            if settled >= all || is_failing() {
                return;
            }
            self.watch(Phase::Ramp);
        }
    }

    /// Until the last publication is due.
    fn publish(&mut self, is_failing: &dyn Fn() -> bool) {
        let Shared { schedule, stage, plan, .. } = &**self.shared;
        let began = stage.publishing_began();
        // A plan without publications still lasts as long as it says.
        let end = began + schedule.end().max(plan.publishing.duration);
        loop {
            let now = self.shared.since_epoch(Instant::now());
            if now >= end || is_failing() {
                return;
            }
            let is_over = now >= began + plan.publishing.duration;
            self.watch(if is_over { Phase::Broadcasts } else { Phase::Publishing });
        }
    }

    /// Until nobody waits for anything, or the plan's patience is over.
    fn settle(&mut self, is_failing: &dyn Fn() -> bool) {
        let began = Instant::now();
        while began.elapsed() < self.order.plan.settle && !is_failing() {
            let gauges = &self.shared.gauges;
            let is_served = |it: &Gauges| it.behind.load(Ordering::Acquire) == 1;
            if gauges.iter().all(is_served) {
                return;
            }
            self.watch(Phase::Settling);
        }
    }

    /// Waits a moment, looks at everything and shows it.
    fn watch(&mut self, phase: Phase) {
        thread::sleep(LOOK_EVERY);
        let snapshot = self.observer.look(self.shared, phase);
        self.display.show(&snapshot);
    }
}

/// Ends the run for all threads, however it is left.
struct EndAtDrop(Arc<Shared>);

impl Drop for EndAtDrop {
    fn drop(&mut self) {
        self.0.stage.advance(Stage::Over);
    }
}

fn share(order: &Order) -> Shared {
    let plan = order.plan.clone();
    Shared {
        run: draw_run(),
        epoch: Instant::now(),
        layout: Layout::new(&plan),
        schedule: Schedule::new(&plan),
        subscribe: order.endpoints.subscribe.clone(),
        ledger: Ledger::new(plan.channels()),
        published: AtomicU64::new(0),
        stage: Clock::default(),
        gauges: (0..order.threads).map(|_| Gauges::default()).collect(),
        plan,
    }
}

/// A number that no other run is likely to have.
fn draw_run() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) as u32
        ^ std::process::id()
}

fn check_limits(order: &Order, display: &mut Display) -> Result<(), RunError> {
    let is_loopback = |address: std::net::SocketAddr| address.ip().is_loopback();
    let demand = Demand {
        connections: order.plan.connections().into(),
        server_is_here: order.endpoints.subscribe.iter().any(|(_, it)| is_loopback(it.address)),
        ramp_per_second: order.plan.ramp.into(),
        source_addresses: None,
        threads: order.threads,
    };
    let limits = Limits::read().map_err(RunError::Watch)?;
    let (stops, advice): (Vec<_>, Vec<_>) = preflight::check(&demand, &limits)
        .into_iter()
        .partition(|finding| finding.severity == Severity::Stops);
    for Finding { what, fix, .. } in &advice {
        display.say(&format!("note: {what}\n      {fix}"));
    }
    if stops.is_empty() || order.ignores_limits { Ok(()) } else { Err(RunError::Limits(stops)) }
}

fn start_server(order: &Order) -> Result<Option<Spawned>, RunError> {
    let Some(command) = &order.spawn else { return Ok(None) };
    let server = match &order.server_log {
        None => Spawned::start(command),
        Some(path) => File::create(path).and_then(|log| Spawned::start_logged(command, log)),
    };
    let server = server.map_err(RunError::Spawn)?;
    let addresses = order.endpoints.subscribe.iter().map(|(_, it)| it.address);
    server.wait_ready(&addresses.collect::<Vec<_>>(), SERVER_PATIENCE)?;
    Ok(Some(server))
}

fn target(order: &Order) -> String {
    let targets = order.endpoints.subscribe.iter();
    let targets = targets.map(|(transport, it)| {
        let scheme = match transport {
            Transport::WebSocket => "ws",
            Transport::Sse => "http",
        };
        format!("{scheme}://{}{}", it.host, it.path)
    });
    targets.collect::<Vec<_>>().join(", ")
}

fn listed(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|Finding { what, fix, .. }| format!("  {what}\n    {fix}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// From the last connection to the first publication: what the ramp has left to do is done.
const BEFORE_PUBLISHING: Duration = Duration::from_millis(500);

/// How long a server that was started may take until it accepts.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
