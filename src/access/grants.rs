//! What a good token grants.

use super::{Scopes, paces::Publisher};
use crate::policy::Pattern;

/// What a token grants, to whom, and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `sub`: whose token it is.
    pub subject: Option<Box<str>>,
    /// Seconds since 1970 from which on it is worth nothing: `exp`, and the leeway.
    pub until: u64,
    /// `connections`: how many its subject may have at one time.
    pub connections: Option<u32>,
    /// `publish_rate`: how often a second may be published with it, if it says so; 0 is no limit.
    pub publish_rate: Option<u32>,
    /// With whom it shares that.
    pub(super) publisher: Publisher,
    /// `control`: what it may do at the control listener besides publishing.
    pub control: Scopes,
    /// `subscribe`: names, and beginnings of names that end in `*`.
    pub subscribe: Box<[Pattern]>,
    /// `publish`: the same.
    pub publish: Box<[Pattern]>,
}

impl Grants {
    /// Whether it lets somebody read this channel.
    pub fn may_subscribe(&self, channel: &str) -> bool {
        self.subscribe.iter().any(|pattern| pattern.matches(channel))
    }

    /// Whether it lets somebody publish to this channel.
    pub fn may_publish(&self, channel: &str) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(channel))
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let of = |patterns: &[Pattern]| -> usize {
            patterns.iter().map(|pattern| pattern.as_str().len() + size_of::<Pattern>()).sum()
        };
        size_of::<Grants>()
            + self.subject.as_ref().map_or(0, |subject| subject.len())
            + of(&self.subscribe)
            + of(&self.publish)
    }
}
