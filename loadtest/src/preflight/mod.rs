//! Whether this machine can hold a run, before it begins, and what to type if it cannot.
//!
//! [`Limits::read`] takes one snapshot of the machine; [`check`] is a pure function from that and a
//! [`Demand`] to what stands in the way, so every verdict is tested without the machine it is
//! about. A limit that cannot be read is not checked. The machine of a server elsewhere cannot be
//! seen from here: its own program must look.
//!
//! A limit speaks when 98 % of it are needed: what else runs on a machine takes the rest, and a run
//! that fails at its last connections has cost the most.

mod limits;
mod memory;
mod network;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use limits::{Limits, Taken};

use crate::{decoder::Transport, order::Subscribe, plan::Plan};

/// What a run needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Subscribers at one time.
    pub connections: u64,
    /// Whether the server is on this machine too. Then both ends of a connection count.
    pub server_is_here: bool,
    /// New connections in a second.
    pub ramp_per_second: u64,
    /// Addresses to connect from. `None` on loopback, which has as many as wanted, and where there
    /// is more than one target, for each of which a port counts anew.
    pub source_addresses: Option<u64>,
    /// Threads of the load tester that hold connections, one at least.
    pub threads: u32,
}

impl Demand {
    /// What so many of a plan's subscribers need, on so many threads of this machine.
    pub fn of(
        plan: &Plan,
        subscribe: &[(Transport, Subscribe)],
        connections: u64,
        threads: u32,
    ) -> Demand {
        Demand {
            connections,
            server_is_here: subscribe.iter().any(|(_, it)| it.address.ip().is_loopback()),
            ramp_per_second: plan.ramp.into(),
            source_addresses: source_addresses(subscribe),
            threads,
        }
    }

    /// Sockets that this machine holds.
    fn sockets(&self) -> u64 {
        self.connections.saturating_mul(if self.server_is_here { 2 } else { 1 })
    }
}

/// One where the kernel chooses: it is always the same for the same target.
fn source_addresses(subscribe: &[(Transport, Subscribe)]) -> Option<u64> {
    let ((_, first), rest) = subscribe.split_first()?;
    let is_one_target = rest.iter().all(|(_, it)| it.address == first.address);
    let is_chosen_by_us = matches!(first.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
    (is_one_target && !is_chosen_by_us).then_some(1)
}

/// What a finding means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// The run cannot succeed.
    Stops,
    /// It can, but slower, or measuring the machine rather than the server.
    Advice,
}

/// A limit that is too tight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it means for the run.
    pub severity: Severity,
    /// The limit, and what is needed.
    pub what: String,
    /// What to type or to change.
    pub fix: String,
}

impl Finding {
    fn stops(what: String, fix: String) -> Finding {
        Finding { severity: Severity::Stops, what, fix }
    }

    fn advice(what: String, fix: String) -> Finding {
        Finding { severity: Severity::Advice, what, fix }
    }
}

/// Every limit that is too tight, those that stop the run first.
pub fn check(demand: &Demand, limits: &Limits) -> Vec<Finding> {
    let checks = [
        memory::kernel_memory,
        memory::open_files,
        memory::descriptors,
        memory::tcp_buffers,
        network::ports,
        network::accept_queue,
        network::hash_table,
        network::conntrack,
    ];
    let mut findings: Vec<Finding> =
        checks.iter().filter_map(|check| check(demand, limits)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whether so much needs 98 % of the limit or more.
fn is_tight(needed: u64, limit: u64) -> bool {
    u128::from(needed) * 100 >= u128::from(limit) * PERCENT
}

/// The least limit that is not tight.
fn enough_for(needed: u64) -> u64 {
    u64::try_from(u128::from(needed) * 100 / PERCENT + 1).unwrap_or(u64::MAX)
}

/// The most that leaves a limit untight.
fn most_within(limit: u64) -> u64 {
    ((u128::from(limit) * PERCENT).div_ceil(100) as u64).saturating_sub(1)
}

/// A limit as one would write it, somewhat above what is needed.
fn rounded_up(limit: u64, step: u64) -> u64 {
    limit.checked_next_multiple_of(step).unwrap_or(limit)
}

/// How much of a limit may be needed.
const PERCENT: u128 = 98;
