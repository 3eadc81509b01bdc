//! What the kernel holds for sockets, as far as it says.
//!
//! Slab counts the whole machine and the rest the whole network namespace, so other work moves
//! them: what a run cost is the difference of two readings on a machine that does nothing else.

use std::io;

use rustix::param::page_size;

use super::files::Proc;

/// In use now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMemory {
    /// Bytes of small objects of every kind.
    pub slab: u64,
    /// Bytes in TCP's buffers.
    pub buffers: u64,
    /// TCP sockets of both families, listeners too. On loopback a connection is two.
    pub sockets: u64,
}

impl KernelMemory {
    /// Reads all.
    pub fn now() -> io::Result<KernelMemory> {
        let unreadable = || io::Error::other("/proc does not tell what sockets use");
        read(&Proc::of_this_machine(), page_size() as u64).ok_or_else(unreadable)
    }
}

fn read(proc: &Proc, page: u64) -> Option<KernelMemory> {
    let sockets = proc.sockets("net/sockstat", "TCP", "inuse")?;
    // A kernel without IPv6 lacks the file.
    let sockets_6 = proc.sockets("net/sockstat6", "TCP6", "inuse").unwrap_or(0);
    Some(KernelMemory {
        slab: proc.memory("Slab")?,
        buffers: page * proc.sockets("net/sockstat", "TCP", "mem")?,
        sockets: sockets + sockets_6,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const MEMINFO: (&str, &str) = ("meminfo", "MemTotal: 9 kB\nSlab:  200 kB\n");
    const SOCKSTAT: (&str, &str) =
        ("net/sockstat", "TCP: inuse 4 orphan 0 tw 0 alloc 5 mem 7\nUDP: inuse 1 mem 2\n");

    /// Units are bytes, and both families count, where there are two.
    #[test]
    fn figures_are_bytes_and_both_families() {
        let four = Proc::fake("kernel-4", &[MEMINFO, SOCKSTAT]);
        let expected = KernelMemory { slab: 200 * 1024, buffers: 7 * 4096, sockets: 4 };
        assert_eq!(read(&four.0, 4096), Some(expected));
        let six = ("net/sockstat6", "TCP6: inuse 2\nUDP6: inuse 9\n");
        let both = Proc::fake("kernel-6", &[MEMINFO, SOCKSTAT, six]);
        assert_eq!(read(&both.0, 4096), Some(KernelMemory { sockets: 6, ..expected }));
        let neither = Proc::fake("kernel-0", &[MEMINFO]);
        assert_eq!(read(&neither.0, 4096), None);
    }

    /// This kernel tells, and a listener of ours is among what it counts.
    #[test]
    fn this_kernel_tells() {
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let now = KernelMemory::now().unwrap();
        assert!(now.sockets >= 1 && now.slab > 0, "{now:?}");
    }
}
