use super::*;
use crate::decoder::{
    Stream,
    tests::{CHUNKED, Heard, SWITCHING, UNTIL_CLOSE, read},
};

fn read_head(transport: Transport, head: impl AsRef<[u8]>) -> (Vec<Heard>, Option<Fault>) {
    read(&mut Stream::new(transport), [head.as_ref()])
}

fn changed(head: &[u8], from: &str, to: &str) -> String {
    let head = str::from_utf8(head).unwrap();
    assert!(head.contains(from));
    head.replace(from, to)
}

fn refused(status: u16, retry_after: Option<u32>, reason: &str) -> (Vec<Heard>, Option<Fault>) {
    (vec![], Some(Fault::Refused { status, retry_after, reason: reason.into() }))
}

/// A granted handshake is told, however its head is spelled, after any interim answers.
#[test]
fn a_grant_is_told() {
    let spelled = changed(SWITCHING, "Upgrade: websocket", "UPGRADE:  WebSocket ");
    let listed = changed(SWITCHING, "Connection: Upgrade", "Connection: keep-alive, upgrade");
    let typed = changed(UNTIL_CLOSE, "event-stream", "Event-Stream ; charset=utf-8");
    let uncoded = changed(CHUNKED, "chunked", "Chunked\r\nContent-Encoding: identity");
    let interim = |head: &[u8]| [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", head].concat();
    for (transport, head) in [
        (Transport::WebSocket, SWITCHING.to_vec()),
        (Transport::WebSocket, spelled.into()),
        (Transport::WebSocket, listed.into()),
        (Transport::WebSocket, interim(SWITCHING)),
        (Transport::Sse, UNTIL_CLOSE.to_vec()),
        (Transport::Sse, typed.into()),
        (Transport::Sse, uncoded.into()),
        (Transport::Sse, interim(CHUNKED)),
    ] {
        let granted = (vec![Heard::Established], None);
        assert_eq!(read_head(transport, &head), granted);
        assert_eq!(read(&mut Stream::new(transport), head.chunks(1)), granted);
    }
}

/// An answer that only seems to grant the request is a fault with a name.
#[test]
fn every_violation_is_named() {
    use Transport::{Sse, WebSocket};
    let cases = [
        (WebSocket, changed(SWITCHING, "Upgrade: w", "X: w"), Fault::UpgradeMissing),
        (WebSocket, changed(SWITCHING, "Connection: Upgrade\r\n", ""), Fault::ConnectionMissing),
        (WebSocket, changed(SWITCHING, "s3pP", "S3pP"), Fault::WrongAccept),
        (WebSocket, changed(SWITCHING, "Accept", "Other"), Fault::WrongAccept),
        (
            WebSocket,
            changed(SWITCHING, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
            Fault::ExtensionNotOffered,
        ),
        (Sse, changed(UNTIL_CLOSE, "text/event-stream", "text/html"), Fault::NotAnEventStream),
        (Sse, changed(UNTIL_CLOSE, "Content-Type", "X"), Fault::NotAnEventStream),
        (Sse, changed(CHUNKED, "Transfer", "Content"), Fault::ContentCoded),
        (Sse, changed(CHUNKED, "chunked", "gzip, chunked"), Fault::TransferCoding),
        (Sse, "HTTP/2 200\r\n".into(), Fault::MalformedHead(httparse::Error::Version)),
        (WebSocket, "SSH-2.0".into(), Fault::MalformedHead(httparse::Error::Version)),
    ];
    for (transport, head, fault) in cases {
        assert_eq!(read_head(transport, &head), (vec![], Some(fault)), "{head}");
    }
}

/// A refusal carries the status, the seconds to wait and the reason, whichever way it is given.
#[test]
fn a_refusal_says_why() {
    let full = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Type: text/plain\r\n\
                Content-Length: 12\r\n\r\nfull;\nwait.\n";
    let html = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>x";
    let dated = "HTTP/1.1 429 Too Many\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n";
    for transport in [Transport::WebSocket, Transport::Sse] {
        assert_eq!(read_head(transport, full), refused(503, Some(7), "full; wait."));
        let cut = read(&mut Stream::new(transport), full.as_bytes().chunks(1));
        assert_eq!(cut, refused(503, Some(7), "full; wait."));
        assert_eq!(read_head(transport, html), refused(403, None, "Forbidden"));
        assert_eq!(read_head(transport, dated), refused(429, None, "Too Many"));
    }
    assert_eq!(read_head(Transport::WebSocket, UNTIL_CLOSE), refused(200, None, "OK"));
    assert_eq!(read_head(Transport::Sse, SWITCHING), refused(101, None, "Switching Protocols"));
    assert_eq!(read_head(Transport::Sse, "HTTP/1.1 204\r\n\r\n"), refused(204, None, ""));
}

/// A long reason is cut, and told as soon as that much of it is there.
#[test]
fn a_long_reason_is_cut() {
    let head = "HTTP/1.1 400 Bad\r\nContent-Type: text/plain\r\nContent-Length: 4000000000\r\n\r\n";
    let start = "x".repeat(REASON_BYTES_MAX - 1);
    let mut stream = Stream::new(Transport::Sse);
    assert_eq!(read(&mut stream, [head.as_bytes(), start.as_bytes()]), (vec![], None));
    assert_eq!(read(&mut stream, [&b"x"[..]]), refused(400, None, &format!("{start}x")));
}

/// A head may take all of its bytes and headers, and not one more.
#[test]
fn the_longest_head_is_taken_and_no_longer_one() {
    let padded = |len: usize| {
        let padding = "x".repeat(len - UNTIL_CLOSE.len() - "A: \r\n".len());
        changed(UNTIL_CLOSE, "\r\n\r\n", &format!("\r\nA: {padding}\r\n\r\n"))
    };
    let (longest, too_long) = (padded(HEAD_BYTES_MAX), padded(HEAD_BYTES_MAX + 1));
    let with_headers = |count: usize| {
        changed(UNTIL_CLOSE, "\r\n\r\n", &format!("\r\n{}\r\n", "A: b\r\n".repeat(count - 1)))
    };
    for piece_len in [1000, usize::MAX] {
        let read_head = |head: String| {
            read(&mut Stream::new(Transport::Sse), head.as_bytes().chunks(piece_len))
        };
        let granted = (vec![Heard::Established], None);
        assert_eq!(read_head(longest.clone()), granted);
        assert_eq!(read_head(too_long.clone()), (vec![], Some(Fault::HeadTooLarge)));
        assert_eq!(read_head(with_headers(HEADERS_MAX)), granted);
        let too_many = (vec![], Some(Fault::TooManyHeaders));
        assert_eq!(read_head(with_headers(HEADERS_MAX + 1)), too_many);
    }
}
