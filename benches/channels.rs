//! What a channel costs that one subscriber reads, as of notifications per user: memory, and whether
//! it comes back.
//!
//! N subscribers connect over plain WebSocket, each to a channel of its own. Some of the channels get
//! a publication, which must arrive there and nowhere else. Then all leave: no channel and no view
//! may be left. The same again must not need more memory than before.
//!
//! `cargo bench --bench channels -- [--channels 100000] [--rounds 3] [--io uring|epoll]`; a million
//! by `STENTOR_BENCH_CHANNELS=1000000`, too.

mod support {
    pub mod args;
    pub mod decoder;
    pub mod publisher;
    pub mod server;
    pub mod swarm;
}

use std::{
    env, io,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use support::{args, decoder::Format, publisher::Publisher, server::Server, swarm::Swarm};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Channels that get a publication.
const PUBLISHED: u32 = 100;

/// How long the publications may take, and how long the server may take to notice that all have left.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of the memory of the first round, what a later one may need besides.
const GROWTH_MAX: f64 = 0.1;

fn main() -> io::Result<ExitCode> {
    let quick = args::is_quick();
    let told = env::var("STENTOR_BENCH_CHANNELS").ok().and_then(|text| text.parse().ok());
    let unless_told = told.unwrap_or(if quick { 1000 } else { 100_000 });
    let channels: u32 = args::value("--channels", unless_told);
    let rounds = args::value("--rounds", 3);
    let engine = args::value("--io", String::from("uring"));
    let most = (channels + channels / 10 + 100).to_string();
    let channels_max = (2 * channels).to_string();
    let settings = ["--io", &engine, "--max-connections", &most, "--channels-max", &channels_max];
    let server = Server::start(&settings.map(String::from))?;
    println!("{channels} channels with one subscriber each, engine {}", server.engine);
    let empty = server.resident()?;
    println!("  empty: {:.1} MB resident", empty as f64 / 1e6);
    let mut first = None;
    let mut is_well = true;
    for round in 1..=rounds {
        let mut swarm = Swarm::new(channels, Format::WebSocket)?;
        let begun = Instant::now();
        swarm.connect_each(
            server.subscribers,
            channels,
            |n| format!("/ws/{}", name(n)),
            no_word,
        )?;
        let rate = f64::from(channels) / begun.elapsed().as_secs_f64();
        let full = server.resident()?;
        let each = full.saturating_sub(empty) as f64 / f64::from(channels);
        let (there, views) = (server.stat("channels")?, server.stat("views")?);
        let missing = publish(&server, &mut swarm, channels)?;
        drop(swarm);
        let left = await_empty(&server)?;
        println!(
            "  round {round}: {rate:.0} handshakes/s, {there} channels, {views} views, {:.1} MB \
             resident, {each:.0} B per connection; missing {missing}; after all left: {left} \
             channels and views, {:.1} MB resident",
            full as f64 / 1e6,
            server.resident()? as f64 / 1e6
        );
        let most = *first.get_or_insert(each) * (1.0 + GROWTH_MAX);
        is_well &= missing == 0 && left == 0 && there == u64::from(channels);
        // A thousand connections are lost in the noise of the allocator.
        is_well &= quick || each <= most;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn no_word(_: usize, _: Instant, message: &[u8]) {
    panic!("nothing was published: {message:?}");
}

fn name(number: u32) -> String {
    format!("user.{number}")
}

/// Publishes to some of the channels; gives how many of those publications did not arrive.
fn publish(server: &Server, swarm: &mut Swarm, channels: u32) -> io::Result<u32> {
    let mut publisher = Publisher::connect(server.control)?;
    let wanted = PUBLISHED.min(channels);
    for number in 0..wanted {
        let channel = name(number * (channels / wanted));
        assert!(publisher.publish(&channel, channel.as_bytes())?, "{channel} was refused");
    }
    let (mut slots, begun) = (Vec::new(), Instant::now());
    while slots.len() < wanted as usize && begun.elapsed() < PATIENCE {
        swarm.turn(Duration::from_millis(100), |slot, _, _| slots.push(slot))?;
    }
    swarm.turn(Duration::from_millis(100), |slot, _, _| slots.push(slot))?;
    let heard = slots.len() as u32;
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len() as u32, heard, "one subscriber of each channel hears, and once");
    Ok(wanted.abs_diff(heard))
}

/// Waits until nobody is there; gives the channels and views that are left then.
fn await_empty(server: &Server) -> io::Result<u64> {
    let begun = Instant::now();
    loop {
        let left = server.stat("channels")? + server.stat("views")?;
        if left == 0 || begun.elapsed() > PATIENCE {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
