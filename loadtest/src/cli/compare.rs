//! `stentor-loadtest compare`: reports side by side.

use std::fs;

use clap::Args;

use super::Command;
use crate::report::compare::{self, Column};

/// What can be typed behind `compare`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Reports that `run --json` has written, at most 12; NAME= says what a column is called.
    #[arg(required = true, num_args = 1..=12, value_name = "[NAME=]FILE")]
    reports: Vec<String>,
}

/// The table, or why there is none.
pub fn command(arguments: &Arguments) -> Result<Command, String> {
    let columns = arguments.reports.iter().map(|named| column(named));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(Command::Print(compare::table(&columns)))
}

fn column(named: &str) -> Result<Column, String> {
    let (name, file) = match named.split_once('=') {
        Some((name, file)) => (Some(name), file),
        None => (None, named),
    };
    let text = fs::read_to_string(file).map_err(|error| format!("'{file}': {error}"))?;
    let column = compare::column(&text).map_err(|error| format!("'{file}': {error}"))?;
    Ok(Column { name: name.map_or(column.name, str::to_owned), ..column })
}
