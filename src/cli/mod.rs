//! The command line: which words the program understands, and what each of them starts.
//!
//! The flags of the settings are made from the table in `stentor::config`. Exit codes: 0 all went
//! well, 1 it did not, 2 it was asked for wrongly.

mod api;
mod endpoint;
mod failure;
mod health;
mod journal;
mod operate;
mod order;
mod publish;
mod settings;
mod shell;
mod socket;
mod stream;
mod subscribe;
mod table;
mod token;
mod top;
mod trust;

use std::{ffi::OsString, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use stentor::{
    config::{self, Auto, Config, LogFormat},
    doctor::{Machine, Report, Wish, judge},
    logs::Log,
    server::{self, Operator},
};

use failure::{Failure, print};
use health::Health;
use publish::Publish;
use subscribe::Subscribe;

/// Does what the arguments ask for.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let outcome = match command().try_get_matches_from(arguments) {
        Ok(matches) => dispatch(&matches),
        Err(error) => {
            // A help that nobody reads to its end is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        None => serve(matches),
        Some(("serve", matches)) => serve(matches),
        Some(("config", matches)) => show_config(matches),
        Some(("doctor", matches)) => doctor(matches),
        Some(("journal", matches)) => journal::run(matches),
        Some(("subscribe", matches)) => subscribe::run(&parsed::<Subscribe>(matches)),
        Some(("health", matches)) => health::run(&parsed::<Health>(matches)),
        Some(("publish", matches)) => publish::run(&parsed::<Publish>(matches)),
        Some(("channels", matches)) => operate::channels(&parsed(matches)),
        Some(("connections", matches)) => operate::connections(&parsed(matches)),
        Some(("drain", matches)) => order::drain(&parsed(matches)),
        Some(("reload", matches)) => order::reload(&parsed(matches)),
        Some(("log-level", matches)) => order::log_level(&parsed(matches)),
        Some(("top", matches)) => top::run(&parsed(matches)),
        Some(("token", matches)) => token::run(&parsed(matches)),
        Some(("completions", matches)) => shell::completions(matches, command()),
        Some(("man", matches)) => shell::man(matches, command()),
        Some(("inputs", matches)) => operate::inputs(&parsed(matches)),
        Some(("limits", matches)) => operate::limits(&parsed(matches)),
        Some((other, _)) => unreachable!("{other} is no subcommand of ours"),
    }
}

fn parsed<T: FromArgMatches>(matches: &ArgMatches) -> T {
    T::from_arg_matches(matches).expect("matched by the arguments of the same type")
}

/// The settings in effect. What looks like a mistake is told on the way.
fn configuration(matches: &ArgMatches) -> Result<Config, Failure> {
    let loaded = Config::load(&settings::inputs(matches)).map_err(Failure::usage)?;
    for warning in loaded.warnings {
        eprintln!("stentor: {warning}");
    }
    Ok(loaded.config)
}

/// Serves until the process is told to stop.
fn serve(matches: &ArgMatches) -> Result<(), Failure> {
    let config = configuration(matches)?;
    let log = Log::begin(config.log.as_str(), config.log_format == LogFormat::Json);
    let operator = Operator { sources: settings::inputs(matches), log };
    server::run(&config, operator).map_err(Failure::failed)
}

fn show_config(matches: &ArgMatches) -> Result<(), Failure> {
    if matches.get_flag("reference") {
        return print(config::reference());
    }
    print(configuration(matches)?)
}

fn doctor(matches: &ArgMatches) -> Result<(), Failure> {
    let config = configuration(matches)?;
    let wanted = matches.get_one("connections").copied();
    let connections = wanted.unwrap_or_else(|| match config.max_connections {
        Auto::Exactly(connections) => u64::from(connections),
        Auto::Auto => CONNECTIONS_UNLESS_TOLD,
    });
    let machine = Machine::read();
    let wish = Wish::new(connections, &config, &machine);
    let checks = judge(&machine, &wish);
    let report = Report { wish: &wish, checks: &checks };
    print(&report)?;
    if report.is_possible() { Ok(()) } else { Err(Failure::Told) }
}

/// Everything that can be typed.
fn command() -> Command {
    let serve = Command::new("serve")
        .about("Runs the server (what `stentor` alone does, too)")
        .args(settings::args())
        .after_help(SERVE_EXAMPLES);
    // The texts come last: the arguments' own types bring theirs.
    let subscribe = Subscribe::augment_args(Command::new("subscribe"))
        .about("Prints what is published to a channel, one line per publication")
        .after_help(SUBSCRIBE_EXAMPLES);
    let publish = Publish::augment_args(Command::new("publish"))
        .about("Publishes a message, or every line of the standard input, to a channel")
        .after_help(PUBLISH_EXAMPLES);
    let health = Health::augment_args(Command::new("health"))
        .about("Asks a running server whether it lives, or is ready")
        .after_help(HEALTH_EXAMPLES);
    Command::new("stentor")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An edge broadcaster: one publication in, millions of WebSocket and SSE subscribers out")
        .args(settings::args().into_iter().map(|arg| arg.hide_short_help(true)))
        .args_conflicts_with_subcommands(true)
        .subcommand(serve)
        .subcommand(config_command())
        .subcommand(doctor_command())
        .subcommand(journal::command())
        .subcommand(subscribe)
        .subcommand(publish)
        .subcommand(health)
        .subcommands(operate::commands())
        .subcommands(order::commands())
        .subcommand(top::command())
        .subcommand(token::command())
        .subcommands(shell::commands())
        .after_help(EXAMPLES)
}

fn config_command() -> Command {
    Command::new("config")
        .about("Prints the settings in effect as TOML, and where each value came from")
        .arg(
            Arg::new("reference")
                .long("reference")
                .action(ArgAction::SetTrue)
                .help("Prints what can be set instead, as Markdown"),
        )
        .args(settings::args())
        .after_help(CONFIG_EXAMPLES)
}

fn doctor_command() -> Command {
    let connections = Arg::new("connections")
        .long("connections")
        .short('n')
        .value_name("NUMBER")
        .value_parser(value_parser!(u64).range(1..))
        .help("Subscribers that the machine shall hold [default: max-connections, or 100000]");
    let bears_on_the_checks = |arg: Arg| {
        let shown = ["config", "io", "shards", "backlog", "listen"];
        let hidden = !shown.contains(&arg.get_id().as_str());
        arg.hide(hidden)
    };
    Command::new("doctor")
        .about("Says whether this machine can hold so many subscribers, and what to type if not")
        .arg(connections)
        .args(settings::args().into_iter().map(bears_on_the_checks))
        .after_help(DOCTOR_EXAMPLES)
}

/// What the doctor is asked for if neither a flag nor a setting says it; the server's own default.
const CONNECTIONS_UNLESS_TOLD: u64 = 100_000;

const EXAMPLES: &str = "\
Examples:
  stentor                                    serve subscribers on 127.0.0.1:8080
  stentor subscribe news                     in a second terminal
  stentor publish news 'Hello, all of you'   in a third one
  tail -f app.log | stentor --input stdin=logs
  stentor --nats nats://127.0.0.1:4222 --subject 'ticks.>' --channel '{subject}'
  stentor doctor --connections 1000000       would this machine hold a million?
  stentor config > stentor.toml              a settings file to start from

`stentor --help` lists every setting. A setting is a flag, a variable or a key of a TOML file;
the first of these that names it decides.";

const SERVE_EXAMPLES: &str = "\
A flag beats its environment variable, which beats the settings file, which beats the default.

Examples:
  stentor serve --listen 0.0.0.0:8080 --allow-origin https://example.com
  STENTOR_MAX_CONNECTIONS=1000000 stentor serve --config /etc/stentor.toml
  stentor serve --nats nats://127.0.0.1:4222 --subject 'ticks.>' --channel '{subject}'
  stentor serve --input 'jetstream url=nats://a stream=TICKS' --input 'redis url=redis://b subscribe=*'

The flags under \"One input, in short\" make one input; --input may be repeated. docs/bus.md has a
recipe for each bus.";

const CONFIG_EXAMPLES: &str = "\
Examples:
  stentor config                      what is in effect, and why
  stentor config > stentor.toml       a settings file to start from
  stentor config --drain 30s          what would be in effect with this flag
  stentor config --reference          what can be set, as Markdown";

const DOCTOR_EXAMPLES: &str = "\
Exits with 1 if a check fails. Every flag, variable and file of `stentor serve` counts here, too.

Examples:
  stentor doctor --connections 1000000
  stentor doctor -n 50000 --io epoll";

const SUBSCRIBE_EXAMPLES: &str = "\
Exits with 0 after --count publications, or, without it, when the server ends the connection
with 1000, 1001 or because it drains; otherwise with 1. Publications are printed as they are, but for a JSON string,
which is printed as its text. Gaps, and where to go on after an end, are told on the standard error.

Examples:
  stentor subscribe news
  stentor subscribe news --last 10 --positions
  stentor subscribe news --since 18c2f3a9d1e-42
  stentor subscribe ticker.EURUSD --count 10 --url ws://edge.example:8080";

const PUBLISH_EXAMPLES: &str = "\
The message is published byte for byte. Without one the standard input is the message.

Examples:
  stentor publish news 'Hello, all of you'
  stentor publish pictures < cat.jpg
  tail -f events.log | stentor publish events --lines
  stentor publish prices 1.09 --json --key EUR/USD --version 17";

const HEALTH_EXAMPLES: &str = "\
Exits with 0 if the server says so, with 1 if it does not, or says nothing for 2.5 s. For the probes of
containers and supervisors.

Examples:
  stentor health
  stentor health --ready --url http://edge.example:8081";

#[cfg(test)]
mod tests {
    use super::*;

    /// Clap's own check of names, conflicts and defaults.
    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
