//! Tokens of subscribers and keys of publishers: shown where they are needed, and nowhere else.

use std::{fs, time::SystemTime};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use serde_json::{Value, json};

use crate::{
    run::{Scratch, Told, run},
    stentor::Stentor,
};

/// A server that wants a token of every subscriber and a key of every publisher.
struct Guarded {
    server: Stentor,
    signer: KeyPair,
    _key: Scratch,
}

impl Guarded {
    fn start() -> Guarded {
        let signer = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let key = Scratch::new("pem");
        fs::write(&key.0, signer.public_key_pem()).expect("a file");
        let rules = ["--channels", "* subscribe=token history=1000", "--token-key", key.path()];
        let server = Stentor::start(&[&rules[..], &["--api-key", KEY]].concat());
        Guarded { server, signer, _key: key }
    }

    /// A token for everything, of which so many connections at one time may come.
    fn token(&self, subject: &str, connections: u32) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let claims = json!({
            "sub": subject, "exp": now.as_secs() + 3600, "subscribe": ["*"],
            "connections": connections,
        });
        let coded = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", coded(&json!({ "alg": "EdDSA" })), coded(&claims));
        let signature = self.signer.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn run(&self, transport: &str, flags: &[&str]) -> Told {
        let scheme = if matches!(transport, "ws" | "v1") { "ws" } else { "http" };
        let target = format!("{scheme}://{}", self.server.subscribers);
        let publish = self.server.publish();
        let place = ["--target", &target, "--publish", &publish, "--settle", "2s"];
        let small = ["--active", "30", "--duration", "1s", "--transport", transport];
        run(&[&small, &place[..], flags].concat())
    }
}

const KEY: &str = "a-key-of-the-control-listener";

/// Subscribers of every transport show the tokens of a file by turns: three tokens that ten may use
/// each serve thirty, and no fewer connections would do. Nothing that is printed has a secret.
#[test]
fn tokens_are_shown_by_turns() {
    let guarded = Guarded::start();
    let tokens = ["a", "b", "c"].map(|subject| guarded.token(subject, 10));
    let (tokens_file, key_file) = (Scratch::new("tokens"), Scratch::new("key"));
    fs::write(&tokens_file.0, tokens.join("\n") + "\n").expect("a file");
    fs::write(&key_file.0, format!("{KEY}\n")).expect("a file");
    let shown = ["--token-file", tokens_file.path(), "--api-key-file", key_file.path()];
    for transport in ["ws", "sse", "poll", "v1"] {
        let told = guarded.run(transport, &shown);
        // What polls is owed what came between two polls as well.
        told.assert_flawless(10 * 30);
        let said = told.stdout + &told.stderr + &told.report.to_string();
        assert!(!tokens.iter().any(|token| said.contains(&token[..])) && !said.contains(KEY));
    }
}

/// Who shows nothing is refused, and told so.
#[test]
fn who_shows_nothing_is_refused() {
    let guarded = Guarded::start();
    let token = guarded.token("a", 30);
    let nobody = guarded.run("ws", &["--api-key", KEY]);
    assert_eq!(nobody.count("/connections/failed"), 30);
    let failures = nobody.failures("connecting");
    assert!(matches!(failures[..], [(why, 150)] if why.contains("401")), "{failures:?}");
    let mute = guarded.run("ws", &["--token", &token]);
    assert_eq!(mute.failures("publishing"), [("refused: HTTP 401 Unauthorized", 10)]);
    let both = guarded.run("ws", &["--token", &token, "--api-key", KEY]);
    both.assert_flawless(10 * 30);
}
