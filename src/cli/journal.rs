//! `stentor journal check`: looks through a journal and says what it found.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use stentor::journal;

use super::failure::{Failure, print};

/// The subcommand and its own.
pub fn command() -> Command {
    let dir = Arg::new("dir")
        .value_name("DIR")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The directory that the server was given as --journal");
    let check = Command::new("check")
        .about("Reads every record of a journal that no server uses, and changes nothing")
        .arg(dir)
        .after_help(CHECK_EXAMPLES);
    Command::new("journal")
        .about("Looks after a journal")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(check)
}

/// Does what the arguments ask for.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some(("check", matches)) = matches.subcommand() else {
        unreachable!("there is no other subcommand")
    };
    let dir: &PathBuf = matches.get_one("dir").expect("required");
    let report = journal::check(dir).map_err(Failure::failed)?;
    print(&report)?;
    if report.is_damaged() { Err(Failure::Told) } else { Ok(()) }
}

const CHECK_EXAMPLES: &str = "\
Exits with 1 if anything is damaged: the server would not start with it. A torn tail is no damage.

Examples:
  stentor journal check /var/lib/stentor";
