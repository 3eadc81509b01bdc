//! Where the load tester would connect, for flags and profiles of all kinds, and what it says when
//! it does not know.

use std::{env, fs, net::SocketAddr, process};

use super::*;
use crate::{
    decoder::Transport::{Sse, WebSocket},
    options::{Options, read},
    order::{Publish, Subscribe},
    tls::{Tls, Trust},
};

/// A plan with two channels, one idle and one active, and this mix of transports.
fn plan(mix: &str) -> Plan {
    let transport = Some(read(mix).unwrap());
    Options { idle: Some(1), transport, ..Options::default() }.resolve("test").unwrap()
}

fn profile(name: &str) -> Profile {
    Profile::from_sheet(&PROFILES.find(name).unwrap()).unwrap()
}

fn wanted(targets: &[&str], publish: Option<&str>) -> Wanted {
    let targets = targets.iter().map(|target| target.to_string()).collect();
    Wanted { targets, publish: publish.map(str::to_owned), ..Wanted::default() }
}

fn endpoints(
    name: &str,
    mix: &str,
    targets: &[&str],
    publish: Option<&str>,
) -> Result<Endpoints, String> {
    let found = profile(name).endpoints(name, &wanted(targets, publish), &plan(mix));
    found.map_err(|error| error.to_string())
}

fn subscribe(address: &str, path: &str) -> Subscribe {
    let host = address.strip_suffix(":80").unwrap_or(address).to_owned();
    let (address, path) = (address.parse().unwrap(), path.to_owned());
    Subscribe { address, host, path, headers: Vec::new(), tls: None, tokens: Vec::new() }
}

fn post(url: &str) -> Publish {
    Publish { method: "POST".into(), url: url.into(), headers: Vec::new(), tls: None, key: None }
}

/// Every built-in profile is read, and its first line says what it is; without flags all but the
/// generic one know where the server is.
#[test]
fn every_built_in_profile_resolves() {
    for (name, text) in PROFILES.texts {
        assert!(text.starts_with("# "), "{name}");
        let found = endpoints(name, "ws", &[], None);
        assert_eq!(found.is_ok(), *name != "generic", "{name}: {found:?}");
    }
    assert_eq!(
        endpoints("nchan", "ws=1,sse=1", &[], None).unwrap(),
        Endpoints {
            profile: "nchan".into(),
            subscribe: vec![
                (WebSocket, subscribe("127.0.0.1:8080", "/sub/{channel}")),
                (Sse, subscribe("127.0.0.1:8080", "/sub/{channel}")),
            ],
            publish: Some(post("http://127.0.0.1:8080/pub/{channel}")),
        }
    );
}

/// A target's host is the host of everything that has no URL of its own; its path is its own, or
/// the profile's.
#[test]
fn flags_lie_over_the_profile() {
    let ws = |address, path| (WebSocket, subscribe(address, path));
    let sse = |address, path| (Sse, subscribe(address, path));
    for (mix, targets, publish, subscribers, publisher) in [
        (
            "ws",
            &["ws://127.0.0.2:9000"][..],
            None,
            vec![ws("127.0.0.2:9000", "/ws/{channel}")],
            "http://127.0.0.2:8081/publish/{channel}",
        ),
        (
            "ws=1,sse=1",
            &["http://127.0.0.2/"],
            Some("http://127.0.0.3:1/p?to={channel}"),
            vec![ws("127.0.0.2:80", "/ws/{channel}"), sse("127.0.0.2:80", "/sse/{channel}")],
            "http://127.0.0.3:1/p?to={channel}",
        ),
        (
            "sse=1,ws=1",
            &["ws://127.0.0.2:2/a/{channel}", "http://127.0.0.3:3/b/{channel}"],
            Some("http://[::1]:4"),
            vec![sse("127.0.0.3:3", "/b/{channel}"), ws("127.0.0.2:2", "/a/{channel}")],
            "http://[::1]:4/publish/{channel}",
        ),
    ] {
        let found = endpoints("stentor", mix, targets, publish).unwrap();
        assert_eq!(found.subscribe, subscribers, "{targets:?}");
        assert_eq!(found.publish, Some(post(publisher)), "{targets:?}");
    }
}

/// The host is looked up, an IPv4 address before others, and the `Host` header keeps the name.
#[test]
fn names_are_looked_up() {
    let found = endpoints("stentor", "ws", &["ws://localhost:8080"], None).unwrap();
    let [(_, subscribe)] = &found.subscribe[..] else { panic!("one transport") };
    assert_eq!(subscribe.address, SocketAddr::from(([127, 0, 0, 1], 8080)));
    assert_eq!(subscribe.host, "localhost:8080");
    let told = endpoints("stentor", "ws", &["ws://no.such.host.invalid:1"], None).unwrap_err();
    assert!(told.starts_with("target: 'no.such.host.invalid' cannot be looked up: "), "{told}");
    let right = "; write the name of a host that this machine knows, or its address";
    assert!(told.ends_with(right), "{told}");
}

/// Nothing is asked about publishing where nothing is published, nor for `{channel}` where there
/// is one channel.
#[test]
fn only_what_the_plan_needs_is_asked_for() {
    let quiet = Options { active: Some(0), idle: Some(9), ..Options::default() };
    let found = profile("generic").endpoints(
        "generic",
        &wanted(&["ws://127.0.0.1:1/"], None),
        &quiet.resolve("test").unwrap(),
    );
    let found = found.unwrap();
    assert_eq!(found.subscribe, [(WebSocket, subscribe("127.0.0.1:1", "/"))]);
    assert_eq!(found.publish, None);
}

/// The command line's headers come instead of the profile's of the same name.
#[test]
fn headers_lie_over_the_profile() {
    let text = "host = 'localhost'\nws = '/{channel}'\npublish = '/p/{channel}'\n\
                publish-method = 'PUT'\nheaders = ['A: 1', 'B: 2']\npublish-headers = ['C: 3']";
    let sheet = Sheet { name: "mine".into(), place: "mine.toml".into(), text: text.into() };
    let header = |text: &str| text.parse::<Header>().unwrap();
    let wanted = Wanted {
        headers: vec![header("b: x:y ")],
        publish_headers: vec![header("D:4")],
        ..Wanted::default()
    };
    let profile = Profile::from_sheet(&sheet).unwrap();
    let found = profile.endpoints("mine", &wanted, &plan("ws")).unwrap();
    let pairs = |pairs: [(&str, &str); 2]| pairs.map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(found.subscribe[0].1.headers, pairs([("A", "1"), ("b", "x:y")]));
    let publish = found.publish.unwrap();
    assert_eq!(publish.headers, pairs([("C", "3"), ("D", "4")]));
    assert_eq!(publish.method, "PUT");
    assert_eq!(publish.url, "http://localhost/p/{channel}");
}

/// Authorities are for TLS, and a file that has none is told before a run.
#[test]
fn authorities_are_for_tls() {
    let told = |target: &str, file: &str| {
        let wanted = Wanted { authorities: Some(file.into()), ..wanted(&[target], None) };
        let found = profile("stentor").endpoints("stentor", &wanted, &plan("ws"));
        found.unwrap_err().to_string()
    };
    let right = "write a file that has the certificate of the server's authority, in PEM";
    let secure = "wss://127.0.0.1";
    assert_eq!(
        told(secure, "Cargo.toml"),
        format!("ca: 'Cargo.toml' is of no use: it has no certificate; {right}")
    );
    assert_eq!(
        told(secure, "absent.pem"),
        format!("ca: 'absent.pem' cannot be read: No such file or directory (os error 2); {right}")
    );
    assert_eq!(
        told("ws://127.0.0.1", "Cargo.toml"),
        "ca: 'Cargo.toml' is for TLS, which neither target nor publish speaks; write --target wss://HOST:PORT, or \
         leave it out"
    );
}

/// Publishers speak TLS where they are told to, and on the port that subscribers share with them; the
/// name of a certificate stands in the URL, and the host's own name in its header.
#[test]
fn publishers_speak_tls_where_it_is_spoken() {
    let insecure =
        |wanted: Wanted| Wanted { is_insecure: true, server_name: Some("edge".into()), ..wanted };
    let publish = |profile: Profile, wanted| {
        let found = profile.endpoints("mine", &insecure(wanted), &plan("ws")).unwrap();
        let publish = found.publish.unwrap();
        (publish.url, publish.headers, publish.tls)
    };
    let tls = Tls { server_name: "edge".into(), trust: Trust::Anybody };
    let at = |port: u16| Some((tls.clone(), SocketAddr::from(([127, 0, 0, 1], port))));
    let host = |host: &str| vec![("Host".to_owned(), host.to_owned())];
    let told = wanted(&[], Some("https://127.0.0.1:9/p/{channel}"));
    let url = "https://edge:9/p/{channel}".to_owned();
    assert_eq!(publish(profile("stentor"), told), (url, host("127.0.0.1:9"), at(9)));
    let shared = wanted(&["wss://127.0.0.1"], None);
    let url = "https://edge/pub/{channel}".to_owned();
    assert_eq!(publish(profile("nchan"), shared.clone()), (url, host("127.0.0.1"), at(443)));
    let plain = "http://127.0.0.1:8081/publish/{channel}".to_owned();
    assert_eq!(publish(profile("stentor"), shared), (plain, vec![], None));
}

/// A token takes the place of the profile's header, and subscribers show those of a file by turns.
#[test]
fn tokens_and_keys_are_shown_in_a_header() {
    let text = "host = 'localhost'\nws = '/{channel}'\npublish = '/p/{channel}'\n\
                headers = ['authorization: a']\npublish-headers = ['authorization: b']";
    let sheet = Sheet { name: "mine".into(), place: "mine.toml".into(), text: text.into() };
    let secret = |text: &str| Some(Secret(text.to_owned()));
    let wanted = Wanted { token: secret("t"), api_key: secret("k"), ..Wanted::default() };
    let found = Profile::from_sheet(&sheet).unwrap();
    let found = found.endpoints("mine", &wanted, &plan("ws")).unwrap();
    let publish = found.publish.unwrap();
    assert_eq!((publish.headers, publish.key), (vec![], secret("k")));
    let mut subscribe = found.subscribe[0].1.clone();
    assert_eq!(subscribe.headers, []);
    subscribe.tokens = vec![Secret("t".into()), Secret("u".into())];
    let shown = |number: u32| subscribe.headers_of(number)[0].1.clone();
    assert_eq!([0, 1, 2].map(shown), ["Bearer t", "Bearer u", "Bearer t"]);
    assert!(format!("{subscribe:?}").contains("tokens: [Secret(…), Secret(…)]"));
}

/// What cannot be shown is told, and never repeated.
#[test]
fn a_wrong_secret_is_told_without_it() {
    let told = |wanted: Wanted| {
        let found = profile("stentor").endpoints("stentor", &wanted, &plan("ws"));
        found.unwrap_err().to_string()
    };
    let of = Wanted::default;
    let secret = |text: &str| Some(Secret(text.to_owned()));
    let header = |text: &str| vec![text.parse::<Header>().unwrap()];
    let file = || Some("Cargo.toml".into());
    for (wanted, right) in [
        (
            Wanted { token: secret("s e"), ..of() },
            "token: '…' has a letter in number 1 that a header cannot carry; write it as it was issued",
        ),
        (
            Wanted { api_key: secret(""), ..of() },
            "api-key: '…' is empty; write it as it was issued",
        ),
        (
            Wanted { token_file: Some("absent".into()), ..of() },
            "token-file: 'absent' cannot be read: No such file or directory (os error 2); write a file \
             with one on each line",
        ),
        (
            Wanted { api_key_file: file(), ..of() },
            "api-key-file: 'Cargo.toml' has a letter in number 2 that a header cannot carry; write it as \
             it was issued",
        ),
        (
            Wanted { api_key: secret("s\ne"), ..of() },
            "api-key: '…' has 2 lines; write the key and nothing else",
        ),
        (
            Wanted { token: secret("s"), headers: header("authorization: x"), ..of() },
            "header: 'authorization' is what --token writes; leave out --token or the header",
        ),
        (
            Wanted { api_key: secret("s"), is_through_bus: true, ..of() },
            "api-key: 'a key' is for HTTP, and publish-to has publications go through a bus; leave out \
             --api-key or --publish-to",
        ),
        (
            Wanted { is_insecure: true, ..of() },
            "insecure: 'true' is for TLS, which neither target nor publish speaks; write --target \
             wss://HOST:PORT, or leave it out",
        ),
        (
            Wanted { server_name: Some("a b".into()), ..wanted(&["wss://127.0.0.1"], None) },
            "server-name: 'a b' is no name that a certificate can have; write a host's name, or its \
             address",
        ),
    ] {
        assert_eq!(told(wanted), right);
    }
}

/// A file of secrets has a bound.
#[test]
fn too_many_secrets_are_refused() {
    let path = env::temp_dir().join(format!("stentor-loadtest-secrets-{}", process::id()));
    let told = |bytes: usize| {
        fs::write(&path, "t\n".repeat(bytes / 2)).unwrap();
        let wanted = Wanted { token_file: Some(path.clone()), ..Wanted::default() };
        let found = profile("stentor").endpoints("stentor", &wanted, &plan("ws"));
        fs::remove_file(&path).unwrap();
        found.map(|found| found.subscribe[0].1.tokens.len()).map_err(|why| why.to_string())
    };
    assert_eq!(told(SECRETS_BYTES_MAX), Ok(SECRETS_BYTES_MAX / 2));
    let problem = format!("has {} bytes, more than {SECRETS_BYTES_MAX}", SECRETS_BYTES_MAX + 2);
    let right = "write a file with one on each line";
    let whole = format!("token-file: '{}' {problem}; {right}", path.display());
    assert_eq!(told(SECRETS_BYTES_MAX + 2), Err(whole));
}

/// Each mistake is told in full.
#[test]
fn a_wrong_place_is_told_in_full() {
    for (name, targets, publish, told) in WRONG {
        assert_eq!(endpoints(name, "ws", targets, *publish).unwrap_err(), *told);
    }
}

/// What is wrong with a profile's file is told with its place.
#[test]
fn a_wrong_profile_is_told_in_full() {
    for (text, told) in [
        ("hsot = 'a'", "mine.toml:1: 'hsot' is not a key; did you mean 'host'?"),
        (
            "\nws = 'ws/{channel}'",
            "mine.toml:2: 'ws/{channel}' is not a path; write one like /ws/{channel}",
        ),
        ("publish-method = 'GET'", "mine.toml:1: unknown variant `GET`, expected `POST` or `PUT`"),
        ("headers = ['A']", "mine.toml:1: 'A' has no colon; write 'Name: value'"),
    ] {
        let sheet = Sheet { name: "mine".into(), place: "mine.toml".into(), text: text.into() };
        assert_eq!(Profile::from_sheet(&sheet).unwrap_err().to_string(), told);
    }
}

/// No header can end a request early or contradict it.
#[test]
fn a_wrong_header_is_told_in_full() {
    for (text, told) in [
        ("A", "has no colon; write 'Name: value'"),
        (": a", "has a name that HTTP does not allow; write 'Name: value'"),
        ("A b: c", "has a name that HTTP does not allow; write 'Name: value'"),
        ("A: b\r\nC: d", "has a value that is not plain ASCII; write 'Name: value'"),
        ("host: a", "is written by the load tester itself; leave Host out"),
    ] {
        assert_eq!(text.parse::<Header>(), Err(told.to_owned()), "{text}");
    }
}

/// A profile, targets, where to publish, and what is said of them.
const WRONG: &[(&str, &[&str], Option<&str>, &str)] = &[
    (
        "generic",
        &[],
        None,
        "target: the profile 'generic' does not say where the server is; add --target \
         ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events",
    ),
    (
        "generic",
        &["ws://127.0.0.1:1/{channel}"],
        None,
        "publish: the profile 'generic' does not say where to publish; add --publish \
         http://HOST:PORT/PATH/{channel}",
    ),
    (
        "generic",
        &["ws://127.0.0.1:1"],
        None,
        "target: the profile 'generic' has no path for ws; write one in the URL: \
         ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events",
    ),
    (
        "stentor",
        &["127.0.0.1:8080"],
        None,
        "target: '127.0.0.1:8080' has no scheme; write ws://HOST:PORT/PATH/{channel}, or http:// \
         for Server-Sent Events",
    ),
    (
        "stentor",
        &["tcp://127.0.0.1:8080"],
        None,
        "target: 'tcp://127.0.0.1:8080' has a scheme that is not spoken here; write \
         ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events",
    ),
    (
        "stentor",
        &["ws://127.0.0.1:0/"],
        None,
        "target: 'ws://127.0.0.1:0/' has no host, or no good port; write \
         ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events",
    ),
    (
        "stentor",
        &["ws://127.0.0.1:1/a b"],
        None,
        "target: 'ws://127.0.0.1:1/a b' has a letter that requests cannot carry; write \
         ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events",
    ),
    (
        "stentor",
        &["ws://127.0.0.1:1/news"],
        None,
        "target: '/news' is the same for all of the plan's 2 channels; write {channel} where a \
         channel's name goes",
    ),
    (
        "stentor",
        &["http://127.0.0.1:1"],
        None,
        "target: 'http://127.0.0.1:1' is for sse, which no subscriber speaks; add --transport \
         sse, or a mix like --transport ws=80,sse=20",
    ),
    (
        "stentor",
        &["ws://127.0.0.1:1", "ws://127.0.0.1:2"],
        None,
        "target: 'ws://127.0.0.1:2' is the second target for ws; write one target for each \
         transport",
    ),
    (
        "stentor",
        &[],
        Some("ws://127.0.0.1:1/"),
        "publish: 'ws://127.0.0.1:1/' is for WebSocket; write http://HOST:PORT/PATH/{channel}",
    ),
];
