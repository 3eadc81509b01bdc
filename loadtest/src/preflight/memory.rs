//! What the machine has of memory, open files and descriptors.

use stentor::io::uring::Setup;

use crate::units::{bytes, count};

use super::{Demand, Finding, Limits, enough_for, is_tight, most_within, rounded_up};

/// What an idle connection takes of the kernel and of us. The server's own memory comes on top,
/// and nobody knows it before the run.
pub(super) fn kernel_memory(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let available = limits.memory_available?;
    let each = CLIENT_BYTES
        + if demand.server_is_here { KERNEL_BYTES_BOTH_ENDS } else { KERNEL_BYTES_ONE_END };
    let needed = demand.connections.saturating_mul(each);
    if !is_tight(needed, available) {
        return None;
    }
    let what = format!(
        "{} of memory are available, and {} connections need {}, besides what the server takes",
        bytes(available as f64),
        count(demand.connections),
        bytes(needed as f64),
    );
    let most = count(most_within(available) / each);
    Some(Finding::stops(what, format!("add memory, or open at most {most} connections")))
}

/// A socket is an open file of the machine even where no process has a descriptor for it.
pub(super) fn open_files(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let files = limits.files?;
    let needed = files.taken.saturating_add(demand.sockets());
    if !is_tight(needed, files.max) {
        return None;
    }
    let enough = enough_for(needed);
    let what = format!(
        "fs.file-max is {}, and {} sockets besides {} open files need {}",
        count(files.max),
        count(demand.sockets()),
        count(files.taken),
        count(enough),
    );
    Some(Finding::stops(what, format!("sysctl -w fs.file-max={}", rounded_up(enough, 100_000))))
}

/// Established connections are no descriptors, but pending ones are, and so is each ring. A ring's
/// table holds no more connections than the limit, so that a low one makes for more rings.
pub(super) fn descriptors(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let needed = descriptors_needed(demand, limits.nofile);
    if !is_tight(needed, limits.nofile) {
        return None;
    }
    // With a higher limit there are fewer rings, so this is enough, though not the least.
    let enough = enough_for(needed);
    let what = format!(
        "the hard limit of open files is {}, and {} connections on {} threads need {}",
        count(limits.nofile),
        count(demand.connections),
        demand.threads,
        count(enough),
    );
    Some(Finding::stops(what, format!("ulimit -n {}", rounded_up(enough, 1024))))
}

fn descriptors_needed(demand: &Demand, nofile: u64) -> u64 {
    let threads = u64::from(demand.threads.max(1));
    let slots = u32::try_from(demand.connections.div_ceil(threads)).unwrap_or(u32::MAX);
    let rings = u64::from(Setup::new(slots, nofile).rings());
    threads * (FILES_PER_THREAD + rings) + CONNECTS_PENDING_MAX + FILES_BESIDES
}

/// A publication to everybody holds a page for each connection until it was read. Above the limit
/// the kernel drops, and the run measures that; idle connections hold nothing.
pub(super) fn tcp_buffers(demand: &Demand, limits: &Limits) -> Option<Finding> {
    let pages = limits.tcp_pages?;
    let needed = pages.taken.saturating_add(demand.connections);
    if !is_tight(needed, pages.max) {
        return None;
    }
    let enough = enough_for(needed);
    let what = format!(
        "net.ipv4.tcp_mem ends at {} pages, and one publication to {} connections may take {}",
        count(pages.max),
        count(demand.connections),
        count(enough),
    );
    let high = rounded_up(enough, 100_000);
    let (low, pressure) = (high / 2, high / 4 * 3);
    let fix = format!("sysctl -w net.ipv4.tcp_mem=\"{low} {pressure} {high}\"");
    Some(Finding::advice(what, fix))
}

/// Kernel memory of an idle connection on loopback, measured.
const KERNEL_BYTES_BOTH_ENDS: u64 = 8_400;
/// The same of one end.
const KERNEL_BYTES_ONE_END: u64 = 4_300;
/// What the load tester keeps for a connection.
const CLIENT_BYTES: u64 = 100;

/// What a thread has open besides its rings: eventfds, timers, a connection's way from socket to
/// table.
const FILES_PER_THREAD: u64 = 50;
/// Connects that are under way at one time.
const CONNECTS_PENDING_MAX: u64 = 512;
/// Publishers, the report's files, and what the process was started with.
const FILES_BESIDES: u64 = 64;
