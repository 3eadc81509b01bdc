//! Tokens, against vectors that PyJWT and OpenSSL made, and against everything that must not pass.

use proptest::prelude::*;

use super::{
    forge::{self, SECRET, signed, token},
    *,
};
use crate::policy::{Pattern, Policy};

/// When the vectors were issued.
const ISSUED: u64 = 1_700_000_000;
const HS256: &str = r#"{"alg":"HS256"}"#;

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("tests/vectors/", $name)).trim()
    };
}

const TOKENS: [(&str, &str); 4] = [
    ("HS256", vector_text(0)),
    ("RS256", vector_text(1)),
    ("ES256", vector_text(2)),
    ("EdDSA", vector_text(3)),
];

const fn vector_text(at: usize) -> &'static str {
    let all = [
        include_str!("tests/vectors/hs.jwt"),
        include_str!("tests/vectors/rsa.jwt"),
        include_str!("tests/vectors/ec.jwt"),
        include_str!("tests/vectors/ed.jwt"),
    ];
    all[at].trim_ascii_end()
}

fn key_files() -> [Keys; 4] {
    let files = [vector!("secret.txt"), vector!("rsa.pem"), vector!("ec.pem"), vector!("ed.pem")];
    files.map(|file| Keys::from_key_file(file.as_bytes()).unwrap())
}

fn with(keys: Keys) -> Access {
    Access::new(keys, Expected::default(), ApiKeys::default())
}

fn verify(claims: &str) -> Result<Arc<Grants>, Refused> {
    forge::access().verify(&token(claims), ISSUED)
}

/// Each algorithm's token is good with its own key, grants what it says, and is refused with any
/// other's: no key is taken for one of another kind.
#[test]
fn each_algorithm_has_its_own_key() {
    for (of_token, (name, token)) in TOKENS.into_iter().enumerate() {
        for (of_key, keys) in key_files().into_iter().enumerate() {
            let verdict = with(keys).verify(token, ISSUED);
            if of_token != of_key {
                assert_eq!(verdict, Err(Refused::Algorithm), "{name} with key {of_key}");
                continue;
            }
            let grants = verdict.expect(name);
            assert_eq!(grants.subject.as_deref(), Some("anna"));
            assert_eq!(grants.until, ISSUED + 630);
            for (channel, expected) in
                [("news", true), ("chat.x", true), ("chat", false), ("newsx", false)]
            {
                assert_eq!(grants.may_subscribe(channel), expected, "{channel}");
            }
            assert!(grants.may_publish("chat.anna") && !grants.may_publish("news"));
        }
    }
    let pkcs1 = Keys::from_key_file(vector!("rsa_pkcs1.pem").as_bytes()).unwrap();
    assert!(with(pkcs1).verify(TOKENS[1].1, ISSUED).is_ok());
}

/// The keys of a set are found by their `kid`, and without one by their algorithm.
#[test]
fn keys_of_a_set_are_found() {
    let jwks = || Keys::from_jwks(vector!("jwks.json").as_bytes()).unwrap();
    let access = with(jwks());
    for token in [vector!("rsa_kid.jwt"), vector!("ec_kid.jwt"), vector!("ed_kid.jwt")] {
        assert!(access.verify(token, ISSUED).is_ok(), "{token}");
    }
    for (name, token) in &TOKENS[1..] {
        assert!(access.verify(token, ISSUED).is_ok(), "{name} without kid");
    }
    assert_eq!(access.verify(TOKENS[0].1, ISSUED), Err(Refused::Algorithm));
    let others = vector!("jwks.json").replace("\"kid\": \"ec\"", "\"kid\": \"new\"");
    access.replace(
        Keys::from_jwks(others.as_bytes()).unwrap(),
        Expected::default(),
        ApiKeys::default(),
    );
    // Remembered as it was, it is not good any more.
    assert_eq!(access.verify(vector!("ec_kid.jwt"), ISSUED), Err(Refused::UnknownKey));
    assert!(access.verify(vector!("ed_kid.jwt"), ISSUED).is_ok());
}

/// A changed bit anywhere, another's signature, no signature and a forged `alg` are refused.
#[test]
fn forgeries_are_refused() {
    let access = with(key_files().into_iter().fold(Keys::default(), Keys::and));
    for (name, token) in TOKENS {
        assert!(access.verify(token, ISSUED).is_ok(), "{name}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let longer = format!("{header}.{}A{}.{signature}", &claims[..10], &claims[11..]);
        let other = TOKENS.iter().find(|other| other.0 != name).unwrap();
        let borrowed = format!("{signed}.{}", other.1.rsplit_once('.').unwrap().1);
        for forged in [longer, borrowed, format!("{signed}.")] {
            assert_eq!(access.verify(&forged, ISSUED), Err(Refused::Signature), "{name}: {forged}");
        }
    }
    let claims = r#"{"exp":1700000600,"subscribe":["*"]}"#;
    for alg in ["none", "None", "HS512", "hs256", ""] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        let forged = signed(&header, claims, SECRET.as_bytes());
        assert_eq!(access.verify(&forged, ISSUED), Err(Refused::Algorithm), "{alg}");
        let unsigned = format!("{}.", forged.rsplit_once('.').unwrap().0);
        assert_eq!(access.verify(&unsigned, ISSUED), Err(Refused::Algorithm), "{alg}, unsigned");
    }
    // The best known confusion: a public key as the secret.
    let access = with(Keys::from_key_file(vector!("rsa.pem").as_bytes()).unwrap());
    for secret in [vector!("rsa.pem"), include_str!("tests/vectors/rsa.pem")] {
        let forged = signed(HS256, claims, secret.as_bytes());
        assert_eq!(access.verify(&forged, ISSUED), Err(Refused::Algorithm));
    }
}

/// What is no token is told apart from what is one and not good, and nothing panics.
#[test]
fn what_is_no_token_is_malformed() {
    let access = forge::access();
    let good = token(r#"{"exp":1700000600}"#);
    assert!(access.verify(&good, ISSUED).is_ok());
    for (text, why) in [
        ("", Refused::Malformed),
        ("a", Refused::Malformed),
        ("a.b", Refused::Malformed),
        ("..", Refused::Malformed),
        ("é.b.c", Refused::Malformed),
        (&*format!("{good}.x"), Refused::Malformed),
        (&format!("{good}="), Refused::Malformed),
        (&good.replace('.', ". "), Refused::Malformed),
        (&"x".repeat(9000), Refused::Malformed),
    ] {
        assert_eq!(access.verify(text, ISSUED), Err(why), "{text}");
    }
    let crit = r#"{"alg":"HS256","crit":["exp"]}"#;
    let critical = signed(crit, r#"{"exp":1700000600}"#, SECRET.as_bytes());
    assert_eq!(access.verify(&critical, ISSUED), Err(Refused::Malformed));
}

/// Dates hold with a leeway of 30 s to either side, to the second; without an end there is no token.
#[test]
fn dates_are_kept_with_their_leeway() {
    let access = forge::access();
    let at = |claims: &str, now: i64| {
        access.verify(&token(claims), (ISSUED as i64 + now) as u64).map(|_| ())
    };
    assert_eq!(at(r#"{"exp":1700000600}"#, 629), Ok(()));
    assert_eq!(at(r#"{"exp":1700000600}"#, 630), Err(Refused::Expired));
    assert_eq!(at(r#"{"exp":1700000600.5}"#, 629), Ok(()));
    assert_eq!(at(r#"{"exp":1700000600,"nbf":1700000100}"#, 69), Err(Refused::NotYet));
    assert_eq!(at(r#"{"exp":1700000600,"nbf":1700000100}"#, 70), Ok(()));
    assert_eq!(at(r#"{"exp":1700000600,"iat":1700000100}"#, 69), Err(Refused::NotYet));
    assert_eq!(at(r#"{"exp":1700000600,"iat":1700000100}"#, 70), Ok(()));
    assert_eq!(at(r#"{"sub":"anna"}"#, 0), Err(Refused::NoExpiry));
    assert_eq!(at(r#"{"exp":-5}"#, 0), Err(Refused::Expired));
    assert_eq!(at(r#"{"exp":1e300}"#, 0), Ok(()));
}

/// Issuer and audience are demanded where they are set, and not looked at where they are not.
#[test]
fn issuer_and_audience_are_demanded() {
    let keys = || Keys::from_key_file(SECRET.as_bytes()).unwrap();
    let expected =
        Expected { issuer: Some("https://login".into()), audience: Some("stentor".into()) };
    let strict = Access::new(keys(), expected, ApiKeys::default());
    for (claims, verdict) in [
        (r#""iss":"https://login","aud":"stentor""#, Ok(())),
        (r#""iss":"https://login","aud":["a","stentor"]"#, Ok(())),
        (r#""iss":"https://other","aud":"stentor""#, Err(Refused::Issuer)),
        (r#""aud":"stentor""#, Err(Refused::Issuer)),
        (r#""iss":"https://login","aud":["a"]"#, Err(Refused::Audience)),
        (r#""iss":"https://login""#, Err(Refused::Audience)),
    ] {
        let token = token(&format!(r#"{{"exp":1700000600,{claims}}}"#));
        assert_eq!(strict.verify(&token, ISSUED).map(|_| ()), verdict, "{claims}");
        assert!(forge::access().verify(&token, ISSUED).is_ok(), "{claims}");
    }
}

/// A claim of ours of another shape refuses the whole token: what was meant is not known.
#[test]
fn malformed_claims_are_refused() {
    for claims in [
        r#""subscribe":"news""#,
        r#""subscribe":["a*b"]"#,
        r#""subscribe":["*.log"]"#,
        r#""subscribe":["**"]"#,
        r#""subscribe":[""]"#,
        r#""subscribe":["a b"]"#,
        r#""publish":[1]"#,
        r#""connections":-1"#,
        r#""connections":1"#,
        r#""sub":"""#,
        r#""sub":7"#,
        r#""control":["root"]"#,
        r#""exp":"1700000600","x":0"#,
        r#""subscribe":[],"subscribe":["*"]"#,
    ] {
        let claims = match claims.starts_with("\"exp\"") {
            true => format!("{{{claims}}}"),
            false => format!("{{\"exp\":1700000600,{claims}}}"),
        };
        assert_eq!(verify(&claims), Err(Refused::Claims), "{claims}");
    }
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("\"c{n}\"")).collect();
        format!(r#"{{"exp":1700000600,"subscribe":[{}]}}"#, names.join(","))
    };
    assert!(verify(&many(128)).is_ok());
    assert_eq!(verify(&many(129)), Err(Refused::Claims));
    assert!(verify(&format!(r#"{{"exp":1700000600,"sub":"{}"}}"#, "s".repeat(255))).is_ok());
    let long = format!(r#"{{"exp":1700000600,"sub":"{}"}}"#, "s".repeat(256));
    assert_eq!(verify(&long), Err(Refused::Claims));
    let all = verify(r#"{"exp":1700000600,"subscribe":["*"],"control":["admin"]}"#).unwrap();
    assert!(all.may_subscribe("anything") && !all.may_publish("anything"));
    assert!(all.control.has(Scope::Read) && all.control.has(Scope::Admin));
}

/// A token that is remembered is the same object again, until it ends, and then it is refused.
#[test]
fn a_remembered_token_is_not_verified_again() {
    let access = forge::access();
    let token = token(r#"{"exp":1700000600,"sub":"anna"}"#);
    let first = access.verify(&token, ISSUED).unwrap();
    assert!(Arc::ptr_eq(&first, &access.verify(&token, ISSUED + 629).unwrap()));
    assert_eq!(access.verify(&token, ISSUED + 630), Err(Refused::Expired));
    let (start, end) = token.split_at(token.len() - 3);
    let changed = format!("{start}{}", end.chars().rev().collect::<String>());
    assert!(matches!(
        access.verify(&changed, ISSUED),
        Err(Refused::Signature | Refused::Malformed)
    ));
}

/// A bad signature is told without a look at the keys the second time, until they change. Nothing
/// else is: what has expired or is yet to come may be good at another time.
#[test]
fn a_bad_signature_is_remembered_until_the_keys_change() {
    let access = forge::access();
    let is_known = |token: &str| access.state().refusals.has(access.hasher.hash_one(token));
    let claims = r#"{"exp":1700000600,"nbf":1700000000,"subscribe":["news"]}"#;
    let other = "another secret of more than thirty-two bytes";
    let (good, bad) = (token(claims), signed(HS256, claims, other.as_bytes()));
    for (token, now, verdict, remembered) in [
        (&good, ISSUED + 630, Err(Refused::Expired), false),
        (&good, ISSUED - 31, Err(Refused::NotYet), false),
        (&good, ISSUED, Ok(()), false),
        (&bad, ISSUED, Err(Refused::Signature), true),
        (&bad, ISSUED, Err(Refused::Signature), true),
    ] {
        assert_eq!(access.verify(token, now).map(|_| ()), verdict, "at {now}");
        assert_eq!(is_known(token), remembered, "at {now}");
    }
    // The keys would say otherwise, were they asked.
    let marked = token(r#"{"exp":1700000601}"#);
    let hash = access.hasher.hash_one(&*marked);
    access.state().refusals.put(hash);
    assert_eq!(access.verify(&marked, ISSUED), Err(Refused::Signature));
    let keys = Keys::from_key_file(other.as_bytes()).unwrap();
    access.replace(keys, Expected::default(), ApiKeys::default());
    assert!(access.verify(&bad, ISSUED).is_ok());
    assert!(!is_known(&marked));
    assert_eq!(access.verify(&good, ISSUED), Err(Refused::Signature));
}

/// A secret of its own for each number, and a set of them with these names.
fn secret(number: usize) -> String {
    format!("secret {number} of more than thirty-two bytes")
}

fn set(kids: &[Option<&str>]) -> Result<Keys, NotAKey> {
    let key = |(number, kid): (usize, &Option<&str>)| {
        let k = data_encoding::BASE64URL_NOPAD.encode(secret(number).as_bytes());
        let kid = kid.map(|kid| format!(r#","kid":"{kid}""#)).unwrap_or_default();
        format!(r#"{{"kty":"oct","k":"{k}"{kid}}}"#)
    };
    let keys: Vec<String> = kids.iter().enumerate().map(key).collect();
    Keys::from_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
}

/// A token without a `kid` is tried with four keys and no more, those without one first; with its `kid`
/// it is tried with that key, wherever it stands.
#[test]
fn a_token_is_tried_with_few_keys() {
    let of = |number: usize, kid: Option<&str>| {
        let kid = kid.map(|kid| format!(r#","kid":"{kid}""#)).unwrap_or_default();
        let header = format!(r#"{{"alg":"HS256"{kid}}}"#);
        signed(&header, r#"{"exp":1700000600}"#, secret(number).as_bytes())
    };
    let good_of = |keys: Keys, kid: Option<&str>| -> Vec<usize> {
        let access = with(key_files().into_iter().skip(1).fold(keys, Keys::and));
        (0..6).filter(|number| access.verify(&of(*number, kid), ISSUED).is_ok()).collect()
    };
    let named = || set(&["a", "b", "c", "d", "e", "f"].map(Some)).unwrap();
    assert_eq!(good_of(named(), None), [0, 1, 2, 3]);
    assert_eq!(good_of(named(), Some("e")), [4]);
    assert_eq!(good_of(named(), Some("x")), [0; 0]);
    let mixed = || set(&[Some("a"), Some("b"), Some("c"), None, None, None]).unwrap();
    assert_eq!(good_of(mixed(), None), [0, 3, 4, 5]);
    assert_eq!(good_of(mixed(), Some("b")), [1]);
    assert_eq!(good_of(mixed(), Some("x")), [3, 4, 5]);
    let all = || Keys::from_key_file(secret(1).as_bytes()).unwrap().and(mixed());
    assert_eq!(good_of(all(), None), [1, 3, 4, 5]);
    assert_eq!(good_of(all(), Some("x")), [1, 3, 4, 5]);
    // What no token could lead to is not taken.
    assert_eq!(set(&[None; 4]).unwrap_err(), NotAKey::Alike(4, "HS256"));
    assert_eq!(set(&[Some("a"); 5]).unwrap_err(), NotAKey::Alike(5, "HS256"));
    assert_eq!(good_of(set(&[Some("a"); 3]).unwrap(), Some("a")), [0, 1, 2]);
}

/// Files that hold no key say what would be right.
#[test]
fn a_file_without_a_key_is_refused() {
    let key = |text: &str| Keys::from_key_file(text.as_bytes()).unwrap_err();
    assert_eq!(key(&format!("{}\n", "x".repeat(31))), NotAKey::ShortSecret(31));
    assert_eq!(key(""), NotAKey::ShortSecret(0));
    let rsa = vector!("rsa.pem");
    for pem in [
        vector!("rsa_1024.pem"),
        vector!("p384.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        &rsa[..rsa.len() - 40],
        &rsa.replace("MII", "MIJ"),
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
    ] {
        assert_eq!(key(pem), NotAKey::Pem, "{pem}");
    }
    let jwks = |text: &str| Keys::from_jwks(text.as_bytes()).unwrap_err();
    assert!(matches!(jwks("{}"), NotAKey::Jwks(_)));
    assert_eq!(jwks(r#"{"keys":[]}"#), NotAKey::NoKeys);
    let other = r#"{"keys":[{"kty":"EC","crv":"P-521","x":"","y":""},{"kty":"RSA","use":"enc"}]}"#;
    assert_eq!(jwks(other), NotAKey::NoKeys);
    for (key, why) in [
        (r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#, "a key of Ed25519 has 32 bytes"),
        (r#"{"kty":"RSA","e":"AQAB"}"#, "a part of it is missing"),
        (r#"{"kty":"RSA","n":"=","e":"AQAB"}"#, "a part of it is not base64url"),
        (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "an RSA key has 2048 to 8192 bits"),
        (
            r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#,
            "a key of P-256 has x and y of 32 bytes each",
        ),
        (r#"{"kty":"oct","k":"AAAA"}"#, "a secret for HS256 has 32 bytes or more"),
    ] {
        assert_eq!(jwks(&format!(r#"{{"keys":[{key}]}}"#)), NotAKey::Broken(1, why));
    }
    let many = vec![r#"{"kty":"x"}"#; 33].join(",");
    assert_eq!(jwks(&format!(r#"{{"keys":[{many}]}}"#)), NotAKey::TooMany(33));
    let shown = format!("{:?}", forge::access());
    assert!(!shown.contains("thirty-two"), "{shown}");
}

/// Who may is decided by the channel's policy first, and then by what the token grants.
#[test]
fn the_policy_asks_for_the_token() {
    let of = |subscribe, publish| Policy { subscribe, publish, ..Policy::default() };
    let policies = Policies::new([
        (Pattern::new("open"), of(Who::Public, Who::Public)),
        (Pattern::new("shut"), of(Who::Nobody, Who::Nobody)),
        (Pattern::new("*"), of(Who::Token, Who::Token)),
    ]);
    let grants = Grants {
        subscribe: [Pattern::new("shut"), Pattern::new("news")].into(),
        publish: [Pattern::new("shut"), Pattern::new("chat.*")].into(),
        ..Grants::default()
    };
    for (channel, token, subscribe, publish) in [
        ("open", false, Ok(()), Ok(())),
        ("open", true, Ok(()), Ok(())),
        ("shut", true, Err(Refused::Nobody), Err(Refused::Nobody)),
        ("news", true, Ok(()), Err(Refused::NotGranted)),
        ("chat.a", true, Err(Refused::NotGranted), Ok(())),
        ("news", false, Err(Refused::NoToken), Err(Refused::NoToken)),
    ] {
        let (channel, grants) = (ChannelName::new(channel).unwrap(), token.then_some(&grants));
        assert_eq!(may_subscribe(&policies, &channel, grants), subscribe, "{channel:?}");
        assert_eq!(may_publish(&policies, &channel, grants), publish, "{channel:?}");
    }
}

proptest! {
    /// Whatever is shown, nothing panics, and what was not signed is not good.
    #[test]
    fn anything_is_survived(text in ".{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,60}", 0..5)) {
        let access = with(key_files().into_iter().fold(Keys::default(), Keys::and));
        prop_assert!(access.verify(&text, ISSUED).is_err());
        prop_assert!(access.verify(&parts.join("."), ISSUED).is_err());
        let claims = signed(HS256, &text, SECRET.as_bytes());
        prop_assert!(access.verify(&claims, ISSUED).is_err());
        let _ = Keys::from_key_file(text.as_bytes());
        let _ = Keys::from_jwks(text.as_bytes());
    }
}

/// Whoever gives a public key in another form than PEM, or a set of them, hears so: as a secret it
/// would let everybody sign who has it. A text before a key in PEM does no harm.
#[test]
fn what_others_know_is_no_secret() {
    let pem = vector!("ec.pem");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    let openssh = format!("ssh-ed25519 {} anna@example.com", "A".repeat(68));
    let files = [vector!("jwks.json").as_bytes(), &der, body.as_bytes(), openssh.as_bytes()];
    for (at, file) in files.into_iter().enumerate() {
        let refused = Keys::from_key_file(file).err();
        assert!(matches!(refused, Some(NotAKey::NotASecret(_))), "{at}: {refused:?}");
    }
    for before in ["Issued by us.\n", "\u{feff}"] {
        let keys = Keys::from_key_file(format!("{before}{pem}\n").as_bytes()).unwrap();
        assert!(with(keys).verify(TOKENS[2].1, ISSUED).is_ok(), "{before}");
    }
    let wrong = Keys::from_key_file(format!("# {pem}").replace("PUBLIC", "ODD").as_bytes());
    assert_eq!(wrong.err(), Some(NotAKey::Pem));
}
