//! What the journal takes: publications a second by how many await their answer, beside the floor.
//!
//! The floor is one thread that writes a record of the same bytes to one file and syncs it, in a loop.
//! The journal is closed-loop: as many publications as given are appended and not landed at any
//! time. They go to one channel, and so to one file, or to a channel in each of the 256 buckets. The disk is that of
//! the build's directory, unless `--dir` says otherwise.
//!
//! `cargo bench --bench journal -- [--seconds 3] [--rounds 3] [--dir DIR]`

mod support {
    pub mod args;
    pub mod report;
}

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stentor::{
    frame::PayloadKind,
    ids::{BUCKETS, ChannelName, ShardId},
    io::Bell,
    journal::{Journal, Landing, Record},
    mesh::Parking,
};

use support::{args, report::Series};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAYLOAD_BYTES: usize = 64;

/// Bytes of such a record in a file.
const RECORD_BYTES: usize = 41 + 4 + PAYLOAD_BYTES;

const IN_FLIGHT: [usize; 3] = [1, 16, 256];

fn main() -> io::Result<()> {
    let quick = args::is_quick();
    let seconds = args::value("--seconds", if quick { 0.05 } else { 3.0 });
    let rounds = args::value("--rounds", if quick { 1 } else { 3 });
    let parent = args::value("--dir", PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let dir = parent.join("bench-journal");
    let span = Duration::from_secs_f64(seconds);
    let channels = [one_channel(), channels_of_all_buckets()];
    let mut floors = Series::default();
    let mut journals = vec![Series::default(); channels.len() * IN_FLIGHT.len()];
    for _ in 0..rounds {
        floors.add(floor(&dir, span)?);
        let cases = channels.iter().flat_map(|names| IN_FLIGHT.map(|count| (names, count)));
        for ((names, in_flight), series) in cases.zip(&mut journals) {
            series.add(journal(&dir, span, names, in_flight));
        }
    }
    let _ = fs::remove_dir_all(&dir);
    println!("publications a second, median of {rounds} rounds, {PAYLOAD_BYTES} B payloads");
    println!("  write and fdatasync in a loop       {}", told(&floors));
    for (at, series) in journals.iter().enumerate() {
        let channels = channels[at / IN_FLIGHT.len()].len();
        let in_flight = IN_FLIGHT[at % IN_FLIGHT.len()];
        let ratio = series.over(&floors).median();
        let told = told(series);
        println!(
            "  journal, {channels:>3} channels, {in_flight:>3} in flight {told}, {ratio:.2} x floor"
        );
    }
    Ok(())
}

fn told(series: &Series) -> String {
    let (least, most) = series.range();
    format!("{:>8.0} ({least:.0} to {most:.0})", series.median())
}

fn floor(dir: &Path, span: Duration) -> io::Result<f64> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("floor"))?;
    let record = [b'x'; RECORD_BYTES];
    let (begun, mut written) = (Instant::now(), 0u32);
    while begun.elapsed() < span {
        file.write_all(&record)?;
        file.sync_data()?;
        written += 1;
    }
    Ok(f64::from(written) / begun.elapsed().as_secs_f64())
}

fn journal(dir: &Path, span: Duration, names: &[ChannelName], in_flight: usize) -> f64 {
    let _ = fs::remove_dir_all(dir);
    let (mut journal, _) = Journal::open(dir).expect("a journal");
    let (ring, rung) = mpsc::sync_channel(1);
    let parking = Parking::new(Arc::new(ThreadBell(ring)));
    let (writer, landings) = journal.parts(in_flight, &[Arc::clone(&parking)]);
    let thread = thread::spawn(move || journal.run());
    let payload = Bytes::from_static(&[b'x'; PAYLOAD_BYTES]);
    let record = |offset: u64| Record {
        offset,
        at_ms: 0,
        channel: names[offset as usize % names.len()].clone(),
        kind: PayloadKind::Text,
        payload: payload.clone(),
        terms: None,
    };
    // Files are made, and the first records written, before the time runs.
    let (mut next, mut landed, mut begun, mut counted_from) = (1, 0, Instant::now(), 0);
    loop {
        while writer.append(ShardId(0), record(next)).is_ok() {
            next += 1;
        }
        writer.wake();
        landed += land(&landings[0], &parking, &rung);
        let warm_up = 2 * names.len().max(in_flight) as u64;
        if counted_from == 0 && landed >= warm_up {
            (begun, counted_from) = (Instant::now(), landed);
        } else if counted_from > 0 && begun.elapsed() >= span {
            break;
        }
    }
    let rate = (landed - counted_from) as f64 / begun.elapsed().as_secs_f64();
    drop(writer);
    thread.join().expect("no panic").expect("a disk that works");
    rate
}

/// Takes all that has landed, as a shard does, and waits if that is nothing.
fn land(landing: &Landing, parking: &Parking, rung: &mpsc::Receiver<()>) -> u64 {
    let mut count = 0;
    while count == 0 {
        while let Some(landed) = landing.take() {
            landed.result.expect("a disk that works");
            count += 1;
        }
        parking.park();
        if count == 0 && landing.is_empty() {
            rung.recv().expect("a journal that runs");
        }
        parking.unpark();
    }
    count
}

struct ThreadBell(mpsc::SyncSender<()>);

impl Bell for ThreadBell {
    fn ring(&self) {
        let _ = self.0.try_send(());
    }
}

fn one_channel() -> Vec<ChannelName> {
    vec![ChannelName::new("news").expect("a name")]
}

fn channels_of_all_buckets() -> Vec<ChannelName> {
    let mut of_bucket = vec![None; BUCKETS];
    for number in 0.. {
        let name = ChannelName::new(&format!("c{number}")).expect("a name");
        of_bucket[usize::from(name.bucket().0)].get_or_insert(name);
        if of_bucket.iter().all(Option::is_some) {
            break;
        }
    }
    of_bucket.into_iter().flatten().collect()
}
