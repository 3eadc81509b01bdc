//! A real broker, started by a test on a port and in a folder of its own, and gone with it.

#[cfg(feature = "amqp")]
#[path = "rabbitmq.rs"]
pub mod rabbitmq;

use std::{
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use socket2::{Domain, Socket, Type};

use crate::support::{DEADLINE, Folder, eventually};

/// A port that is a test's own as long as this lives, whether its broker is up or down.
///
/// It is bound, and nobody listens: so the kernel gives it to no other who asks for any port, and
/// to no connection, not even to one that tries to reach the broker while that is down. A broker
/// can still listen on it, since all of them set `SO_REUSEADDR` as we do.
pub struct Port {
    number: u16,
    _held: Socket,
}

impl Port {
    /// Takes a free one.
    pub fn take() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option that every kernel has");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a free port");
        let address = socket.local_addr().expect("it is bound").as_socket().expect("an address");
        Port { number: address.port(), _held: socket }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// What to run, given the folder and the port.
type Start = dyn Fn(&Path, u16) -> Command + Send;

/// A broker's process with its folder, which outlives every kill.
///
/// Nothing of it outlives the thread that started it: call [`Broker::start`] and
/// [`Broker::restart`] on the test's own thread.
pub struct Broker {
    folder: Folder,
    port: Port,
    command: Box<Start>,
    serves: fn(u16) -> bool,
    child: Option<Child>,
}

impl Broker {
    /// Starts one, and returns when it serves.
    ///
    /// `command` is asked for what to run, with the folder, which is there and is where it will
    /// run, and the port; it may write a configuration into the folder. What it starts must become
    /// the broker (`exec`, in a script) and stay in the foreground: only that ends for certain when
    /// the tests are killed. `serves` is asked again and again
    /// whether the broker on this port is ready: see [`listens`].
    #[track_caller]
    pub fn start(
        name: &str,
        command: impl Fn(&Path, u16) -> Command + Send + 'static,
        serves: fn(u16) -> bool,
    ) -> Broker {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = Folder::new(&format!("{name}-{number}"));
        let command = Box::new(command);
        let mut broker = Broker { folder, port: Port::take(), command, serves, child: None };
        broker.restart();
        broker
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where it keeps what it keeps.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it without a word, and everything that it started: `kill -9`.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        signal(&child, Signal::KILL);
        child.wait().expect("a child can be waited for");
        // What it had started dies a little later.
        let port = self.port();
        eventually("a dead broker's port is closed", || (!listens(port)).then_some(()));
    }

    /// Starts it again after a kill, on the same port and in the same folder; returns when it
    /// serves.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let command = (self.command)(self.folder(), self.port());
        let mut tied = tied(&command);
        tied.current_dir(self.folder()).stdin(Stdio::null());
        tied.stdout(self.log_file()).stderr(self.log_file());
        let child = tied.spawn().unwrap_or_else(|error| panic!("{tied:?}: {error}"));
        self.child = Some(child);
        let deadline = Instant::now() + DEADLINE;
        while !(self.serves)(self.port()) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
            assert!(ended.is_none(), "{command:?} ended with {ended:?}: {}", self.log());
            assert!(Instant::now() < deadline, "{command:?} does not serve: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        let told = fs::read(self.folder().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&told).into_owned()
    }

    fn log_file(&self) -> File {
        let path = self.folder().join(LOG);
        OpenOptions::new().create(true).append(true).open(path).expect("a file of ours")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::KILL);
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("the broker had printed at last:\n{}", last.join("\n"));
        }
    }
}

/// Whether somebody listens there: enough for brokers that listen when they are ready.
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The command as a group of processes that ends when this thread does, however it ends.
fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied.process_group(0);
    tied
}

fn signal(child: &Child, signal: Signal) {
    let group = Pid::from_raw(child.id().cast_signed()).expect("a process id");
    // Its group is gone if it ended by itself, which is found out where it matters.
    let _ = kill_process_group(group, signal);
}

/// What the broker prints, in its folder.
const LOG: &str = "printed.log";

/// Lines of it that a failure shows.
const LOG_LINES_SHOWN: usize = 60;

/// A killed broker is gone when that returns, and comes back at the same port and in the same folder;
/// none is in another's way.
#[test]
fn a_broker_is_killed_and_comes_back() {
    let command = |_: &Path, port: u16| {
        let mut command = Command::new("sh");
        let script = r#"echo "$$" >>starts; exec mosquitto -p "$0""#;
        command.args(["-c", script, &port.to_string()]);
        command
    };
    let mut brokers = [(); 3].map(|()| Broker::start("self", command, listens));
    for broker in &mut brokers {
        let port = broker.port();
        for starts in 2..5 {
            broker.kill();
            assert!(!listens(port));
            broker.restart();
            assert!(listens(port));
            let told = fs::read_to_string(broker.folder().join("starts")).expect("a file");
            assert_eq!(told.lines().count(), starts);
        }
    }
}
