//! `stentor completions` and `stentor man`: what shells and manuals are told of the command line.

use std::{io, path::PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::failure::{Failure, print, write_out};

/// The commands, as they are typed.
pub fn commands() -> [Command; 2] {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell))
        .help("Which shell");
    let folder = Arg::new("folder")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Writes a page for each command into this folder [default: prints the first page]");
    [
        Command::new("completions")
            .about("Prints what makes a shell complete the command line")
            .arg(shell)
            .after_help(COMPLETIONS_EXAMPLES),
        Command::new("man")
            .about("Prints the manual page, or writes those of all commands")
            .arg(folder)
            .after_help(MAN_EXAMPLES),
    ]
}

/// `stentor completions`.
pub fn completions(matches: &ArgMatches, mut whole: Command) -> Result<(), Failure> {
    let shell: Shell = *matches.get_one("shell").expect("it is required");
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut whole, "stentor", &mut text);
    write_out(&text)
}

/// `stentor man`.
pub fn man(matches: &ArgMatches, whole: Command) -> Result<(), Failure> {
    let mut whole = whole.disable_help_subcommand(true);
    // So that each command knows its own place.
    whole.build();
    match matches.get_one::<PathBuf>("folder") {
        None => write_out(&page(whole).map_err(Failure::failed)?),
        Some(folder) => {
            clap_mangen::generate_to(whole, folder).map_err(|why| {
                let folder = folder.display();
                Failure::failed(format!(
                    "cannot write into {folder}: {why}; name a folder that is there and yours"
                ))
            })?;
            print(format!("the pages are in {}\n", folder.display()))
        }
    }
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  stentor completions bash > /etc/bash_completion.d/stentor
  stentor completions zsh > ~/.zfunc/_stentor
  stentor completions fish > ~/.config/fish/completions/stentor.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  stentor man | man -l -
  stentor man /usr/local/share/man/man1";
