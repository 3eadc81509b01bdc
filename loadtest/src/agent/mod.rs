//! Runs on several machines: agents drive the subscribers, a coordinator publishes and adds up.
//!
//! An agent serves one coordinator after another. It connects to wherever its coordinator says, so
//! it listens where only its own machine can reach it, or asks for a key. The key, like everything
//! else, goes in the clear: between machines there is to be a network of one's own, or a tunnel.
//!
//! | file | what |
//! | --- | --- |
//! | `protocol` | what the two say to each other |
//! | `line` | JSON lines over TCP, bounded in length and time |
//! | `clock` | how far another machine's clock is ahead |
//! | `forecast` | what will have been published, on machines that do not publish |
//! | `session` | one coordinator's run, on the agent's side |
//! | `remote`, `coordinator` | one agent, and all of them, on the coordinator's side |

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

mod clock;
mod coordinator;
mod forecast;
mod line;
mod protocol;
mod remote;
mod session;
#[cfg(test)]
mod tests;

use clock::MachineClock;
use line::Line;
use protocol::{FromAgent, ToAgent, VERSION};
use session::Means;

pub use coordinator::{AgentError, Agents, Returns};
pub use line::LineError;
pub use remote::AgentFault;

/// Why an agent does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could have it connect to anywhere.
    #[error(
        "an agent connects to wherever its coordinator says, and whoever reaches {0} could be one: \
         listen on 127.0.0.1, or ask for a key"
    )]
    Exposed(SocketAddr),
    /// The listener does not work.
    #[error("listening for coordinators failed: {0}")]
    Listen(#[from] io::Error),
}

/// Serves one coordinator after another, and tells whoever runs the agent what goes on. Once it
/// listens it does not end.
pub fn serve(
    listener: TcpListener,
    key: Option<String>,
    told: &mut dyn FnMut(&str),
) -> Result<Infallible, ServeError> {
    serve_by(MachineClock::start(), listener, key, told)
}

fn serve_by(
    clock: MachineClock,
    listener: TcpListener,
    key: Option<String>,
    told: &mut dyn FnMut(&str),
) -> Result<Infallible, ServeError> {
    let address = listener.local_addr()?;
    if key.is_none() && !address.ip().is_loopback() {
        return Err(ServeError::Exposed(address));
    }
    let threads = thread::available_parallelism()?.get() as u32;
    let means = Means { clock, threads };
    let agent = Arc::new(Agent { key, means, busy_with: Mutex::new(None) });
    told(&format!("waiting for a coordinator at {address}, to drive {threads} threads"));
    let (tell, tales) = mpsc::sync_channel(TALES_MAX);
    thread::spawn(move || agent.accept(&listener, &tell));
    loop {
        let tale = tales.recv().map_err(io::Error::other)?;
        told(&tale);
    }
}

/// Whom an agent serves, and how.
struct Agent {
    key: Option<String>,
    means: Means,
    busy_with: Mutex<Option<SocketAddr>>,
}

/// The place of the one coordinator that an agent has at a time. Dropping it frees it.
struct Seat<'a>(&'a Mutex<Option<SocketAddr>>);

impl Agent {
    fn accept(self: Arc<Agent>, listener: &TcpListener, tell: &SyncSender<String>) {
        loop {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Most likely a run has taken all open files, and will give them back.
                    let _ = tell.send(format!("accepting a coordinator failed: {error}"));
                    thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            if Arc::strong_count(&self) > CONNECTIONS_MAX {
                continue;
            }
            let (agent, tell) = (self.clone(), tell.clone());
            thread::spawn(move || {
                if let Ok(line) = Line::new(stream) {
                    agent.attend(line, peer, &tell);
                }
            });
        }
    }

    /// Serves a coordinator, or tells it why not.
    fn attend(&self, mut line: Line, peer: SocketAddr, tell: &SyncSender<String>) {
        // Whoever listened to the tales may be gone: the run goes on.
        let tell = |tale: String| drop(tell.send(tale));
        match self.greet(&mut line, peer) {
            Err(why) => {
                tell(format!("{peer} was refused: {why}"));
                let _ = line.send(&FromAgent::Refused { why });
            }
            Ok(seat) => {
                tell(format!("{peer} coordinates"));
                let ended = session::serve(&mut line, self.means);
                drop(seat);
                tell(match ended {
                    Ok(()) => format!("{peer}: the run is over"),
                    Err(why) => format!("{peer}: the run ended early: {why}"),
                });
            }
        }
        line.close();
    }

    /// Hears who it is. Returns why it is not welcome, if so.
    fn greet(&self, line: &mut Line, peer: SocketAddr) -> Result<Seat<'_>, String> {
        let heard = line.receive(Instant::now() + HELLO_PATIENCE, HELLO_BYTES_MAX);
        let Ok(Some(ToAgent::Hello { version, key })) = heard else {
            return Err("a coordinator says who it is, first of all".into());
        };
        if version != VERSION {
            return Err(format!(
                "it speaks version {VERSION} of the agents' protocol, and the coordinator version \
                 {version}: run the same stentor-loadtest on all machines"
            ));
        }
        self.check_key(key.as_deref())?;
        let mut busy_with = self.busy_with.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = *busy_with {
            return Err(format!("busy with {other}"));
        }
        *busy_with = Some(peer);
        drop(busy_with);
        let seat = Seat(&self.busy_with);
        let welcome = line.send(&FromAgent::Welcome { threads: self.means.threads });
        welcome.map_err(|error| error.to_string())?;
        Ok(seat)
    }

    fn check_key(&self, given: Option<&str>) -> Result<(), String> {
        match (&self.key, given) {
            (None, _) => Ok(()),
            (Some(_), None) => Err("it asks for a key, and the coordinator has none".into()),
            (Some(key), Some(given)) if is_same(key, given) => Ok(()),
            (Some(_), Some(_)) => Err("the coordinator's key is another than its own".into()),
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// In a time that does not say where they differ.
fn is_same(key: &str, given: &str) -> bool {
    let differences = key.bytes().zip(given.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    key.len() == given.len() && differences == 0
}

/// How long a coordinator may take to say who it is, and in how many bytes.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
const HELLO_BYTES_MAX: usize = 4096;

/// Connections at one time: one coordinator, and some that are to be told that there is one.
const CONNECTIONS_MAX: usize = 64;

/// Until the next try after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Tales that may wait for whoever runs the agent.
const TALES_MAX: usize = 64;
