//! `stentor drain`, `reload` and `log-level`: what a running server is ordered to do.

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Command};
use serde_json::{Value, json};
use stentor::doctor::grouped;

use super::{
    api::{Api, Server, Shape},
    failure::Failure,
    operate::text,
};

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub struct Drain {
    /// Seconds over which connections are closed. [default: the server's setting `drain`]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    window: Option<u64>,
    /// Returns once the server drains, without waiting for its end.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `reload`.
#[derive(Args, Debug)]
pub struct Reload {
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `log-level`.
#[derive(Args, Debug)]
pub struct LogLevel {
    /// What to log from now on, as in the setting `log`: like info or warn,stentor::shard=debug.
    filter: Option<String>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    server: Server,
}

/// The commands, as they are typed.
pub fn commands() -> [Command; 3] {
    [
        Drain::augment_args(Command::new("drain"))
            .about("Has a running server close its connections, in time, and waits for its end")
            .after_help(DRAIN_HELP),
        Reload::augment_args(Command::new("reload"))
            .about("Has a running server read its settings and files again")
            .after_help(RELOAD_HELP),
        LogLevel::augment_args(Command::new("log-level"))
            .about("Shows what a running server logs, or sets it until the next reload"),
    ]
}

/// `stentor drain`.
pub fn drain(args: &Drain) -> Result<(), Failure> {
    let query = args.window.map_or(String::new(), |seconds| format!("?window={seconds}"));
    let api = Api::find(&args.server)?;
    let answer = api.post(&format!("/v1/drain{query}"))?;
    args.shape.print(&answer, |answer| {
        let connections = grouped(answer["connections"].as_u64().unwrap_or(0));
        let seconds = answer["window_ms"].as_f64().unwrap_or(0.0) / 1000.0;
        let already = if answer["already"] == true { "already " } else { "" };
        format!("{already}draining {connections} connections over {seconds} s; then it ends\n")
    })?;
    if args.no_wait { Ok(()) } else { follow(&api, &answer) }
}

/// Tells how many connections are left, until the server is gone. It only looks: whoever is started in
/// the server's place, and answers then, is not to be drained, too.
fn follow(api: &Api, answer: &Value) -> Result<(), Failure> {
    let began = Instant::now();
    let window = Duration::from_millis(answer["window_ms"].as_u64().unwrap_or(0));
    let mut last = (answer["connections"].as_u64().unwrap_or(0), began);
    let mut progress = Progress::default();
    while began.elapsed() < window + OVERTIME {
        let seconds = || began.elapsed().as_secs();
        let Some(now) = api.get_if_there("/v1/stats") else {
            progress.tell(&format!("it has ended after {} s", seconds()), true);
            return Ok(());
        };
        if now["draining"] == false {
            let line = format!("another server answers in its place after {} s", seconds());
            progress.tell(&line, true);
            return Ok(());
        }
        let (before, at) = last;
        if let Some(left) = now["connections"]["total"].as_u64().filter(|&left| left != before) {
            let rate = before.saturating_sub(left) as f64 / at.elapsed().as_secs_f64().max(0.001);
            let (left_told, rate) = (grouped(left), grouped(rate.round() as u64));
            progress.tell(&format!("{left_told} connections left, {rate} closed a second"), false);
            last = (left, Instant::now());
        }
        thread::sleep(LOOK_EVERY);
    }
    let (left, over) = (grouped(last.0), OVERTIME.as_secs());
    Err(Failure::failed(format!(
        "{left} connections are left {over} s after the window; look at the server's log, or end it \
         with SIGTERM twice"
    )))
}

/// What is told on the standard error meanwhile: on a terminal one line that changes, else a line for
/// each change.
#[derive(Default)]
struct Progress {
    has_line: bool,
}

impl Progress {
    fn tell(&mut self, line: &str, is_last: bool) {
        let mut out = io::stderr().lock();
        let is_terminal = out.is_terminal();
        let again = if is_terminal && self.has_line { "\r\x1b[K" } else { "" };
        let end = if is_terminal && !is_last { "" } else { "\n" };
        // Whoever does not read it any more has the exit code.
        let _ = write!(out, "{again}{line}{end}").and_then(|()| out.flush());
        self.has_line = true;
    }
}

/// How long a drain may take beyond its window.
const OVERTIME: Duration = Duration::from_secs(60);

/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `stentor reload`.
pub fn reload(args: &Reload) -> Result<(), Failure> {
    let answer = Api::find(&args.server)?.post("/v1/reload")?;
    args.shape.print(&answer, |answer| {
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let change = |it: &Value, words: &str| {
            format!(
                "{}: {words} '{}', was '{}'\n",
                text(&it["name"]),
                text(&it["to"]),
                text(&it["from"])
            )
        };
        let mut told = String::new();
        list("changed").iter().for_each(|it| told += &change(it, "is now"));
        list("needs_restart").iter().for_each(|it| told += &change(it, "needs a restart to be"));
        for file in list("files") {
            let (name, problem) = (text(&file["name"]), file["problem"].as_str());
            told += &match problem {
                Some(problem) => format!("{name}: not read again: {problem}\n"),
                None => format!("{name}: {}\n", file["now"].as_str().unwrap_or("as before")),
            };
        }
        list("warnings").iter().for_each(|it| told += &format!("warning: {}\n", text(it)));
        if told.is_empty() { "nothing has changed\n".to_owned() } else { told }
    })
}

/// `stentor log-level`.
pub fn log_level(args: &LogLevel) -> Result<(), Failure> {
    let api = Api::find(&args.server)?;
    let answer = match &args.filter {
        None => api.get("/v1/log-level")?,
        Some(filter) => api.put("/v1/log-level", &json!({ "filter": filter }))?,
    };
    args.shape.print(&answer, |answer| match answer["before"].as_str() {
        Some(before) => format!("{} (was {before})\n", text(&answer["filter"])),
        None => format!("{}\n", text(&answer["filter"])),
    })
}

const DRAIN_HELP: &str = "\
How many connections are left is told on the standard error until the server has ended; 60 s after the
window it is given up, with exit code 1.";

const RELOAD_HELP: &str = "\
Where a setting is wrong nothing changes, and the exit code is 1. What needs a restart is named, and
the rest holds from now on. SIGHUP does the same.";
