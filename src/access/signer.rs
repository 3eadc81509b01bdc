//! Makes tokens, for trying things out: with a secret, or a private key in PEM (PKCS #8).

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::{Value, json};

use super::keys::{Keys, NotAKey, pem};

/// A key that signs tokens.
pub struct Signer(Kind);

enum Kind {
    Secret(hmac::Key),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a file holds no key to sign with. Its text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASigner {
    /// PEM of something else.
    #[error(
        "is PEM, but not a private key of RSA (2048 bits or more), P-256 or Ed25519 in PKCS #8; \
         openssl pkcs8 -topk8 -nodes makes one of another form"
    )]
    Pem,
    /// A public key: who signs needs the other half.
    #[error("has a public key, and tokens are signed with the private one")]
    Public,
    /// No secret either.
    #[error(transparent)]
    Secret(#[from] NotAKey),
}

impl Signer {
    /// Reads a secret, or a private key in PEM.
    pub fn from_key_file(bytes: &[u8]) -> Result<Signer, NotASigner> {
        match pem(bytes) {
            Some(("PRIVATE KEY", der)) => private(&der).map(Signer).ok_or(NotASigner::Pem),
            Some((label, _)) if label.ends_with("PUBLIC KEY") => Err(NotASigner::Public),
            Some(_) => Err(NotASigner::Pem),
            None => {
                Keys::from_key_file(bytes).map_err(|why| match why {
                    NotAKey::Pem => NotASigner::Pem,
                    why => why.into(),
                })?;
                Ok(Signer(Kind::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes.trim_ascii()))))
            }
        }
    }

    /// The `alg` of its tokens.
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Kind::Secret(_) => "HS256",
            Kind::Rsa(_) => "RS256",
            Kind::P256(_) => "ES256",
            Kind::Ed25519(_) => "EdDSA",
        }
    }

    /// A token with these claims. `None` if the machine has no random numbers.
    pub fn sign(&self, claims: &Value, kid: Option<&str>) -> Option<String> {
        let mut header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = BASE64URL_NOPAD.encode(&self.signature(signed.as_bytes())?);
        Some(format!("{signed}.{signature}"))
    }

    fn signature(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.0 {
            Kind::Secret(key) => Some(hmac::sign(key, bytes).as_ref().to_vec()),
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).ok()?;
                Some(signature)
            }
            Kind::P256(key) => Some(key.sign(&random, bytes).ok()?.as_ref().to_vec()),
            Kind::Ed25519(key) => Some(key.sign(bytes).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.algorithm())
    }
}

fn private(der: &[u8]) -> Option<Kind> {
    // OpenSSL leaves the public half of Ed25519 out.
    let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Kind::Ed25519);
    let random = SystemRandom::new();
    let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).ok();
    let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(Kind::Rsa);
    ed25519().or_else(|| p256().map(Kind::P256)).or_else(rsa)
}

/// What a token says, without a look at who signed it: its header and its claims.
pub fn read(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.trim().split('.');
    let mut part = || -> Option<Value> {
        let json = BASE64URL_NOPAD.decode(parts.next()?.as_bytes()).ok()?;
        serde_json::from_slice(&json).ok()
    };
    let read = (part()?, part()?);
    (parts.next().is_some() && parts.next().is_none()).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, ApiKeys, Expected, forge::SECRET};

    /// What is made with a secret is good with it, says what was asked for, and is nobody else's.
    #[test]
    fn what_is_signed_is_good() {
        let signer = Signer::from_key_file(format!("{SECRET}\n").as_bytes()).unwrap();
        let claims = json!({ "exp": 2000, "sub": "anna", "subscribe": ["news.*"] });
        let token = signer.sign(&claims, Some("a")).unwrap();
        assert_eq!(read(&token).unwrap().1, claims);
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "a" });
        assert_eq!(read(&format!(" {token}\n")).unwrap().0, header);
        let verify = |secret: &str| {
            let keys = Keys::from_key_file(secret.as_bytes()).unwrap();
            let access = Access::new(keys, Expected::default(), ApiKeys::default());
            access.verify(&token, 1000).map(|grants| grants.subject.clone())
        };
        assert_eq!(verify(SECRET), Ok(Some("anna".into())));
        assert!(verify(&SECRET.replace("thirty", "fifty!")).is_err());
        for broken in ["", "a", "a.b.c", &token[1..], &format!("{token}.")] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    /// What cannot sign is refused, and told what would be right.
    #[test]
    fn what_cannot_sign_is_refused() {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        for (text, refused) in [
            (pem("PUBLIC KEY"), NotASigner::Public),
            (pem("EC PRIVATE KEY"), NotASigner::Pem),
            (pem("PRIVATE KEY"), NotASigner::Pem),
            ("-----BEGIN nothing".to_owned(), NotASigner::Pem),
            ("short".to_owned(), NotASigner::Secret(NotAKey::ShortSecret(5))),
        ] {
            assert_eq!(Signer::from_key_file(text.as_bytes()).err(), Some(refused), "{text}");
        }
    }
}
