//! Keys of the API: a name, what it may do, and a secret that only its hash is kept of.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::digest::{SHA256, digest};

use crate::limits::API_KEYS_MAX;

/// What somebody may do at the control listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Publish, to any channel.
    Publish,
    /// Read what the server tells of itself.
    Read,
    /// Change how it runs. Who may may read, too.
    Admin,
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// These.
    pub fn of(scopes: &[Scope]) -> Self {
        let bit = |scope: &Scope| match scope {
            Scope::Publish => 1,
            Scope::Read => 2,
            Scope::Admin => 2 | 4,
        };
        Scopes(scopes.iter().map(bit).fold(0, |all, one| all | one))
    }

    /// Whether this is among them.
    pub fn has(self, scope: Scope) -> bool {
        let wanted = Scopes::of(&[scope]).0;
        self.0 & wanted == wanted
    }
}

/// The keys of one server.
#[derive(Debug, Default)]
pub struct ApiKeys(Vec<ApiKey>);

struct ApiKey {
    name: Box<str>,
    scopes: Scopes,
    hash: [u8; 32],
}

/// A line is no key. Its text says what would be right, and nothing of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnApiKey {
    /// Not three parts.
    #[error(
        "line {0} is not name:scopes:secret; write one like backend:publish,read:… with 16 bytes \
         of secret or more, or sha256: and the hash of one"
    )]
    Shape(usize),
    /// No such scope.
    #[error("line {0} has the scope '{1}'; there are publish, read and admin")]
    Scope(usize, String),
    /// A secret that can be guessed.
    #[error("line {0} has a secret of {1} bytes; write 16 at least: openssl rand -hex 16")]
    Short(usize, usize),
    /// A hash that is none.
    #[error("line {0} has a sha256: without 64 hexadecimal digits behind it")]
    Hash(usize),
    /// A name that is there already.
    #[error("line {0} has the name '{1}' of an earlier one")]
    Twice(usize, String),
    /// More than there may be.
    #[error("there are more than {API_KEYS_MAX} keys")]
    TooMany,
}

impl ApiKeys {
    /// Reads lines of `name:scopes:secret`, or `name:scopes:sha256:hash`. Empty ones, and those that
    /// begin with `#`, are passed over.
    pub fn parse(text: &str) -> Result<Self, NotAnApiKey> {
        let mut keys: Vec<ApiKey> = Vec::new();
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = ApiKey::parse(at + 1, line)?;
            if keys.iter().any(|known| known.name == key.name) {
                return Err(NotAnApiKey::Twice(at + 1, key.name.into()));
            }
            if keys.len() == API_KEYS_MAX {
                return Err(NotAnApiKey::TooMany);
            }
            keys.push(key);
        }
        Ok(ApiKeys(keys))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose secret this is. Takes as long for each: all are compared, and only hashes.
    pub(super) fn find(&self, secret: &str) -> Option<(Box<str>, Scopes)> {
        let hash = sha256(secret);
        let mut found = None;
        for key in &self.0 {
            let differs = key.hash.iter().zip(&hash).fold(0, |all, (a, b)| all | (a ^ b));
            if differs == 0 {
                found = Some((key.name.clone(), key.scopes));
            }
        }
        found
    }
}

impl ApiKey {
    fn parse(line: usize, text: &str) -> Result<Self, NotAnApiKey> {
        let mut parts = text.splitn(3, ':');
        let (Some(name), Some(scopes), Some(secret)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnApiKey::Shape(line));
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(NotAnApiKey::Shape(line));
        }
        let scope = |name: &str| match name.trim() {
            "publish" => Ok(Scope::Publish),
            "read" => Ok(Scope::Read),
            "admin" => Ok(Scope::Admin),
            other => Err(NotAnApiKey::Scope(line, other.to_owned())),
        };
        let scopes: Vec<Scope> = scopes.split(',').map(scope).collect::<Result<_, _>>()?;
        let hash = match secret.strip_prefix("sha256:") {
            Some(hex) => {
                let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                bytes.ok_or(NotAnApiKey::Hash(line))?
            }
            None if secret.len() < SECRET_BYTES_MIN => {
                return Err(NotAnApiKey::Short(line, secret.len()));
            }
            None => sha256(secret),
        };
        Ok(ApiKey { name: name.into(), scopes: Scopes::of(&scopes), hash })
    }
}

fn sha256(secret: &str) -> [u8; 32] {
    let hash = digest(&SHA256, secret.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, {:?})", self.name, self.scopes)
    }
}

/// Enough not to be guessed.
const SECRET_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets are found by themselves or by their hash, and nothing else is.
    #[test]
    fn a_key_is_found_by_its_secret() {
        let hash = "7c6d7ba5b9a6a6a0f2a5b34f7e2f8a0a".to_owned() + &"0".repeat(32);
        let text = format!(
            "# ours\nbackend:publish,read:0123456789abcdef\n\nother:admin:with:colons:inside:it\n\
             hashed:read:sha256:{}\nunknown:read:sha256:{hash}\n",
            data_encoding::HEXUPPER.encode(&sha256("a secret of mine"))
        );
        let keys = ApiKeys::parse(&text).unwrap();
        let find = |secret| keys.find(secret).map(|(name, scopes)| (name.into_string(), scopes));
        let backend = Scopes::of(&[Scope::Publish, Scope::Read]);
        assert_eq!(find("0123456789abcdef"), Some(("backend".into(), backend)));
        let admin = Scopes::of(&[Scope::Admin]);
        assert_eq!(find("with:colons:inside:it"), Some(("other".into(), admin)));
        assert!(admin.has(Scope::Read) && !admin.has(Scope::Publish) && !backend.has(Scope::Admin));
        assert_eq!(find("a secret of mine").unwrap().0, "hashed");
        for wrong in ["", "0123456789abcde", "0123456789abcdeg", &hash, "backend"] {
            assert_eq!(find(wrong), None, "{wrong}");
        }
        assert!(!format!("{keys:?}").contains("0123456789abcdef"));
    }

    /// Each mistake names its line, and says what would be right.
    #[test]
    fn a_wrong_line_is_named() {
        let wrong = |text: &str| ApiKeys::parse(text).unwrap_err();
        assert_eq!(wrong("\nbackend:publish"), NotAnApiKey::Shape(2));
        assert_eq!(wrong(":read:0123456789abcdef"), NotAnApiKey::Shape(1));
        assert_eq!(wrong("a:write:0123456789abcdef"), NotAnApiKey::Scope(1, "write".into()));
        assert_eq!(wrong("a:read:short"), NotAnApiKey::Short(1, 5));
        assert_eq!(wrong("a:read:sha256:12"), NotAnApiKey::Hash(1));
        let twice = "a:read:0123456789abcdef\na:read:0123456789abcdeg";
        assert_eq!(wrong(twice), NotAnApiKey::Twice(2, "a".into()));
        let line = |at| format!("key{at}:read:{at:0>16}\n");
        assert!(ApiKeys::parse(&(0..API_KEYS_MAX).map(line).collect::<String>()).is_ok());
        let many: String = (0..=API_KEYS_MAX).map(line).collect();
        assert_eq!(wrong(&many), NotAnApiKey::TooMany);
    }
}
