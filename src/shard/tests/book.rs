//! The oracle's book: every publication of every channel, in the order of their positions.

use crate::ids::Position;

/// What was published to the channels of a world.
pub struct Book {
    channels: Vec<Vec<Page>>,
}

struct Page {
    payload: Vec<u8>,
    /// Known as soon as its publisher or a subscriber was told.
    position: Option<Position>,
}

impl Book {
    pub fn new(channels: usize) -> Book {
        Book { channels: (0..channels).map(|_| Vec::new()).collect() }
    }

    /// A publication was given its position; returns the page.
    pub fn write(&mut self, channel: usize, payload: Vec<u8>) -> usize {
        self.channels[channel].push(Page { payload, position: None });
        self.channels[channel].len() - 1
    }

    /// Publications of a channel so far.
    pub fn len(&self, channel: usize) -> usize {
        self.channels[channel].len()
    }

    pub fn payload(&self, channel: usize, page: usize) -> &[u8] {
        &self.channels[channel][page].payload
    }

    /// The page with this payload, looked for from `page` backwards. Payloads are unique.
    pub fn find(&self, channel: usize, page: usize, is_it: impl Fn(&[u8]) -> bool) -> usize {
        let pages = self.channels[channel].iter().take(page + 1);
        let found = pages.rev().position(|page| is_it(&page.payload));
        let back = found.unwrap_or_else(|| panic!("nothing up to {page} is what came"));
        page.min(self.len(channel) - 1) - back
    }

    /// Somebody was told the position of a publication: everybody must be told the same, and
    /// positions rise.
    pub fn check_position(&mut self, channel: usize, page: usize, position: Position) {
        let pages = &mut self.channels[channel];
        let known = *pages[page].position.get_or_insert(position);
        assert_eq!(known, position, "two positions of page {page} of channel {channel}");
        let before = pages[..page].iter().rev().find_map(|page| page.position);
        let after = pages[page + 1..].iter().find_map(|page| page.position);
        assert!(before.is_none_or(|it| it.epoch == position.epoch && it.offset < position.offset));
        assert!(after.is_none_or(|it| it.epoch == position.epoch && it.offset > position.offset));
    }
}
