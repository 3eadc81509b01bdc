//! A server under test: the real program, with ports of its own, that ends with its test.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, ask, eventually};

/// The way into the kernel that a server is told to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// `--io uring`.
    Uring,
    /// `--io epoll`.
    Epoll,
}

impl Io {
    fn name(self) -> &'static str {
        match self {
            Io::Uring => "uring",
            Io::Epoll => "epoll",
        }
    }
}

/// A running server.
pub struct Server {
    /// Where subscribers connect.
    pub subscribers: SocketAddr,
    /// Where publishers connect; port 0 where that is a Unix socket.
    pub control: SocketAddr,
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Server {
    /// Starts one on this kernel and waits until it serves.
    pub fn start(io: Io, flags: &[&str]) -> Server {
        Server::launch(stentor(flags).env("STENTOR_IO", io.name()))
    }

    /// Starts one by a command that becomes the server, and waits until it serves.
    pub fn launch(command: &mut Command) -> Server {
        Server::launch_reading(command, Stdio::null())
    }

    /// The same with a standard input.
    pub fn launch_reading(command: &mut Command, stdin: impl Into<Stdio>) -> Server {
        let piped = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the program can be started");
        let stdout = Captured::of(child.stdout.take().expect("a pipe"));
        let stderr = Captured::of(child.stderr.take().expect("a pipe"));
        let deadline = Instant::now() + DEADLINE;
        while !has_line(&stdout.text(), "  stentor subscribe news") {
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the server ended with {ended:?}: {}", stderr.text());
            assert!(Instant::now() < deadline, "no banner: {} {}", stdout.text(), stderr.text());
            thread::sleep(Duration::from_millis(2));
        }
        let banner = stdout.text();
        let subscribers = address(&banner, "  subscribers  http://");
        let control = match has_line(&banner, "  control      unix:") {
            true => SocketAddr::from(([0, 0, 0, 0], 0)),
            false => address(&banner.replace("https://", "http://"), "  control      http://"),
        };
        Server { subscribers, control, child, stdout, stderr }
    }

    /// Where subscribers connect by this scheme, in the order of the banner.
    pub fn addresses(&self, scheme: &str) -> Vec<SocketAddr> {
        let (banner, start) = (self.stdout(), format!("  {scheme}://"));
        let lines = banner.lines().filter(|line| line.contains("/sse/{channel}"));
        let rests = lines.filter_map(|line| Some(line.split_once(&start)?.1));
        rests.map(|rest| rest.split('/').next().unwrap().parse().expect("an address")).collect()
    }

    /// What it printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it logged so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it has logged this: lines are written by a thread of their own.
    #[track_caller]
    pub fn await_log(&self, text: &str) {
        eventually(&format!("the log says '{text}'"), || {
            self.stderr().contains(text).then_some(())
        });
    }

    /// What the control listener shows under a path.
    #[track_caller]
    pub fn shown(&self, path: &str) -> serde_json::Value {
        let answer = ask(self.control, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"));
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.head.status, 200, "{path}: {told}");
        serde_json::from_str(&told).expect("JSON")
    }

    /// A number that `/stats` shows, like `/connections/total`.
    pub fn stat(&self, pointer: &str) -> u64 {
        let stats = self.shown("/stats");
        stats.pointer(pointer).and_then(|it| it.as_u64()).unwrap_or_else(|| panic!("{stats}"))
    }

    /// Waits until the number has become this.
    #[track_caller]
    pub fn await_stat(&self, pointer: &str, expected: u64) {
        eventually(&format!("{pointer} is {expected}"), || {
            (self.stat(pointer) == expected).then_some(())
        });
    }

    /// A number that `/metrics` shows, by its name and labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let answer = ask(self.control, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n");
        let told = String::from_utf8(answer.body).expect("text");
        let value = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {told}")).parse().expect("a number")
    }

    /// Its process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Tells it to stop, and holds it to a clean end.
    #[track_caller]
    pub fn stop(self) {
        self.signal(Signal::TERM);
        self.expect_clean_end();
    }

    /// Ends it without a word, as a crash does.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
        assert!(!self.stderr.whole().contains("panicked"), "{}", self.stderr());
    }

    /// Waits for its end, which must be clean: exit code 0 and no panic on the way.
    #[track_caller]
    pub fn expect_clean_end(mut self) {
        let status = self.wait();
        let told = self.stderr.whole();
        assert!(!told.contains("panicked"), "{told}");
        assert_eq!(status.code(), Some(0), "{told}");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server had logged: {}", self.stderr.text());
        }
    }
}

/// The program with these arguments, and a small server's settings where they do not say otherwise.
pub fn stentor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(arguments).env_clear().envs([
        ("PATH", std::env::var("PATH").unwrap_or_default().as_str()),
        ("STENTOR_LISTEN", "127.0.0.1:0"),
        ("STENTOR_CONTROL", "127.0.0.1:0"),
        ("STENTOR_SHARDS", "2"),
        ("STENTOR_MAX_CONNECTIONS", "4000"),
        ("STENTOR_DRAIN", "0s"),
        ("NO_COLOR", "1"),
    ]);
    command
}

/// The same program and settings, by way of a program that becomes the one it is given.
pub fn through(mut launcher: Command, program: &Command) -> Command {
    launcher.arg(program.get_program()).args(program.get_args()).env_clear();
    launcher.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    launcher
}

/// Runs a command that must end by itself, with exit code 1, before it serves; what it said.
#[track_caller]
pub fn refused_start(command: &mut Command) -> String {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program can be started");
    let status = wait(&mut child);
    let Output { stdout, stderr, .. } = child.wait_with_output().expect("it has ended");
    let told = String::from_utf8(stderr).expect("text");
    assert_eq!((String::from_utf8(stdout).as_deref(), status.code()), (Ok(""), Some(1)), "{told}");
    told
}

/// Waits for a child's end, and ends it if it does not come.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a whole line of the text starts like this.
fn has_line(text: &str, start: &str) -> bool {
    text.split_inclusive('\n').any(|line| line.starts_with(start) && line.ends_with('\n'))
}

fn address(banner: &str, start: &str) -> SocketAddr {
    let line = banner.lines().find_map(|line| line.strip_prefix(start)).expect("in the banner");
    line.split('/').next().expect("an address").parse().expect("an address")
}

/// What comes out of a pipe, read as it comes so that nobody waits for us.
pub struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    /// Begins to read.
    pub fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let target = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut piece) {
                target.lock().unwrap().write_all(&piece[..read]).expect("memory");
            }
        });
        Captured { bytes, reader: Some(reader) }
    }

    /// What has come so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Everything, once the other side has ended.
    pub fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        self.text()
    }
}
