use proptest::prelude::*;

use super::*;

const HEAD: &[u8] =
    b"GET /ws/a?b HTTP/1.1\r\nHost: h:1\r\nX-A: no\r\nConnection: a, B\r\nconnection: c\r\n\r\n";

fn error(buf: &[u8]) -> HttpError {
    parse(buf, 8192).unwrap_err()
}

/// Wherever the reads cut a head, it is incomplete until its last byte and then says the same,
/// whatever follows it.
#[test]
fn a_head_is_whole_at_its_last_byte() {
    for end in 0..HEAD.len() {
        assert!(parse(&HEAD[..end], 8192).unwrap().is_none(), "{end}");
    }
    for behind in [&b""[..], b"x", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let bytes = [HEAD, behind].concat();
        let (request, len) = parse(&bytes, 8192).unwrap().unwrap();
        assert_eq!((request.method, request.target, len), ("GET", "/ws/a?b", HEAD.len()));
        assert_eq!(request.minor_version, 1);
        assert_eq!(request.only("host"), Ok(Some("h:1")));
        assert_eq!(request.only("none"), Ok(None));
        assert_eq!(request.only("Connection"), Err(HttpError::BadHeader("Connection")));
        let tokens = ["a", "b", "C", "d", "a, B", ""];
        let found = tokens.map(|token| request.has_token("Connection", token));
        assert_eq!(found, [true, true, true, false, false, false]);
    }
}

/// The limit counts the bytes of the head alone, and holds for heads that do not end.
#[test]
fn a_head_has_at_most_as_many_bytes_as_allowed() {
    let len = HEAD.len();
    assert_eq!(parse(HEAD, len).unwrap().unwrap().1, len);
    let behind = [HEAD, &[b'x'; 1000]].concat();
    assert_eq!(parse(&behind, len).unwrap().unwrap().1, len);
    assert_eq!(parse(HEAD, len - 1).unwrap_err(), HttpError::HeadTooLarge(len - 1));
    assert!(parse(&HEAD[..len - 1], len).unwrap().is_none());
    assert_eq!(parse(&HEAD[..len - 1], len - 1).unwrap_err(), HttpError::HeadTooLarge(len - 1));
}

/// As many headers as allowed are parsed; one more is refused.
#[test]
fn headers_are_counted() {
    let with = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count)).into_bytes();
    assert!(parse(&with(REQUEST_HEADERS_MAX), 8192).unwrap().is_some());
    assert_eq!(error(&with(REQUEST_HEADERS_MAX + 1)), HttpError::TooManyHeaders);
}

/// What is not HTTP/1.1 is refused, and as soon as it shows.
#[test]
fn what_is_not_a_request_is_refused() {
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00"[..], 400),
        (b"hello\r\n", 400),
        (b"GET  / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n", 400),
        (b"GET / HTTP/1.1\r\na : b\r\n", 400),
        (b"GET / HTTP/1.1\r\na: b\r\n c\r\n", 400),
        (b"GET / HTTP/1.1\r\na: \0\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\n\n\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/3\r\n", 505),
    ] {
        assert_eq!(error(bytes).status().0, status, "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(parse(b"GET / HTTP/1.0\r\n\r\n", 99).unwrap().unwrap().0.minor_version, 0);
    assert_eq!(parse(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", 99).unwrap().unwrap().1, 22);
}

/// Every answer is one complete response that ends the connection, with one line of text.
#[test]
fn each_error_is_a_whole_answer() {
    let retry_after = Duration::from_secs(7);
    for (error, status, extra) in [
        (HttpError::Malformed("x"), "400 Bad Request", ""),
        (HttpError::NoHost, "400 Bad Request", ""),
        (HttpError::BadHeader("Host"), "400 Bad Request", ""),
        (HttpError::Channel(NotAChannel::Empty), "400 Bad Request", ""),
        (HttpError::NoConnectionUpgrade, "400 Bad Request", ""),
        (HttpError::WebSocketKey, "400 Bad Request", ""),
        (HttpError::Origin, "403 Forbidden", ""),
        (HttpError::NoSuchPath, "404 Not Found", ""),
        (HttpError::Method("GET"), "405 Method Not Allowed", "Allow: GET\r\n"),
        (HttpError::Timeout, "408 Request Timeout", ""),
        (HttpError::NotAnUpgrade, "426 Upgrade Required", UPGRADE),
        (HttpError::WebSocketVersion, "426 Upgrade Required", UPGRADE),
        (HttpError::HeadTooLarge(9), "431 Request Header Fields Too Large", ""),
        (HttpError::TooManyHeaders, "431 Request Header Fields Too Large", ""),
        (HttpError::Overloaded { retry_after }, "503 Service Unavailable", "Retry-After: 7\r\n"),
        (HttpError::Draining { retry_after }, "503 Service Unavailable", "Retry-After: 7\r\n"),
        (HttpError::Version, "505 HTTP Version Not Supported", ""),
    ] {
        let mut out = Vec::new();
        error.write(&mut out);
        let body = format!("{error}\n");
        let connection = if extra == UPGRADE { "close, Upgrade" } else { "close" };
        let expected = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n{extra}\r\n{body}",
            body.len()
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(body.lines().count(), 1);
    }
}

const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// A refusal tells its reader what to do, by the name of the thing to do it with.
#[test]
fn errors_name_the_remedy() {
    assert!(HttpError::Origin.to_string().contains("--allow-origin"));
    let hint = HttpError::NoSuchPath.to_string();
    assert!(hint.contains("/ws/{channel}") && hint.contains("/sse/{channel}"), "{hint}");
    let wait = HttpError::Overloaded { retry_after: Duration::from_secs(7) }.to_string();
    assert_eq!(wait, "the server is full; try again in 7 s, or elsewhere");
    assert!(HttpError::Channel(NotAChannel::BadByte(0x20)).to_string().contains("0x20"));
}

fn header() -> impl Strategy<Value = (String, String)> {
    ("[a-zA-Z][a-zA-Z0-9-]{0,8}", "[!-~]([ -~]{0,8}[!-~])?")
}

proptest! {
    /// Generated heads come back as they were made, cut nowhere earlier.
    #[test]
    fn a_generated_head_is_read_back(
        target in "/[!-~]{0,40}",
        headers in prop::collection::vec(header(), 0..20),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
        let bytes = [head.as_bytes(), &behind].concat();
        let (request, len) = parse(&bytes, 8192).unwrap().unwrap();
        prop_assert_eq!((request.target, len), (&target[..], head.len()));
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let found: Vec<_> = request.headers[..request.header_count].iter()
            .map(|header| (header.name.to_string(), text(header.value)))
            .collect();
        prop_assert_eq!(found, headers);
        for end in 0..len {
            prop_assert!(parse(&bytes[..end], 8192).unwrap().is_none());
        }
    }

    /// Whatever comes is answered with a value, and a head never ends behind its bytes.
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((_, len))) = parse(&bytes, 100) {
            prop_assert!(len <= bytes.len() && len <= 100);
        }
    }
}
