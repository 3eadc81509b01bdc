//! A conversation goes on with a fresh token, and leaves what that does not grant any more.

use std::sync::Arc;

use super::{Asked, Conversation};
use crate::{
    access::{Bearer, Fault, Refused, may_subscribe},
    ids::{ChannelName, Tick},
    limits::TOKENS_REFUSED_MAX,
    session::{Call, Rules},
    wire::{
        commands::Wrong,
        replies::{Code, Says, write},
    },
};

impl Conversation {
    /// Takes a fresh token; says for how many seconds it is good. One that is not leaves everything
    /// as it is.
    pub(super) fn renew(
        &mut self,
        token: &str,
        now: Tick,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Result<u64, Wrong> {
        let (access, seconds) = (&rules.access, rules.seconds(now));
        if !access.takes_tokens() {
            return Err(Wrong::new(Code::Forbidden, "this server takes no tokens"));
        }
        if self.tokens_refused >= TOKENS_REFUSED_MAX {
            let message = "too many tokens were refused here; open another connection";
            return Err(Wrong::new(Code::Unauthorized, message));
        }
        let grants = access.verify(token, seconds).map_err(|why| {
            self.tokens_refused += 1;
            barred(why, rules)
        })?;
        if self.grants.as_ref().is_some_and(|grants_now| grants_now.subject != grants.subject) {
            let message = "the token is of another subject; open another connection";
            return Err(Wrong::new(Code::Forbidden, message));
        }
        let good_for = grants.until.saturating_sub(seconds);
        let bearer = match self.is_seated {
            true => Bearer { grants: Arc::clone(&grants), seat: None },
            false => access.enter(Arc::clone(&grants)).map_err(|why| barred(why, rules))?,
        };
        self.is_seated = self.is_seated || bearer.seat.is_some();
        // A seat that was taken in the same breath, and that the shard has yet to be given.
        let seat = self.bearer.take().and_then(|earlier| earlier.seat).or(bearer.seat);
        self.bearer = Some(Bearer { grants: bearer.grants, seat });
        self.grants = Some(grants);
        self.drop_calls(rules, out);
        Ok(good_for)
    }

    /// Refuses what was asked for with an earlier token and has yet to be called for.
    fn drop_calls(&mut self, rules: &Rules, out: &mut Vec<u8>) {
        let grants = self.grants.as_deref();
        let mut dropped = Vec::new();
        self.calls.retain(|call| match call {
            Call::Subscribe { channel, .. } => {
                let refused = may_subscribe(&rules.policies, channel, grants).err();
                dropped.extend(refused.map(|why| (channel.clone(), why)));
                refused.is_none()
            }
            _ => true,
        });
        for (channel, why) in dropped {
            let is_meant = |asked: &Asked| {
                asked.channel == channel && !asked.is_called && asked.is_subscription
            };
            if let Some(at) = self.asked.iter().position(is_meant) {
                let id = self.asked.remove(at).and_then(|asked| asked.id);
                let Wrong { code, message, .. } = barred(why, rules);
                let channel = Some(&channel);
                write(id, Says::Error { code, message: &message, channel }, out);
            }
        }
    }

    /// The connection reads this channel: if its token does not grant that any more, it is to leave.
    pub fn review(&mut self, channel: &ChannelName, rules: &Rules) {
        let is_leaving = |asked: &Asked| asked.is_revoked && asked.channel == *channel;
        if may_subscribe(&rules.policies, channel, self.grants.as_deref()).is_ok()
            || self.asked.iter().any(is_leaving)
        {
            return;
        }
        self.ask(None, channel.clone(), false, false);
        if let Some(asked) = self.asked.back_mut() {
            asked.is_revoked = true;
        }
        self.calls.push_back(Call::Unsubscribe { channel: channel.clone() });
    }
}

/// What a client is told of why it was refused: little.
pub(super) fn barred(why: Refused, rules: &Rules) -> Wrong {
    rules.access.tally().count(why);
    match why.fault() {
        Fault::Unauthorized => Wrong::new(Code::Unauthorized, "this needs a valid token"),
        Fault::Forbidden => Wrong::new(Code::Forbidden, "this is not granted"),
        Fault::TooMany => Wrong::new(
            Code::TooManyConnections,
            "there are as many connections with this token as there may be; close one",
        ),
    }
}
