//! Where senders of lines connect: a TCP address, or a Unix socket that is ours while we run.

use std::{
    fmt,
    fs::{self, File, Permissions, TryLockError},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use super::Fault;

/// A connection of whichever kind.
pub(super) type Stream = Box<dyn Duplex>;

/// Both ways of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A listener that is open.
pub(super) enum Door {
    Tcp(TcpListener),
    /// The path is removed when the door goes.
    Unix(UnixListener, Made),
}

impl Door {
    /// Listens on an address.
    pub(super) async fn tcp(address: SocketAddr) -> Result<Self, Fault> {
        let listener = TcpListener::bind(address).await;
        listener.map(Door::Tcp).map_err(|why| {
            Fault::Refused(format!(
                "cannot listen on tcp:{address}: {why}; free the address, or choose another in from"
            ))
        })
    }

    /// Makes a Unix socket for its owner and group, mode 0660. One that is left over from a server
    /// that was killed is taken over; one that somebody listens on, or any other file, is not.
    pub(super) fn unix(path: &Path) -> Result<Self, Fault> {
        let told = |why: String| format!("cannot listen on unix:{}: {why}", path.display());
        let failed = |why: io::Error| {
            Fault::Refused(told(format!("{why}; choose a path that can be made in from")))
        };
        // Two that find the same left-over at once would remove each other's socket.
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let folder = File::open(folder).map_err(failed)?;
        folder.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => Fault::Lost(told("its folder is locked".into())),
            TryLockError::Error(why) => failed(why),
        })?;
        make_way(path).map_err(|why| Fault::Refused(told(why)))?;
        let listener = bind(path).map_err(failed)?;
        let made = Made::at(path).map_err(failed)?;
        UnixListener::from_std(listener).map(|it| Door::Unix(it, made)).map_err(failed)
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Door::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A sender that is gone without a word would keep its place for ever.
                let alive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4);
                SockRef::from(&stream).set_tcp_keepalive(&alive)?;
                Box::new(stream)
            }
            Door::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "tcp:{address}"),
                Err(why) => write!(f, "tcp: {why}"),
            },
            Door::Unix(_, made) => write!(f, "unix:{}", made.path.display()),
        }
    }
}

/// Nobody can connect before the mode is right: that takes `listen`.
fn bind(path: &Path) -> io::Result<StdUnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Removes a socket that nobody listens on. An error says what else is there.
fn make_way(path: &Path) -> Result<(), String> {
    let there = match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(format!("{why}; choose a path that can be made in from")),
        Ok(there) => there,
    };
    if !there.file_type().is_socket() {
        return Err("a file is there that is no socket; remove it, or choose another path".into());
    }
    match UnixStream::connect(path) {
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|why| format!("the socket left there stays: {why}"))
        }
        Ok(_) => Err("somebody listens there; end that, or choose another path".into()),
        Err(why) => Err(format!("whether somebody listens there is not known: {why}")),
    }
}

/// A socket's file that we made. It is removed unless another stands in its place by then.
pub(super) struct Made {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl Made {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Made { path: path.to_owned(), file: identity(path)? })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Time without a line before a sender's machine is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(60);
