//! `stentor drain`, `reload` and `log-level`: what a running server is ordered to do.

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
            .about("Has a running server close its connections, in time, and end"),
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
    let answer = Api::find(&args.server)?.post(&format!("/v1/drain{query}"))?;
    args.shape.print(&answer, |answer| {
        let connections = grouped(answer["connections"].as_u64().unwrap_or(0));
        let seconds = answer["window_ms"].as_f64().unwrap_or(0.0) / 1000.0;
        let already = if answer["already"] == true { "already " } else { "" };
        format!("{already}draining {connections} connections over {seconds} s; then it ends\n")
    })
}

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

const RELOAD_HELP: &str = "\
Where a setting is wrong nothing changes, and the exit code is 1. What needs a restart is named, and
the rest holds from now on. SIGHUP does the same.";
