//! The predecessor's side: hearing successors, passing the sockets on, and then going.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use socket2::Socket;
use tokio::sync::watch;

use super::{
    take::OWN,
    words::{PROTOCOL, Peer, VERSION, Word, pass_all},
};
use crate::{
    journal::Keeper,
    limits::{HANDOVER_REST_WAIT, HANDOVER_WAIT, HANDOVER_WORD_WAIT},
    mesh::Parking,
    server::News,
    shard::Drain,
};

/// All that a successor is passed, and what it takes for that.
pub(super) struct Offer {
    /// What listens, by address.
    pub sockets: Vec<(String, Vec<OwnedFd>)>,
    /// The journal, and where it is.
    pub journal: Option<(PathBuf, Keeper)>,
    pub drain: Arc<Drain>,
    pub parkings: Vec<Arc<Parking>>,
    /// Whether the server is draining, as publishers are told.
    pub draining: watch::Sender<bool>,
    /// Whether the control listener accepts.
    pub control: watch::Sender<bool>,
    pub tell: mpsc::Sender<News>,
}

impl Offer {
    /// Hears successors here, on a thread of its own, until one has taken over. Who serves in the place
    /// of a server that died accepts anew first.
    pub fn spawn(mut self, listener: OwnedFd, has_died: bool) -> io::Result<()> {
        self.sockets.push((OWN.to_owned(), vec![listener.try_clone()?]));
        let serve = move || {
            if has_died {
                self.accept_anew();
            }
            self.serve(&Socket::from(listener));
        };
        thread::Builder::new().name("handover".into()).spawn(serve)?;
        Ok(())
    }

    fn serve(self, listener: &Socket) {
        loop {
            let peer = match listener.accept().and_then(|(socket, _)| Peer::of(socket)) {
                Ok(peer) => peer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!("hand-over: cannot accept: {error}");
                    thread::sleep(HANDOVER_WORD_WAIT);
                    continue;
                }
            };
            match self.hand_over(&peer) {
                Ok(pid) => {
                    let _ = self.tell.send(News::HandedOver(pid));
                    return;
                }
                Err(error) => {
                    // Who hears nothing takes us for dead, and serves in our place.
                    let _ = peer.say(&Word::Refused { why: error.to_string() });
                    tracing::warn!("no hand-over, serving on: {error}");
                }
            }
        }
    }

    /// Talks to a successor until it has taken over. Whatever fails before leaves all as it was.
    fn hand_over(&self, peer: &Peer) -> io::Result<u32> {
        let began = Instant::now();
        let (word, _) = peer.hear(began + HANDOVER_WORD_WAIT)?;
        let Word::Hello { protocol, version, pid, addresses } = word else {
            return Err(unexpected(&word));
        };
        let refuse = |why: &str| {
            let _ = peer.say(&Word::Refused { why: why.to_owned() });
        };
        peer.check().inspect_err(|_| refuse("only root, or the user of the server, may"))?;
        if protocol != PROTOCOL {
            refuse("the server that runs speaks another version of the hand-over; stop it first");
            return Err(io::Error::other(format!("{version} speaks version {protocol} of it")));
        }
        tracing::info!("hand-over: process {pid} asks for it, version {version}");
        for (address, sockets) in &self.sockets {
            if addresses.contains(address) {
                pass_all(peer, address, sockets)?;
            }
        }
        peer.say(&Word::Offered { version: VERSION.to_owned(), pid: process::id() })?;
        let mut lent = Lent { offer: self, journal: false, accepts: false };
        let deadline = began + HANDOVER_WAIT;
        let mut word = peer.hear(deadline)?.0;
        if let Word::Journal { directory } = &word {
            lent.lend_journal(directory)?;
            peer.say(&Word::JournalFree { lent: lent.journal })?;
            word = peer.hear(deadline)?.0;
        }
        if word != Word::Ready {
            return Err(unexpected(&word));
        }
        lent.lend_accepts()?;
        peer.say(&Word::Yours)?;
        match peer.hear(Instant::now() + HANDOVER_WORD_WAIT)?.0 {
            Word::Taken => {
                lent.give();
                Ok(pid)
            }
            word => Err(unexpected(&word)),
        }
    }

    /// Stops accepting and begins again. The kernel takes the rings of a process that was killed apart
    /// after its end, and an accept that was pending there may take the news of a connection with it
    /// (`EPOLLEXCLUSIVE`): whoever connected would wait until somebody else does.
    fn accept_anew(&self) {
        for pause in RINGS_GO_WITHIN {
            thread::sleep(pause);
            let mut lent = Lent { offer: self, journal: false, accepts: false };
            if let Err(error) = lent.lend_accepts() {
                tracing::warn!("cannot accept anew: {error}");
            }
        }
    }

    fn hold_accepts(&self, hold: bool) {
        self.drain.hold_accepts(hold);
        self.parkings.iter().for_each(|parking| parking.wake());
        self.control.send_replace(!hold);
    }
}

/// What a successor was lent, and gets back from it unless it was given.
struct Lent<'a> {
    offer: &'a Offer,
    journal: bool,
    accepts: bool,
}

impl Lent<'_> {
    fn lend_journal(&mut self, theirs: &Path) -> io::Result<()> {
        let Some((ours, keeper)) = &self.offer.journal else { return Ok(()) };
        let is_same = match (ours.canonicalize(), theirs.canonicalize()) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            _ => false,
        };
        if !is_same {
            return Ok(());
        }
        self.journal = true;
        match keeper.rest(HANDOVER_REST_WAIT) {
            true => Ok(()),
            false => Err(io::Error::other("the journal is still writing")),
        }
    }

    fn lend_accepts(&mut self) -> io::Result<()> {
        self.accepts = true;
        self.offer.hold_accepts(true);
        let deadline = Instant::now() + HANDOVER_REST_WAIT;
        while self.offer.drain.anybody_accepts() {
            if Instant::now() >= deadline {
                return Err(io::Error::other("a shard does not stop accepting"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Nothing comes back.
    fn give(&mut self) {
        self.accepts = false;
        self.offer.drain.hand_over();
        // Before anything is rejected, so that whoever is told knows to connect again.
        self.offer.draining.send_replace(true);
        if std::mem::take(&mut self.journal) {
            self.offer.journal.iter().for_each(|(_, keeper)| keeper.leave());
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.accepts {
            self.offer.hold_accepts(false);
        }
        if self.journal {
            self.offer.journal.iter().for_each(|(_, keeper)| keeper.work());
        }
    }
}

/// When the rings of a process that was killed are surely gone: most go at once, some are slow.
const RINGS_GO_WITHIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(900)];

fn unexpected(word: &Word) -> io::Error {
    io::Error::other(format!("it said {word:?} out of turn"))
}
