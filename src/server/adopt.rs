//! Listening sockets that were opened before this process began: systemd's socket activation
//! (`LISTEN_PID`, `LISTEN_FDS`), which outlive it, and those of a predecessor.
//!
//! Whoever connects while one server has ended and the next has not begun waits in their backlog.

use std::{
    env,
    os::fd::{AsFd, OwnedFd},
    process,
};

use rustix::net::sockopt::socket_cookie;
use socket2::{SockRef, Type};

use super::ServerError;
use crate::{config::Place, io::inherit::inherited, limits::ADOPTED_MAX};

/// The sockets that nobody has taken yet, by where they listen.
#[derive(Debug, Default)]
pub struct Adopted(Vec<Passed>);

/// The sockets that listen at one address.
#[derive(Debug)]
pub struct Passed {
    address: Place,
    /// One at least.
    pub sockets: Vec<OwnedFd>,
    /// Whether they end with the last server that has them.
    pub is_ours: bool,
}

impl Adopted {
    /// Those that the environment tells of. To be called once, first of all.
    pub fn from_environment() -> Result<Adopted, ServerError> {
        let variable = |name| env::var(name).ok();
        // Meant for another process, like the shell that started us.
        if variable("LISTEN_PID") != Some(process::id().to_string()) {
            return Ok(Adopted::default());
        }
        let told = variable("LISTEN_FDS").unwrap_or_default();
        let count = told.parse().ok().filter(|&count: &u16| count <= ADOPTED_MAX);
        let count = count.ok_or_else(|| {
            let problem = format!("LISTEN_FDS is '{told}', not a number up to {ADOPTED_MAX}");
            ServerError::Adopted(problem)
        })?;
        Adopted::of(inherited(count))
    }

    fn of(sockets: Vec<OwnedFd>) -> Result<Adopted, ServerError> {
        let passed = |socket| {
            Ok(Passed { address: listens_at(&socket)?, sockets: vec![socket], is_ours: false })
        };
        Ok(Adopted(sockets.into_iter().map(passed).collect::<Result<_, ServerError>>()?))
    }

    /// Adds those of a predecessor, each to the others of its address, unless it is there already: the
    /// service manager may have passed the same one.
    pub fn add(&mut self, sockets: Vec<OwnedFd>) -> Result<(), ServerError> {
        for socket in sockets {
            let address = listens_at(&socket)?;
            match self.0.iter_mut().find(|it| it.address == address) {
                Some(passed) => {
                    let is_there =
                        !passed.is_ours && passed.sockets.iter().any(|it| is_same(it, &socket));
                    passed.sockets.extend(Some(socket).filter(|_| !is_there));
                }
                None => self.0.push(Passed { address, sockets: vec![socket], is_ours: true }),
            }
        }
        Ok(())
    }

    /// Whether any outlives this server.
    pub fn outlive_us(&self) -> bool {
        self.0.iter().any(|passed| !passed.is_ours)
    }

    /// The sockets that listen there, if any were passed.
    pub fn take(&mut self, address: &Place) -> Option<Passed> {
        let at = self.0.iter().position(|it| it.address == *address)?;
        Some(self.0.swap_remove(at))
    }

    /// Nobody would ever accept what comes to a socket that no setting names.
    pub fn expect_all_taken(&self) -> Result<(), ServerError> {
        // A predecessor passes what it was asked for and no more.
        let Some(Passed { address, .. }) = self.0.first() else { return Ok(()) };
        let setting = if address.tcp().is_some() { "listen" } else { "control" };
        let problem = format!(
            "a socket was passed that listens at {address}, and no setting names that address; add \
             --{setting} {address}, or take it out of the socket unit"
        );
        Err(ServerError::Adopted(problem))
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    socket_cookie(one).is_ok_and(|cookie| socket_cookie(other) == Ok(cookie))
}

fn listens_at(socket: &OwnedFd) -> Result<Place, ServerError> {
    let fd = socket.as_fd();
    let socket = SockRef::from(&fd);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let place = place(&socket).filter(|_| is_stream && socket.is_listener().unwrap_or(false));
    place.ok_or_else(|| {
        let problem = "a descriptor was passed that is no TCP socket that listens, and no Unix socket \
                       with a path that does; name only ListenStream= with an IP address and a port, \
                       or with the path of the control listener, in the socket unit";
        ServerError::Adopted(problem.to_owned())
    })
}

/// Where a socket is, if that is a place at which we listen.
pub fn place(socket: &SockRef<'_>) -> Option<Place> {
    let address = socket.local_addr().ok()?;
    let path = || address.as_pathname().map(|path| Place::Unix(path.to_owned()));
    address.as_socket().map(Place::Tcp).or_else(path)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    /// What a service manager and a predecessor pass of the same address is together, and the same
    /// socket is there once.
    #[test]
    fn what_two_pass_is_together() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Place::Tcp(listener.local_addr().unwrap());
        let same = OwnedFd::from(listener.try_clone().unwrap());
        let mut adopted = Adopted::of(vec![listener.into()]).unwrap();
        adopted.add(vec![same]).unwrap();
        assert!(adopted.outlive_us());
        assert_eq!(adopted.take(&address).unwrap().sockets.len(), 1);
        adopted.expect_all_taken().unwrap();
    }

    /// A socket is found by its address, once; one that nobody took is told, and so is what does not
    /// listen.
    #[test]
    fn sockets_are_found_by_address() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, other] = listeners.each_ref().map(|it| Place::Tcp(it.local_addr().unwrap()));
        let mut adopted = Adopted::of(listeners.map(OwnedFd::from).into()).unwrap();
        assert!(adopted.take(&Place::Tcp("127.0.0.1:1".parse().unwrap())).is_none());
        assert!(adopted.take(&one).is_some() && adopted.take(&one).is_none());
        let told = adopted.expect_all_taken().unwrap_err().to_string();
        assert!(told.contains(&format!("--listen {other}")), "{told}");
        assert!(adopted.take(&other).is_some());
        adopted.expect_all_taken().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let told = Adopted::of(vec![udp.into()]).unwrap_err().to_string();
        assert!(told.contains("no TCP socket that listens"), "{told}");
    }
}
