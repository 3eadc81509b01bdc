//! A run of the load tester: the real program, what it says, and the report that it writes.
//!
//! Nothing outlives its test: a run that is given up is killed together with the server that it has
//! started, each by its own id.

use std::{
    env, fs,
    io::Read,
    path::PathBuf,
    process::{self, Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// No test waits longer for anything. Passing it means that what was to come never came.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// A run under way.
pub struct Run {
    child: Child,
    stdout: Captured,
    stderr: Captured,
    json: Scratch,
}

/// What a run has said.
#[derive(Debug)]
pub struct Told {
    /// Its exit code.
    pub code: i32,
    /// The table.
    pub stdout: String,
    /// The log.
    pub stderr: String,
    /// The report; null if none was written.
    pub report: Value,
}

/// Makes a run with these arguments and waits for its end.
#[track_caller]
pub fn run(arguments: &[&str]) -> Told {
    Run::start(arguments).wait()
}

/// The same on a machine that trusts the authorities in this file, and no other.
#[track_caller]
pub fn run_trusting(authorities: &str, arguments: &[&str]) -> Told {
    let mut program = program();
    program.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
    Run::start_as(&mut program, arguments).wait()
}

/// Does all of these at once: a run mostly waits.
pub fn side_by_side<T: Send, const N: usize>(cases: [T; N], test: impl Fn(T) + Sync) {
    let test = &test;
    thread::scope(|scope| cases.map(|case| scope.spawn(move || test(case))).map(drop));
}

impl Run {
    /// Begins a run with these arguments. Its report is written as well.
    pub fn start(arguments: &[&str]) -> Run {
        Run::start_as(&mut program(), arguments)
    }

    fn start_as(program: &mut Command, arguments: &[&str]) -> Run {
        let json = Scratch::new("json");
        let mut child = program
            .arg("run")
            .args(arguments)
            .arg("--json")
            .arg(&json.0)
            .spawn()
            .expect("the program can be started");
        let stdout = Captured::of(child.stdout.take().expect("a pipe"));
        let stderr = Captured::of(child.stderr.take().expect("a pipe"));
        Run { child, stdout, stderr, json }
    }

    /// Waits until its log has this text.
    #[track_caller]
    pub fn await_log(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.stderr.text().contains(text) {
            let has_ended = self.child.try_wait().expect("a child can be waited for").is_some();
            let is_over = has_ended || Instant::now() > deadline;
            assert!(!is_over, "it never said '{text}': {}", self.stderr.text());
            thread::sleep(PAUSE);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_to(self.child.id(), signal);
    }

    /// The processes that it has started and that live.
    pub fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }

    /// The server that it has started, which is all but its guard.
    #[track_caller]
    pub fn server(&self) -> u32 {
        let is_guard = |pid: &u32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).any(|word| word == b"guard")
        };
        let (guards, servers): (Vec<_>, Vec<_>) = self.children().into_iter().partition(is_guard);
        let ([_], [server]) = (&guards[..], &servers[..]) else {
            panic!("{guards:?}, {servers:?}")
        };
        *server
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Told {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end: {}", self.stderr.text());
            thread::sleep(PAUSE);
        };
        let (stdout, stderr) = (self.stdout.whole(), self.stderr.whole());
        assert!(!stderr.contains("panicked"), "{stderr}");
        let report = fs::read_to_string(&self.json.0).unwrap_or("null".into());
        Told {
            code: status.code().unwrap_or_else(|| panic!("{status}: {stderr}")),
            stdout,
            stderr,
            report: serde_json::from_str(&report).expect("the report is JSON"),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.children().into_iter().for_each(|child| signal_to(child, Signal::KILL));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Told {
    /// A number of the report, like `/deliveries/lost`.
    #[track_caller]
    pub fn count(&self, pointer: &str) -> u64 {
        let found = self.report.pointer(pointer).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no number at {pointer}: {self:?}"))
    }

    /// What went wrong in the report's words, with how often it did: `delivering`, say.
    #[track_caller]
    pub fn failures(&self, when: &str) -> Vec<(&str, u64)> {
        let failures = self.report["failures"][when].as_object();
        let failures = failures.unwrap_or_else(|| panic!("no failures of {when}: {self:?}"));
        failures.iter().map(|(text, times)| (&text[..], times.as_u64().expect("a count"))).collect()
    }

    /// Holds the run to this many deliveries, with no fault of any kind and exit code 0.
    #[track_caller]
    pub fn assert_flawless(&self, expected: u64) {
        self.assert_faults(&[]);
        assert_eq!(self.count("/deliveries/expected"), expected, "{self:?}");
        assert_eq!(self.count("/deliveries/received"), expected, "{self:?}");
        let outcome = (self.code, self.report["outcome"].as_str());
        assert_eq!(outcome, (0, Some("passed")), "{self:?}");
        assert_eq!(self.count("/connections/established"), self.count("/connections/requested"));
        assert_eq!(self.count("/publications/published"), self.count("/publications/due"));
    }

    /// Holds the run to these faults and no other: names of counters, and their counts.
    #[track_caller]
    pub fn assert_faults(&self, faults: &[(&str, u64)]) {
        let found = FAULTS.iter().map(|&pointer| (pointer, self.count(pointer)));
        let found: Vec<_> = found.filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, faults, "{self:?}");
    }
}

/// Every counter that is zero in a run without a fault.
const FAULTS: [&str; 12] = [
    "/deliveries/lost",
    "/deliveries/duplicated",
    "/deliveries/repeated",
    "/deliveries/unannounced_gap",
    "/deliveries/false_recovered",
    "/deliveries/false_gap",
    "/deliveries/reordered",
    "/deliveries/corrupt",
    "/deliveries/misdirected",
    "/deliveries/unexpected_closes",
    "/connections/failed",
    "/publications/failed",
];

/// The load tester, with its output kept and nothing on its standard input.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadtest"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Sends a signal to a process that may have ended already.
pub fn signal_to(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Whether a process is there that has not ended.
pub fn lives(pid: u32) -> bool {
    parent_of(pid).is_some()
}

fn children_of(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("processes can be listed");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

/// The parent of a process that has not ended.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let (state, rest) = rest.split_once(' ')?;
    if state == "Z" {
        return None;
    }
    rest.split(' ').next()?.parse().ok()
}

/// A file of this process's own that goes with its test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A name that no other test has. There is no such file yet.
    pub fn new(extension: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stentor-loadtest-{}-{number}.{extension}", process::id());
        Scratch(env::temp_dir().join(name))
    }

    /// Its path.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing may have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// What comes out of a pipe, read as it comes so that nobody waits for us.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

/// The output pipes of a child.
trait Pipe: Read + Send + 'static {}
impl Pipe for ChildStdout {}
impl Pipe for ChildStderr {}

impl Captured {
    fn of(mut pipe: impl Pipe) -> Captured {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let target = bytes.clone();
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut piece) {
                target.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Captured { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Everything, once the other side has ended.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        self.text()
    }
}

const PAUSE: Duration = Duration::from_millis(5);
