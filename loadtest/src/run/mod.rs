//! A run from beginning to end: start the server, connect everybody, publish, wait for the last
//! delivery, and add up.

use std::{
    fs::File,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    agent::{AgentError, Returns},
    live::{Display, Phase},
    order::Order,
    preflight::Finding,
    publisher::{Publisher, Through},
    record::{Publications, Record},
    shared::{Gauges, Shared, Stage},
    swarm::SwarmError,
    watch::{Machine, NotReady, Spawned, spawn},
};

mod crew;
mod observer;

use crew::{Crew, Recruits};
use observer::Observer;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A limit of this machine would be hit.
    #[error("this machine's limits do not allow the run:\n{}", listed(.0))]
    Limits(Vec<Finding>),
    /// A limit of an agent's machine would be hit.
    #[error("the limits of agents' machines do not allow the run:\n{}", listed(.0))]
    AgentLimits(Vec<Finding>),
    /// The bus that publications go through is not there, or does not take them.
    #[error("publish-to: {0}")]
    Bus(String),
    /// The server could not be started.
    #[error("starting the server failed: {0}")]
    Spawn(#[source] io::Error),
    /// Somebody else would be tested instead of the server that was to be started.
    #[error(
        "somebody accepts at {0} already: end it, or leave out --spawn and say --pid to watch it"
    )]
    Taken(SocketAddr),
    /// The server did not come up.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The process that was to be watched cannot be.
    #[error("watching the server failed: {0}")]
    Watch(#[source] io::Error),
    /// A thread of subscribers failed.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// An agent failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Makes the run that was ordered.
///
/// `interrupted` ends it early: what was published by then is waited for and reported.
pub fn run(
    order: &Order,
    interrupted: &AtomicBool,
    display: &mut Display,
) -> Result<Record, RunError> {
    let number = draw_run();
    let recruits = Recruits::muster(order, number, display)?;
    if let Some(bus) = &order.bus {
        bus.check(&order.plan).map_err(RunError::Bus)?;
    }
    let server = start_server(order)?;
    let pid = server.as_ref().map(Spawned::pid).or(order.pid);
    let observer = Observer::start(pid, is_all_here(order)).map_err(RunError::Watch)?;
    let notice = recruits.notice();
    let (epoch, began) = (Instant::now() + notice, SystemTime::now() + notice);
    let subscribe = order.endpoints.subscribe.clone();
    let shared = Shared::new(number, epoch, order.plan.clone(), subscribe, recruits.count());
    let shared = Arc::new(shared);
    let crew = recruits.begin(&shared)?;
    let course = Campaign { order, interrupted, shared: &shared, crew, observer, display }.run()?;
    let Observer { server, own, .. } = course.observer;
    let Returns { tally, used, notes } = course.returns;
    let mut client = own.used;
    client.merge(&used);
    Ok(Record {
        plan: order.plan.clone(),
        profile: order.endpoints.profile.clone(),
        target: target(order),
        is_verified: order.endpoints.is_verified(),
        began,
        machine: Machine::read().map_err(RunError::Watch)?,
        measured: course.measured,
        first_broadcast: shared.schedule.first_broadcast(),
        tally,
        publications: course.publications,
        server,
        client,
        agents: notes,
    })
}

/// A run under way.
struct Campaign<'a> {
    order: &'a Order,
    interrupted: &'a AtomicBool,
    shared: &'a Arc<Shared>,
    crew: Crew,
    observer: Observer,
    display: &'a mut Display,
}

/// What there is to say of a run when it is over.
struct Course {
    measured: Duration,
    publications: Publications,
    observer: Observer,
    returns: Returns,
}

impl Campaign<'_> {
    fn run(mut self) -> Result<Course, RunError> {
        self.ramp()?;
        self.crew.begin_publishing(self.shared)?;
        self.observer.begin_measuring();
        let publications = self.publish()?;
        self.settle()?;
        self.observer.end_measuring(self.shared);
        let stage = &self.shared.stage;
        let now = self.shared.since_epoch(Instant::now());
        // Publishing may have been interrupted before it began.
        let measured = now.saturating_sub(stage.publishing_began());
        stage.advance(Stage::Over);
        let returns = self.crew.finish()?;
        Ok(Course { measured, publications, observer: self.observer, returns })
    }

    /// Until every subscriber is connected or given up.
    fn ramp(&mut self) -> Result<(), RunError> {
        let all = u64::from(self.order.plan.connections());
        loop {
            let settled = self.shared.sum(|it| &it.established) + self.shared.sum(|it| &it.failed);
            if settled >= all || self.is_interrupted() {
                return Ok(());
            }
            self.watch(Phase::Ramp)?;
        }
    }

    /// Until everything is published that the plan has.
    fn publish(&mut self) -> Result<Publications, RunError> {
        let shared = self.shared.clone();
        let (order, shared_by_all) = (self.order, &*shared);
        thread::scope(|scope| {
            let begin = |index| {
                scope.spawn(move || match (&order.bus, &order.endpoints.publish) {
                    (Some(bus), _) => Through::new(shared_by_all, bus, index).run(),
                    (None, Some(publish)) => Publisher::new(shared_by_all, publish, index).run(),
                    (None, None) => Publications::default(),
                })
            };
            let publishers: Vec<_> = (0..order.plan.publishing.publishers).map(begin).collect();
            let watched = self.watch_publishing(|| publishers.iter().all(|it| it.is_finished()));
            if watched.is_err() {
                // So that publishers end, for which the scope waits.
                shared.stage.advance(Stage::Over);
            }
            let mut publications = Publications::default();
            for publisher in publishers {
                publications.merge(publisher.join().expect("a publisher does not panic"));
            }
            watched.map(|()| publications)
        })
    }

    /// Until the last publication is due, and handed over.
    fn watch_publishing(&mut self, is_handed_over: impl Fn() -> bool) -> Result<(), RunError> {
        let shared = self.shared.clone();
        let Shared { schedule, stage, plan, .. } = &*shared;
        let began = stage.publishing_began();
        let duration = plan.publishing.duration;
        // A plan without publications still lasts as long as it says.
        let end = began + schedule.end().max(duration);
        loop {
            let now = self.shared.since_epoch(Instant::now());
            let is_interrupted = self.is_interrupted();
            if is_interrupted {
                // Nothing more is handed over.
                stage.advance(Stage::Settling);
            }
            if (now >= end || is_interrupted) && is_handed_over() {
                return Ok(());
            }
            let is_over = now >= began + duration;
            self.watch(if is_over { Phase::Broadcasts } else { Phase::Publishing })?;
        }
    }

    /// Until nobody waits for anything, or the plan's patience is over.
    fn settle(&mut self) -> Result<(), RunError> {
        self.shared.stage.advance(Stage::Settling);
        self.crew.settle(self.shared)?;
        let began = Instant::now();
        while began.elapsed() < self.order.plan.settle {
            let is_served = |it: &Gauges| it.behind.load(Ordering::Acquire) == 1;
            if self.shared.gauges.iter().all(is_served) {
                break;
            }
            self.watch(Phase::Settling)?;
        }
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Waits a moment, looks at everything and shows it.
    fn watch(&mut self, phase: Phase) -> Result<(), RunError> {
        thread::sleep(LOOK_EVERY);
        self.crew.look(self.shared)?;
        let snapshot = self.observer.look(self.shared, phase);
        self.display.show(&snapshot);
        Ok(())
    }
}

/// A number that no other run is likely to have.
fn draw_run() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) as u32
        ^ std::process::id()
}

/// Whether server and subscribers are all on this machine.
fn is_all_here(order: &Order) -> bool {
    let is_loopback = |address: SocketAddr| address.ip().is_loopback();
    let mut agents = order.agents.iter().flat_map(|it| it.to_socket_addrs().into_iter().flatten());
    agents.all(is_loopback)
}

fn start_server(order: &Order) -> Result<Option<Spawned>, RunError> {
    let Some(command) = &order.spawn else { return Ok(None) };
    let addresses: Vec<_> = order.endpoints.subscribe.iter().map(|(_, it)| it.address).collect();
    if let Some(address) = addresses.iter().find(|it| spawn::accepts(**it)) {
        return Err(RunError::Taken(*address));
    }
    let server = match &order.server_log {
        None => Spawned::start(command),
        Some(path) => File::create(path).and_then(|log| Spawned::start_logged(command, log)),
    };
    let server = server.map_err(RunError::Spawn)?;
    server.wait_ready(&addresses, SERVER_PATIENCE)?;
    Ok(Some(server))
}

fn target(order: &Order) -> String {
    let targets = order.endpoints.subscribe.iter();
    let targets = targets.map(|(transport, it)| {
        let scheme = transport.scheme(it.tls.is_some());
        format!("{scheme}://{}{}", it.host, it.path)
    });
    let bus = order.bus.iter().map(|bus| format!("published to through {}", bus.place()));
    targets.chain(bus).collect::<Vec<_>>().join(", ")
}

fn listed(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|Finding { what, fix, .. }| format!("  {what}\n    {fix}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a server that was started may take until it accepts.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
