//! Rows of the kernel's table of processes.
//!
//! A process is its id together with when it started, because ids are used again.

use std::{fs, io};

/// One process, told from any later one with its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Life {
    /// Its id.
    pub(super) pid: u32,
    /// When it started, in ticks since the machine did.
    pub(super) started: u64,
}

/// What the table says of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) life: Life,
    pub(super) parent: u32,
    /// Its process group.
    pub(super) group: u32,
    pub(super) threads: u32,
    /// Processor time of all its threads, ended ones too, without that of its children.
    pub(super) ticks: u64,
    /// Only its exit status is left.
    pub(super) is_ended: bool,
}

impl Row {
    /// Looks one process up.
    pub(super) fn of(pid: u32) -> io::Result<Row> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let unknown = || io::Error::other(format!("/proc/{pid}/stat is in no known form"));
        Row::parse(pid, &stat).ok_or_else(unknown)
    }

    /// Every process that can be seen. One that ends meanwhile may be missing.
    pub(super) fn all() -> io::Result<Vec<Row>> {
        let pids = numbered("/proc")?;
        Ok(pids.filter_map(|pid| Row::of(pid).ok()).collect())
    }

    /// Also reads what a single thread's `stat` says.
    pub(super) fn parse(pid: u32, stat: &str) -> Option<Row> {
        // The name, in brackets, may hold spaces and brackets.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let threads = number(THREADS)? as u32;
        Some(Row {
            life: Life { pid, started: number(STARTED)? },
            parent: number(PARENT)? as u32,
            group: number(GROUP)? as u32,
            threads,
            ticks: number(USER_TICKS)? + number(SYSTEM_TICKS)?,
            // The first thread to start may end before the others do.
            is_ended: matches!(fields[0], "Z" | "X") && threads <= 1,
        })
    }
}

/// The entries of a directory whose names are numbers.
pub(super) fn numbered(directory: &str) -> io::Result<impl Iterator<Item = u32> + use<>> {
    let entries = fs::read_dir(directory)?.filter_map(Result::ok);
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Where the fields are, counted from the one behind the name.
const PARENT: usize = 1;
const GROUP: usize = 2;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const STARTED: usize = 19;

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    fn row(state: &str, threads: u32) -> Row {
        let stat = format!(
            "7 (a) b (c) {state} 3 5 7 0 -1 4194560 9 9 9 9 40 2 88 99 20 0 {threads} 0 12345 1 1"
        );
        Row::parse(7, &stat).unwrap()
    }

    /// Every field is the one that the manual names, whatever the process calls itself.
    #[test]
    fn fields_are_where_the_manual_says() {
        let life = Life { pid: 7, started: 12_345 };
        let expected = Row { life, parent: 3, group: 5, threads: 4, ticks: 42, is_ended: false };
        assert_eq!(row("S", 4), expected);
        assert_eq!(Row::parse(7, "7 (short) S 3 5"), None);
    }

    /// A process has ended when its last thread has.
    #[test]
    fn a_zombie_has_no_threads_left() {
        assert!(row("Z", 1).is_ended && row("X", 0).is_ended);
        assert!(!row("Z", 3).is_ended && !row("D", 1).is_ended);
    }

    /// This process is in the table, as it is when looked up.
    #[test]
    fn the_table_lists_this_process() {
        let own = Row::of(process::id()).unwrap();
        assert!(own.threads >= 1 && !own.is_ended);
        assert!(Row::all().unwrap().iter().any(|row| row.life == own.life));
    }
}
