//! One subscriber's conversation: events and `now` go in, bytes for the peer and one [`Step`] out.
//!
//! A session knows the protocol and its time-outs, nothing of sockets, channels' logs or cursors.
//! Publications do not pass through it: the shard sends them once the session has become live, and
//! what a session writes to `out` goes between them, at a frame's end.
//!
//! Promises: an established session that is idle owns no memory but its own 32 bytes. Over a
//! session's life, `out` grows by at most one byte per byte of input, plus [`ANSWERS_MAX`] and the
//! pings or heartbeats that its deadlines bring. Nothing that a peer sends can panic.
//!
//! Left to the shard: not to read while the subscription is pending ([`Session::takes_input`]) or
//! while too much of `out` has yet to leave.
#![forbid(unsafe_code)]

mod request;
mod rules;
mod step;

pub use rules::Rules;
pub use step::{Call, Delivery, NotPublished, Reads, Refused, Step};

use std::{mem, time::Duration};

use request::{Grant, grant};

use crate::{
    close::CloseReason,
    frame::Format,
    ids::{ChannelName, Position, Tick},
    limits::{CLOSING_SECONDS_MAX, RECEIVE_BYTES, TICK_MS},
    mesh::Accepted,
    resume::{Begun, Gap, Start},
    wire::{
        http::{self, HttpError},
        sse,
        websocket::{self, Decoder, Event},
    },
};

/// Bytes that a session writes for its handshake and its end together, at most, beyond as many as
/// the peer has sent.
pub const ANSWERS_MAX: usize = 1024;

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
}

const _: () = assert!(size_of::<Session>() <= 32, "an idle connection has 200 bytes in all");

#[derive(Debug)]
enum Phase {
    /// The request head has yet to end. What came of it is kept, unless nothing came.
    Request(Option<Box<Kept>>),
    /// Accepted; the subscription is not yet live.
    Pending(Box<Pending>),
    /// Established: a subscriber, or an echo.
    WebSocket { decoder: Decoder, pinged: bool, echo: bool },
    /// Established: an event stream.
    Sse,
    /// The last bytes have been written; input is discarded.
    Closing(CloseReason),
}

/// The start of a request head.
#[derive(Debug)]
struct Kept {
    head: Vec<u8>,
}

#[derive(Debug)]
struct Pending {
    format: Format,
    /// Grants the request.
    answer: Vec<u8>,
    /// What the peer sent right behind its request.
    rest: Vec<u8>,
}

impl Session {
    /// A connection was accepted. `seed` spreads the pings of many such connections: those that
    /// have the same one and came together are pinged together.
    pub fn new(now: Tick, seed: u32) -> Self {
        // Fibonacci hashing: neighbours come out far from each other.
        let jitter = (seed.wrapping_mul(0x9e37_79b9) >> 16) as u16;
        Session { phase: Phase::Request(None), since: now, blocked_since: None, jitter }
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
            Phase::Pending(pending) if pending.rest.len() + bytes.len() > RECEIVE_BYTES => {
                self.drop_now(CloseReason::Policy)
            }
            Phase::Pending(pending) => {
                pending.rest.extend_from_slice(bytes);
                Step::Wait
            }
            Phase::WebSocket { .. } => self.on_frames(bytes, now, rules, out),
            Phase::Sse | Phase::Closing(_) => Step::Wait,
        }
    }

    /// The subscription is live: writes the answer, then handles what was kept meanwhile.
    pub fn on_live(&mut self, begun: &Begun, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        let _ = begun;
        let Phase::Pending(pending) = &mut self.phase else {
            return Step::Wait;
        };
        let Pending { format, answer, rest } = mem::replace(&mut **pending, Pending::EMPTY);
        out.extend_from_slice(&answer);
        match format {
            Format::WebSocket | Format::Json => self.open_websocket(false, &rest, now, rules, out),
            Format::Sse => {
                self.phase = Phase::Sse;
                self.since = now;
                Step::Wait
            }
        }
    }

    /// What the session asks for next, after [`Step::Call`].
    pub fn next_call(&mut self) -> Option<Call> {
        None
    }

    /// A subscription that was called for is live.
    pub fn on_subscribed(
        &mut self,
        _channel: &ChannelName,
        _begun: &Begun,
        _now: Tick,
        _rules: &Rules,
        _out: &mut Vec<u8>,
    ) -> Step {
        Step::Wait
    }

    /// A subscription was ended, as was called for; `position` is what was delivered last.
    pub fn on_unsubscribed(
        &mut self,
        _channel: &ChannelName,
        _position: Position,
        _now: Tick,
        _rules: &Rules,
        _out: &mut Vec<u8>,
    ) -> Step {
        Step::Wait
    }

    /// The oldest unanswered call on this channel was not carried out.
    pub fn on_refused(
        &mut self,
        _channel: &ChannelName,
        _refused: Refused,
        _now: Tick,
        _rules: &Rules,
        _out: &mut Vec<u8>,
    ) -> Step {
        Step::Wait
    }

    /// What became of a publication that was called for.
    pub fn on_answered(
        &mut self,
        _ticket: u32,
        _outcome: Result<Accepted, NotPublished>,
        _now: Tick,
        _rules: &Rules,
        _out: &mut Vec<u8>,
    ) -> Step {
        Step::Wait
    }

    /// The subscriber was too slow for a channel and skips: what comes next is behind the gap.
    pub fn on_gap(
        &mut self,
        _channel: &ChannelName,
        _gap: &Gap,
        _now: Tick,
        _rules: &Rules,
        _out: &mut Vec<u8>,
    ) -> Step {
        Step::Wait
    }

    /// The subscriber was too slow for a channel whose policy is to close; it may resume from
    /// `position`.
    pub fn on_lapped(
        &mut self,
        _channel: &ChannelName,
        _position: Position,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        self.on_close(CloseReason::PeerTooSlow, now, rules, out)
    }

    /// A publication for a session that reads [`Reads::Composed`].
    pub fn on_publication(&mut self, _delivery: &Delivery<'_>, _out: &mut Vec<u8>) {}

    /// What was there to be pulled, if anything, has been pulled. Called after each pull, and after
    /// the first even if nothing was there.
    pub fn on_composed(&mut self, _now: Tick, _rules: &Rules, _out: &mut Vec<u8>) -> Step {
        Step::Wait
    }

    /// How publications are sent; known from [`Step::Subscribe`] or the first [`Call::Subscribe`] on.
    pub fn reads(&self) -> Reads {
        match &self.phase {
            Phase::Pending(pending) => Reads::Shared(pending.format),
            _ => self.format().map_or(Reads::Nothing, Reads::Shared),
        }
    }

    /// Whether this session may read several channels: an event stream of several, or `stentor.v1`.
    pub fn is_several(&self) -> bool {
        false
    }

    /// Whether publications may be handed to it, or sent for it, now.
    pub fn takes_publications(&self) -> bool {
        self.format().is_some()
    }

    /// The peer has finished sending. Nobody half-closes and reads on but by accident, and a
    /// subscriber that has gone looks the same, so it counts as gone.
    pub fn on_end(&mut self) -> Step {
        match self.phase {
            Phase::Closing(reason) => Step::Drop(reason),
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
            (Phase::Closing(_), _) => return Step::Wait,
            // One cannot hear an answer, the other's socket has no room for it.
            (_, CloseReason::PeerLeft | CloseReason::PeerStalled) => return self.drop_now(reason),
            (Phase::Request(_) | Phase::Pending(_), _) => match http_error(reason, rules) {
                Some(error) => error.write(out),
                None => return self.drop_now(reason),
            },
            (Phase::WebSocket { .. }, _) => websocket::write_close(reason, out),
            (Phase::Sse, _) => out.extend_from_slice(sse::END),
        }
        self.finish(reason, now)
    }

    /// Publications were sent, so no heartbeat is due on an event stream.
    pub fn on_delivered(&mut self, now: Tick) {
        if let Phase::Sse = self.phase {
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
        let is_slow = matches!(self.phase, Phase::Closing(CloseReason::PeerTooSlow));
        if self.blocked_since.take().is_some() && (self.is_live() || is_slow) {
            self.since = now;
        }
    }

    /// When [`Session::on_deadline`] is to be called next, unless something happens before.
    ///
    /// A socket that is full is judged by what it takes alone: a ping could not reach its peer, and
    /// the pong that it owes may stand behind what the peer has not read.
    pub fn deadline(&self, rules: &Rules) -> Tick {
        match (&self.phase, self.blocked_since) {
            (Phase::Request(_) | Phase::Pending(_), _) => self.since.after(rules.handshake_timeout),
            // Slow is what it is, and it is to hear why it ends.
            (Phase::Closing(CloseReason::PeerTooSlow), Some(blocked_since)) => {
                blocked_since.after(rules.stall_timeout)
            }
            (Phase::Closing(_), _) => self.since.after(Duration::from_secs(CLOSING_SECONDS_MAX)),
            (_, Some(blocked_since)) => blocked_since.after(rules.stall_timeout),
            (Phase::WebSocket { pinged: true, .. }, None) => self.since.after(rules.pong_timeout),
            (Phase::WebSocket { .. } | Phase::Sse, None) => {
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
        match (&mut self.phase, self.blocked_since) {
            (Phase::Request(_), _) => self.on_close(CloseReason::HandshakeTimeout, now, rules, out),
            (Phase::Pending(_), _) => self.on_close(CloseReason::Overloaded, now, rules, out),
            (Phase::Closing(reason), _) => Step::Drop(*reason),
            (_, Some(_)) => self.drop_now(CloseReason::PeerStalled),
            (Phase::WebSocket { pinged: true, .. }, None) => {
                self.on_close(CloseReason::PeerSilent, now, rules, out)
            }
            (Phase::WebSocket { pinged, .. }, None) => {
                *pinged = true;
                self.since = now;
                out.extend_from_slice(websocket::PING);
                Step::Wait
            }
            (Phase::Sse, None) => {
                self.since = now;
                out.extend_from_slice(sse::HEARTBEAT);
                Step::Wait
            }
        }
    }

    /// The format that this session's publications are sent in; `None` unless it is live.
    pub fn format(&self) -> Option<Format> {
        match self.phase {
            Phase::WebSocket { echo: false, .. } => Some(Format::WebSocket),
            Phase::Sse => Some(Format::Sse),
            _ => None,
        }
    }

    /// Whether the connection is to be read: always, but while a subscription is pending.
    pub fn takes_input(&self) -> bool {
        !matches!(self.phase, Phase::Pending(_))
    }

    /// Whether the last bytes have been written.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::WebSocket { .. } | Phase::Sse)
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
            Ok(None) => {
                let kept = kept.unwrap_or_else(|| Box::new(Kept { head: bytes.to_vec() }));
                self.phase = Phase::Request(Some(kept));
                return Step::Wait;
            }
            Ok(Some((request, len))) => grant(&request, rules).map(|grant| (grant, &head[len..])),
            Err(error) => Err(error),
        };
        match granted {
            Ok((grant, rest)) => self.on_granted(grant, rest, now, rules, out),
            Err(error) => {
                error.write(out);
                self.finish(CloseReason::BadRequest, now)
            }
        }
    }

    fn on_granted(
        &mut self,
        grant: Grant,
        rest: &[u8],
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        match grant {
            Grant::Subscribe { channel, format, answer } => {
                let rest = if format == Format::WebSocket { rest.to_vec() } else { Vec::new() };
                self.phase = Phase::Pending(Box::new(Pending { format, answer, rest }));
                Step::Subscribe { channel, format, start: Start::Live }
            }
            Grant::Echo { answer } => {
                out.extend_from_slice(&answer);
                self.open_websocket(true, rest, now, rules, out)
            }
            Grant::Preflight { answer } => {
                out.extend_from_slice(&answer);
                self.finish(CloseReason::PeerLeft, now)
            }
        }
    }

    fn open_websocket(
        &mut self,
        echo: bool,
        rest: &[u8],
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        self.phase = Phase::WebSocket { decoder: Decoder::default(), pinged: false, echo };
        self.on_frames(rest, now, rules, out)
    }

    /// Whatever comes shows that the peer lives, be it half a frame.
    fn on_frames(&mut self, mut bytes: &[u8], now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        let Phase::WebSocket { decoder, pinged, echo } = &mut self.phase else {
            return Step::Wait;
        };
        *pinged = false;
        self.since = now;
        let limits = rules.limits(*echo);
        loop {
            match decoder.next(&mut bytes, &limits) {
                Ok(None) => return Step::Wait,
                Ok(Some(Event::Ping(payload))) => websocket::write_pong(&payload, out),
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Message(kind, payload))) => {
                    websocket::write_message(kind, &payload, out);
                }
                Ok(Some(Event::Close(code))) => {
                    websocket::write_close_echo(code, out);
                    return self.finish(CloseReason::PeerLeft, now);
                }
                Err(fault) => {
                    websocket::write_close_text(fault.reason(), &fault.to_string(), out);
                    return self.finish(fault.reason(), now);
                }
            }
        }
    }

    fn finish(&mut self, reason: CloseReason, now: Tick) -> Step {
        self.phase = Phase::Closing(reason);
        self.since = now;
        Step::Finish(reason)
    }

    fn drop_now(&mut self, reason: CloseReason) -> Step {
        self.phase = Phase::Closing(reason);
        Step::Drop(reason)
    }
}

impl Pending {
    const EMPTY: Pending = Pending { format: Format::Sse, answer: Vec::new(), rest: Vec::new() };
}

/// Moves a ping to the second's beginning, so that those of one second leave, and their answers
/// come, together: waking up for each few costs more than they do. Short intervals stay exact.
fn together(due: Tick, interval: Duration) -> Tick {
    const TICKS: u32 = (1000 / TICK_MS) as u32;
    if interval < Duration::from_secs(10) { due } else { Tick(due.0 / TICKS * TICKS) }
}

/// What a peer whose request has not been answered is told, if there is anything to tell.
fn http_error(reason: CloseReason, rules: &Rules) -> Option<HttpError> {
    let retry_after = rules.retry_after;
    match reason {
        CloseReason::HandshakeTimeout => Some(HttpError::Timeout),
        CloseReason::Overloaded => Some(HttpError::Overloaded { retry_after }),
        CloseReason::ServerDraining => Some(HttpError::Draining { retry_after }),
        _ => None,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
