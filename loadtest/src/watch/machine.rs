//! What machine a run was on, for its report, and how much of it was left over.

use std::{env, fs, io};

use serde::Serialize;

use super::files::Proc;

/// The machine that this runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Processors that are on, whether or not this process may use them.
    pub cpus: u32,
    /// What the first of them calls itself, or its architecture if it does not.
    pub cpu_model: String,
    /// Memory in all, in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// Looks.
    pub fn read() -> io::Result<Machine> {
        let unreadable = || io::Error::other("/proc does not tell what machine this is");
        read(&Proc::of_this_machine()).ok_or_else(unreadable)
    }
}

fn read(proc: &Proc) -> Option<Machine> {
    let model = proc.field("cpuinfo", "model name");
    let stat = proc.text("stat")?;
    let is_processor = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    Some(Machine {
        cpus: stat.lines().filter(is_processor).count() as u32,
        cpu_model: model.unwrap_or_else(|| env::consts::ARCH.to_owned()),
        memory_bytes: proc.memory("MemTotal")?,
        kernel: proc.text("sys/kernel/osrelease")?,
    })
}

/// How much of all processors' time goes unused.
///
/// What a hypervisor gave to others counts as used: it was not there to be had. Waiting for a disk
/// or a ring counts as idle; a kernel shows processors whose threads sleep in io_uring like that.
#[derive(Clone, Debug)]
pub struct IdleShare {
    last: Ticks,
    share: f64,
}

impl IdleShare {
    /// Begins to look.
    pub fn start() -> io::Result<IdleShare> {
        let last = Ticks::now()?;
        Ok(IdleShare { last, share: last.idle_share_since(Ticks::default()).unwrap_or(1.0) })
    }

    /// The share since the last call, from 0 to 1. Calls within one tick of the kernel (up to 10 ms)
    /// repeat the answer.
    pub fn since_last(&mut self) -> io::Result<f64> {
        let now = Ticks::now()?;
        if let Some(share) = now.idle_share_since(self.last) {
            *self = IdleShare { last: now, share };
        }
        Ok(self.share)
    }
}

/// Time of all processors since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    fn now() -> io::Result<Ticks> {
        let stat = fs::read_to_string("/proc/stat")?;
        Ticks::parse(&stat).ok_or_else(|| io::Error::other("/proc/stat is in no known form"))
    }

    /// Reads `cpu user nice system idle iowait irq softirq steal guest guest_nice`; what guests used
    /// is in `user` and `nice` already.
    fn parse(stat: &str) -> Option<Ticks> {
        let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> =
            numbers.take(8).map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [_, _, _, idle, iowait, ..] = ticks[..] else { return None };
        Some(Ticks { all: ticks.iter().sum(), idle: idle + iowait })
    }

    /// `None` if no tick has passed. The kernel may take ticks of `iowait` back.
    fn idle_share_since(self, before: Ticks) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|&all| all > 0)?;
        let idle = self.idle.saturating_sub(before.idle);
        Some((idle as f64 / all as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The report names what the files say.
    #[test]
    fn a_machine_is_what_its_files_say() {
        let files = [
            ("stat", "cpu  1 2 3 4\ncpu0 1 1 1 2\ncpu1 0 1 2 2\nctxt 5\n"),
            ("meminfo", "MemTotal:   1000 kB\n"),
            ("sys/kernel/osrelease", "6.18.44\n"),
        ];
        let mut expected = Machine {
            cpus: 2,
            cpu_model: env::consts::ARCH.to_owned(),
            memory_bytes: 1_024_000,
            kernel: "6.18.44".to_owned(),
        };
        let silent = Proc::fake("machine-silent", &files);
        assert_eq!(read(&silent.0), Some(expected.clone()));

        let model = ("cpuinfo", "processor\t: 0\nmodel name\t: Quick 9\nmodel name\t: Other\n");
        let named = Proc::fake("machine-named", &[&files[..], &[model]].concat());
        expected.cpu_model = "Quick 9".to_owned();
        assert_eq!(read(&named.0), Some(expected));
        assert!(Machine::read().unwrap().cpus > 0);
    }

    /// Idle is what nobody used, waiting included; no tick, no answer; guests count once.
    #[test]
    fn the_idle_share_is_exact() {
        let before = Ticks::parse("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 9\n").unwrap();
        assert_eq!(before, Ticks { all: 1000, idle: 800 });
        let after = Ticks::parse("cpu  140 0 110 720 110 5 5 10 90 0").unwrap();
        assert_eq!(after.idle_share_since(before), Some(0.3));
        assert_eq!(after.idle_share_since(after), None);
        let taken_back = Ticks { all: 1200, idle: 790 };
        assert_eq!(taken_back.idle_share_since(before), Some(0.0));
        assert_eq!(Ticks::parse("intr 7"), None);
    }

    /// Asking this machine gives shares, however soon one asks again.
    #[test]
    fn a_share_is_a_share() {
        let mut idle = IdleShare::start().unwrap();
        for _ in 0..100 {
            let share = idle.since_last().unwrap();
            assert!((0.0..=1.0).contains(&share), "{share}");
        }
    }
}
