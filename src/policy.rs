//! What an operator may decide per channel: what is kept, who may publish, what befalls the slow.
//!
//! A [`Policies`] is a list of patterns, each with a [`Policy`]; a channel lives by the first that
//! matches its name. Vocabulary: of ours it imports only `ids`.
#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use crate::ids::ChannelName;

/// How the channels of one pattern live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a subscriber is owed.
    pub mode: Mode,
    /// What is kept for those who come back.
    pub history: Retention,
    /// What befalls a subscriber that falls too far behind.
    pub slow: Slow,
    /// Whether the number of subscribers is published to `{channel}:presence` when it changes, at
    /// most once a second.
    pub presence: bool,
    /// Who may subscribe.
    pub subscribe: Who,
    /// Which subscribers may publish, over `stentor.v1`.
    pub publish: Who,
}

/// Who may do something in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Everybody.
    Public,
    /// Who has a token that grants it.
    Token,
    /// Nobody.
    Nobody,
}

/// What a subscriber of a channel is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every publication, in order.
    Log,
    /// The newest publication of every key; who lags is spared what was replaced meanwhile.
    Latest,
}

/// How much of a channel is kept. A publication goes when it exceeds any of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Publications; 0 keeps nothing, and costs nothing. In [`Mode::Latest`], keys.
    pub count: u32,
    /// Payload bytes.
    pub bytes: usize,
    /// Time since the publication; `None` for ever.
    pub age: Option<Duration>,
}

/// What befalls a subscriber whose next publication is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slow {
    /// It goes on with the oldest that is kept, after a notice of the gap where the format has one.
    Skip,
    /// It is closed (1013, or the end of the stream) with the position to resume from.
    Close,
    /// It goes on with the newest publication, after a notice of the gap where the format has one.
    Latest,
}

impl Retention {
    /// Nothing is kept.
    pub const NONE: Retention = Retention { count: 0, bytes: 0, age: None };

    /// Whether nothing is kept.
    pub fn is_none(&self) -> bool {
        self.count == 0 || self.bytes == 0
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mode: Mode::Log,
            history: Retention::NONE,
            slow: Slow::Close,
            presence: false,
            subscribe: Who::Public,
            publish: Who::Nobody,
        }
    }
}

/// Names one of the patterns, in their order; the last, that of all other channels, matches always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatternId(pub u16);

/// A pattern of channel names: `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Any text is a pattern; one that is no name but for its `*` matches nothing.
    pub fn new(text: &str) -> Self {
        Pattern(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let Some(name) = name.strip_prefix(start) else { return false };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut name) = name.strip_suffix(end) else { return false };
        // Greedy from the left: whatever matches at all matches so.
        for piece in middle.split('*') {
            let Some(at) = name.find(piece) else { return false };
            name = &name[at + piece.len()..];
        }
        true
    }
}

/// Every pattern with its policy, in order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policies {
    patterns: Arc<[(Pattern, Policy)]>,
    /// Whether some policy lets subscribers publish. Asked with every read of a connection.
    may_publish: bool,
}

impl Policies {
    /// The patterns in order; what none matches lives by `Policy::default()`.
    pub fn new(patterns: impl IntoIterator<Item = (Pattern, Policy)>) -> Self {
        let rest = (Pattern::new("*"), Policy::default());
        let presence = (Pattern::new("*:presence"), PRESENCE);
        let patterns: Arc<[_]> = patterns.into_iter().chain([rest, presence]).collect();
        let may_publish = patterns.iter().any(|(_, policy)| policy.publish != Who::Nobody);
        Policies { patterns, may_publish }
    }

    /// Whether there are channels that subscribers may publish to.
    pub fn may_publish(&self) -> bool {
        self.may_publish
    }

    /// The pattern that a channel lives by: the first that matches; but the last is that of channels
    /// which tell the presence of others, whatever else would match. Those of probes have none of them.
    pub fn pattern(&self, channel: &ChannelName) -> PatternId {
        if channel.is_probe() {
            return PROBES;
        }
        if self.tells_presence(channel) {
            return PatternId(self.patterns.len() as u16 - 1);
        }
        PatternId(self.first(channel.as_str()) as u16)
    }

    fn first(&self, name: &str) -> usize {
        let matches = |(pattern, _): &(Pattern, Policy)| pattern.matches(name);
        self.patterns.iter().position(matches).expect("the last but one matches always")
    }

    /// A channel's policy.
    pub fn of(&self, channel: &ChannelName) -> &Policy {
        self.get(self.pattern(channel))
    }

    /// Whether the channel is there to tell the presence of another: `{channel}:presence`, where the
    /// other's policy says so.
    pub fn tells_presence(&self, channel: &ChannelName) -> bool {
        let other = channel.as_str().strip_suffix(PRESENCE_SUFFIX);
        other.is_some_and(|other| self.patterns[self.first(other)].1.presence)
    }

    /// Whether these are the very same.
    pub fn is_same(&self, other: &Policies) -> bool {
        Arc::ptr_eq(&self.patterns, &other.patterns)
    }

    /// Whether channels that live by these can live by `newer` from one moment to the next: the patterns
    /// are the same, and so is what channels are made of, which is their mode, whether anything of
    /// them is kept, and whether their presence is told.
    pub fn can_become(&self, newer: &Policies) -> bool {
        let made_of = |it: &Policy| (it.mode, it.history.is_none(), it.presence);
        let is_alike = |(older, newer): (&(Pattern, Policy), &(Pattern, Policy))| {
            older.0 == newer.0 && made_of(&older.1) == made_of(&newer.1)
        };
        self.patterns.len() == newer.patterns.len()
            && self.patterns.iter().zip(&*newer.patterns).all(is_alike)
    }

    /// The policy that says who may read a channel, and the name that it is about: of a channel that
    /// tells the presence of another, the other's.
    pub fn guarded<'a>(&self, channel: &'a ChannelName) -> (&Policy, &'a str) {
        match channel.as_str().strip_suffix(PRESENCE_SUFFIX) {
            Some(other) if self.tells_presence(channel) => {
                (&self.patterns[self.first(other)].1, other)
            }
            _ => (self.of(channel), channel.as_str()),
        }
    }

    /// Whether some policy wants a token, of subscribers or of those who publish.
    pub fn want_tokens(&self) -> bool {
        let wants = |policy: &Policy| [policy.subscribe, policy.publish].contains(&Who::Token);
        self.patterns.iter().any(|(_, policy)| wants(policy))
    }

    /// Whether everybody may subscribe to some channel.
    pub fn has_public(&self) -> bool {
        // What stands behind a pattern of all names is never reached.
        let all = self.patterns.iter().position(|(pattern, _)| pattern.as_str() == "*");
        let reached = &self.patterns[..=all.unwrap_or(0)];
        reached.iter().any(|(_, policy)| policy.subscribe == Who::Public)
    }

    /// A pattern's policy.
    pub fn get(&self, pattern: PatternId) -> &Policy {
        self.patterns.get(usize::from(pattern.0)).map_or(&PROBE, |(_, policy)| policy)
    }

    /// All of them, in order: those that were given, that of all other channels, and that of channels
    /// which tell the presence of others.
    pub fn iter(&self) -> impl Iterator<Item = (PatternId, &Pattern, &Policy)> {
        let numbered = self.patterns.iter().enumerate();
        numbered.map(|(at, (pattern, policy))| (PatternId(at as u16), pattern, policy))
    }
}

impl Default for Policies {
    fn default() -> Self {
        Policies::new([])
    }
}

/// What the channels of probes have instead of a pattern.
pub const PROBES: PatternId = PatternId(u16::MAX);

/// How the channels of probes live, whatever the patterns say.
const PROBE: Policy = Policy {
    mode: Mode::Log,
    history: Retention::NONE,
    slow: Slow::Skip,
    presence: false,
    subscribe: Who::Nobody,
    publish: Who::Nobody,
};

/// What a channel's name has behind it in the name of the one that tells its presence.
pub const PRESENCE_SUFFIX: &str = ":presence";

/// How channels live that tell the presence of others.
const PRESENCE: Policy = Policy {
    mode: Mode::Latest,
    history: Retention { count: 1, bytes: 1024, age: None },
    slow: Slow::Latest,
    presence: false,
    // Where another's presence is told, who may read the other decides.
    subscribe: Who::Public,
    publish: Who::Nobody,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A star stands for any characters, and everything else for itself.
    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "anything", true),
            ("ticker.*", "ticker.EURUSD", true),
            ("ticker.*", "ticker.", true),
            ("ticker.*", "ticker", false),
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*a*", "bab", true),
            ("*a*", "bbb", false),
            ("a**b", "axb", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} and {name}");
        }
    }

    /// The first pattern that matches decides, and what none matches lives by the default.
    #[test]
    fn the_first_pattern_decides() {
        let open = Policy { publish: Who::Public, ..Policy::default() };
        let counted = Policy { presence: true, ..Policy::default() };
        let policies = Policies::new([
            (Pattern::new("chat.*"), open.clone()),
            (Pattern::new("*.room"), counted.clone()),
        ]);
        let name = |text: &str| ChannelName::new(text).unwrap();
        assert_eq!(policies.of(&name("chat.room")), &open);
        assert_eq!(policies.of(&name("a.room")), &counted);
        assert_eq!(policies.of(&name("news")), &Policy::default());
        assert_eq!(policies.of(&name("a.room:presence")), &PRESENCE);
        assert_eq!(policies.of(&name("chat.room:presence")), &open);
        assert_eq!(policies.pattern(&name("a.room:presence")), PatternId(3));
        assert_eq!(policies.pattern(&name("news")), PatternId(2));
        let probe = ChannelName::probes(1).remove(0);
        assert_eq!(Policies::new([(Pattern::new("*"), open.clone())]).of(&probe), &PROBE);
        assert!(policies.may_publish());
        assert!(!Policies::new([(Pattern::new("*.room"), counted)]).may_publish());
    }

    /// Who may read a channel may read its presence, and nobody else may.
    #[test]
    fn presence_is_guarded_like_its_channel() {
        let closed = Policy { presence: true, subscribe: Who::Token, ..Policy::default() };
        let all = |policy| Policies::new([(Pattern::new("*"), policy)]);
        let policies = Policies::new([(Pattern::new("room.*"), closed.clone())]);
        let guarded = |text: &str| {
            let name = ChannelName::new(text).unwrap();
            let (policy, name) = policies.guarded(&name);
            (policy.subscribe, name.to_owned())
        };
        assert_eq!(guarded("room.a"), (Who::Token, "room.a".to_owned()));
        assert_eq!(guarded("room.a:presence"), (Who::Token, "room.a".to_owned()));
        assert_eq!(guarded("other:presence"), (Who::Public, "other:presence".to_owned()));
        assert!(policies.want_tokens() && policies.has_public());
        assert!(!all(closed).has_public() && !Policies::default().want_tokens());
    }
}
