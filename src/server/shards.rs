//! The shards' threads: what all of them are given, how they begin, and how they are told to stop.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Notify, watch};

use super::{
    Engine, News, Parting, Plan, ServerError,
    doors::{ingress, questions},
    inputs::{self, Inputs},
    journal::Heritages,
    listen::Listeners,
    settings::{limits, rules},
};
use crate::{
    access::Access,
    config::Config,
    control::{self, Control, Limit, States},
    counters::Counters,
    door::{Door, Tls},
    hub::Message,
    ids::{Epoch, ShardId},
    inputs::Forwards,
    io::{
        Kernel,
        bell::EventBell,
        epoll::Epoll,
        probe::{Machine, Problem},
        uring::Uring,
    },
    live::Live,
    mesh::{Ingress, Mesh, Parking, Questions},
    orders::Orders,
    policy::Policies,
    preface::Prefaced,
    report::Question,
    session::Rules,
    shard::{Admission, Drain, Setup, Shard},
};

/// The shards' threads. They are told to stop and waited for, also where starting fails half way.
pub(super) struct Shards {
    pub drain: Arc<Drain>,
    pub parkings: Vec<Arc<Parking>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    pub fn new(drain: &Arc<Drain>, parkings: &[Arc<Parking>]) -> Self {
        Shards { drain: Arc::clone(drain), parkings: parkings.to_vec(), threads: Vec::new() }
    }

    /// Begins a shard's thread.
    pub fn spawn(&mut self, index: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(format!("shard-{index}"));
        self.threads.push(thread.spawn(run)?);
        Ok(())
    }

    pub fn begin_drain(&self) {
        self.drain.begin();
        self.wake();
    }

    /// Wakes those that sleep.
    pub fn wake(&self) {
        self.parkings.iter().for_each(|parking| parking.wake());
    }

    /// A shard that panicked has told so by [`News::Ended`].
    pub fn join(&mut self) {
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.begin_drain();
        self.join();
    }
}

/// What all shards are given alike.
pub(super) struct Shared {
    mesh: Mesh<Message>,
    ingresses: Arc<[Ingress]>,
    inputs: Arc<[Arc<[Ingress]>]>,
    questions: Arc<[Questions<Question>]>,
    policies: Policies,
    pub counters: Arc<[Counters]>,
    /// What operators are told of the limits; whoever changes settings replaces it.
    pub limits: Arc<Live<Vec<Limit>>>,
    admission: Arc<Admission>,
    pub drain: Arc<Drain>,
    pub rules: Arc<Live<Rules>>,
    epoch: Epoch,
    pub start: Instant,
    started_ms: u64,
}

impl Shared {
    pub fn new(
        config: &Config,
        plan: &Plan,
        parkings: &[Arc<Parking>],
        answered: &Arc<Notify>,
        inputs: &Inputs,
        access: &Arc<Access>,
    ) -> Self {
        let started_ms = since_1970().as_millis() as u64;
        Shared {
            mesh: Mesh::new(config.inbox as usize, parkings),
            ingresses: parkings.iter().map(|parking| ingress(config, parking, answered)).collect(),
            inputs: inputs.ingresses(),
            questions: parkings.iter().map(questions).collect(),
            policies: config.channels.policies().clone(),
            counters: (0..plan.shards).map(|_| Counters::default()).collect(),
            admission: Arc::new(Admission::new(plan.connections_max)),
            drain: Arc::new(Drain::new(config.drain)),
            rules: Live::new(rules(config, plan.shards, access, started_ms)),
            limits: Live::new(limits(config, plan)),
            epoch: epoch(),
            start: Instant::now(),
            started_ms,
        }
    }

    pub fn setup(&self, id: ShardId, config: &Config, parking: &Arc<Parking>) -> Setup {
        Setup {
            id,
            epoch: self.epoch,
            rules: self.rules.reader(),
            mesh: self.mesh.clone(),
            ingresses: Arc::clone(&self.ingresses),
            inputs: Arc::clone(&self.inputs),
            numbered: inputs::numbered(config),
            questions: Arc::clone(&self.questions),
            journal: None,
            started_ms: self.started_ms,
            counters: Arc::clone(&self.counters),
            parking: Arc::clone(parking),
            admission: Arc::clone(&self.admission),
            drain: Arc::clone(&self.drain),
        }
    }

    pub fn control(
        &self,
        settings: Arc<Live<control::Settings>>,
        (inputs, forwards): (States, Option<(usize, Forwards)>),
        (orders, answered): (Arc<Orders>, Arc<Notify>),
        [draining, accepting]: [watch::Receiver<bool>; 2],
    ) -> Control {
        Control {
            tls: None,
            settings,
            tracer: None,
            orders,
            ingresses: Arc::clone(&self.ingresses),
            questions: Arc::clone(&self.questions),
            policies: self.policies.clone(),
            limits: Arc::clone(&self.limits),
            counters: Arc::clone(&self.counters),
            inputs,
            forwards,
            answered,
            draining,
            accepting,
        }
    }
}

/// How connections come to a shard, and how it is woken.
pub(super) struct Entrance {
    pub listeners: Listeners,
    pub tls: Option<Tls>,
    pub bell: Arc<EventBell>,
}

/// The life of a shard's thread. The kernel is opened here, since it stays on its thread.
pub(super) fn run_shard(
    setup: Setup,
    heritages: Heritages,
    plan: &Plan,
    entrance: Entrance,
    start: Instant,
    tell: &mpsc::Sender<News>,
) {
    let id = setup.id.0;
    let mut parting = Parting(tell, Some(News::Ended(id, Err("it panicked".into()))));
    let Entrance { listeners, tls, bell } = entrance;
    let listeners: Vec<OwnedFd> = listeners.into_iter().map(|(_, socket)| socket).collect();
    let outcome = match &plan.engine {
        Engine::Uring(_) => Uring::open(&plan.rings, listeners, bell)
            .map_err(|error| Problem::of(&error, &Machine::read(), &plan.rings).to_string())
            .and_then(|kernel| serve(kernel, tls, setup, heritages, start, tell)),
        Engine::Epoll { .. } => Epoll::open(plan.rings.slots, listeners, bell)
            .map_err(|error| error.to_string())
            .and_then(|kernel| serve(kernel, tls, setup, heritages, start, tell)),
    };
    parting.1 = Some(News::Ended(id, outcome));
}

fn serve<K: Kernel>(
    kernel: K,
    tls: Option<Tls>,
    setup: Setup,
    heritages: Heritages,
    start: Instant,
    tell: &mpsc::Sender<News>,
) -> Result<(), String> {
    // What a proxy says for whom it speaks stands in front of everything, TLS included.
    let proxies = setup.rules.shield.prefaced.clone();
    let kernel = Door::new(Prefaced::new(kernel, proxies), tls);
    let mut shard = Shard::new(kernel, setup);
    for (bucket, heritage) in heritages {
        shard.restore(bucket, heritage);
    }
    let _ = tell.send(News::Ready);
    shard.run(start).map_err(|error| error.to_string())
}

/// Returns once every shard serves, or one has failed.
pub(super) fn wait_for_shards(shards: u16, news: &mpsc::Receiver<News>) -> Result<(), ServerError> {
    for _ in 0..shards {
        match news.recv() {
            Ok(News::Ended(shard, Err(problem))) => {
                return Err(ServerError::Shard { shard, problem });
            }
            Ok(News::JournalEnded(why)) => return Err(ServerError::JournalEnded(why)),
            _ => continue,
        }
    }
    Ok(())
}

/// A numbering that no earlier life of this server had: microseconds since 1970.
fn epoch() -> Epoch {
    Epoch(since_1970().as_micros() as u64)
}

/// The time of day.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
