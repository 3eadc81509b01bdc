//! Who may do what: verifies tokens (JWT) and keys of the API, and tells what they grant.
//!
//! Pure: what files hold comes in as bytes, and the time as seconds since 1970. One [`Access`] lives
//! as long as the server and is shared by all its threads; keys are replaced in it while it is used.
//!
//! Promises: a token is good only with a signature by a key of ours of the kind that its `alg` names;
//! one that was good is not verified again while it is remembered, and never outlives its expiry or
//! its key; nor is one again whose signature was bad, until the keys change; what is remembered is
//! bounded in entries and bytes. Nothing that a peer sends can panic, and no secret is ever shown.
#![forbid(unsafe_code)]

mod api;
mod cache;
mod der;
mod grants;
mod keys;
mod paces;
mod refusals;
mod seats;
mod signer;
mod tally;
mod token;

#[cfg(test)]
pub(crate) mod forge;
#[cfg(test)]
mod tests;

pub use api::{ApiKeys, NotAnApiKey, Scope, Scopes};
pub use grants::Grants;
pub use keys::{Keys, NotAKey};
pub use seats::{Bearer, Seat};
pub use signer::{NotASigner, Signer, read};
pub use tally::{Fault, Refused, Tally};
pub use token::Expected;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cache::Cache;
use paces::{Paces, Publisher};
use refusals::Refusals;
use seats::Seats;

use crate::{
    ids::{ChannelName, Tick},
    policy::{Policies, Who},
};

/// What decides about tokens and keys of one server.
#[derive(Debug, Default)]
pub struct Access {
    state: Mutex<State>,
    seats: Arc<Seats>,
    paces: Mutex<Paces>,
    /// Keyed anew in each process: peers choose subjects.
    hasher: RandomState,
    tally: Tally,
}

/// What may be replaced, and what was concluded from it.
#[derive(Debug, Default)]
struct State {
    keys: Arc<Keys>,
    expected: Arc<Expected>,
    api_keys: Arc<ApiKeys>,
    cache: Cache,
    refusals: Refusals,
    /// How often the keys were replaced.
    changes: u64,
}

impl Access {
    /// Tokens are verified with these keys, and hold these claims.
    pub fn new(keys: Keys, expected: Expected, api_keys: ApiKeys) -> Self {
        let access = Access::default();
        access.replace(keys, expected, api_keys);
        access
    }

    /// Puts others in place of the keys. Who is connected stays; what comes is judged by these.
    pub fn replace(&self, keys: Keys, expected: Expected, api_keys: ApiKeys) {
        let mut state = self.state();
        let changes = state.changes + 1;
        let (keys, expected, api_keys) = (Arc::new(keys), Arc::new(expected), Arc::new(api_keys));
        *state = State { keys, expected, api_keys, changes, ..State::default() };
    }

    /// Whether there are keys to verify tokens with. Where there are none, tokens mean nothing.
    pub fn takes_tokens(&self) -> bool {
        !self.state().keys.is_empty()
    }

    /// Whether there are keys of the API.
    pub fn has_api_keys(&self) -> bool {
        !self.state().api_keys.is_empty()
    }

    /// What a token grants at this time, in seconds since 1970.
    pub fn verify(&self, token: &str, now: u64) -> Result<Arc<Grants>, Refused> {
        let (keys, expected, changes, hash) = {
            let mut state = self.state();
            if let Some(grants) = state.cache.get(token) {
                return if now < grants.until { Ok(grants) } else { Err(Refused::Expired) };
            }
            let hash = self.hasher.hash_one(token);
            if state.refusals.has(hash) {
                return Err(Refused::Signature);
            }
            (Arc::clone(&state.keys), Arc::clone(&state.expected), state.changes, hash)
        };
        // Not under the lock: it takes up to a tenth of a millisecond for each key.
        let verdict = token::verify(token, &keys, &expected, now).map(|mut grants| {
            grants.publisher = Publisher::of(grants.subject.as_deref(), token, &self.hasher);
            Arc::new(grants)
        });
        let mut state = self.state();
        match &verdict {
            _ if state.changes != changes => {}
            Ok(grants) => state.cache.put(token, grants),
            Err(Refused::Signature) => state.refusals.put(hash),
            // Anything else is found before a key is tried, or may pass.
            Err(_) => {}
        }
        verdict
    }

    /// What a key of the API may do, by its secret.
    pub fn api_key(&self, secret: &str) -> Option<(Box<str>, Scopes)> {
        let api_keys = Arc::clone(&self.state().api_keys);
        api_keys.find(secret)
    }

    /// Lets one more connection in with these grants, if its subject may have one more.
    pub fn enter(&self, grants: Arc<Grants>) -> Result<Bearer, Refused> {
        let seat = self.seats.take(&grants)?;
        Ok(Bearer { grants, seat })
    }

    /// Lets somebody with these grants publish once more: as often a second as the token says, or as
    /// this if it says nothing, and ten times as often at once. 0 is no limit.
    pub fn pace(&self, grants: &Grants, rate: u32, now: Tick) -> Result<(), Refused> {
        let rate = grants.publish_rate.unwrap_or(rate);
        if rate == 0 {
            return Ok(());
        }
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.take(grants.publisher, rate, now) { Ok(()) } else { Err(Refused::TooFast) }
    }

    /// What was refused, by reason.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody with these grants may subscribe to this channel.
pub fn may_subscribe(
    policies: &Policies,
    channel: &ChannelName,
    grants: Option<&Grants>,
) -> Result<(), Refused> {
    let (policy, name) = policies.guarded(channel);
    allows(policy.subscribe, grants, |grants| grants.may_subscribe(name))
}

/// Whether a subscriber with these grants may publish to this channel.
pub fn may_publish(
    policies: &Policies,
    channel: &ChannelName,
    grants: Option<&Grants>,
) -> Result<(), Refused> {
    let who = policies.of(channel).publish;
    allows(who, grants, |grants| grants.may_publish(channel.as_str()))
}

fn allows(
    who: Who,
    grants: Option<&Grants>,
    granted: impl FnOnce(&Grants) -> bool,
) -> Result<(), Refused> {
    match (who, grants) {
        (Who::Public, _) => Ok(()),
        (Who::Nobody, _) => Err(Refused::Nobody),
        (Who::Token, None) => Err(Refused::NoToken),
        (Who::Token, Some(grants)) if granted(grants) => Ok(()),
        (Who::Token, Some(_)) => Err(Refused::NotGranted),
    }
}
