//! TLS to subscribers: the clients of the world, both versions, tickets, and who speaks something
//! else.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Value, json};

use crate::support::{
    Folder, Io, Kind, Publisher, Received, Running, Server, Subscriber, Wire, ask, browser,
    eventually, python, refused_start, run, stentor, upgrade,
};

on_both_kernels!(every_client_speaks_tls, sessions_are_taken_up_again);

/// A certificate for this machine that vouches for itself, and a server that shows it.
pub struct Secure {
    folder: Folder,
    certificate: PathBuf,
    key: PathBuf,
}

impl Secure {
    pub fn new(name: &str) -> Secure {
        let folder = Folder::new(name);
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let [certificate, key] = ["edge.pem", "edge.key"].map(|file| folder.path().join(file));
        std::fs::write(&certificate, made.cert.pem()).expect("a file");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        Secure { folder, certificate, key }
    }

    pub fn certificate(&self) -> &str {
        self.certificate.to_str().expect("text")
    }

    pub fn flags(&self) -> [&str; 6] {
        let key = self.key.to_str().expect("text");
        ["--listen-tls", "127.0.0.1:0", "--tls-cert", self.certificate(), "--tls-key", key]
    }

    /// A connection from there, after its handshake and a request; what it has to say then goes beneath
    /// TLS.
    pub fn handshake(&self, source: IpAddr, to: SocketAddr) -> Wire {
        let pem = std::fs::read(&self.certificate).expect("a file");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let wire = Wire::from(source, to);
        let request = format!("{}\r\n", upgrade("/ws/bad"));
        tls.writer().write_all(request.as_bytes()).expect("room");
        let mut told = [0; 12];
        let mut socket = wire.stream();
        rustls::Stream::new(&mut tls, &mut socket).read_exact(&mut told).expect("an answer");
        assert_eq!(&told, b"HTTP/1.1 101");
        wire
    }

    /// The hash by which Chromium knows the key that it is to trust.
    fn key_hash(&self) -> String {
        let script = format!(
            "openssl x509 -pubkey -noout -in {} | openssl pkey -pubin -outform der | \
             openssl dgst -sha256 -binary | base64",
            self.certificate()
        );
        run(Command::new("sh").args(["-c", &script])).trim().to_owned()
    }
}

/// curl, Chromium and Python's `websockets` get by TLS exactly what a plain subscriber beside them
/// gets: small publications, and one that fills many records.
fn every_client_speaks_tls(io: Io) {
    let secure = Secure::new(&format!("tls-clients-{io:?}"));
    let server = Server::start(io, &secure.flags());
    let port = server.addresses("https")[0].port();
    let (https, wss) = (format!("https://localhost:{port}"), format!("wss://localhost:{port}"));
    let mut plain = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    let mut websockets = Running::start(
        python("subscribe.py")
            .args([&format!("{wss}/ws/news"), "3"])
            .env("SSL_CERT_FILE", &secure.certificate),
    );
    let curl_url = format!("{https}/sse/news");
    let mut curl = Running::start(Command::new("curl").args([
        "-sN",
        "--cacert",
        secure.certificate(),
        &curl_url,
    ]));
    let mut chromium =
        Running::start(browser("tls.mjs").args([&https, "news", "3", &secure.key_hash()]));
    server.await_stat("/connections/websocket", 3);
    server.await_stat("/connections/sse", 2);
    let large = "x".repeat(300_000);
    let texts = ["hello", &large, "the end"];
    let mut publisher = Publisher::of(&server);
    for text in texts {
        publisher.publish("news", text.as_bytes());
        let Received::Publication { payload, .. } = plain.next() else { panic!("no news") };
        assert!(payload == text.as_bytes());
    }
    let told: Value = serde_json::from_slice(&websockets.end().stdout).expect("JSON");
    assert!(told == json!(texts), "Python heard something else");
    let chromium = chromium.end();
    let complaint = String::from_utf8_lossy(&chromium.stderr).into_owned();
    let told: Value = serde_json::from_slice(&chromium.stdout).expect(&complaint);
    assert!(told == json!({ "webSocket": texts, "eventSource": texts }), "{complaint}");
    assert!(server.metric("stentor_tls_handshakes_total") >= 4.0);
    // An event stream ends in order when the server does.
    server.stop();
    let told = curl.end();
    let told = String::from_utf8(told.stdout).expect("text");
    let heard: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert!(heard == texts, "curl heard something else");
    drop(secure.folder);
}

/// openssl's client agrees on each version and on http/1.1, and takes its session up again by the
/// ticket that it was given.
fn sessions_are_taken_up_again(io: Io) {
    let secure = Secure::new(&format!("tls-tickets-{io:?}"));
    let server = Server::start(io, &[&secure.flags()[..], &["--shards", "1"]].concat());
    let address = server.addresses("https")[0].to_string();
    for (resumed, (version, protocol)) in
        [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")].into_iter().enumerate()
    {
        let session = secure.folder.path().join(version);
        let session = session.to_str().expect("text");
        for (flag, state) in [("-sess_out", "New"), ("-sess_in", "Reused")] {
            // The answer is read before the session is kept: its ticket comes first.
            let script = format!(
                "(printf 'GET /nothing HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'; sleep 1) | \
                 openssl s_client -connect {address} -CAfile {} -alpn http/1.1 {version} \
                 {flag} {session} -ign_eof",
                secure.certificate()
            );
            let told = run(Command::new("sh").args(["-c", &script]));
            for part in
                [&format!("{state}, {protocol}")[..], "ALPN protocol: http/1.1", "HTTP/1.1 404"]
            {
                assert!(told.contains(part), "{part} is not in {told}");
            }
            assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
        }
        assert_eq!(server.metric("stentor_tls_resumed_total"), (resumed + 1) as f64);
    }
    server.stop();
}

/// Whoever speaks plain HTTP to a TLS address is told so in plain HTTP, and whoever speaks nonsense
/// fails; both are counted, and the server goes on.
#[test]
fn other_protocols_are_told() {
    let secure = Secure::new("tls-others");
    let server = Server::start(Io::Uring, &secure.flags());
    let address = server.addresses("https")[0];
    let answer = ask(address, "GET /ws/news HTTP/1.1\r\nHost: localhost\r\n");
    assert_eq!(answer.head.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("use https:// or wss://"));
    assert_eq!(server.metric("stentor_tls_failed_total"), 1.0);
    server.stop();
}

/// A certificate without a key, or with another's, ends the start with words that help.
#[test]
fn wrong_certificates_are_told() {
    let (one, other) = (Secure::new("tls-one"), Secure::new("tls-other"));
    let mut flags = one.flags();
    flags[5] = other.flags()[5];
    let told = refused_start(&mut stentor(&flags));
    assert!(told.contains("is not that of the certificate in"), "{told}");
    let told = refused_start(&mut stentor(&one.flags()[..4]));
    assert!(told.contains("tls-cert has 1 files and tls-key 0; give each"), "{told}");
}

/// A new certificate in the place of the old one is shown to whoever comes then, without a word from
/// anybody, and whoever is connected stays and is served. A wrong one changes nothing.
#[test]
fn certificates_are_swapped_while_connections_go_on() {
    let secure = Secure::new("tls-swap");
    let server = Server::start(Io::Uring, &secure.flags());
    let port = server.addresses("https")[0].port();
    let url = format!("https://localhost:{port}");
    let stays = format!("wss://localhost:{port}/ws/news");
    let mut stays = Running::start(
        python("subscribe.py").args([&stays, "1"]).env("SSL_CERT_FILE", &secure.certificate),
    );
    server.await_stat("/connections/websocket", 1);
    let other = Secure::new("tls-swapped");
    let shows = |certificate: &str| {
        let get = ["-sS", "-o", "/dev/null", "--cacert", certificate, &format!("{url}/stentor.js")];
        Command::new("curl").args(get).stderr(Stdio::null()).status().expect("curl").success()
    };
    assert!(shows(secure.certificate()) && !shows(other.certificate()));
    // The key first: until the certificate follows the pair is wrong, and nothing changes.
    let old = secure.folder.path().join("old.pem");
    std::fs::copy(&secure.certificate, &old).expect("a file");
    std::fs::copy(&other.key, &secure.key).expect("a file");
    eventually("the wrong pair is told", || {
        server.stderr().contains("is not that of the certificate in").then_some(())
    });
    assert!(shows(old.to_str().expect("text")));
    std::fs::copy(&other.certificate, &secure.certificate).expect("a file");
    eventually("the new certificate is shown", || shows(other.certificate()).then_some(()));
    assert!(!shows(old.to_str().expect("text")));
    Publisher::of(&server).publish("news", b"still here");
    let told: Value = serde_json::from_slice(&stays.end().stdout).expect("JSON");
    assert_eq!(told, json!(["still here"]));
    server.stop();
}

/// The control listener speaks TLS alone where it has a certificate, to its page's scripts, too, and
/// where clients need one, to nobody without.
#[test]
fn the_control_listener_speaks_tls() {
    let secure = Secure::new("tls-control");
    let key = secure.flags()[5].to_owned();
    let server_flags = ["--control-tls-cert", secure.certificate(), "--control-tls-key", &key];
    let curl = |port: u16, more: &[&str]| {
        let url = format!("https://localhost:{port}/publish/news");
        let start = ["-sS", "--cacert", secure.certificate(), "-d", "hello", &url];
        let told = Command::new("curl").args(start).args(more).output().expect("curl");
        (told.status.success(), String::from_utf8(told.stdout).expect("text"))
    };
    let server = Server::start(Io::Uring, &server_flags);
    let port = server.control.port();
    let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    let (is_done, told) = curl(port, &[]);
    assert!(is_done && told.contains("\"subscribers\":1"), "{told}");
    assert!(matches!(subscriber.next(), Received::Publication { .. }));
    let origin = format!("Origin: https://localhost:{port}");
    assert!(curl(port, &["-H", &origin]).1.contains("\"subscribers\":1"));
    let foreign = format!("Origin: http://localhost:{port}");
    assert!(curl(port, &["-H", &foreign, "-w", "%{http_code}"]).1.contains("403"));
    let plain = format!("http://localhost:{port}/healthz");
    let told = run(Command::new("curl").args(["-sS", &plain]));
    assert!(told.starts_with("this port speaks TLS; use https://"), "{told}");
    let ended = Running::start(&mut stentor(&["health", "--url", &plain[..plain.len() - 8]])).end();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && told.contains("use https://"), "{told}");
    drop(subscriber);
    server.stop();

    let client = Secure::new("tls-client");
    let flags = [&server_flags[..], &["--control-client-ca", client.certificate()]].concat();
    let server = Server::start(Io::Uring, &flags);
    let port = server.control.port();
    let mine = ["--cert", client.certificate(), "--key", client.flags()[5]];
    assert!(curl(port, &mine).0);
    assert!(!curl(port, &[]).0);
    assert!(
        !curl(port, &["--cert", secure.certificate(), "--key", &key]).0,
        "of another authority"
    );
    server.stop();
}

/// The commands speak TLS to both listeners, to whom they are told to trust alone, and say what to do
/// about anybody else.
#[test]
fn the_commands_speak_tls() {
    let secure = Secure::new("tls-commands");
    let server = Server::start(Io::Uring, &secure.flags());
    let url = format!("wss://localhost:{}", server.addresses("https")[0].port());
    let trusting = ["--ca", secure.certificate()];
    let subscribe = |more: &[&str]| {
        let start = ["subscribe", "news", "--count", "1", "--url", &url];
        Running::start(&mut stentor(&[&start[..], more].concat()))
    };
    let mut subscriber = subscribe(&trusting);
    server.await_stat("/connections/json", 1);
    Publisher::of(&server).publish("news", b"hello");
    let ended = subscriber.end();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "hello\n");
    assert_eq!(ended.status.code(), Some(0));
    let stranger = Secure::new("tls-stranger");
    for (more, code, words) in [
        (&["--ca", stranger.certificate()][..], 1, "with --ca FILE"),
        (&["--ca", "/nowhere.pem"], 2, "ca: /nowhere.pem: "),
        (&["--ca", stranger.flags()[5]], 2, "no certificate in it"),
    ] {
        let ended = subscribe(more).end();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(told.contains(words) && ended.status.code() == Some(code), "{told}");
    }
    server.stop();

    let key = secure.flags()[5];
    let flags = ["--control-tls-cert", secure.certificate(), "--control-tls-key", key];
    let server = Server::start(Io::Uring, &flags);
    let url = format!("https://localhost:{}", server.control.port());
    let command = |arguments: &[&str], ca: &str| {
        let mut command = stentor(arguments);
        Running::start(command.env("STENTOR_CONTROL_URL", &url).env("STENTOR_CA", ca)).end()
    };
    for (arguments, words) in [
        (&["publish", "news", "hello"][..], "\"channel\":\"news\""),
        (&["channels"], "\"channels\":["),
        (&["health"], "ok"),
        (&["log-level", "warn"], "\"filter\":\"warn\""),
        (&["top", "--once", "--interval", "0.1"], "Stentor "),
    ] {
        let ended = command(arguments, secure.certificate());
        let told = String::from_utf8(ended.stdout).unwrap();
        assert!(told.contains(words), "{arguments:?}: {told}");
        let refused = command(arguments, stranger.certificate());
        let told = String::from_utf8(refused.stderr).unwrap();
        let is_told = refused.status.code() == Some(1) && told.contains("with --ca FILE");
        assert!(is_told, "{arguments:?}: {told}");
    }
    server.stop();
}

/// The commands show the certificate that they are given to a server that asks for one, and say what to
/// do where it does not take it, or speaks no TLS at all.
#[test]
fn the_commands_show_their_certificate() {
    let [secure, client] = ["tls-asks", "tls-shows"].map(Secure::new);
    let (key, client_key) = (secure.flags()[5].to_owned(), client.flags()[5].to_owned());
    let start = ["--control-tls-cert", secure.certificate(), "--control-tls-key", &key];
    let flags = [&start[..], &["--control-client-ca", client.certificate()]].concat();
    let (server, plain) = (Server::start(Io::Uring, &flags), Server::start(Io::Uring, &[]));
    let health = |port: u16, more: &[&str]| {
        let url = format!("https://localhost:{port}");
        let start = ["health", "--url", &url, "--ca", secure.certificate()];
        let ended = Running::start(&mut stentor(&[&start[..], more].concat())).end();
        let told = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8(told).unwrap())
    };
    let (asks, mine) = (server.control.port(), ["--client-cert", client.certificate()]);
    let none = "/nowhere.pem";
    for (port, more, code, words) in [
        (asks, &[mine[0], mine[1], "--client-key", &client_key][..], 0, "ok"),
        (asks, &[], 1, "name yours with --client-cert FILE"),
        (
            asks,
            &["--client-cert", secure.certificate(), "--client-key", &key],
            1,
            "name yours with --client-cert FILE",
        ),
        (asks, &mine, 2, "client-cert: there is no key for it; name its file with --client-key"),
        (asks, &["--client-key", none], 2, "client-key: there is no certificate for it"),
        (asks, &[mine[0], none, "--client-key", &key], 2, "client-cert: /nowhere.pem: "),
        (asks, &[mine[0], mine[1], "--client-key", none], 2, "client-key: /nowhere.pem: "),
        (plain.control.port(), &[], 1, "no TLS is spoken there; write http://"),
    ] {
        let (ended, told) = health(port, more);
        assert!(ended == Some(code) && told.contains(words), "{more:?}: {ended:?}: {told}");
    }
    plain.stop();
    server.stop();
}

/// Whoever does not end its handshake in time is cut off: without a word, with half of one, or with a
/// handshake and no request behind it. Whoever comes while the server is full is closed, too.
#[test]
fn a_handshake_has_its_time_and_its_place() {
    let secure = Secure::new("tls-stalls");
    let limits = ["--handshake-timeout", "1s", "--max-connections", "4", "--shards", "1"];
    let server = Server::start(Io::Uring, &[&secure.flags()[..], &limits].concat());
    let address = server.addresses("https")[0];
    let mut peers: Vec<_> = (0..2).map(|_| TcpStream::connect(address).expect("a place")).collect();
    peers[1].write_all(&[0x16, 3, 1, 2, 0, 1, 0]).expect("a socket with room");
    for peer in &mut peers {
        let mut told = Vec::new();
        peer.read_to_end(&mut told).expect("the end of the stream");
        assert!(told.is_empty(), "nothing can be said in a handshake");
    }
    let script = format!("sleep 5 | openssl s_client -quiet -connect {address} || true");
    let told = run(Command::new("sh").args(["-c", &script]).env("LC_ALL", "C"));
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 408 "), "{told}");
    assert_eq!(server.metric("stentor_tls_handshakes_total"), 1.0);

    let plain: Vec<_> =
        (0..4).map(|_| Subscriber::join(server.subscribers, Kind::WebSocket, "news")).collect();
    let mut late = TcpStream::connect(address).expect("the kernel accepts");
    let mut told = Vec::new();
    let _ = late.read_to_end(&mut told);
    assert!(told.is_empty(), "closed without a handshake");
    drop(plain);
    server.stop();
}
