//! The server of this repository, for tests of the load tester: found or built, with addresses of
//! its own, ended with its test.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A running server.
pub struct Stentor {
    /// Where subscribers connect.
    pub subscribers: SocketAddr,
    /// Where publishers connect.
    pub control: SocketAddr,
    child: Child,
    log: Option<JoinHandle<String>>,
}

impl Stentor {
    /// Starts one with these flags and waits until it serves.
    pub fn start(flags: &[&str]) -> Stentor {
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        command.args(["--shards", "2", "--drain", "0s"]).args(flags).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server can be started");
        let mut stderr = child.stderr.take().expect("a pipe");
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            String::from_utf8_lossy(&log).into_owned()
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let subscribers = address_behind("  subscribers  ", &mut stdout);
        let control = address_behind("  control      ", &mut stdout);
        // A pipe that nobody reads would stop a server that went on to print.
        thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Stentor { subscribers, control, child, log: Some(log) }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where to publish, as `--publish` has it.
    pub fn publish(&self) -> String {
        format!("http://{}/publish/{{channel}}", self.control)
    }
}

impl Drop for Stentor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.take().and_then(|log| log.join().ok());
        if thread::panicking() {
            eprintln!("the server had logged: {}", log.unwrap_or_default());
        }
    }
}

/// The command that starts a server at these addresses, as `--spawn` has it.
pub fn serve_at(subscribers: SocketAddr, control: SocketAddr) -> String {
    let program = program().to_str().expect("a path that is text");
    format!(
        "'{program}' serve --listen {subscribers} --control {control} --shards 2 --drain 0s \
         --max-connections 1000"
    )
}

/// An address at which nobody listens: this process's own of the loopback addresses, and a port
/// below those that the kernel gives out.
pub fn free_address() -> SocketAddr {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(21_000);
    let [_, high, middle, low] = process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | high & 63, middle, low);
    SocketAddr::from((address, NEXT_PORT.fetch_add(1, Ordering::Relaxed)))
}

/// The server's executable: beside the load tester's, where Cargo has built the whole workspace, or
/// else built once.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = Path::new(env!("CARGO_BIN_EXE_stentor-loadtest")).parent();
        let directory = directory.expect("an executable is in a directory");
        let program = directory.join("stentor");
        if !program.exists() {
            build(directory);
        }
        program
    })
}

/// Builds the server into this directory: `TARGET/PROFILE`.
fn build(directory: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.args(["build", "--locked", "--quiet", "-p", "stentor", "--bin", "stentor"]);
    command.arg("--target-dir").arg(directory.parent().expect("a profile's directory is in one"));
    if directory.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("Cargo can be started");
    assert!(status.success(), "the server was not built: {status}");
}

/// Reads lines up to the one that begins like this, and the address in the URL that follows.
fn address_behind(start: &str, lines: &mut impl BufRead) -> SocketAddr {
    loop {
        let mut line = String::new();
        let length = lines.read_line(&mut line).expect("text");
        assert_ne!(length, 0, "the server ended before it served");
        if let Some(rest) = line.strip_prefix(start) {
            let (_, rest) = rest.split_once("://").expect("a URL");
            let address = rest.trim_end().split('/').next().unwrap_or_default();
            return address.parse().expect("an address");
        }
    }
}
