//! One snapshot of what a machine says of itself: `/proc`, resource limits, and one try at a ring.
//!
//! A file that is missing, unreadable or in an unknown form is `None`; containers hide many.
#![forbid(unsafe_code)]

use std::{fs, path::PathBuf, str::FromStr, thread};

use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
};

use crate::io::{
    probe::{self, Problem, probe},
    uring::Setup,
};

/// What the checks look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release, as it writes it.
    pub release: Option<String>,
    /// What came of trying io_uring.
    pub uring: Uring,
    /// Cores that this process may use.
    pub cores: u64,
    /// Bytes in a page.
    pub page: u64,
    /// RLIMIT_NOFILE, raised as far as it goes, as the server does at its start; `u64::MAX` is
    /// unlimited.
    pub nofile: u64,
    /// RLIMIT_MEMLOCK in bytes; `u64::MAX` is unlimited.
    pub memlock: u64,
    /// Whether CAP_IPC_LOCK is effective, which lifts RLIMIT_MEMLOCK.
    pub can_lock: Option<bool>,
    /// Bytes that can be had without swapping.
    pub memory_available: Option<u64>,
    /// Open files on the whole machine, now and at most.
    pub files: Option<(u64, u64)>,
    /// net.core.somaxconn.
    pub somaxconn: Option<u64>,
    /// net.ipv4.tcp_max_syn_backlog.
    pub syn_backlog: Option<u64>,
    /// net.ipv4.tcp_mem in pages: low, pressure, high.
    pub tcp_mem: Option<[u64; 3]>,
    /// net.ipv4.ip_local_port_range, both ends included.
    pub ports: Option<(u64, u64)>,
    /// Buckets of the established-connections hash of this network namespace.
    pub hash_buckets: Option<u64>,
    /// Connection tracking, if the kernel has it loaded.
    pub conntrack: Option<Conntrack>,
    /// net.ipv4.tcp_migrate_req.
    pub migrates: Option<bool>,
}

/// Connection tracking's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections in it now.
    pub count: u64,
    /// Connections that it may hold; packets of one more are dropped.
    pub max: u64,
}

/// What came of trying io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uring {
    /// Rings can be had, and behave.
    Usable {
        /// What they can do.
        found: String,
    },
    /// They cannot.
    Refused {
        /// Why, and what to type.
        problem: Problem,
    },
}

impl Uring {
    /// Whether rings can be had.
    pub fn is_usable(&self) -> bool {
        matches!(self, Uring::Usable { .. })
    }
}

impl Machine {
    /// Looks at the machine that this runs on.
    pub fn read() -> Self {
        let proc = Proc { root: "/proc".into() };
        let mut machine = Machine::read_from(&proc);
        machine.nofile = probe::nofile();
        machine.uring = try_uring(machine.nofile);
        machine
    }

    fn read_from(proc: &Proc) -> Self {
        let limit = |resource| getrlimit(resource).current.unwrap_or(u64::MAX);
        Machine {
            release: proc.text("sys/kernel/osrelease"),
            uring: Uring::Usable { found: String::new() },
            cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            page: page_size() as u64,
            nofile: limit(Resource::Nofile),
            memlock: limit(Resource::Memlock),
            can_lock: proc.can_lock(),
            memory_available: proc.memory_available(),
            files: proc.files(),
            somaxconn: proc.number("sys/net/core/somaxconn"),
            syn_backlog: proc.number("sys/net/ipv4/tcp_max_syn_backlog"),
            tcp_mem: proc.numbers("sys/net/ipv4/tcp_mem"),
            ports: proc.numbers("sys/net/ipv4/ip_local_port_range").map(|[low, high]| (low, high)),
            hash_buckets: proc.hash_buckets(),
            conntrack: proc.conntrack(),
            migrates: proc.number("sys/net/ipv4/tcp_migrate_req").map(|on: u64| on != 0),
        }
    }
}

/// The files under `/proc`.
struct Proc {
    root: PathBuf,
}

impl Proc {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The first `N` numbers of a file.
    fn numbers<const N: usize>(&self, path: &str) -> Option<[u64; N]> {
        let text = self.text(path)?;
        let numbers = text.split_whitespace().take(N).map(|word| word.parse().ok());
        numbers.collect::<Option<Vec<u64>>>()?.try_into().ok()
    }

    /// The value behind `key` in a file of `key: value` lines.
    fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    fn can_lock(&self) -> Option<bool> {
        let effective = self.field("self/status", "CapEff")?;
        Some(u64::from_str_radix(&effective, 16).ok()? & CAP_IPC_LOCK != 0)
    }

    fn memory_available(&self) -> Option<u64> {
        let kib = self.field("meminfo", "MemAvailable")?;
        kib.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    fn files(&self) -> Option<(u64, u64)> {
        let [open, _, max] = self.numbers("sys/fs/file-nr")?;
        Some((open, max))
    }

    /// Negative in a network namespace that shares the table of the first one.
    fn hash_buckets(&self) -> Option<u64> {
        self.number("sys/net/ipv4/tcp_ehash_entries").map(i64::unsigned_abs)
    }

    fn conntrack(&self) -> Option<Conntrack> {
        let max = self.number("sys/net/netfilter/nf_conntrack_max")?;
        let count = self.number("sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
        Some(Conntrack { count, max })
    }
}

/// Opens a small shard's rings and proves that they behave, as the server does at its start.
fn try_uring(nofile: u64) -> Uring {
    match probe(&Setup::new(PROBED_SLOTS, nofile), 1) {
        Ok(found) => Uring::Usable { found: found.features.to_string() },
        Err(problem) => Uring::Refused { problem },
    }
}

/// Enough to see whether tables can be had; how large they may be is for other checks.
const PROBED_SLOTS: u32 = 64;

/// Bit 14 of a set of capabilities.
const CAP_IPC_LOCK: u64 = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that hides all its files is read as one about which little is known.
    #[test]
    fn missing_files_are_unknown() {
        let machine = Machine::read_from(&Proc { root: "/nowhere".into() });
        let expected = Machine {
            release: None,
            can_lock: None,
            memory_available: None,
            files: None,
            somaxconn: None,
            syn_backlog: None,
            tcp_mem: None,
            ports: None,
            hash_buckets: None,
            conntrack: None,
            migrates: None,
            ..machine.clone()
        };
        assert_eq!(machine, expected);
        assert!(machine.cores > 0 && machine.page > 0 && machine.nofile > 0);
    }

    /// What stands in the files is what is read; a file in an unknown form is unknown.
    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let root = std::env::temp_dir().join(format!("stentor-doctor-{}", std::process::id()));
        for (path, text) in [
            ("sys/kernel/osrelease", "6.18.44\n"),
            ("self/status", "Name:\tx\nCapEff:\t0000000000004000\n"),
            ("meminfo", "MemTotal:       24684000 kB\nMemAvailable:   24377000 kB\n"),
            ("sys/fs/file-nr", "1312\t0\t2466170\n"),
            ("sys/net/core/somaxconn", "4096\n"),
            ("sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
            ("sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("sys/net/ipv4/tcp_ehash_entries", "-262144\n"),
            ("sys/net/ipv4/tcp_max_syn_backlog", "many\n"),
            ("sys/net/netfilter/nf_conntrack_max", "262144\n"),
            ("sys/net/netfilter/nf_conntrack_count", "7\n"),
            ("sys/net/ipv4/tcp_migrate_req", "1\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let proc = Proc { root: root.clone() };
        let machine = Machine::read_from(&proc);
        fs::remove_dir_all(root).unwrap();

        assert_eq!(machine.release.as_deref(), Some("6.18.44"));
        assert_eq!(machine.can_lock, Some(true));
        assert_eq!(machine.memory_available, Some(24_377_000 * 1024));
        assert_eq!(machine.files, Some((1312, 2_466_170)));
        assert_eq!((machine.somaxconn, machine.syn_backlog), (Some(4096), None));
        assert_eq!(machine.tcp_mem, Some([287_898, 383_867, 575_796]));
        assert_eq!(machine.ports, Some((32_768, 60_999)));
        assert_eq!(machine.hash_buckets, Some(262_144));
        assert_eq!(machine.conntrack, Some(Conntrack { count: 7, max: 262_144 }));
        assert_eq!(machine.migrates, Some(true));
    }
}
