//! Lines: standard input, a Unix socket, a TCP address.
//!
//! Each connection is read by a task of its own, which hands over the lines of one read and reads on
//! once all of them have a place at their shards. So a sender is slowed down by its own channels
//! alone: where one shard has no room, the connections whose next line is for it wait, and the others
//! go on. What is held is bounded by a line and a read for each connection.
//!
//! Promises: the lines of a connection are published in their order. Between connections there is
//! none. No line is lost, but one that a connection which broke off had not ended.
//!
//! A line can be anybody's who can connect: a Unix socket is for its owner and group, an address
//! should be one that only senders reach.
#![forbid(unsafe_code)]

mod door;
mod record;
mod split;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, stdin},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{Fault, Feed, Reader, Running};
use crate::{
    inputs::{Input, LinesFrom, Skip, Source},
    limits::{LINE_SLACK_BYTES, LINES_CONNECTIONS_MAX},
    mapping::Mapped,
};
use door::{Door, Stream};
use record::{Bare, Record};
use split::{Cut, Splitter};

pub(super) fn reader(input: Input) -> Box<dyn Reader> {
    Box::new(lines(input))
}

fn lines(input: Input) -> Lines {
    let Source::Lines(lines) = input.source else { unreachable!("the caller looks at the source") };
    let (sender, batches) = mpsc::channel(LINES_CONNECTIONS_MAX);
    let reading = Reading {
        is_json: lines.is_json,
        is_whole: input.mapping.payload.is_none(),
        has_key: input.mapping.key.is_some(),
    };
    Lines {
        name: input.name,
        from: lines.from,
        reading,
        door: None,
        sender: Some(sender),
        batches,
        waiting: VecDeque::new(),
        connections: JoinSet::new(),
        refused: JoinSet::new(),
    }
}

struct Lines {
    name: Box<str>,
    from: LinesFrom,
    reading: Reading,
    door: Option<Door>,
    /// `None` once standard input is being read, so that its end is the end of the batches.
    sender: Option<mpsc::Sender<Batch>>,
    batches: mpsc::Receiver<Batch>,
    /// Batches with lines that are not handed over: at most one of each connection.
    waiting: VecDeque<Batch>,
    connections: JoinSet<()>,
    /// Connections that are being told why they are closed.
    refused: JoinSet<()>,
}

/// How lines become records.
#[derive(Clone, Copy)]
struct Reading {
    is_json: bool,
    /// Whether the payload is sent as it is, and so of the kind that its line says.
    is_whole: bool,
    /// Whether the mapping makes the key, and not the line.
    has_key: bool,
}

/// Lines of one connection, which reads on when they have gone.
struct Batch {
    lines: VecDeque<Cut>,
    /// A line that found no place.
    stuck: Option<Mapped>,
    _taken: oneshot::Sender<()>,
}

/// What woke the reader.
enum News {
    Batch(Option<Batch>),
    Connection(std::io::Result<Stream>),
    Room,
}

impl Reader for Lines {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async {
            if let Err(fault) = self.open(feed.publication_bytes_max()).await {
                return fault;
            }
            feed.on_connected();
            feed.on_caught_up().await;
            loop {
                self.hand_over(feed);
                feed.flush();
                match self.news(feed).await {
                    News::Batch(Some(batch)) => self.waiting.push_back(batch),
                    News::Batch(None) => {
                        // So that what becomes of the last lines is counted, too.
                        feed.settle(feed.last()).await;
                        return Fault::Over;
                    }
                    News::Connection(Ok(stream)) => self.admit(stream, feed),
                    News::Connection(Err(why)) => {
                        return Fault::Lost(format!("cannot accept connections: {why}"));
                    }
                    News::Room => (),
                }
            }
        })
    }
}

impl Lines {
    async fn open(&mut self, publication_max: usize) -> Result<(), Fault> {
        match &self.from {
            LinesFrom::Stdin => {
                if let Some(sender) = self.sender.take() {
                    self.connections.spawn(read(stdin(), line_max(publication_max), sender));
                }
            }
            _ if self.door.is_some() => (),
            LinesFrom::Tcp(address) => self.listen(Door::tcp(*address).await?),
            LinesFrom::Unix(path) => self.listen(Door::unix(path)?),
        }
        Ok(())
    }

    fn listen(&mut self, door: Door) {
        tracing::info!("input {}: listens on {door}", self.name);
        self.door = Some(door);
    }

    async fn news(&mut self, feed: &mut Feed) -> News {
        let has_waiting = !self.waiting.is_empty();
        let accept = async {
            match &self.door {
                Some(door) => door.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            batch = self.batches.recv() => News::Batch(batch),
            connection = accept => News::Connection(connection),
            () = feed.room(), if has_waiting => News::Room,
        }
    }

    /// Hands over what finds a place. Batches take turns.
    fn hand_over(&mut self, feed: &mut Feed) {
        for _ in 0..self.waiting.len() {
            let Some(mut batch) = self.waiting.pop_front() else { return };
            if !batch.hand_over(self.reading, feed) {
                self.waiting.push_back(batch);
            }
        }
    }

    /// Reads a connection, or tells it that there are too many.
    fn admit(&mut self, stream: Stream, feed: &mut Feed) {
        while self.connections.try_join_next().is_some() {}
        while self.refused.try_join_next().is_some() {}
        let Some(sender) = self.sender.clone() else { return };
        if self.connections.len() < LINES_CONNECTIONS_MAX {
            let line_max = line_max(feed.publication_bytes_max());
            self.connections.spawn(read(stream, line_max, sender));
        } else if self.refused.len() < LINES_CONNECTIONS_MAX {
            self.refused.spawn(async { drop(timeout(FAREWELL_MAX, refuse(stream)).await) });
        }
    }
}

impl Batch {
    /// Whether all of it found a place, or goes nowhere.
    fn hand_over(&mut self, reading: Reading, feed: &mut Feed) -> bool {
        loop {
            let next = match self.stuck.take() {
                Some(mapped) => Some(mapped),
                None => match self.lines.pop_front() {
                    Some(line) => reading.map(line, feed),
                    None => return true,
                },
            };
            if let Some(mapped) = next
                && let Err(mapped) = feed.try_put_mapped(mapped)
            {
                self.stuck = Some(mapped);
                return false;
            }
        }
    }
}

impl Reading {
    fn map(self, line: Cut, feed: &mut Feed) -> Option<Mapped> {
        let line = match line {
            Cut::Line(line) => line,
            Cut::TooLong(len) => {
                feed.on_record(len);
                let most = line_max(feed.publication_bytes_max());
                feed.skip(Skip::TooLarge, &format!("a line of {len} bytes is above {most}"));
                return None;
            }
        };
        if !self.is_json {
            return feed.map(&Bare, line);
        }
        match Record::read(&line) {
            Ok(record) => self.map_record(record, feed),
            Err(why) => {
                feed.on_record(line.len());
                feed.skip(Skip::Malformed, &why);
                None
            }
        }
    }

    fn map_record(self, mut record: Record, feed: &mut Feed) -> Option<Mapped> {
        let payload: Bytes = std::mem::take(&mut record.payload);
        let mut mapped = feed.map(&record, payload)?;
        if self.is_whole {
            mapped.kind = record.kind;
        }
        if !self.has_key {
            mapped.key = record.key;
        }
        Some(mapped)
    }
}

/// Bytes of a line: a publication in base64, and what stands around it.
fn line_max(publication_max: usize) -> usize {
    publication_max.div_ceil(3) * 4 + LINE_SLACK_BYTES
}

/// Reads a stream's lines until it ends.
async fn read(mut stream: impl AsyncRead + Unpin, line_max: usize, batches: mpsc::Sender<Batch>) {
    let mut splitter = Splitter::new(line_max);
    loop {
        let read = stream.read_buf(splitter.room()).await;
        let mut lines: VecDeque<Cut> = std::iter::from_fn(|| splitter.next_line()).collect();
        let is_over = !matches!(read, Ok(1..));
        // A line that its sender could not end would be half of one.
        if matches!(read, Ok(0)) {
            lines.extend(std::mem::replace(&mut splitter, Splitter::new(line_max)).finish());
        }
        if !lines.is_empty() {
            let (taken, until_taken) = oneshot::channel();
            let batch = Batch { lines, stuck: None, _taken: taken };
            if batches.send(batch).await.is_err() {
                return;
            }
            let _ = until_taken.await;
        }
        if is_over {
            return;
        }
    }
}

/// Says why a connection is closed, and reads until its other side has closed it, too: closing what
/// has bytes unread would take the words back.
async fn refuse(mut stream: Stream) {
    let words = format!(
        "there are {LINES_CONNECTIONS_MAX} connections already, as many as may be; close one\n"
    );
    let _ = stream.write_all(words.as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut ignored = [0; 4096];
    while let Ok(1..) = stream.read(&mut ignored).await {}
}

/// Time for a connection that is one too many to hear so.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
