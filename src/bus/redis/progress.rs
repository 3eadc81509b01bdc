//! How far a stream was read, and what its state says of what was not.
//!
//! Pure: what Redis said goes in, what to tell subscribers comes out. A stream is trimmed from its
//! oldest end, so as long as an entry that was read, or an older one, is still there, nothing was
//! lost. Once none is, the number of entries that were ever added (Redis 7.0) says exactly whether
//! something was; without it a hole is told, where there may be none, but never none where
//! there is one.

use std::collections::VecDeque;

use super::{epoch, id::Id, reply::Summary};
use crate::ids::Epoch;

/// Ids that are remembered, of the newest that were read: more than a server that is lost takes with
/// it.
const RECENT_MAX: usize = 4096;

/// How far a stream was read.
#[derive(Debug)]
pub(super) struct Progress {
    /// The numbering.
    pub epoch: Epoch,
    /// Everything up to here was read.
    pub last: Id,
    /// Entries that were ever added up to `last`, where known. Never too high.
    index: Option<u64>,
    /// The newest ids that were read.
    recent: VecDeque<Id>,
    /// Entries that had ever been added when they were last counted on this connection.
    added: Option<u64>,
    /// The connection is another one, perhaps to another server, which may lack what this one's
    /// predecessor had.
    is_unsure: bool,
}

/// What happened to a stream since it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It goes on.
    None,
    /// It was deleted and made anew, with ids that went back: it begins behind `floor`.
    MadeAnew { epoch: Epoch, replaces: Epoch, floor: Id },
    /// Its newest entries are gone, which were read already: the server has fallen back to what a
    /// replica or its disk had. What comes is behind them.
    FellBack { to: Id },
}

impl Progress {
    /// Nothing was read of a stream yet, and everything behind `last` will be. `summary` is what it
    /// was like when this was decided; without one there is no such stream yet.
    pub(super) fn new(key: &str, last: Id, summary: Option<&Summary>) -> Self {
        let mut progress = Progress {
            epoch: epoch(&[b"redis-stream", key.as_bytes()]),
            last,
            index: None,
            recent: VecDeque::new(),
            added: None,
            is_unsure: false,
        };
        match summary {
            None => progress.index = Some(0),
            Some(summary) => {
                if last == summary.last {
                    progress.remember(last);
                }
                progress.count(&[], summary);
            }
        }
        progress
    }

    /// The connection is another one.
    pub(super) fn on_connected(&mut self) {
        (self.added, self.is_unsure) = (None, true);
    }

    /// What has happened to the stream, in view of its state. Made anew, it has begun again.
    pub(super) fn look(&mut self, key: &str, summary: &Summary) -> Change {
        let before = std::mem::replace(&mut self.added, summary.added);
        let Some(first) = summary.first else { return Change::None };
        let has_restarted = before.zip(summary.added).is_some_and(|(before, now)| now < before);
        let went_back = summary.last < self.last && !self.recent.is_empty();
        if went_back && !has_restarted && self.fell_back(summary) {
            self.index = summary.added;
            return Change::FellBack { to: summary.last };
        }
        if went_back || has_restarted && first <= self.last {
            return self.begin_anew(key, first, summary);
        }
        if has_restarted || std::mem::take(&mut self.is_unsure) {
            self.index = None;
            self.count(&[], summary);
        }
        Change::None
    }

    /// Whether a stream whose ids went back is ours without its newest entries: it ends with one that
    /// was read, and has had as many as ours up to that one.
    fn fell_back(&self, summary: &Summary) -> bool {
        let behind = self.recent.iter().rev().take_while(|id| **id > summary.last).count();
        let is_known = self.recent.iter().rev().nth(behind) == Some(&summary.last);
        let index = self.index.and_then(|index| index.checked_sub(behind as u64));
        is_known && index.is_some() && index == summary.added
    }

    /// The numbering of the stream that took the place of ours: made of what any edge can see that
    /// was there, and another than ours.
    fn begin_anew(&mut self, key: &str, first: Id, summary: &Summary) -> Change {
        let replaces = self.epoch;
        let (id, old) = (first.to_string(), replaces.0.to_le_bytes());
        // The old one is in it, since the first id may be the same each time.
        let next = epoch(&[b"redis-stream", key.as_bytes(), id.as_bytes(), &old]);
        let floor = first.before();
        *self = Progress { epoch: next, ..Progress::new(key, floor, Some(summary)) };
        Change::MadeAnew { epoch: next, replaces, floor }
    }

    /// What was lost before the entries that came, as their ids say and the state that the stream had
    /// then: the last id before it, and its last.
    pub(super) fn hole(&self, ids: &[Id], summary: &Summary) -> Option<(Id, Id)> {
        let last = self.last;
        let to = match ids.first() {
            Some(next) if next.before() == last => return None,
            Some(_) if summary.first.is_some_and(|first| first <= last) => return None,
            Some(next) => next.before(),
            // Everything may have gone that was added behind ours.
            None if summary.length == 0 && summary.last > last => summary.last,
            None => return None,
        };
        (self.missing(ids, summary) != Some(0)).then_some((last, to))
    }

    /// Entries that were trimmed before they could be read, where that can be known.
    fn missing(&self, ids: &[Id], summary: &Summary) -> Option<u64> {
        let (index, added) = (self.index?, summary.added?);
        if ids.last().is_none_or(|newest| *newest == summary.last) {
            return added.checked_sub(index + ids.len() as u64);
        }
        let first = summary.first?;
        if summary.deleted.is_some_and(|deleted| deleted >= first) {
            return None;
        }
        let before_first = added.checked_sub(summary.length)?;
        let read_before_first = ids.iter().take_while(|id| **id < first).count() as u64;
        before_first.checked_sub(index + read_before_first)
    }

    /// These entries were read; or none, and everything up to the state's last is gone.
    pub(super) fn advance(&mut self, ids: &[Id], summary: &Summary) {
        let had_hole = self.hole(ids, summary).is_some();
        match ids.last() {
            Some(newest) => self.last = *newest,
            None if had_hole => self.last = summary.last,
            None => (),
        }
        ids.iter().for_each(|id| self.remember(*id));
        self.index = self.index.filter(|_| !had_hole).map(|index| index + ids.len() as u64);
        self.count(ids, summary);
    }

    /// Entries that the stream has and that were not read, where that can be known.
    pub(super) fn lag(&self, summary: &Summary) -> Option<u64> {
        if self.last >= summary.last {
            return Some(0);
        }
        summary.added?.checked_sub(self.index?)
    }

    /// Where the state says how many entries were added up to `last`, with these the newest that were
    /// read, it is so many.
    fn count(&mut self, ids: &[Id], summary: &Summary) {
        if self.last == summary.last {
            self.index = summary.added;
            return;
        }
        let Some(first) = summary.first else { return };
        let begins_here = match ids {
            [] => first.before() == self.last,
            [oldest, .., newest] | [oldest @ newest] => (oldest..=newest).contains(&&first),
        };
        if begins_here && summary.deleted.is_none_or(|deleted| deleted < first) {
            let before = summary.added.and_then(|added| added.checked_sub(summary.length));
            let read = ids.iter().filter(|id| **id >= first).count() as u64;
            self.index = before.map(|before| before + read);
        }
    }

    fn remember(&mut self, id: Id) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(id);
    }
}

#[cfg(test)]
mod tests;
