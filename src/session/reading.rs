//! What a session does about subscriptions and publications: calls, replies, gaps, deliveries.

use super::{
    Call, Delivery, NotPublished, Phase, Reads, Refused, Rules, Session, Step, bounds::Unfinished,
    request::Answer,
};
use crate::{
    close::CloseReason,
    frame::Format,
    ids::{ChannelName, Position, Tick},
    mesh::Accepted,
    report::Transport,
    resume::{Begun, Gap},
    wire::{
        http::HttpError,
        sse,
        websocket::{self, Decoder},
    },
};

impl Session {
    /// The subscription to one channel is live: writes the answer, then handles what was kept
    /// meanwhile.
    pub fn on_live(&mut self, begun: &Begun, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        let retry = self.spread(rules.sse_retry);
        match &mut self.phase {
            Phase::Pending(pending) => {
                pending.answer.write(&pending.channel, begun, retry, out);
                let rest = std::mem::take(&mut pending.rest);
                if let Answer::Sse { .. } = pending.answer {
                    self.phase = Phase::Sse;
                    self.since = now;
                    return Step::Wait;
                }
                let (decoder, unfinished) = (Decoder::default(), Unfinished::default());
                self.phase = Phase::WebSocket { decoder, pinged: false, echo: false, unfinished };
                self.on_frames(&rest, now, rules, out)
            }
            Phase::Poll(poll) if !poll.is_live() => {
                poll.on_live(begun);
                self.since = now;
                Step::Wait
            }
            _ => Step::Wait,
        }
    }

    /// What the session asks for next, after [`Step::Call`]; after [`Step::Finish`], what else it
    /// published before its end, so that it does not matter how the reads cut the two.
    pub fn next_call(&mut self) -> Option<Call> {
        match &mut self.phase {
            Phase::Commands(talk) => talk.next_call(),
            Phase::Streams(streams) => streams.next_call(),
            Phase::Closing { rest: Some(talk), .. } => talk.next_call(),
            _ => None,
        }
    }

    /// A subscription that was called for is live.
    pub fn on_subscribed(
        &mut self,
        channel: &ChannelName,
        begun: &Begun,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        let retry = self.spread(rules.sse_retry);
        match &mut self.phase {
            Phase::Commands(talk) => talk.on_subscribed(channel, begun, out),
            Phase::Streams(streams) => {
                streams.on_subscribed(channel, begun, retry, out);
                if streams.is_live {
                    self.since = now;
                }
            }
            _ => {}
        }
        Step::Wait
    }

    /// A subscription ended, as was called for; everything up to `position` was delivered.
    pub fn on_unsubscribed(
        &mut self,
        channel: &ChannelName,
        position: Position,
        _now: Tick,
        _rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        if let Phase::Commands(talk) = &mut self.phase {
            talk.on_unsubscribed(channel, position, out);
        }
        Step::Wait
    }

    /// The oldest unanswered call about this channel was not carried out.
    pub fn on_refused(
        &mut self,
        channel: &ChannelName,
        refused: Refused,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        match &mut self.phase {
            Phase::Commands(talk) => talk.on_refused(channel, refused, out),
            Phase::Streams(streams) if !streams.is_live => match refused {
                Refused::Draining => {
                    return self.on_close(CloseReason::ServerDraining, now, rules, out);
                }
                Refused::TooManyChannels => {
                    return self.on_close(CloseReason::Overloaded, now, rules, out);
                }
                _ => {
                    HttpError::TooManySubscriptions.write(out);
                    return self.finish(CloseReason::BadRequest, now);
                }
            },
            _ => {}
        }
        Step::Wait
    }

    /// What became of a publication that was called for.
    pub fn on_answered(
        &mut self,
        ticket: u32,
        outcome: Result<Accepted, NotPublished>,
        _now: Tick,
        _rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        if let Phase::Commands(talk) = &mut self.phase {
            talk.on_answered(ticket, outcome, out);
        }
        Step::Wait
    }

    /// The subscriber was too slow for a channel and skips: what comes next is behind the gap. A
    /// plain WebSocket has no words for it.
    pub fn on_gap(
        &mut self,
        channel: &ChannelName,
        gap: &Gap,
        now: Tick,
        _rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        match &mut self.phase {
            Phase::Sse => {
                sse::write_gap("gap", Some(&gap.to.to_string()), channel, gap, out);
            }
            Phase::Streams(streams) => streams.on_gap(channel, gap, out),
            Phase::Commands(talk) => talk.on_gap(channel, gap, out),
            Phase::Poll(poll) if poll.is_live() => match poll.on_gap(gap) {
                true => {}
                false => return self.answer_poll(now, out),
            },
            _ => {}
        }
        Step::Wait
    }

    /// The subscriber has to leave a channel and may resume from `position`: it was too slow, and the
    /// channel's policy is to close, or the channel has begun anew. A poll is answered, and its next
    /// request says so.
    pub fn on_parted(
        &mut self,
        reason: CloseReason,
        position: Position,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        match &mut self.phase {
            Phase::WebSocket { .. } | Phase::Commands(_) => {
                let why = match reason {
                    CloseReason::PeerTooSlow => "too slow",
                    other => other.label(),
                };
                let text = format!("{why}; resume from {position}");
                websocket::write_close_text(reason, &text, out);
                self.finish(reason, now)
            }
            Phase::Poll(poll) if poll.is_live() => {
                poll.on_parted(position);
                self.answer_poll(now, out)
            }
            _ => self.on_close(reason, now, rules, out),
        }
    }

    /// A publication for a session that reads [`Reads::Composed`]; `false` if it was not taken and
    /// comes again in the next pull.
    pub fn on_publication(&mut self, delivery: &Delivery<'_>, out: &mut Vec<u8>) -> bool {
        match &mut self.phase {
            Phase::Poll(poll) if poll.is_live() => return poll.on_publication(delivery),
            Phase::Streams(streams) => streams.on_publication(delivery, out),
            _ => {}
        }
        true
    }

    /// A pull is over. Called after each, and so after the first even if nothing was there: a poll
    /// that may not wait is answered then.
    pub fn on_composed(&mut self, now: Tick, _rules: &Rules, out: &mut Vec<u8>) -> Step {
        match &mut self.phase {
            Phase::Poll(poll) if poll.is_due() => self.answer_poll(now, out),
            _ => Step::Wait,
        }
    }

    /// How publications are sent; known from [`Step::Subscribe`] or the first [`Call::Subscribe`] on.
    pub fn reads(&self) -> Reads {
        match &self.phase {
            Phase::Pending(pending) => Reads::Shared(pending.answer.format()),
            Phase::WebSocket { echo: false, .. } => Reads::Shared(Format::WebSocket),
            Phase::Sse => Reads::Shared(Format::Sse),
            Phase::Commands(_) => Reads::Shared(Format::Json),
            Phase::Poll(_) => Reads::Composed(Format::Json),
            Phase::Streams(_) => Reads::Composed(Format::WebSocket),
            _ => Reads::Nothing,
        }
    }

    /// The format that the peer is sent publications in; `None` unless it is live.
    pub fn format(&self) -> Option<Format> {
        match &self.phase {
            Phase::WebSocket { echo: false, .. } => Some(Format::WebSocket),
            Phase::Sse => Some(Format::Sse),
            Phase::Streams(streams) => streams.is_live.then_some(Format::Sse),
            Phase::Poll(poll) => poll.is_live().then_some(Format::Json),
            Phase::Commands(_) => Some(Format::Json),
            _ => None,
        }
    }

    /// How the peer is spoken to.
    pub fn transport(&self) -> Transport {
        match &self.phase {
            Phase::Request(_) | Phase::Pending(_) => Transport::Handshake,
            Phase::WebSocket { .. } => Transport::WebSocket,
            Phase::Commands(_) => Transport::Commands,
            Phase::Sse | Phase::Streams(_) => Transport::Sse,
            Phase::Poll(_) | Phase::Idle => Transport::Poll,
            Phase::Closing { .. } => Transport::Closing,
        }
    }

    /// Whether this session may read several channels: an event stream of several, or `stentor.v1`.
    pub fn is_several(&self) -> bool {
        matches!(self.phase, Phase::Streams(_) | Phase::Commands(_))
    }

    /// Whether publications may be handed to it, or sent for it, now.
    pub fn takes_publications(&self) -> bool {
        self.format().is_some()
    }

    /// Whether the peer has yet to ask for something, or its first answer has yet to begin.
    pub fn is_unanswered(&self) -> bool {
        match &self.phase {
            Phase::Request(_) | Phase::Pending(_) => true,
            Phase::Poll(poll) => !poll.is_live(),
            Phase::Streams(streams) => !streams.is_live,
            _ => false,
        }
    }

    /// The server ends the conversation, since a successor serves whoever comes now. A poll that waits
    /// is answered with what there is, nothing most likely: its client polls again, and is served there.
    pub fn on_handed_over(&mut self, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        match &mut self.phase {
            Phase::Poll(poll) if poll.is_live() => {
                poll.close = true;
                self.answer_poll(now, out)
            }
            _ => self.on_close(CloseReason::ServerDraining, now, rules, out),
        }
    }

    /// Answers the poll, after which the connection waits for the next request, or ends.
    pub(super) fn answer_poll(&mut self, now: Tick, out: &mut Vec<u8>) -> Step {
        let Phase::Poll(poll) = &mut self.phase else { return Step::Wait };
        if poll.answer(out) {
            self.phase = Phase::Idle;
            self.since = now;
            return Step::Unsubscribe;
        }
        let step = self.finish(CloseReason::PeerLeft, now);
        // The answer may be large, and its reader slow.
        if let Phase::Closing { patient, .. } = &mut self.phase {
            *patient = true;
        }
        step
    }
}
