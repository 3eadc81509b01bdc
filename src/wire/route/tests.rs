use super::{super::http::parse, *};
use crate::ids::NotAChannel;

fn routed(head: &str, allowed: &[&str]) -> Result<String, HttpError> {
    let head = format!("{head}\r\n\r\n");
    let request = parse(head.as_bytes(), 8192).unwrap().unwrap().0;
    let origins = Origins::new(allowed.iter().copied()).unwrap();
    route(&request, &origins, true).map(|route| match route {
        Route::WebSocket(channel, Start::Live) => format!("ws {channel}"),
        Route::WebSocket(channel, start) => format!("ws {channel} {}", begin(start)),
        Route::Commands(channels) => format!("commands{}", list(&channels)),
        Route::Sse { channel, start: Start::Live, origin } => format!("sse {channel} {origin:?}"),
        Route::Sse { channel, start, .. } => format!("sse {channel} {}", begin(start)),
        Route::Streams { channels, .. } => format!("streams{}", list(&channels)),
        Route::Poll(Poll { channel, start, timeout, close, .. }) => {
            let timeout = timeout.map(|timeout| timeout.as_millis());
            format!("poll {channel} {} {timeout:?} {close}", begin(start))
        }
        Route::ClientModule { known } => format!("module {known:?}"),
        Route::Echo => "echo".into(),
        Route::Preflight { origin } => format!("preflight {origin:?}"),
    })
}

fn begin(start: Start) -> String {
    match start {
        Start::Live => "live".into(),
        Start::Last(count) => format!("last {count}"),
        Start::Since(position) => format!("since {position}"),
    }
}

fn list(channels: &[(ChannelName, Start)]) -> String {
    channels.iter().map(|(channel, start)| format!(" {channel}: {}", begin(*start))).collect()
}

fn get(target: &str) -> Result<String, HttpError> {
    routed(&format!("GET {target} HTTP/1.1\r\nHost: h"), &[])
}

/// The rest of the path is the channel, decoded; the query is not part of it.
#[test]
fn paths_lead_to_endpoints() {
    assert_eq!(get("/ws/news"), Ok("ws news".into()));
    assert_eq!(get("/ws/a/b:c?x=/sse/y"), Ok("ws a/b:c".into()));
    assert_eq!(get("/ws/a%2Fb%3ac"), Ok("ws a/b:c".into()));
    assert_eq!(get("/sse/news"), Ok("sse news None".into()));
    assert_eq!(get("/echo"), Ok("echo".into()));
    assert_eq!(get("http://other:80/ws/a?b"), Ok("ws a".into()));
    assert_eq!(get("/ws/http://x"), Ok("ws http://x".into()));
    for target in
        ["/", "*", "/wss", "/sse2", "/poll", "/echo/", "/WS/a", "/favicon.ico", "http://h"]
    {
        assert_eq!(get(target), Err(HttpError::NoSuchPath), "{target}");
    }
}

fn commands(target: &str) -> Result<String, HttpError> {
    let offer = "Sec-WebSocket-Protocol: stentor.v1";
    routed(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n{offer}"), &[])
}

/// Queries and the headers that stand for them say where to begin; what is not known is passed over.
#[test]
fn queries_say_where_to_begin() {
    assert_eq!(get("/ws/a?since=1f-2&_=9"), Ok("ws a since 1f-2".into()));
    assert_eq!(get("/sse/a?last=3"), Ok("sse a last 3".into()));
    assert_eq!(get("/sse?channels=a,b&since=b=1f-2"), Ok("streams a: live b: since 1f-2".into()));
    assert_eq!(get("/poll/a/b"), Ok("poll a/b live None false".into()));
    let poll = "poll a since 1f-2 Some(500) false";
    assert_eq!(get("/poll/a?since=1f-2&timeout=0.5"), Ok(poll.into()));
    assert_eq!(commands("/ws"), Ok("commands".into()));
    assert_eq!(commands("/ws/a?since=1f-2"), Ok("commands a: since 1f-2".into()));
    let both = "commands a: last 1 b: since 1f-2";
    assert_eq!(commands("/ws?channels=a,b&since=b=1f-2&last=1"), Ok(both.into()));

    let with = |target: &str, header: &str| {
        routed(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n{header}"), &[])
    };
    let event = "Last-Event-ID: 1f-7";
    assert_eq!(with("/sse/a?last=3", event), Ok("sse a since 1f-7".into()));
    let vector = "Last-Event-ID: b=1f-7";
    let streams = "streams a: live b: since 1f-7";
    assert_eq!(with("/sse?channels=a,b&since=a=1f-1", vector), Ok(streams.into()));
    let tag = "If-None-Match: \"1f-7\"\r\nConnection: close";
    assert_eq!(with("/poll/a?since=1f-1", tag), Ok("poll a since 1f-7 None true".into()));
    assert_eq!(
        with("/stentor.js", "If-None-Match: \"1\""),
        Ok("module Some(\"\\\"1\\\"\")".into())
    );
}

/// What is malformed is refused with what would be right, where the endpoint takes it.
#[test]
fn malformed_queries_are_refused() {
    let refused = |target, error| assert_eq!(get(target), Err(HttpError::Query(error)), "{target}");
    refused("/ws/a?since=x", QueryError::Position("since"));
    refused("/sse/a?since=1f-1&last=1", QueryError::SinceAndLast);
    refused("/sse", QueryError::NoChannels);
    refused("/sse?channels=a,a", QueryError::ChannelTwice);
    refused("/poll/a?timeout=soon", QueryError::Timeout);
    assert_eq!(get("/ws?channels=a"), Err(HttpError::NoSubprotocol));
    assert_eq!(get("/ws/a?timeout=soon"), Ok("ws a".into()));
    let text = HttpError::from(QueryError::TooManyChannels).to_string();
    assert_eq!(text, "channels may name 16 at most; open another connection for more");
    assert_eq!(HttpError::from(QueryError::Last).status().0, 400);
}

/// A channel that cannot be is refused with the reason.
#[test]
fn channels_are_checked() {
    let refused = |target: &str, reason| assert_eq!(get(target), Err(HttpError::Channel(reason)));
    refused("/ws/", NotAChannel::Empty);
    refused("/sse/?a", NotAChannel::Empty);
    refused("/ws/a%20b", NotAChannel::BadByte(b' '));
    refused("/ws/a%zz", NotAChannel::BadEscape);
    refused("/sse/a%2", NotAChannel::BadEscape);
    refused("/ws/%c3%a4", NotAChannel::BadByte(0xc3));
    refused(&format!("/ws/{}", "a".repeat(256)), NotAChannel::TooLong);
}

/// Only GET, and OPTIONS where a page may ask; HTTP/1.0 and a missing Host are told apart.
#[test]
fn methods_versions_and_hosts_are_checked() {
    let post = |path: &str| routed(&format!("POST {path} HTTP/1.1\r\nHost: h"), &[]);
    assert_eq!(post("/ws/a"), Err(HttpError::Method("GET")));
    assert_eq!(post("/echo"), Err(HttpError::Method("GET")));
    assert_eq!(post("/sse/a"), Err(HttpError::Method("GET, OPTIONS")));
    assert_eq!(post("/sse"), Err(HttpError::Method("GET, OPTIONS")));
    assert_eq!(post("/poll/a"), Err(HttpError::Method("GET, OPTIONS")));
    assert_eq!(post("/stentor.js"), Err(HttpError::Method("GET")));
    assert_eq!(post("/other"), Err(HttpError::NoSuchPath));
    assert_eq!(routed("GET /ws/a HTTP/1.0", &[]), Err(HttpError::Version));
    assert_eq!(routed("GET / HTTP/1.0", &[]), Err(HttpError::NoSuchPath));
    assert_eq!(routed("GET /ws/a HTTP/1.1", &[]), Err(HttpError::NoHost));
    let twice = "GET /ws/a HTTP/1.1\r\nHost: h\r\nHost: h";
    assert_eq!(routed(twice, &[]), Err(HttpError::BadHeader("Host")));
}

/// A preflight is granted to pages that may subscribe; without an origin the methods are told.
#[test]
fn a_preflight_is_granted_to_allowed_pages_only() {
    let options =
        |origin: &str| routed(&format!("OPTIONS /sse/a HTTP/1.1\r\nHost: h{origin}"), &[]);
    assert_eq!(options("\r\nOrigin: http://h:8"), Ok("preflight Some(\"http://h:8\")".into()));
    assert_eq!(options("\r\nOrigin: http://x"), Err(HttpError::Origin));
    assert_eq!(options(""), Ok("preflight None".into()));

    let mut out = Vec::new();
    write_preflight(Some("http://h:8"), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 204 No Content\r\n") && text.ends_with("\r\n\r\n"));
    assert!(text.contains("\r\nAccess-Control-Allow-Origin: http://h:8\r\nVary: Origin\r\n"));

    let mut out = Vec::new();
    write_preflight(None, &mut out);
    let plain = "HTTP/1.1 204 No Content\r\nAllow: GET, OPTIONS\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), plain);
}

/// Who may connect: no page, the own host on any port, and what is listed. Nobody else.
#[test]
fn origins_are_checked() {
    let connect = |host: &str, origin: &str, allowed: &[&str]| {
        routed(&format!("GET /ws/a HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}"), allowed)
    };
    let listed = ["https://a.example", "http://B.example:8080", "null"];
    for (host, origin, allowed) in [
        ("h:80", "http://h:9000", &[][..]),
        ("H", "https://h", &[]),
        ("[::1]:80", "http://[::1]:9000", &[]),
        ("127.0.0.1:80", "http://localhost:9000", &[]),
        ("localhost", "http://[::1]:9000", &[]),
        ("h", "https://a.example", &listed),
        ("h", "http://b.example:8080", &listed),
        ("h", "null", &listed),
        ("h", "http://x", &["*"]),
        ("h", "null", &["*"]),
    ] {
        assert_eq!(connect(host, origin, allowed), Ok("ws a".into()), "{host} {origin}");
    }
    for (host, origin, allowed) in [
        ("h", "http://x", &[][..]),
        ("h", "null", &[]),
        ("null", "null", &[]),
        ("h", "h", &[]),
        ("h", "http://hh", &[]),
        ("h", "http://h.x", &[]),
        ("", "http://", &[]),
        ("[::1]:80", "http://[::2]:80", &[]),
        ("127.0.0.1:80", "http://localhost.x", &[]),
        ("h", "http://localhost", &[]),
        ("localhost", "http://h", &[]),
        ("h", "http://a.example", &listed),
        ("h", "https://a.example:444", &listed),
        ("h", "https://a.example.x", &listed),
        ("h", "http://b.example", &listed),
    ] {
        assert_eq!(connect(host, origin, allowed), Err(HttpError::Origin), "{host} {origin}");
    }
    let module = "GET /stentor.js HTTP/1.1\r\nHost: h\r\nOrigin: http://x";
    assert_eq!(routed(module, &[]), Ok("module None".into()), "it is for all");
    let twice = connect("h", "http://h\r\nOrigin: http://x", &[]);
    assert_eq!(twice, Err(HttpError::BadHeader("Origin")));
}

/// A server that is known by certain names takes no page for its own that calls it by another, unless the
/// page is listed: anyone can point a name at it.
#[test]
fn a_rebound_name_is_not_our_own() {
    let origins = Origins::new(["https://app.example"]).unwrap();
    let known = origins.clone().known_as(&["edge.example".to_owned()]);
    for (host, origin, allowed) in [
        ("edge.example:80", "http://edge.example", true),
        ("EDGE.example", "https://edge.EXAMPLE:8443", true),
        ("192.0.2.1:80", "http://192.0.2.1", true),
        ("[2001:db8::1]:80", "http://[2001:db8::1]", true),
        ("localhost:80", "http://127.0.0.1:9000", true),
        ("rebound.example", "https://app.example", true),
        ("rebound.example", "http://rebound.example", false),
        ("edge.example", "http://rebound.example", false),
    ] {
        assert_eq!(known.allow(Some(origin), host), allowed, "{host} {origin}");
    }
    assert!(known.allow(None, "rebound.example"), "no page asks");
    assert!(origins.allow(Some("http://any.example"), "any.example"));
}

/// The target's authority overrides Host, as RFC 9112 §3.2.2 demands.
#[test]
fn an_absolute_target_names_the_host() {
    let head = "GET http://h:1/ws/a HTTP/1.1\r\nHost: x\r\nOrigin: http://";
    assert_eq!(routed(&format!("{head}h"), &[]), Ok("ws a".into()));
    assert_eq!(routed(&format!("{head}x"), &[]), Err(HttpError::Origin));
}

/// A list with a mistake in it is refused when it is read, not ignored when it is used.
#[test]
fn lists_of_origins_are_checked() {
    for origin in
        ["", "example.com", "https://", "https://a/", "https://*.a", "a b://c", "http://:1"]
    {
        assert_eq!(Origins::new([origin]), Err(NotAnOrigin(origin.into())), "{origin:?}");
    }
    assert!(
        Origins::new(["https://a", "http://[::1]:80", "chrome-extension://abc", "null"]).is_ok()
    );
}

/// Without the switch, there is no echo.
#[test]
fn echo_is_served_only_where_enabled() {
    let request = parse(b"GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", 99).unwrap().unwrap().0;
    assert_eq!(route(&request, &Origins::default(), false), Err(HttpError::NoSuchPath));
}
