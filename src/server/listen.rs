//! Listening sockets. Everything that a connection inherits is set here, once.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::{
    ServerError,
    adopt::{self, Adopted, Passed},
    unix::{self, Manner, SocketFile},
    user,
};
use crate::{
    config::{Config, Place},
    limits::LISTENERS_MAX,
};

/// Finds peers that are gone without a word where nothing is sent: a backstop behind pings.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// How long a predecessor may take to let go of its address.
const PATIENCE: Duration = Duration::from_secs(1);

/// The control listener, and all that subscribers connect to. Whatever was passed must have a use.
pub fn all(
    config: &Config,
    shards: u16,
    mut adopted: Adopted,
) -> Result<(ControlListener, Vec<Listening>), ServerError> {
    let control = control(config, &mut adopted)?;
    let subscribers = subscribers(config, shards, &mut adopted)?;
    adopted.expect_all_taken()?;
    Ok((control, subscribers))
}

/// What publishers connect to.
pub struct ControlListener {
    /// Where it is; the port is that which was given for port 0.
    pub place: Place,
    pub socket: OwnedFd,
    /// Whether it ends with the last server that has it.
    pub is_ours: bool,
}

impl ControlListener {
    /// The file that goes with it, where there is one.
    pub fn file(&self) -> io::Result<Option<SocketFile>> {
        match &self.place {
            Place::Unix(path) if self.is_ours => SocketFile::of(path, &self.socket).map(Some),
            _ => Ok(None),
        }
    }
}

fn control(config: &Config, adopted: &mut Adopted) -> Result<ControlListener, ServerError> {
    let asked = &config.control;
    if let Some(mut passed) = adopted.take(asked)
        && let Some(socket) = passed.sockets.pop()
    {
        let (place, is_ours) = (asked.clone(), passed.is_ours);
        return Ok(ControlListener { place, socket, is_ours });
    }
    let owner = user::owner(&config.user.0);
    let manner = Manner { kind: Type::STREAM, mode: 0o660, owner, backlog: CONTROL_BACKLOG };
    let bound = patiently(|| match asked {
        Place::Unix(path) => unix::open(path, manner),
        Place::Tcp(address) => {
            let socket = open(*address)?;
            socket.bind(&(*address).into())?;
            socket.listen(CONTROL_BACKLOG)?;
            Ok(socket.into())
        }
    });
    let failed = |error| ServerError::Listen { setting: "control", place: asked.clone(), error };
    let socket = bound.map_err(failed)?;
    let place = adopt::place(&SockRef::from(&socket)).unwrap_or_else(|| asked.clone());
    Ok(ControlListener { place, socket, is_ours: true })
}

/// Connections that the kernel completes before the control plane accepts them.
const CONTROL_BACKLOG: i32 = 1024;

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
    /// The listeners, all on that address: the kernel spreads connections over them. One for each
    /// shard, where they were not passed to us.
    pub sockets: Vec<OwnedFd>,
    /// Whether they were, and have yet to be told of the settings.
    is_passed: bool,
}

/// What a shard listens on, and what is spoken there.
pub type Listeners = Vec<(Kind, OwnedFd)>;

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

/// What each shard listens on, in the order of the addresses. Nobody who waits at a socket may be left
/// there: where there are more of them than shards a shard has several, and where there are fewer
/// several shards have the same.
pub fn by_shard(listening: &[Listening], shards: u16) -> Result<Vec<Listeners>, ServerError> {
    let count = usize::from(shards);
    let mut listeners: Vec<Listeners> = (0..count).map(|_| Vec::new()).collect();
    for Listening { kind, sockets, .. } in listening {
        for number in 0..sockets.len().max(count) {
            let socket = sockets[number % sockets.len()].try_clone()?;
            listeners[number % count].push((*kind, socket));
        }
    }
    let most = listeners.iter().map(Vec::len).max().unwrap_or(0);
    match most <= LISTENERS_MAX {
        true => Ok(listeners),
        false => Err(ServerError::Adopted(format!(
            "the sockets that were passed are {most} for each of {shards} shards, and a shard has \
             at most {LISTENERS_MAX}; start with --shards {} or more",
            (count * most).div_ceil(LISTENERS_MAX)
        ))),
    }
}

/// Has sockets that were passed live by our settings. To be called when nobody else accepts from them
/// any more.
pub fn take_up(listening: &[Listening], config: &Config) -> io::Result<()> {
    for it in listening.iter().filter(|it| it.is_passed) {
        for socket in it.sockets.iter().map(SockRef::from) {
            set_options(&socket, config)?;
            // Of one that is alone its owner has chosen the length of the backlog.
            if socket.reuse_port()? {
                socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
            }
        }
    }
    Ok(())
}

/// What was passed for an address, and what is to be added for so many shards.
pub fn passed(mut found: Passed, address: SocketAddr, shards: u16) -> Listening {
    grow(&mut found, address, shards);
    Listening { kind: Kind::Plain, address, sockets: found.sockets, is_passed: true }
}

/// More sockets beside those of a predecessor with fewer shards. They get nobody before they listen.
/// Where the kernel does not want that, shards share what there is.
fn grow(passed: &mut Passed, address: SocketAddr, shards: u16) {
    let is_one_of_many = |socket: &OwnedFd| SockRef::from(socket).reuse_port().unwrap_or(false);
    if !passed.is_ours || !passed.sockets.iter().all(is_one_of_many) {
        return;
    }
    while passed.sockets.len() < usize::from(shards) {
        let bound = open(address).and_then(|socket| {
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            Ok(socket.into())
        });
        match bound {
            Ok(socket) => passed.sockets.push(socket),
            Err(_) => return,
        }
    }
}

fn listening(
    kind: Kind,
    asked: SocketAddr,
    config: &Config,
    shards: u16,
    adopted: &mut Adopted,
) -> Result<Listening, ServerError> {
    let setting = if kind == Kind::Tls { "listen-tls" } else { "listen" };
    let failed = |error| ServerError::Listen { setting, place: Place::Tcp(asked), error };
    if let Some(found) = adopted.take(&Place::Tcp(asked)) {
        return Ok(Listening { kind, ..passed(found, asked, shards) });
    }
    patiently(|| claim(asked)).map_err(failed)?;
    let (mut address, mut sockets) = (asked, Vec::new());
    for _ in 0..shards {
        let socket = subscriber_listener(address, config).map_err(failed)?;
        // With port 0 the first listener's port is everybody's.
        address = self::address(&socket).map_err(failed)?;
        sockets.push(socket);
    }
    Ok(Listening { kind, address, sockets, is_passed: false })
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
pub fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
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
