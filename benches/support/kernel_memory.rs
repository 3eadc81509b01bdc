//! What the kernel holds for sockets, as far as it says. Counts the whole machine, so other work
//! moves it.

use std::{fs, io};

use rustix::param::page_size;

/// Bytes in use now.
#[derive(Clone, Copy, Debug)]
pub struct KernelMemory {
    /// Small objects of every kind.
    pub slab: u64,
    /// Data in TCP's buffers.
    pub buffers: u64,
}

impl KernelMemory {
    /// Reads both.
    pub fn now() -> io::Result<KernelMemory> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let sockstat = fs::read_to_string("/proc/net/sockstat")?;
        Ok(KernelMemory {
            slab: 1024 * number_after(&meminfo, "Slab:", ""),
            buffers: page_size() as u64 * number_after(&sockstat, "TCP:", "mem"),
        })
    }
}

/// The first number behind `word` (any, if empty) on the line that begins with `start`.
fn number_after(text: &str, start: &str, word: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(start));
    let line = lines.next().unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|&it| !word.is_empty() && it != word);
    words.find_map(|word| word.parse().ok()).unwrap_or(0)
}
