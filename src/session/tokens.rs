//! What passes between a session and its shard about tokens.

use super::{Phase, Rules, Session};
use crate::{
    access::{Bearer, Refused},
    ids::ChannelName,
};

impl Session {
    /// What the peer's token grants, if it came with one that the shard has yet to be given: after a
    /// handshake, and after a command that brought a fresh one.
    pub fn take_bearer(&mut self) -> Option<Bearer> {
        match &mut self.phase {
            Phase::Pending(pending) => pending.bearer.take(),
            Phase::Streams(streams) => streams.bearer.take(),
            Phase::Poll(poll) => poll.bearer.take(),
            Phase::Commands(talk) => talk.bearer.take(),
            _ => None,
        }
    }

    /// The connection reads this channel. Called for each where a fresh token may not grant what it
    /// reads; what has to end is then called for.
    pub fn review(&mut self, channel: &ChannelName, rules: &Rules) {
        if let Phase::Commands(talk) = &mut self.phase {
            talk.review(channel, rules);
        }
    }

    /// Why the peer was refused, where that was about its token. For the log.
    pub fn barred(&self) -> Option<Refused> {
        match self.phase {
            Phase::Closing { barred, .. } => barred,
            _ => None,
        }
    }
}
