//! Puts the parts together: listeners, shards, control plane, signals.
//!
//! The only place that spawns threads. A [`Server`] that was started serves until it is stopped;
//! [`run`] starts one, says what it listens on, and stops it when the process is told to.
#![forbid(unsafe_code)]

mod access;
mod banner;
mod doors;
mod inputs;
mod journal;
mod listen;
mod plan;
mod settings;
mod shards;
mod user;

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::{Notify, watch};

use crate::{
    config::Config, control::Control, ids::ShardId, io::bell::EventBell, journal::JournalError,
    mesh::Parking,
};

use inputs::Inputs;
use journal::Opened;
use shards::{Shards, Shared, run_shard, wait_for_shards};

pub use access::{AccessError, KeyFiles};
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
    /// The process could not become the user that it is to be.
    #[error(transparent)]
    User(#[from] UserError),
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
    key_files: KeyFiles,
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
        let key_files = KeyFiles::open(config)?;
        let control_listener = listen::control(config)?;
        let listeners = listen::subscribers(config, plan.shards)?;
        user::become_user(&config.user.0)?;
        user::keep_to_own_rights()?;
        let journal = config.journal.0.as_deref().map(Opened::at).transpose()?;
        let subscribers: Vec<_> = listeners.iter().map(|it| it.address).collect();
        let bells: Vec<Arc<EventBell>> =
            (0..plan.shards).map(|_| EventBell::new().map(Arc::new)).collect::<io::Result<_>>()?;
        let parkings: Vec<Arc<Parking>> =
            bells.iter().map(|bell| Parking::new(Arc::clone(bell) as _)).collect();
        let answered = Arc::new(Notify::new());
        let (tell, news) = mpsc::channel();
        let inputs = Inputs::new(config, &parkings);
        let shared = Shared::new(config, &plan, &parkings, &answered, &inputs, key_files.access());
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
            key_files,
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
