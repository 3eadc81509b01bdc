//! Start-up: is io_uring to be had here, and does it do what the design rests on?
//!
//! Reading the machine ([`Machine::read`]) and judging it ([`Problem::of`]) are apart, so that
//! every verdict is tested without the machine that deserves it. A problem says what is wrong and
//! what to type.
#![forbid(unsafe_code)]

use std::{fmt, fs, io, sync::Arc};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::io::{
    bell::EventBell,
    uring::{self, Features, OpenError, Setup, Uring},
};

pub mod room;
mod self_test;

/// What was found to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The machine.
    pub machine: Machine,
    /// What each shard will use.
    pub features: Features,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring: OK, kernel {}, {} per shard", self.machine.release, self.features)
    }
}

/// What decides whether io_uring can be used, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release, like `6.18.44`.
    pub release: String,
    /// `kernel.io_uring_disabled`, where the kernel has it (6.6 and later).
    pub disabled: Option<u32>,
    /// The process's seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
    /// The soft `RLIMIT_NOFILE`.
    pub nofile: u64,
    /// The soft `RLIMIT_MEMLOCK` in bytes; `None` where there is no limit.
    pub memlock: Option<u64>,
}

impl Machine {
    /// Reads this machine. What cannot be read counts as unknown.
    pub fn read() -> Machine {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Machine {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            disabled: number("/proc/sys/kernel/io_uring_disabled"),
            seccomp: seccomp.and_then(|mode| mode.trim().parse().ok()),
            nofile: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            memlock: getrlimit(Resource::Memlock).current,
        }
    }
}

/// Why io_uring cannot be used, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The administrator has switched it off.
    #[error(
        "io_uring is switched off by kernel.io_uring_disabled={value}{}. Type: sysctl -w \
         kernel.io_uring_disabled=0, or start with --io epoll.",
        if *value == 1 { ", for all but io_uring_group and CAP_SYS_ADMIN" } else { "" }
    )]
    Disabled {
        /// The setting: 1 or 2.
        value: u32,
    },
    /// A seccomp filter refuses the system calls, as containers' default profiles do.
    #[error(
        "io_uring is blocked by a seccomp filter ({errno}), as the default profiles of container \
         runtimes do. Allow io_uring_setup, io_uring_enter and io_uring_register (docker: \
         --security-opt seccomp=FILE; Kubernetes: a Localhost profile), or start with --io epoll."
    )]
    Filtered {
        /// What the filter answers.
        errno: String,
    },
    /// Something else refuses it: a security module, or a subsystem that imitates Linux.
    #[error(
        "io_uring is not permitted here, although neither kernel.io_uring_disabled nor seccomp \
         forbids it: look for a security module (dmesg | grep -i denied), or start with --io epoll."
    )]
    NotPermitted,
    /// The kernel was built without it.
    #[error(
        "this kernel ({release}) has no io_uring. Use one built with CONFIG_IO_URING=y, or start \
         with --io epoll."
    )]
    Missing {
        /// The kernel's release.
        release: String,
    },
    /// The kernel is older than the features that are needed.
    #[error(
        "kernel {release} is too old: io_uring is used from Linux 6.1 on. Start with --io epoll."
    )]
    TooOld {
        /// The kernel's release.
        release: String,
    },
    /// The limit of open files is too low.
    #[error(
        "a table of {slots} connections needs RLIMIT_NOFILE of at least as much, and it is \
         {nofile}. Type: ulimit -n {slots}, or set LimitNOFILE={slots} in the service."
    )]
    TooFewFiles {
        /// Places in the table.
        slots: u32,
        /// The limit.
        nofile: u64,
    },
    /// The process has as many files open as it may, and a ring is one more.
    #[error(
        "no open file is left for the rings, which take {rings} per shard: {nofile} are allowed \
         (RLIMIT_NOFILE). Type: ulimit -n {more}, or set LimitNOFILE={more} in the service, or \
         lower --max-connections or --shards.",
        more = nofile.saturating_mul(2)
    )]
    NoFileLeft {
        /// Rings of one shard.
        rings: u32,
        /// The limit.
        nofile: u64,
    },
    /// Locked memory does not suffice: Linux 6.14 and later count rings against it.
    #[error(
        "not enough memory for the rings: they take about {needed} kB per shard, and this kernel \
         may count that against RLIMIT_MEMLOCK ({limit}, shared by all processes of the user). \
         Set LimitMEMLOCK=infinity in the service, give it CAP_IPC_LOCK, or type: ulimit -l \
         unlimited.",
        limit = memlock.map_or("unlimited".into(), |bytes| format!("{} kB", bytes / 1024))
    )]
    TooLittleMemory {
        /// What the rings of one shard take, in units of 1024 bytes.
        needed: u64,
        /// The limit in bytes.
        memlock: Option<u64>,
    },
    /// The rings work but do not behave as the design needs.
    #[error(
        "io_uring does not behave as needed on kernel {release}: {finding}. Please report this, \
         and start with --io epoll."
    )]
    Misbehaves {
        /// The kernel's release.
        release: String,
        /// What was seen.
        finding: String,
    },
    /// Anything else.
    #[error("{step}, for a reason that is not known here. Start with --io epoll.")]
    Other {
        /// What failed, and the kernel's answer.
        step: String,
    },
}

impl Problem {
    /// What is wrong with a machine on which opening the rings failed like this.
    pub fn of(error: &OpenError, machine: &Machine, setup: &Setup) -> Problem {
        let (OpenError::Ring(cause)
        | OpenError::Table { error: cause, .. }
        | OpenError::Other(cause)) = error;
        let release = machine.release.clone();
        match cause.raw_os_error() {
            Some(errno @ (libc::EPERM | libc::EACCES | libc::ENOSYS)) => match machine {
                Machine { disabled: Some(value @ 1..), .. } => Problem::Disabled { value: *value },
                Machine { seccomp: Some(1..), .. } => {
                    let names = [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")];
                    let name = names.iter().find(|(number, _)| *number == errno);
                    Problem::Filtered { errno: name.map_or("EACCES", |(_, name)| name).into() }
                }
                _ if errno == libc::ENOSYS => Problem::Missing { release },
                _ => Problem::NotPermitted,
            },
            Some(libc::EINVAL) if matches!(error, OpenError::Ring(_)) => {
                Problem::TooOld { release }
            }
            Some(libc::EMFILE) => match error {
                OpenError::Table { slots, .. } => {
                    Problem::TooFewFiles { slots: *slots, nofile: machine.nofile }
                }
                _ => Problem::NoFileLeft { rings: setup.rings(), nofile: machine.nofile },
            },
            Some(libc::ENOMEM) => Problem::TooLittleMemory {
                needed: ring_bytes(setup).div_ceil(1024),
                memlock: machine.memlock,
            },
            _ => Problem::Other { step: error.to_string() },
        }
    }
}

/// Opens the rings of all shards as they will be, with their tables, on the calling thread, proves
/// on a loopback connection that they behave, and closes them again. All at once, because they
/// share limits such as that of locked memory.
pub fn probe(setup: &Setup, shards: u16) -> Result<Probe, Problem> {
    let machine = Machine::read();
    if !is_new_enough(&machine.release) {
        return Err(Problem::TooOld { release: machine.release });
    }
    let open = |_| Uring::open(setup, Vec::new(), Arc::new(EventBell::new()?));
    let opened = (0..shards.max(1)).map(open).collect::<Result<Vec<_>, OpenError>>();
    let mut urings = opened.map_err(|error| Problem::of(&error, &machine, setup))?;
    let features = urings[0].features();
    match self_test::run(&mut urings[0]) {
        Ok(()) => Ok(Probe { machine, features }),
        Err(finding) => Err(Problem::Misbehaves { release: machine.release, finding }),
    }
}

/// The limit of open files, raised as far as it goes.
pub fn nofile() -> u64 {
    raise_nofile().unwrap_or_else(|_| Machine::read().nofile)
}

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_nofile() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Linux 6.1 or later, as far as the release tells.
fn is_new_enough(release: &str) -> bool {
    uring::version(release) >= (6, 1)
}

/// Memory of a shard's rings: 64 bytes per submission, 16 per completion, and some pages.
fn ring_bytes(setup: &Setup) -> u64 {
    let queues =
        64 * u64::from(setup.submission_entries) + 16 * u64::from(setup.completion_entries);
    u64::from(setup.rings()) * (queues + 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            release: "6.18.44".into(),
            disabled: Some(0),
            seccomp: Some(0),
            nofile: 1024,
            memlock: Some(8 << 20),
        }
    }

    fn verdict(errno: i32, machine: &Machine) -> Problem {
        let error = OpenError::Ring(io::Error::from_raw_os_error(errno));
        Problem::of(&error, machine, &Setup::new(5000, 20_000))
    }

    /// Each answer of the kernel on each machine has its verdict.
    #[test]
    fn each_failure_has_its_reason() {
        let plain = machine();
        let filtered = Machine { seccomp: Some(2), ..machine() };
        let disabled = Machine { disabled: Some(2), seccomp: Some(2), ..machine() };
        let old = Machine { release: "5.10.0".into(), disabled: None, ..machine() };
        let release = |machine: &Machine| machine.release.clone();
        let eperm = Problem::Filtered { errno: "EPERM".into() };
        let enosys = Problem::Filtered { errno: "ENOSYS".into() };
        assert_eq!(verdict(libc::EPERM, &disabled), Problem::Disabled { value: 2 });
        assert_eq!(verdict(libc::EPERM, &filtered), eperm);
        assert_eq!(verdict(libc::ENOSYS, &filtered), enosys);
        assert_eq!(verdict(libc::EPERM, &plain), Problem::NotPermitted);
        assert_eq!(verdict(libc::ENOSYS, &plain), Problem::Missing { release: release(&plain) });
        assert_eq!(verdict(libc::EINVAL, &old), Problem::TooOld { release: release(&old) });
        let files = Problem::NoFileLeft { rings: 1, nofile: 1024 };
        assert_eq!(verdict(libc::EMFILE, &plain), files);
        let memory = Problem::TooLittleMemory { needed: 148, memlock: Some(8 << 20) };
        assert_eq!(verdict(libc::ENOMEM, &plain), memory);
        assert!(matches!(verdict(libc::EIO, &plain), Problem::Other { .. }));
    }

    /// A table that the limit of files forbids is told apart from a ring that is too new.
    #[test]
    fn a_refused_table_is_not_an_old_kernel() {
        let refused = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            let error = OpenError::Table { slots: 5000, error };
            Problem::of(&error, &machine(), &Setup::new(5000, 20_000))
        };
        assert_eq!(refused(libc::EMFILE), Problem::TooFewFiles { slots: 5000, nofile: 1024 });
        assert!(matches!(refused(libc::EINVAL), Problem::Other { .. }));
    }

    /// Every text names the cause and something to type or to do.
    #[test]
    fn each_problem_says_what_to_type() {
        let says = |problem: Problem, words: &[&str]| {
            let text = problem.to_string();
            words
                .iter()
                .for_each(|word| assert!(text.contains(word), "{word:?} is not in {text:?}"));
        };
        let release = || "5.4.0".to_string();
        says(Problem::Disabled { value: 1 }, &["io_uring_disabled=1, for", "sysctl -w"]);
        says(Problem::Disabled { value: 2 }, &["io_uring_disabled=2. Type", "--io epoll"]);
        says(Problem::Filtered { errno: "EPERM".into() }, &["EPERM", "seccomp=FILE", "Localhost"]);
        says(Problem::NotPermitted, &["security module", "--io epoll"]);
        says(Problem::Missing { release: release() }, &["5.4.0", "CONFIG_IO_URING"]);
        says(Problem::TooOld { release: release() }, &["5.4.0", "6.1", "--io epoll"]);
        says(Problem::TooFewFiles { slots: 9, nofile: 8 }, &["ulimit -n 9", "LimitNOFILE=9"]);
        let no_file = Problem::NoFileLeft { rings: 3, nofile: 512 };
        says(no_file, &["3 per shard", "ulimit -n 1024", "LimitNOFILE=1024"]);
        let memory = |memlock| Problem::TooLittleMemory { needed: 148, memlock };
        says(memory(Some(65536)), &["148 kB", "(64 kB,", "LimitMEMLOCK", "CAP_IPC_LOCK"]);
        says(memory(None), &["(unlimited,"]);
    }

    /// This machine passes the probe, and the banner says with what.
    #[test]
    fn the_probe_passes_here() {
        let probe = probe(&Setup::new(100, 20_000), 2).expect("io_uring is needed for this test");
        let text = probe.to_string();
        assert!(text.contains("1 ring 256/8192 DEFER_TASKRUN"), "{text}");
        assert!(text.contains("100 slots"), "{text}");
    }

    /// Raising the limit of files ends at the hard limit, and doing it again changes nothing.
    #[test]
    fn the_limit_of_files_is_raised() {
        let raised = raise_nofile().unwrap();
        assert_eq!(raise_nofile().unwrap(), raised);
        assert_eq!(Machine::read().nofile, raised);
    }

    /// Releases are compared as numbers.
    #[test]
    fn releases_are_compared_as_numbers() {
        for (release, new_enough) in [
            ("6.1.0-13-amd64", true),
            ("6.18.44-fc-v669", true),
            ("10.0", true),
            ("5.19.17", false),
            ("6.0", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(release), new_enough, "{release:?}");
        }
    }
}
