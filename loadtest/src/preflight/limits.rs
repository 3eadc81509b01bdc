//! One snapshot of what this machine allows.

use std::io;

use rustix::process::{Resource, getrlimit};

use crate::watch::files::Proc;

/// What the machine allows. A limit that the kernel lacks or hides is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// fs.file-max: open files of the whole machine. A connection is one at each end even where
    /// no process has a descriptor for it.
    pub files: Option<Taken>,
    /// The hard RLIMIT_NOFILE, to which a load tester raises its own; `u64::MAX` is unlimited.
    pub nofile: u64,
    /// Bytes that can be had without swapping.
    pub memory_available: Option<u64>,
    /// The last of net.ipv4.tcp_mem: pages of TCP's buffers.
    pub tcp_pages: Option<Taken>,
    /// How many ports net.ipv4.ip_local_port_range has.
    pub ports: Option<u64>,
    /// net.core.somaxconn.
    pub somaxconn: Option<u64>,
    /// Buckets of the hash of established connections.
    pub hash_buckets: Option<u64>,
    /// Connection tracking, if the kernel has it loaded.
    pub conntrack: Option<Taken>,
}

/// A limit that others use too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What is in use before the run.
    pub taken: u64,
    /// The limit.
    pub max: u64,
}

impl Limits {
    /// Reads those of this machine. Fails where there is no `/proc` to read.
    pub fn read() -> io::Result<Limits> {
        let proc = Proc::of_this_machine();
        if proc.text("meminfo").is_none() {
            return Err(io::Error::other("/proc cannot be read, and with it no limit"));
        }
        let nofile = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        Ok(Limits { nofile, ..Limits::read_from(&proc) })
    }

    pub(super) fn read_from(proc: &Proc) -> Limits {
        Limits {
            files: files(proc),
            nofile: u64::MAX,
            memory_available: proc.memory("MemAvailable"),
            tcp_pages: tcp_pages(proc),
            ports: ports(proc),
            somaxconn: proc.number("sys/net/core/somaxconn"),
            hash_buckets: hash_buckets(proc),
            conntrack: conntrack(proc),
        }
    }
}

fn files(proc: &Proc) -> Option<Taken> {
    let [taken, _, max] = proc.numbers("sys/fs/file-nr")?;
    Some(Taken { taken, max })
}

fn tcp_pages(proc: &Proc) -> Option<Taken> {
    let [_, _, max] = proc.numbers("sys/net/ipv4/tcp_mem")?;
    let taken = proc.sockets("net/sockstat", "TCP", "mem").unwrap_or(0);
    Some(Taken { taken, max })
}

fn ports(proc: &Proc) -> Option<u64> {
    let [low, high] = proc.numbers("sys/net/ipv4/ip_local_port_range")?;
    Some(high.checked_sub(low)? + 1)
}

/// Negative in a network namespace that shares the table of the first one.
fn hash_buckets(proc: &Proc) -> Option<u64> {
    proc.number("sys/net/ipv4/tcp_ehash_entries").map(i64::unsigned_abs)
}

fn conntrack(proc: &Proc) -> Option<Taken> {
    let max = proc.number("sys/net/netfilter/nf_conntrack_max")?;
    let taken = proc.number("sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
    Some(Taken { taken, max })
}
