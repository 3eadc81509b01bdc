//! Puts the parts together: listeners, shards, control plane, signals.
//!
//! The only place that spawns threads. A [`Server`] that was started serves until it is stopped;
//! [`run`] starts one, says what it listens on, and stops it when the process is told to.
#![forbid(unsafe_code)]

mod banner;
mod doors;
mod inputs;
mod journal;
mod listen;
mod plan;
mod settings;

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::{Notify, watch};

use crate::{
    config::Config,
    control::{Control, States},
    counters::Counters,
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
    journal::JournalError,
    live::Live,
    mesh::{Ingress, Mesh, Parking, Questions},
    policy::Policies,
    report::Question,
    session::Rules,
    shard::{Admission, Drain, Setup, Shard},
};

use doors::{ingress, questions};
use inputs::Inputs;
use journal::{Heritages, Opened};
use settings::{control_settings, rules};

pub use plan::{Engine, Plan, PlanError};

/// Why the server could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The settings ask for what this machine cannot give.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} ({setting}): {error}; free it, or choose another with \
         --{setting}"
    )]
    Listen {
        /// The setting that gave the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A shard could not start, or its kernel failed.
    #[error("shard {shard} ended: {problem}")]
    Shard {
        /// Which one.
        shard: u16,
        /// Why.
        problem: String,
    },
    /// The journal cannot be opened, or its thread has ended.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal's thread has ended, and nothing could be kept any more.
    #[error("the journal ended: {0}")]
    JournalEnded(String),
    /// The control plane failed.
    #[error("the control plane ended, and nobody could publish any more; the log says why")]
    Control,
    /// Threads or descriptors ran out at the start.
    #[error("starting failed: {0}")]
    Start(#[from] io::Error),
}

/// A server that is serving.
pub struct Server {
    config: Config,
    plan: Plan,
    subscribers: Vec<SocketAddr>,
    control: SocketAddr,
    // Ends before the shards, which would wait for all that it feeds.
    inputs: Inputs,
    shards: Shards,
    control_thread: Option<JoinHandle<()>>,
    journal_thread: Option<JoinHandle<()>>,
    draining: watch::Sender<bool>,
    stop_control: Arc<Notify>,
    news: mpsc::Receiver<News>,
    tell: mpsc::Sender<News>,
}

/// What the main thread waits for.
enum News {
    /// A shard is ready to serve.
    Ready,
    /// A shard has ended, which it does by itself only if it fails.
    Ended(u16, Result<(), String>),
    /// The process was told to stop.
    Signal,
    /// The control plane has ended, which it does by itself only if it fails.
    ControlEnded,
    /// The journal's thread has failed.
    JournalEnded(String),
}

/// Tells something when it goes, however that comes.
struct Parting<'a>(&'a mpsc::Sender<News>, Option<News>);

impl Drop for Parting<'_> {
    fn drop(&mut self) {
        if let Some(news) = self.1.take() {
            let _ = self.0.send(news);
        }
    }
}

/// Starts a server, says what it listens on, and serves until SIGTERM or SIGINT. A second signal
/// ends the process at once.
pub fn run(config: &Config) -> Result<(), ServerError> {
    // First of all: a signal that comes before would end the process without a word, or, where it
    // is the first process of a container, never be heard.
    let signals = Signals::new([SIGTERM, SIGINT])?;
    let server = Server::start(config)?;
    let tell = server.tell.clone();
    thread::Builder::new().name("signals".into()).spawn(move || hear(signals, &tell))?;
    // Whoever started us may have stopped reading. That is no reason not to serve.
    let _ = write!(io::stdout(), "{}", server.banner());
    server.serve_until_told()
}

/// Tells of the first signal; the second ends the process at once.
fn hear(mut signals: Signals, tell: &mpsc::Sender<News>) {
    for (count, _signal) in signals.forever().enumerate() {
        if count > 0 {
            std::process::exit(1);
        }
        let _ = tell.send(News::Signal);
    }
}

impl Server {
    /// Starts everything and returns once all shards serve.
    pub fn start(config: &Config) -> Result<Server, ServerError> {
        let plan = Plan::new(config)?;
        let journal = config.journal.0.as_deref().map(Opened::at).transpose()?;
        let control_listener = listen::control(config)?;
        let listeners = listen::subscribers(config, plan.shards)?;
        let subscribers: Vec<_> = listeners.iter().map(|it| it.address).collect();
        let bells: Vec<Arc<EventBell>> =
            (0..plan.shards).map(|_| EventBell::new().map(Arc::new)).collect::<io::Result<_>>()?;
        let parkings: Vec<Arc<Parking>> =
            bells.iter().map(|bell| Parking::new(Arc::clone(bell) as _)).collect();
        let answered = Arc::new(Notify::new());
        let (tell, news) = mpsc::channel();
        let inputs = Inputs::new(config, &parkings);
        let shared = Shared::new(config, &plan, &parkings, &answered, &inputs);
        // A journal's thread ends once no shard is left that could append.
        let (ends, journal_thread) = match journal {
            Some(journal) => {
                let places = config.publish_queue as usize;
                let (ends, thread) = journal.start(places, &parkings, &tell)?;
                (ends, Some(thread))
            }
            None => (journal::none(parkings.len()), None),
        };
        let mut shards = Shards::new(&shared.drain, &parkings);
        // Declared behind the shards, so that it ends before them if starting fails half way.
        let mut inputs = inputs;
        let listeners = listen::by_shard(listeners, plan.shards);
        let doors = listeners.into_iter().zip(bells).zip(&parkings).zip(ends);
        for (index, (((listeners, bell), parking), (end, heritages))) in doors.enumerate() {
            let mut setup = shared.setup(ShardId(index as u16), config, &plan, parking);
            setup.journal = end;
            let (plan, start, tell) = (plan.clone(), shared.start, tell.clone());
            let spawned = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || run_shard(setup, heritages, &plan, listeners, bell, start, &tell))?;
            shards.threads.push(spawned);
        }
        wait_for_shards(plan.shards, &news)?;
        inputs.start(config)?;
        let (draining, is_draining) = watch::channel(false);
        let stop_control = Arc::new(Notify::new());
        let bus = (inputs.states(), inputs.forwards(config)?);
        let control = shared.control(config, subscribers[0], bus, answered, is_draining);
        let control_address = control_listener.local_addr()?;
        let control_thread = Some(spawn_control(
            control,
            control_listener,
            Arc::clone(&stop_control),
            tell.clone(),
        )?);
        Ok(Server {
            config: config.clone(),
            plan,
            subscribers,
            control: control_address,
            shards,
            inputs,
            control_thread,
            journal_thread,
            draining,
            stop_control,
            news,
            tell,
        })
    }

    /// Where subscribers connect: one address at least.
    pub fn subscribers(&self) -> &[SocketAddr] {
        &self.subscribers
    }

    /// Where publishers connect.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// What was decided at the start.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Drains and ends: no new connections, the old ones closed over the drain's window.
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.begin_drain();
        self.end()
    }

    fn serve_until_told(mut self) -> Result<(), ServerError> {
        loop {
            match self.news.recv() {
                Ok(News::Signal) => {
                    tracing::info!("told to stop: draining for {:?}", self.shards.drain.window());
                    self.begin_drain();
                    return self.end();
                }
                Ok(News::Ended(shard, outcome)) => {
                    let problem = outcome.err().unwrap_or_else(|| "it was not told to".into());
                    return Err(ServerError::Shard { shard, problem });
                }
                Ok(News::ControlEnded) => return Err(ServerError::Control),
                Ok(News::JournalEnded(why)) => return Err(ServerError::JournalEnded(why)),
                Ok(News::Ready) | Err(mpsc::RecvError) => continue,
            }
        }
    }

    fn begin_drain(&mut self) {
        let _ = self.draining.send(true);
        // They would go on publishing to whoever is left.
        self.inputs.stop();
        self.shards.begin_drain();
    }

    fn end(&mut self) -> Result<(), ServerError> {
        self.shards.join();
        if let Some(journal) = self.journal_thread.take() {
            let _ = journal.join();
        }
        self.stop_control.notify_one();
        if let Some(control) = self.control_thread.take() {
            let _ = control.join();
        }
        let failed = self.news.try_iter().find_map(|news| match news {
            News::Ended(shard, Err(problem)) => Some(ServerError::Shard { shard, problem }),
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }
}

/// The shards' threads. They are told to stop and waited for, also where starting fails half way.
struct Shards {
    drain: Arc<Drain>,
    parkings: Vec<Arc<Parking>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    fn new(drain: &Arc<Drain>, parkings: &[Arc<Parking>]) -> Self {
        Shards { drain: Arc::clone(drain), parkings: parkings.to_vec(), threads: Vec::new() }
    }

    fn begin_drain(&self) {
        self.drain.begin();
        self.parkings.iter().for_each(|parking| parking.wake());
    }

    /// A shard that panicked has told so by [`News::Ended`].
    fn join(&mut self) {
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
struct Shared {
    mesh: Mesh<Message>,
    ingresses: Arc<[Ingress]>,
    inputs: Arc<[Arc<[Ingress]>]>,
    questions: Arc<[Questions<Question>]>,
    policies: Policies,
    counters: Arc<[Counters]>,
    admission: Arc<Admission>,
    drain: Arc<Drain>,
    rules: Arc<Live<Rules>>,
    epoch: Epoch,
    start: Instant,
    started_ms: u64,
}

impl Shared {
    fn new(
        config: &Config,
        plan: &Plan,
        parkings: &[Arc<Parking>],
        answered: &Arc<Notify>,
        inputs: &Inputs,
    ) -> Self {
        Shared {
            mesh: Mesh::new(config.inbox as usize, parkings),
            ingresses: parkings.iter().map(|parking| ingress(config, parking, answered)).collect(),
            inputs: inputs.ingresses(),
            questions: parkings.iter().map(questions).collect(),
            policies: config.channels.policies().clone(),
            counters: (0..plan.shards).map(|_| Counters::default()).collect(),
            admission: Arc::new(Admission::new(plan.connections_max)),
            drain: Arc::new(Drain::new(config.drain)),
            rules: Live::new(rules(config)),
            epoch: epoch(),
            start: Instant::now(),
            started_ms: since_1970().as_millis() as u64,
        }
    }

    fn setup(&self, id: ShardId, config: &Config, plan: &Plan, parking: &Arc<Parking>) -> Setup {
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
            policies: self.policies.clone(),
            started_ms: self.started_ms,
            counters: Arc::clone(&self.counters),
            parking: Arc::clone(parking),
            admission: Arc::clone(&self.admission),
            drain: Arc::clone(&self.drain),
            channels_max: (config.channels_max as usize).div_ceil(usize::from(plan.shards)),
            lag_bytes_max: config.lag_max.bytes(),
        }
    }

    fn control(
        &self,
        config: &Config,
        subscribers: SocketAddr,
        (inputs, forwards): (States, Option<(usize, Forwards)>),
        answered: Arc<Notify>,
        draining: watch::Receiver<bool>,
    ) -> Control {
        Control {
            settings: control_settings(config, subscribers),
            ingresses: Arc::clone(&self.ingresses),
            questions: Arc::clone(&self.questions),
            policies: self.policies.clone(),
            counters: Arc::clone(&self.counters),
            inputs,
            forwards,
            answered,
            draining,
        }
    }
}

/// The life of a shard's thread. The kernel is opened here, since it stays on its thread.
fn run_shard(
    setup: Setup,
    heritages: Heritages,
    plan: &Plan,
    listeners: Vec<OwnedFd>,
    bell: Arc<EventBell>,
    start: Instant,
    tell: &mpsc::Sender<News>,
) {
    let id = setup.id.0;
    let mut parting = Parting(tell, Some(News::Ended(id, Err("it panicked".into()))));
    let outcome = match &plan.engine {
        Engine::Uring(_) => Uring::open(&plan.rings, listeners, bell)
            .map_err(|error| Problem::of(&error, &Machine::read(), &plan.rings).to_string())
            .and_then(|kernel| serve(kernel, setup, heritages, start, tell)),
        Engine::Epoll { .. } => Epoll::open(plan.rings.slots, listeners, bell)
            .map_err(|error| error.to_string())
            .and_then(|kernel| serve(kernel, setup, heritages, start, tell)),
    };
    parting.1 = Some(News::Ended(id, outcome));
}

fn serve<K: Kernel>(
    kernel: K,
    setup: Setup,
    heritages: Heritages,
    start: Instant,
    tell: &mpsc::Sender<News>,
) -> Result<(), String> {
    let mut shard = Shard::new(kernel, setup);
    for (bucket, heritage) in heritages {
        shard.restore(bucket, heritage);
    }
    let _ = tell.send(News::Ready);
    shard.run(start).map_err(|error| error.to_string())
}

/// Returns once every shard serves, or one has failed.
fn wait_for_shards(shards: u16, news: &mpsc::Receiver<News>) -> Result<(), ServerError> {
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

fn spawn_control(
    control: Control,
    listener: std::net::TcpListener,
    stop: Arc<Notify>,
    tell: mpsc::Sender<News>,
) -> Result<JoinHandle<()>, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    let serve = move || {
        let _parting = Parting(&tell, Some(News::ControlEnded));
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => control.serve(listener, async move { stop.notified().await }).await,
                Err(error) => tracing::error!("the control listener failed: {error}"),
            }
        });
    };
    Ok(thread::Builder::new().name("control".into()).spawn(serve)?)
}

/// A numbering that no earlier life of this server had: microseconds since 1970.
fn epoch() -> Epoch {
    Epoch(since_1970().as_micros() as u64)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
