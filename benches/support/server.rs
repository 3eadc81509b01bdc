//! The server as its users start it: the program itself, on ports that it chooses, in a process of
//! its own that is watched through `/proc`.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Pid, Signal, kill_process},
};

/// A running server. Ends when this is dropped.
#[allow(dead_code, reason = "not every bench looks at all of it")]
pub struct Server {
    process: Child,
    /// Kept open for whatever else it says.
    _output: BufReader<ChildStdout>,
    /// Where subscribers connect.
    pub subscribers: SocketAddr,
    /// Where publishers connect.
    pub control: SocketAddr,
    /// What it said of its engine.
    pub engine: String,
}

#[allow(dead_code, reason = "not every bench looks at all of it")]
impl Server {
    /// Starts the server with these settings on top, and waits until it serves. It takes in all who come
    /// at once, since what a connection costs is measured and not how it is paced.
    pub fn start(settings: &[String]) -> io::Result<Server> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_stentor"));
        Server::of(program.env("STENTOR_ACCEPT_RATE", "0"), settings)
    }

    /// The same, with nothing but what is said here.
    pub fn start_as_it_comes(settings: &[String]) -> io::Result<Server> {
        Server::of(&mut Command::new(env!("CARGO_BIN_EXE_stentor")), settings)
    }

    fn of(program: &mut Command, settings: &[String]) -> io::Result<Server> {
        let mut process = program
            .args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"])
            .args(["--drain", "0s"])
            .args(settings)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (mut subscribers, mut control, mut engine) = (None, None, None);
        for line in output.by_ref().lines() {
            let line = line?;
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("subscribers"), Some(url)) => subscribers = address(url),
                (Some("control"), Some(url)) => control = address(url),
                (Some("engine"), Some(word)) => {
                    engine = Some(words.fold(word.to_owned(), |all, word| all + " " + word));
                }
                _ => {}
            }
            if let (Some(subscribers), Some(control), Some(engine)) =
                (subscribers, control, &engine)
            {
                let engine = engine.clone();
                return Ok(Server { process, _output: output, subscribers, control, engine });
            }
        }
        let _ = process.kill();
        Err(io::Error::other("the server ended before it said where it listens"))
    }

    /// Processor time that the server has used.
    pub fn cpu(&self) -> io::Result<Duration> {
        cpu_of(format!("/proc/{}/stat", self.process.id()))
    }

    /// The names of its threads, and what each has used. One that ends meanwhile may be missing.
    pub fn threads(&self) -> io::Result<Vec<(String, Duration)>> {
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let task = entry?.path();
            let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
            let Ok(cpu) = cpu_of(task.join("stat")) else { continue };
            threads.push((name.trim_end().to_owned(), cpu));
        }
        Ok(threads)
    }

    /// A number that it shows in `/stats`.
    pub fn stat(&self, name: &str) -> io::Result<u64> {
        let told: serde_json::Value = serde_json::from_str(&self.told("/stats")?)?;
        told[name].as_u64().ok_or_else(|| io::Error::other(format!("no {name} in {told}")))
    }

    /// What it answers at a path of its control listener.
    pub fn told(&self, path: &str) -> io::Result<String> {
        let url = format!("http://{}{path}", self.control);
        let mut answer = ureq::get(url).call().map_err(io::Error::other)?;
        answer.body_mut().read_to_string().map_err(io::Error::other)
    }

    /// Bytes of its memory that are resident.
    pub fn resident(&self) -> io::Result<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.process.id()))?;
        let pages = statm.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok());
        Ok(pages.unwrap_or(0) * page_size() as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

/// Processor time in a `stat` of `/proc`.
fn cpu_of(stat: impl AsRef<Path>) -> io::Result<Duration> {
    let stat = fs::read_to_string(stat)?;
    // The name, in brackets, may hold spaces.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = |field: usize| -> u64 {
        let text = after_name.split(' ').nth(field);
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let ticks = (ticks(USER_TICKS) + ticks(SYSTEM_TICKS)) as f64;
    Ok(Duration::from_secs_f64(ticks / clock_ticks_per_second() as f64))
}

/// The address in `http://address/...`.
fn address(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.split('/').next()?.parse().ok()
}

/// Where the fields of `/proc/PID/stat` are, counted from the one behind the name.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
