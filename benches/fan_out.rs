//! What one delivery costs: the same publications to the same sockets by five contenders.
//!
//! One process holds both ends of N loopback connections. A round gives every contender in turn a
//! descriptor for each server end, lets it deliver 64-byte publications one at a time and in
//! bursts, and takes the descriptors back. Measured is the processor time of the one thread that
//! serves, from the publication until the last byte was written. The clients read in between,
//! outside the measured time, and hold every byte to what was published: nobody is fast by losing.
//!
//! All contenders run interleaved, and what counts is the ratio to the floor (a bare `send()`
//! loop) of the same round: absolute figures move with the machine's other work, ratios hardly.
//! Loopback hands every segment to the receiving socket inside the send, so about half of the
//! floor is the receiver's share of TCP.
//!
//! `cargo bench --bench fan_out -- [--subscribers 1000,10000] [--rounds 7] [--only NAME]`

mod support {
    pub mod args;
    pub mod clients;
    pub mod contenders;
    pub mod cpu;
    pub mod keeper;
    pub mod report;
}

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use bytes::Bytes;
use socket2::SockRef;
use stentor::io::probe;
use support::{
    args,
    clients::Clients,
    contenders::{self, Contender, Start, frame},
    cpu::{Cost, cost_of},
    keeper::Keeper,
    report::Series,
};

/// The allocator of the product, for everybody.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAYLOAD_BYTES: usize = 64;

/// Publications that are there at once in a burst.
const BURST: usize = 8;

/// Deliveries of a contender in a round, one publication at a time; bursts get as many sends.
const DELIVERIES: usize = 200_000;

/// The most that one socket may have unsent, as the server sets it.
const NOTSENT_LOWAT: u32 = 16 * 1024;

fn main() -> io::Result<()> {
    probe::raise_nofile()?;
    let quick = args::is_quick();
    let rounds = args::value("--rounds", if quick { 1 } else { 7 });
    let subscribers = args::value("--subscribers", String::from("1000,10000"));
    let only: String = args::value("--only", String::new());
    let chosen: Vec<_> =
        contenders::ALL.into_iter().filter(|(name, _)| name.contains(&only)).collect();
    if quick {
        return measure(&chosen, 50, 1, 100);
    }
    for count in subscribers.split(',') {
        let count = count.parse().map_err(io::Error::other)?;
        measure(&chosen, count, rounds, DELIVERIES)?;
    }
    Ok(())
}

/// All rounds over so many subscribers, and their report.
fn measure(
    contenders: &[(&str, Start)],
    subscribers: u32,
    rounds: usize,
    deliveries: usize,
) -> io::Result<()> {
    let mut stage = Stage::new(subscribers)?;
    let mut results = vec![Results::default(); contenders.len()];
    let repeats = deliveries.div_ceil(subscribers as usize);
    for round in 0..rounds {
        for place in 0..contenders.len() {
            // Everybody is the first at some time, and follows everybody else's mess.
            let place = (place + round) % contenders.len();
            stage.perform(contenders[place].1, repeats, &mut results[place])?;
            // What a dropped ring leaves to the kernel's workers is over before the next begins.
            thread::sleep(Duration::from_millis(100));
        }
    }
    println!("{subscribers} subscribers, {PAYLOAD_BYTES}-byte publications, {rounds} rounds");
    print(contenders, &results, "one at a time", |result| &result.single);
    print(contenders, &results, "bursts of 8", |result| &result.burst);
    Ok(())
}

/// What was measured of a contender, per delivery.
#[derive(Clone, Default)]
struct Results {
    single: Measured,
    burst: Measured,
}

#[derive(Clone, Default)]
struct Measured {
    cpu_us: Series,
    wall_us: Series,
}

impl Measured {
    fn add(&mut self, costs: &[Cost], deliveries: usize) {
        let per = |sum: Duration| sum.as_secs_f64() * 1e6 / deliveries as f64;
        self.cpu_us.add(per(costs.iter().map(|cost| cost.cpu).sum()));
        self.wall_us.add(per(costs.iter().map(|cost| cost.wall).sum()));
    }
}

/// The sockets, and who reads at their other ends.
struct Stage {
    keeper: Keeper,
    clients: Clients,
    /// Publications so far: no two are alike.
    published: u64,
}

impl Stage {
    fn new(subscribers: u32) -> io::Result<Stage> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mut stage = Stage {
            keeper: Keeper::new(subscribers)?,
            clients: Clients::new(subscribers)?,
            published: 0,
        };
        for _ in 0..subscribers {
            stage.clients.adopt(TcpStream::connect(address)?)?;
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            SockRef::from(&socket).set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
            stage.keeper.keep(socket.into())?;
        }
        Ok(stage)
    }

    /// One contender's part of a round.
    fn perform(&mut self, start: Start, repeats: usize, results: &mut Results) -> io::Result<()> {
        let mut contender = start(self.keeper.hand_out()?, &mut self.clients);
        let contender = &mut *contender;
        self.clients.expect_nothing(0..self.clients.len());
        self.repeat(contender, 1, 2);
        let single = self.repeat(contender, 1, repeats);
        let burst = self.repeat(contender, BURST, repeats);
        results.single.add(&single, repeats * self.clients.len());
        results.burst.add(&burst, repeats * BURST * self.clients.len());
        Ok(())
    }

    fn repeat(&mut self, contender: &mut dyn Contender, burst: usize, repeats: usize) -> Vec<Cost> {
        (0..repeats).map(|_| self.publish(contender, burst)).collect()
    }

    /// Publishes, and lets everybody read and check it.
    fn publish(&mut self, contender: &mut dyn Contender, burst: usize) -> Cost {
        let payloads: Vec<Bytes> = (0..burst).map(|_| self.next_payload()).collect();
        let cost = cost_of(|| contender.deliver(&payloads));
        let everybody = 0..self.clients.len();
        self.clients.expect(everybody, &payloads.iter().map(frame).collect::<Vec<_>>().concat());
        cost
    }

    fn next_payload(&mut self) -> Bytes {
        self.published += 1;
        format!("{:0>PAYLOAD_BYTES$}", self.published).into()
    }
}

fn print(
    contenders: &[(&str, Start)],
    results: &[Results],
    title: &str,
    of: fn(&Results) -> &Measured,
) {
    println!(
        "  {title:<18} CPU µs per delivery (min - max)   wall µs   ratio to first (min - max)"
    );
    for ((name, _), result) in contenders.iter().zip(results) {
        let Measured { cpu_us, wall_us } = of(result);
        let ratio = cpu_us.over(&of(&results[0]).cpu_us);
        let ((low, high), (ratio_low, ratio_high)) = (cpu_us.range(), ratio.range());
        let (cpu, wall, ratio) = (cpu_us.median(), wall_us.median(), ratio.median());
        println!(
            "    {name:<18} {cpu:>8.3} ({low:.3} - {high:.3})   {wall:>8.3}   \
             {ratio:>6.3} ({ratio_low:.3} - {ratio_high:.3})"
        );
    }
}
