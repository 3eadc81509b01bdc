//! Subscribers by TLS: nothing is lost on the way, and who is not trusted is told apart.

use std::{fs, net::SocketAddr};

use crate::{
    run::{Scratch, Told, run, run_trusting, side_by_side},
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
        Secure::called(&address.ip().to_string(), address, &["--io", io], false)
    }

    /// One whose certificate has this name, and whose publishers come by TLS as well.
    fn whole(name: &str) -> Secure {
        Secure::called(name, free_address(), &[], true)
    }

    fn called(name: &str, address: SocketAddr, more: &[&str], is_whole: bool) -> Secure {
        let (certificate, key) = (Scratch::new("pem"), Scratch::new("key"));
        make(&certificate, &key, name);
        let listen = address.to_string();
        let mut flags = vec!["--channels", "* history=1000", "--listen-tls", &listen];
        flags.extend(["--tls-cert", certificate.path(), "--tls-key", key.path()]);
        if is_whole {
            let pair = (certificate.path(), key.path());
            flags.extend(["--control-tls-cert", pair.0, "--control-tls-key", pair.1]);
        }
        let server = Stentor::start(&[&flags[..], more].concat());
        Secure { server, address, certificate, _key: key }
    }

    /// Runs a plan by TLS, trusting this authority.
    fn run(&self, authority: &Scratch, transport: &str, flags: &[&str]) -> Told {
        let scheme = if matches!(transport, "ws" | "v1") { "wss" } else { "https" };
        let (target, publish) = (format!("{scheme}://{}", self.address), self.server.publish());
        let target = ["--target", &target, "--ca", authority.path(), "--publish", &publish];
        run(&[&["--transport", transport], &target[..], flags].concat())
    }

    /// The flags of a small run, all of it by TLS.
    fn flags(&self) -> Vec<String> {
        let publish = self.server.publish().replace("http://", "https://");
        let target = format!("wss://{}", self.address);
        let small = ["--active", "20", "--duration", "1s", "--settle", "2s", "--target"];
        small.into_iter().chain([&target[..], "--publish", &publish]).map(str::to_owned).collect()
    }
}

/// These flags and those.
fn both<'a>(flags: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    flags.iter().map(|flag| &flag[..]).chain(more.iter().copied()).collect()
}

/// Makes a certificate for this name, and its key.
fn make(certificate: &Scratch, key: &Scratch, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
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
    make(&certificate, &key, &secure.address.ip().to_string());
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

/// Publications go by TLS, too, and the report says that certificates were verified.
#[test]
fn publishers_speak_tls() {
    let secure = Secure::whole("127.0.0.1");
    let flags = secure.flags();
    let named = ["--ca", secure.certificate.path(), "--server-name", "127.0.0.1"];
    let told = run(&both(&flags, &named));
    told.assert_flawless(10 * 20);
    assert_eq!(told.report["certificates_verified"], true);
    assert!(!told.stdout.contains("verified"), "{}", told.stdout);
}

/// A certificate of another name than the host's is good where that name is asked for, and what to
/// ask for is told where it is not.
#[test]
fn another_name_can_be_asked_for() {
    let secure = Secure::whole("edge.example.com");
    let flags = secure.flags();
    let trusted = both(&flags, &["--ca", secure.certificate.path()]);
    run(&[&trusted[..], &["--server-name", "edge.example.com"]].concat()).assert_flawless(10 * 20);
    let told = run(&trusted);
    let failures = told.failures("connecting");
    let [(why, times)] = failures[..] else { panic!("one way to fail: {failures:?}") };
    assert_eq!(times, 20 * 5);
    let right = "; --server-name says which name is asked for";
    assert!(why.starts_with("tls: invalid peer certificate: ") && why.ends_with(right), "{why}");
}

/// Who trusts anybody is served by anybody, and every form of the report says so.
#[test]
fn anybody_can_be_trusted() {
    let secure = Secure::whole("edge.example.com");
    let told = run(&both(&secure.flags(), &["--insecure"]));
    told.assert_flawless(10 * 20);
    assert_eq!(told.report["certificates_verified"], false);
    assert!(told.stdout.contains(" (certificates were not verified)\n"), "{}", told.stdout);
}

/// Without a word about authorities the machine's are trusted; who has none is told before the run.
#[test]
fn the_machines_authorities_are_trusted() {
    let secure = Secure::whole("127.0.0.1");
    let flags = secure.flags();
    let flags = both(&flags, &["--server-name", "127.0.0.1"]);
    run_trusting(secure.certificate.path(), &flags).assert_flawless(10 * 20);
    let nobody = run_trusting("Cargo.toml", &flags);
    let why = format!("ca: '{}' no authority is trusted by this machine", secure.address);
    assert!(nobody.code == 2 && nobody.stderr.contains(&why), "{nobody:?}");
}
