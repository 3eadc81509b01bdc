//! What a session does with the frames of a WebSocket.

use std::mem;

use super::{Phase, Rules, Session, Step, bounds::Meter, commands::Circumstances};
use crate::{
    close::CloseReason,
    frame::PayloadKind,
    ids::Tick,
    wire::websocket::{self, Decoder, Event, Limits},
};

impl Session {
    /// Whatever comes shows that the peer lives, be it half a frame.
    pub(super) fn on_frames(
        &mut self,
        bytes: &[u8],
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        self.rest_until(now, rules);
        let most = self.messages_at_once(rules);
        let Phase::WebSocket { decoder, pinged, echo, unfinished } = &mut self.phase else {
            return Step::Wait;
        };
        *pinged = false;
        let meter = Meter { spent: &mut self.spent, most };
        let repeat = |kind, payload: Vec<u8>, _: &mut Meter<'_>, out: &mut Vec<u8>| {
            websocket::write_message(kind, &payload, out);
            None
        };
        match converse(decoder, bytes, &rules.limits(*echo), meter, out, repeat) {
            Heard::End(reason) => self.finish(reason, now),
            Heard::All { has_ended } => {
                unfinished.on_read(!decoder.is_between_frames(), has_ended, now);
                Step::Wait
            }
        }
    }

    /// The same, where messages are commands.
    pub(super) fn on_commands(
        &mut self,
        bytes: &[u8],
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        self.rest_until(now, rules);
        let (most, is_exempt) = (self.messages_at_once(rules), self.is_exempt());
        let Phase::Commands(talk) = &mut self.phase else { return Step::Wait };
        talk.pinged = false;
        talk.is_exempt = is_exempt;
        let meter = Meter { spent: &mut self.spent, most };
        let mut decoder = mem::take(&mut talk.decoder);
        let carry_out = |kind, message: Vec<u8>, meter: &mut Meter<'_>, out: &mut Vec<u8>| {
            talk.on_message(kind, &message, Circumstances { now, rules, meter }, out)
        };
        let heard = converse(&mut decoder, bytes, &rules.command_limits(), meter, out, carry_out);
        talk.decoder = decoder;
        match heard {
            Heard::End(reason) => {
                let last = mem::take(&mut **talk).into_publications();
                let step = self.finish(reason, now);
                if let Phase::Closing { rest, .. } = &mut self.phase {
                    *rest = last.map(Box::new);
                }
                step
            }
            Heard::All { has_ended } => {
                talk.unfinished.on_read(!talk.decoder.is_between_frames(), has_ended, now);
                if talk.has_calls() || talk.bearer.is_some() { Step::Call } else { Step::Wait }
            }
        }
    }
}

/// What came of one read.
enum Heard {
    /// All of it was understood; whether a message, or a frame between two, came to its end.
    All { has_ended: bool },
    /// The conversation has ended, and was told why.
    End(CloseReason),
}

/// Takes frames apart and answers what RFC 6455 alone demands; messages are left to `on_message`,
/// which may end the conversation. A reason is why it ended, which has been said.
fn converse(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    limits: &Limits,
    mut meter: Meter<'_>,
    out: &mut Vec<u8>,
    mut on_message: impl FnMut(
        PayloadKind,
        Vec<u8>,
        &mut Meter<'_>,
        &mut Vec<u8>,
    ) -> Option<CloseReason>,
) -> Heard {
    let mut has_ended = false;
    loop {
        let event = match decoder.next(&mut bytes, limits) {
            Ok(None) => return Heard::All { has_ended },
            Ok(Some(event)) => event,
            Err(fault) => {
                websocket::write_close_text(fault.reason(), &fault.to_string(), out);
                return Heard::End(fault.reason());
            }
        };
        has_ended |= !decoder.is_within_message();
        if let Event::Close(code) = event {
            websocket::write_close_echo(code, out);
            return Heard::End(CloseReason::PeerLeft);
        }
        if !meter.take() {
            return Heard::End(end_flood(out));
        }
        match event {
            Event::Ping(payload) => websocket::write_pong(&payload, out),
            Event::Message(kind, payload) => {
                if let Some(reason) = on_message(kind, payload, &mut meter, out) {
                    return Heard::End(reason);
                }
            }
            Event::Pong(_) | Event::Fragment | Event::Close(_) => {}
        }
    }
}

/// Tells a peer that it says too much.
pub(super) fn end_flood(out: &mut Vec<u8>) -> CloseReason {
    let reason = CloseReason::Flooded;
    websocket::write_close_text(reason, "too many frames or commands a second; send fewer", out);
    reason
}
