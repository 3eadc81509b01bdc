//! What a process and its descendants use, and whether one of their threads is saturated.
//!
//! Descendants are looked for anew each time, so that workers which a server starts or replaces
//! while it runs count. Once found, one stays in the family even if the parent in between ends.
//! Processor time never falls: that of an ended process stays as it was last seen.

use std::{
    collections::{HashMap, HashSet},
    fs, io, mem, process,
    time::{Duration, Instant},
};

use rustix::param::{clock_ticks_per_second, page_size};

use super::table::{Life, Row, numbered};

/// A process, with or without its descendants.
#[derive(Debug)]
pub struct Processes {
    root: Life,
    kin: Kin,
    /// The ticks of each as last seen. The root is always among them.
    members: HashMap<Life, u64>,
    /// The ticks of those that have ended.
    ended_ticks: u64,
    /// How long each thread had been active when last seen.
    threads: HashMap<ThreadKey, Duration>,
    sampled_at: Instant,
}

/// What they use at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Processor time since they started, in the kernel and outside.
    pub cpu: Duration,
    /// Resident bytes. What several processes share counts for each.
    pub resident: u64,
    /// Threads of all of them.
    pub threads: u32,
    /// The largest share of the time since the last call (the first: since `of` or `own`) that one
    /// thread was running or waiting for a processor, from 0 to 1. From [`SATURATED`] on the
    /// thread had no time to spare. A thread counts from its second call on. Too short a time
    /// says little: let a tenth of a second pass.
    pub busiest: f64,
}

/// The `busiest` from which on a thread is saturated.
pub const SATURATED: f64 = 0.9;

/// Who counts besides the process itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kin {
    Descendants,
    Nobody,
}

/// A process's id and a thread's.
type ThreadKey = (u32, u32);

impl Processes {
    /// A process and all its descendants. Fails if there is none with this id.
    pub fn of(pid: u32) -> io::Result<Processes> {
        Processes::begin(pid, Kin::Descendants)
    }

    /// The calling process alone: a server that it started is not what it uses itself.
    pub fn own() -> io::Result<Processes> {
        Processes::begin(process::id(), Kin::Nobody)
    }

    fn begin(pid: u32, kin: Kin) -> io::Result<Processes> {
        let root = Row::of(pid).map_err(|error| explain(error, pid))?;
        let mut processes = Processes {
            root: root.life,
            kin,
            members: HashMap::from([(root.life, root.ticks)]),
            ended_ticks: 0,
            threads: HashMap::new(),
            sampled_at: Instant::now(),
        };
        processes.usage()?;
        Ok(processes)
    }

    /// What they use now. Fails once the process itself is gone, though descendants may live on.
    pub fn usage(&mut self) -> io::Result<Usage> {
        let living = self.living()?;
        self.count_ticks(&living);
        let ticks = self.ended_ticks + self.members.values().sum::<u64>();
        Ok(Usage {
            cpu: duration_of(ticks),
            resident: living.iter().map(|row| resident(row.life.pid)).sum(),
            threads: living.iter().map(|row| row.threads).sum(),
            busiest: self.busiest(&living),
        })
    }

    fn living(&self) -> io::Result<Vec<Row>> {
        let pid = self.root.pid;
        let root = Row::of(pid).map_err(|error| explain(error, pid))?;
        if root.life != self.root || root.is_ended {
            return Err(gone(pid));
        }
        if self.kin == Kin::Nobody {
            return Ok(vec![root]);
        }
        let mut others = Row::all()?;
        others.retain(|row| !row.is_ended && row.life != root.life);
        Ok(family(root, others, &self.members))
    }

    fn count_ticks(&mut self, living: &[Row]) {
        let now = living.iter().map(|row| (row.life, row.ticks)).collect();
        let before = mem::replace(&mut self.members, now);
        let ended = before.iter().filter(|(life, _)| !self.members.contains_key(life));
        self.ended_ticks += ended.map(|(_, ticks)| ticks).sum::<u64>();
    }

    fn busiest(&mut self, living: &[Row]) -> f64 {
        let now = Instant::now();
        let wall = (now - self.sampled_at).as_secs_f64().max(f64::MIN_POSITIVE);
        let threads = living.iter().flat_map(|row| active_threads(row.life.pid));
        let threads: HashMap<ThreadKey, Duration> = threads.collect();
        let share = |(thread, active): (&ThreadKey, &Duration)| {
            let before = self.threads.get(thread)?;
            Some(active.saturating_sub(*before).as_secs_f64() / wall)
        };
        let busiest = threads.iter().filter_map(share).fold(0.0, f64::max).min(1.0);
        (self.threads, self.sampled_at) = (threads, now);
        busiest
    }
}

/// Those of the others that were known before, with their children, and theirs.
fn family(root: Row, mut others: Vec<Row>, known: &HashMap<Life, u64>) -> Vec<Row> {
    let mut family = vec![root];
    family.extend(others.extract_if(.., |row| known.contains_key(&row.life)));
    let mut pids: HashSet<u32> = family.iter().map(|row| row.life.pid).collect();
    loop {
        let children: Vec<Row> = others.extract_if(.., |row| pids.contains(&row.parent)).collect();
        if children.is_empty() {
            return family;
        }
        pids.extend(children.iter().map(|row| row.life.pid));
        family.extend(children);
    }
}

/// How long each thread of a process has been running or waiting for a processor.
fn active_threads(pid: u32) -> Vec<(ThreadKey, Duration)> {
    let threads = numbered(&format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten();
    threads.filter_map(|thread| Some(((pid, thread), active(pid, thread)?))).collect()
}

/// A kernel without scheduler statistics still tells how long a thread ran, in ticks.
fn active(pid: u32, thread: u32) -> Option<Duration> {
    let file = |name| fs::read_to_string(format!("/proc/{pid}/task/{thread}/{name}")).ok();
    let scheduled = || active_by_schedstat(&file("schedstat")?);
    let ran = || Some(duration_of(Row::parse(thread, &file("stat")?)?.ticks));
    scheduled().or_else(ran)
}

/// Reads nanoseconds of running and of waiting to run. All zero: the kernel does not count.
fn active_by_schedstat(text: &str) -> Option<Duration> {
    let mut numbers = text.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let active = numbers.next()?.checked_add(numbers.next()?)?;
    (active > 0).then(|| Duration::from_nanos(active))
}

/// Nothing, if it has ended meanwhile.
fn resident(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    pages.unwrap_or(0) * page_size() as u64
}

fn duration_of(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / clock_ticks_per_second() as u32
}

/// The kernel says that there is no such file, or no such process while one reads.
fn explain(error: io::Error, pid: u32) -> io::Error {
    let is_gone = error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
    if is_gone { gone(pid) } else { error }
}

fn gone(pid: u32) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is gone"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::watch::Spawned;

    fn row(pid: u32, started: u64, parent: u32) -> Row {
        let life = Life { pid, started };
        Row { life, parent, group: 1, threads: 1, ticks: 0, is_ended: false }
    }

    fn pids(family: Vec<Row>) -> Vec<u32> {
        let mut pids: Vec<u32> = family.iter().map(|row| row.life.pid).collect();
        pids.sort_unstable();
        pids
    }

    /// Asks until the answer is as wished, and says how it was the last time.
    fn usage_until(processes: &mut Processes, wish: impl Fn(&Usage) -> bool) -> Usage {
        let start = Instant::now();
        loop {
            thread::sleep(Duration::from_millis(100));
            let usage = processes.usage().unwrap();
            if wish(&usage) || start.elapsed() > Duration::from_secs(60) {
                return usage;
            }
        }
    }

    /// Children of children belong to it, whatever their order in the table; nobody else does.
    #[test]
    fn a_family_is_all_descendants() {
        let others = [row(14, 4, 13), row(13, 3, 12), row(12, 2, 10), row(99, 9, 1), row(1, 0, 0)];
        assert_eq!(pids(family(row(10, 1, 1), others.to_vec(), &HashMap::new())), [10, 12, 13, 14]);
    }

    /// One whose parent has ended, and which has another parent now, still belongs to it, and its
    /// own children do. A stranger with the id of one that has ended does not.
    #[test]
    fn orphans_stay_and_strangers_do_not_come() {
        let known = [row(12, 2, 10), row(13, 3, 12)].map(|row| (row.life, 0)).into();
        let others = vec![row(12, 7, 1), row(13, 3, 1), row(14, 8, 13), row(15, 8, 12)];
        assert_eq!(pids(family(row(10, 1, 1), others, &known)), [10, 13, 14]);
    }

    /// Running and waiting for a processor are both activity; zeros say that nobody counts.
    #[test]
    fn waiting_for_a_processor_is_activity() {
        let nanos = |nanos| Some(Duration::from_nanos(nanos));
        assert_eq!(active_by_schedstat("503424623 201504 6\n"), nanos(503_626_127));
        assert_eq!(active_by_schedstat("0 47281 1\n"), nanos(47_281));
        assert_eq!(active_by_schedstat("0 0 0\n"), None);
        assert_eq!(active_by_schedstat("5"), None);
    }

    /// A thread that always wants to run is saturated; its time and memory are seen.
    #[test]
    fn a_busy_loop_is_saturated() {
        let server = Spawned::start("sh -c 'while :; do :; done'").unwrap();
        let mut processes = Processes::of(server.pid()).unwrap();
        let wish = |usage: &Usage| usage.busiest >= SATURATED && usage.cpu > Duration::ZERO;
        let usage = usage_until(&mut processes, wish);
        assert!(wish(&usage) && usage.resident > 0, "{usage:?}");
        assert_eq!(usage.threads, 1);
    }

    /// One that sleeps is not, and uses next to nothing.
    #[test]
    fn a_sleeper_is_not_saturated() {
        let server = Spawned::start("sleep 600").unwrap();
        let mut processes = Processes::of(server.pid()).unwrap();
        let usage = usage_until(&mut processes, |usage| usage.busiest < SATURATED);
        assert!(usage.busiest < SATURATED && usage.cpu < Duration::from_secs(1), "{usage:?}");
    }

    /// Workers count while they live, and their processor time does after that.
    #[test]
    fn a_worker_that_ends_takes_no_time_with_it() {
        let command = "sh -c 'sh -c \"while :; do :; done\" & wait; exec sleep 600'";
        let server = Spawned::start(command).unwrap();
        let mut processes = Processes::of(server.pid()).unwrap();
        let root = processes.root.pid;
        let tenth = Duration::from_millis(100);
        let busy = usage_until(&mut processes, |usage| usage.threads == 2 && usage.cpu > tenth);
        assert!(busy.threads == 2 && busy.cpu > tenth, "{busy:?}");

        let worker = processes.members.keys().find(|life| life.pid != root).unwrap().pid;
        kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::KILL).unwrap();
        let after = usage_until(&mut processes, |usage| usage.threads == 1);
        assert_eq!(after.threads, 1);
        assert!(after.cpu >= busy.cpu, "{after:?} after {busy:?}");
    }

    /// A process that has ended is said to be gone, and so is one that never was.
    #[test]
    fn an_ended_process_is_gone() {
        let server = Spawned::start("sleep 600").unwrap();
        let mut processes = Processes::of(server.pid()).unwrap();
        let pid = Pid::from_raw(server.pid() as i32).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        let start = Instant::now();
        while server.ended().is_none() && start.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(1));
        }
        let expected = format!("process {} is gone", server.pid());
        assert_eq!(processes.usage().unwrap_err().to_string(), expected);

        let error = Processes::of(u32::MAX >> 1).unwrap_err();
        assert_eq!(error.to_string(), format!("process {} is gone", u32::MAX >> 1));
    }

    /// What this process started is not counted as its own.
    #[test]
    fn own_is_without_descendants() {
        let _server = Spawned::start("sleep 600").unwrap();
        let mut own = Processes::own().unwrap();
        let usage = own.usage().unwrap();
        assert_eq!(own.members.len(), 1);
        assert!(usage.threads >= 1 && usage.resident > 0, "{usage:?}");
    }
}
