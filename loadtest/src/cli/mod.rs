//! The command line: which words the program understands, and what each of them asks for.
//!
//! [`parse`] does everything that can be done without touching the server: what it returns can
//! begin. Exit codes are part of the command line, so they are named here; `--help` explains them.

mod compare;
mod dry_run;
mod help;
mod run;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, net::SocketAddr, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{options::PLANS, profile::PROFILES, shelf::Shelf};

pub use run::{Outputs, Run};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// A run, checked.
    Run(Box<Run>),
    /// To be an agent: subscribers for a coordinator on another machine.
    Agent(Agent),
    /// This text on the standard output, and nothing else.
    Print(String),
}

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Stop {
    /// The words were not understood, or they asked for help.
    Words(clap::Error),
    /// They were understood and cannot be done; why, in a line.
    Wrong(String),
}

/// The run met its objectives and the oracle had nothing to say.
pub const MET: u8 = 0;
/// The oracle found a fault, or an objective was missed.
pub const MISSED: u8 = 1;
/// It was asked for wrongly.
pub const ASKED_WRONGLY: u8 = 2;
/// It could not be run, or not to its end.
pub const NOT_RUN: u8 = 3;
/// An objective was missed while the load tester itself was saturated: the server may be better.
pub const MISSED_SATURATED: u8 = 4;

/// Reads the arguments, the program's own name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Stop> {
    let matches = command().try_get_matches_from(arguments).map_err(Stop::Words)?;
    let words = Words::from_arg_matches(&matches).map_err(Stop::Words)?;
    match words.word {
        Word::Run(arguments) => run::command(*arguments).map_err(Stop::Wrong),
        Word::Agent(agent) => Ok(Command::Agent(agent)),
        Word::Compare(arguments) => compare::command(&arguments).map_err(Stop::Wrong),
        Word::Plans(arguments) => arguments.print(&PLANS),
        Word::Profiles(arguments) => arguments.print(&PROFILES),
    }
}

impl Stop {
    /// Says why on the standard error (help goes to the standard output), and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Stop::Words(error) => {
                // A help that nobody reads to its end is no failure.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(ASKED_WRONGLY))
            }
            Stop::Wrong(why) => {
                eprintln!("stentor-loadtest: {why}");
                ExitCode::from(ASKED_WRONGLY)
            }
        }
    }
}

/// Load tester for broadcast servers: millions of subscribers, honest latency, proof of arrival
#[derive(Debug, Parser)]
#[command(name = "stentor-loadtest", version, after_help = help::PROGRAM)]
struct Words {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Runs a plan against a server, and says what arrived and when
    Run(Box<run::Arguments>),
    /// Drives subscribers for a coordinator on another machine (`run --agent`)
    #[command(after_help = help::AGENT)]
    Agent(Agent),
    /// Sets reports of several runs side by side, as a Markdown table
    #[command(after_help = help::COMPARE)]
    Compare(compare::Arguments),
    /// Lists the built-in plans, or prints one
    #[command(after_help = help::PLANS)]
    Plans(ShelfArguments),
    /// Lists the servers that it knows how to speak to, or prints the profile of one
    #[command(after_help = help::PROFILES)]
    Profiles(ShelfArguments),
}

/// What an agent is told.
#[derive(Clone, Debug, Args)]
pub struct Agent {
    /// Where coordinators connect. Other than on loopback it takes a key.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// What a coordinator must know (`run --agent-key`). It travels in the clear.
    #[arg(long, value_name = "TEXT", env = "STENTOR_AGENT_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

#[derive(Debug, Args)]
struct ShelfArguments {
    /// Prints this one, as TOML.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl ShelfArguments {
    fn print(&self, shelf: &Shelf) -> Result<Command, Stop> {
        let text = match &self.name {
            None => shelf.list(),
            Some(name) => shelf.find(name).map_err(|error| Stop::Wrong(error.to_string()))?.text,
        };
        Ok(Command::Print(text))
    }
}

/// Everything that can be typed.
fn command() -> clap::Command {
    Words::command().mut_subcommand("run", |run| {
        // So that a script may have flags of its own, and those of its user behind them.
        let run = run.args_override_self(true);
        run.after_help(help::run(false)).after_long_help(help::run(true))
    })
}
