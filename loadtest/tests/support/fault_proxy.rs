//! A proxy that plants a known number of faults between a broadcast server and its subscribers.
//!
//! A load tester that proves what arrived must be proven itself: each fault that [`planted`] counts
//! is one that it has to report, and nothing else is. Bytes towards the server pass unchanged, but
//! for the position that a subscriber resumes from ([`requests`]); those towards the client are taken
//! apart into frames or events ([`pieces`]) and changed as the [`Plan`] says ([`planter`]).
//!
//! Promises: faults are counted before a client can see them, heads and control frames are never
//! touched, and all threads are joined on drop. A publication over two or more frames passes
//! unchanged and uncounted, as does an answer that is neither WebSocket nor SSE. Publications are
//! expected to be printable ASCII. A client that leaves while it is sent to may miss faults that are
//! counted.
//!
//! [`planted`]: FaultProxy::planted

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use self::{pieces::Splitter, planter::Planter};

/// What is done to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is left out.
    Drop,
    /// It is sent twice.
    Repeat,
    /// It is sent after the next publication of its connection, if that one comes soon.
    Swap,
    /// It loses its last bytes, in a frame or event that is well formed.
    Truncate,
    /// One of its bytes is another printable one.
    Corrupt,
    /// The connection ends before it, without a close frame or a last chunk.
    Cut,
    /// A subscriber that resumes does so one publication before where it was: that one comes again.
    Rewind,
}

/// Which publications are changed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is done.
    pub kind: Fault,
    /// After the grace one publication in this many is changed. They are counted over all
    /// connections, in the order in which they come.
    pub every: u64,
    /// This many publications come before the first that is changed.
    pub grace: u64,
    /// Connections at the same time. More are closed as soon as they come.
    pub connections_max: usize,
    /// Whether only the first publications of connections that resume count.
    pub at_seams: bool,
}

impl Plan {
    /// A plan with [`GRACE`] and [`CONNECTIONS_MAX`].
    pub fn new(kind: Fault, every: u64) -> Plan {
        let connections_max = CONNECTIONS_MAX;
        Plan { kind, every, grace: GRACE, connections_max, at_seams: kind == Fault::Rewind }
    }
}

/// A running proxy; ends when it is dropped.
pub struct FaultProxy {
    /// Where clients connect.
    pub address: SocketAddr,
    ledger: Arc<Ledger>,
    acceptor: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy in front of a server.
    pub fn start(server: SocketAddr, plan: Plan) -> FaultProxy {
        assert!(plan.every > 0, "one publication in none");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let ledger = Arc::new(Ledger::new(plan));
        let shared = ledger.clone();
        let acceptor = spawn(move || accept(&listener, server, &shared));
        FaultProxy { address, ledger, acceptor: Some(acceptor) }
    }

    /// How many faults have been sent to clients.
    pub fn planted(&self) -> u64 {
        self.ledger.planted.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.ledger.is_ending.store(true, Ordering::SeqCst);
        // Only a connection wakes a thread in `accept`. If none comes through, the thread is leaked
        // with the test's process instead of waited for.
        if TcpStream::connect(self.address).is_ok()
            && let Some(acceptor) = self.acceptor.take()
            && acceptor.join().is_err()
            && !thread::panicking()
        {
            panic!("the proxy panicked");
        }
    }
}

/// What all connections count together.
struct Ledger {
    plan: Plan,
    publications: AtomicU64,
    planted: AtomicU64,
    is_ending: AtomicBool,
}

impl Ledger {
    fn new(plan: Plan) -> Ledger {
        let (publications, planted) = (AtomicU64::new(0), AtomicU64::new(0));
        Ledger { plan, publications, planted, is_ending: AtomicBool::new(false) }
    }

    /// Counts a publication, and says whether it is one to change.
    fn is_due(&self) -> bool {
        let number = self.publications.fetch_add(1, Ordering::SeqCst);
        let after_grace = number.checked_sub(self.plan.grace);
        after_grace.is_some_and(|number| number.is_multiple_of(self.plan.every))
    }

    /// Writes bytes with so many faults, which are counted before anyone can see them and not at
    /// all if the client has gone.
    fn write(&self, mut client: &TcpStream, bytes: &[u8], faults: u64) -> io::Result<()> {
        self.planted.fetch_add(faults, Ordering::SeqCst);
        let outcome = client.write_all(bytes);
        if outcome.is_err() {
            self.planted.fetch_sub(faults, Ordering::SeqCst);
        }
        outcome
    }
}

/// One client, its own connection to the server, and the threads that carry bytes between them.
struct Connection {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    threads: [JoinHandle<()>; 2],
}

impl Connection {
    fn open(client: TcpStream, server: SocketAddr, ledger: &Arc<Ledger>) -> io::Result<Connection> {
        let (client, server) = (Arc::new(client), Arc::new(TcpStream::connect(server)?));
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let resumes = Arc::new(AtomicBool::new(false));
        let (from, to) = (client.clone(), server.clone());
        let (shared, flag) = (ledger.clone(), resumes.clone());
        let upstream = spawn(move || carry_requests(&from, &to, &shared, &flag));
        let (from, to, ledger) = (server.clone(), client.clone(), ledger.clone());
        let downstream = spawn(move || carry_publications(&from, &to, &ledger, &resumes));
        Ok(Connection { client, server, threads: [upstream, downstream] })
    }

    fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    fn end(self) {
        for socket in [&self.client, &self.server] {
            // A socket whose peer has gone needs no end.
            let _ = socket.shutdown(Shutdown::Both);
        }
        for thread in self.threads {
            thread.join().expect("threads of the proxy do not panic");
        }
    }
}

/// Takes connections until the proxy ends, then ends them.
fn accept(listener: &TcpListener, server: SocketAddr, ledger: &Arc<Ledger>) {
    let mut connections: Vec<Connection> = Vec::new();
    for client in listener.incoming() {
        if ledger.is_ending.load(Ordering::SeqCst) {
            break;
        }
        for finished in connections.extract_if(.., |connection| connection.is_finished()) {
            finished.end();
        }
        if connections.len() < ledger.plan.connections_max
            && let Ok(client) = client
            && let Ok(connection) = Connection::open(client, server, ledger)
        {
            connections.push(connection);
        }
    }
    connections.into_iter().for_each(Connection::end);
}

/// Carries bytes from client to server, unchanged but for the position in the first request's head.
/// When the server has gone it reads on: a socket closed with bytes unread would reset the
/// connection, and the client would lose what it was sent.
fn carry_requests(
    mut client: &TcpStream,
    mut server: &TcpStream,
    ledger: &Ledger,
    resumes: &AtomicBool,
) {
    let mut buffer = [0; BUFFER_BYTES];
    let (mut is_served, mut head) = (true, Some(Vec::new()));
    while let Ok(len @ 1..) = client.read(&mut buffer) {
        let Some(start) = &mut head else {
            is_served = is_served && server.write_all(&buffer[..len]).is_ok();
            continue;
        };
        start.extend_from_slice(&buffer[..len]);
        let is_whole = start.windows(4).any(|end| end == b"\r\n\r\n");
        if !is_whole && start.len() < BUFFER_BYTES {
            continue;
        }
        let mut start = head.take().unwrap_or_default();
        if let Some(offset) = requests::offset(&start) {
            resumes.store(true, Ordering::SeqCst);
            let has_one_before = requests::number(&start[offset.clone()]) > 0;
            if ledger.plan.kind == Fault::Rewind && has_one_before && ledger.is_due() {
                ledger.planted.fetch_add(1, Ordering::SeqCst);
                requests::rewind(&mut start, offset);
            }
        }
        is_served = server.write_all(&start).is_ok();
    }
    // Half a head is the server's to judge.
    if let Some(start) = head {
        let _ = server.write_all(&start);
    }
    // Fails if the server has closed, which is what it is for.
    let _ = server.shutdown(Shutdown::Write);
}

/// Carries what the server sends, with faults, until one side ends or the plan cuts.
fn carry_publications(
    server: &TcpStream,
    client: &TcpStream,
    ledger: &Ledger,
    resumes: &AtomicBool,
) {
    let outcome = carry_pieces(server, client, ledger, resumes);
    // Either side may have gone, which is no concern of the other's.
    let _ = client.shutdown(Shutdown::Write);
    if !matches!(outcome, Ok(End::Server)) {
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// How the way from server to client ends, if the client does not end it.
enum End {
    Server,
    Cut,
}

fn carry_pieces(
    mut server: &TcpStream,
    client: &TcpStream,
    ledger: &Ledger,
    resumes: &AtomicBool,
) -> io::Result<End> {
    let mut splitter = Splitter::default();
    let mut is_first = true;
    let mut is_due = || {
        let is_at_seam = mem::take(&mut is_first) && resumes.load(Ordering::SeqCst);
        (is_at_seam || !ledger.plan.at_seams) && ledger.is_due()
    };
    let mut planter = Planter::new(ledger.plan.kind);
    let (mut buffer, mut out) = ([0; BUFFER_BYTES], Vec::new());
    loop {
        server.set_read_timeout(planter.is_holding().then_some(HOLD_MAX))?;
        let len = match server.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if is_timeout(&error) => {
                planter.release(&mut out);
                ledger.write(client, &out, 0)?;
                out.clear();
                continue;
            }
            Err(error) => return Err(error),
        };
        splitter.feed(&buffer[..len]);
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue()
            && let Some(piece) = splitter.next_piece()
        {
            flow = planter.pass(piece, &mut is_due, &mut out);
        }
        if len == 0 {
            planter.release(&mut out);
            out.extend(splitter.rest());
        }
        ledger.write(client, &out, planter.take_planted())?;
        out.clear();
        match flow {
            ControlFlow::Break(()) => return Ok(End::Cut),
            ControlFlow::Continue(()) if len == 0 => return Ok(End::Server),
            ControlFlow::Continue(()) => {}
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = thread::Builder::new().name("fault-proxy".into()).stack_size(STACK_BYTES);
    thread.spawn(work).expect("a thread")
}

/// Publications before the first fault, unless a plan says otherwise.
pub const GRACE: u64 = 10;
/// Connections at the same time, unless a plan says otherwise. Each takes two threads.
pub const CONNECTIONS_MAX: usize = 512;
/// How long a publication is held for one to swap it with. It is then sent as it is.
pub const HOLD_MAX: Duration = Duration::from_millis(300);
const BUFFER_BYTES: usize = 16 << 10;
const STACK_BYTES: usize = 128 << 10;

mod pieces;
mod planter;
mod requests;
