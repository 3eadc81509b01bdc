//! Why something was refused, and how often.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a token, a key or what it was used for was refused. For the operator: peers hear little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// None was shown where one is needed.
    NoToken,
    /// Not three parts of base64url, or not the JSON that they should be.
    Malformed,
    /// `alg` is none of ours, or not that of the key.
    Algorithm,
    /// There is no key of this `kid`, or of this `alg`.
    UnknownKey,
    /// The signature is not by the key.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `exp` is missing.
    NoExpiry,
    /// `nbf` or `iat` is yet to come.
    NotYet,
    /// `iss` is not what it must be.
    Issuer,
    /// `aud` does not have what it must have.
    Audience,
    /// A claim of ours has the wrong shape.
    Claims,
    /// The token does not grant this channel, or this endpoint.
    NotGranted,
    /// The configuration lets nobody.
    Nobody,
    /// The subject has as many connections as it may.
    TooManyConnections,
    /// More is published with the token than may be.
    TooFast,
    /// A key of the API that is not known, and no good token either.
    UnknownApiKey,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 401: show something good.
    Unauthorized,
    /// 403: what was shown does not grant it.
    Forbidden,
    /// 429: too many already.
    TooMany,
}

impl Refused {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Refused; 16] = [
        Refused::NoToken,
        Refused::Malformed,
        Refused::Algorithm,
        Refused::UnknownKey,
        Refused::Signature,
        Refused::Expired,
        Refused::NoExpiry,
        Refused::NotYet,
        Refused::Issuer,
        Refused::Audience,
        Refused::Claims,
        Refused::NotGranted,
        Refused::Nobody,
        Refused::TooManyConnections,
        Refused::TooFast,
        Refused::UnknownApiKey,
    ];

    /// What it is called in metrics and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Refused::NoToken => "no token",
            Refused::Malformed => "malformed token",
            Refused::Algorithm => "wrong algorithm",
            Refused::UnknownKey => "unknown key",
            Refused::Signature => "bad signature",
            Refused::Expired => "expired",
            Refused::NoExpiry => "no expiry",
            Refused::NotYet => "not yet valid",
            Refused::Issuer => "wrong issuer",
            Refused::Audience => "wrong audience",
            Refused::Claims => "malformed claim",
            Refused::NotGranted => "not granted",
            Refused::Nobody => "open to nobody",
            Refused::TooManyConnections => "too many connections",
            Refused::TooFast => "publishes too fast",
            Refused::UnknownApiKey => "unknown API key",
        }
    }

    /// What is to be answered.
    pub fn fault(self) -> Fault {
        match self {
            Refused::NotGranted | Refused::Nobody => Fault::Forbidden,
            Refused::TooManyConnections | Refused::TooFast => Fault::TooMany,
            _ => Fault::Unauthorized,
        }
    }
}

/// How often something was refused, by reason.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; Refused::ALL.len()],
}

impl Tally {
    /// Counts one.
    pub fn count(&self, why: Refused) {
        self.counts[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each reason was given.
    pub fn counts(&self) -> impl Iterator<Item = (Refused, u64)> {
        let read = |why: Refused| (why, self.counts[why as usize].load(Ordering::Relaxed));
        Refused::ALL.into_iter().map(read)
    }
}
