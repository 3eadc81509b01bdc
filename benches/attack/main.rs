//! What attacks do to the good ones: the p99 of 1,000 subscribers before and under each attack, with
//! the server's limits and without, and what a storm of reconnects does to those who stay.
//!
//! The good ones are `stentor-loadtest`, from 127.1.0.x; the attacker is one thread of this process at
//! a stated rate, from 127.0.0.66, so each has an account of its own with the server. Server, good
//! ones and attacker share the machine: what the attacker's own work takes from them is part of every
//! figure, so its processor time is printed beside.
//!
//! `cargo build --release && cargo bench --bench attack -- [--only NAME] [--seconds 5]
//! [--server-flags '--accept-rate 2000'] [--storm-crowd 50000] [--storm-good 10000]`

mod floods;
mod good;
mod kinds;
mod storm;
#[path = "../support"]
mod support {
    pub mod args;
    pub mod cpu;
    pub mod identity;
    pub mod server;
}

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use floods::Attack;
use good::{Good, Seen};
use kinds::{KINDS, Kind};
use support::{args, cpu::cost_of, identity::Identity, server::Server};

fn main() -> io::Result<()> {
    let is_quick = args::is_quick();
    let only = args::value("--only", String::new());
    let seconds = args::value("--seconds", if is_quick { 0.3 } else { 5.0 });
    let identity = Identity::new()?;
    let chosen = |name: &str| only.is_empty() || only == name;
    if KINDS.iter().any(|kind| chosen(kind.name)) {
        println!(
            "| attack | p99 before | under it, with limits | ratio | what the server did, with limits \
             | under it, without | ratio | attacks a second (of), with and without | processors of \
             server and attacker, with and without |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        );
    }
    for kind in KINDS.iter().filter(|kind| chosen(kind.name)) {
        println!("{}", row(kind, &identity, Duration::from_secs_f64(seconds), is_quick)?);
    }
    if chosen(storm::NAME) {
        storm::run(is_quick)?;
    }
    Ok(())
}

/// A row of the table: the same attack on a server with its limits, and on one without.
fn row(kind: &Kind, identity: &Identity, time: Duration, is_quick: bool) -> io::Result<String> {
    let good = Good { load: kind.load, time, subscribers: good::SUBSCRIBERS };
    let good = if is_quick { Good { subscribers: 20, ..good } } else { good };
    let limited = start(identity, &[EVERYBODY, kind.with].concat())?;
    let before = good.begin(&limited.server)?.end()?;
    let with = besieged(kind, identity, &good, &limited)?;
    drop(limited);
    let open = start(identity, &[EVERYBODY, WITHOUT, kind.with_off].concat())?;
    let without = besieged(kind, identity, &good, &open)?;
    let p99 = |under: &Under| format!("{} | {:.1}", under.seen, under.seen.p99_ms / before.p99_ms);
    let Kind { name, what, rate, .. } = kind;
    Ok(format!(
        "| {name}: {what} | {before} | {} | {} | {} | {:.0}, {:.0} ({rate}) | {:.2} + {:.2}, {:.2} + {:.2} |",
        p99(&with),
        with.did,
        p99(&without),
        with.achieved,
        without.achieved,
        with.server,
        with.attacker,
        without.server,
        without.attacker,
    ))
}

/// What was seen under an attack.
struct Under {
    seen: Seen,
    /// Attacks per second that were made.
    achieved: f64,
    /// What the server says that it did.
    did: String,
    /// Processors that the server used, and the attacker.
    server: f64,
    attacker: f64,
}

/// A server, and where it speaks TLS.
struct Edge {
    server: Server,
    secure: SocketAddr,
}

fn start(identity: &Identity, flags: &[&str]) -> io::Result<Edge> {
    let secure = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let settings = flags.iter().map(|flag| flag.to_string()).chain(server_flags());
    let server = Server::start(&settings.chain(identity.settings(secure)).collect::<Vec<_>>())?;
    Ok(Edge { server, secure })
}

/// Looks at the good ones under an attack.
fn besieged(
    kind: &Kind,
    identity: &Identity,
    good: &Good,
    Edge { server, secure }: &Edge,
) -> io::Result<Under> {
    let mut attack = (kind.begin)(server.subscribers, *secure, identity)?;
    let counted = counters(server)?;
    let run = good.begin(server)?;
    run.wait_until_connected(server)?;
    let (cpu, begun, is_over) = (server.cpu()?, Instant::now(), AtomicBool::new(false));
    let (seen, made, cost) = thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut made = 0;
            let cost = cost_of(|| made = drive(&mut *attack, kind.rate, &is_over));
            (made, cost)
        });
        let seen = run.end();
        is_over.store(true, Ordering::Relaxed);
        let (made, cost) = attacker.join().expect("an attacker does not panic");
        seen.map(|seen| (seen, made, cost))
    })?;
    let wall = begun.elapsed().as_secs_f64();
    Ok(Under {
        seen,
        achieved: made as f64 / wall,
        did: difference(&counted, &counters(server)?),
        server: (server.cpu()? - cpu).as_secs_f64() / wall,
        attacker: cost.cpu.as_secs_f64() / wall,
    })
}

/// Attacks at this rate until it is over. Says how many attacks were made.
fn drive(attack: &mut dyn Attack, rate: u32, is_over: &AtomicBool) -> u64 {
    let (begun, mut tried, mut made) = (Instant::now(), 0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // What could not be made in time is not made up for, so that the rate is never above.
        let wanted = (due - tried).min(u64::from(rate / 50) + 1);
        tried = due;
        made += u64::from(attack.strike(wanted as u32));
        thread::sleep(STRIKE_EVERY);
    }
    made
}

/// The server's counters of what it refuses and whom it closes.
fn counters(server: &Server) -> io::Result<BTreeMap<String, f64>> {
    let text = server.told("/metrics")?;
    let counted = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let told = TOLD.iter().find_map(|known| name.strip_prefix(known))?;
        Some((
            told.trim_matches(|it| "{}\"=".contains(it)).replace("=\"", " "),
            value.parse().ok()?,
        ))
    });
    Ok(counted.collect())
}

/// What has been counted since: the most first.
fn difference(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> String {
    let more = after
        .iter()
        .map(|(name, count)| (count - before.get(name).copied().unwrap_or_default(), name));
    let mut more: Vec<_> = more.filter(|(count, name)| *count > 0.0 && !is_usual(name)).collect();
    more.sort_by(|one, other| other.0.total_cmp(&one.0));
    let all: Vec<_> = more.iter().map(|(count, name)| format!("{name}: {count:.0}")).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// What good ones do, too, and what is the end of something that was counted already.
fn is_usual(name: &str) -> bool {
    ["peer_left", "too_much_from_this_address", "too_many_messages", "message_time-out"]
        .contains(&name)
}

/// What is said to every server on top.
fn server_flags() -> Vec<String> {
    let given = args::value("--server-flags", String::new());
    ["--log", "error"].into_iter().chain(given.split_whitespace()).map(str::to_owned).collect()
}

/// The limits hold for loopback, too.
const EVERYBODY: &[&str] = &["--exempt", ""];

/// Every limit that an attacker of one address meets, out of its way.
#[rustfmt::skip]
const WITHOUT: &[&str] = &[
    "--address-connections", "0", "--address-connection-rate", "0", "--address-request-rate", "0",
    "--address-channel-rate", "0", "--address-memory", "0", "--accept-rate", "0",
    "--message-rate", "0", "--publish-rate", "0", "--message-timeout", "0s",
    "--handshake-timeout", "5m", "--stall-timeout", "1h", "--head-max", "64KiB",
];

/// The counters that tell of an attack; what is behind the name tells which.
const TOLD: [&str; 4] = [
    "stentor_shield_excess_total{limit",
    "stentor_connections_closed_total{reason",
    "stentor_connections_refused_total",
    "stentor_tls_",
];

const STRIKE_EVERY: Duration = Duration::from_millis(5);
