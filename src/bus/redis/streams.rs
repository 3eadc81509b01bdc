//! Streams, several in one input.
//!
//! Each round asks for the entries behind the last that was read, and right behind it, in the same
//! batch of commands, for the state of the streams: before an entry is published it is known whether
//! others were trimmed before it. An entry stands at its id (`ms << 64 | sequence`), in a numbering made
//! of the key alone, so any number of edges agree.
//!
//! Limits: a stream that is deleted and made anew with greater ids, as those that Redis makes are,
//! goes on in its numbering, with a hole where something may have been lost. With lower ids it gets a
//! numbering made of its first id and the one before. An edge that starts later does not know of the first and uses the key's
//! numbering again; a client that moves between the two is told that it may have missed
//! something. Whoever gives ids himself keeps them rising, or takes another key.

use std::time::Duration;

use redis::{
    Pipeline, ProtocolVersion, RedisError, RedisResult, Value, aio::MultiplexedConnection,
};

use super::{
    Fault, Feed, Reader, Running, Server,
    id::Id,
    key::{Key, Round, Way},
    pace::Pace,
    reply::{self, Entry, Summary},
};
use crate::inputs::{RedisStreams, StartAt};

/// The longest that the server holds an answer back while nothing comes; then the state of the
/// streams is looked at anyway.
const BLOCK: Duration = Duration::from_secs(1);

/// Reads streams.
pub(super) struct Streams {
    url: String,
    start: StartAt,
    way: Way,
    keys: Vec<Key>,
    pace: Pace,
    /// Streams that had something at last: they share what is asked for.
    busy: usize,
}

impl Streams {
    pub(super) fn new(input: Box<str>, source: RedisStreams, is_numbered: bool) -> Self {
        let RedisStreams { url, streams, payload_field, start } = source;
        let mut keys: Vec<Key> = Vec::new();
        for name in streams {
            if !keys.iter().any(|key| key.name == name) {
                keys.push(Key::new(name));
            }
        }
        let way = Way { input, payload_field, is_numbered };
        Streams { url, start, way, keys, pace: Pace::new(), busy: 1 }
    }

    async fn read(&mut self, feed: &mut Feed) -> Result<Fault, Fault> {
        let server = Server::new(&self.url, ProtocolVersion::RESP2)?;
        let mut connection = server.connect(Server::config()).await?;
        self.begin(&server, &mut connection, feed).await?;
        feed.on_connected();
        let mut is_caught_up = false;
        loop {
            let rounds = self.round(&server, &mut connection, is_caught_up).await?;
            let mut lag = Some(0);
            for (key, round) in self.keys.iter_mut().zip(rounds) {
                lag = lag.zip(key.take(round, &self.way, feed).await).map(|(all, own)| all + own);
            }
            feed.flush();
            feed.state().set_lag(lag);
            if !is_caught_up && self.keys.iter().all(|key| key.is_caught_up) {
                is_caught_up = true;
                feed.on_caught_up().await;
            }
        }
    }

    /// Finds where to begin in each stream that was not read before.
    async fn begin(
        &mut self,
        server: &Server,
        connection: &mut MultiplexedConnection,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        let mut pipeline = redis::pipe();
        self.ask_states(&mut pipeline);
        let answers = ask(server, connection, pipeline, "read streams (XINFO)").await?;
        for (at, answer) in answers.into_iter().enumerate() {
            let summary = state(server, &self.keys[at].name, answer)?;
            if self.keys[at].on_connected(summary.as_ref()) {
                continue;
            }
            let last = match &summary {
                Some(summary) => self.start_of(at, summary, server, connection).await?,
                None => self.behind()?.unwrap_or_default(),
            };
            self.keys[at].begin(last, summary.as_ref(), &self.way, feed).await;
        }
        Ok(())
    }

    /// The id behind which a stream is read that was not read before. What was trimmed by then is not
    /// missed: it is below.
    async fn start_of(
        &mut self,
        at: usize,
        summary: &Summary,
        server: &Server,
        connection: &mut MultiplexedConnection,
    ) -> Result<Id, Fault> {
        let Some(first) = summary.first else {
            return Ok(self.behind()?.unwrap_or_default().max(summary.last));
        };
        let last = match self.start {
            StartAt::New | StartAt::History(0) | StartAt::Last(0) => return Ok(summary.last),
            StartAt::History(count) | StartAt::Last(count) => {
                self.newest(at, count, server, connection).await?.unwrap_or(first).before()
            }
            StartAt::All => first.before(),
            StartAt::Behind(_) => self.behind()?.unwrap_or_default(),
            StartAt::Time(ms) => Id::of_ms(ms).before(),
        };
        Ok(last.max(first.before()))
    }

    /// The id that the setting names, if it names one.
    fn behind(&self) -> Result<Option<Id>, Fault> {
        let StartAt::Behind(text) = &self.start else { return Ok(None) };
        let id = Id::parse(text.as_bytes()).ok_or_else(|| {
            Fault::Refused(format!(
                "start=behind:{text} has no id of a stream; write one like 1526919030474-55"
            ))
        })?;
        Ok(Some(id))
    }

    /// The id of the entry that is so many from the end, or of the first if there are fewer.
    async fn newest(
        &mut self,
        at: usize,
        count: u64,
        server: &Server,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<Id>, Fault> {
        let (mut left, mut oldest, mut end) = (count, None, "+".to_owned());
        while left > 0 {
            let asked = left.min(self.pace.entries() as u64);
            let mut pipeline = redis::pipe();
            let name = &self.keys[at].name;
            pipeline.cmd("XREVRANGE").arg(name).arg(&end).arg("-").arg("COUNT").arg(asked);
            let answer = ask(server, connection, pipeline, "read back (XREVRANGE)").await?.pop();
            let entries = ok(server, answer, "read back (XREVRANGE)").map(reply::entries)?;
            let entries = entries.ok_or_else(|| strange(server))?;
            let is_full = entries.len() as u64 == asked;
            let bytes = entries.iter().map(Entry::bytes).sum();
            self.pace.on_answer(is_full, entries.len(), bytes);
            let Some(last) = entries.last() else { break };
            oldest = Some(last.id);
            left -= (entries.len() as u64).min(left);
            if last.id == Id(0) || !is_full {
                break;
            }
            end = last.id.before().to_string();
        }
        Ok(oldest)
    }

    /// Asks for what is behind the last that was read, and for the state of the streams then. `waits`:
    /// the server may hold the answer back until there is something.
    async fn round(
        &mut self,
        server: &Server,
        connection: &mut MultiplexedConnection,
        waits: bool,
    ) -> Result<Vec<Round>, Fault> {
        let mut pipeline = redis::pipe();
        let each = (self.pace.entries() / self.busy).max(1);
        pipeline.cmd("XREAD").arg("COUNT").arg(each);
        if waits {
            pipeline.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        pipeline.arg("STREAMS");
        for key in &self.keys {
            pipeline.arg(&key.name);
        }
        for key in &self.keys {
            pipeline.arg(key.last().to_string());
        }
        self.ask_states(&mut pipeline);
        let mut answers = ask(server, connection, pipeline, "read streams").await?.into_iter();
        let read = ok(server, answers.next(), "read streams (XREAD)")?;
        let mut read = reply::streams(read).ok_or_else(|| strange(server))?;
        let all = || read.iter().flat_map(|(_, entries)| entries);
        let is_full = read.iter().any(|(_, entries)| entries.len() >= each);
        self.pace.on_answer(is_full, all().count(), all().map(Entry::bytes).sum());
        self.busy = read.len().max(1);
        let mut rounds = Vec::with_capacity(self.keys.len());
        for (key, answer) in self.keys.iter().zip(answers) {
            let summary = state(server, &key.name, answer)?;
            let own = read.iter_mut().find(|(name, _)| name == key.name.as_bytes());
            let entries = own.map(|(_, entries)| std::mem::take(entries)).unwrap_or_default();
            rounds.push(Round { entries, summary });
        }
        Ok(rounds)
    }

    fn ask_states(&self, pipeline: &mut Pipeline) {
        for key in &self.keys {
            pipeline.cmd("XINFO").arg("STREAM").arg(&key.name);
        }
    }
}

impl Reader for Streams {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async { Streams::read(self, feed).await.unwrap_or_else(|fault| fault) })
    }
}

/// Sends commands, and returns the answer to each.
async fn ask(
    server: &Server,
    connection: &mut MultiplexedConnection,
    mut commands: Pipeline,
    doing: &str,
) -> Result<Vec<RedisResult<Value>>, Fault> {
    let answers = commands.ignore_errors().query_async(connection).await;
    answers.map_err(|error| server.fault(&error, doing))
}

fn ok(server: &Server, answer: Option<RedisResult<Value>>, doing: &str) -> Result<Value, Fault> {
    answer.ok_or_else(|| strange(server))?.map_err(|error| server.fault(&error, doing))
}

/// The state of a stream; none if there is no such key.
fn state(
    server: &Server,
    name: &str,
    answer: RedisResult<Value>,
) -> Result<Option<Summary>, Fault> {
    match answer {
        Err(error) if is_missing(&error) => Ok(None),
        answer => {
            let answer = ok(server, Some(answer), &format!("read stream '{name}' (XINFO)"))?;
            Summary::new(answer).map(Some).ok_or_else(|| strange(server))
        }
    }
}

fn is_missing(error: &RedisError) -> bool {
    error.detail().is_some_and(|said| said.contains("no such key"))
}

fn strange(server: &Server) -> Fault {
    Fault::Refused(format!("{} answers as no Redis does; see the key `url`", server.name))
}
