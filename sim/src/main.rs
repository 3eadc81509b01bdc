//! `stentor-sim`: many worlds, or one of them in words.
#![forbid(unsafe_code)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use stentor_sim::{Story, run};

/// Runs simulated worlds of whole shards and judges what their clients are told.
///
/// Ends with 1 if a world failed. A failure names its seed, which gives the same world again.
#[derive(Parser)]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Tells what happens.
    #[arg(long)]
    trace: bool,
    /// Goes on after a failure, to count how many seeds fail.
    #[arg(long)]
    keep_going: bool,
    /// Threads; 0 for one per processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if let Some(seed) = options.seed {
        (options.from, options.seeds, options.threads) = (seed, 1, 1);
    }
    let began = Instant::now();
    let next = AtomicU64::new(options.from);
    let total = Mutex::new((Story::default(), Vec::new()));
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&options, &next, &total));
        }
        scope.spawn(|| tell_progress(&options, &next, &total));
    });
    let (story, failed) = total.into_inner().expect("no thread failed while it counted");
    let seconds = began.elapsed().as_secs_f64();
    println!("{} seeds in {seconds:.1} s: {story:?}", options.seeds);
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} seeds failed, for instance", failed.len());
    failed.iter().take(5).for_each(|seed| println!("  stentor-sim --seed {seed} --trace"));
    ExitCode::FAILURE
}

type Total = Mutex<(Story, Vec<u64>)>;

fn work(options: &Options, next: &AtomicU64, total: &Total) {
    let end = options.from + options.seeds;
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, options.trace)));
        let mut total = total.lock().expect("no thread failed while it counted");
        match outcome {
            Ok(story) => total.0 += story,
            Err(_) => {
                total.1.push(seed);
                if !options.keep_going {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A line now and then, until all seeds were begun.
fn tell_progress(options: &Options, next: &AtomicU64, total: &Total) {
    let end = options.from + options.seeds;
    let mut told = Instant::now();
    while next.load(Ordering::Relaxed) < end {
        thread::sleep(Duration::from_millis(50));
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let begun = next.load(Ordering::Relaxed).min(end) - options.from;
            let failed = total.lock().map_or(0, |total| total.1.len());
            println!("{begun} of {} seeds, {failed} failed", options.seeds);
        }
    }
}

const PROGRESS: Duration = Duration::from_secs(10);
