//! Unix sockets with a path: opened for those alone whom the mode lets in, and gone with their server.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listen::patiently;

/// What a socket is to be like.
#[derive(Clone, Copy)]
pub struct Manner {
    pub kind: Type,
    /// The rights of its file.
    pub mode: u32,
    /// The user and the group of its file, if not ours.
    pub owner: Option<(u32, u32)>,
    pub backlog: i32,
}

/// A socket that listens at this path. What lies there already is the socket of one that has gone, or
/// it is in the way.
pub fn open(path: &Path, manner: Manner) -> io::Result<OwnedFd> {
    // Of two that find the same stale file, the second would remove the first one's.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    patiently(|| folder.try_lock().map_err(|_| io::ErrorKind::AddrInUse.into()))?;
    remove_stale(path, manner.kind)?;
    let socket = Socket::new(Domain::UNIX, manner.kind, None)?;
    // Its file has no right more than these from the first moment on; below it gets what umask took.
    let mode = Permissions::from_mode(manner.mode);
    File::from(OwnedFd::from(socket.try_clone()?)).set_permissions(mode.clone())?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, and so before anybody can connect.
    if let Some((user, group)) = manner.owner {
        chown(path, Some(user), Some(group))?;
    }
    fs::set_permissions(path, mode)?;
    socket.listen(manner.backlog)?;
    Ok(socket.into())
}

fn remove_stale(path: &Path, kind: Type) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match is_heard(path, kind)? {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => fs::remove_file(path),
        },
        Ok(_) => Err(io::Error::other("there is something else than a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether anybody listens there. It is never waited for a place in a backlog.
fn is_heard(path: &Path, kind: Type) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(true),
            io::ErrorKind::ConnectionRefused => Ok(false),
            _ => Err(error),
        },
    }
}

/// The file of a socket that listens, to be removed before nobody does.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Its device and number, which no other file gets while the socket is open.
    file: (u64, u64),
    _socket: OwnedFd,
}

impl SocketFile {
    /// That of this socket.
    pub fn of(path: &Path, socket: &impl AsFd) -> io::Result<Self> {
        let _socket = socket.as_fd().try_clone_to_owned()?;
        Ok(SocketFile { path: path.to_owned(), file: number(path)?, _socket })
    }

    /// Removes it, unless another has taken its place.
    pub fn remove(self) {
        if number(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn number(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::net::UnixListener, process};

    use super::*;

    const MANNER: Manner = Manner { kind: Type::STREAM, mode: 0o660, owner: None, backlog: 4 };

    /// A socket has its mode. One that is heard is never replaced, be its backlog full or its kind
    /// another; one that is not heard is, and what is no socket stays.
    #[test]
    fn only_what_is_stale_is_replaced() {
        let path = env::temp_dir().join(format!("stentor-unix-{}", process::id()));
        let socket = open(&path, MANNER).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let waiting: Vec<_> = std::iter::repeat_with(|| {
            let waiting = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            waiting.set_nonblocking(true).unwrap();
            waiting.connect(&SockAddr::unix(&path).unwrap()).map(|()| waiting)
        })
        .take_while(Result::is_ok)
        .collect();
        assert_eq!(waiting.len(), 5, "the backlog and one");
        assert_eq!(open(&path, MANNER).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(open(&path, Manner { kind: Type::SEQPACKET, ..MANNER }).is_err());
        drop(socket);
        drop(open(&path, MANNER).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        let told = open(&path, MANNER).unwrap_err().to_string();
        assert!(told.contains("something else than a socket"), "{told}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }

    /// A server removes its own file, and leaves one that another has put in its place.
    #[test]
    fn only_its_own_file_is_removed() {
        let path = env::temp_dir().join(format!("stentor-own-{}", process::id()));
        let of = |socket: &OwnedFd| SocketFile::of(&path, socket).unwrap();
        of(&open(&path, MANNER).unwrap()).remove();
        assert!(!path.exists());
        let file = of(&open(&path, MANNER).unwrap());
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        file.remove();
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }
}
