//! What keeps a peer from asking too much: permits, the time that a message may take, and when those
//! who were turned away may come back.

use std::time::Duration;

use super::{Phase, Rules, Session, Step};
use crate::{
    close::CloseReason,
    ids::Tick,
    limits::PINGED_TOGETHER,
    shield::Spent,
    wire::{
        forwarded::{self, Client},
        http::{HttpError, Request},
    },
};

/// Since when a message has been under way, in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unfinished(u32);

impl Unfinished {
    /// Bytes were read: whether something is still under way behind them, and whether something that
    /// was has come to its end.
    pub(super) fn on_read(&mut self, is_under_way: bool, has_ended: bool, now: Tick) {
        if !is_under_way {
            self.0 = 0;
        } else if has_ended || self.0 == 0 {
            self.0 = now.0.saturating_add(1);
        }
    }

    /// The peer could not go on before now.
    fn begin_again(&mut self, now: Tick) {
        if self.0 > 0 {
            self.0 = now.0.saturating_add(1);
        }
    }

    fn since(self) -> Option<Tick> {
        self.0.checked_sub(1).map(Tick)
    }
}

/// Counts what a peer says while one read of it is understood.
pub(super) struct Meter<'a> {
    pub(super) spent: &'a mut Spent,
    /// How much it may say at once; none where there is no limit.
    pub(super) most: Option<u16>,
}

impl Meter<'_> {
    /// One more frame or command came; whether that is not too many.
    pub(super) fn take(&mut self) -> bool {
        self.most.is_none_or(|most| self.spent.take(most))
    }
}

impl Session {
    /// No limit of what it may say holds for this connection.
    pub fn exempt(&mut self) {
        self.spent = Spent::EXEMPT;
    }

    /// The next request comes by way of a trusted proxy, and says for whom it is.
    pub fn await_client(&mut self) {
        self.spent = Spent::UNTOLD;
    }

    /// Whoever sent the request that was asked about may ask; perhaps without limits of what it may say.
    pub fn on_told(
        &mut self,
        is_exempt: bool,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Step {
        self.spent = if is_exempt { Spent::EXEMPT } else { Spent::default() };
        match &mut self.phase {
            Phase::Request(kept) => match kept.take() {
                Some(kept) => self.on_request(None, &kept.head, now, rules, out),
                None => Step::Wait,
            },
            _ => Step::Wait,
        }
    }

    /// For whom a trusted proxy sent this request, if that has yet to be told.
    pub(super) fn untold(
        &self,
        request: &Request<'_>,
        rules: &Rules,
    ) -> Result<Option<Client>, HttpError> {
        let header = rules.client_header.filter(|_| self.spent == Spent::UNTOLD);
        let is_trusted = |address| rules.shield.trusted.contains(address);
        let client = header.map(|header| forwarded::client(request, header, is_trusted));
        Ok(client.transpose()?)
    }

    pub(super) fn is_exempt(&self) -> bool {
        self.spent == Spent::EXEMPT
    }

    /// Whether the next bytes begin a request.
    pub fn awaits_request(&self) -> bool {
        matches!(self.phase, Phase::Request(None) | Phase::Idle)
    }

    /// Something was heard, or there was reason to ask: permits come back for the time until now.
    pub(super) fn rest_until(&mut self, now: Tick, rules: &Rules) {
        self.spent.rest(self.since, now, rules.shield.messages);
        self.since = now;
    }

    /// Something came where nothing is asked. It is passed over, as long as it is little.
    pub(super) fn on_noise(&mut self, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
        match self.messages_at_once(rules).is_none_or(|most| self.spent.take(most)) {
            true => Step::Wait,
            false => self.on_close(CloseReason::Flooded, now, rules, out),
        }
    }

    /// How many frames and commands it may send at once, if that is limited.
    pub(super) fn messages_at_once(&self, rules: &Rules) -> Option<u16> {
        let shield = &rules.shield;
        (shield.messages > 0).then(|| shield.messages_at_once(rules.subscriptions_max))
    }

    /// When a message that has begun must have come whole. Not while the peer's own answers wait, nor
    /// while it is not read: then it may be unable to go on.
    pub(super) fn message_deadline(&self, rules: &Rules) -> Option<Tick> {
        let unfinished = match &self.phase {
            _ if self.is_exempt() || self.blocked_since.is_some() || !self.takes_input() => None,
            Phase::WebSocket { unfinished, .. } => unfinished.since(),
            Phase::Commands(talk) => talk.unfinished.since(),
            _ => None,
        };
        Some(unfinished?.after(rules.shield.message_timeout?))
    }

    /// The peer can go on with its message from now.
    pub(super) fn go_on(&mut self, now: Tick) {
        match &mut self.phase {
            Phase::WebSocket { unfinished, .. } => unfinished.begin_again(now),
            Phase::Commands(talk) => talk.unfinished.begin_again(now),
            _ => {}
        }
    }

    /// So long, and up to as long again: many who come together are not to come back together.
    pub(super) fn spread(&self, time: Duration) -> Duration {
        // Of the two bytes it is the one that differs between neighbours that counts most.
        let share = self.jitter.rotate_left(8);
        time + time * u32::from(share) / (1 << 16)
    }

    /// What a peer whose request has not been answered is told, if there is anything to tell.
    pub(super) fn http_error(&self, reason: CloseReason, rules: &Rules) -> Option<HttpError> {
        let retry_after = self.spread(rules.retry_after);
        match reason {
            CloseReason::HandshakeTimeout => Some(HttpError::Timeout),
            CloseReason::TokenExpired => Some(HttpError::Unauthorized),
            CloseReason::Overloaded | CloseReason::Moved => {
                Some(HttpError::Overloaded { retry_after })
            }
            CloseReason::ServerDraining => Some(HttpError::Draining { retry_after }),
            CloseReason::AddressLimited => Some(HttpError::AddressLimited { retry_after }),
            _ => None,
        }
    }
}

/// What tells connections apart: neighbours by their second byte, what is far apart by the first.
pub(super) fn jitter(seed: u32) -> u16 {
    // Fibonacci hashing: neighbours come out far from each other.
    let byte = |number: u32| (number.wrapping_mul(0x9e37_79b9) >> 24) as u16;
    byte(seed / PINGED_TOGETHER) << 8 | byte(seed)
}
