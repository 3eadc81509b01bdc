//! What is in a directory, told to operators.

use std::{fmt, path::Path};

use super::{Damage, directory::bucket_file};
use crate::ids::Bucket;

/// What was found in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Buckets with a file.
    pub buckets: u32,
    /// Records in those.
    pub records: u64,
    /// Bytes of those files, torn tails not among them.
    pub bytes: u64,
    /// Tails that a crash has torn: never acknowledged, and cut off by opening.
    pub torn: Vec<Torn>,
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The bucket.
    pub bucket: Bucket,
    /// The byte of the file at which it begins.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// What [`check`](super::check) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is well.
    pub summary: Summary,
    /// What is not. A journal with any of it is not opened.
    pub damage: Vec<Damage>,
}

impl Report {
    /// Whether the journal would not be opened.
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        for torn in &self.summary.torn {
            let Torn { bucket, at, bytes } = torn;
            let file = bucket_file(Path::new(""), *bucket);
            let file = file.display();
            writeln!(f, "{file} is torn at byte {at}: {bytes} bytes that the next start cuts off")?;
        }
        self.damage.iter().try_for_each(|damage| writeln!(f, "{damage}"))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { buckets, records, bytes, torn } = self;
        let s = |count: u64| if count == 1 { "" } else { "s" };
        let (records_s, buckets_s) = (s(*records), s(u64::from(*buckets)));
        write!(f, "{records} record{records_s} in {buckets} bucket{buckets_s}, {bytes} bytes")?;
        let torn_bytes: u64 = torn.iter().map(|torn| torn.bytes).sum();
        match torn.len() {
            0 => Ok(()),
            1 => write!(f, "; a torn tail of {torn_bytes} bytes, which nobody was told of"),
            tails => write!(f, "; {tails} torn tails, {torn_bytes} bytes that nobody was told of"),
        }
    }
}
