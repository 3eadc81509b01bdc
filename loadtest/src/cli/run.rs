//! `stentor-loadtest run`: its flags, and the order that they make.

use std::{
    path::{Path, PathBuf},
    thread,
};

use clap::{Args, value_parser};

use super::{Command, dry_run};
use crate::{
    options::{Options, PLANS, PlanError},
    order::{Endpoints, Order, Secret},
    plan::Plan,
    profile::{Header, PROFILES, Profile, ProfileError, Wanted},
    slo::Slo,
};

/// A run, checked.
#[derive(Debug)]
pub struct Run {
    /// What to do, and where.
    pub order: Order,
    /// What must hold for it to be a success.
    pub slo: Slo,
    /// What to tell of it.
    pub outputs: Outputs,
}

/// What to tell of a run, and where to write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The report for programs.
    pub json: Option<PathBuf>,
    /// The report as a page with plots.
    pub html: Option<PathBuf>,
    /// The delivery latencies, for plotters of HdrHistogram.
    pub hgrm: Option<PathBuf>,
    /// Whether nothing is shown while it runs.
    pub is_quiet: bool,
}

/// What can be typed behind `run`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The plan: a built-in one (`stentor-loadtest plans`) or a TOML file.
    #[arg(long, value_name = "NAME|FILE")]
    plan: Option<String>,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    reports: ReportArguments,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
struct ServerArguments {
    /// How the server is spoken to: a known one (`stentor-loadtest profiles`) or a TOML file.
    #[arg(long, value_name = "NAME|FILE", default_value = "stentor")]
    server: String,
    /// Where to subscribe: ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events, or
    /// wss:// and https:// by TLS. Without a path it is the profile's. May be given once for each
    /// transport.
    #[arg(long, value_name = "URL")]
    target: Vec<String>,
    /// The authorities that are trusted where TLS is spoken, in PEM [default: the machine's].
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Verifies no certificates. The report says so.
    #[arg(long)]
    insecure: bool,
    /// The name that certificates must have, instead of the URL's host.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// A token that subscribers show. Flags can be seen by others of the machine: better use a file.
    #[arg(long, value_name = "TEXT", conflicts_with = "token_file")]
    token: Option<Secret>,
    /// Tokens, one on each line, which subscribers show by turns.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where to publish: http://HOST:PORT/PATH/{channel}, or https://. Without this it is the
    /// profile's path at the target's host.
    #[arg(long, value_name = "URL")]
    publish: Option<String>,
    /// A key that publications show. Flags can be seen by others of the machine: better use a file.
    #[arg(long, value_name = "TEXT", conflicts_with = "api_key_file")]
    api_key: Option<Secret>,
    /// The file with that key.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A header for every subscriber's request. May be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<Header>,
    /// A header for every publication's request. May be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    publish_header: Vec<Header>,
    /// Starts the server with this command, watches what it uses, and stops it at the end.
    #[arg(long, value_name = "COMMAND", conflicts_with = "pid", value_parser = command_line)]
    spawn: Option<String>,
    /// Watches what this process uses: the server, if it runs on this machine already.
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Writes what the spawned server prints to this file.
    #[arg(long, value_name = "FILE", requires = "spawn")]
    server_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load tester")]
struct MachineArguments {
    /// Threads that drive subscribers [default: one for each processor].
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u32).range(1..=THREADS_MAX))]
    threads: Option<u32>,
    /// Another machine that takes a part of the subscribers, where `stentor-loadtest agent` runs.
    /// May be repeated; this machine then has no subscribers itself.
    #[arg(long, value_name = "HOST:PORT", value_parser = agent)]
    agent: Vec<String>,
    /// The key that the agents ask for.
    #[arg(
        long,
        value_name = "TEXT",
        env = "STENTOR_AGENT_KEY",
        hide_env_values = true,
        requires = "agent"
    )]
    agent_key: Option<String>,
    /// Runs even if the kernel's limits are too low for it.
    #[arg(long)]
    ignore_limits: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
struct ReportArguments {
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report as one HTML page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the delivery latencies for plotters of HdrHistogram.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Shows nothing while it runs.
    #[arg(long)]
    quiet: bool,
}

/// What the flags ask for.
pub fn command(arguments: Arguments) -> Result<Command, String> {
    let is_dry = arguments.dry_run;
    let run = run(arguments)?;
    Ok(match is_dry {
        true => Command::Print(dry_run::text(&run)),
        false => Command::Run(Box::new(run)),
    })
}

fn run(arguments: Arguments) -> Result<Run, String> {
    let Arguments { plan, server, machine, reports, options, .. } = arguments;
    let (name, options) = named(plan.as_deref(), options).map_err(|error| error.to_string())?;
    let plan = options.resolve(&name).map_err(|error| error.to_string())?;
    let bus = options.bus(&plan).map_err(|error| error.to_string())?;
    let is_through_bus = bus.is_some();
    let endpoints = endpoints(&server, &plan, is_through_bus).map_err(|error| error.to_string())?;
    let files = [
        ("json", &reports.json),
        ("html", &reports.html),
        ("hgrm", &reports.hgrm),
        ("server-log", &server.server_log),
    ];
    files.iter().try_for_each(|(option, file)| has_place(option, file.as_deref()))?;
    let order = Order {
        plan,
        endpoints,
        bus,
        spawn: server.spawn,
        pid: server.pid,
        threads: machine.threads.unwrap_or_else(processors),
        agents: machine.agent,
        agent_key: machine.agent_key,
        ignores_limits: machine.ignore_limits,
        server_log: server.server_log,
    };
    let ReportArguments { json, html, hgrm, quiet } = reports;
    let slo = options.objectives();
    Ok(Run { order, slo, outputs: Outputs { json, html, hgrm, is_quiet: quiet } })
}

/// The plan's name, and its options with the flags over them.
fn named(plan: Option<&str>, flags: Options) -> Result<(String, Options), PlanError> {
    let Some(plan) = plan else { return Ok((NO_PLAN.to_owned(), flags)) };
    let sheet = PLANS.find(plan)?;
    let below = Options::from_sheet(&sheet)?;
    Ok((sheet.name, flags.or(below)))
}

fn endpoints(
    server: &ServerArguments,
    plan: &Plan,
    is_through_bus: bool,
) -> Result<Endpoints, ProfileError> {
    let sheet = PROFILES.find(&server.server)?;
    let wanted = Wanted {
        targets: server.target.clone(),
        publish: server.publish.clone(),
        headers: server.header.clone(),
        publish_headers: server.publish_header.clone(),
        authorities: server.ca.clone(),
        is_insecure: server.insecure,
        server_name: server.server_name.clone(),
        token: server.token.clone(),
        token_file: server.token_file.clone(),
        api_key: server.api_key.clone(),
        api_key_file: server.api_key_file.clone(),
        is_through_bus,
    };
    Profile::from_sheet(&sheet)?.endpoints(&sheet.name, &wanted, plan)
}

/// Whether a file can be made: to find out after the run would be too late.
fn has_place(option: &str, file: Option<&Path>) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    let parent = file.parent().filter(|parent| *parent != Path::new(""));
    let directory = parent.unwrap_or(Path::new("."));
    let name = file.display();
    if file.is_dir() {
        return Err(format!("{option}: '{name}' is a directory; write a file's name"));
    }
    if !directory.is_dir() {
        let missing = directory.display();
        return Err(format!(
            "{option}: '{name}' cannot be written: there is no directory {missing}; make it first"
        ));
    }
    Ok(())
}

fn command_line(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty; write the command that starts the server".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn agent(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("is not a host with a port; write it like 10.0.0.7:7070".to_owned()),
    }
}

fn processors() -> u32 {
    thread::available_parallelism().map_or(1, |processors| {
        u32::try_from(processors.get()).unwrap_or(1).min(THREADS_MAX as u32)
    })
}

/// Threads of one process. More than any machine has processors.
const THREADS_MAX: i64 = 1_024;

/// What a plan is called that flags alone have made.
const NO_PLAN: &str = "custom";
