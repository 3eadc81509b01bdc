//! Whether a machine can hold a wished number of connections, and what to type if it cannot.
//!
//! [`Machine::read`] takes one snapshot of what the kernel says of itself; [`judge`] is a pure
//! function from that to one [`Check`] per limit, so every verdict is tested without the machine
//! it is about. What cannot be read is said to be unknown, never assumed to be fine.
//!
//! The figures behind the verdicts are measurements and stand where they are used.
#![forbid(unsafe_code)]

mod kernel;
mod machine;
mod memory;
mod network;

#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr};

use crate::{
    config::{Auto, Config, IoChoice},
    limits::CONNECTIONS_MAX,
};

pub use machine::{Conntrack, Machine, Uring};

/// What is wished of a machine.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Subscribers at one time.
    pub connections: u64,
    /// The way into the kernel.
    pub io: IoChoice,
    /// Threads, each with rings of its own.
    pub shards: u64,
    /// The backlog of the listener.
    pub backlog: u64,
    /// The ports of the listeners.
    pub ports: Vec<u16>,
}

impl Wish {
    /// A wish for this many connections, otherwise as configured.
    pub fn new(connections: u64, config: &Config, machine: &Machine) -> Self {
        let shards = match config.shards {
            Auto::Exactly(shards) => u64::from(shards),
            Auto::Auto => machine.cores.min(SHARDS_MAX),
        };
        let (io, backlog) = (config.io, u64::from(config.backlog));
        let ports =
            config.listen.0.iter().chain(&config.listen_tls.0).map(SocketAddr::port).collect();
        Wish { connections, io, shards, backlog, ports }
    }

    /// The connections and shards, brought into the range of their settings.
    fn in_range(&self) -> (u32, u16) {
        let connections = u32::try_from(self.connections).unwrap_or(CONNECTIONS_MAX);
        let shards = self.shards.clamp(1, SHARDS_MAX) as u16;
        (connections.clamp(1, CONNECTIONS_MAX), shards)
    }

    /// Whether connections will be behind io_uring on this machine, as far as can be known.
    fn is_on_uring(&self, machine: &Machine) -> bool {
        match self.io {
            IoChoice::Uring => true,
            IoChoice::Epoll => false,
            IoChoice::Auto => machine.uring.is_usable(),
        }
    }
}

/// As many as the server starts at most.
const SHARDS_MAX: u64 = 256;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It will run, but slower or rougher than it could; or nobody can tell.
    Warn,
    /// The wish cannot be held.
    Fail,
}

/// One limit, held against the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The limit's short name.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// The figure, and what it means for the wish.
    pub finding: String,
    /// What to type or to change. Empty if all is well.
    pub remedy: String,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Check { name, verdict: Verdict::Ok, finding: finding.into(), remedy: String::new() }
    }

    fn warn(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (finding, remedy) = (finding.into(), remedy.into());
        Check { name, verdict: Verdict::Warn, finding, remedy }
    }

    fn fail(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check { verdict: Verdict::Fail, ..Check::warn(name, finding, remedy) }
    }

    /// The figure could not be read; `command` shows it where it can be.
    fn unknown(name: &'static str, command: &str) -> Self {
        Check::warn(name, "unknown: it cannot be read here", format!("look with: {command}"))
    }
}

/// Every check, in the order to read them in.
pub fn judge(machine: &Machine, wish: &Wish) -> Vec<Check> {
    let checks = [
        kernel::connections,
        kernel::release,
        kernel::io_uring_check,
        kernel::nofile,
        kernel::memlock,
        memory::memory,
        memory::open_files,
        memory::tcp_memory,
        network::accept_queue,
        network::handshake_queue,
        network::ports,
        network::hash_table,
        network::conntrack,
        network::migration,
    ];
    checks.iter().map(|check| check(machine, wish)).collect()
}

/// The checks as a report for a terminal; its last line is the answer.
pub struct Report<'a> {
    /// What was wished.
    pub wish: &'a Wish,
    /// How it came out.
    pub checks: &'a [Check],
}

impl Report<'_> {
    /// Whether nothing failed.
    pub fn is_possible(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.checks.iter().filter(|check| check.verdict == verdict).count() as u64
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for Check { name, verdict, finding, remedy } in self.checks {
            writeln!(f, "{verdict:4}  {name:width$}  {finding}")?;
            if !remedy.is_empty() {
                writeln!(f, "{:4}  {:width$}    {remedy}", "", "")?;
            }
        }
        let wished = counted(self.wish.connections, "connection");
        match (self.count(Verdict::Fail), self.count(Verdict::Warn)) {
            (0, 0) => writeln!(f, "\nThis machine can hold {wished}."),
            (0, warnings) => {
                let warnings = counted(warnings, "warning");
                writeln!(f, "\nThis machine can hold {wished}, with {warnings}.")
            }
            (failures, _) => {
                let failures = counted(failures, "check");
                writeln!(f, "\nThis machine cannot hold {wished} as it is: {failures} failed.")
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "OK",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        })
    }
}

/// A number with commas between its thousands: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things.
fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// A number of bytes in the unit that leaves a short number.
fn bytes(number: u64) -> String {
    const KIB: f64 = 1024.0;
    let number = number as f64;
    match number {
        _ if number >= KIB * KIB * KIB => format!("{:.1} GiB", number / KIB / KIB / KIB),
        _ if number >= KIB * KIB => format!("{:.0} MiB", number / KIB / KIB),
        _ => format!("{:.0} KiB", number / KIB),
    }
}
