//! What a bucket's file holds, and whether its end was torn by a crash or something else broke it.
//!
//! A crash tears what was not synced yet, and that is always the end. So a broken record with nothing
//! whole behind it is a torn tail, and may go: nobody was told that it is there. With a whole record
//! behind it, it is damage.

use super::{
    Record,
    format::{self, Found, HEADER_BYTES, Header},
};
use crate::ids::{Bucket, Epoch};

/// A file that was read through.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// Its header.
    pub header: Header,
    /// Its whole records, by rising offset.
    pub records: Vec<Record>,
    /// The byte behind the last of them.
    pub end: u64,
}

/// A place that is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The byte at which it begins.
    pub at: u64,
    /// What is wrong there.
    pub problem: &'static str,
}

impl Scan {
    /// Reads through `file`, which should be that of `bucket` in the journal of `epoch`. What is
    /// behind [`Scan::end`] is torn.
    pub fn of(file: &[u8], bucket: Bucket, epoch: Epoch) -> Result<Scan, Broken> {
        let header =
            Header::decode(file, bucket, epoch).map_err(|problem| Broken { at: 0, problem })?;
        let mut scan = Scan { header, records: Vec::new(), end: HEADER_BYTES as u64 };
        loop {
            let rest = &file[scan.end as usize..];
            let problem = match format::decode(rest, header.salt) {
                Found::Record(record, bytes) => {
                    scan.take(record, bytes)?;
                    continue;
                }
                Found::Short => "the record is cut off",
                Found::Bad(problem) => problem,
            };
            return match format::find(rest, header.salt) {
                Some(_) => Err(Broken { at: scan.end, problem }),
                None => Ok(scan),
            };
        }
    }

    /// The highest offset that the bucket was ever given, as far as its file knows.
    pub fn highest(&self) -> u64 {
        self.records.last().map_or(0, |record| record.offset).max(self.header.highest)
    }

    fn take(&mut self, record: Record, bytes: usize) -> Result<(), Broken> {
        let broken = |problem| Err(Broken { at: self.end, problem });
        if record.channel.bucket() != self.header.bucket {
            return broken("the record is of another bucket");
        }
        if self.records.last().is_some_and(|last| last.offset >= record.offset) {
            return broken("the record's offset does not rise");
        }
        self.records.push(record);
        self.end += bytes as u64;
        Ok(())
    }
}
