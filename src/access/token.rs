//! A JSON Web Token: its parts, its signature and its claims (RFC 7515, RFC 7519, RFC 8725).

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::{
    Grants, Refused, Scope, Scopes,
    keys::{Algorithm, Keys},
};
use crate::{
    ids::ChannelName,
    limits::{TOKEN_BYTES_MAX, TOKEN_PATTERNS_MAX, TOKEN_SUBJECT_BYTES_MAX},
    policy::Pattern,
};

/// Seconds that the clocks of who issues tokens and of the server may differ.
pub const LEEWAY: u64 = 30;

/// What tokens must say, besides being signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// What `iss` must be.
    pub issuer: Option<Box<str>>,
    /// What `aud` must be, or have.
    pub audience: Option<Box<str>>,
}

/// What a token grants, if it is good.
pub(super) fn verify(
    token: &str,
    keys: &Keys,
    expected: &Expected,
    now: u64,
) -> Result<Grants, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Refused::Malformed)?;
    let header: Header = read(header)?;
    if header.crit.is_some() {
        // An extension that must be understood, and is not.
        return Err(Refused::Malformed);
    }
    let algorithm = Algorithm::named(&header.alg).ok_or(Refused::Algorithm)?;
    let signature = decode(signature)?;
    check_signature(keys, &header, algorithm, signed.as_bytes(), &signature)?;
    let claims = decode(claims)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Refused::Claims)?;
    claims.check(expected, now)?;
    claims.grants()
}

/// Only keys of the token's own algorithm are tried: a public key is no secret.
fn check_signature(
    keys: &Keys,
    header: &Header,
    algorithm: Algorithm,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), Refused> {
    let kid = header.kid.as_deref();
    let mut is_tried = false;
    for key in keys.candidates(kid, algorithm) {
        if key.verifies(signed, signature) {
            return Ok(());
        }
        is_tried = true;
    }
    // A bad signature is the better reason, if there is a key that could have made it.
    match (is_tried, keys.has(kid)) {
        (true, _) => Err(Refused::Signature),
        (false, true) => Err(Refused::Algorithm),
        (false, false) => Err(Refused::UnknownKey),
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

/// All claims that are read; others may be there.
#[derive(Deserialize)]
struct Claims {
    sub: Option<Box<str>>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    iss: Option<Box<str>>,
    aud: Option<Audience>,
    #[serde(default)]
    subscribe: Vec<Box<str>>,
    #[serde(default)]
    publish: Vec<Box<str>>,
    connections: Option<u32>,
    publish_rate: Option<u32>,
    #[serde(default)]
    control: Vec<Box<str>>,
}

/// One, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(Box<str>),
    Several(Vec<Box<str>>),
}

impl Claims {
    fn check(&self, expected: &Expected, now: u64) -> Result<(), Refused> {
        let latest = (now + LEEWAY) as f64;
        let is_yet_to_come = |date: Option<f64>| date.is_some_and(|date| date > latest);
        if now >= until(self.exp.ok_or(Refused::NoExpiry)?) {
            return Err(Refused::Expired);
        }
        if is_yet_to_come(self.nbf) || is_yet_to_come(self.iat) {
            return Err(Refused::NotYet);
        }
        if expected.issuer.is_some() && self.iss != expected.issuer {
            return Err(Refused::Issuer);
        }
        let is_for = |audience: &str| match &self.aud {
            Some(Audience::One(one)) => **one == *audience,
            Some(Audience::Several(several)) => several.iter().any(|one| **one == *audience),
            None => false,
        };
        match &expected.audience {
            Some(audience) if !is_for(audience) => Err(Refused::Audience),
            _ => Ok(()),
        }
    }

    fn grants(self) -> Result<Grants, Refused> {
        let is_subject = |subject: &str| (1..=TOKEN_SUBJECT_BYTES_MAX).contains(&subject.len());
        if self.sub.as_deref().is_some_and(|subject| !is_subject(subject)) {
            return Err(Refused::Claims);
        }
        if self.connections.is_some() && self.sub.is_none() {
            // Whose connections?
            return Err(Refused::Claims);
        }
        let scope = |name: &str| match name {
            "read" => Ok(Scope::Read),
            "admin" => Ok(Scope::Admin),
            _ => Err(Refused::Claims),
        };
        let control: Vec<Scope> =
            self.control.iter().map(|name| scope(name)).collect::<Result<_, _>>()?;
        Ok(Grants {
            subject: self.sub,
            until: until(self.exp.ok_or(Refused::NoExpiry)?),
            connections: self.connections,
            publish_rate: self.publish_rate,
            control: Scopes::of(&control),
            subscribe: patterns(&self.subscribe)?,
            publish: patterns(&self.publish)?,
            ..Grants::default()
        })
    }
}

/// The second from which on a token with this `exp` is worth nothing.
fn until(exp: f64) -> u64 {
    // A cast from a float ends at the bounds, and NaN is 0.
    (exp as u64).saturating_add(LEEWAY)
}

/// Names, and beginnings of names with a `*` behind them.
fn patterns(texts: &[Box<str>]) -> Result<Box<[Pattern]>, Refused> {
    if texts.len() > TOKEN_PATTERNS_MAX {
        return Err(Refused::Claims);
    }
    let pattern = |text: &str| {
        let name = text.strip_suffix('*').unwrap_or(text);
        let is_all = name.is_empty() && !text.is_empty();
        match is_all || ChannelName::check(name.as_bytes()).is_ok() {
            true => Ok(Pattern::new(text)),
            false => Err(Refused::Claims),
        }
    };
    texts.iter().map(|text| pattern(text)).collect()
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refused> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Refused::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Refused::Malformed)
}
