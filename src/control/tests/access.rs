//! Who may use the control listener, and what it says to those who ask for something else.

use axum::http::{Request, Version};

use super::{
    super::guard::{By, check_head},
    *,
};

/// A request is served if its host is an address or an allowed name and if it comes from no page
/// or from one of ours.
#[test]
fn pages_of_other_origins_are_kept_out() {
    const HOSTS: &[(&str, u16)] = &[
        ("127.0.0.1:9000", 200),
        ("127.0.0.1", 200),
        ("192.0.2.1:9000", 200),
        ("[::1]:9000", 200),
        ("[2001:db8::1]", 200),
        ("localhost", 200),
        ("LocalHost:9000", 200),
        ("localhost.:9000", 200),
        ("control.example:9000", 200),
        ("Control.Example", 200),
        ("evil.example:9000", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("control.example.evil", 421),
        ("[evil]", 421),
        ("user@localhost", 400),
        ("", 400),
        ("a b", 400),
    ];
    for &(host, expected) in HOSTS {
        assert_eq!(checked(&[("host", host)]), expected, "Host: {host}");
        // By a Unix socket any name will do.
        let by_socket = if expected == 421 { 200 } else { expected };
        assert_eq!(checked_by(By::Unix, &[("host", host)]), by_socket, "Host: {host}");
    }
    const ORIGINS: &[(&str, &str, u16)] = &[
        ("127.0.0.1:9000", "http://127.0.0.1:9000", 200),
        ("localhost:9000", "http://LOCALHOST:9000", 200),
        ("localhost", "http://localhost", 200),
        ("[::1]:9000", "http://[::1]:9000", 200),
        ("control.example", "http://control.example", 200),
        ("control.example", "https://control.example", 200),
        ("localhost:9000", "https://localhost:9000", 403),
        ("localhost:9000", "http://localhost:9001", 403),
        ("localhost:9000", "http://localhost", 403),
        ("localhost:9000", "http://127.0.0.1:9000", 403),
        ("localhost:9000", "http://evil.example", 403),
        ("localhost:9000", "http://localhost:9000.evil.example", 403),
        ("localhost:9000", "null", 403),
        ("localhost:9000", "", 403),
        ("evil.example:9000", "http://evil.example:9000", 421),
    ];
    for &(host, origin, expected) in ORIGINS {
        let status = checked(&[("host", host), ("origin", origin)]);
        assert_eq!(status, expected, "Host: {host}, Origin: {origin}");
    }
    let own = ("origin", "http://localhost");
    assert_eq!(checked(&[("host", "localhost"), own, ("origin", "http://evil.example")]), 403);
    assert_eq!(checked(&[("host", "localhost"), ("host", "localhost")]), 400);
    assert_eq!(checked(&[]), 400);
    assert_eq!(checked(&[own]), 400);
}

fn checked(headers: &[(&str, &str)]) -> u16 {
    checked_by(By::Tcp, headers)
}

fn checked_by(by: By, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().uri("/publish/a").version(Version::HTTP_11);
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let allowed = ["control.example".to_owned()];
    check_head(&head, &allowed, by).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
}

/// What the guard refuses is not published, and the answer says what to set.
#[test]
fn the_guard_stands_before_everything() {
    let served = serve(Shard::Prompt, patient());
    let post = |headers: &str| {
        let rest = "connection: close\r\ncontent-length: 1\r\n\r\nx";
        reply(served.send(format!("POST /publish/a HTTP/1.1\r\n{headers}{rest}")))
    };
    let foreign = post("host: localhost\r\norigin: http://evil.example\r\n");
    assert_eq!(foreign.status, 403);
    assert!(
        foreign.body.contains("http://evil.example") && foreign.body.contains("--control-host")
    );
    let rebound = post("host: evil.example\r\n");
    assert_eq!(rebound.status, 421);
    assert!(rebound.body.contains("--control-host evil.example"), "{}", rebound.body);
    assert_eq!(post("").status, 400);
    let other = served.send("GET http://evil.example/stats HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(reply(other).status, 400);
    let none_needed = served.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(reply(none_needed).status, 200);
    assert!(served.published.lock().unwrap().is_empty());
}

/// A wrong path or method is answered with what would be right.
#[test]
fn a_wrong_request_is_told_what_is_right() {
    let served = serve(Shard::Prompt, patient());
    let nowhere = served.post("/publis/a", vec![b'x'; 100_000]);
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("POST /publish/{channel}"), "{}", nowhere.body);
    let get = served.ask("GET /publish/a");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(get.body, "GET does not work here; use POST\n");
    for path in ["/", "/healthz", "/readyz", "/metrics", "/stats"] {
        let post = served.post(path, "x");
        assert_eq!((post.status, post.header("allow")), (405, Some("GET,HEAD")), "{path}");
    }
}

/// The page's policy names the nonce of its own script and style, and where it may connect.
#[test]
fn the_page_runs_nothing_but_its_own() {
    let subscribers = "0.0.0.0:8123".parse().unwrap();
    let served = serve(Shard::Prompt, Settings { subscribers, ..patient() });
    let page = served.ask("GET /");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(page.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(page.body.contains("data-subscribers=\"127.0.0.1:8123\""));
    let connects = "connect-src 'self' ws://127.0.0.1:8123 http://127.0.0.1:8123;";
    assert!(policy.starts_with("default-src 'none';") && policy.contains(connects), "{policy}");
    assert!(page.body.contains("data-secure=\"\""));
    assert!(!page.body.contains("{{"), "something was not filled in");
    let again = served.ask("GET /");
    assert_ne!(again.header("content-security-policy"), Some(policy), "a nonce is used once");
    assert_eq!(again.header("x-content-type-options"), Some("nosniff"));
}

/// Where subscribers connect by TLS the page does, and its policy lets it.
#[test]
fn the_page_connects_by_tls_where_subscribers_do() {
    for (subscribers, connects) in [
        ("0.0.0.0:8443", "connect-src 'self' wss://127.0.0.1:8443 https://127.0.0.1:8443;"),
        ("[2001:db8::1]:8443", "connect-src 'self' wss: https:;"),
    ] {
        let subscribers = subscribers.parse().unwrap();
        let settings = Settings { subscribers, subscribers_by_tls: true, ..patient() };
        let page = serve(Shard::Prompt, settings).ask("GET /");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains(connects), "{policy}");
        assert!(page.body.contains("data-secure=\"s\""));
    }
}
