//! What the kernel is and what it lets one process have: release, io_uring, descriptors, locked
//! memory.
#![forbid(unsafe_code)]

use super::{Check, Machine, Uring, Wish, bytes, counted, grouped};
use crate::{
    config::IoChoice,
    io::probe::room::{self, Room},
    limits::{COMPLETION_ENTRIES, CONNECTIONS_MAX},
};

/// Whether the server's setting may be so many.
pub(super) fn connections(_: &Machine, wish: &Wish) -> Check {
    let name = "connections";
    let remedy = format!("write a whole number from 1 to {CONNECTIONS_MAX}");
    match wish.connections {
        0 => Check::fail(name, "0 is too little", remedy),
        wished if wished > u64::from(CONNECTIONS_MAX) => {
            Check::fail(name, format!("{wished} is too much"), remedy)
        }
        wished => Check::ok(name, grouped(wished)),
    }
}

pub(super) fn release(machine: &Machine, wish: &Wish) -> Check {
    let name = "kernel";
    let Some(release) = &machine.release else {
        return Check::unknown(name, "uname -r");
    };
    let finding = |verb: &str| format!("{release} {verb} {}.{}", OLDEST.0, OLDEST.1);
    match version(release) {
        None => Check::warn(name, format!("{release} is in no known form"), "compare it with 6.1"),
        Some(version) if version >= OLDEST => Check::ok(name, release.clone()),
        Some(_) if wish.is_on_uring(machine) => {
            Check::fail(name, finding("is below"), "upgrade the kernel, or start with --io epoll")
        }
        Some(_) => Check::warn(name, finding("is untested; we test from"), "upgrade the kernel"),
    }
}

/// What the engine's own probe has found.
pub(super) fn io_uring_check(machine: &Machine, wish: &Wish) -> Check {
    let name = "io_uring";
    match (&machine.uring, wish.io) {
        (_, IoChoice::Epoll) => Check::ok(name, "not asked for"),
        (Uring::Usable { found }, _) => Check::ok(name, format!("works as needed: {found}")),
        (Uring::Refused { problem }, IoChoice::Uring) => {
            Check::fail(name, problem.to_string(), "or serve with --io epoll")
        }
        (Uring::Refused { problem }, IoChoice::Auto) => {
            Check::warn(name, problem.to_string(), "until then epoll takes its place")
        }
    }
}

/// With io_uring the limit holds for each ring's table, and a shard may have several rings; with
/// epoll it holds for the process. The figures are those of the server's own plan.
pub(super) fn nofile(machine: &Machine, wish: &Wish) -> Check {
    let name = "nofile";
    let (connections, shards) = wish.in_range();
    let (fits, needed, finding) = if wish.is_on_uring(machine) {
        let room = Room::of(connections, shards, machine.nofile);
        let finding = format!(
            "{}: {} for each of {}, {} in all",
            limit(machine.nofile),
            counted(u64::from(room.setup.rings()), "ring"),
            counted(u64::from(shards), "shard"),
            counted(room.files, "open file"),
        );
        (room.fits(), room::files_needed(connections, shards), finding)
    } else {
        let needed = room::files_needed_on_epoll(connections);
        let finding = format!(
            "{}: epoll needs one per connection, {} in all",
            limit(machine.nofile),
            grouped(needed)
        );
        (connections <= room::most_on_epoll(machine.nofile), needed, finding)
    };
    if fits {
        return Check::ok(name, finding);
    }
    Check::fail(name, finding, format!("ulimit -n {needed}, or LimitNOFILE={needed} in the unit"))
}

/// Rings count as locked memory again since 6.14.
pub(super) fn memlock(machine: &Machine, wish: &Wish) -> Check {
    let name = "memlock";
    if !wish.is_on_uring(machine) {
        return Check::ok(name, "not needed with epoll");
    }
    let version = machine.release.as_deref().and_then(version);
    if version.is_some_and(|version| version < RINGS_ARE_LOCKED_SINCE) {
        return Check::ok(name, "not needed: this kernel does not count rings");
    }
    if machine.can_lock == Some(true) {
        return Check::ok(name, "no limit: CAP_IPC_LOCK is held");
    }
    let (connections, shards) = wish.in_range();
    let room = Room::of(connections, shards, machine.nofile);
    let rings = u64::from(room.setup.rings()) * u64::from(shards);
    let needed = rings * RING_BYTES;
    let figures = |verb| {
        let limit =
            if machine.memlock == u64::MAX { limit(u64::MAX) } else { bytes(machine.memlock) };
        format!("{limit} {verb} {} of {}", counted(rings, "ring"), bytes(RING_BYTES))
    };
    if machine.memlock >= needed {
        return Check::ok(name, figures("holds"));
    }
    let remedy = "LimitMEMLOCK=infinity or AmbientCapabilities=CAP_IPC_LOCK in the unit, \
                  or ulimit -l unlimited";
    Check::fail(name, figures("does not hold"), remedy)
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { grouped(value) }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The oldest kernel that is tested.
const OLDEST: (u32, u32) = (6, 1);
/// When the kernel began to count rings as locked memory again.
const RINGS_ARE_LOCKED_SINCE: (u32, u32) = (6, 14);
/// Locked memory of one ring at our sizes, measured.
const RING_BYTES: u64 = 145 * 1024;
const _: () = assert!(COMPLETION_ENTRIES == 8192, "the ring's bytes were measured at this size");
