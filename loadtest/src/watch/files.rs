//! The files under `/proc` that describe the machine, read as the kernel writes them.
//!
//! A file that is missing, unreadable or in an unknown form is `None`; containers hide many. What
//! that means is left to who asks.

use std::{fs, path::PathBuf, str::FromStr};

/// The root of the files.
pub(crate) struct Proc {
    root: PathBuf,
}

impl Proc {
    /// Those of this machine.
    pub(crate) fn of_this_machine() -> Proc {
        Proc { root: "/proc".into() }
    }

    /// A file without the spaces around it.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// A file that is a number.
    pub(crate) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The first `N` numbers of a file.
    pub(crate) fn numbers<const N: usize>(&self, path: &str) -> Option<[u64; N]> {
        let text = self.text(path)?;
        let numbers = text.split_whitespace().take(N).map(|word| word.parse().ok());
        numbers.collect::<Option<Vec<u64>>>()?.try_into().ok()
    }

    /// The value behind the first `key` in a file of `key: value` lines.
    pub(crate) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(name, _)| name.trim_end() == key)?;
        Some(value.trim().to_owned())
    }

    /// A line of `/proc/meminfo`, in bytes.
    pub(crate) fn memory(&self, key: &str) -> Option<u64> {
        let kibibytes = self.field("meminfo", key)?;
        kibibytes.strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// The number behind `word` on the line `key` of a socket statistic.
    pub(crate) fn sockets(&self, path: &str, key: &str, word: &str) -> Option<u64> {
        let line = self.field(path, key)?;
        line.split_whitespace().skip_while(|&it| it != word).nth(1)?.parse().ok()
    }

    /// A directory of the caller's own with these files in it, for its tests.
    #[cfg(test)]
    pub(crate) fn fake(name: &str, files: &[(&str, &str)]) -> FakeProc {
        let root = std::env::temp_dir().join(format!("stentor-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("it is below the root")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        FakeProc(Proc { root })
    }
}

/// Files that go away with this.
#[cfg(test)]
pub(crate) struct FakeProc(pub(crate) Proc);

#[cfg(test)]
impl Drop for FakeProc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in a file is what is read; a file, line or form that is not there is unknown.
    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let fake = Proc::fake(
            "files",
            &[
                ("meminfo", "MemTotal:       24684000 kB\nMemFree: many kB\n"),
                ("cpuinfo", "processor\t: 0\nmodel name\t: Some CPU: fast\n"),
                ("net/sockstat", "sockets: used 11\nTCP: inuse 3 orphan 0 tw 0 mem 163\n"),
                ("sys/fs/file-nr", "1312\t0\t2466170\n"),
                ("sys/net/ipv4/tcp_ehash_entries", "-262144\n"),
            ],
        );
        let proc = &fake.0;
        assert_eq!(proc.memory("MemTotal"), Some(24_684_000 * 1024));
        assert_eq!((proc.memory("MemFree"), proc.memory("Mem")), (None, None));
        assert_eq!(proc.field("cpuinfo", "model name").as_deref(), Some("Some CPU: fast"));
        assert_eq!(proc.sockets("net/sockstat", "TCP", "mem"), Some(163));
        assert_eq!(proc.sockets("net/sockstat", "TCP", "alloc"), None);
        assert_eq!(proc.numbers("sys/fs/file-nr"), Some([1312, 0, 2_466_170]));
        assert_eq!(proc.numbers::<4>("sys/fs/file-nr"), None);
        assert_eq!(proc.number("sys/net/ipv4/tcp_ehash_entries"), Some(-262_144_i64));
        assert_eq!(proc.text("nowhere"), None);
    }
}
