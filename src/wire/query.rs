//! What the query of a subscription asks for, and the headers that say the same: where to begin, in
//! which channels, and how long to wait.
//!
//! Parameters that are not known are ignored: pages add some to get past caches. A known one that
//! is malformed is refused with what would be right. Names and values are percent-decoded once.

use std::{str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;

use crate::{
    ids::{ChannelName, NotAChannel, Position},
    limits::SSE_CHANNELS_MAX,
    resume::Start,
};

/// The known parameters, decoded and not yet understood: an endpoint takes those that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    values: [Option<String>; NAMES.len()],
}

/// The parameters there are.
const NAMES: [&str; 5] = [SINCE, "last", "timeout", "channels", "token"];
const SINCE: &str = "since";

/// What is wrong with a query, or a header that stands for one. Its text says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A `%` that escapes nothing, or bytes that are not UTF-8.
    #[error("the value of {0} is not percent-encoded UTF-8; write % as %25")]
    Escape(&'static str),
    /// A parameter came again.
    #[error("the query has {0} twice; give it once")]
    Twice(&'static str),
    /// Not a position.
    #[error("{0} must be a position, epoch-offset, like 18c2f3a9d1e-42")]
    Position(&'static str),
    /// Not pairs of channel and position.
    #[error("{0} must be channel=position pairs, like news=18c2f3a9d1e-42,chat=18c2f3a9d1e-7")]
    Pairs(&'static str),
    /// A pair for a channel that was not asked for, or a second one.
    #[error("{0} may name each of the channels once, and no other channel")]
    PairsChannel(&'static str),
    /// Not a count.
    #[error("last must be a whole number, like 10")]
    Last,
    /// Two places to begin.
    #[error("since and last exclude each other; give one of them")]
    SinceAndLast,
    /// Not a duration.
    #[error("timeout must be seconds, like 25 or 0.5")]
    Timeout,
    /// Not the tag of an earlier answer.
    #[error("If-None-Match must be the ETag of an earlier answer, like \"18c2f3a9d1e-42\"")]
    Tag,
    /// No channel.
    #[error("name the channels, as in ?channels=news,chat, or one in the path")]
    NoChannels,
    /// More channels than [`SSE_CHANNELS_MAX`].
    #[error("channels may name {SSE_CHANNELS_MAX} at most; open another connection for more")]
    TooManyChannels,
    /// A channel came again.
    #[error("channels names a channel twice; name it once")]
    ChannelTwice,
    /// Not a channel.
    #[error(transparent)]
    Channel(#[from] NotAChannel),
}

impl Query {
    /// Takes the part of a target behind `?`.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut found = Query::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            let Some(at) = NAMES.iter().position(|&known| name.as_deref() == Some(known)) else {
                continue;
            };
            let value = decode(value).ok_or(QueryError::Escape(NAMES[at]))?;
            if found.values[at].replace(value).is_some() {
                return Err(QueryError::Twice(NAMES[at]));
            }
        }
        Ok(found)
    }

    /// Where a subscription to one channel begins.
    pub fn start(&self) -> Result<Start, QueryError> {
        match (self.since(), self.last()?) {
            (Some(_), Some(_)) => Err(QueryError::SinceAndLast),
            (Some(since), None) => position(SINCE, since).map(Start::Since),
            (None, last) => Ok(last.unwrap_or(Start::Live)),
        }
    }

    /// The same, where a header, if it was sent, wins over the query.
    pub fn start_or(&self, last_event_id: Option<&str>) -> Result<Start, QueryError> {
        match last_event_id {
            Some(id) if !id.is_empty() => position(LAST_EVENT_ID, id).map(Start::Since),
            _ => self.start(),
        }
    }

    /// The channels, each with where its subscription begins; none if none are named. `last` holds
    /// for those that `since`, or the header, which wins, does not name.
    pub fn channels(
        &self,
        last_event_id: Option<&str>,
    ) -> Result<Vec<(ChannelName, Start)>, QueryError> {
        let otherwise = self.last()?.unwrap_or(Start::Live);
        let mut channels: Vec<(ChannelName, Option<Start>)> = Vec::new();
        for name in self.values[3].iter().flat_map(|names| names.split(',')) {
            let name = ChannelName::new(name)?;
            if channels.iter().any(|(known, _)| *known == name) {
                return Err(QueryError::ChannelTwice);
            }
            if channels.len() == SSE_CHANNELS_MAX {
                return Err(QueryError::TooManyChannels);
            }
            channels.push((name, None));
        }
        let header = last_event_id.filter(|id| !id.is_empty()).map(|id| (LAST_EVENT_ID, id));
        if let Some((name, pairs)) = header.or(self.since().map(|since| (SINCE, since))) {
            for pair in pairs.split(',') {
                let (channel, at) = pair.split_once('=').ok_or(QueryError::Pairs(name))?;
                let at = at.parse().map_err(|_| QueryError::Pairs(name))?;
                let mut named = channels.iter_mut().filter(|(known, _)| known.as_str() == channel);
                match named.next() {
                    Some((_, start @ None)) => *start = Some(Start::Since(at)),
                    _ => return Err(QueryError::PairsChannel(name)),
                }
            }
        }
        let starts = channels.into_iter();
        Ok(starts.map(|(name, start)| (name, start.unwrap_or(otherwise))).collect())
    }

    /// How long to wait, if it says so.
    pub fn timeout(&self) -> Result<Option<Duration>, QueryError> {
        let Some(text) = &self.values[2] else { return Ok(None) };
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(QueryError::Timeout);
        }
        let seconds = f64::from_str(text).map_err(|_| QueryError::Timeout)?;
        // Longer than a duration can be is longer than anybody may wait.
        Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
    }

    /// The token that it shows, if it shows one.
    pub fn token(self) -> Option<String> {
        let [.., token] = self.values;
        token
    }

    fn since(&self) -> Option<&str> {
        self.values[0].as_deref()
    }

    fn last(&self) -> Result<Option<Start>, QueryError> {
        let Some(text) = &self.values[1] else { return Ok(None) };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let count = is_number.then(|| text.parse().ok()).flatten();
        count.map(|count| Some(Start::Last(count))).ok_or(QueryError::Last)
    }
}

/// The position in an `If-None-Match`. Proxies that compress make a tag weak, which changes nothing
/// here.
pub fn tag(if_none_match: &str) -> Result<Position, QueryError> {
    let strong = if_none_match.strip_prefix("W/").unwrap_or(if_none_match);
    let inner = strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    inner.and_then(|inner| inner.parse().ok()).ok_or(QueryError::Tag)
}

fn position(name: &'static str, text: &str) -> Result<Position, QueryError> {
    text.parse().map_err(|_| QueryError::Position(name))
}

/// `None` where an escape is broken, or what comes of it is not UTF-8.
fn decode(encoded: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    let is_whole = encoded.split('%').skip(1).all(is_escape);
    is_whole.then(|| percent_decode_str(encoded).decode_utf8().ok())?.map(Into::into)
}

const LAST_EVENT_ID: &str = "Last-Event-ID";

#[cfg(test)]
mod tests;
