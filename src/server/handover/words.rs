//! What two servers say to each other while one hands over to the other: a word at a time, each a
//! packet of JSON, some with sockets.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
    },
    process::{Uid, geteuid},
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    limits::{HANDOVER_SOCKETS_PER_WORD, HANDOVER_WORD_BYTES_MAX, HANDOVER_WORD_WAIT},
    server::unix::{self, Manner},
};

/// One word of the conversation, in the order in which they are said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// The successor says who it is, and at which addresses it is to listen.
    Hello { protocol: u32, version: String, pid: u32, addresses: Vec<String> },
    /// The predecessor says why not.
    Refused { why: String },
    /// The predecessor passes sockets that listen at an address, some of them or all.
    Sockets { address: String },
    /// That was all that it has of what was asked for.
    Offered { version: String, pid: u32 },
    /// The successor wants to open a journal.
    Journal { directory: PathBuf },
    /// The predecessor does not use it now, and gets it back if it had it.
    JournalFree { lent: bool },
    /// The successor could serve.
    Ready,
    /// The predecessor accepts nobody any more.
    Yours,
    /// The successor accepts, and there is no way back.
    Taken,
}

/// What is said by those who understand each other.
pub(super) const PROTOCOL: u32 = 1;

/// What the log tells of us on the other side.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The other side of a conversation.
pub(super) struct Peer {
    socket: Socket,
    user: Uid,
}

impl Peer {
    /// Whoever hands over at this path; `None` if nobody does.
    pub fn find(path: &Path) -> io::Result<Option<Peer>> {
        let (socket, address) =
            (Socket::new(Domain::UNIX, Type::SEQPACKET, None)?, SockAddr::unix(path)?);
        // Where its backlog is full, connecting waits.
        socket.set_write_timeout(Some(HANDOVER_WORD_WAIT))?;
        let connected = loop {
            match socket.connect(&address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                connected => break connected,
            }
        };
        match connected {
            Ok(()) => Peer::of(socket).map(Some),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::WouldBlock => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "too many wait to be heard there; start again when they are done",
                )),
                _ => Err(error),
            },
        }
    }

    /// Whoever is connected.
    pub fn of(socket: Socket) -> io::Result<Peer> {
        let user = socket_peercred(&socket)?.uid;
        socket.set_write_timeout(Some(HANDOVER_WORD_WAIT))?;
        Ok(Peer { socket, user })
    }

    /// Holds it to being of our user, or root. Of one that listens that is whoever opened the socket.
    pub fn check(&self) -> io::Result<()> {
        let user = self.user;
        match user.is_root() || user == geteuid() {
            true => Ok(()),
            false => {
                let user = user.as_raw();
                Err(io::Error::other(format!("it is of the user {user}, and not of ours")))
            }
        }
    }

    /// Says a word.
    pub fn say(&self, word: &Word) -> io::Result<()> {
        self.pass(word, &[])
    }

    /// Says a word and passes sockets with it: at most as many as one word may have.
    pub fn pass(&self, word: &Word, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(word)?;
        let mut space = [const { MaybeUninit::uninit() }; SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fit = sockets.len() <= HANDOVER_SOCKETS_PER_WORD;
        let has_none = sockets.is_empty();
        if !(has_none || fit && control.push(SendAncillaryMessage::ScmRights(sockets))) {
            return Err(io::Error::other("too many sockets for one word"));
        }
        let pieces = [IoSlice::new(&text)];
        // Rings of this thread interrupt it.
        retry_on_intr(|| sendmsg(&self.socket, &pieces, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// The next word, and what was passed with it, before it is too late.
    pub fn hear(&self, deadline: Instant) -> io::Result<(Word, Vec<OwnedFd>)> {
        // Never nothing, which would mean to wait for ever.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left))?;
        let mut text = vec![0; HANDOVER_WORD_BYTES_MAX];
        let mut space = [const { MaybeUninit::uninit() }; SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(&mut text)];
        let mut receive = || {
            retry_on_intr(|| {
                recvmsg(&self.socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)
            })
        };
        // One that went without reading all of ours may have said a last word before.
        let heard = match receive() {
            Err(Errno::CONNRESET) => receive(),
            heard => heard,
        };
        let heard = heard.map_err(|error| match io::Error::from(error) {
            error if error.kind() == io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "it said nothing in time")
            }
            error => error,
        })?;
        // Whatever was passed is ours to close from here on.
        let sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let sockets: Vec<OwnedFd> = sockets.flatten().collect();
        if heard.bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has gone"));
        }
        if heard.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("it said too much at once"));
        }
        let word = serde_json::from_slice(&text[..heard.bytes]);
        let word = word.map_err(|error| io::Error::other(format!("no word of ours: {error}")))?;
        Ok((word, sockets))
    }
}

/// Bytes for the sockets of one word.
const SPACE: usize = rustix::cmsg_space!(ScmRights(HANDOVER_SOCKETS_PER_WORD));

/// What is at the path where servers hand over.
pub(super) enum Found {
    /// A server that hears successors.
    Peer(Peer),
    /// Nobody was there, and so we hear them from now on.
    Nobody(OwnedFd),
}

/// Connects to whoever hands over at this path, or opens it where nobody does. Of several that start
/// at once one opens it.
pub(super) fn find_or_open(path: &Path) -> io::Result<Found> {
    if let Some(peer) = Peer::find(path)? {
        return Ok(Found::Peer(peer));
    }
    match open(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Peer::find(path)?.map(Found::Peer).ok_or(error)
        }
        opened => opened.map(Found::Nobody),
    }
}

/// A socket that hears successors at this path, of root or our own user alone.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    unix::open(path, Manner { kind: Type::SEQPACKET, mode: 0o600, owner: None, backlog: 4 })
}

/// The sockets of an address, in words.
pub(super) fn pass_all(peer: &Peer, address: &str, sockets: &[OwnedFd]) -> io::Result<()> {
    for some in sockets.chunks(HANDOVER_SOCKETS_PER_WORD) {
        let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
        peer.pass(&Word::Sockets { address: address.to_owned() }, &some)?;
    }
    Ok(())
}
