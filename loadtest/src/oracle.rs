//! What each subscriber is owed, and whether it came: every publication once, in order, whole.
//!
//! A subscriber is owed whatever was handed to the server after its handshake was granted. What
//! was under way at that moment may or may not come; from the first that comes on, all are owed.
//! A session of a subscriber is judged by itself: who leaves and comes back begins anew. Who resumes
//! instead is owed what was published meanwhile as well, once, but for the gaps that the server
//! announces: these are judged by what was missing there.
//!
//! What is missing stays open until the session ends, since it may yet come, late and out of
//! order. What comes damaged counts as corrupt, and not as lost besides. What is open is bounded by
//! [`MISSING_MAX`]: past that it is lost at once, whether or not the server is known to have had it.

use std::{collections::HashMap, ops::Range};

use crate::{
    payload::{self, Header},
    tally::Deliveries,
};

/// Ranges of missing publications that are kept; past that the missing are lost at once, since
/// nobody could say any more whether they came late.
pub const MISSING_MAX: usize = 1 << 20;

/// One subscriber's place in its channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    channel: u32,
    /// The first publication that it is owed.
    first: u32,
    /// The next that should come. Until one has come it is `first`, or behind a gap what was the
    /// next before it.
    next: u32,
    has_begun: bool,
    /// Whether it goes on from an earlier session, or behind a gap: what came before is not to come
    /// again.
    goes_on: bool,
    /// Whether the server said that nothing was missing where it goes on.
    is_claimed: bool,
}

/// What has been handed to the server, by channel.
pub trait Published {
    /// How many publications of the channel have been handed over.
    fn handed_over(&self, channel: u32) -> u32;
    /// How many of these it is not known of whether the server took them.
    fn uncertain_among(&self, channel: u32, sequences: &Range<u32>) -> u64;
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next publication, or one whose predecessors are missing.
    Good(Header),
    /// A publication that was missing so far.
    Late(Header),
    /// A publication that had come before.
    Repeated(Header),
    /// One from before the place from which the subscriber resumed.
    Again(Header),
    /// A publication of another channel or run, or one that the run will never have.
    Misdirected(Header),
    /// No publication, or a damaged one.
    Corrupt,
}

/// Judges all subscribers of one thread.
#[derive(Debug)]
pub struct Oracle {
    run: u32,
    /// As many publications as the run will have: none has this sequence or a later one.
    publications: u32,
    /// By subscriber: what is missing of its session, oldest first, and what came damaged.
    open: HashMap<u32, Open>,
    missing_ranges: usize,
    /// [`MISSING_MAX`], but in tests.
    missing_max: usize,
    /// What was counted so far.
    pub deliveries: Deliveries,
}

/// What is not settled about a session.
#[derive(Debug, Default)]
struct Open {
    missing: Vec<Range<u32>>,
    corrupt: u32,
    /// What was missing where the session went on from an earlier one.
    seam: Range<u32>,
}

impl Seat {
    /// The place of a subscriber whose handshake was granted when `handed_over` publications of
    /// its channel had been handed to the server.
    pub fn new(channel: u32, handed_over: u32) -> Seat {
        Seat { channel, first: handed_over, next: handed_over, ..Seat::default() }
    }

    /// The place of the same subscriber in a session that goes on where this one ended. The server
    /// may have said whether all that was missed will come.
    pub fn resumed(self, recovered: Option<bool>) -> Seat {
        let is_claimed = recovered == Some(true);
        match self.has_begun {
            true => Seat { first: self.next, goes_on: true, is_claimed, ..self },
            // Nothing has come yet: what it was owed first, it still is.
            false => Seat { is_claimed, ..self },
        }
    }

    /// Its channel.
    pub fn channel(&self) -> u32 {
        self.channel
    }

    /// Whether nothing has come yet, in this session or an earlier one that it goes on from.
    pub fn is_fresh(&self) -> bool {
        !self.has_begun && !self.goes_on
    }

    /// Whether all has come of a channel that will have no more than `published` publications.
    pub fn is_served(&self, published: u32) -> bool {
        self.due() >= published
    }

    /// Those that would be in an announced gap if this one came next.
    pub fn in_gap(&self, sequence: u32) -> Range<u32> {
        let end = self.first.min(sequence);
        if self.has_begun { 0..0 } else { self.next..end.max(self.next) }
    }

    /// The next publication that must come.
    fn due(&self) -> u32 {
        if self.has_begun { self.next } else { self.first }
    }

    /// Whether it went on from what came before, and nothing has come since.
    fn is_at_seam(&self) -> bool {
        (self.goes_on || self.is_claimed) && self.next == self.first
    }
}

impl Oracle {
    /// For the publications of this run, of which there will be so many.
    pub fn new(run: u32, publications: u32) -> Oracle {
        let (deliveries, open) = (Deliveries::default(), HashMap::new());
        let missing_max = MISSING_MAX;
        Oracle { run, publications, open, missing_ranges: 0, missing_max, deliveries }
    }

    /// Judges a message that a subscriber received.
    pub fn on_message(&mut self, subscriber: u32, seat: &mut Seat, message: &[u8]) -> Verdict {
        let verdict = self.judge(subscriber, seat, message);
        let Deliveries { received, duplicated, repeated, reordered, corrupt, misdirected, .. } =
            &mut self.deliveries;
        let (counter, which, fault) = match verdict {
            Verdict::Good(_) => {
                *received += 1;
                return verdict;
            }
            Verdict::Late(header) => {
                *received += 1;
                (reordered, header.sequence, "came after a later one")
            }
            Verdict::Repeated(header) => (duplicated, header.sequence, "came again"),
            Verdict::Again(header) => {
                (repeated, header.sequence, "came again to a subscriber that had resumed behind it")
            }
            Verdict::Misdirected(header) => {
                (misdirected, header.sequence, "came from another channel or run")
            }
            Verdict::Corrupt => {
                (corrupt, seat.due(), "was due, and something else or damaged came")
            }
        };
        *counter += 1;
        if *counter <= EXAMPLES {
            self.name(subscriber, seat.channel, which, fault);
        }
        verdict
    }

    /// Notes that the server has said that some of what comes next will not come. What is handed over
    /// from now on is behind the gap.
    pub fn on_gap(&mut self, subscriber: u32, seat: &mut Seat, published: &dyn Published) {
        self.deliveries.gaps += 1;
        let first = published.handed_over(seat.channel).max(seat.due());
        if seat.has_begun {
            self.on_left(subscriber, seat, published);
            *seat = Seat { first, has_begun: false, goes_on: true, is_claimed: false, ..*seat };
        } else {
            seat.first = first;
        }
    }

    /// Notes that a gap that the server announced is not what the subscriber missed.
    pub fn on_false_gap(&mut self, subscriber: u32, seat: &Seat, why: &str) {
        self.deliveries.false_gap += 1;
        if self.deliveries.false_gap <= EXAMPLES {
            let why = format!("is where a gap was announced, but {why}");
            self.name(subscriber, seat.channel, seat.next, &why);
        }
    }

    /// Settles a session that the load tester ends, or whose end is counted elsewhere: it was owed
    /// what came, and what is missing before that.
    pub fn on_left(&mut self, subscriber: u32, seat: &Seat, published: &dyn Published) {
        self.settle(subscriber, seat, seat.due(), published);
    }

    /// Settles a session at the end of the run: it was owed all that was published.
    pub fn on_end(&mut self, subscriber: u32, seat: &Seat, published: &dyn Published) {
        let end = published.handed_over(seat.channel).max(seat.due());
        if !seat.has_begun {
            // Behind an announced gap nothing came any more.
            self.deliveries.skipped += u64::from(seat.first - seat.next);
        }
        self.settle(subscriber, seat, end, published);
    }

    /// Notes that so many of those that were counted as skipped, from `first` on, are behind the gap
    /// that was announced.
    pub fn on_missing_behind_gap(
        &mut self,
        subscriber: u32,
        seat: &Seat,
        first: u32,
        missing: u32,
    ) {
        let Deliveries { unannounced_gap, expected, skipped, .. } = &mut self.deliveries;
        let is_told = *unannounced_gap < EXAMPLES;
        *unannounced_gap += u64::from(missing);
        *expected += u64::from(missing);
        *skipped -= u64::from(missing);
        if is_told {
            self.name(subscriber, seat.channel, first, "or one after it is missing behind a gap");
        }
    }

    fn judge(&mut self, subscriber: u32, seat: &mut Seat, message: &[u8]) -> Verdict {
        let Some(header) = payload::decode(message) else {
            self.open.entry(subscriber).or_default().corrupt += 1;
            return Verdict::Corrupt;
        };
        let is_ours = header.run == self.run && header.sequence < self.publications;
        if !is_ours || header.channel != seat.channel {
            return Verdict::Misdirected(header);
        }
        if seat.goes_on && header.sequence < if seat.has_begun { seat.first } else { seat.next } {
            return Verdict::Again(header);
        }
        if !seat.has_begun {
            let first = seat.first.min(header.sequence);
            self.skip(subscriber, seat, first);
            seat.has_begun = true;
            (seat.first, seat.next) = (first, first);
        }
        if header.sequence < seat.first {
            // It was under way when the subscriber joined, and a later one overtook it. Whatever is
            // between the two was under way as well.
            self.miss(subscriber, seat, header.sequence + 1..seat.first);
            seat.first = header.sequence;
            return Verdict::Late(header);
        }
        if header.sequence < seat.next {
            return match self.find(subscriber, seat, header.sequence) {
                true => Verdict::Late(header),
                false => Verdict::Repeated(header),
            };
        }
        let missing = seat.next..header.sequence;
        if seat.is_at_seam() && !missing.is_empty() {
            self.open.entry(subscriber).or_default().seam = missing.clone();
        }
        self.miss(subscriber, seat, missing);
        seat.next = header.sequence.saturating_add(1);
        Verdict::Good(header)
    }

    /// Counts what an announced gap had, if one was announced: all that did not come before this one.
    fn skip(&mut self, subscriber: u32, seat: &Seat, before: u32) {
        self.deliveries.skipped += u64::from(before.saturating_sub(seat.next));
        if seat.goes_on && before == seat.next {
            self.on_false_gap(subscriber, seat, "it came, and nothing before it is missing");
        }
    }

    /// Notes that these, if any, have not come so far.
    fn miss(&mut self, subscriber: u32, seat: &Seat, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        if self.missing_ranges >= self.missing_max {
            return self.lose_at_once(subscriber, seat, range);
        }
        self.missing_ranges += 1;
        let missing = &mut self.open.entry(subscriber).or_default().missing;
        missing.insert(missing.partition_point(|it| it.end <= range.start), range);
    }

    /// Takes one off the missing. Returns whether it was among them.
    fn find(&mut self, subscriber: u32, seat: &Seat, sequence: u32) -> bool {
        let Some(open) = self.open.get_mut(&subscriber) else { return false };
        let at = open.missing.partition_point(|range| range.end <= sequence);
        let Some(range) = open.missing.get(at).filter(|range| range.contains(&sequence)) else {
            return false;
        };
        let (before, after) = (range.start..sequence, sequence + 1..range.end);
        open.missing.remove(at);
        self.missing_ranges -= 1;
        let has_room_for_both = self.missing_ranges + 2 <= self.missing_max;
        let (kept, lost) = match before.is_empty() || after.is_empty() || has_room_for_both {
            true => ([before, after], None),
            false => ([0..0, after], Some(before)),
        };
        let kept = kept.into_iter().filter(|part| !part.is_empty());
        self.missing_ranges += kept.clone().count();
        open.missing.splice(at..at, kept);
        lost.into_iter().for_each(|range| self.lose_at_once(subscriber, seat, range));
        true
    }

    /// Gives up on what there is no room to remember. What came damaged may have been some of it.
    fn lose_at_once(&mut self, subscriber: u32, seat: &Seat, range: Range<u32>) {
        let mut lost = range.end - range.start;
        if let Some(open) = self.open.get_mut(&subscriber) {
            let damaged = open.corrupt.min(lost);
            open.corrupt -= damaged;
            lost -= damaged;
        }
        if lost > 0 {
            self.lose(subscriber, seat, range.start, lost.into());
        }
    }

    fn settle(&mut self, subscriber: u32, seat: &Seat, end: u32, published: &dyn Published) {
        let mut open = self.open.remove(&subscriber).unwrap_or_default();
        self.missing_ranges -= open.missing.len();
        open.missing.push(seat.due()..end);
        let all = |range: &Range<u32>| u64::from(range.end - range.start);
        let certain =
            |range: &Range<u32>| all(range) - published.uncertain_among(seat.channel, range);
        let absent: u64 = open.missing.iter().map(certain).sum();
        // Of the uncertain ones only those that came were owed.
        let missing: u64 = open.missing.iter().map(all).sum();
        self.deliveries.expected += u64::from(end - seat.first) - missing + absent;
        let is_at_seam = |range: &&Range<u32>| open.seam.contains(&range.start);
        let (at_seam, others): (Vec<_>, Vec<_>) = open.missing.iter().partition(is_at_seam);
        // What came damaged stands for some of what is missing.
        let mut damaged = u64::from(open.corrupt);
        for (ranges, lose) in [(at_seam, Oracle::lose_at_seam as Lose), (others, Oracle::lose)] {
            let absent: u64 = ranges.iter().copied().map(certain).sum();
            let lost = absent.saturating_sub(damaged);
            damaged -= damaged.min(absent);
            if lost > 0 {
                lose(self, subscriber, seat, ranges[0].start, lost);
            }
        }
    }

    /// What should have come when the subscriber resumed, did not, and no gap was announced.
    fn lose_at_seam(&mut self, subscriber: u32, seat: &Seat, first: u32, lost: u64) {
        let Deliveries { unannounced_gap, false_recovered, .. } = &mut self.deliveries;
        let (counter, fault) = match seat.is_claimed {
            true => (false_recovered, "is missing where all was said to be recovered"),
            false => (unannounced_gap, "is missing where no gap was announced"),
        };
        let is_told = *counter < EXAMPLES;
        *counter += lost;
        if is_told {
            self.name(subscriber, seat.channel, first, fault);
        }
    }

    fn lose(&mut self, subscriber: u32, seat: &Seat, first: u32, lost: u64) {
        if self.deliveries.lost < EXAMPLES {
            self.name(subscriber, seat.channel, first, "never came");
        }
        self.deliveries.lost += lost;
    }

    fn name(&mut self, subscriber: u32, channel: u32, sequence: u32, fault: &str) {
        let text = format!(
            "publication {sequence} of channel {channel} at subscriber {subscriber}: {fault}"
        );
        self.deliveries.examples.count(text, 1);
    }
}

/// Counts publications that never came, by where that was.
type Lose = fn(&mut Oracle, u32, &Seat, u32, u64);

/// Faults of each kind that are told one by one.
const EXAMPLES: u64 = 5;

#[cfg(test)]
mod tests;
