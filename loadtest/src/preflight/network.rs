//! What the network stack lets through: ports, queues, hashes, connection tracking.

use crate::units::count;

use super::{Demand, Finding, Limits, enough_for, is_tight, rounded_up};

/// An address connects once from each port, and quickly only while most ports are free: connect
/// tries those of one parity first, and above about half of them a try costs ever more.
pub(super) fn ports(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let (addresses, ports) = (demand.source_addresses?, limits.ports?);
    let quick = addresses.saturating_mul(quick_ports(ports));
    if !is_tight(demand.connections, quick) {
        return None;
    }
    let what = format!(
        "net.ipv4.ip_local_port_range has {} ports: {} can open {} connections \
         quickly and {} at most, and {} are wanted",
        count(ports),
        sources(addresses),
        count(quick),
        count(addresses.saturating_mul(ports)),
        count(demand.connections),
    );
    let fix = ports_fix(demand.connections, addresses);
    Some(match is_tight(demand.connections, addresses.saturating_mul(ports)) {
        true => Finding::stops(what, fix),
        false => Finding::advice(what, fix),
    })
}

fn ports_fix(connections: u64, addresses: u64) -> String {
    let widen = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"";
    let wanted = enough_for(connections).div_ceil(quick_ports(PORTS_MAX));
    if wanted <= addresses {
        return widen.to_owned();
    }
    format!("{widen}, and {} (ip address add ADDRESS dev DEVICE)", sources(wanted))
}

fn sources(addresses: u64) -> String {
    let plural = if addresses == 1 { "" } else { "es" };
    format!("{} source address{plural}", count(addresses))
}

/// How many of an address's ports are planned with.
fn quick_ports(ports: u64) -> u64 {
    ports.saturating_mul(QUICK_PORTS.0) / QUICK_PORTS.1
}

/// Where the server is here its queue of connections to accept is too. One that overflows drops a
/// SYN, which is sent again after a second.
pub(super) fn accept_queue(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let length = limits.somaxconn.filter(|_| demand.server_is_here)?;
    let needed = demand.ramp_per_second / QUEUES_PER_SECOND;
    if !is_tight(needed, length) {
        return None;
    }
    let what = format!(
        "net.core.somaxconn is {}, and {} connections per second may queue {}: what does not fit \
         waits a second",
        count(length),
        count(demand.ramp_per_second),
        count(needed),
    );
    let wanted = rounded_up(enough_for(needed), 1024);
    let fix = format!("sysctl -w net.core.somaxconn={wanted}, before the server starts");
    Some(Finding::advice(what, fix))
}

/// The more sockets share a bucket, the longer the kernel looks for the socket of each packet: at
/// eight a fifth of all processor time went there.
pub(super) fn hash_table(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let buckets = limits.hash_buckets?;
    let sockets = demand.sockets();
    if !is_tight(sockets, buckets.saturating_mul(SOCKETS_PER_BUCKET_MAX)) {
        return None;
    }
    let what = format!(
        "the TCP hash has {} buckets for {} sockets, and finding one costs processor time that \
         would be the server's",
        count(buckets),
        count(sockets),
    );
    let wanted = sockets.checked_next_power_of_two().unwrap_or(BUCKETS_MAX);
    let wanted = wanted.clamp(BUCKETS_UNLESS_MORE, BUCKETS_MAX);
    let fix = format!(
        "sysctl -w net.ipv4.tcp_child_ehash_entries={wanted}, then a new network namespace: \
         scripts/million.sh does it"
    );
    Some(Finding::advice(what, fix))
}

/// A full table drops the packets of whoever is not in it. One that is empty before a run may have
/// been loaded without any rule that uses it.
pub(super) fn conntrack(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let table = limits.conntrack?;
    let needed = table.taken.saturating_add(demand.connections);
    if !is_tight(needed, table.max) {
        return None;
    }
    let enough = enough_for(needed);
    let what = format!(
        "net.netfilter.nf_conntrack_max is {}, and {} connections besides {} tracked ones need {}",
        count(table.max),
        count(demand.connections),
        count(table.taken),
        count(enough),
    );
    let wanted = rounded_up(enough, 100_000);
    let fix = format!("sysctl -w net.netfilter.nf_conntrack_max={wanted}");
    Some(if table.taken == 0 { Finding::advice(what, fix) } else { Finding::stops(what, fix) })
}

/// 10,000 of the 28,232 ports that an address has unless told otherwise, and so of any range.
const QUICK_PORTS: (u64, u64) = (10_000, 28_232);
/// Ports from 1024 to 65535.
const PORTS_MAX: u64 = 65_536 - 1_024;
/// A server is taken to leave its queue alone for at most an eighth of a second.
const QUEUES_PER_SECOND: u64 = 8;
/// Sockets in a bucket at which looking for one begins to show.
const SOCKETS_PER_BUCKET_MAX: u64 = 4;
/// Room for two million sockets with few in one bucket; 32 MiB.
const BUCKETS_UNLESS_MORE: u64 = 1 << 22;
/// The largest hash that the kernel makes for a namespace.
const BUCKETS_MAX: u64 = 1 << 24;
