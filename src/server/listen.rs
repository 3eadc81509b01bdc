//! Listening sockets. Everything that a connection inherits is set here, once.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::{ServerError, adopt::Adopted};
use crate::config::Config;

/// Finds peers that are gone without a word where nothing is sent: a backstop behind pings.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// How long a predecessor may take to let go of its address.
const PATIENCE: Duration = Duration::from_secs(1);

/// The control listener, and all that subscribers connect to. Whatever was passed must have a use.
pub fn all(
    config: &Config,
    shards: u16,
    mut adopted: Adopted,
) -> Result<(TcpListener, Vec<Listening>), ServerError> {
    let control = control(config, &mut adopted)?;
    let subscribers = subscribers(config, shards, &mut adopted)?;
    adopted.expect_all_taken()?;
    Ok((control, subscribers))
}

/// The control listener.
fn control(config: &Config, adopted: &mut Adopted) -> Result<TcpListener, ServerError> {
    let address = config.control;
    if let Some(socket) = adopted.take(address) {
        return Ok(socket.into());
    }
    let bound = patiently(|| {
        let socket = open(address)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    });
    bound.map_err(|error| ServerError::Listen { setting: "control", address, error })
}

/// What connections to an address speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP and WebSocket as they are.
    Plain,
    /// The same by TLS.
    Tls,
}

impl Kind {
    /// How URLs of HTTP begin.
    pub fn http(self) -> &'static str {
        if self == Kind::Tls { "https" } else { "http" }
    }

    /// How URLs of WebSocket begin.
    pub fn ws(self) -> &'static str {
        if self == Kind::Tls { "wss" } else { "ws" }
    }
}

/// An address that subscribers connect to.
pub struct Listening {
    /// What is spoken there.
    pub kind: Kind,
    /// Where it is; the port is that which was given for port 0.
    pub address: SocketAddr,
    /// A listener for each shard, all on that address: the kernel spreads connections over them.
    pub sockets: Vec<OwnedFd>,
}

/// Every address that subscribers connect to, in the order of the settings.
fn subscribers(
    config: &Config,
    shards: u16,
    adopted: &mut Adopted,
) -> Result<Vec<Listening>, ServerError> {
    let plain = config.listen.0.iter().map(|&address| (Kind::Plain, address));
    let tls = config.listen_tls.0.iter().map(|&address| (Kind::Tls, address));
    let all = plain.chain(tls);
    all.map(|(kind, address)| listening(kind, address, config, shards, adopted)).collect()
}

/// Where they are, and what is spoken there.
pub fn addresses(listening: &[Listening]) -> Vec<(Kind, SocketAddr)> {
    listening.iter().map(|it| (it.kind, it.address)).collect()
}

/// What each shard listens on, in the order of the addresses.
pub fn by_shard(listening: Vec<Listening>, shards: u16) -> Vec<Vec<OwnedFd>> {
    let mut listeners: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    for socket in listening.into_iter().map(|it| it.sockets) {
        listeners.iter_mut().zip(socket).for_each(|(shard, socket)| shard.push(socket));
    }
    listeners
}

fn listening(
    kind: Kind,
    asked: SocketAddr,
    config: &Config,
    shards: u16,
    adopted: &mut Adopted,
) -> Result<Listening, ServerError> {
    let setting = if kind == Kind::Tls { "listen-tls" } else { "listen" };
    let failed = |error| ServerError::Listen { setting, address: asked, error };
    if let Some(socket) = adopted.take(asked) {
        let sockets = shared_by_all(&socket, config, shards).map_err(failed)?;
        return Ok(Listening { kind, address: asked, sockets });
    }
    patiently(|| claim(asked)).map_err(failed)?;
    let (mut address, mut sockets) = (asked, Vec::new());
    for _ in 0..shards {
        let socket = subscriber_listener(address, config).map_err(failed)?;
        // With port 0 the first listener's port is everybody's.
        address = self::address(&socket).map_err(failed)?;
        sockets.push(socket);
    }
    Ok(Listening { kind, address, sockets })
}

fn address(listener: &OwnedFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(&listener.as_fd()).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("not an IP address"))
}

/// Finds out whether somebody else listens there. SO_REUSEPORT alone would let two servers share
/// an address, and each get half of the other's subscribers.
fn claim(address: SocketAddr) -> io::Result<()> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// Tries again for a while where the address is in use: the kernel takes the rings of a process that
/// was killed apart after its end, and its listeners with them.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let since = Instant::now();
    loop {
        match bind() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && since.elapsed() < PATIENCE =>
            {
                thread::sleep(PATIENCE / 20);
            }
            bound => return bound,
        }
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that an IPv4 listener may have the same port.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket that was passed, once for each shard: they all accept from its one backlog, whose length
/// its owner has chosen.
fn shared_by_all(socket: &OwnedFd, config: &Config, shards: u16) -> io::Result<Vec<OwnedFd>> {
    set_options(&SockRef::from(&socket.as_fd()), config)?;
    (0..shards).map(|_| socket.try_clone()).collect()
}

fn subscriber_listener(address: SocketAddr, config: &Config) -> io::Result<OwnedFd> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    set_options(&SockRef::from(&socket), config)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// What every connection inherits.
fn set_options(socket: &SockRef<'_>, config: &Config) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    let lowat = u32::try_from(config.notsent_lowat.bytes()).unwrap_or(u32::MAX);
    socket.set_tcp_notsent_lowat(lowat)
}
