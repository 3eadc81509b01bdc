//! Puts the parts together: listeners, shards, control plane, signals.
//!
//! The only place that spawns threads. A [`Server`] that was started serves until it is stopped;
//! [`run`] starts one, says what it listens on, and stops it when the process is told to.
#![forbid(unsafe_code)]

mod access;
mod adopt;
mod banner;
mod doors;
mod handover;
mod inputs;
mod journal;
mod listen;
mod notify;
mod operate;
mod plan;
mod settings;
mod shards;
mod spans;
mod tls;
mod unix;
mod user;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, mpsc},
    thread::{self, JoinHandle},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    iterator::Signals,
};
use tokio::sync::{Notify, watch};

use crate::{
    config::{Config, Place},
    control::{self, Control},
    door::CertificateError,
    ids::ShardId,
    io::bell::EventBell,
    journal::JournalError,
    live::Live,
    mesh::Parking,
    orders::Orders,
    watch::Files,
};

use adopt::Adopted;
use handover::Ground;
use inputs::Inputs;
use journal::Working;
use listen::ControlListener;
use notify::Manager;
use operate::Drained;
use settings::control_settings;
use shards::{Entrance, Shards, Shared, run_shard, wait_for_shards};
use tls::Secure;
use unix::SocketFile;

pub use access::{AccessError, KeyFiles};
pub use listen::Kind;
pub use operate::Operator;
pub use user::UserError;

pub use plan::{Engine, Plan, PlanError};

/// Why the server could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The settings ask for what this machine cannot give.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The keys of tokens, or of the API, cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {place} ({setting}): {error}; free it, or choose another with \
         --{setting}"
    )]
    Listen {
        /// The setting that gave the address.
        setting: &'static str,
        /// The address.
        place: Place,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Not every certificate has a key.
    #[error(
        "{name}-cert has {certificates} files and {name}-key {keys}; give each certificate its key, in the \
         same order"
    )]
    Keys {
        /// How the two settings begin.
        name: &'static str,
        /// Files of certificates.
        certificates: usize,
        /// Files of keys.
        keys: usize,
    },
    /// TLS cannot be had.
    #[error("TLS failed to start: {0}")]
    Tls(#[from] rustls::Error),
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
    /// The process could not become the user that it is to be.
    #[error(transparent)]
    User(#[from] UserError),
    /// The control plane failed.
    #[error("the control plane ended, and nobody could publish any more; the log says why")]
    Control,
    /// Sockets that were passed cannot be used.
    #[error("socket activation: {0}")]
    Adopted(String),
    /// The predecessor's sockets cannot be had; it serves on.
    #[error(
        "cannot take over by {path}: {error}; whoever serves there serves on", path = path.display()
    )]
    Takeover {
        /// Where servers hand over.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// Threads or descriptors ran out at the start.
    #[error("starting failed: {0}")]
    Start(#[from] io::Error),
}

/// A server that is serving.
pub struct Server {
    config: Config,
    key_files: KeyFiles,
    plan: Plan,
    subscribers: Vec<(Kind, SocketAddr)>,
    control: Place,
    /// The file of the control listener, as long as it is ours to remove.
    control_file: Option<SocketFile>,
    // Ends before the shards, which would wait for all that it feeds.
    inputs: Inputs,
    shards: Shards,
    control_thread: Option<JoinHandle<()>>,
    journal: Option<Working>,
    draining: watch::Sender<bool>,
    stop_control: Arc<Notify>,
    news: mpsc::Receiver<News>,
    tell: mpsc::Sender<News>,
    shared: Shared,
    control_settings: Arc<Live<control::Settings>>,
    files: Arc<Files>,
    orders: Arc<Orders>,
    operator: Option<Operator>,
    manager: Manager,
    /// Turns of each shard when the service manager was last told that we live.
    turns: Vec<u64>,
    /// What the log lets through now.
    log_filter: String,
    drained: Option<Drained>,
    /// Where successors connect.
    takeover_file: Option<SocketFile>,
}

/// Whether the process was told to stop, for who cannot hear [`News`] yet.
type Stop = Arc<AtomicBool>;

/// What the main thread waits for.
enum News {
    /// A shard is ready to serve.
    Ready,
    /// A shard has ended, which it does by itself only if it fails.
    Ended(u16, Result<(), String>),
    /// The process was told to stop.
    Stop,
    /// The process was told to read its settings again.
    Reload,
    /// An order waits.
    Order,
    /// The control plane has ended, which it does by itself only if it fails.
    ControlEnded,
    /// The journal's thread has failed.
    JournalEnded(String),
    /// A successor, of this process, accepts now.
    HandedOver(u32),
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

/// Starts a server, says what it listens on, and serves until SIGTERM or SIGINT. A second of these
/// ends the process at once; SIGHUP has the settings read again.
pub fn run(config: &Config, operator: Operator) -> Result<(), ServerError> {
    // First of all: a signal that comes before would end the process without a word, or, where it
    // is the first process of a container, never be heard.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let stop = Stop::default();
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&stop))?;
    }
    let mut server = Server::start_on(config, Adopted::from_environment()?, stop)?;
    server.operator = Some(operator);
    server.manager = Manager::from_environment();
    let tell = server.tell.clone();
    thread::Builder::new().name("signals".into()).spawn(move || hear(signals, &tell))?;
    // Whoever started us may have stopped reading. That is no reason not to serve.
    let _ = write!(io::stdout(), "{}", server.banner());
    server.manager.tell_ready();
    server.serve_until_told()
}

/// Tells of signals. The second that says to stop ends the process at once.
fn hear(mut signals: Signals, tell: &mpsc::Sender<News>) {
    let mut is_stopping = false;
    for signal in signals.forever() {
        if signal == SIGHUP {
            let _ = tell.send(News::Reload);
            continue;
        }
        if std::mem::replace(&mut is_stopping, true) {
            std::process::exit(1);
        }
        let _ = tell.send(News::Stop);
    }
}

impl Server {
    /// Starts everything and returns once all shards serve.
    pub fn start(config: &Config) -> Result<Server, ServerError> {
        Server::start_on(config, Adopted::default(), Stop::default())
    }

    /// The same, on sockets that listen already where there are some. A successor that is told to stop
    /// before it serves ends then.
    fn start_on(config: &Config, adopted: Adopted, stop: Stop) -> Result<Server, ServerError> {
        let plan = Plan::new(config)?;
        let key_files = KeyFiles::open(config)?;
        let mut ground = Ground::open(config, plan.shards, adopted, stop)?;
        let secure = Secure::new(config, &ground.listening)?;
        user::drop_rights(&config.user.0)?;
        let journal = ground.open_journal(config)?;
        let subscribers = listen::addresses(&ground.listening);
        let (bells, parkings) = beds(plan.shards)?;
        let [answered, stop_control] = [(); 2].map(|()| Arc::new(Notify::new()));
        let (tell, news) = mpsc::channel();
        let inputs = Inputs::new(config, &parkings);
        let shared = Shared::new(config, &plan, &parkings, &answered, &inputs, key_files.access());
        ground.tell(&shared.drain);
        // A journal's thread ends once no shard is left that could append.
        let (ends, journal) = journal::begin(journal, config, &parkings, &tell)?;
        let mut shards = Shards::new(&shared.drain, &parkings);
        // Declared behind the shards, so that it ends before them if starting fails half way.
        let mut inputs = inputs;
        let doors =
            ground.by_shard(config, plan.shards)?.into_iter().zip(bells).zip(&parkings).zip(ends);
        for (index, (((listeners, bell), parking), (end, heritages))) in doors.enumerate() {
            let mut setup = shared.setup(ShardId(index as u16), config, parking);
            setup.journal = end;
            let tls = secure.as_ref().map(|secure| secure.of_shard(&setup, &listeners));
            let entrance = Entrance { listeners, tls, bell };
            let (plan, start, tell) = (plan.clone(), shared.start, tell.clone());
            let run = move || run_shard(setup, heritages, &plan, entrance, start, &tell);
            shards.spawn(index, run)?;
        }
        wait_for_shards(plan.shards, &news)?;
        ground.start_inputs(&mut inputs, config)?;
        let [draining, accepts] = [false, !ground.waits()].map(watch::Sender::new);
        let bus = (inputs.states(), inputs.forwards(config)?);
        let (files, orders) = (watched(&key_files, secure.as_ref()), orders(&tell));
        let control_settings =
            Live::new(control_settings(config, &subscribers, key_files.access()));
        let hears = (Arc::clone(&orders), answered);
        let watched = [&draining, &accepts].map(watch::Sender::subscribe);
        let mut control = shared.control(Arc::clone(&control_settings), bus, hears, watched);
        (control.tls, control.tracer) = (tls::control(config, &files)?, spans::tracer(config)?);
        let control_thread = Some(spawn_control(control, &ground.control, &stop_control, &tell)?);
        let server = Server {
            config: config.clone(),
            key_files,
            plan,
            subscribers,
            control: ground.control.place.clone(),
            control_file: None,
            shards,
            inputs,
            control_thread,
            journal,
            draining,
            stop_control,
            news,
            tell,
            shared,
            control_settings,
            files,
            orders,
            operator: None,
            manager: Manager::default(),
            turns: Vec::new(),
            log_filter: config.log.as_str().to_owned(),
            drained: None,
            takeover_file: None,
        };
        server.succeed(ground, accepts)
    }

    /// Where subscribers connect, and what they speak there: one address at least.
    pub fn subscribers(&self) -> &[(Kind, SocketAddr)] {
        &self.subscribers
    }

    /// Where publishers connect.
    pub fn control(&self) -> &Place {
        &self.control
    }

    /// The files of keys: whoever hears that they changed has them read again.
    pub fn key_files(&self) -> &KeyFiles {
        &self.key_files
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

    fn begin_drain(&mut self) {
        let _ = self.draining.send(true);
        // They would go on publishing to whoever is left.
        self.inputs.stop();
        self.shards.begin_drain();
    }

    fn end(&mut self) -> Result<(), ServerError> {
        self.shards.join();
        if let Some(journal) = self.journal.take() {
            let _ = journal.thread.join();
        }
        // While somebody listens there, so that it is surely ours.
        let files = [self.control_file.take(), self.takeover_file.take()];
        if !self.shared.drain.is_handed_over() {
            files.into_iter().flatten().for_each(SocketFile::remove);
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

/// The files that are read again when they change.
fn watched(key_files: &KeyFiles, secure: Option<&Secure>) -> Arc<Files> {
    let files = Arc::new(Files::default());
    key_files.watch_by(&files);
    if let Some(secure) = secure {
        secure.watch_by(&files);
    }
    files
}

/// Orders that ring the main thread.
fn orders(tell: &mpsc::Sender<News>) -> Arc<Orders> {
    let bell = tell.clone();
    Arc::new(Orders::new(move || drop(bell.send(News::Order))))
}

/// What each shard sleeps on, and how others know that it does.
type Beds = (Vec<Arc<EventBell>>, Vec<Arc<Parking>>);

fn beds(shards: u16) -> io::Result<Beds> {
    let bells = (0..shards).map(|_| EventBell::new().map(Arc::new));
    let bells: Vec<Arc<EventBell>> = bells.collect::<io::Result<_>>()?;
    let parkings = bells.iter().map(|bell| Parking::new(Arc::clone(bell) as _)).collect();
    Ok((bells, parkings))
}

fn spawn_control(
    control: Control,
    listener: &ControlListener,
    stop: &Arc<Notify>,
    tell: &mpsc::Sender<News>,
) -> Result<JoinHandle<()>, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = listener.socket.try_clone()?;
    let (stop, tell) = (Arc::clone(stop), tell.clone());
    let serve = move || {
        let _parting = Parting(&tell, Some(News::ControlEnded));
        runtime.block_on(async move {
            match control::Listener::adopt(listener) {
                Ok(listener) => control.serve(listener, async move { stop.notified().await }).await,
                Err(error) => tracing::error!("the control listener failed: {error}"),
            }
        });
    };
    Ok(thread::Builder::new().name("control".into()).spawn(serve)?)
}
