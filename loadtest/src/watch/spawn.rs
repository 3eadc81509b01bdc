//! A server that is started for a run and does not outlive it.
//!
//! The command is split into words as a shell would, with quotes, but there is no shell: its id is
//! the server's, and nothing is expanded (write `env NAME=value program` for the environment).
//! The server leads a process group of its own, so that an interrupt at the terminal reaches us
//! first, and dropping [`Spawned`] ends the whole group. Should we be killed, and drop nothing, a
//! guard ends it: a shell that waits for the end of a pipe to us. What leaves the group on purpose,
//! as a daemon does, is lost to us.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpStream},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use super::{table::Row, tail::Tail};

/// A running server. Ends when this is dropped, with all of its process group.
pub struct Spawned {
    /// Reaped only at the end, so that its id, which is also the group's, stays its own.
    server: Child,
    group: Pid,
    output: Tail,
    /// Ends the group if we are killed.
    guard: Option<Child>,
}

/// Why a server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It ended first.
    #[error("the server ended before it was ready ({status}); it said:\n{said}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        said: String,
    },
    /// It took too long.
    #[error("nobody accepts at {address} after {patience:?}; the server said:\n{said}")]
    Late {
        /// The first address that does not accept.
        address: SocketAddr,
        /// How long we waited.
        patience: Duration,
        /// Its last lines.
        said: String,
    },
}

impl Spawned {
    /// Starts a server. Its last lines are kept.
    pub fn start(command: &str) -> io::Result<Spawned> {
        Spawned::begin(command, None)
    }

    /// Starts a server, and writes everything that it says to `log` as well.
    pub fn start_logged(command: &str, log: File) -> io::Result<Spawned> {
        Spawned::begin(command, Some(log))
    }

    fn begin(command: &str, log: Option<File>) -> io::Result<Spawned> {
        let words = shell_words::split(command).map_err(|error| invalid(command, &error))?;
        let [program, arguments @ ..] = &words[..] else {
            return Err(invalid(command, &"it is empty"));
        };
        // One pipe for both, so that their lines keep their order.
        let (reader, writer) = io::pipe()?;
        let server = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let group = Pid::from_child(&server);
        let output = Tail::follow(reader, log);
        let mut spawned = Spawned { server, group, output, guard: None };
        spawned.guard = Some(guard(group)?);
        Ok(spawned)
    }

    /// The id of the server's first process.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// How its first process ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.group), options).ok().flatten().map(|status| exit_status(&status))
    }

    /// The last lines that it wrote, the oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.output.lines()
    }

    /// Waits until somebody accepts at every address and the server has not ended. Whether it is
    /// the server who accepts cannot be told; a server whose address was taken will end.
    pub fn wait_ready(&self, addresses: &[SocketAddr], patience: Duration) -> Result<(), NotReady> {
        let deadline = Instant::now() + patience;
        let mut left = addresses;
        loop {
            while let [address, rest @ ..] = left
                && accepts(*address)
            {
                left = rest;
            }
            if let Some(status) = self.ended() {
                self.output.finish(OUTPUT_PATIENCE);
                return Err(NotReady::Ended { status, said: self.said() });
            }
            let Some(&address) = left.first() else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(NotReady::Late { address, patience, said: self.said() });
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    fn said(&self) -> String {
        let lines = self.last_lines();
        if lines.is_empty() { "(nothing)".to_owned() } else { lines.join("\n") }
    }

    /// Asks the group to end, and kills what is left of it after that time.
    fn end(&self, patience: Duration) {
        let _ = kill_process_group(self.group, Signal::TERM);
        if !self.wait_for_group(patience) {
            let _ = kill_process_group(self.group, Signal::KILL);
            self.wait_for_group(KILL_PATIENCE);
        }
    }

    /// Whether the group was gone in time.
    fn wait_for_group(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while group_lives(self.group) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL_PAUSE);
        }
        true
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.end(DRAIN_PATIENCE);
        // Before the server is reaped, and its id may be another's.
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        let _ = self.server.try_wait();
    }
}

/// A shell that asks the group to end as soon as we have. Its own group keeps it from what we are
/// interrupted by.
fn guard(group: Pid) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -s TERM -- \"-$1\"", "guard"])
        .arg(group.as_raw_pid().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("its guard, sh: {error}")))
}

/// Whether somebody listens. A connection from a port to itself, which loopback allows when
/// nobody does, is nobody.
pub fn accepts(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&address, CONNECT_PATIENCE) else { return false };
    stream.local_addr().ok() != stream.peer_addr().ok()
}

/// Whether any process of the group has not ended. Orphans that nobody reaps have. Unknown counts
/// as alive.
fn group_lives(group: Pid) -> bool {
    let is_living = |row: &Row| row.group == group.as_raw_pid() as u32 && !row.is_ended;
    Row::all().map_or(true, |rows| rows.iter().any(is_living))
}

/// As `wait` would have reported it.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    const DUMPED: i32 = 0x80;
    let signal = status.terminating_signal().unwrap_or(0);
    let dumped = if status.dumped() { DUMPED } else { 0 };
    ExitStatus::from_raw(status.exit_status().unwrap_or(0) << 8 | dumped | signal)
}

fn invalid(command: &str, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("cannot run `{command}`: {why}"))
}

/// How long a server may take to end by itself.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed one, with all of its connections.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// How long we wait for the rest of what an ended server wrote.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);
/// How long one try to connect may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long we wait before we look again.
const POLL_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::{env, fs, net::TcpListener};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address at which nobody listens, and nobody will: the port stays ours.
    fn silent_address() -> (socket2::Socket, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[track_caller]
    fn not_ready(command: &str, patience: Duration) -> NotReady {
        let (_kept, address) = silent_address();
        let server = Spawned::start(command).unwrap();
        server.wait_ready(&[address], patience).unwrap_err()
    }

    /// Waits for a server to end by itself, and says how.
    fn end_of(server: &Spawned) -> Option<ExitStatus> {
        let start = Instant::now();
        while server.ended().is_none() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        server.ended()
    }

    fn until_it_speaks(server: &Spawned) {
        let start = Instant::now();
        while server.last_lines().is_empty() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Quotes hold words together, nothing is expanded, and both outputs arrive in order.
    #[test]
    fn words_are_split_as_by_a_shell_without_one() {
        let command =
            r#"sh -c 'printf "%s\n" "$@"; echo last >&2' name 'two words' "a'b" c\ d '$HOME' *"#;
        let server = Spawned::start(command).unwrap();
        assert_eq!(end_of(&server).unwrap().code(), Some(0));
        server.output.finish(PATIENCE);
        assert_eq!(server.last_lines(), ["two words", "a'b", "c d", "$HOME", "*", "last"]);
    }

    /// A command that is none is refused with its name.
    #[test]
    fn a_command_that_is_none_is_refused() {
        let refusal = |command| Spawned::start(command).err().unwrap().to_string();
        assert_eq!(refusal("  "), "cannot run `  `: it is empty");
        assert!(refusal("sh 'open").starts_with("cannot run `sh 'open`: "));
        assert!(refusal("/nowhere/server --fast").starts_with("/nowhere/server: "));
    }

    /// The id is the server's own, which leads its group.
    #[test]
    fn the_id_is_the_servers() {
        let server = Spawned::start("sleep 600").unwrap();
        let row = Row::of(server.pid()).unwrap();
        assert_eq!((row.group, row.parent), (server.pid(), std::process::id()));
        assert_eq!(server.ended(), None);
    }

    /// Ready is when all accept.
    #[test]
    fn ready_is_when_all_accept() {
        let ((_one, first), (_two, second)) = (listener(), listener());
        let (_silent, third) = silent_address();
        let server = Spawned::start("sleep 600").unwrap();
        server.wait_ready(&[first, second], PATIENCE).unwrap();
        let late = server.wait_ready(&[first, third, second], Duration::ZERO).unwrap_err();
        assert!(matches!(late, NotReady::Late { address, .. } if address == third), "{late}");
    }

    /// A server that ends is not waited for, and how it ended and what it said is told.
    #[test]
    fn an_early_end_is_told_with_the_last_lines() {
        let error = not_ready("sh -c 'echo address in use >&2; exit 7'", PATIENCE);
        let expected = "the server ended before it was ready (exit status: 7); it said:\n\
                        address in use";
        assert_eq!(error.to_string(), expected);
        let error = not_ready("sh -c 'kill -9 $$'", PATIENCE);
        let expected = "the server ended before it was ready (signal: 9 (SIGKILL)); it said:\n\
                        (nothing)";
        assert_eq!(error.to_string(), expected);
    }

    /// A server that ends although somebody accepts is not ready: its address was taken.
    #[test]
    fn another_servers_address_is_not_ready() {
        let (_other, address) = listener();
        let server = Spawned::start("false").unwrap();
        end_of(&server);
        let error = server.wait_ready(&[address], PATIENCE).unwrap_err();
        assert!(matches!(error, NotReady::Ended { status, .. } if status.code() == Some(1)));
    }

    /// Everything that was said is in the log.
    #[test]
    fn the_log_has_everything() {
        let path = env::temp_dir().join(format!("stentor-spawn-{}.log", std::process::id()));
        let command = "sh -c 'i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done'";
        let server = Spawned::start_logged(command, File::create(&path).unwrap()).unwrap();
        end_of(&server);
        server.output.finish(PATIENCE);
        let logged = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        let lines: Vec<String> = (0..300).map(|line| line.to_string()).collect();
        assert_eq!(logged.lines().collect::<Vec<_>>(), lines);
        assert_eq!(server.last_lines(), lines[100..]);
    }

    /// Dropping ends the workers with the server, even if the server ended before.
    #[test]
    fn nothing_is_left_running() {
        for command in ["sh -c 'sleep 600 & sleep 600 & echo; wait'", "sh -c 'sleep 600 & echo'"] {
            let server = Spawned::start(command).unwrap();
            until_it_speaks(&server);
            let group = server.group;
            assert!(group_lives(group), "{command}");
            drop(server);
            assert!(!group_lives(group), "{command}");
        }
    }

    /// One that will not end is killed, but not before its time is up.
    #[test]
    fn a_server_that_will_not_end_is_killed() {
        let server = Spawned::start("sh -c 'trap \"\" TERM; echo; while :; do sleep 1; done'");
        let server = server.unwrap();
        until_it_speaks(&server);
        let (start, patience) = (Instant::now(), Duration::from_millis(300));
        server.end(patience);
        assert!(start.elapsed() >= patience && !group_lives(server.group));
        assert_eq!(end_of(&server).and_then(|status| status.signal()), Some(9));
    }
}
