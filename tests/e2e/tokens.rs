//! Who may do what: tokens that PyJWT made, keys of the API, and the real server between them.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::support::{
    Answer, Folder, Io, Kind, Publisher, Received, Server, Subscriber, Talk, Wire, ask, eventually,
    python, refused_start, run, stentor, upgrade,
};

on_both_kernels!(
    each_algorithm_is_held_to_its_key,
    each_transport_ends_with_its_token,
    a_fresh_token_keeps_a_conversation,
    seats_are_counted_over_shards,
    keys_rotate_and_nobody_leaves,
    issuer_and_audience_are_demanded,
);

/// Keys and tokens of one test.
struct Forge {
    folder: Folder,
    tokens: Value,
}

impl Forge {
    fn new(name: &str, io: Io) -> Forge {
        let folder = Folder::new(&format!("tokens-{name}-{io:?}"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let told = run(python("tokens.py").arg(folder.path()).arg(now.to_string()));
        Forge { folder, tokens: serde_json::from_str(&told).expect("JSON") }
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.text())
    }

    fn token(&self, algorithm: &str, name: &str) -> &str {
        let token = self.tokens[algorithm][name].as_str();
        token.unwrap_or_else(|| panic!("no token {name} for {algorithm}"))
    }

    fn hs(&self, name: &str) -> &str {
        self.token("HS256", name)
    }

    /// A server that takes tokens of this key file, and wants one in every channel but `open`.
    fn serve(&self, io: Io, setting: &str, file: &str, more: &[&str]) -> Server {
        let file = self.file(file);
        let channels = "open; * subscribe=token history=10";
        let flags = [&[setting, &file, "--channels", channels], more].concat();
        Server::start(io, &flags)
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The status that a subscription is answered with.
fn status(server: &Server, head: &str) -> u16 {
    Wire::request(server.subscribers, head).head().status
}

/// With the file of each algorithm's key: its good token reads, in any of its places; every bad one, and
/// every other algorithm's, is answered 401, one that grants less 403, and the log tells why
/// without the token.
fn each_algorithm_is_held_to_its_key(io: Io) {
    let forge = Forge::new("algorithms", io);
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
        let server = forge.serve(io, "--token-key", &format!("{algorithm}.pem"), &[]);
        let token = |name: &str| forge.token(algorithm, name).to_owned();
        let good = token("good");
        let mut readers: Vec<Subscriber> = [Kind::WebSocket, Kind::Sse]
            .map(|kind| Subscriber::join_with(server.subscribers, kind, "news", &bearer(&good)))
            .into();
        let places = [
            upgrade(&format!("/ws/chat.a?token={good}")),
            format!("{}Sec-WebSocket-Protocol: stentor.token.{good}\r\n", upgrade("/ws/chat.a")),
            upgrade("/ws/open"),
        ];
        for head in &places {
            assert_eq!(status(&server, head), 101, "{head}");
        }
        Publisher::of(&server).publish("news", b"hello");
        for reader in &mut readers {
            assert_eq!(reader.publication(), b"hello", "{algorithm}");
        }
        let poll =
            format!("GET /poll/news?last=1 HTTP/1.1\r\nHost: localhost\r\n{}", bearer(&good));
        assert_eq!(ask(server.subscribers, &poll).head.status, 200);
        for refused in ["expired", "early", "eternal", "stranger", "none"] {
            let head = upgrade("/ws/news") + &bearer(&token(refused));
            assert_eq!(status(&server, &head), 401, "{algorithm}: {refused}");
        }
        for other in ["HS256", "RS256", "ES256", "EdDSA"].iter().filter(|it| **it != algorithm) {
            let head = upgrade("/ws/news") + &bearer(forge.token(other, "good"));
            assert_eq!(status(&server, &head), 401, "{other} with a key for {algorithm}");
        }
        let without = Wire::request(server.subscribers, &upgrade("/ws/news")).answer();
        assert_eq!(without.head.status, 401);
        assert_eq!(without.head.get("WWW-Authenticate").as_deref(), Some("Bearer"));
        let less = upgrade("/ws/news") + &bearer(&token("other"));
        assert_eq!(status(&server, &less), 403);
        let log = eventually("the log tells why", || {
            Some(server.stderr()).filter(|log| log.contains("was refused: expired"))
        });
        assert!(!log.contains(&good[good.len() - 20..]), "{log}");
        let told = |reason: &str| {
            server.metric(&format!("stentor_access_refused_total{{reason=\"{reason}\"}}"))
        };
        assert_eq!((told("expired"), told("not_granted"), told("no_token")), (1.0, 1.0, 1.0));
        server.stop();
    }
}

/// A token that runs out ends what it began, in the words of each protocol, and no publication comes
/// behind; who has another stays.
fn each_transport_ends_with_its_token(io: Io) {
    let forge = Forge::new("expiry", io);
    let server = forge.serve(io, "--token-key", "HS256.pem", &[]);
    let join = |kind, name| {
        Subscriber::join_with(server.subscribers, kind, "news", &bearer(forge.hs(name)))
    };
    let (mut socket, mut events) = (join(Kind::WebSocket, "soon"), join(Kind::Sse, "soon"));
    let mut stays = join(Kind::WebSocket, "good");
    let mut talk = Talk::open(server.subscribers, &format!("?token={}", forge.hs("soon")));
    talk.subscribe("news", &json!({}));
    let closed = |received: Received| match received {
        Received::Close(code, reason) => (code, reason),
        other => panic!("not closed: {other:?}"),
    };
    let told = (4401, "token expired".to_owned());
    assert_eq!(closed(socket.next()), told);
    assert_eq!(closed(talk.next().unwrap_err()), told);
    assert_eq!(
        events.wire.chunk().as_deref(),
        Some(&b"event: expired\ndata: token expired\n\n"[..])
    );
    assert_eq!(events.wire.chunk().as_deref(), Some(&b""[..]));
    Publisher::of(&server).publish("news", b"later");
    assert_eq!(stays.publication(), b"later");
    let again = upgrade("/ws/news") + &bearer(forge.hs("soon"));
    assert_eq!(status(&server, &again), 401);
    server.stop();
}

/// A conversation goes on with a fresh token, and leaves what that does not grant: not one publication
/// of it comes behind the answer.
fn a_fresh_token_keeps_a_conversation(io: Io) {
    let forge = Forge::new("renewal", io);
    let server = forge.serve(io, "--token-key", "HS256.pem", &[]);
    let mut talk = Talk::open(server.subscribers, &format!("?token={}", forge.hs("soon")));
    talk.subscribe("news", &json!({}));
    talk.subscribe("chat.a", &json!({}));
    let told = talk.ask(&json!({ "id": 7, "type": "token", "token": forge.hs("less") }));
    assert_eq!((&told["id"], &told["type"]), (&json!(7), &json!("token")));
    assert!(told["seconds"].as_u64().is_some_and(|seconds| (3500..=3630).contains(&seconds)));
    let left = talk.hear();
    assert_eq!(left["type"], "unsubscribed");
    assert_eq!((&left["channel"], &left["code"]), (&json!("chat.a"), &json!("forbidden")));
    let first = upgrade("/ws/news") + &bearer(forge.hs("soon"));
    eventually("the first token runs out", || (status(&server, &first) == 401).then_some(()));
    let mut publisher = Publisher::of(&server);
    publisher.publish("chat.a", b"not for us");
    publisher.publish("news", b"for us");
    assert_eq!(talk.hear()["data"], "for us");
    let refused = talk.subscribe("chat.a", &json!({}));
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("forbidden")));
    server.stop();
}

/// A subject with three connections gets three, on whichever shards they come; the fourth is answered
/// 429, until one of them leaves.
fn seats_are_counted_over_shards(io: Io) {
    let forge = Forge::new("seats", io);
    let server = forge.serve(io, "--token-key", "HS256.pem", &["--shards", "3"]);
    let lines = bearer(forge.hs("three"));
    let mut held: Vec<Subscriber> = [Kind::WebSocket, Kind::Sse, Kind::WebSocket]
        .map(|kind| Subscriber::join_with(server.subscribers, kind, "news", &lines))
        .into();
    let head = upgrade("/ws/news") + &lines;
    for _ in 0..10 {
        let Answer { head, .. } = Wire::request(server.subscribers, &head).answer();
        assert_eq!(head.status, 429);
        assert!(head.get("Retry-After").is_some());
    }
    held.pop();
    eventually("there is room again", || (status(&server, &head) == 101).then_some(()));
    server.stop();
}

/// The keys of a JWKS file are replaced under a running server: who is connected stays and reads on, new
/// tokens are good, and old ones are not.
fn keys_rotate_and_nobody_leaves(io: Io) {
    let forge = Forge::new("rotation", io);
    fs::copy(forge.file("first.json"), forge.file("jwks.json")).unwrap();
    let server = forge.serve(io, "--token-jwks", "jwks.json", &[]);
    let algorithms = ["RS256", "ES256", "EdDSA"];
    let mut readers = algorithms.map(|algorithm| {
        let lines = bearer(forge.token(algorithm, "first"));
        Subscriber::join_with(server.subscribers, Kind::WebSocket, "news", &lines)
    });
    let status_of = |algorithm: &str, name: &str| {
        status(&server, &(upgrade("/ws/news") + &bearer(forge.token(algorithm, name))))
    };
    assert_eq!(algorithms.map(|algorithm| status_of(algorithm, "later")), [401; 3]);
    fs::write(forge.file("new.json"), fs::read(forge.file("later.json")).unwrap()).unwrap();
    fs::rename(forge.file("new.json"), forge.file("jwks.json")).unwrap();
    eventually("the new keys hold", || (status_of("RS256", "later") == 101).then_some(()));
    assert_eq!(algorithms.map(|algorithm| status_of(algorithm, "later")), [101; 3]);
    assert_eq!(algorithms.map(|algorithm| status_of(algorithm, "first")), [401; 3]);
    Publisher::of(&server).publish("news", b"still here");
    for reader in &mut readers {
        assert_eq!(reader.publication(), b"still here");
    }
    // A file that is broken changes nothing.
    fs::write(forge.file("jwks.json"), "{").unwrap();
    eventually("the log tells of it", || {
        server.stderr().contains("is not a JWKS file").then_some(())
    });
    assert_eq!(status_of("RS256", "later"), 101);
    server.stop();
}

/// `token-issuer` and `token-audience`: who was given a token for another service, or by another, is
/// answered 401 and told apart in the metrics; where they are not set, the same tokens are good.
fn issuer_and_audience_are_demanded(io: Io) {
    let forge = Forge::new("issuer", io);
    let flags = ["--token-issuer", "https://login.example", "--token-audience", "edge"];
    let strict = forge.serve(io, "--token-key", "HS256.pem", &flags);
    let issuer_alone = forge.serve(io, "--token-key", "HS256.pem", &flags[..2]);
    let audience_alone = forge.serve(io, "--token-key", "HS256.pem", &flags[2..]);
    let neither = forge.serve(io, "--token-key", "HS256.pem", &[]);
    let servers = [&strict, &issuer_alone, &audience_alone, &neither];
    for (name, answers) in [
        ("ours", [101, 101, 101, 101]),
        ("ours_too", [101, 101, 101, 101]),
        ("their_issuer", [401, 401, 101, 101]),
        ("their_audience", [401, 101, 401, 101]),
        ("no_audience", [401, 101, 401, 101]),
        ("good", [401, 401, 401, 101]),
    ] {
        let head = upgrade("/ws/news") + &bearer(forge.hs(name));
        assert_eq!(servers.map(|server| status(server, &head)), answers, "{name}");
    }
    let refused = ["wrong_issuer", "wrong_audience"].map(|reason| {
        servers.map(|server| {
            server.metric(&format!("stentor_access_refused_total{{reason=\"{reason}\"}}"))
        })
    });
    assert_eq!(refused, [[2.0, 2.0, 0.0, 0.0], [2.0, 0.0, 3.0, 0.0]]);
    [strict, issuer_alone, audience_alone, neither].into_iter().for_each(Server::stop);
}

/// A control listener that others reach is not begun without a key, but for `control-open`: then it
/// serves everybody. Where a key is set it is wanted nevertheless.
#[test]
fn an_open_control_listener_wants_no_key() {
    let open = ["--control", "0.0.0.0:0", "--control-open"];
    let key = ["--api-key", "0123456789abcdef"];
    let told = stentor(&open[..2]).output().unwrap();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("there is no key for it; set --api-key"), "{told}");
    let server = Server::start(Io::Epoll, &open);
    let mut reader = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    Publisher::of(&server).publish("news", b"from anybody");
    assert_eq!(reader.publication(), b"from anybody");
    assert_eq!(server.stat("/connections/websocket"), 1);
    server.stop();
    let server = Server::start(Io::Epoll, &[&open[..], &key].concat());
    let status =
        |lines: &str| Publisher::of(&server).try_publish_as("news", lines, b"x").head.status;
    assert_eq!((status(""), status(&bearer(key[1]))), (401, 200));
    server.stop();
}

/// Where a key is set every request of the control listener wants one with its scope; tokens publish
/// where their claims say, and probes and the page are for everybody.
#[test]
fn the_control_listener_wants_keys() {
    let forge = Forge::new("control", Io::Epoll);
    let lines = "# ours\nbackend:publish:0123456789abcdef\nwatcher:read:fedcba9876543210\n";
    fs::write(forge.file("keys"), lines).unwrap();
    let keys = forge.file("keys");
    let server = forge.serve(
        Io::Epoll,
        "--token-key",
        "HS256.pem",
        &["--api-key-file", &keys, "--allow-origin", "https://app.example"],
    );
    let publish = |channel: &str, lines: &str| -> (u16, String) {
        let answer = Publisher::of(&server).try_publish_as(channel, lines, b"x");
        (answer.head.status, String::from_utf8(answer.body).unwrap())
    };
    let get = |path: &str, lines: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}");
        ask(server.control, &head).head.status
    };
    let (backend, watcher) = (bearer("0123456789abcdef"), bearer("fedcba9876543210"));
    for path in ["/", "/stentor.js", "/healthz", "/readyz"] {
        assert_eq!(get(path, ""), 200, "{path}");
    }
    for path in ["/stats", "/metrics", "/channels", "/lag", "/inputs", "/v1/connections"] {
        let answers = ["", &backend, &watcher, &bearer(forge.hs("reader"))].map(|it| get(path, it));
        assert_eq!(answers, [401, 403, 200, 200], "{path}");
    }
    assert_eq!(publish("news", "").0, 401);
    assert_eq!(publish("news", &bearer("0123456789abcdeg")).0, 401);
    assert_eq!(publish("news", &backend).0, 200);
    assert_eq!(publish("news", &watcher).0, 403);
    assert_eq!(publish("news", &bearer(forge.hs("good"))).0, 403);
    let token = bearer(forge.hs("publisher"));
    assert_eq!(publish("news", &token).0, 200);
    let (status, why) = publish("chat.a", &token);
    assert_eq!((status, &*why), (403, "the token does not grant publishing to chat.a\n"));
    // A page that is listed may publish with a token, and with nothing else.
    let page = "Origin: https://app.example\r\n";
    let preflight = "OPTIONS /publish/news HTTP/1.1\r\nHost: localhost\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";
    let allowed = Wire::request(server.control, &format!("{preflight}{page}")).head();
    assert_eq!(allowed.status, 204);
    let origin = allowed.get("Access-Control-Allow-Origin");
    assert_eq!(origin.as_deref(), Some("https://app.example"));
    assert!(allowed.get("Access-Control-Allow-Headers").unwrap().contains("Authorization"));
    assert_eq!(publish("news", &format!("{page}{token}")).0, 200);
    assert_eq!(publish("news", &format!("{page}{backend}")).0, 401);
    assert_eq!(publish("news", page).0, 403);
    assert_eq!(publish("news", &format!("Origin: https://evil.example\r\n{token}")).0, 403);
    assert!(!server.stderr().contains("0123456789abcde"), "{}", server.stderr());
    server.stop();
}

/// The program's own clients show what they are given.
#[test]
fn the_clients_show_their_keys() {
    let forge = Forge::new("clients", Io::Epoll);
    let server =
        forge.serve(Io::Epoll, "--token-key", "HS256.pem", &["--api-key", "0123456789abcdef"]);
    let (control, subscribers) =
        (format!("http://{}", server.control), format!("ws://{}", server.subscribers));
    let mut publish = stentor(&["publish", "news", "hello", "--url", &control]);
    let refused = publish.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
    let mut publish = stentor(&["publish", "news", "hello", "--url", &control]);
    run(publish.env("STENTOR_API_KEY", "0123456789abcdef"));
    let subscribe = ["subscribe", "news", "--last", "1", "--count", "1", "--url", &subscribers];
    let told = run(&mut stentor(&[&subscribe[..], &["--token", forge.hs("good")]].concat()));
    assert_eq!(told, "hello\n");
    let refused = stentor(&subscribe).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("this needs a valid token"), "{why}");
    server.stop();
    let missing = forge.file("missing.pem");
    let told = refused_start(&mut stentor(&["--token-key", &missing]));
    assert!(told.contains("missing.pem (token-key)"), "{told}");
}
