//! Tokens and files of keys: no panic, and nothing is good that was not signed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use stentor::access::{Access, ApiKeys, Expected, Keys};

static ACCESS: OnceLock<Access> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let access = ACCESS.get_or_init(|| {
        let secret = Keys::from_key_file(b"a secret that nobody who fuzzes signs with").unwrap();
        let vectors = include_bytes!("../../src/access/tests/vectors/jwks.json");
        let keys = secret.and(Keys::from_jwks(vectors).unwrap());
        Access::new(keys, Expected::default(), ApiKeys::default())
    });
    let _ = (Keys::from_key_file(bytes), Keys::from_jwks(bytes));
    if let Ok(text) = str::from_utf8(bytes) {
        // Long before the vectors were issued, so that not even those are good.
        assert!(access.verify(text, 1_000_000_000).is_err());
        let _ = ApiKeys::parse(text);
    }
});
