//! One partition: how far it was read, and what that means for what the broker has.
//!
//! Kafka counts offsets from 0 and positions are counted from 1, so that there is one before the
//! first: the position of a record is its offset and one.

use std::time::Duration;

use super::client::SeenPartition;
use crate::{
    bus::feed::epoch,
    ids::{Epoch, Offset, Position},
    inputs::StartAt,
};

/// A partition of a topic.
pub(super) struct Partition {
    /// Its numbering.
    pub epoch: Epoch,
    /// The offset behind all that was read.
    pub next: i64,
    /// Whether the homes know of its numbering.
    pub begun: bool,
    /// Whether `next` is where something was read, and not yet to be found out.
    is_met: bool,
    /// The timestamp of the last record, in milliseconds; before the first, when it was met.
    last_ms: i64,
    /// Where it ended when the connection began.
    end: i64,
    /// Whether its end was reached in this connection.
    is_at_end: bool,
}

/// What was read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// The offset behind it.
    pub next: i64,
    /// The timestamp of the last record, in milliseconds.
    pub last_ms: i64,
}

/// What the broker has of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The offset of the first record.
    pub low: i64,
    /// The offset behind the last.
    pub high: i64,
    /// The offset of the first record that is not older than the moment that was asked for, if one
    /// was and there is such a record.
    pub since: Option<i64>,
    /// Whether it has come after the topic was first met.
    pub is_new: bool,
}

/// What the broker has, compared with what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Reading goes on, or begins, at this offset.
    At(i64),
    /// Records from `from` up to `to`, without that, were trimmed before they were read.
    Trimmed { from: i64, to: i64 },
    /// What was read last is not there: the topic was made anew or has lost records. It goes on at
    /// this offset under a new numbering.
    Anew(i64),
}

impl Met {
    /// The first offset that was to be read.
    pub fn from(self) -> i64 {
        match self {
            Met::At(from) | Met::Trimmed { from, .. } | Met::Anew(from) => from,
        }
    }
}

impl Partition {
    /// One that was never read.
    pub fn new(epoch: Epoch) -> Self {
        Partition {
            epoch,
            next: 0,
            begun: false,
            is_met: false,
            last_ms: 0,
            end: 0,
            is_at_end: false,
        }
    }

    /// What was read of it, if it was met.
    pub fn read(&self) -> Option<Read> {
        self.is_met.then_some(Read { next: self.next, last_ms: self.last_ms })
    }

    /// Compares it with what the broker has, and sets where to go on. `now` is since 1970. What is
    /// wrong with `start` is said in words that follow the name of the partition.
    pub fn meet(&mut self, found: &Found, start: &StartAt, now: Duration) -> Result<Met, String> {
        let Found { low, high, .. } = *found;
        (self.end, self.is_at_end) = (high, false);
        let from = if self.is_met { self.next } else { first(found, start)? };
        let met = if from > high {
            // Nothing older than what was read is read again: not what a log that was cut short
            // still has, but all of a topic that was made anew.
            self.epoch = epoch(&[&self.epoch.0.to_le_bytes(), &now.as_nanos().to_le_bytes()]);
            Met::Anew(found.since.unwrap_or(high).clamp(low, high))
        } else if from < low {
            Met::Trimmed { from, to: low }
        } else {
            Met::At(from)
        };
        if !self.is_met {
            (self.is_met, self.last_ms) = (true, now.as_millis() as i64);
        }
        self.next = met.from().max(low);
        Ok(met)
    }

    /// A record was read.
    pub fn on_record(&mut self, offset: i64, at_ms: Option<i64>) {
        self.next = offset + 1;
        self.last_ms = at_ms.unwrap_or(self.last_ms);
    }

    /// Everything was read that had come when the client saw this. Returns how many records the
    /// broker had beyond that.
    pub fn on_seen(&mut self, seen: &SeenPartition) -> u64 {
        if seen.eof_offset >= 0 {
            // Behind the last record there may be marks of transactions, which are not read.
            self.next = self.next.max(seen.eof_offset);
            self.is_at_end = true;
        }
        // A broker of old that has no transactions says nothing of their end.
        let end = if seen.ls_offset >= 0 { seen.ls_offset } else { seen.hi_offset };
        (end.max(self.end) - self.next).max(0) as u64
    }

    /// Whether everything was read that was there when the connection began.
    pub fn is_caught_up(&self) -> bool {
        self.is_at_end || self.next >= self.end
    }
}

/// Where reading begins.
fn first(found: &Found, start: &StartAt) -> Result<i64, String> {
    let Found { low, high, since, is_new } = *found;
    if is_new {
        return Ok(0);
    }
    Ok(match start {
        StartAt::New => high,
        StartAt::All => low,
        StartAt::History(last) | StartAt::Last(last) => {
            low.max(high - i64::try_from(*last).unwrap_or(i64::MAX).min(high))
        }
        StartAt::Time(_) => since.unwrap_or(high),
        StartAt::Behind(text) => {
            let wrong = || format!("has no offset '{text}'; write a number, like behind:1000");
            let offset: i64 = text.parse().map_err(|_| wrong())?;
            if offset < 0 {
                return Err(wrong());
            }
            if offset >= high {
                return Err(format!("ends before offset {high}; start=behind:{text} is past it"));
            }
            offset + 1
        }
    })
}

/// The position of the record at an offset; that of the one before the first is 0.
pub(super) fn position(epoch: Epoch, offset: i64) -> Position {
    Position { epoch, offset: Offset(u128::try_from(offset + 1).unwrap_or(0)) }
}
