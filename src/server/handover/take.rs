//! The successor's side: asking for the sockets, and being ready before they are ours.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::words::{self, Found, PROTOCOL, Peer, VERSION, Word};
use crate::{
    config::Config,
    control::States,
    inputs::InputReport,
    journal::JournalError,
    limits::{
        HANDOVER_REST_WAIT, HANDOVER_SOCKETS_MAX, HANDOVER_TRIES, HANDOVER_WAIT, HANDOVER_WORD_WAIT,
    },
    server::{ServerError, Stop, adopt::Adopted, journal::Opened, unix::SocketFile},
};

/// What is under way at the path where servers hand over.
pub(super) struct Takeover {
    path: PathBuf,
    /// Whoever serves until we are ready.
    peer: Option<(Peer, u32)>,
    /// Where our own successor will connect.
    listener: OwnedFd,
    began: Instant,
    /// Whether whoever served died on the way.
    pub has_died: bool,
    /// Whether the predecessor cannot write its journal until we have taken over.
    pub has_journal: bool,
    told_to_stop: Stop,
}

/// What a predecessor said at once: its sockets, its own among them, its version and its process.
type Offered = (Vec<OwnedFd>, OwnedFd, String, u32);

impl Takeover {
    /// Asks whoever hands over at the path of the settings for all sockets that it has of ours. Where
    /// nobody does, this is the first start.
    pub fn begin(
        config: &Config,
        adopted: &mut Adopted,
        told_to_stop: Stop,
    ) -> Result<Option<Takeover>, ServerError> {
        let Some(path) = &config.takeover.0 else { return Ok(None) };
        let taken = Takeover::ask(path, config, adopted, told_to_stop);
        taken.map(Some).map_err(|error| failed(path, error))
    }

    fn ask(
        path: &Path,
        config: &Config,
        adopted: &mut Adopted,
        told_to_stop: Stop,
    ) -> io::Result<Takeover> {
        let (began, path) = (Instant::now(), path.to_owned());
        let (listener, peer) = meet(&path, config, adopted, &told_to_stop)?;
        let (has_died, has_journal) = (false, false);
        Ok(Takeover { path, peer, listener, began, has_died, has_journal, told_to_stop })
    }

    /// Whether somebody serves until we are ready.
    pub fn waits(&self) -> bool {
        self.peer.is_some()
    }

    /// Opens a journal, once a predecessor that has it has closed it.
    pub fn open_journal(&mut self, directory: &Path) -> Result<Opened, ServerError> {
        // Where there is no such directory nobody uses it.
        if directory.exists() {
            self.claim_journal(directory).map_err(|error| failed(&self.path, error))?;
        }
        let until = Instant::now() + HANDOVER_WORD_WAIT;
        loop {
            match Opened::at(directory) {
                // The kernel takes the rings of a process that was killed apart after its end.
                Err(ServerError::Journal(JournalError::InUse { .. }))
                    if self.has_died && Instant::now() < until =>
                {
                    thread::sleep(LOOK_AGAIN);
                }
                opened => return opened,
            }
        }
    }

    fn claim_journal(&mut self, directory: &Path) -> io::Result<()> {
        let Some((peer, _)) = &self.peer else { return Ok(()) };
        let deadline = Instant::now() + HANDOVER_REST_WAIT + HANDOVER_WORD_WAIT;
        let word = Word::Journal { directory: directory.canonicalize()? };
        match answer(peer, &word, &self.told_to_stop, deadline)? {
            Some((Word::JournalFree { lent }, _)) => self.has_journal = lent,
            Some((word, _)) => return Err(unexpected(&word)),
            None => self.bury(),
        }
        Ok(())
    }

    /// Waits until every input that has to has read what its bus had, unless a journal is lent for as
    /// long, whose publishers would wait for that bus, or nobody serves any more.
    pub fn await_inputs(&mut self, inputs: &States) -> Result<(), ServerError> {
        let deadline = self.began + HANDOVER_WAIT.saturating_sub(HANDOVER_WORD_WAIT);
        while let (Some((peer, _)), false) = (&self.peer, self.has_journal) {
            let behind =
                inputs.iter().find(|(it, state)| it.numbered_by_bus && !state.report().ready);
            let Some((input, state)) = behind else { return Ok(()) };
            if Instant::now() >= deadline {
                let InputReport { problem, .. } = state.report();
                let why = problem.unwrap_or_else(|| "it is still reading".to_owned());
                let why = format!("the input {} is not ready in time: {why}", input.name);
                return Err(failed(&self.path, io::Error::other(why)));
            }
            match hear(peer, &self.told_to_stop, Instant::now() + LOOK_AGAIN) {
                Ok(Some((word, _))) => return Err(failed(&self.path, unexpected(&word))),
                Ok(None) => self.bury(),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(failed(&self.path, error)),
            }
        }
        Ok(())
    }

    /// Has the predecessor stop accepting. When this returns everything waits for us; `prepare` is
    /// called while there is a way back.
    pub fn complete(
        &mut self,
        prepare: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), ServerError> {
        self.try_complete(prepare).map_err(|error| failed(&self.path, error))
    }

    fn try_complete(&mut self, prepare: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some((peer, pid)) = &self.peer else { return prepare() };
        let told_to_stop = &self.told_to_stop;
        let deadline = Instant::now() + HANDOVER_REST_WAIT + HANDOVER_WORD_WAIT;
        match answer(peer, &Word::Ready, told_to_stop, deadline)? {
            Some((Word::Yours, _)) => prepare()?,
            Some((word, _)) => return Err(unexpected(&word)),
            None => {
                self.bury();
                return prepare();
            }
        }
        heed(told_to_stop)?;
        match peer.say(&Word::Taken) {
            Err(error) if is_gone(&error) => match hear(peer, told_to_stop, deadline)? {
                Some((word, _)) => return Err(unexpected(&word)),
                None => {
                    self.bury();
                    return Ok(());
                }
            },
            said => said?,
        }
        let ms = self.began.elapsed().as_millis() as u64;
        tracing::info!(pid, ms, "took the listening sockets over from process {pid} in {ms} ms");
        self.peer = None;
        Ok(())
    }

    /// Nobody serves, and all is free.
    fn bury(&mut self) {
        if let Some((_, pid)) = self.peer.take() {
            self.has_died = true;
            tracing::warn!(
                pid,
                "process {pid} has died before it handed over: serving in its place"
            );
        }
    }

    /// Where our own successor will connect. Who died may have taken its path away.
    pub fn into_listener(self) -> io::Result<(OwnedFd, SocketFile)> {
        let Takeover { path, listener, has_died, .. } = self;
        if !has_died && let Ok(file) = SocketFile::of(&path, &listener) {
            return Ok((listener, file));
        }
        // So that what is found there is not our own.
        drop(listener);
        match words::find_or_open(&path)? {
            Found::Nobody(listener) => {
                let file = SocketFile::of(&path, &listener)?;
                Ok((listener, file))
            }
            Found::Peer(_) => Err(io::Error::other("another server hears there now")),
        }
    }
}

/// Between two looks at whether there is still a point in waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where successors connect, and who has us wait there, if anybody does.
fn meet(
    path: &Path,
    config: &Config,
    adopted: &mut Adopted,
    told_to_stop: &AtomicBool,
) -> io::Result<(OwnedFd, Option<(Peer, u32)>)> {
    for _ in 0..HANDOVER_TRIES {
        let peer = match words::find_or_open(path)? {
            Found::Peer(peer) => peer,
            Found::Nobody(listener) => {
                tracing::info!("nobody hands over at {}: a first start", path.display());
                return Ok((listener, None));
            }
        };
        peer.check()?;
        if let Some((sockets, listener, version, pid)) = greet(&peer, config, told_to_stop)? {
            adopted.add(sockets).map_err(io::Error::other)?;
            tracing::info!("taking over from process {pid}, version {version}");
            return Ok((listener, Some((peer, pid))));
        }
        tracing::warn!("whoever handed over at {} has died: looking again", path.display());
    }
    Err(io::Error::other("each server that was asked died; start again"))
}

/// Says who we are, and hears all that is offered; none if the other side has died.
fn greet(peer: &Peer, config: &Config, told_to_stop: &AtomicBool) -> io::Result<Option<Offered>> {
    let mut addresses: Vec<String> = Vec::new();
    let subscribers = config.listen.0.iter().chain(&config.listen_tls.0);
    addresses.extend(subscribers.map(ToString::to_string));
    addresses.extend([config.control.to_string(), OWN.to_owned()]);
    let (version, pid) = (VERSION.to_owned(), process::id());
    let soon = || Instant::now() + HANDOVER_WORD_WAIT;
    let hello = Word::Hello { protocol: PROTOCOL, version, pid, addresses };
    let mut heard = answer(peer, &hello, told_to_stop, soon())?;
    let (mut all, mut own) = (Vec::new(), None);
    loop {
        match heard {
            Some((Word::Sockets { address }, mut sockets)) => {
                if all.len() + sockets.len() > HANDOVER_SOCKETS_MAX {
                    return Err(io::Error::other("it passes too many sockets"));
                }
                match address == OWN {
                    true => own = sockets.pop(),
                    false => all.append(&mut sockets),
                }
            }
            Some((Word::Offered { version, pid }, _)) => {
                let own = own.ok_or_else(|| io::Error::other("it kept the socket of this path"))?;
                return Ok(Some((all, own, version, pid)));
            }
            Some((word, _)) => return Err(unexpected(&word)),
            None => return Ok(None),
        }
        heard = hear(peer, told_to_stop, soon())?;
    }
}

/// What a word is answered with; none if the other side has died.
fn answer(
    peer: &Peer,
    word: &Word,
    told_to_stop: &AtomicBool,
    deadline: Instant,
) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    heed(told_to_stop)?;
    match peer.say(word) {
        // Its last word may tell why it went.
        Err(error) if !is_gone(&error) => Err(error),
        _ => hear(peer, told_to_stop, deadline),
    }
}

/// The next word in time; none if the other side has died, since whoever ends on purpose says so.
fn hear(
    peer: &Peer,
    told_to_stop: &AtomicBool,
    deadline: Instant,
) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    loop {
        heed(told_to_stop)?;
        return match peer.hear(deadline.min(Instant::now() + LOOK_AGAIN)) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && Instant::now() < deadline => {
                continue;
            }
            Err(error) if is_gone(&error) => Ok(None),
            Ok((Word::Refused { why }, _)) => Err(io::Error::other(why)),
            heard => heard.map(Some),
        };
    }
}

/// Gives up where the process was told to stop.
fn heed(told_to_stop: &AtomicBool) -> io::Result<()> {
    match told_to_stop.load(Ordering::SeqCst) {
        true => Err(io::Error::other("told to stop before it was done")),
        false => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn unexpected(word: &Word) -> io::Error {
    io::Error::other(format!("it said {word:?} out of turn"))
}

fn failed(path: &Path, error: io::Error) -> ServerError {
    ServerError::Takeover { path: path.to_owned(), error }
}

/// How the socket of the path itself is called among those that are passed.
pub(super) const OWN: &str = "takeover";
