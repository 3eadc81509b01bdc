//! How a command ends when it does not end well, and how it writes to the standard output.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

/// Why a command stops.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for wrongly; asking again the same way is pointless.
    Usage(String),
    /// It was tried and failed.
    Failed(String),
    /// It failed, and what it printed says so.
    Told,
    /// Nobody reads the output any more: `stentor subscribe news | head -1`.
    OutputClosed,
}

impl Failure {
    /// It was asked for wrongly.
    pub fn usage(why: impl Display) -> Self {
        Failure::Usage(why.to_string())
    }

    /// It was tried and failed.
    pub fn failed(why: impl Display) -> Self {
        Failure::Failed(why.to_string())
    }

    /// Says why on the standard error, and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (why, code) = match self {
            Failure::OutputClosed => return ExitCode::SUCCESS,
            Failure::Told => return ExitCode::from(1),
            Failure::Failed(why) => (why, 1),
            Failure::Usage(why) => (why, 2),
        };
        for line in why.lines() {
            eprintln!("stentor: {line}");
        }
        ExitCode::from(code)
    }
}

/// Writes the text to the standard output.
pub fn print(text: impl Display) -> Result<(), Failure> {
    write_out(text.to_string().as_bytes())
}

/// Writes the bytes to the standard output, and out of our buffers.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::failed(format!("cannot write to the standard output: {error}")),
    })
}
