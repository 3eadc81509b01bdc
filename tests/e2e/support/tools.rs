//! The tools that some scenarios need beside the server: Python, Node and Chromium, kosoku.
//!
//! A tool that is missing fails its test: silence would look like success.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use super::server::{Captured, wait};

/// A tool given by a variable, or at its place in the project.
pub fn tool(variable: &str, place: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = env::var_os(variable).map_or_else(|| root.join(place), PathBuf::from);
    let on_path = || {
        let places = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&places).map(|place| place.join(&path)).any(|path| path.exists())
    };
    assert!(
        path.exists() || on_path(),
        "{} is missing ({variable} may say where it is): run scripts/test.sh, which installs it",
        path.display()
    );
    path
}

/// Python with `websockets`, told to run one of the scripts in `tests/e2e/python`.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(tool("STENTOR_TEST_PYTHON", ".venv/bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python").join(script));
    command
}

/// The conformance suite of Autobahn.
pub fn kosoku() -> Command {
    Command::new(tool("STENTOR_TEST_KOSOKU", ".venv/bin/kosoku"))
}

/// Node, told to run one of the scripts in `tests/browser` with Chromium.
pub fn browser(script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    tool("STENTOR_TEST_PLAYWRIGHT", "tests/browser/node_modules/playwright-core/package.json");
    let chromium = tool("STENTOR_TEST_CHROMIUM", "/usr/bin/chromium");
    let mut command = Command::new(tool("STENTOR_TEST_NODE", "/usr/bin/node"));
    command.arg(folder.join(script)).env("STENTOR_TEST_CHROMIUM", chromium);
    command
}

/// A command that forbids io_uring to the program that it becomes, as containers do.
pub fn seccomp_launcher() -> Command {
    python("forbid_io_uring.py")
}

/// Runs a command to its end, which must be a success; what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let mut running = Running::start(command);
    let status = wait(&mut running.child);
    let (told, errors) = (running.stdout.whole(), running.stderr.whole());
    assert!(status.success(), "{command:?}: {status}\n{told}{errors}");
    told
}

/// A client that runs beside the test and ends with it.
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Running {
    /// Starts it, with nothing on its standard input.
    #[track_caller]
    pub fn start(command: &mut Command) -> Running {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Captured::of(child.stdout.take().expect("a pipe"));
        let stderr = Captured::of(child.stderr.take().expect("a pipe"));
        Running { child, stdout, stderr }
    }

    /// Waits for its end: what it printed, and its exit code.
    #[track_caller]
    pub fn end(&mut self) -> Output {
        let status = wait(&mut self.child);
        let (stdout, stderr) = (self.stdout.whole().into(), self.stderr.whole().into());
        Output { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
