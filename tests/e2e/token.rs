//! `stentor token`: what it makes is a token to everybody; and how fast publications come with one.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{
    Folder, Io, Kind, Publisher, Running, Server, Subscriber, Talk, check_retry_after, python, run,
    stentor,
};

on_both_kernels!(made_tokens_are_good, publications_with_a_token_are_limited);

/// Keys of every algorithm, made by openssl: of each what signs, and what verifies.
struct Keys {
    folder: Folder,
}

impl Keys {
    fn new(name: &str) -> Keys {
        let folder = Folder::new(name);
        let make = |options: &str, name: &str| {
            let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
            let script = format!(
                "umask 077; cd {}; openssl genpkey {options} -out {private}; \
                 openssl pkey -in {private} -pubout -out {public}",
                folder.text()
            );
            run(Command::new("sh").args(["-c", &script]));
        };
        make("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RS256");
        make("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ES256");
        make("-algorithm ED25519", "EdDSA");
        for file in ["HS256.key", "HS256.pub"] {
            fs::write(folder.path().join(file), "a secret of more than thirty-two bytes\n")
                .unwrap();
        }
        Keys { folder }
    }

    fn path(&self, algorithm: &str, half: &str) -> String {
        let path: PathBuf = self.folder.path().join(format!("{algorithm}.{half}"));
        path.to_str().unwrap().to_owned()
    }

    fn token(&self, algorithm: &str, more: &[&str]) -> String {
        let file = self.path(algorithm, "key");
        run(&mut stentor(&[&["token", "--key-file", &file], more].concat())).trim().to_owned()
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn shown(arguments: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["token", "--show"], arguments].concat();
    let Output { status, stdout, .. } = Running::start(&mut stentor(&arguments)).end();
    (status.code(), serde_json::from_slice(&stdout).expect("JSON"))
}

/// A token of each algorithm says what it was told to say, to PyJWT, to the server and to `--show`; with
/// another key it is refused.
fn made_tokens_are_good(io: Io) {
    let keys = Keys::new(&format!("token-{io:?}"));
    let more = ["--subscribe", "news.*", "--subscribe", "a", "--publish", "chat", "--sub", "alice"];
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
        let options = ["--alg", algorithm, "--for", "2h", "--publish-rate", "7"];
        let token = keys.token(algorithm, &[&more[..], &options].concat());
        let public = keys.path(algorithm, "pub");
        let read = run(python("read_token.py").args([&public, algorithm, &token]));
        let mut claims: Value = serde_json::from_str(&read).unwrap();
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert_eq!(exp - iat, 7200);
        let (code, told) = shown(&[&token, "--token-key", &public]);
        assert_eq!((code, &told["verdict"], &told["claims"]), (Some(0), &json!("good"), &claims));
        assert_eq!(told["header"], json!({ "alg": algorithm, "typ": "JWT" }));
        claims["iat"].take();
        claims["exp"].take();
        let expected = json!({
            "iat": null, "exp": null, "sub": "alice", "subscribe": ["news.*", "a"],
            "publish": ["chat"], "publish_rate": 7,
        });
        assert_eq!(claims, expected);
        let flags = ["--token-key", &public, "--channels", "* subscribe=token"];
        let server = Server::start(io, &flags);
        for channel in ["news.world", "a"] {
            let lines = bearer(&token);
            drop(Subscriber::join_with(server.subscribers, Kind::Sse, channel, &lines));
        }
        server.stop();
        let other = keys.path(if algorithm == "EdDSA" { "RS256" } else { "EdDSA" }, "pub");
        let (code, told) = shown(&[&token, "--token-key", &other]);
        assert_eq!((code, &told["verdict"]), (Some(1), &json!("wrong algorithm")));
    }
    let unverified = shown(&[&keys.token("HS256", &[])]);
    assert_eq!(unverified.0, Some(0));
    assert_eq!(unverified.1["verdict"], "not verified: give --token-key or --token-jwks");
}

/// What no server would take is not made, and what is asked for wrongly is told.
#[test]
fn what_would_be_refused_is_not_made() {
    let keys = Keys::new("token-wrong");
    let (secret, public) = (keys.path("HS256", "key"), keys.path("RS256", "pub"));
    for (arguments, told) in [
        (&["--key-file", &secret, "--alg", "ES256"][..], "is a key for HS256, not for ES256"),
        (&["--key-file", &secret, "--for", "5"], "--for: '5' has no unit; write it like 1h"),
        (&["--key-file", &secret, "--subscribe", "a*b"], "no server would take this token"),
        (&["--key-file", &secret, "--control", "all"], "no server would take this token"),
        (&["--key-file", &public], "has a public key, and tokens are signed with the private one"),
        (&["--key-file", "/nowhere"], "cannot read /nowhere"),
        (&["--show", "a.b"], "this is no token"),
        (&[], "required"),
    ] {
        let output = Running::start(&mut stentor(&[&["token"], arguments].concat())).end();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains(told), "{arguments:?}: {errors}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
}

/// `token-publish-rate`: all who have a token of one subject share what may be published with it, by
/// command and over HTTP; one more is `too_fast`, or 429; others publish on, and a claim goes before the
/// setting.
fn publications_with_a_token_are_limited(io: Io) {
    let keys = Keys::new(&format!("token-rate-{io:?}"));
    let file = keys.path("HS256", "pub");
    let key = "0123456789abcdef";
    let flags =
        ["--token-key", &file, "--channels", "* publish=token", "--token-publish-rate", "1"];
    let server = Server::start(io, &[&flags[..], &["--api-key", key]].concat());
    let token = |more: &[&str]| keys.token("HS256", &[&["--publish", "*"], more].concat());
    let mut reader = Subscriber::join(server.subscribers, Kind::WebSocket, "good");
    let mut publisher = Publisher::of(&server);
    let publish = json!({ "type": "publish", "channel": "bad", "text": "x" });
    // Two tokens of one subject, and two connections.
    let mut talks = [1, 2].map(|connections: u32| {
        let connections = connections.to_string();
        let token = token(&["--sub", "mallory", "--connections", &connections]);
        Talk::open(server.subscribers, &format!("?token={token}"))
    });
    let mut published = 0;
    let refused = loop {
        let told = talks[published % 2].ask(&publish);
        if told["type"] != "published" {
            break told;
        }
        published += 1;
        assert!(published < 10_000, "nobody stopped it");
    };
    assert!((10..).contains(&published), "{published}");
    assert_eq!(refused["code"], "too_fast", "{refused}");
    let mallory = bearer(&token(&["--sub", "mallory"]));
    let answer = loop {
        let answer = publisher.try_publish_as("bad", &mallory, b"x");
        if answer.head.status != 200 {
            break answer;
        }
    };
    assert_eq!(answer.head.status, 429, "{answer:?}");
    check_retry_after(&answer.head, 1);
    let lines = "x\n".repeat(50);
    let stream = publisher.try_publish_as("bad?lines", &mallory, lines.as_bytes());
    let told: Value = serde_json::from_slice(&stream.body).unwrap();
    assert_eq!(stream.head.status, 429);
    assert!(
        told["error"].as_str().unwrap().contains("more is published with this token"),
        "{told}"
    );
    // Who has another token, a claim of its own, or a key, publishes on.
    let may = [&["--sub", "anna"][..], &["--sub", "mallory", "--publish-rate", "0"], &[]];
    let lines = may.map(|more| bearer(&token(more))).into_iter().chain([bearer(key)]);
    for (number, lines) in lines.enumerate() {
        let text = number.to_string();
        let answer = publisher.try_publish_as("good", &lines, text.as_bytes());
        assert_eq!(answer.head.status, 200, "{number}");
        assert_eq!(reader.publication(), text.as_bytes());
    }
    let refused = "stentor_access_refused_total{reason=\"publishes_too_fast\"}";
    let metrics = crate::support::ask(
        server.control,
        &format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{}", bearer(key)),
    );
    let metrics = String::from_utf8(metrics.body).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(refused)).expect(&metrics);
    assert!(line.trim().parse::<u64>().unwrap() >= 3, "{line}");
    server.await_log("mallory");
    drop((talks, reader));
    server.stop();
}
