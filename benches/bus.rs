//! Inputs: publications a second from every kind of bus into one channel of one edge.
//!
//! A real broker, the edge as its users start it, a publisher that writes to the broker's socket by
//! hand and in large batches, and subscribers over WebSocket, each of whose messages is counted and
//! must be the next. At most a window of publications is on its way from the publisher to the
//! subscribers, so that a bus that cannot wait drops nothing: a run with a loss, a repetition or a
//! swap fails. The figure is the rate from the first publication to the last delivery.
//!
//! Publisher, broker, edge and subscribers share one machine and wait for each other; the edge's own
//! cost is its processor time, told for the input's thread, for the shards, and for the rest, which is
//! mostly what a client does on threads of its own.
//!
//! `cargo bench --bench bus -- [--only nats,mqtt-1] [--seconds 3] [--subscribers 1,1000]
//! [--window 4000] [--io uring|epoll]`

mod support {
    use std::{
        thread::sleep,
        time::{Duration, Instant},
    };

    pub mod args;
    #[allow(dead_code, reason = "shared with the tests, which also kill brokers")]
    #[path = "../../tests/buses/broker.rs"]
    pub mod broker;
    pub mod buses;
    pub mod decoder;
    #[allow(dead_code, reason = "shared with the tests, which also look into it")]
    #[path = "../../tests/e2e/support/folder.rs"]
    mod folder;
    pub mod server;
    pub mod swarm;

    pub use folder::Folder;

    /// The longest that a broker may take to start.
    pub const DEADLINE: Duration = Duration::from_secs(90);

    /// Looks again and again until there is something.
    #[track_caller]
    pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "it never happened that {what}");
            sleep(Duration::from_millis(5));
        }
    }
}

use std::{
    io,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use support::{
    args,
    buses::{ALL, Bus, CHANNEL, PAYLOAD_LEN, Publish, number},
    decoder::Format,
    eventually,
    server::Server,
    swarm::Swarm,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Publications that are written at once.
const BATCH: u64 = 500;
/// How long nothing may come while something is missing.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the publisher waits for room in its window before it looks again.
const PAUSE: Duration = Duration::from_micros(100);

/// What a run is.
struct Plan {
    subscribers: u32,
    /// Publications that may be on their way.
    window: u64,
    /// How long there are more.
    seconds: f64,
    /// And how many at most.
    most: u64,
    engine: String,
}

fn main() -> io::Result<ExitCode> {
    let quick = args::is_quick();
    let only = args::value("--only", String::new());
    let counts = args::value("--subscribers", String::from(if quick { "1,10" } else { "1,1000" }));
    let mut is_well = true;
    for (name, start) in ALL {
        if !only.is_empty() && !only.split(',').any(|one| one == *name) {
            continue;
        }
        let bus = start();
        for count in counts.split(',') {
            let plan = Plan {
                subscribers: count.parse().map_err(io::Error::other)?,
                window: args::value("--window", 4000),
                seconds: args::value("--seconds", 3.0),
                most: if quick { 2000 } else { u64::MAX },
                engine: args::value("--io", String::from("uring")),
            };
            is_well &= measure(name, &bus, &plan, quick)?;
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts an edge on the bus, publishes, and says what came of it. Whether it is all and in order.
fn measure(name: &str, bus: &Bus, plan: &Plan, quick: bool) -> io::Result<bool> {
    let most = (plan.subscribers + 100).to_string();
    let flags =
        ["--log", "warn", "--io", &plan.engine, "--max-connections", &most, "--lag-max", "64MiB"];
    let flags = flags.into_iter().chain(["--input", &bus.input]).map(String::from);
    let server = Server::start(&flags.collect::<Vec<_>>())?;
    let ready = format!("http://{}/readyz", server.control);
    eventually("the edge is ready", || ureq::get(&ready).call().ok().map(|_| ()));
    let mut swarm = Swarm::new(plan.subscribers, Format::WebSocket)?;
    swarm.connect(server.subscribers, &format!("/ws/{CHANNEL}"), plan.subscribers)?;
    let (progress, mut publisher) = (Progress::default(), bus.publisher());
    let before = server.threads()?;
    let begun = Instant::now();
    let seen = thread::scope(|scope| {
        scope.spawn(|| publish(&mut *publisher, plan, &progress));
        follow(&mut swarm, plan, &progress)
    })?;
    let (took, sent) = (begun.elapsed(), progress.sent.load(Relaxed));
    let spent = cpu_between(&before, &server.threads()?);
    let wanted = sent * u64::from(plan.subscribers);
    let is_well = seen.total == wanted && seen.wrong == 0;
    if !is_well {
        let missing = wanted as i64 - seen.total as i64;
        println!(
            "{name}: of {sent} for {} subscribers {missing} are missing, {} out of order; {}",
            plan.subscribers,
            seen.wrong,
            server.told("/inputs")?
        );
    } else if quick {
        println!("{name}: {sent} to each of {} subscribers", plan.subscribers);
    } else {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / sent as f64;
        println!(
            "{name:13} {:5} subscribers: {:8.0} publications/s of {PAYLOAD_LEN} B, {:9.0} \
             deliveries/s; µs of CPU of the edge for each publication: input {:.2}, shards {:.2}, \
             rest {:.2}",
            plan.subscribers,
            sent as f64 / took.as_secs_f64(),
            wanted as f64 / took.as_secs_f64(),
            each(spent.input),
            each(spent.shards),
            each(spent.rest),
        );
    }
    Ok(is_well)
}

/// What publisher and subscribers know of each other.
#[derive(Default)]
struct Progress {
    /// Handed to the broker.
    sent: AtomicU64,
    /// Got by all subscribers, as a mean.
    delivered: AtomicU64,
    /// There will be no more.
    is_over: AtomicBool,
    /// Something was lost: it is of no use to go on.
    is_stuck: AtomicBool,
}

/// Publishes as fast as the window lets it.
fn publish(publisher: &mut dyn Publish, plan: &Plan, progress: &Progress) {
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed().as_secs_f64() < plan.seconds && sent < plan.most {
        if progress.is_stuck.load(Relaxed) {
            break;
        }
        let batch = BATCH.min(plan.window);
        if sent + batch > progress.delivered.load(Relaxed) + plan.window {
            thread::sleep(PAUSE);
            continue;
        }
        publisher.publish(sent..sent + batch);
        sent += batch;
        progress.sent.store(sent, Relaxed);
    }
    progress.is_over.store(true, Relaxed);
}

/// What the subscribers have got.
struct Seen {
    /// By subscriber, the number that must come next.
    next: Vec<u64>,
    total: u64,
    /// Publications that were not the next.
    wrong: u64,
}

/// Reads until all subscribers have everything, or nothing comes.
fn follow(swarm: &mut Swarm, plan: &Plan, progress: &Progress) -> io::Result<Seen> {
    let mut seen = Seen { next: vec![0; swarm.slots()], total: 0, wrong: 0 };
    let mut moved = Instant::now();
    loop {
        let (is_over, before) = (progress.is_over.load(Relaxed), seen.total);
        swarm.turn(Duration::from_millis(10), |slot, _, message| {
            let next = &mut seen.next[slot];
            seen.wrong += u64::from(number(message) != Some(*next));
            *next += 1;
            seen.total += 1;
        })?;
        progress.delivered.store(seen.total / u64::from(plan.subscribers), Relaxed);
        if seen.total != before {
            moved = Instant::now();
        }
        let wanted = progress.sent.load(Relaxed) * u64::from(plan.subscribers);
        if is_over && seen.total >= wanted {
            return Ok(seen);
        }
        if moved.elapsed() > PATIENCE {
            progress.is_stuck.store(true, Relaxed);
            if is_over {
                return Ok(seen);
            }
        }
    }
}

/// Processor time of an edge, by what its threads are for.
struct Spent {
    input: Duration,
    shards: Duration,
    rest: Duration,
}

fn cpu_between(before: &[(String, Duration)], after: &[(String, Duration)]) -> Spent {
    let sum = |threads: &[(String, Duration)], begin: &str| -> Duration {
        let chosen = threads.iter().filter(|(name, _)| name.starts_with(begin));
        chosen.map(|(_, time)| *time).sum()
    };
    let between = |begin: &str| sum(after, begin).saturating_sub(sum(before, begin));
    let (input, shards) = (between("input-"), between("shard-"));
    Spent { input, shards, rest: between("").saturating_sub(input + shards) }
}
