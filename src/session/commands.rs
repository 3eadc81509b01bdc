//! A conversation in `stentor.v1`: commands become calls, and what comes of them becomes replies.
//!
//! Subscriptions and their ends are called for in order, and none while one before it about the same
//! channel is unanswered: the answers name the channel alone. Publications wait for nobody.
//!
//! Bounded: commands that await their answers, called for or not, by [`COMMANDS_UNANSWERED_MAX`] and
//! what one read may add; publications that do by [`CALLS_IN_FLIGHT_MAX`].

mod renewal;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use renewal::barred;

use super::{
    Call, NotPublished, Refused, Rules,
    bounds::{Meter, Unfinished},
    frames::end_flood,
    request::is_asked,
};
use crate::{
    access::{Bearer, Grants, may_publish, may_subscribe},
    close::CloseReason,
    frame::{Format, PayloadKind},
    ids::{ChannelName, Position, Tick},
    limits::{CALLS_IN_FLIGHT_MAX, COMMANDS_UNANSWERED_MAX},
    mesh::{Accepted, Rejected, Terms},
    policy::Who,
    resume::{Begun, Gap, Start},
    shield::{Bucket, Excess},
    wire::{
        commands::{Ask, Command, Publishing, Wrong, parse},
        replies::{Code, Says, subscribed, write},
        websocket::{self, Decoder},
    },
};

/// The state of one conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) decoder: Decoder,
    pub(super) pinged: bool,
    /// Whether no limit of what it may say holds.
    pub(super) is_exempt: bool,
    pub(super) unfinished: Unfinished,
    publishes: Bucket,
    calls: VecDeque<Call>,
    /// Unanswered, in order.
    asked: VecDeque<Asked>,
    published: Vec<Published>,
    tickets: u32,
    /// What the connection's token grants.
    grants: Option<Arc<Grants>>,
    /// Whether its subject's connections are counted, and this one was.
    is_seated: bool,
    /// Fresh tokens that were not good.
    tokens_refused: u8,
    /// What the shard has yet to be given.
    pub(super) bearer: Option<Bearer>,
}

/// Where and when a message came.
pub(super) struct Circumstances<'a, 'b> {
    pub(super) now: Tick,
    pub(super) rules: &'a Rules,
    pub(super) meter: &'a mut Meter<'b>,
}

/// The channel that something is asked about, if its answer names no more than that.
fn about(call: &Call) -> Option<&ChannelName> {
    match call {
        Call::Publish { .. } | Call::Report(_) => None,
        Call::Subscribe { channel, .. } | Call::Unsubscribe { channel } => Some(channel),
    }
}

/// A subscription, or its end, that was asked for.
#[derive(Debug)]
struct Asked {
    id: Option<u64>,
    channel: ChannelName,
    /// Whether the reply is to say if everything missed was recovered.
    recovers: bool,
    /// Whether it is a subscription, and not the end of one.
    is_subscription: bool,
    /// Whether it was called for.
    is_called: bool,
    /// Whether it ends because the connection's token does not grant the channel any more.
    is_revoked: bool,
}

/// A publication that was asked for.
#[derive(Debug)]
struct Published {
    ticket: u32,
    id: Option<u64>,
    channel: ChannelName,
}

impl Conversation {
    /// Begins with subscriptions that the request asked for.
    pub(super) fn new(
        channels: Vec<(ChannelName, Start)>,
        grants: Option<Arc<Grants>>,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Self {
        let is_seated = grants.as_ref().is_some_and(|grants| grants.connections.is_some());
        let mut talk = Conversation { grants, is_seated, ..Conversation::default() };
        for (channel, start) in channels {
            talk.subscribe(None, channel, start, rules, out);
        }
        talk
    }

    pub(super) fn next_call(&mut self) -> Option<Call> {
        let at = self.next_place();
        let call = at.and_then(|at| self.calls.remove(at));
        if self.calls.is_empty() {
            // An idle conversation keeps no memory of a busy one.
            self.calls = VecDeque::new();
        }
        if let Some(Call::Subscribe { channel, .. } | Call::Unsubscribe { channel }) = &call {
            let is_next = |asked: &&mut Asked| !asked.is_called && asked.channel == *channel;
            if let Some(asked) = self.asked.iter_mut().find(is_next) {
                asked.is_called = true;
            }
        }
        call
    }

    /// Where the first call is that need not wait. What is about a channel waits for what else is about
    /// it; no channel waits for another: what a fresh token does not grant is left at once.
    fn next_place(&self) -> Option<usize> {
        let first = about(self.calls.front()?);
        if first.is_none_or(|channel| !self.awaits(channel)) {
            return Some(0);
        }
        // A set, since a peer chooses how many wait.
        let called = self.asked.iter().filter(|asked| asked.is_called);
        let mut waiting: HashSet<&ChannelName> = called.map(|asked| &asked.channel).collect();
        self.calls.iter().position(|call| about(call).is_none_or(|channel| waiting.insert(channel)))
    }

    /// Whether something about this channel was called for and not answered.
    fn awaits(&self, channel: &ChannelName) -> bool {
        self.asked.iter().any(|asked| asked.is_called && asked.channel == *channel)
    }

    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// What it has yet to publish, if anything: all that is left to do once it has ended.
    pub(super) fn into_publications(mut self) -> Option<Self> {
        self.calls.retain(|call| matches!(call, Call::Publish { .. }));
        let calls = self.calls;
        (!calls.is_empty()).then(|| Conversation { calls, ..Conversation::default() })
    }

    pub(super) fn takes_input(&self) -> bool {
        self.asked.len() < COMMANDS_UNANSWERED_MAX
    }

    /// A whole message came. A reason is why the conversation ends, which has been said.
    pub(super) fn on_message(
        &mut self,
        kind: PayloadKind,
        message: &[u8],
        by: Circumstances<'_, '_>,
        out: &mut Vec<u8>,
    ) -> Option<CloseReason> {
        let Circumstances { now, rules, meter } = by;
        let (PayloadKind::Text, Ok(text)) = (kind, str::from_utf8(message)) else {
            let reason = CloseReason::Unsupported;
            websocket::write_close_text(reason, "commands are text; send binary as base64", out);
            return Some(reason);
        };
        let asks = parse(text).unwrap_or_else(|wrong| vec![wrong]);
        for ask in asks {
            if !meter.take() {
                return Some(end_flood(out));
            }
            self.on_command(ask, now, rules, out);
        }
        None
    }

    fn on_command(&mut self, ask: Ask, now: Tick, rules: &Rules, out: &mut Vec<u8>) {
        let Ask { id, command } = ask;
        match command {
            Ok(Command::Ping) => write(id, Says::Pong, out),
            Ok(Command::Token(token)) => match self.renew(&token, now, rules, out) {
                Ok(seconds) => write(id, Says::Token { seconds }, out),
                Err(wrong) => write_wrong(id, &wrong, out),
            },
            Ok(Command::Subscribe(channel, start)) => {
                self.subscribe(id, channel, start, rules, out);
            }
            Ok(Command::Unsubscribe(channel)) => {
                self.calls.push_back(Call::Unsubscribe { channel: channel.clone() });
                self.ask(id, channel, false, false);
            }
            Ok(Command::Publish(publishing)) => match self.refuses(&publishing, now, rules) {
                Some(wrong) => write_wrong(id, &wrong, out),
                None => self.publish(id, *publishing),
            },
            Err(wrong) => write_wrong(id, &wrong, out),
        }
    }

    fn subscribe(
        &mut self,
        id: Option<u64>,
        channel: ChannelName,
        start: Start,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) {
        if let Err(why) = may_subscribe(&rules.policies, &channel, self.grants.as_deref()) {
            return write_wrong(id, &barred(why, rules).about(channel), out);
        }
        let recovers = is_asked(start);
        self.ask(id, channel.clone(), true, recovers);
        self.calls.push_back(Call::Subscribe { channel, format: Format::Json, start });
    }

    fn ask(
        &mut self,
        id: Option<u64>,
        channel: ChannelName,
        is_subscription: bool,
        recovers: bool,
    ) {
        let (is_called, is_revoked) = (false, false);
        let asked = Asked { id, channel, recovers, is_subscription, is_called, is_revoked };
        self.asked.push_back(asked);
    }

    /// What of our own speaks against a publication.
    fn refuses(&mut self, publishing: &Publishing, now: Tick, rules: &Rules) -> Option<Wrong> {
        let Publishing { channel, payload, .. } = publishing;
        let grants = self.grants.as_deref();
        let (code, message) = if rules.policies.of(channel).publish == Who::Nobody {
            (Code::Forbidden, "subscribers may not publish to this channel".to_owned())
        } else if let Err(why) = may_publish(&rules.policies, channel, grants) {
            return Some(barred(why, rules).about(channel.clone()));
        } else if payload.len() > rules.publication_max {
            let max = rules.publication_max;
            (Code::TooLarge, format!("the payload may have {max} bytes at most"))
        } else if self.published.len() >= CALLS_IN_FLIGHT_MAX {
            (Code::Busy, format!("{CALLS_IN_FLIGHT_MAX} publications await replies; wait for one"))
        } else if !self.is_exempt && !self.publishes.take(rules.shield.publications, now) {
            let rate = rules.shield.publications;
            self.calls.push_back(Call::Report(Excess::Publications));
            (
                Code::TooFast,
                format!("a connection may publish {rate} times a second; wait a little"),
            )
        } else if let Err(why) =
            grants.map_or(Ok(()), |grants| rules.access.pace(grants, rules.token_publish_rate, now))
        {
            rules.access.tally().count(why);
            (Code::TooFast, "this token may not publish so often; wait a little".to_owned())
        } else {
            return None;
        };
        Some(Wrong::new(code, &message).about(channel.clone()))
    }

    fn publish(&mut self, id: Option<u64>, publishing: Publishing) {
        let Publishing { channel, kind, payload, key, version, idempotency } = publishing;
        let ticket = self.tickets;
        self.tickets = ticket.wrapping_add(1);
        let terms = Terms { key, version, idempotency };
        let terms = (terms != Terms::default()).then(|| Box::new(terms));
        self.published.push(Published { ticket, id, channel: channel.clone() });
        self.calls.push_back(Call::Publish { ticket, channel, kind, payload, terms });
    }

    pub(super) fn on_subscribed(
        &mut self,
        channel: &ChannelName,
        begun: &Begun,
        out: &mut Vec<u8>,
    ) {
        if let Some(Asked { id, recovers, .. }) = self.take_asked(channel) {
            write(id, subscribed(channel, begun, recovers), out);
        }
    }

    pub(super) fn on_unsubscribed(
        &mut self,
        channel: &ChannelName,
        position: Position,
        out: &mut Vec<u8>,
    ) {
        if let Some(Asked { id, is_revoked, .. }) = self.take_asked(channel) {
            let code = is_revoked.then_some(Code::Forbidden);
            write(id, Says::Unsubscribed { channel, position, code }, out);
        }
    }

    pub(super) fn on_refused(
        &mut self,
        channel: &ChannelName,
        refused: Refused,
        out: &mut Vec<u8>,
    ) {
        // Who has left meanwhile need not be told that it had to.
        if let Some(Asked { id, is_revoked: false, .. }) = self.take_asked(channel) {
            let (code, message) = explain(refused);
            write(id, Says::Error { code, message, channel: Some(channel) }, out);
        }
    }

    pub(super) fn on_answered(
        &mut self,
        ticket: u32,
        outcome: Result<Accepted, NotPublished>,
        out: &mut Vec<u8>,
    ) {
        let Some(at) = self.published.iter().position(|one| one.ticket == ticket) else { return };
        let Published { id, channel, .. } = self.published.remove(at);
        if self.published.is_empty() {
            self.published = Vec::new();
        }
        let channel = &channel;
        match outcome {
            Ok(Accepted { position, repeated, .. }) => {
                write(id, Says::Published { channel, position, repeated }, out);
            }
            Err(reason) => {
                let (code, message) = explain_publish(reason);
                write(id, Says::Error { code, message: &message, channel: Some(channel) }, out);
            }
        }
    }

    pub(super) fn on_gap(&mut self, channel: &ChannelName, gap: &Gap, out: &mut Vec<u8>) {
        write(None, Says::Gap { channel, gap: (*gap).into() }, out);
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        let capacities = [self.calls.capacity(), self.asked.capacity(), self.published.capacity()];
        self.decoder.is_between_frames() && capacities == [0; 3]
    }

    /// The oldest unanswered command about this channel.
    fn take_asked(&mut self, channel: &ChannelName) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.channel == *channel)?;
        let asked = self.asked.remove(at);
        if self.asked.is_empty() {
            self.asked = VecDeque::new();
        }
        asked
    }
}

fn write_wrong(id: Option<u64>, wrong: &Wrong, out: &mut Vec<u8>) {
    let Wrong { code, message, channel } = wrong;
    write(id, Says::Error { code: *code, message, channel: channel.as_ref() }, out);
}

fn explain(refused: Refused) -> (Code, &'static str) {
    match refused {
        Refused::TooManyChannels => {
            (Code::TooManyChannels, "the server has as many channels as it may; try later")
        }
        Refused::AlreadySubscribed => {
            (Code::AlreadySubscribed, "this connection reads the channel already")
        }
        Refused::NotSubscribed => {
            (Code::NotSubscribed, "this connection does not read the channel")
        }
        Refused::TooManySubscriptions => (
            Code::TooManySubscriptions,
            "this connection reads as many channels as it may; unsubscribe, or open another",
        ),
        Refused::Draining => (Code::Draining, DRAINING),
    }
}

fn explain_publish(reason: NotPublished) -> (Code, String) {
    match reason {
        NotPublished::Rejected(rejected) => {
            let code = match rejected {
                Rejected::Stale(_) => Code::StaleVersion,
                Rejected::TooManyKeys => Code::TooManyKeys,
                Rejected::TooManyChannels => Code::TooManyChannels,
                Rejected::FedByBus => Code::FedByBus,
                Rejected::DiskFull => Code::DiskFull,
                Rejected::JournalFailed => Code::JournalFailed,
                Rejected::HandedOver => Code::Draining,
            };
            (code, rejected.to_string())
        }
        NotPublished::Busy => {
            let message =
                "the queue of the channel's shard is full; nothing was published, try again";
            (Code::Busy, message.to_owned())
        }
        NotPublished::Draining => (Code::Draining, DRAINING.to_owned()),
    }
}

const DRAINING: &str = "the server is going away; connect again, to another if there is one";
