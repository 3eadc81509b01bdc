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
    match poll(&mut ears, Some(&Timespec::default())) {
        // A signal came before anybody was looked at: the next look is soon enough.
        Err(rustix::io::Errno::INTR) => return Ok(()),
        looked => looked?,
    };
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

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener, TcpStream},
        time::{Duration, Instant},
    };

    use super::*;

    /// Waits until all of them have an answer.
    fn answers(mut pending: Vec<(Dialled, u32)>) -> Vec<(u32, io::Result<OwnedFd>)> {
        let (mut told, begun) = (Vec::new(), Instant::now());
        while !pending.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} had no answer", pending.len());
            progress(&mut pending, &mut |number, answer| told.push((number, answer)))
                .expect("sockets can be polled");
        }
        told
    }

    /// Every connection gets its own answer: a descriptor that comes from the address that was
    /// asked for, or why there is none.
    #[test]
    fn each_connection_is_answered() {
        let open = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let refusing = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (open_at, refusing_at) = (open.local_addr(), refusing.local_addr());
        let (open_at, refusing_at) = (open_at.expect("it is bound"), refusing_at.expect("it is"));
        drop(refusing);
        let source = IpAddr::from(Ipv4Addr::new(127, 9, 8, 7));
        let targets = [open_at, refusing_at, open_at];
        let dialled = (0..).zip(targets).map(|(number, target)| {
            (dial(target, Some(source), Some(4096)).expect("it can be begun"), number)
        });
        for (number, answer) in answers(dialled.collect()) {
            match answer {
                Ok(socket) => {
                    assert_ne!(number, 1);
                    let socket = TcpStream::from(socket);
                    assert_eq!(socket.peer_addr().expect("it is connected"), open_at);
                    assert_eq!(socket.local_addr().expect("it is bound").ip(), source);
                }
                Err(error) => {
                    assert_eq!((number, error.kind()), (1, io::ErrorKind::ConnectionRefused));
                }
            }
        }
    }

    /// What has no answer yet is kept.
    #[test]
    fn pending_connections_are_kept() {
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port is free");
        full.listen(0).expect("it can listen");
        let target = full.local_addr().expect("it is bound").as_socket().expect("it is IPv4");
        let dialled = (0..8).map(|number| (dial(target, None, None).expect("it begins"), number));
        let mut pending: Vec<_> = dialled.collect();
        let mut answered = 0;
        progress(&mut pending, &mut |_, _| answered += 1).expect("sockets can be polled");
        assert_eq!(pending.len() + answered, 8);
        assert!(pending.len() >= 6, "a backlog of none takes one or two: {answered} answered");
    }
}
