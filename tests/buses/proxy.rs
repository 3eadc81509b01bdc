//! A way to a broker that can be made long, and cut.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Listens at a port of its own and carries everything to a broker and back.
///
/// What the broker sends arrives later by the delay; what goes to it goes at once. A broker of Kafka
/// names its own address in its answers, to which its clients then connect; what goes through here
/// names this one instead.
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
}

struct Way {
    broker: u16,
    port: u16,
    delay_ms: AtomicU64,
    /// What is open, both ends of each; `None` where the way is cut.
    open: Mutex<Option<Vec<TcpStream>>>,
    over: AtomicBool,
}

impl Proxy {
    /// To the broker at this port.
    pub fn to(broker: u16, delay: Duration) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let delay_ms = AtomicU64::new(delay.as_millis() as u64);
        let open = Mutex::new(Some(Vec::new()));
        let way = Arc::new(Way { broker, port, delay_ms, open, over: AtomicBool::new(false) });
        let shared = Arc::clone(&way);
        thread::spawn(move || shared.accept(&listener));
        Proxy { port, way }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How much later the broker's bytes arrive from now on. What is on its way keeps its time,
    /// and stays in order.
    pub fn set_delay(&self, delay: Duration) {
        self.way.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Ends every connection, and every new one at once.
    pub fn cut(&self) {
        let open = self.way.open.lock().unwrap().take();
        open.iter().flatten().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }

    /// Carries again what connects from now on.
    pub fn mend(&self) {
        self.way.open.lock().unwrap().get_or_insert_default();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.over.store(true, Ordering::SeqCst);
        self.cut();
        // It waits for a connection, so it gets one.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Way {
    fn accept(self: Arc<Way>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            // One that left before it was accepted, or a broker that is down: both ends learn of
            // it by the end of the connection.
            let _ = client.and_then(|client| self.carry(client));
        }
    }

    fn carry(self: &Arc<Way>, client: TcpStream) -> std::io::Result<()> {
        // Held until both ends are known, so that a cut misses none.
        let mut open = self.open.lock().unwrap();
        let Some(open) = open.as_mut() else { return Ok(()) };
        let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, self.broker));
        let broker = TcpStream::connect_timeout(&broker, Duration::from_secs(5))?;
        for end in [&client, &broker] {
            end.set_nodelay(true)?;
            open.push(end.try_clone()?);
        }
        let (from, to) = (client.try_clone()?, broker.try_clone()?);
        thread::spawn(move || hand_on(from, to));
        let (late, due) = mpsc::channel();
        let way = Arc::clone(self);
        thread::spawn(move || way.read_late(broker, &late));
        thread::spawn(move || write_when_due(&due, client));
        Ok(())
    }

    fn read_late(&self, mut broker: TcpStream, late: &mpsc::Sender<(Instant, Vec<u8>)>) {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = broker.read(&mut piece) {
            let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
            rename(&mut piece[..read], self.broker, self.port);
            if late.send((Instant::now() + delay, piece[..read].to_vec())).is_err() {
                break;
            }
        }
        let _ = broker.shutdown(Shutdown::Both);
    }
}

/// Puts one port in the place of another where a broker of Kafka names its address: a text, and then
/// the port in four bytes.
fn rename(piece: &mut [u8], from: u16, to: u16) {
    let [from, to] = [from, to].map(|port| {
        [&Ipv4Addr::LOCALHOST.to_string().into_bytes()[..], &u32::from(port).to_be_bytes()].concat()
    });
    for at in 0..=piece.len().saturating_sub(from.len()) {
        if piece[at..].starts_with(&from) {
            piece[at..at + to.len()].copy_from_slice(&to);
        }
    }
}

/// Carries bytes as they come, until either end has ended.
fn hand_on(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Writes each piece when its time has come, until either end has ended.
fn write_when_due(due: &mpsc::Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (at, piece) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
