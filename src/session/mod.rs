//! One subscriber's conversation: events and `now` go in, bytes for the peer and one [`Step`] out.
//!
//! A session knows the protocol and its time-outs, nothing of sockets, channels' logs or cursors.
//! Publications to one channel's subscribers, and those of `stentor.v1`, do not pass through it: the
//! shard sends them once the session is live, and what a session writes to `out` goes between them,
//! at a frame's end. Long-polls and event streams of several channels write their own
//! ([`Reads::Composed`]).
//!
//! Promises: an established session of one channel that is idle owns no memory but its own 32 bytes;
//! the others own one block. Over a session's life, `out` grows by at most one byte per byte of
//! input, plus [`ANSWERS_MAX`], the pings or heartbeats that its deadlines bring, and what it is told
//! of gaps; commands and polls bring [`ANSWERED_PER_BYTE`] bytes for each of theirs. Nothing that a
//! peer sends can panic.
//!
//! Left to the shard: not to read while [`Session::takes_input`] says no, nor while too much of `out`
//! has yet to leave.
#![forbid(unsafe_code)]

mod bounds;
mod commands;
mod frames;
mod module;
mod poll;
mod reading;
mod request;
mod rules;
mod step;
mod streams;
mod tokens;

pub use crate::wire::forwarded::Client;
pub use rules::Rules;
pub use step::{Call, Delivery, NotPublished, Reads, Refused, Step};

use std::time::Duration;

use bounds::{Unfinished, jitter};
use commands::Conversation;
use poll::Poll;
use request::{Answer, Denied, Grant, grant};
use streams::Streams;

use crate::{
    access::{Bearer, Refused as Barred},
    close::CloseReason,
    frame::Format,
    ids::{ChannelName, Tick},
    limits::{CLOSING_SECONDS_MAX, RECEIVE_BYTES, TICK_MS},
    shield::Spent,
    wire::{
        http, sse,
        websocket::{self, Decoder},
    },
};

/// Bytes that a session writes for its handshake and its end together, at most, beyond as many as
/// the peer has sent.
pub const ANSWERS_MAX: usize = 1024;

/// Bytes that a session of commands, or of polls, writes for each byte that the peer has sent, at
/// most: an empty message of six bytes is told what would have been right.
pub const ANSWERED_PER_BYTE: usize = 32;

/// The conversation with one peer.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// When the clock of this phase began: see [`Session::deadline`].
    since: Tick,
    /// Since when the peer takes nothing of what is sent.
    blocked_since: Option<Tick>,
    /// Which part of a tenth of the ping interval this session is early: 65536ths.
    jitter: u16,
    /// What it has said of what it may.
    spent: Spent,
}

const _: () = assert!(size_of::<Session>() <= 32, "an idle connection has 200 bytes in all");

#[derive(Debug)]
enum Phase {
    /// The request head has yet to end. What came of it is kept, unless nothing came.
    Request(Option<Box<Kept>>),
    /// Accepted; the subscription is not yet live.
    Pending(Box<Pending>),
    /// Established: a subscriber of one channel, or an echo.
    WebSocket { decoder: Decoder, pinged: bool, echo: bool, unfinished: Unfinished },
    /// Established: an event stream of one channel.
    Sse,
    /// Established: `stentor.v1`.
    Commands(Box<Conversation>),
    /// An event stream of several channels, established once all are live.
    Streams(Box<Streams>),
    /// A long-poll that has yet to be answered.
    Poll(Box<Poll>),
    /// A long-poll was answered; nothing was heard since.
    Idle,
    /// The last bytes have been written; input is discarded. One that is patient may take as long
    /// for them as any other may take nothing. Of a conversation that ended behind what it published,
    /// the rest is that.
    Closing {
        reason: CloseReason,
        patient: bool,
        rest: Option<Box<Conversation>>,
        barred: Option<Barred>,
    },
}

/// The start of a request head.
#[derive(Debug)]
struct Kept {
    head: Vec<u8>,
}

#[derive(Debug)]
struct Pending {
    channel: ChannelName,
    /// Grants the request.
    answer: Answer,
    /// What the peer sent right behind its request.
    rest: Vec<u8>,
    /// What it came with, until the shard takes it.
    bearer: Option<Bearer>,
}

impl Session {
    /// A connection was accepted. `seed` spreads the pings of many such connections: those that
    /// are neighbours and came together are pinged together.
    pub fn new(now: Tick, seed: u32) -> Self {
        let (phase, spent) = (Phase::Request(None), Spent::default());
        Session { phase, since: now, blocked_since: None, jitter: jitter(seed), spent }
    }

    /// The connection was accepted only to be told that the server is full.
    pub fn refuse_full(&mut self, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        self.on_close(CloseReason::Overloaded, now, rules, out)
    }

    /// Bytes came from the peer.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        match &mut self.phase {
            Phase::Request(kept) => {
                let kept = kept.take();
                self.on_request(kept, bytes, now, rules, out)
            }
            Phase::Idle => {
                self.since = now;
                self.on_request(None, bytes, now, rules, out)
            }
            Phase::Pending(pending) => match keep(&mut pending.rest, bytes) {
                true => Step::Wait,
                false => self.drop_now(CloseReason::Policy),
            },
            Phase::Poll(poll) => match keep(&mut poll.rest, bytes) {
                true => Step::Wait,
                false => self.drop_now(CloseReason::Policy),
            },
            Phase::WebSocket { .. } => self.on_frames(bytes, now, rules, out),
            Phase::Commands(_) => self.on_commands(bytes, now, rules, out),
            Phase::Sse | Phase::Streams(_) => self.on_noise(now, rules, out),
            Phase::Closing { .. } => Step::Wait,
        }
    }

    /// The peer has finished sending. Nobody half-closes and reads on but by accident, and a
    /// subscriber that has gone looks the same, so it counts as gone.
    pub fn on_end(&mut self) -> Step {
        match self.phase {
            Phase::Closing { reason, .. } => Step::Drop(reason),
            _ => self.drop_now(CloseReason::PeerLeft),
        }
    }

    /// The server ends the conversation: a close frame, the end of the stream, or an HTTP error,
    /// whichever the peer understands now.
    pub fn on_close(
        &mut self,
        reason: CloseReason,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        match (&self.phase, reason) {
            (Phase::Closing { .. }, _) => return Step::Wait,
            // One cannot hear an answer, the other's socket has no room for it.
            (_, CloseReason::PeerLeft | CloseReason::PeerStalled) => return self.drop_now(reason),
            // Who asks for nothing is told nothing; who is not to ask, does.
            (Phase::Idle, reason) if reason != CloseReason::AddressLimited => {}
            (Phase::WebSocket { .. } | Phase::Commands(_), _) => {
                websocket::write_close(reason, out);
            }
            (Phase::Poll(poll), CloseReason::TokenExpired) if poll.is_live() => {
                return self.answer_poll(now, out);
            }
            (phase, _) if phase.is_event_stream() => {
                match (phase, reason) {
                    (Phase::Sse, CloseReason::TokenExpired) => out.extend_from_slice(sse::EXPIRED),
                    (_, CloseReason::TokenExpired) => {
                        out.extend_from_slice(sse::EXPIRED_OF_SEVERAL);
                    }
                    _ => {}
                }
                out.extend_from_slice(sse::END);
            }
            _ => match self.http_error(reason, rules) {
                Some(error) => error.write(out),
                None => return self.drop_now(reason),
            },
        }
        self.finish(reason, now)
    }

    /// Publications were sent, so no heartbeat is due on an event stream.
    pub fn on_delivered(&mut self, now: Tick) {
        if self.phase.is_event_stream() {
            self.since = now;
        }
    }

    /// The socket is full. Time counts from the first of several such calls.
    pub fn on_blocked(&mut self, now: Tick) {
        self.blocked_since.get_or_insert(now);
    }

    /// A socket that was full has taken something, so the peer lives. If it is full again, the
    /// shard says so again.
    pub fn on_progress(&mut self, now: Tick) {
        let is_closing = matches!(self.phase, Phase::Closing { patient: false, .. });
        let is_pending = matches!(self.phase, Phase::Pending(_) | Phase::Poll(_));
        if self.blocked_since.take().is_some() && !is_closing && !is_pending {
            self.since = now;
            self.go_on(now);
        }
    }

    /// When [`Session::on_deadline`] is to be called next, unless something happens before.
    ///
    /// A socket that is full is judged by what it takes alone: a ping could not reach its peer, and
    /// the pong that it owes may stand behind what the peer has not read.
    pub fn deadline(&self, rules: &Rules) -> Tick {
        let due = self.usual_deadline(rules);
        self.message_deadline(rules).map_or(due, |message| message.min(due))
    }

    fn usual_deadline(&self, rules: &Rules) -> Tick {
        let handshake = self.since.after(rules.handshake_timeout);
        match (&self.phase, self.blocked_since) {
            (Phase::Pending(_), _) => handshake,
            (Phase::Poll(poll), _) if poll.is_live() => self.since.after(poll.timeout),
            (Phase::Poll(_), _) => handshake,
            (Phase::Streams(streams), _) if !streams.is_live => handshake,
            (Phase::Closing { patient: false, .. }, _) => {
                self.since.after(Duration::from_secs(CLOSING_SECONDS_MAX))
            }
            (_, Some(blocked_since)) => blocked_since.after(rules.stall_timeout),
            (Phase::Closing { .. }, None) => {
                self.since.after(Duration::from_secs(CLOSING_SECONDS_MAX))
            }
            (Phase::Request(_) | Phase::Idle, None) => handshake,
            (phase, None) if phase.is_pinged() => self.since.after(rules.pong_timeout),
            (_, None) => {
                let early = rules.ping_interval / 10 * u32::from(self.jitter) / (1 << 16);
                together(self.since.after(rules.ping_interval - early), rules.ping_interval)
            }
        }
    }

    /// Time has passed. May be called early, and then does nothing.
    pub fn on_deadline(&mut self, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        if now < self.deadline(rules) {
            return Step::Wait;
        }
        let is_stalled = self.blocked_since.is_some();
        let is_late = self.message_deadline(rules).is_some_and(|due| now >= due);
        match &mut self.phase {
            Phase::Closing { reason, .. } => Step::Drop(*reason),
            Phase::Poll(poll) if poll.is_live() => self.answer_poll(now, out),
            Phase::Pending(_) | Phase::Poll(_) => {
                self.on_close(CloseReason::Overloaded, now, rules, out)
            }
            Phase::Streams(streams) if !streams.is_live => {
                self.on_close(CloseReason::Overloaded, now, rules, out)
            }
            _ if is_stalled => self.drop_now(CloseReason::PeerStalled),
            _ if is_late => self.on_close(CloseReason::MessageTimeout, now, rules, out),
            Phase::Request(_) => self.on_close(CloseReason::HandshakeTimeout, now, rules, out),
            // It was not asked for anything, so it did nothing wrong.
            Phase::Idle => self.on_close(CloseReason::PeerSilent, now, rules, out),
            phase if phase.is_pinged() => self.on_close(CloseReason::PeerSilent, now, rules, out),
            Phase::WebSocket { pinged, .. } => {
                *pinged = true;
                self.beat(websocket::PING, now, rules, out)
            }
            Phase::Commands(talk) => {
                talk.pinged = true;
                self.beat(websocket::PING, now, rules, out)
            }
            Phase::Sse | Phase::Streams(_) => self.beat(sse::HEARTBEAT, now, rules, out),
        }
    }

    /// Whether the connection is to be read: always, but while what was asked for is pending. A poll
    /// that has become live is read on although it wrote nothing, to notice that its client leaves.
    pub fn takes_input(&self) -> bool {
        match &self.phase {
            Phase::Pending(_) => false,
            Phase::Poll(poll) => poll.is_live(),
            Phase::Streams(streams) => streams.is_live,
            Phase::Commands(talk) => talk.takes_input(),
            _ => true,
        }
    }

    /// Bytes that are kept of what came and is not whole, or came too early.
    pub fn kept_bytes(&self) -> usize {
        match &self.phase {
            Phase::Request(kept) => kept.as_ref().map_or(0, |kept| kept.head.len()),
            Phase::Pending(pending) => pending.rest.len(),
            Phase::Poll(poll) => poll.rest.len(),
            Phase::WebSocket { decoder, .. } => decoder.kept_bytes(),
            Phase::Commands(talk) => talk.decoder.kept_bytes(),
            Phase::Sse | Phase::Streams(_) | Phase::Idle | Phase::Closing { .. } => 0,
        }
    }

    /// Whether the last bytes have been written.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    fn beat(&mut self, sign: &[u8], now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        self.rest_until(now, rules);
        out.extend_from_slice(sign);
        Step::Wait
    }

    /// A head that comes whole in one read, as most do, is parsed where it is.
    fn on_request(
        &mut self,
        kept: Option<Box<Kept>>,
        bytes: &[u8],
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        let mut kept = kept;
        let head = match &mut kept {
            Some(kept) => {
                kept.head.extend_from_slice(bytes);
                &kept.head
            }
            None => bytes,
        };
        let granted = match http::parse(head, rules.head_max) {
            Ok(None) => return self.keep_head(kept, bytes, Step::Wait),
            Ok(Some((request, len))) => match self.untold(&request, rules) {
                Ok(Some(client)) => return self.keep_head(kept, bytes, Step::Ask(client)),
                Ok(None) => grant(&request, now, rules).map(|granted| (granted, &head[len..])),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        match granted {
            Ok((granted, rest)) => self.on_granted(granted, rest, now, rules, out),
            Err(Denied { error, refused: None, .. }) => {
                error.write(out);
                self.finish(CloseReason::BadRequest, now)
            }
            Err(Denied { error, refused, origin }) => {
                error.write_for(origin.as_deref(), out);
                let step = self.finish(CloseReason::AccessRefused, now);
                if let Phase::Closing { barred, .. } = &mut self.phase {
                    *barred = refused;
                }
                step
            }
        }
    }

    /// Keeps what has come of a head until there is more of it, or it may go on.
    fn keep_head(&mut self, kept: Option<Box<Kept>>, bytes: &[u8], step: Step) -> Step {
        let kept = kept.unwrap_or_else(|| Box::new(Kept { head: bytes.to_vec() }));
        self.phase = Phase::Request(Some(kept));
        step
    }

    fn on_granted(
        &mut self,
        (grant, bearer): (Grant, Option<Bearer>),
        rest: &[u8],
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        match grant {
            Grant::Subscribe { channel, start, answer } => {
                let format = answer.format();
                let rest = if let Answer::Sse { .. } = answer { Vec::new() } else { rest.to_vec() };
                let pending = Pending { channel: channel.clone(), answer, rest, bearer };
                self.phase = Phase::Pending(Box::new(pending));
                Step::Subscribe { channel, format, start }
            }
            Grant::Commands { answer, mut talk } => {
                talk.bearer = bearer;
                out.extend_from_slice(&answer);
                self.phase = Phase::Commands(talk);
                self.on_commands(rest, now, rules, out)
            }
            Grant::Streams(mut streams) => {
                streams.bearer = bearer;
                self.phase = Phase::Streams(streams);
                Step::Call
            }
            Grant::Poll { channel, start, mut poll } => {
                poll.rest = rest.to_vec();
                poll.bearer = bearer;
                self.phase = Phase::Poll(poll);
                Step::Subscribe { channel, format: Format::Json, start }
            }
            Grant::Echo { answer } => {
                out.extend_from_slice(&answer);
                let decoder = Decoder::default();
                let unfinished = Unfinished::default();
                self.phase = Phase::WebSocket { decoder, pinged: false, echo: true, unfinished };
                self.on_frames(rest, now, rules, out)
            }
            Grant::Whole { answer } => {
                out.extend_from_slice(&answer);
                self.finish(CloseReason::PeerLeft, now)
            }
        }
    }

    fn finish(&mut self, reason: CloseReason, now: Tick) -> Step {
        // Slow is what it is, and it is to hear why it ends.
        let patient = reason == CloseReason::PeerTooSlow;
        self.phase = Phase::Closing { reason, patient, rest: None, barred: None };
        self.since = now;
        Step::Finish(reason)
    }

    fn drop_now(&mut self, reason: CloseReason) -> Step {
        self.phase = Phase::Closing { reason, patient: false, rest: None, barred: None };
        Step::Drop(reason)
    }
}

impl Phase {
    fn is_event_stream(&self) -> bool {
        match self {
            Phase::Sse => true,
            Phase::Streams(streams) => streams.is_live,
            _ => false,
        }
    }

    fn is_pinged(&self) -> bool {
        match self {
            Phase::WebSocket { pinged, .. } => *pinged,
            Phase::Commands(talk) => talk.pinged,
            _ => false,
        }
    }
}

/// Keeps what came too early, up to one read; whether there was room.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let fits = kept.len() + bytes.len() <= RECEIVE_BYTES;
    if fits {
        kept.extend_from_slice(bytes);
    }
    fits
}

/// Moves a ping to the second's beginning, so that those of one second leave, and their answers
/// come, together: waking up for each few costs more than they do. Short intervals stay exact.
fn together(due: Tick, interval: Duration) -> Tick {
    const TICKS: u32 = (1000 / TICK_MS) as u32;
    if interval < Duration::from_secs(10) { due } else { Tick(due.0 / TICKS * TICKS) }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
