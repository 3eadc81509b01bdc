//! What a session does with the frames of a WebSocket.

use std::mem;

use super::{Phase, Rules, Session, Step};
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
        let Phase::WebSocket { decoder, pinged, echo } = &mut self.phase else {
            return Step::Wait;
        };
        *pinged = false;
        self.since = now;
        let repeat = |kind, payload: Vec<u8>, out: &mut Vec<u8>| {
            websocket::write_message(kind, &payload, out);
            None
        };
        match converse(decoder, bytes, &rules.limits(*echo), out, repeat) {
            Some(reason) => self.finish(reason, now),
            None => Step::Wait,
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
        let Phase::Commands(talk) = &mut self.phase else { return Step::Wait };
        talk.pinged = false;
        self.since = now;
        let mut decoder = mem::take(&mut talk.decoder);
        let carry_out = |kind, message: Vec<u8>, out: &mut Vec<u8>| {
            talk.on_message(kind, &message, now, rules, out)
        };
        let ended = converse(&mut decoder, bytes, &rules.command_limits(), out, carry_out);
        talk.decoder = decoder;
        match ended {
            Some(reason) => {
                let last = mem::take(&mut **talk).into_publications();
                let step = self.finish(reason, now);
                if let Phase::Closing { rest, .. } = &mut self.phase {
                    *rest = last.map(Box::new);
                }
                step
            }
            None if talk.has_calls() || talk.bearer.is_some() => Step::Call,
            None => Step::Wait,
        }
    }
}

/// Takes frames apart and answers what RFC 6455 alone demands; messages are left to `on_message`,
/// which may end the conversation. A reason is why it ended, which has been said.
fn converse(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    limits: &Limits,
    out: &mut Vec<u8>,
    mut on_message: impl FnMut(PayloadKind, Vec<u8>, &mut Vec<u8>) -> Option<CloseReason>,
) -> Option<CloseReason> {
    loop {
        match decoder.next(&mut bytes, limits) {
            Ok(None) => return None,
            Ok(Some(Event::Ping(payload))) => websocket::write_pong(&payload, out),
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Message(kind, payload))) => {
                let ended = on_message(kind, payload, out);
                if ended.is_some() {
                    return ended;
                }
            }
            Ok(Some(Event::Close(code))) => {
                websocket::write_close_echo(code, out);
                return Some(CloseReason::PeerLeft);
            }
            Err(fault) => {
                websocket::write_close_text(fault.reason(), &fault.to_string(), out);
                return Some(fault.reason());
            }
        }
    }
}
