//! The control plane over real sockets, with fake shards behind it.
//!
//! Nothing here depends on how fast anything is: where order between threads matters a test waits
//! for the state that it needs, and time-outs that a test wants to reach are short and never met
//! by chance.

mod access;
mod api;
mod bounds;
mod inputs;
mod lines;
mod many;
mod orders;
mod probes;
mod publishing;
mod questions;
mod spans;
mod terms;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot, watch};

use super::{Control, Listener, Settings, States};
use crate::{
    counters::Counters,
    ids::{Epoch, Offset, Position},
    inputs::Forwards,
    io::Bell,
    limits::QUESTIONS_MAX,
    live::Live,
    mesh::{Accepted, Answer, Inflow, Ingress, Parking, Publish, Questions, Rejected},
    policy::Policies,
    report::{Question, Seen},
    spans::Tracer,
};

/// How a fake shard goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shard {
    /// Takes and answers all there is, every turn.
    Prompt,
    /// Takes and answers one publication per turn.
    Slow,
    /// Waits until it has this many, then answers them in an odd order.
    Gathers(usize),
    /// Takes and answers, but is given no probes.
    Deaf,
    /// Never turns.
    Stuck,
}

/// What shards were given, each channel's in its order.
type Published = Arc<Mutex<Vec<Publish>>>;

/// Where the fake shards note the probes that they were given.
type Witnesses = Arc<Mutex<Vec<Arc<Seen>>>>;

/// The offset of every probe: none follows one that is not through, so any will do.
const PROBE: u64 = 7;

/// A control plane that serves until it is dropped.
struct Served {
    address: SocketAddr,
    ingresses: Arc<[Ingress]>,
    questions: Arc<[Questions<Question>]>,
    counters: Arc<[Counters]>,
    draining: watch::Sender<bool>,
    published: Published,
    over: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

struct ThreadBell(mpsc::SyncSender<()>);

impl Bell for ThreadBell {
    fn ring(&self) {
        let _ = self.0.try_send(());
    }
}

/// Serves with one shard, of 64 places.
fn serve(shard: Shard, settings: Settings) -> Served {
    serve_shards(&[shard], 64, settings)
}

fn serve_shards(shards: &[Shard], capacity: usize, settings: Settings) -> Served {
    serve_policies(shards, capacity, settings, Policies::default())
}

fn serve_policies(
    shards: &[Shard],
    capacity: usize,
    settings: Settings,
    policies: Policies,
) -> Served {
    serve_inputs(shards, capacity, settings, policies, (Arc::new([]), None))
}

fn serve_inputs(
    shards: &[Shard],
    capacity: usize,
    settings: Settings,
    policies: Policies,
    buses: (States, Option<(usize, Forwards)>),
) -> Served {
    serve_all((shards, capacity), settings, policies, buses, None)
}

fn serve_all(
    (shards, capacity): (&[Shard], usize),
    settings: Settings,
    policies: Policies,
    (inputs, forwards): (States, Option<(usize, Forwards)>),
    tracer: Option<Arc<Tracer>>,
) -> Served {
    let answered = Arc::new(Notify::new());
    let mut rooms = Vec::new();
    let new_ingress = |_: &Shard| {
        let (ring, rung) = mpsc::sync_channel(1);
        let parking = Parking::new(Arc::new(ThreadBell(ring)));
        rooms.push((Arc::clone(&parking), rung));
        let answered = Arc::clone(&answered);
        Ingress::new(capacity, parking, Arc::new(move || answered.notify_one()))
    };
    let ingresses: Arc<[Ingress]> = shards.iter().map(new_ingress).collect();
    let questions: Arc<[Questions<Question>]> = rooms
        .iter()
        .map(|(parking, _)| Questions::new(QUESTIONS_MAX, Arc::clone(parking)))
        .collect();
    let counters: Arc<[Counters]> = shards.iter().map(|_| Counters::default()).collect();
    let (published, over) = (Published::default(), Arc::new(AtomicBool::new(false)));
    let witnesses = Witnesses::default();
    let mut threads = Vec::new();
    for (n, (parking, rung)) in rooms.into_iter().enumerate() {
        let (ingresses, counters) = (Arc::clone(&ingresses), Arc::clone(&counters));
        let questions = Arc::clone(&questions);
        let (published, over, shard) = (Arc::clone(&published), Arc::clone(&over), shards[n]);
        let witnesses = Arc::clone(&witnesses);
        threads.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if shard != Shard::Stuck {
                    counters[n].turns.add(1);
                    turn((n, shard), &ingresses[n], &published, &witnesses);
                    let watch = |seen| watch(shard, &witnesses, seen);
                    questions::answer_all(n, counters.len(), &questions[n], watch);
                }
                parking.park();
                if shard == Shard::Stuck || (ingresses[n].waiting() == 0 && questions[n].is_empty())
                {
                    let _ = rung.recv();
                }
                parking.unpark();
            }
        }));
    }
    let (listener, address) = anywhere();
    let (draining, is_draining) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let control = Control {
        tls: None,
        settings: Live::new(Settings { policies: policies.clone(), ..settings }),
        tracer,
        orders: orders::obeyed(),
        ingresses: Arc::clone(&ingresses),
        questions: Arc::clone(&questions),
        policies,
        limits: Live::new(api::limits()),
        counters: Arc::clone(&counters),
        inputs,
        forwards,
        answered,
        draining: is_draining,
        accepting: watch::channel(true).1,
    };
    threads.push(thread::spawn(move || run(control, listener, stopped)));
    let stop = Some(stop);
    Served { address, ingresses, questions, counters, draining, published, over, stop, threads }
}

fn watch(shard: Shard, witnesses: &Witnesses, seen: Arc<Seen>) {
    if shard != Shard::Deaf {
        witnesses.lock().unwrap().push(seen);
    }
}

fn anywhere() -> (std::net::TcpListener, std::net::SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn run(control: Control, listener: std::net::TcpListener, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = Listener::adopt(listener.into()).unwrap();
        control.serve(listener, async { drop(stopped.await) }).await;
    });
}

fn publication(ingress: &Ingress) -> Option<Publish> {
    match ingress.take()? {
        Inflow::Publish(publish) => Some(publish),
        Inflow::Sequence(news) => panic!("the control plane has no sequences: {news:?}"),
    }
}

fn turn(
    (n, shard): (usize, Shard),
    ingress: &Ingress,
    published: &Published,
    witnesses: &Witnesses,
) {
    let wait_for = if let Shard::Gathers(wait_for) = shard { wait_for } else { 0 };
    if ingress.waiting() < wait_for {
        return thread::yield_now();
    }
    let take_max = if shard == Shard::Slow { 1 } else { usize::MAX };
    let mut taken: Vec<Publish> =
        std::iter::from_fn(|| publication(ingress)).take(take_max).collect();
    published.lock().unwrap().extend(taken.iter().cloned());
    if wait_for > 0 {
        taken.sort_by_key(|publish| publish.ticket.0 % 7);
        taken.reverse();
    }
    for publish in taken {
        ingress.answer(answer_to(&publish));
        if publish.channel.is_probe() {
            witnesses.lock().unwrap().iter().for_each(|seen| seen.note(n, PROBE));
        }
    }
    ingress.flush_answers();
}

/// An answer that tells which publication it is for, whatever order they were answered in. What
/// begins with the word for a refusal is refused.
fn answer_to(publish: &Publish) -> Answer {
    let is_probe = publish.channel.is_probe();
    let number = if is_probe { PROBE } else { number_in(&publish.payload) };
    let position = Position { epoch: Epoch(0xe), offset: Offset(u128::from(number)) };
    let word = publish.payload.split(|byte| !byte.is_ascii_alphabetic()).next();
    let accepted = Accepted { position, subscribers: number + 1, repeated: word == Some(b"again") };
    let outcome = match word.unwrap_or(b"") {
        b"stale" => Err(Rejected::Stale(number)),
        b"keys" => Err(Rejected::TooManyKeys),
        b"channels" => Err(Rejected::TooManyChannels),
        b"full" => Err(Rejected::DiskFull),
        b"failed" => Err(Rejected::JournalFailed),
        _ => Ok(accepted),
    };
    Answer { ticket: publish.ticket, outcome }
}

/// The first decimal number in a payload, or 0.
fn number_in(payload: &[u8]) -> u64 {
    let digits = payload.iter().skip_while(|byte| !byte.is_ascii_digit());
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// An answer of the control listener.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        // So that a test that would wait for ever fails instead.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes on a connection of their own.
    fn send(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).unwrap();
        stream
    }

    /// Sends a request that closes its connection, and returns the answer.
    fn ask(&self, request: &str) -> Reply {
        reply(self.send(self.with_head(request, "connection: close\r\n", b"")))
    }

    fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        reply(self.send_post(path, body))
    }

    fn send_post(&self, path: &str, body: impl AsRef<[u8]>) -> TcpStream {
        let body = body.as_ref();
        let headers = format!("connection: close\r\ncontent-length: {}\r\n", body.len());
        self.send(self.with_head(&format!("POST {path}"), &headers, body))
    }

    fn with_head(&self, request: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let address = self.address;
        let head = format!("{request} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Returns when `count` publications wait at the first shard.
    fn until_waiting(&self, count: usize) {
        wait_until(|| self.ingresses[0].waiting() == count);
    }

    /// Returns when the shards were given `count` publications.
    fn until_published(&self, count: usize) {
        wait_until(|| self.published.lock().unwrap().len() == count);
    }

    /// What was published to a channel, in order.
    fn payloads(&self, channel: &str) -> Vec<Vec<u8>> {
        let published = self.published.lock().unwrap();
        let on_channel = published.iter().filter(|publish| publish.channel.as_str() == channel);
        on_channel.map(|publish| publish.payload.to_vec()).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.over.store(true, Ordering::Relaxed);
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            self.ingresses.iter().for_each(|ingress| ingress.wake());
            thread::sleep(Duration::from_millis(1));
        }
        let failed = self.threads.drain(..).filter_map(|thread| thread.join().err()).count();
        assert!(failed == 0 || thread::panicking(), "{failed} threads panicked");
    }
}

/// Waits for what will come if all is well. Gives up so late that only a bug can be the reason.
fn wait_until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never came");
        thread::yield_now();
    }
}

/// Reads one answer, as long as it says it is.
fn reply(mut stream: TcpStream) -> Reply {
    read_reply(&mut stream).expect("an answer before the end")
}

fn read_reply(stream: &mut TcpStream) -> Option<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply { status, head, body: String::new() };
    let mut body = vec![0; reply.header("content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    reply.body = String::from_utf8(body).unwrap();
    Some(reply)
}

/// Settings with which nothing times out before the test does.
fn patient() -> Settings {
    let long = Duration::from_secs(60);
    Settings {
        head_timeout: long,
        body_timeout: long,
        lines_timeout: long,
        answer_timeout: long,
        ready_deadline: long,
        scrape_timeout: long,
        stop_timeout: Duration::ZERO,
        ..Settings::default()
    }
}

/// The time-out of tests that reach one.
const SHORT: Duration = Duration::from_millis(30);
