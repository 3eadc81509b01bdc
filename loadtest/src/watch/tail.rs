//! The last lines that a process wrote, kept while it runs.
//!
//! A thread reads all along, so that a process never waits for us to listen. It ends when nobody
//! can write any more.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, PipeReader, Read, Write},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Lines that are kept.
pub(super) const LINES_MAX: usize = 200;
/// Longer lines are cut into several, so that what is kept is bounded.
const LINE_BYTES_MAX: u64 = 4096;

/// What a process says.
pub(super) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    /// Keeps the last lines that come, and writes all of them to `log`, if there is one. A log that
    /// cannot be written stops nothing.
    pub(super) fn follow(pipe: PipeReader, log: Option<File>) -> Tail {
        let lines = Arc::default();
        let kept = Arc::clone(&lines);
        Tail { lines, reader: thread::spawn(move || keep(pipe, log, &kept)) }
    }

    /// The last lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no holder panics").iter().cloned().collect()
    }

    /// Waits until all was read that was written, if nobody can write any more.
    pub(super) fn finish(&self, patience: Duration) {
        let start = Instant::now();
        while !self.reader.is_finished() && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn keep(pipe: PipeReader, mut log: Option<File>, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        if let Some(log) = &mut log {
            let _ = log.write_all(&line);
        }
        let mut kept = kept.lock().expect("no holder panics");
        if kept.len() == LINES_MAX {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;

    use super::*;

    /// The last 200 lines are kept and no more, however many come.
    #[test]
    fn the_last_lines_are_kept() {
        let (reader, mut writer) = pipe().unwrap();
        let tail = Tail::follow(reader, None);
        for line in 0..1000 {
            writeln!(writer, "line {line}").unwrap();
        }
        write!(writer, "no end").unwrap();
        drop(writer);
        tail.finish(Duration::from_secs(60));
        let mut expected: Vec<String> = (801..1000).map(|line| format!("line {line}")).collect();
        expected.push("no end".to_owned());
        assert_eq!(tail.lines(), expected);
    }

    /// A line without an end is cut, and not one byte of it is lost but what is not text.
    #[test]
    fn an_endless_line_is_cut() {
        let (reader, mut writer) = pipe().unwrap();
        let tail = Tail::follow(reader, None);
        writer.write_all(&[b'x'; 5000]).unwrap();
        writer.write_all(b"\xff\n").unwrap();
        drop(writer);
        tail.finish(Duration::from_secs(60));
        assert_eq!(tail.lines(), ["x".repeat(4096), "x".repeat(904) + "\u{fffd}"]);
    }
}
