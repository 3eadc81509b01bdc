//! The oracle's own reading of who may do what: nothing here asks `access` or `policy`.

use crate::{
    access::forge,
    policy::{Pattern, Policies, Policy, Retention, Who},
};

/// When the world began, in milliseconds since 1970.
pub const STARTED_MS: u64 = 1_700_000_000_000;
/// Seconds by which the dates of tokens may be off, as the protocol promises.
const LEEWAY: u64 = 30;
/// Whoever signs: the key that is known for sure is none of them.
pub const SECRETS: [&str; 3] = [
    "the first secret of thirty-two bytes",
    "the second secret of thirty-two bytes",
    "a secret that the server never knows",
];
/// The patterns, in order. The first tells its channel's presence.
pub const PATTERNS: [&str; 4] = ["a.1", "a.*", "b.*", "*"];

/// A channel, the pattern that decides about it, and the name that a token must grant for reading it.
pub struct Place {
    pub name: &'static str,
    pattern: usize,
    guarded: &'static str,
    /// It tells the presence of another, and nobody else may.
    pub is_presence: bool,
}

const fn plain(name: &'static str, pattern: usize) -> Place {
    Place { name, pattern, guarded: name, is_presence: false }
}

pub const PLACES: [Place; 7] = [
    plain("a.1", 0),
    plain("a.2", 1),
    plain("b.1", 2),
    plain("b.2", 2),
    plain("b.1:presence", 2),
    plain("c", 3),
    Place { name: "a.1:presence", pattern: 0, guarded: "a.1", is_presence: true },
];

/// What a decision was, as a peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Unauthorized,
    Forbidden,
}

/// A token, and what was written into it.
#[derive(Debug)]
pub struct Pass {
    pub secret: usize,
    pub issuer: Option<&'static str>,
    pub subject: Option<&'static str>,
    pub exp: u64,
    pub nbf: Option<u64>,
    pub subscribe: Vec<&'static str>,
    pub publish: Vec<&'static str>,
}

impl Pass {
    pub fn text(&self) -> String {
        let mut claims = serde_json::json!({
            "exp": self.exp, "subscribe": self.subscribe, "publish": self.publish,
        });
        let texts = [("iss", self.issuer), ("sub", self.subject)];
        for (claim, text) in texts {
            if let Some(text) = text {
                claims[claim] = text.into();
            }
        }
        if let Some(nbf) = self.nbf {
            claims["nbf"] = nbf.into();
        }
        let header = r#"{"alg":"HS256"}"#;
        forge::signed(header, &claims.to_string(), SECRETS[self.secret].as_bytes())
    }

    /// The world's microsecond from which on it is worth nothing.
    pub fn until_us(&self) -> u64 {
        ((self.exp + LEEWAY) * 1000 - STARTED_MS) * 1000
    }
}

/// What holds at one time: the rules of each pattern, the keys, and what tokens must say.
#[derive(Clone, Debug)]
pub struct Law {
    pub subscribe: [Who; PATTERNS.len()],
    pub publish: [Who; PATTERNS.len()],
    /// Of [`SECRETS`].
    pub known: Vec<usize>,
    pub issuer: Option<&'static str>,
}

impl Law {
    pub fn policies(&self) -> Policies {
        let policy = |at: usize| Policy {
            history: Retention { count: 3, bytes: 10_000, age: None },
            presence: at == 0,
            subscribe: self.subscribe[at],
            publish: self.publish[at],
            ..Policy::default()
        };
        let pattern = |at: usize| Pattern::new(PATTERNS[at]);
        Policies::new((0..PATTERNS.len()).map(|at| (pattern(at), policy(at))))
    }

    pub fn takes_tokens(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether a token is good in this second.
    pub fn is_good(&self, pass: &Pass, second: u64) -> bool {
        self.known.contains(&pass.secret)
            && second < pass.exp + LEEWAY
            && pass.nbf.is_none_or(|nbf| nbf <= second + LEEWAY)
            && (self.issuer.is_none() || self.issuer == pass.issuer)
    }

    /// Whether a request for these channels is granted.
    pub fn admits(&self, places: &[usize], pass: Option<&Pass>, second: u64) -> Verdict {
        let pass = pass.filter(|_| self.takes_tokens());
        if pass.is_some_and(|pass| !self.is_good(pass, second)) {
            return Verdict::Unauthorized;
        }
        let mut verdicts = places.iter().map(|&place| self.subscribes(place, pass));
        verdicts.find(|&verdict| verdict != Verdict::Good).unwrap_or(Verdict::Good)
    }

    pub fn subscribes(&self, place: usize, pass: Option<&Pass>) -> Verdict {
        let Place { pattern, guarded, .. } = PLACES[place];
        judge(self.subscribe[pattern], pass.map(|pass| lists(&pass.subscribe, guarded)))
    }

    pub fn publishes(&self, place: usize, pass: Option<&Pass>) -> Verdict {
        let Place { name, pattern, is_presence, .. } = PLACES[place];
        let who = if is_presence { Who::Nobody } else { self.publish[pattern] };
        judge(who, pass.map(|pass| lists(&pass.publish, name)))
    }

    /// Whether a conversation may go on with another token, after so many that were not good.
    pub fn renews(&self, old: Option<&Pass>, new: &Pass, refused: u8, second: u64) -> Verdict {
        if !self.takes_tokens() {
            Verdict::Forbidden
        } else if refused >= 3 || !self.is_good(new, second) {
            Verdict::Unauthorized
        } else if old.is_some_and(|old| old.subject != new.subject) {
            Verdict::Forbidden
        } else {
            Verdict::Good
        }
    }
}

fn judge(who: Who, is_listed: Option<bool>) -> Verdict {
    match (who, is_listed) {
        (Who::Public, _) | (Who::Token, Some(true)) => Verdict::Good,
        (Who::Nobody, _) | (Who::Token, Some(false)) => Verdict::Forbidden,
        (Who::Token, None) => Verdict::Unauthorized,
    }
}

fn lists(list: &[&str], name: &str) -> bool {
    list.iter().any(|&entry| match entry.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == entry,
    })
}
