//! How late a publication arrives: the real server, real sockets, an open loop.
//!
//! N subscribers on one thread of this process read one channel. Publications come at a fixed
//! rate, whether or not the last one has arrived, through `POST /publish` on a few connections.
//! Each carries the moment at which it was due, and its latency counts from that moment at every
//! subscriber, so a late publisher or a queue anywhere shows. Every subscriber checks that it got
//! every publication of every publisher once and in order.
//!
//! Server, subscribers and publishers share one machine, so at the highest rates the figures say
//! as much of the reading side as of the server.
//!
//! `cargo bench --bench latency -- [--subscribers 10000] [--rate 200] [--seconds 20]
//! [--payload 64] [--format ws|sse] [--io uring|epoll]`

mod support {
    pub mod args;
    pub mod cpu;
    pub mod decoder;
    pub mod ledger;
    pub mod publisher;
    pub mod server;
    pub mod swarm;
}

use std::{
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use support::{
    args, cpu::process_cpu, decoder::Format, ledger::Ledger, publisher::Publisher, server::Server,
    swarm::Swarm,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that publish, in turn. Each has a sequence of its own, since nothing orders
/// publications that are made on different connections.
const PUBLISHERS: u32 = 4;

/// Publications of this long at the beginning are checked and not timed.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long the last publications may take to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

const CHANNEL: &str = "bench";

struct Load {
    subscribers: u32,
    rate: f64,
    seconds: u64,
    payload: usize,
}

fn main() -> io::Result<ExitCode> {
    let quick = args::is_quick();
    let load = Load {
        subscribers: args::value("--subscribers", if quick { 50 } else { 10_000 }),
        rate: args::value("--rate", 200.0),
        seconds: args::value("--seconds", if quick { 2 } else { 20 }),
        payload: args::value("--payload", 64),
    };
    let engine = args::value("--io", String::from("uring"));
    let (format, path) = match args::value("--format", String::from("ws")).as_str() {
        "ws" => (Format::WebSocket, format!("/ws/{CHANNEL}")),
        "sse" => (Format::Sse, format!("/sse/{CHANNEL}")),
        other => panic!("--format {other}: ws or sse"),
    };
    let mut swarm = Swarm::new(load.subscribers, format)?;
    let most = load.subscribers + load.subscribers / 10 + 100;
    let server =
        Server::start(&["--io".into(), engine, "--max-connections".into(), most.to_string()])?;
    swarm.connect(server.subscribers, &path, load.subscribers)?;
    let (cpu, own, begun) = (server.cpu()?, process_cpu(), Instant::now());
    let mut ledger = Ledger::new(swarm.slots(), PUBLISHERS as usize);
    let refused = run(&load, server.control, &mut swarm, &mut ledger)?;
    let (cpu, own, wall) = (server.cpu()? - cpu, process_cpu() - own, begun.elapsed());

    println!(
        "{} subscribers ({format:?}), {} publications/s of {} bytes for {} s, engine {}",
        load.subscribers, load.rate, load.payload, load.seconds, server.engine
    );
    println!("  {ledger}");
    println!("  publications refused: {refused}");
    println!(
        "  server: {:.2} s of CPU in {:.1} s, {:.3} µs per delivery, {:.1} MB resident",
        cpu.as_secs_f64(),
        wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / ledger.delivered() as f64,
        server.resident()? as f64 / 1e6,
    );
    println!("  subscribers and publishers: {:.2} s of CPU", own.as_secs_f64());
    Ok(if ledger.is_clean() && refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Publishes on threads of its own and reads here. Returns how many publications were refused.
fn run(
    load: &Load,
    control: SocketAddr,
    swarm: &mut Swarm,
    ledger: &mut Ledger,
) -> io::Result<u64> {
    // A moment in the future, so that every publisher is connected by then.
    let start = Instant::now() + Duration::from_millis(100);
    let published: Arc<Vec<AtomicU64>> =
        Arc::new((0..PUBLISHERS).map(|_| AtomicU64::new(0)).collect());
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| {
            let every = Duration::from_secs_f64(f64::from(PUBLISHERS) / load.rate);
            let first = Duration::from_secs_f64(f64::from(number) / load.rate);
            let (seconds, payload) = (load.seconds, load.payload);
            let published = Arc::clone(&published);
            thread::spawn(move || -> io::Result<u64> {
                let mut publisher = Publisher::connect(control)?;
                let (mut due, mut refused) = (first, 0);
                while due < Duration::from_secs(seconds) {
                    thread::sleep((start + due).saturating_duration_since(Instant::now()));
                    let sequence = published[number as usize].load(Ordering::Relaxed);
                    let text = payload_text(number, sequence, due, payload);
                    if publisher.publish(CHANNEL, text.as_bytes())? {
                        published[number as usize].store(sequence + 1, Ordering::Relaxed);
                    } else {
                        refused += 1;
                    }
                    due += every;
                }
                Ok(refused)
            })
        })
        .collect();
    let mut finished_at = None;
    loop {
        swarm.turn(Duration::from_millis(20), |subscriber, now, payload| {
            let (publisher, sequence, due) = parse_payload(payload);
            let late = now.saturating_duration_since(start + due);
            ledger.on_publication(
                subscriber,
                publisher,
                sequence,
                (due >= WARM_UP).then_some(late),
            );
        })?;
        if publishers.iter().all(thread::JoinHandle::is_finished) {
            let total: u64 = published.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            let wanted = total * u64::from(load.subscribers);
            let finished_at = *finished_at.get_or_insert_with(Instant::now);
            if ledger.delivered() >= wanted || finished_at.elapsed() > PATIENCE {
                ledger.close(wanted);
                break;
            }
        }
    }
    publishers.into_iter().map(|publisher| publisher.join().expect("no panic")).sum()
}

/// Publisher, sequence number and due time, in figures of fixed width, and padding.
fn payload_text(publisher: u32, sequence: u64, due: Duration, len: usize) -> String {
    let head = format!("{publisher:02} {sequence:010} {:014} ", due.as_micros());
    format!("{head:x<len$}")
}

fn parse_payload(payload: &[u8]) -> (usize, u32, Duration) {
    let number = |range| -> u64 {
        let digits: &[u8] = &payload[range];
        digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0'))
    };
    (number(0..2) as usize, number(3..13) as u32, Duration::from_micros(number(14..28)))
}
