//! Subscribers by TLS: nothing is lost on the way, and who is not trusted is told apart.

use std::{fs, net::SocketAddr};

use crate::{
    run::{Scratch, Told, run, side_by_side},
    stentor::{Stentor, free_address},
};

/// A server whose subscribers come by TLS, with a certificate that vouches for itself.
struct Secure {
    server: Stentor,
    address: SocketAddr,
    certificate: Scratch,
    _key: Scratch,
}

impl Secure {
    /// On this kernel, with its history of a channel.
    fn start(io: &str) -> Secure {
        let address = free_address();
        let (certificate, key) = (Scratch::new("pem"), Scratch::new("key"));
        make(&certificate, &key, address);
        let listen = address.to_string();
        let server = Stentor::start(&[
            "--io",
            io,
            "--channels",
            "* history=1000",
            "--listen-tls",
            &listen,
            "--tls-cert",
            certificate.path(),
            "--tls-key",
            key.path(),
        ]);
        Secure { server, address, certificate, _key: key }
    }

    /// Runs a plan by TLS, trusting this authority.
    fn run(&self, authority: &Scratch, transport: &str, flags: &[&str]) -> Told {
        let scheme = if matches!(transport, "ws" | "v1") { "wss" } else { "https" };
        let (target, publish) = (format!("{scheme}://{}", self.address), self.server.publish());
        let target = ["--target", &target, "--ca", authority.path(), "--publish", &publish];
        run(&[&["--transport", transport], &target[..], flags].concat())
    }
}

/// Makes a certificate for this address, and its key.
fn make(certificate: &Scratch, key: &Scratch, address: SocketAddr) {
    let made = rcgen::generate_simple_self_signed([address.ip().to_string()]);
    let made = made.expect("a certificate");
    fs::write(&certificate.0, made.cert.pem()).expect("a file");
    fs::write(&key.0, made.signing_key.serialize_pem()).expect("a file");
}

/// What is published reaches everybody by TLS, by each transport, on both kernels of the server.
#[test]
fn subscribers_by_tls_miss_nothing() {
    let cases = [("uring", "ws"), ("epoll", "ws"), ("uring", "sse"), ("uring", "v1")];
    side_by_side(cases, |(io, transport)| {
        let secure = Secure::start(io);
        let flags = ["--plan", "ticker", "--active", "200", "--duration", "1s"];
        let told = secure.run(&secure.certificate, transport, &flags);
        told.assert_flawless(10 * 200);
        let target = told.report["target"].as_str().expect("text");
        let scheme = if transport == "sse" { "https://" } else { "wss://" };
        assert!(target.starts_with(&format!("{scheme}{}", secure.address)), "{target}");
    });
}

/// A storm cuts half of them off, and all of them come back by TLS for what they have missed.
#[test]
fn a_storm_by_tls_is_weathered() {
    let secure = Secure::start("uring");
    let flags = ["--plan", "ticker", "--active", "200", "--duration", "2s", "--resume"];
    let storm = ["--storm-share", "50%", "--storm-every", "1s"];
    let told = secure.run(&secure.certificate, "sse", &[&flags[..], &storm].concat());
    told.assert_flawless(20 * 200);
    assert_eq!(told.count("/connections/reconnected"), 100);
}

/// Who trusts another authority gets no connection, and reads which flag to look at; this is no
/// connection that was refused.
#[test]
fn a_stranger_is_not_trusted() {
    let secure = Secure::start("uring");
    let (certificate, key) = (Scratch::new("pem"), Scratch::new("key"));
    make(&certificate, &key, secure.address);
    let flags = ["--active", "2", "--duration", "1s", "--settle", "1s"];
    let told = secure.run(&certificate, "ws", &flags);
    assert_eq!(told.count("/connections/established"), 0);
    assert_eq!(told.count("/connections/failed"), 2);
    assert_ne!(told.code, 0);
    let failures = told.failures("connecting");
    let [(why, times)] = failures[..] else { panic!("one way to fail: {failures:?}") };
    assert_eq!(times, 2 * 5, "each tries five times");
    let (first, last) = ("tls: invalid peer certificate: ", "--ca must name the certificate");
    assert!(why.starts_with(first) && why.contains(last), "{why}");
}

/// A port that does not speak TLS is told as such.
#[test]
fn a_plain_port_is_no_secure_one() {
    let mut secure = Secure::start("uring");
    secure.address = secure.server.subscribers;
    let flags = ["--active", "2", "--duration", "1s", "--settle", "1s"];
    let told = secure.run(&secure.certificate, "ws", &flags);
    assert_eq!(told.count("/connections/established"), 0);
    let failures = told.failures("connecting");
    let why = "tls: the handshake broke off; the target must be a port that speaks TLS";
    assert_eq!(failures, [(why, 2 * 5)]);
}
