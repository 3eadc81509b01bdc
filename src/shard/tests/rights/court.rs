//! What the oracle remembers: every law that ever held, every publication, and what it has judged.

use super::law::{Law, PLACES, Pass, STARTED_MS, Verdict};
use crate::limits::TICK_MS;

/// How late a shard may find that a token has run out: it may lie down once more before.
pub const SLACK_US: u64 = 300_000;

/// Something that was to be published.
pub struct Publication {
    pub place: usize,
    /// Not before.
    pub us: u64,
    pub was_delivered: bool,
    pub was_refused: bool,
}

/// What has happened so often, so that a method that reaches nothing is found out.
#[derive(Debug, Default)]
pub struct Tally {
    pub admitted: usize,
    pub turned_away: usize,
    pub subscribed: usize,
    pub not_subscribed: usize,
    pub published: usize,
    pub not_published: usize,
    pub renewed: usize,
    pub not_renewed: usize,
    pub left: usize,
    pub expired: usize,
    pub delivered: usize,
}

impl Tally {
    pub fn all(&self) -> [usize; 11] {
        [
            self.admitted,
            self.turned_away,
            self.subscribed,
            self.not_subscribed,
            self.published,
            self.not_published,
            self.renewed,
            self.not_renewed,
            self.left,
            self.expired,
            self.delivered,
        ]
    }
}

pub struct Court {
    pub laws: Vec<Law>,
    pub now_us: u64,
    pub publications: Vec<Publication>,
    pub tally: Tally,
}

/// Since when something waits for a decision: the law and the time then.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    pub law: usize,
    pub us: u64,
}

impl Court {
    pub fn since(&self) -> Since {
        Since { law: self.laws.len() - 1, us: self.now_us }
    }

    /// The law as it is.
    pub fn law(&self) -> &Law {
        self.laws.last().expect("there is always one")
    }

    pub fn second(us: u64) -> u64 {
        (STARTED_MS + us / 1000 / TICK_MS * TICK_MS) / 1000
    }

    /// All that may have been decided since then: by any law of that time, in any of its seconds.
    pub fn decisions<T: PartialEq>(&self, since: Since, decide: impl Fn(&Law, u64) -> T) -> Vec<T> {
        let mut decisions = Vec::new();
        for law in &self.laws[since.law..] {
            for second in Court::second(since.us)..=Court::second(self.now_us) {
                let decision = decide(law, second);
                if !decisions.contains(&decision) {
                    decisions.push(decision);
                }
            }
        }
        decisions
    }

    /// Writes down something that is about to be published; returns its number and payload.
    pub fn write(&mut self, place: usize) -> (usize, String) {
        let number = self.publications.len();
        let us = self.now_us;
        let (was_delivered, was_refused) = (false, false);
        self.publications.push(Publication { place, us, was_delivered, was_refused });
        (number, format!("pub-{number:05}."))
    }

    /// Somebody with this token got a publication; returns its channel.
    pub fn deliver(&mut self, number: usize, pass: Option<&Pass>) -> usize {
        let publication = &mut self.publications[number];
        publication.was_delivered = true;
        let Publication { place, us, was_refused, .. } = *publication;
        assert!(!was_refused, "{number}, in {}, was refused", PLACES[place].name);
        let ended = pass.is_some_and(|pass| us >= pass.until_us() + SLACK_US);
        assert!(!ended, "published at {us} us, after the token's end: {pass:?}");
        self.tally.delivered += 1;
        place
    }

    /// A publisher was told that its publication is not one.
    pub fn refuse(&mut self, number: usize) {
        let publication = &mut self.publications[number];
        publication.was_refused = true;
        assert!(!publication.was_delivered, "{number} was refused, and delivered");
        self.tally.not_published += 1;
    }

    /// A connection was ended because its token has run out.
    pub fn expire(&mut self, pass: Option<&Pass>) {
        let until_us = pass.expect("only what came with a token ends with one").until_us();
        assert!(self.now_us >= until_us, "ended {} us early", until_us - self.now_us);
        self.tally.expired += 1;
    }
}

/// The numbers of all publications whose payloads stand in a text.
pub fn publications_in(text: &str) -> Vec<usize> {
    let number = |(at, _)| text.get(at + 4..at + 9)?.parse().ok();
    text.match_indices("pub-").filter_map(number).collect()
}

/// What an error's code, or an answer's status, says.
pub fn verdict(said: &str) -> Verdict {
    match said {
        "101" | "200" | "304" => Verdict::Good,
        "unauthorized" | "401" => Verdict::Unauthorized,
        "forbidden" | "403" => Verdict::Forbidden,
        other => panic!("{other} is no decision about rights"),
    }
}
