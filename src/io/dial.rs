//! Connections that go out: begun from an address of one's choice, without waiting.
//!
//! For tools that connect hundreds of thousands of sockets; the server itself only accepts.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

/// A connection that has been begun.
#[derive(Debug)]
pub struct Dialled(Socket);

/// Begins to connect to `target`, from `source` if one is given, with a receive buffer of
/// `receive_bytes` if that is given.
pub fn dial(
    target: SocketAddr,
    source: Option<IpAddr>,
    receive_bytes: Option<usize>,
) -> io::Result<Dialled> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None)?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        leave_port_to_connect(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => Ok(Dialled(socket)),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(Dialled(socket)),
        Err(error) => Err(error),
    }
}

/// Looks at each of these connections, without waiting, and keeps those that are still pending.
/// Tells of the others, with what was kept beside them.
pub fn progress<T>(
    pending: &mut Vec<(Dialled, T)>,
    told: &mut dyn FnMut(T, io::Result<OwnedFd>),
) -> io::Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    let ears = pending.iter().map(|(dialled, _)| PollFd::new(&dialled.0, PollFlags::OUT));
    let mut ears: Vec<_> = ears.collect();
    poll(&mut ears, Some(&Timespec::default()))?;
    let mut answers =
        ears.iter().map(|ear| !ear.revents().is_empty()).collect::<Vec<_>>().into_iter();
    let answered = pending.extract_if(.., |_| answers.next() == Some(true));
    for (Dialled(socket), kept) in answered {
        match socket.take_error() {
            Ok(None) => told(kept, Ok(socket.into())),
            Ok(Some(error)) | Err(error) => told(kept, Err(error)),
        }
    }
    Ok(())
}

/// Lets `connect` choose the port: `bind` would search long, since it may not give out a port twice
/// although the target differs.
fn leave_port_to_connect(socket: &Socket) -> io::Result<()> {
    let (yes, size) = (1i32, size_of::<i32>() as libc::socklen_t);
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the kernel reads four bytes from `yes`, which lives until the call returns.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const yes).cast(), size) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
