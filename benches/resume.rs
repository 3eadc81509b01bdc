//! Coming back: how many subscribers a second the server brings up to date, and what each costs it.
//!
//! A channel keeps its newest publications. Subscribers connect from the position before the oldest
//! of them, each from a connection of its own, as they do after a drop of the network, and each must
//! get all of them, once and in order. The same number that have missed nothing shows what of that
//! is the connecting alone.
//!
//! Server and subscribers share one machine, so at the end they wait for each other: the server's
//! own cost is the processor time.
//!
//! `cargo bench --bench resume -- [--subscribers 5000] [--history 1000] [--payload 64]
//! [--format sse|v1] [--io uring|epoll]`

mod support {
    pub mod args;
    pub mod decoder;
    pub mod publisher;
    pub mod server;
    pub mod swarm;
}

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use support::{args, decoder::Format, publisher::Publisher, server::Server, swarm::Swarm};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the last publication may take after the last subscriber has connected.
const PATIENCE: Duration = Duration::from_secs(60);

const CHANNEL: &str = "bench";

/// Where the subscribers left off, and what they are owed.
struct Owed {
    since: String,
    history: u64,
    payload: usize,
}

fn main() -> io::Result<ExitCode> {
    let quick = args::is_quick();
    let subscribers: u32 = args::value("--subscribers", if quick { 100 } else { 5000 });
    let history = args::value("--history", if quick { 100 } else { 1000 });
    let payload = args::value("--payload", 64);
    let engine = args::value("--io", String::from("uring"));
    let only = args::value("--format", String::new());
    let most = (2 * subscribers + 100).to_string();
    let channels = format!("* history={} history-bytes=1GiB", history + 1);
    let mut is_well = true;
    for (name, format) in [("sse", Format::Sse), ("v1", Format::WebSocket)] {
        if !only.is_empty() && only != name {
            continue;
        }
        let settings = ["--io", &engine, "--max-connections", &most, "--channels", &channels]
            .map(String::from);
        let server = Server::start(&settings)?;
        println!(
            "{subscribers} subscribers ({name}) of {history} x {payload} B, engine {}",
            server.engine
        );
        let mut publisher = Publisher::connect(server.control)?;
        let mut since = Vec::new();
        for number in 0..=history {
            assert!(publisher.publish(CHANNEL, &text(number, payload))?, "{number} was refused");
            since.push(publisher.position().expect("a position").to_owned());
        }
        for (what, history, since) in
            [("missed nothing", 0, &since[history as usize]), ("missed all", history, &since[0])]
        {
            let owed = Owed { since: since.clone(), history, payload };
            is_well &= measure(&server, format, subscribers, what, &owed)?;
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets all come back, and says what it took. Whether each got what it was owed.
fn measure(
    server: &Server,
    format: Format,
    subscribers: u32,
    what: &str,
    owed: &Owed,
) -> io::Result<bool> {
    let mut swarm = Swarm::new(subscribers, format)?;
    let endpoint = match format {
        Format::Sse => "sse",
        Format::WebSocket => {
            swarm.lines = "Sec-WebSocket-Protocol: stentor.v1\r\n".to_owned();
            "ws"
        }
    };
    let path = format!("/{endpoint}/{CHANNEL}?since={}", owed.since);
    let mut seen = Seen { got: vec![0; swarm.slots()], total: 0, wrong: 0 };
    let look = |seen: &mut Seen, slot: usize, message: &[u8]| {
        if let Some(number) = number(format, message, owed.payload) {
            seen.note(slot, number);
        }
    };
    let wanted = u64::from(subscribers) * owed.history;
    let (cpu, begun) = (server.cpu()?, Instant::now());
    let path_of = |_| path.clone();
    swarm.connect_each(server.subscribers, subscribers, path_of, |slot, _, message| {
        look(&mut seen, slot, message);
    })?;
    let connected = Instant::now();
    while seen.total < wanted && connected.elapsed() < PATIENCE {
        swarm
            .turn(Duration::from_millis(100), |slot, _, message| look(&mut seen, slot, message))?;
    }
    let Seen { total, wrong, .. } = seen;
    let (cpu, wall) = (server.cpu()? - cpu, begun.elapsed());
    println!(
        "  {what}: {:.0} subscribers/s, {:.1} µs of server CPU each; {} publications missing, \
         {wrong} out of order",
        f64::from(subscribers) / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(subscribers),
        wanted - total
    );
    Ok(total == wanted && wrong == 0)
}

/// What subscribers have got.
struct Seen {
    /// By subscriber.
    got: Vec<u64>,
    total: u64,
    /// Publications that were not the next.
    wrong: u64,
}

impl Seen {
    fn note(&mut self, slot: usize, number: u64) {
        self.got[slot] += 1;
        self.total += 1;
        self.wrong += u64::from(number != self.got[slot]);
    }
}

/// A payload that begins with its number.
fn text(number: u64, len: usize) -> Vec<u8> {
    let head = format!("{number:010} ");
    format!("{head:x<len$}").into_bytes()
}

/// The number of a publication, if the message is one.
fn number(format: Format, message: &[u8], payload: usize) -> Option<u64> {
    let text = match format {
        Format::Sse => message,
        // {"channel":…,"id":…,"data":"…"}
        Format::WebSocket if message.starts_with(br#"{"channel""#) => {
            &message[message.len() - 2 - payload..]
        }
        Format::WebSocket => return None,
    };
    str::from_utf8(&text[..10]).ok()?.parse().ok()
}
