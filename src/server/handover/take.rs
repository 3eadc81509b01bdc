//! The successor's side: asking for the sockets, and being ready before they are ours.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use super::words::{self, PROTOCOL, Peer, VERSION, Word};
use crate::{
    config::Config,
    control::States,
    inputs::InputReport,
    limits::{HANDOVER_REST_WAIT, HANDOVER_SOCKETS_MAX, HANDOVER_WAIT, HANDOVER_WORD_WAIT},
    server::{ServerError, adopt::Adopted},
};

/// What is under way at the path where servers hand over.
pub(super) struct Takeover {
    path: PathBuf,
    /// Whoever serves until we are ready.
    peer: Option<(Peer, u32)>,
    /// Where our own successor will connect.
    listener: OwnedFd,
    began: Instant,
}

impl Takeover {
    /// Asks whoever hands over at the path of the settings for all sockets that it has of ours. Where
    /// nobody does, this is the first start.
    pub fn begin(config: &Config, adopted: &mut Adopted) -> Result<Option<Takeover>, ServerError> {
        let Some(path) = &config.takeover.0 else { return Ok(None) };
        let taken = Takeover::ask(path, config, adopted);
        taken.map(Some).map_err(|error| failed(path, error))
    }

    fn ask(path: &Path, config: &Config, adopted: &mut Adopted) -> io::Result<Takeover> {
        let began = Instant::now();
        let Some(peer) = Peer::find(path)? else {
            let listener = words::open(path)?;
            tracing::info!("nobody hands over at {}: a first start", path.display());
            return Ok(Takeover { path: path.to_owned(), peer: None, listener, began });
        };
        let mut addresses: Vec<String> = Vec::new();
        let subscribers = config.listen.0.iter().chain(&config.listen_tls.0);
        addresses.extend(subscribers.map(ToString::to_string));
        addresses.push(config.control.to_string());
        addresses.push(OWN.to_owned());
        peer.check()?;
        let (version, pid) = (VERSION.to_owned(), process::id());
        peer.say(&Word::Hello { protocol: PROTOCOL, version, pid, addresses })?;
        let (mut own, mut count) = (None, 0);
        let (version, pid) = loop {
            match peer.hear(Instant::now() + HANDOVER_WORD_WAIT)? {
                (Word::Sockets { address }, mut sockets) => {
                    count += sockets.len();
                    if count > HANDOVER_SOCKETS_MAX {
                        return Err(io::Error::other("it passes too many sockets"));
                    }
                    match address == OWN {
                        true => own = sockets.pop(),
                        false => adopted.add(sockets).map_err(io::Error::other)?,
                    }
                }
                (Word::Offered { version, pid }, _) => break (version, pid),
                (Word::Refused { why }, _) => return Err(io::Error::other(why)),
                (word, _) => return Err(io::Error::other(format!("it said {word:?} out of turn"))),
            }
        };
        let listener = own.ok_or_else(|| io::Error::other("it kept the socket of this path"))?;
        tracing::info!("taking over from process {pid}, version {version}");
        Ok(Takeover { path: path.to_owned(), peer: Some((peer, pid)), listener, began })
    }

    /// Whether somebody serves until we are ready.
    pub fn waits(&self) -> bool {
        self.peer.is_some()
    }

    /// Has the predecessor close the journal that we want to open.
    pub fn claim_journal(&self, directory: &Path) -> Result<(), ServerError> {
        let Some((peer, _)) = &self.peer else { return Ok(()) };
        let claim = || {
            peer.say(&Word::Journal { directory: directory.canonicalize()? })?;
            let deadline = Instant::now() + HANDOVER_REST_WAIT + HANDOVER_WORD_WAIT;
            match peer.hear(deadline)?.0 {
                Word::JournalFree => Ok(()),
                word => Err(io::Error::other(format!("it said {word:?} out of turn"))),
            }
        };
        // Where there is no such directory nobody uses it.
        match directory.exists() {
            true => claim().map_err(|error| failed(&self.path, error)),
            false => Ok(()),
        }
    }

    /// Waits until every input that has to has read what its bus had.
    pub fn await_inputs(&self, inputs: &States) -> Result<(), ServerError> {
        let deadline = self.began + HANDOVER_WAIT.saturating_sub(HANDOVER_WORD_WAIT);
        loop {
            let behind =
                inputs.iter().find(|(it, state)| it.numbered_by_bus && !state.report().ready);
            let Some((input, state)) = behind else { return Ok(()) };
            if Instant::now() >= deadline {
                let InputReport { problem, .. } = state.report();
                let why = problem.unwrap_or_else(|| "it is still reading".to_owned());
                let why = format!("the input {} is not ready in time: {why}", input.name);
                return Err(failed(&self.path, io::Error::other(why)));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has the predecessor stop accepting. When this returns everything waits for us, and `accept`
    /// is called once the predecessor knows that there is no way back.
    pub fn complete(
        &mut self,
        prepare: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), ServerError> {
        let Some((peer, pid)) = self.peer.take() else { return Ok(()) };
        let completed = || {
            peer.say(&Word::Ready)?;
            let deadline = Instant::now() + HANDOVER_REST_WAIT + HANDOVER_WORD_WAIT;
            match peer.hear(deadline)?.0 {
                Word::Yours => (),
                word => return Err(io::Error::other(format!("it said {word:?} out of turn"))),
            }
            prepare()?;
            peer.say(&Word::Taken)
        };
        completed().map_err(|error| failed(&self.path, error))?;
        let ms = self.began.elapsed().as_millis() as u64;
        tracing::info!(pid, ms, "took the listening sockets over from process {pid} in {ms} ms");
        Ok(())
    }

    /// Where our own successor will connect.
    pub fn into_listener(self) -> OwnedFd {
        self.listener
    }
}

fn failed(path: &Path, error: io::Error) -> ServerError {
    ServerError::Takeover { path: path.to_owned(), error }
}

/// How the socket of the path itself is called among those that are passed.
pub(super) const OWN: &str = "takeover";
