//! `POST /publish/{channel}?lines`: every line of the body is one publication.
//!
//! A line ends with `\n`; one `\r` right before it belongs to the end. A last line without an end
//! counts, and its bytes are taken as they are. Empty lines are skipped, but counted where an
//! error names a line.
//!
//! A line that is refused, by us or by its shard, ends the stream: no further line is handed over.
//! Those that were already may have been published, and are counted.
//!
//! Promises: lines are published in their order and none is skipped in silence. When the shard has
//! no room the body is read no further, so TCP slows the publisher down. What a stream holds is
//! bounded: one line, one piece of input, and a window of unanswered publications.

use std::collections::VecDeque;

use axum::{
    body::Body,
    http::{StatusCode, request::Parts},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    Plane, body, entitle,
    forward::{self, Way},
    publish::{draining, rejection, stuck, wait_for},
    publisher::{Content, Pending},
    reply::{Refusal, reply_json},
    terms,
};
use crate::{
    ids::{ChannelName, Position, ShardId},
    limits::{FORWARDS_MAX, LINES_IN_FLIGHT_BYTES},
    mesh::Accepted,
};

#[derive(Serialize)]
struct Published<'a> {
    channel: &'a str,
    published: u64,
    first: Option<String>,
    last: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Publishes the lines of `body` and says how many were, whatever happened in the middle.
pub(super) async fn publish(
    plane: &Plane,
    head: &Parts,
    (channel, way): (ChannelName, Option<Way<'_>>),
    is_json: bool,
    body: &mut Body,
) -> Response {
    let mut stream = Stream::new(plane, head, (channel, way), is_json);
    let outcome = stream.run(body).await;
    let error = outcome.as_ref().err().map(|refusal| refusal.reason.as_str());
    let published = Published {
        channel: stream.channel.as_str(),
        published: stream.published,
        first: stream.ends.map(|(first, _)| first.to_string()),
        last: stream.ends.map(|(_, last)| last.to_string()),
        forwarded: way.map(|way| way.name),
        error,
    };
    match &outcome {
        Ok(()) => reply_json(StatusCode::OK, &published),
        Err(refusal) => refusal.with_json(&published),
    }
}

/// One stream of lines to one channel.
struct Stream<'a> {
    plane: &'a Plane,
    /// Of the request: who asks, and whose child each line is, for whoever follows it.
    head: &'a Parts,
    channel: ChannelName,
    home: ShardId,
    /// To the bus that feeds the channel, if one does.
    way: Option<Way<'a>>,
    /// Whether each line must be JSON.
    is_json: bool,
    /// What was handed over and is not answered yet, oldest first.
    window: VecDeque<Waiting<'a>>,
    window_max: usize,
    window_bytes: usize,
    /// How many were answered, and the positions of the first and the last of them.
    published: u64,
    ends: Option<(Position, Position)>,
    /// Why the first line was not published that its shard or its bus refused.
    rejected: Option<Refusal>,
}

/// A line that was handed over.
struct Waiting<'a> {
    pending: Answerer<'a>,
    bytes: usize,
    /// Its number, from 1.
    line: u64,
}

/// Who will answer for a line.
enum Answerer<'a> {
    Shard(Pending),
    Bus(Way<'a>, forward::Pending),
}

impl<'a> Stream<'a> {
    fn new(
        plane: &'a Plane,
        head: &'a Parts,
        (channel, way): (ChannelName, Option<Way<'a>>),
        is_json: bool,
    ) -> Self {
        let home = plane.publisher.home(&channel);
        Stream {
            plane,
            head,
            channel,
            home,
            way,
            is_json,
            window: VecDeque::new(),
            window_max: match way {
                Some(_) => FORWARDS_MAX / 4,
                None => plane.publisher.window(home),
            },
            window_bytes: 0,
            published: 0,
            ends: None,
            rejected: None,
        }
    }

    async fn run(&mut self, body: &mut Body) -> Result<(), Refusal> {
        let Ok(_running) = self.plane.line_streams.try_acquire() else {
            let reason = "as many streams of lines as allowed are running; try again later";
            return Err(Refusal::later(self.plane.settings().retry_after, reason));
        };
        let handed_over = self.hand_over_all(body).await;
        // What was handed over will be published, so it is counted even after an error.
        self.plane.publisher.wake(self.home);
        let answered = self.hear_all().await;
        // Whatever else went wrong came behind that line.
        match self.rejected.take() {
            Some(rejected) => Err(rejected),
            None => handed_over.and(answered),
        }
    }

    async fn hand_over_all(&mut self, body: &mut Body) -> Result<(), Refusal> {
        let mut splitter = Splitter::new(self.plane.settings().publication_max);
        while let Some(piece) = self.next_piece(body).await? {
            splitter.push(&piece);
            while let Some(line) = splitter.next_line().map_err(TooLong::refusal)? {
                self.hand_over(splitter.lines, line).await?;
            }
            self.plane.publisher.wake(self.home);
        }
        let last = splitter.lines + 1;
        match splitter.finish().map_err(TooLong::refusal)? {
            Some(line) => self.hand_over(last, line).await,
            None => Ok(()),
        }
    }

    async fn next_piece(&self, body: &mut Body) -> Result<Option<Bytes>, Refusal> {
        tokio::select! {
            piece = body::next_piece(body, self.plane.settings().lines_timeout) => piece,
            () = self.plane.drained() => Err(draining(self.plane)),
        }
    }

    async fn hand_over(&mut self, line: u64, bytes: Bytes) -> Result<(), Refusal> {
        if self.plane.is_draining() {
            return Err(draining(self.plane));
        }
        entitle::pace(self.plane, &self.head.extensions)
            .map_err(|refusal| of_line(line, refusal))?;
        let len = bytes.len();
        let content = terms::content(bytes, self.is_json, None);
        let content = content.map_err(|why| why.refusal(&format!("line {line}")))?;
        while !self.has_room(len) {
            self.plane.publisher.wake(self.home);
            self.hear_oldest().await?;
        }
        let pending = self.hand_over_to(content).await?;
        self.window.push_back(Waiting { pending, bytes: len, line });
        self.window_bytes += len;
        Ok(())
    }

    async fn hand_over_to(&self, mut content: Content) -> Result<Answerer<'a>, Refusal> {
        if let Some(way) = self.way {
            let pending = way.publish_line(self.plane, &self.channel, content).await;
            return pending.map(|pending| Answerer::Bus(way, pending));
        }
        content.span = self.plane.follow(&self.head.headers);
        let answer_timeout = self.plane.settings().answer_timeout;
        let place = self.plane.publisher.publish_line(&self.channel, content);
        match timeout(answer_timeout, place).await {
            Ok(pending) => Ok(Answerer::Shard(pending)),
            Err(_) => {
                let reason = format!("the channel's shard made no room within {answer_timeout:?}");
                Err(stuck(reason))
            }
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.window.is_empty()
            || (self.window.len() < self.window_max
                && self.window_bytes + bytes <= LINES_IN_FLIGHT_BYTES)
    }

    /// Waits for all answers, as long as the shard gives any.
    async fn hear_all(&mut self) -> Result<(), Refusal> {
        while !self.window.is_empty() {
            match self.hear_oldest().await {
                Err(refusal) if refusal.status == StatusCode::GATEWAY_TIMEOUT => {
                    return Err(refusal);
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Waits for the oldest answer.
    async fn hear_oldest(&mut self) -> Result<(), Refusal> {
        let Some(Waiting { pending, bytes, line }) = self.window.pop_front() else { return Ok(()) };
        self.window_bytes -= bytes;
        let answer = match pending {
            Answerer::Shard(pending) => match wait_for(self.plane, pending).await? {
                Ok(Accepted { position, .. }) => Ok(Some(position)),
                Err(rejected) => Err(rejection(self.plane, rejected)),
            },
            Answerer::Bus(way, pending) => way.wait_for(self.plane, pending).await,
        };
        match answer {
            Ok(position) => {
                self.published += 1;
                if let Some(last) = position {
                    let first = self.ends.map_or(last, |(first, _)| first);
                    self.ends = Some((first, last));
                }
                Ok(())
            }
            Err(refusal) => {
                let refusal = of_line(line, refusal);
                self.rejected.get_or_insert_with(|| refusal.clone());
                Err(refusal)
            }
        }
    }
}

fn of_line(line: u64, refusal: Refusal) -> Refusal {
    Refusal { reason: format!("line {line}: {}", refusal.reason), ..refusal }
}

/// Cuts bytes, in whatever pieces they come, into lines of at most `line_max` bytes.
pub(super) struct Splitter {
    /// What has not been given out.
    bytes: BytesMut,
    /// How many of those are known to hold no end of line.
    searched: usize,
    /// Lines that ended so far.
    pub(super) lines: u64,
    line_max: usize,
}

/// The line with this number, from 1, has more bytes than are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    line: u64,
    line_max: usize,
}

impl TooLong {
    pub(super) fn refusal(self) -> Refusal {
        let TooLong { line, line_max } = self;
        let reason = format!("line {line} is longer than {line_max} bytes, the limit here");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    }
}

impl Splitter {
    pub(super) fn new(line_max: usize) -> Self {
        Splitter { bytes: BytesMut::new(), searched: 0, lines: 0, line_max }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next line that is not empty, without its end, or `None` if more input is needed.
    pub(super) fn next_line(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let unsearched = &self.bytes[self.searched..];
            let Some(end) = unsearched.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.bytes.len();
                return self.check_unended();
            };
            let mut line = self.bytes.split_to(self.searched + end + 1);
            (self.searched, self.lines) = (0, self.lines + 1);
            line.truncate(line.len() - 1);
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.line_max {
                return Err(TooLong { line: self.lines, line_max: self.line_max });
            }
            if !line.is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }

    /// A line without an end may be as long as allowed, and then there may be a `\r`.
    fn check_unended(&self) -> Result<Option<Bytes>, TooLong> {
        let ending = usize::from(self.bytes.last() == Some(&b'\r'));
        if self.bytes.len() - ending > self.line_max {
            return Err(TooLong { line: self.lines + 1, line_max: self.line_max });
        }
        Ok(None)
    }

    /// The last line, if it has no end. To be asked when there is no more input.
    pub(super) fn finish(self) -> Result<Option<Bytes>, TooLong> {
        if self.bytes.len() > self.line_max {
            return Err(TooLong { line: self.lines + 1, line_max: self.line_max });
        }
        Ok(Some(self.bytes.freeze()).filter(|line| !line.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut into pieces, the lines are those of the whole, up to the first
    /// that is too long.
    ///
    /// Method: random texts of letters, `\r` and `\n` in random pieces, compared with an oracle
    /// that sees the whole text at once.
    #[test]
    fn lines_do_not_depend_on_how_bytes_arrive() {
        for seed in 1..3000 {
            let mut random = Xorshift(seed);
            let text: Vec<u8> =
                (0..random.below(40)).map(|_| b"aab\r\n"[random.below(5)]).collect();
            let mut splitter = Splitter::new(4);
            let mut lines = Vec::new();
            let outcome = split(&text, &mut random, &mut splitter, &mut lines);
            let outcome = outcome.and_then(|()| splitter.finish());
            if let Ok(Some(last)) = &outcome {
                lines.push(last.clone());
            }
            let (expected, too_long) = oracle(&text, 4);
            assert_eq!(lines, expected, "seed {seed}: {text:?}");
            assert_eq!(outcome.err().map(|error| error.line), too_long, "seed {seed}: {text:?}");
        }
    }

    fn split(
        mut text: &[u8],
        random: &mut Xorshift,
        splitter: &mut Splitter,
        lines: &mut Vec<Bytes>,
    ) -> Result<(), TooLong> {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(1 + random.below(text.len()));
            text = rest;
            splitter.push(piece);
            while let Some(line) = splitter.next_line()? {
                lines.push(line);
            }
        }
        Ok(())
    }

    fn oracle(text: &[u8], line_max: usize) -> (Vec<Bytes>, Option<u64>) {
        let mut lines = Vec::new();
        let mut pieces = text.split(|&byte| byte == b'\n').peekable();
        for number in 1.. {
            let Some(piece) = pieces.next() else { break };
            let is_ended = pieces.peek().is_some();
            let line = piece.strip_suffix(b"\r").filter(|_| is_ended).unwrap_or(piece);
            if line.len() > line_max {
                return (lines, Some(number));
            }
            if !line.is_empty() {
                lines.push(Bytes::copy_from_slice(line));
            }
        }
        (lines, None)
    }

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }
}
