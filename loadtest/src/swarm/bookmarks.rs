//! Where subscribers resume: a side table for those who will, so that all others stay small.
//!
//! A bookmark is behind the last publication that came whole, or behind the gap that the server
//! announced after it. It is kept between sessions together with the seat, so that the oracle judges
//! across them. There is one for each subscriber at most, with positions of at most
//! [`POSITION_BYTES_MAX`].

use std::{collections::HashMap, time::Instant};

use crate::{
    decoder::{Fault, POSITION_BYTES_MAX},
    oracle::Seat,
};

/// Where the subscribers of one thread are, as far as they have to know.
#[derive(Default)]
pub(super) struct Bookmarks(HashMap<u32, Bookmark>);

/// Where a subscriber is.
#[derive(Default)]
pub(super) struct Bookmark {
    /// Behind all that it has; empty if it has never been told.
    position: String,
    /// The end of an announced gap behind which nothing has come yet; empty if there is none.
    gap_to: String,
    /// The place in which its last session ended.
    pub(super) seat: Seat,
    /// Since when it is away, or what it missed has not come whole.
    pub(super) away: Option<Away>,
    /// What had been handed over when it was granted its session. What is older, and comes to
    /// one that has resumed, comes from the history.
    pub(super) missed_until: u32,
}

/// A time without all that was published.
#[derive(Clone, Copy)]
pub(super) struct Away {
    /// When the connection ended.
    pub(super) since: Instant,
    /// The storm that cut it, if one did.
    pub(super) storm: Option<u32>,
}

impl Bookmarks {
    /// That of a subscriber, which is made if there is none.
    pub(super) fn of(&mut self, subscriber: u32) -> &mut Bookmark {
        self.0.entry(subscriber).or_default()
    }

    /// The position from which the subscriber goes on, if it knows one.
    pub(super) fn position(&self, subscriber: u32) -> Option<&str> {
        let bookmark = self.0.get(&subscriber);
        bookmark.map(|it| &it.position[..]).filter(|position| !position.is_empty())
    }
}

impl Bookmark {
    /// The subscriber begins anew: what it had is of no use any more.
    pub(super) fn begin_anew(&mut self) {
        self.position.clear();
        self.gap_to.clear();
        self.missed_until = 0;
    }

    /// The server has said where the subscriber is. Where it knows that itself, it does not ask.
    pub(super) fn on_told(&mut self, position: &str) -> Result<(), Fault> {
        if self.position.is_empty() { self.advance(position) } else { Ok(()) }
    }

    /// The subscriber has all up to here.
    pub(super) fn advance(&mut self, position: &str) -> Result<(), Fault> {
        if position.len() > POSITION_BYTES_MAX {
            return Err(Fault::PositionTooLong);
        }
        self.position.clear();
        self.position.push_str(position);
        Ok(())
    }

    /// A publication has come. Returns what is wrong with that after the gap that was announced.
    pub(super) fn on_publication(&mut self, id: &str) -> Result<Option<&'static str>, Fault> {
        let is_inside = self.gap_to().is_some_and(|end| is_behind(id, end) == Some(false));
        self.gap_to.clear();
        self.advance(id)?;
        Ok(is_inside.then_some("it came, and lies inside the gap"))
    }

    /// The end of the gap that was announced, if nothing has come behind it.
    pub(super) fn gap_to(&self) -> Option<&str> {
        Some(&self.gap_to[..]).filter(|end| !end.is_empty())
    }

    /// A gap was announced. Returns what is wrong with it.
    pub(super) fn on_gap(&mut self, from: &str, to: &str) -> Result<Option<&'static str>, Fault> {
        let is_ours = self.position.is_empty() || self.position == from;
        self.advance(to)?;
        self.gap_to.clear();
        self.gap_to.push_str(to);
        Ok((!is_ours).then_some("the gap does not begin where the subscriber was"))
    }
}

/// Whether one position is behind another of the same epoch. Of epochs that differ, and of positions
/// that are not Stentor's, nobody can say.
pub(super) fn is_behind(position: &str, end: &str) -> Option<bool> {
    let ((epoch, offset), (same, end)) = (parts(position)?, parts(end)?);
    (epoch == same).then_some(offset > end)
}

fn parts(position: &str) -> Option<(&str, u64)> {
    let (epoch, offset) = position.rsplit_once('-')?;
    Some((epoch, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subscriber believes the server where it is only while it does not know better.
    #[test]
    fn a_position_is_ones_own_once_it_is_known() {
        let mut bookmarks = Bookmarks::default();
        assert_eq!(bookmarks.position(7), None);
        bookmarks.of(7).on_told("a-1").unwrap();
        assert_eq!(bookmarks.of(7).on_publication("a-5"), Ok(None));
        bookmarks.of(7).on_told("a-9").unwrap();
        assert_eq!((bookmarks.position(7), bookmarks.position(8)), (Some("a-5"), None));
        bookmarks.of(7).begin_anew();
        assert_eq!(bookmarks.position(7), None);
    }

    /// A gap begins where the subscriber is, and nothing of it comes; anything else is told.
    #[test]
    fn a_gap_is_held_against_what_comes() {
        let inside = Some("it came, and lies inside the gap");
        for (id, want) in [("a-9", inside), ("a-10", inside), ("a-11", None), ("b-3", None)] {
            let mut bookmark = Bookmark::default();
            bookmark.on_publication("a-5").unwrap();
            assert_eq!(bookmark.on_gap("a-5", "a-10"), Ok(None));
            assert_eq!(bookmark.on_publication(id), Ok(want), "{id}");
            assert_eq!(bookmark.on_publication("a-8"), Ok(None), "one gap is told of once");
        }
        let mut bookmark = Bookmark::default();
        bookmark.on_publication("a-5").unwrap();
        let why = "the gap does not begin where the subscriber was";
        assert_eq!(bookmark.on_gap("a-4", "a-10"), Ok(Some(why)));
        assert_eq!(bookmark.on_gap("a-10", "a-12"), Ok(None), "one gap follows another");
    }

    /// A server cannot fill memory with positions.
    #[test]
    fn positions_are_bounded() {
        let mut bookmark = Bookmark::default();
        bookmark.advance(&"1".repeat(POSITION_BYTES_MAX)).unwrap();
        let longer = "1".repeat(POSITION_BYTES_MAX + 1);
        assert_eq!(bookmark.advance(&longer), Err(Fault::PositionTooLong));
        assert_eq!(bookmark.on_gap("1", &longer), Err(Fault::PositionTooLong));
        assert_eq!(bookmark.position.len(), POSITION_BYTES_MAX);
    }
}
