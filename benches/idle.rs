//! What a connection costs that does nothing: memory, and processor time for its pings.
//!
//! N WebSocket subscribers connect to the real server and stay idle, but that they answer its
//! pings. Then one publication goes to all of them, and each must get it. Server and subscribers
//! are both within the limit of open files, since connections are direct descriptors.
//!
//! `cargo bench --bench idle -- [--subscribers 100000] [--idle 70] [--ping-interval 55s]
//! [--io uring|epoll]`

mod support {
    pub mod args;
    pub mod decoder;
    pub mod kernel_memory;
    pub mod publisher;
    pub mod server;
    pub mod swarm;
}

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use support::{
    args, decoder::Format, kernel_memory::KernelMemory, publisher::Publisher, server::Server,
    swarm::Swarm,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAYLOAD: &[u8] = b"sixty-four bytes that go to everybody who has been idle so long.";

/// How long the publication may take to arrive everywhere.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> io::Result<ExitCode> {
    let quick = args::is_quick();
    let subscribers = args::value("--subscribers", if quick { 100 } else { 100_000 });
    let idle = Duration::from_secs(args::value("--idle", if quick { 1 } else { 70 }));
    let engine = args::value("--io", String::from("uring"));
    let mut swarm = Swarm::new(subscribers, Format::WebSocket)?;
    let most = (subscribers + subscribers / 10 + 100).to_string();
    let pings = args::value("--ping-interval", String::from("55s"));
    let settings = ["--io", &engine, "--max-connections", &most, "--ping-interval", &pings];
    let server = Server::start(&settings.map(String::from))?;
    println!("{subscribers} idle subscribers, engine {}", server.engine);

    let (empty, kernel_before, begun) = (server.resident()?, KernelMemory::now()?, Instant::now());
    swarm.connect(server.subscribers, "/ws/bench", subscribers)?;
    let rate = f64::from(subscribers) / begun.elapsed().as_secs_f64();
    println!("  connected: {rate:.0} handshakes/s");
    let (full, kernel) = (server.resident()?, KernelMemory::now()?);
    let each = |bytes: u64| bytes as f64 / f64::from(subscribers);
    println!(
        "  resident memory: {:.1} MB empty, {:.1} MB full, {:.0} B per connection",
        empty as f64 / 1e6,
        full as f64 / 1e6,
        each(full.saturating_sub(empty))
    );
    println!(
        "  kernel memory per connection, both ends: {:.0} B of slab, {:.0} B of socket buffers",
        each(kernel.slab.saturating_sub(kernel_before.slab)),
        each(kernel.buffers.saturating_sub(kernel_before.buffers))
    );

    let (cpu, begun) = (server.cpu()?, Instant::now());
    while begun.elapsed() < idle {
        swarm.turn(Duration::from_millis(100), |_, _, _| panic!("nothing was published"))?;
    }
    let (cpu, wall) = (server.cpu()? - cpu, begun.elapsed());
    println!(
        "  idle for {:.0} s: {:.2} % of a core, {} pings answered, {:.1} MB resident",
        wall.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / wall.as_secs_f64(),
        swarm.pings,
        server.resident()? as f64 / 1e6
    );
    broadcast(&server, &mut swarm, subscribers)
}

/// Publishes once and says when it arrived.
fn broadcast(server: &Server, swarm: &mut Swarm, subscribers: u32) -> io::Result<ExitCode> {
    let mut publisher = Publisher::connect(server.control)?;
    let mut got = vec![0u32; swarm.slots()];
    let mut arrivals = Vec::with_capacity(subscribers as usize);
    let (cpu, begun) = (server.cpu()?, Instant::now());
    assert!(publisher.publish("bench", PAYLOAD)?, "the publication was refused");
    while arrivals.len() < subscribers as usize && begun.elapsed() < PATIENCE {
        swarm.turn(Duration::from_millis(100), |subscriber, now, payload| {
            assert_eq!(payload, PAYLOAD);
            got[subscriber] += 1;
            arrivals.push(now.saturating_duration_since(begun));
        })?;
    }
    let cpu = server.cpu()? - cpu;
    let missing = subscribers as usize - got.iter().filter(|&&count| count == 1).count();
    let at = |halves: usize| {
        let arrival = arrivals.get((arrivals.len() * halves / 2).saturating_sub(1));
        arrival.map_or(f64::NAN, |arrival: &Duration| arrival.as_secs_f64() * 1e3)
    };
    println!(
        "  broadcast, ms: first {:.1}, half {:.1}, last {:.1}; {:.2} µs of server CPU each; \
         missing {missing}",
        at(0),
        at(1),
        at(2),
        cpu.as_secs_f64() * 1e6 / f64::from(subscribers)
    );
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
