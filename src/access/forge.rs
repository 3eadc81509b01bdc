//! Tokens for tests: HS256, with a secret that everybody may know.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac::{HMAC_SHA256, Key, sign};

use super::{Access, ApiKeys, Expected, Keys};

/// The secret.
pub(crate) const SECRET: &str = "a secret of more than thirty-two bytes";

/// An access that takes these tokens.
pub(crate) fn access() -> Access {
    let keys = Keys::from_key_file(SECRET.as_bytes()).unwrap();
    Access::new(keys, Expected::default(), ApiKeys::default())
}

/// A token with these claims, a JSON object.
pub(crate) fn token(claims: &str) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, claims, SECRET.as_bytes())
}

/// A token with this header, signed as HS256 would.
pub(crate) fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = sign(&Key::new(HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}
