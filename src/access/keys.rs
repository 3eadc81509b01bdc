//! Keys that tokens are verified with: of a file with one, or of a JWKS file (RFC 7517, RFC 7518 §6).

use std::fmt;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use serde::{Deserialize, de::IgnoredAny};

use super::der::{self, PublicKey};
use crate::limits::{TOKEN_KEYS_ALIKE_MAX, TOKEN_KEYS_MAX, TOKEN_KEYS_TRIED_MAX};

/// Keys that tokens are verified with.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

/// One key, and whose tokens it is for.
pub(super) struct Key {
    /// The name that tokens may call it by.
    kid: Option<Box<str>>,
    verifier: Verifier,
}

enum Verifier {
    Hs256(hmac::Key),
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
    Es256(UnparsedPublicKey<Vec<u8>>),
    EdDsa(UnparsedPublicKey<Vec<u8>>),
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

/// What a file holds is no key, or no set of keys. Its text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// A PEM file of something else.
    #[error(
        "is PEM, but not a public key of RSA (2048 bits or more), P-256 or Ed25519; write one with \
         openssl pkey -pubout"
    )]
    Pem,
    /// A key that others may know, or a set of keys, where a secret is expected.
    #[error(
        "is {0}, which would be taken for a secret although others may know it; give a public key \
         in PEM (openssl pkey -pubin -inform DER -pubout), or the secret itself"
    )]
    NotASecret(&'static str),
    /// A secret that can be guessed.
    #[error("has a secret of {0} bytes; HS256 wants 32 at least: openssl rand -base64 32")]
    ShortSecret(usize),
    /// Not JSON, or not a set of keys.
    #[error("is not a JWKS file, {{\"keys\": [...]}}: {0}")]
    Jwks(String),
    /// No key in it can be used.
    #[error("has no key for RS256, ES256, EdDSA or HS256")]
    NoKeys,
    /// More than there may be.
    #[error("has {0} keys; at most {TOKEN_KEYS_MAX} are taken")]
    TooMany(usize),
    /// More that nothing tells apart than are tried.
    #[error(
        "has {0} keys for {1} that have the same kid or none, of which at most \
         {TOKEN_KEYS_ALIKE_MAX} are taken; give each a kid of its own"
    )]
    Alike(usize, &'static str),
    /// One of the keys is broken.
    #[error("has a broken key, number {0}: {1}")]
    Broken(usize, &'static str),
}

impl Keys {
    /// Reads what a key file holds: a public key in PEM, perhaps behind a text about it, or else a
    /// secret, whose line end does not count. A public key in any other form is refused: as a secret
    /// it would let everybody sign who has it.
    pub fn from_key_file(bytes: &[u8]) -> Result<Self, NotAKey> {
        let secret = bytes.trim_ascii();
        let begin = secret.windows(PEM_BEGIN.len()).position(|window| window == PEM_BEGIN);
        let verifier = match begin {
            Some(begin) => from_pem(&secret[begin..]).ok_or(NotAKey::Pem)?,
            None => {
                if let Some(what) = known_to_others(bytes) {
                    return Err(NotAKey::NotASecret(what));
                }
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(NotAKey::ShortSecret(secret.len()));
                }
                Verifier::secret(secret)
            }
        };
        Ok(Keys(vec![Key { kid: None, verifier }]))
    }

    /// Reads a JWKS file. Keys of other kinds, or for other uses, are passed over.
    pub fn from_jwks(bytes: &[u8]) -> Result<Self, NotAKey> {
        let set: Jwks =
            serde_json::from_slice(bytes).map_err(|error| NotAKey::Jwks(error.to_string()))?;
        if set.keys.len() > TOKEN_KEYS_MAX {
            return Err(NotAKey::TooMany(set.keys.len()));
        }
        let mut keys = Vec::new();
        for (at, jwk) in set.keys.iter().enumerate() {
            let verifier = jwk.verifier().map_err(|why| NotAKey::Broken(at + 1, why))?;
            let kid = jwk.kid.as_deref().map(Box::from);
            keys.extend(verifier.map(|verifier| Key { kid, verifier }));
        }
        // A token without `kid` is tried with these first, since nothing else leads to them.
        keys.sort_by_key(|key| key.kid.is_some());
        for key in &keys {
            let alike = keys.iter().filter(|other| key.is_like(other)).count();
            if alike > TOKEN_KEYS_ALIKE_MAX {
                return Err(NotAKey::Alike(alike, key.algorithm().name()));
            }
        }
        if keys.is_empty() { Err(NotAKey::NoKeys) } else { Ok(Keys(keys)) }
    }

    /// These and those.
    pub fn and(mut self, others: Keys) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that a token is tried with: of its algorithm, and of its `kid`, or without any where none
    /// has it. Without a `kid` it may be by any, but is tried with the first few alone.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let is_ours = move |key: &&Key| key.algorithm() == algorithm;
        let name = kid.filter(|_| self.0.iter().filter(is_ours).any(|key| key.kid() == kid));
        let is_meant = move |key: &&Key| kid.is_none() || key.kid() == name;
        self.0.iter().filter(is_ours).filter(is_meant).take(TOKEN_KEYS_TRIED_MAX)
    }

    /// Whether some key, of whichever algorithm, may be meant by this `kid`.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        self.0.iter().any(|key| kid.is_none() || key.kid.is_none() || key.kid() == kid)
    }
}

impl Key {
    fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether no token can tell one from the other.
    fn is_like(&self, other: &Key) -> bool {
        self.kid == other.kid && self.algorithm() == other.algorithm()
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.verifier {
            Verifier::Hs256(_) => Algorithm::Hs256,
            Verifier::Rs256(_) => Algorithm::Rs256,
            Verifier::Es256(_) => Algorithm::Es256,
            Verifier::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether this is the key's signature of these bytes.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.verifier {
            Verifier::Hs256(key) => hmac::verify(key, signed, signature),
            Verifier::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature),
            Verifier::Es256(key) | Verifier::EdDsa(key) => key.verify(signed, signature),
        };
        verified.is_ok()
    }
}

impl Algorithm {
    /// The algorithm that a token's `alg` names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Algorithm::Hs256),
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

impl Verifier {
    fn secret(bytes: &[u8]) -> Self {
        Verifier::Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    fn of(key: PublicKey<'_>) -> Result<Self, &'static str> {
        match key {
            PublicKey::Rsa(n, e) if RSA_BYTES.contains(&n.len()) && !e.is_empty() => {
                Ok(Verifier::Rs256(RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() }))
            }
            PublicKey::Rsa(..) => Err("an RSA key has 2048 to 8192 bits"),
            PublicKey::P256(point) if point.len() == 65 && point[0] == 4 => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.to_vec());
                Ok(Verifier::Es256(key))
            }
            PublicKey::P256(_) => Err("a key of P-256 has x and y of 32 bytes each"),
            PublicKey::Ed25519(key) if key.len() == 32 => {
                Ok(Verifier::EdDsa(UnparsedPublicKey::new(&ED25519, key.to_vec())))
            }
            PublicKey::Ed25519(_) => Err("a key of Ed25519 has 32 bytes"),
        }
    }
}

/// What a file holds that is not meant as a secret, if it can be told.
fn known_to_others(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii();
    let is_base64_of_der = || {
        let joined: Vec<u8> =
            text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        BASE64.decode(&joined).is_ok_and(|decoded| der::is_sequence(&decoded))
    };
    if text.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
        Some("JSON (for a JWKS file there is token-jwks)")
    } else if der::is_sequence(bytes) {
        Some("a key or a certificate in DER")
    } else if is_base64_of_der() {
        Some("a key or a certificate without the lines of PEM around it")
    } else if OPENSSH.iter().any(|kind| text.starts_with(kind)) {
        Some("a public key of OpenSSH")
    } else {
        None
    }
}

/// A block `PUBLIC KEY`, or `RSA PUBLIC KEY`.
fn from_pem(bytes: &[u8]) -> Option<Verifier> {
    let (label, der) = pem(bytes)?;
    let key = match label {
        "PUBLIC KEY" => der::public_key(&der)?,
        "RSA PUBLIC KEY" => der::rsa(&der)?,
        _ => return None,
    };
    Verifier::of(key).ok()
}

/// The first block of PEM in a text: its label, and what it holds.
pub(super) fn pem(bytes: &[u8]) -> Option<(&str, Vec<u8>)> {
    let begin = bytes.windows(PEM_BEGIN.len()).position(|window| window == PEM_BEGIN)?;
    let text = str::from_utf8(&bytes[begin..]).ok()?;
    let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, rest) = rest.split_once("-----END ")?;
    rest.strip_prefix(label)?.strip_prefix("-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    Some((label, BASE64.decode(body.as_bytes()).ok()?))
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// All that is read of a key of a set.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Jwk {
    /// `None` for a key that is for something else.
    fn verifier(&self) -> Result<Option<Verifier>, &'static str> {
        let algorithm = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            ("oct", _) => Algorithm::Hs256,
            _ => return Ok(None),
        };
        let is_alg = self.alg.as_deref().is_none_or(|alg| Algorithm::named(alg) == Some(algorithm));
        let is_ours = is_alg && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        if !is_ours {
            return Ok(None);
        }
        let verifier = match algorithm {
            Algorithm::Hs256 => self.secret(),
            Algorithm::Rs256 => self.rsa(),
            Algorithm::Es256 => self.p256(),
            Algorithm::EdDsa => self.ed25519(),
        };
        verifier.map(Some)
    }

    fn rsa(&self) -> Result<Verifier, &'static str> {
        let (n, e) = (base64url(&self.n)?, base64url(&self.e)?);
        let significant = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == 0).count();
        Verifier::of(PublicKey::Rsa(&n[significant(&n)..], &e[significant(&e)..]))
    }

    fn p256(&self) -> Result<Verifier, &'static str> {
        let (x, y) = (base64url(&self.x)?, base64url(&self.y)?);
        if x.len() != 32 {
            return Err("a key of P-256 has x and y of 32 bytes each");
        }
        Verifier::of(PublicKey::P256(&[&[4], &x[..], &y[..]].concat()))
    }

    fn ed25519(&self) -> Result<Verifier, &'static str> {
        Verifier::of(PublicKey::Ed25519(&base64url(&self.x)?))
    }

    fn secret(&self) -> Result<Verifier, &'static str> {
        let secret = base64url(&self.k)?;
        match secret.len() {
            SECRET_BYTES_MIN.. => Ok(Verifier::secret(&secret)),
            _ => Err("a secret for HS256 has 32 bytes or more"),
        }
    }
}

fn base64url(value: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let value = value.as_deref().ok_or("a part of it is missing")?;
    BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| "a part of it is not base64url")
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithm())
    }
}

const PEM_BEGIN: &[u8] = b"-----BEGIN";

/// How public keys of OpenSSH begin.
const OPENSSH: &[&[u8]] = &[b"ssh-", b"ecdsa-sha2-", b"sk-"];

/// As many as its digest has (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Bytes in a modulus.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
