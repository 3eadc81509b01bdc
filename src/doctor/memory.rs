//! What the whole machine has: memory, open files, memory for TCP.
#![forbid(unsafe_code)]

use super::{Check, Machine, Wish, bytes, grouped};

pub(super) fn memory(machine: &Machine, wish: &Wish) -> Check {
    let name = "memory";
    let Some(available) = machine.memory_available else {
        return Check::unknown(name, "grep MemAvailable /proc/meminfo");
    };
    let idle = wish.connections.saturating_mul(CONNECTION_BYTES);
    let stalled = (wish.connections / STALLED_ONE_IN).saturating_mul(STALLED_BYTES);
    let finding = format!("{} available, {} for idle connections", bytes(available), bytes(idle));
    if available < idle {
        let most = grouped(available / CONNECTION_BYTES);
        return Check::fail(name, finding, format!("add memory, or wish for at most {most}"));
    }
    if available < idle.saturating_add(stalled) {
        let finding = format!("{finding} and {} more if 1 % stall", bytes(stalled));
        return Check::warn(name, finding, "add memory, or lower stall-timeout");
    }
    Check::ok(name, finding)
}

/// A connection is an open file of the machine even where no process has a descriptor for it.
pub(super) fn open_files(machine: &Machine, wish: &Wish) -> Check {
    let name = "file-max";
    let Some((open, max)) = machine.files else {
        return Check::unknown(name, "cat /proc/sys/fs/file-nr");
    };
    let needed = open.saturating_add(wish.connections);
    if needed <= max {
        return Check::ok(name, format!("{} open of {}", grouped(open), grouped(max)));
    }
    let finding = format!("{} is below the {} needed", grouped(max), grouped(needed));
    Check::fail(name, finding, format!("sysctl -w fs.file-max={}", needed.saturating_mul(2)))
}

/// Idle sockets hold none of this memory; each one that a publication is on its way to may hold
/// a page until its peer has acknowledged. Under pressure the kernel shrinks windows; above the
/// last mark it drops.
pub(super) fn tcp_memory(machine: &Machine, wish: &Wish) -> Check {
    let name = "tcp_mem";
    let Some([_, pressure, high]) = machine.tcp_mem else {
        return Check::unknown(name, "sysctl net.ipv4.tcp_mem");
    };
    let finding = format!(
        "{} before pressure, {} at most",
        bytes(pressure.saturating_mul(machine.page)),
        bytes(high.saturating_mul(machine.page)),
    );
    if wish.connections <= pressure {
        return Check::ok(name, finding);
    }
    let burst = bytes(wish.connections.saturating_mul(machine.page));
    let [low, pressure, high] = [1, 2, 3].map(|part| wish.connections.saturating_mul(part) / 2);
    Check::warn(
        name,
        format!("{finding}; one publication to everybody may take {burst}"),
        format!("sysctl -w net.ipv4.tcp_mem=\"{low} {pressure} {high}\""),
    )
}

/// Memory of an idle connection: 4.3 kB in the kernel, of which 3.95 kB is the socket, and at
/// most 200 bytes of ours.
const CONNECTION_BYTES: u64 = 4_500;
/// What a reader that has stopped pins in the kernel, at the default notsent-lowat.
const STALLED_BYTES: u64 = 25_000;
/// One reader in a hundred stalling is a bad day.
const STALLED_ONE_IN: u64 = 100;
