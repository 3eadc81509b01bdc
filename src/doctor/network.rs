//! What the network stack lets in: queues in front of the listener, ports, the connection hash,
//! connection tracking, and what becomes of the queue when the server stops.
#![forbid(unsafe_code)]

use super::{Check, Conntrack, Machine, Wish, grouped};

pub(super) fn accept_queue(machine: &Machine, wish: &Wish) -> Check {
    queue("somaxconn", "net.core.somaxconn", machine.somaxconn, wish.backlog)
}

pub(super) fn handshake_queue(machine: &Machine, wish: &Wish) -> Check {
    queue("syn_backlog", "net.ipv4.tcp_max_syn_backlog", machine.syn_backlog, wish.backlog)
}

/// A queue that is shorter than the backlog cuts it without a word.
fn queue(name: &'static str, setting: &str, length: Option<u64>, backlog: u64) -> Check {
    let Some(length) = length else {
        return Check::unknown(name, &format!("sysctl {setting}"));
    };
    if length >= backlog {
        return Check::ok(
            name,
            format!("{} for a backlog of {}", grouped(length), grouped(backlog)),
        );
    }
    let finding = format!("{} cuts the backlog of {}", grouped(length), grouped(backlog));
    Check::warn(name, finding, format!("sysctl -w {setting}={backlog}"))
}

/// Never a fault: a server's connections all share its one port.
pub(super) fn ports(machine: &Machine, wish: &Wish) -> Check {
    let name = "port range";
    let Some((low, high)) = machine.ports else {
        return Check::ok(name, "unknown; only a load tester on this machine would need it");
    };
    let ports = high.saturating_sub(low) + 1;
    let who = "only a load tester on this machine needs them";
    let figure = format!("{} ports, and {who}", grouped(ports));
    if ports >= wish.connections {
        return Check::ok(name, figure);
    }
    let addresses = wish.connections.div_ceil(ports);
    Check::ok(name, format!("{figure}: let it dial {} addresses", grouped(addresses)))
}

/// At eight sockets to a bucket a fifth of all CPU went into finding the socket of a packet.
pub(super) fn hash_table(machine: &Machine, wish: &Wish) -> Check {
    let name = "tcp hash";
    let Some(buckets) = machine.hash_buckets else {
        return Check::unknown(name, "sysctl net.ipv4.tcp_ehash_entries");
    };
    let finding = format!("{} buckets", grouped(buckets));
    if wish.connections <= buckets.saturating_mul(SOCKETS_PER_BUCKET) {
        return Check::ok(name, finding);
    }
    let each = wish.connections / buckets.max(1);
    let wanted = wish.connections.checked_next_power_of_two().unwrap_or(BUCKETS_MAX);
    let wanted = wanted.saturating_mul(2).min(BUCKETS_MAX);
    Check::warn(
        name,
        format!("{finding}, {each} connections in each: finding one costs CPU"),
        format!(
            "sysctl -w net.ipv4.tcp_child_ehash_entries={wanted}, then start stentor in a network \
             namespace made after that (or boot with thash_entries={wanted})"
        ),
    )
}

pub(super) fn conntrack(machine: &Machine, wish: &Wish) -> Check {
    let name = "conntrack";
    let Some(Conntrack { count, max }) = machine.conntrack else {
        return Check::ok(name, "not loaded");
    };
    let finding = format!("{} tracked of {}", grouped(count), grouped(max));
    let needed = count.saturating_add(wish.connections);
    let listed: Vec<String> = wish.ports.iter().map(u16::to_string).collect();
    let ports = match &listed[..] {
        [port] => format!("--dport {port}"),
        ports => format!("-m multiport --dports {}", ports.join(",")),
    };
    let exempt = format!("iptables -t raw -A PREROUTING -p tcp {ports} -j NOTRACK");
    if count == 0 {
        let finding = format!("loaded, tracks nothing now, holds {}", grouped(max));
        return match needed > max {
            true => Check::warn(name, finding, format!("before rules make it track: {exempt}")),
            false => Check::ok(name, finding),
        };
    }
    if needed > max {
        let raise =
            format!("sysctl -w net.netfilter.nf_conntrack_max={}", needed.saturating_mul(2));
        return Check::fail(name, finding, format!("{exempt} (and OUTPUT --sport), or {raise}"));
    }
    let finding = format!("{finding}: about 300 bytes and a lock for each connection");
    Check::warn(name, finding, format!("{exempt} (and OUTPUT --sport)"))
}

/// Without it, closing one of several listeners resets whoever waits in its queue: a quarter of a
/// burst when it was tried.
pub(super) fn migration(machine: &Machine, wish: &Wish) -> Check {
    let name = "tcp_migrate_req";
    match machine.migrates {
        _ if wish.shards <= 1 => Check::ok(name, "not needed with one shard"),
        Some(true) => Check::ok(name, "1: a listener that closes hands its queue on"),
        None => Check::unknown(name, "sysctl net.ipv4.tcp_migrate_req"),
        Some(false) => Check::warn(
            name,
            "0: clients in a listener's queue are reset when it closes",
            "sysctl -w net.ipv4.tcp_migrate_req=1",
        ),
    }
}

/// Chains of two are still one cache miss on average.
const SOCKETS_PER_BUCKET: u64 = 2;
/// The largest hash that the kernel makes for a namespace.
const BUCKETS_MAX: u64 = 1 << 24;
