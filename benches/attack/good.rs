//! The good ones: runs of `stentor-loadtest`, and what they saw.

use std::{
    env, fmt, fs, io,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::support::server::Server;

/// Who reads while others attack.
#[derive(Clone, Copy)]
pub struct Good {
    /// How many.
    pub subscribers: u32,
    /// For how long is published.
    pub time: Duration,
    /// Flags that say how much.
    pub load: &'static [&'static str],
}

/// The good ones at work.
pub struct Run {
    child: Child,
    report: PathBuf,
    subscribers: u32,
}

/// What they saw.
#[derive(Clone, Copy)]
pub struct Seen {
    /// The latency of 99 deliveries in 100.
    pub p99_ms: f64,
    faults: u64,
    is_saturated: bool,
}

impl Good {
    /// Begins a run of theirs.
    pub fn begin(&self, server: &Server) -> io::Result<Run> {
        let [subscribers, time] =
            [self.subscribers.to_string(), format!("{}ms", self.time.as_millis())];
        let flags = ["--active", &subscribers, "--duration", &time, "--channel-prefix", PREFIX];
        let (child, report) = loadtest(server, &[&flags, self.load].concat())?;
        Ok(Run { child, report, subscribers: self.subscribers })
    }
}

impl Run {
    /// Waits until all of them are there.
    pub fn wait_until_connected(&self, server: &Server) -> io::Result<()> {
        wait_for(server, self.subscribers)
    }

    /// Waits for its end.
    pub fn end(self) -> io::Result<Seen> {
        let report = finish(self.child, self.report)?;
        let p99 = report["latency_ms"]["p99"].as_f64();
        let faults = ["lost", "corrupt", "unexpected_closes", "duplicated", "reordered"];
        Ok(Seen {
            p99_ms: p99.ok_or_else(|| io::Error::other("nothing was delivered"))?,
            faults: faults.iter().filter_map(|it| report["deliveries"][it].as_u64()).sum(),
            is_saturated: report["client"]["saturated"].as_bool().unwrap_or(true),
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.p99_ms)?;
        match (self.faults, self.is_saturated) {
            (0, false) => Ok(()),
            (0, true) => f.write_str(" (client saturated)"),
            (faults, _) => write!(f, " ({faults} faults)"),
        }
    }
}

/// Begins a run of the load tester against this server. Returns it, and where its report will be.
pub fn loadtest(server: &Server, flags: &[&str]) -> io::Result<(Child, PathBuf)> {
    begin(&mut Command::new(program()?), server, flags)
}

/// The same for those who would be on machines of their own: they get what processor time is left.
pub fn loadtest_elsewhere(server: &Server, flags: &[&str]) -> io::Result<(Child, PathBuf)> {
    begin(Command::new("nice").args(["-n", "19"]).arg(program()?), server, flags)
}

fn begin(command: &mut Command, server: &Server, flags: &[&str]) -> io::Result<(Child, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = (process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let report = env::temp_dir().join(format!("stentor-bench-attack-{}-{}.json", name.0, name.1));
    let target = format!("ws://{}", server.subscribers);
    let publish = format!("http://{}/publish/{{channel}}", server.control);
    let child = command
        .args(["run", "--quiet", "--ignore-limits", "--target", &target, "--publish", &publish])
        .args(flags)
        .arg("--json")
        .arg(&report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((child, report))
}

/// Waits for a run's end, and reads its report.
pub fn finish(mut child: Child, report: PathBuf) -> io::Result<serde_json::Value> {
    let status = child.wait()?;
    let text = fs::read_to_string(&report).map_err(|error| {
        io::Error::other(format!("the load tester: {status}, no report: {error}"))
    })?;
    fs::remove_file(&report)?;
    Ok(serde_json::from_str(&text)?)
}

/// Waits until so many are connected.
pub fn wait_for(server: &Server, connections: u32) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while connected(server)? < u64::from(connections) {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("{connections} subscribers never connected")));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn connected(server: &Server) -> io::Result<u64> {
    let told: serde_json::Value = serde_json::from_str(&server.told("/stats")?)?;
    told["connections"]["total"].as_u64().ok_or_else(|| io::Error::other(format!("{told}")))
}

/// The load tester, which Cargo puts beside the server.
fn program() -> io::Result<PathBuf> {
    let server = PathBuf::from(env!("CARGO_BIN_EXE_stentor"));
    let program = server.with_file_name("stentor-loadtest");
    match program.exists() {
        true => Ok(program),
        false => Err(io::Error::other(format!(
            "there is no {}; build it first: cargo build -p stentor-loadtest, with --release for \
             cargo bench",
            program.display()
        ))),
    }
}

/// Subscribers of a usual run.
pub const SUBSCRIBERS: u32 = 1000;

/// What the names of their channels begin with, and their one channel.
const PREFIX: &str = "good";
pub const CHANNEL: &str = "good-busy-0";

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
