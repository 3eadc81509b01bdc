//! What is wrong is refused with what would be right, and disturbs nobody else.

use crate::support::{
    Answer, Io, Kind, Publisher, Received, Server, Subscriber, Wire, ask, masked, post, upgrade,
};

on_both_kernels!(a_bad_request_gets_its_status, a_bad_frame_gets_its_close_code);

/// Each bad request is answered with its status, its headers and one line of help, whole, before
/// the connection ends. A neighbour's publications arrive throughout.
fn a_bad_request_gets_its_status(io: Io) {
    let server =
        Server::start(io, &["--head-max", "1KiB", "--allow-origin", "https://friend.example"]);
    let mut neighbour = Neighbour::of(&server);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
    let long = "x".repeat(1024);
    let headers = |count: usize| "A: b\r\n".repeat(count);
    let cases = [
        (400, "nonsense\r\n".to_owned()),
        (400, "GET /sse/news HTTP/1.1\r\nHost: a\r\nno colon\r\n".to_owned()),
        (400, "GET /sse/news HTTP/1.1\r\n".to_owned()),
        (400, "GET /sse/news HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned()),
        (400, "GET /sse/news HTTP/1.1\nHost: a\n".to_owned()),
        (400, get("/sse/")),
        (400, get("/ws/")),
        (400, get("/sse/two%20words")),
        (400, get("/sse/caf%C3%A9")),
        (400, get("/sse/%00")),
        (400, get(&format!("/sse/{}", "c".repeat(256)))),
        (403, get("/sse/news") + "Origin: https://foe.example\r\n"),
        (403, upgrade("/ws/news") + "Origin: https://foe.example\r\n"),
        (404, get("/")),
        (404, get("/echo")),
        (404, get("/publish/news")),
        (404, get("/poll")),
        (400, get("/sse")),
        (400, get("/sse?channels=news,news")),
        (400, get("/sse/news") + "Last-Event-ID: 42\r\n"),
        (400, get("/poll/news?timeout=soon")),
        (400, get("/poll/news") + "If-None-Match: *\r\n"),
        (400, upgrade("/ws?channels=news")),
        (405, "POST /sse/news HTTP/1.1\r\nHost: a\r\n".to_owned()),
        (405, "DELETE /ws/news HTTP/1.1\r\nHost: a\r\n".to_owned()),
        (426, get("/ws/news")),
        (426, upgrade("/ws/news").replace("Version: 13", "Version: 8")),
        (400, upgrade("/ws/news").replace("dGhl", "")),
        (400, upgrade("/ws/news").replace("Connection: Upgrade", "Connection: close")),
        (431, get("/sse/news") + &format!("X: {long}\r\n")),
        (431, get("/sse/news") + &headers(64)),
        (505, "GET /sse/news HTTP/1.0\r\nHost: a\r\n".to_owned()),
    ];
    for (status, head) in cases {
        let Answer { head: answer, body } = Wire::request(server.subscribers, &head).answer();
        let told = String::from_utf8(body).expect("text");
        assert_eq!(answer.status, status, "{head} {told}");
        assert_eq!(answer.get("Content-Type").as_deref(), Some("text/plain; charset=utf-8"));
        assert!(told.ends_with('\n') && told.lines().count() == 1 && told.len() > 10, "{told}");
        let allow = match head.get(..6) {
            Some("POST /") => Some("GET, OPTIONS"),
            Some("DELETE") => Some("GET"),
            _ => None,
        };
        assert_eq!(answer.get("Allow").as_deref(), allow, "{head}");
        let version = (status == 426).then_some("13");
        assert_eq!(answer.get("Sec-WebSocket-Version").as_deref(), version, "{head}");
        let connection = if status == 426 { "close, Upgrade" } else { "close" };
        assert_eq!(answer.get("Connection").as_deref(), Some(connection));
        neighbour.hears_the_next();
    }
    for origin in ["https://friend.example", "http://localhost:1234"] {
        let head = get("/sse/news") + &format!("Origin: {origin}\r\n");
        let answer = Wire::request(server.subscribers, &head).head();
        assert_eq!(
            (answer.status, answer.get("Access-Control-Allow-Origin").as_deref()),
            (200, Some(origin))
        );
    }
    server.stop();
}

/// Each way to break RFC 6455 ends the connection with its close code, after what the subscriber
/// was owed. A neighbour's publications arrive throughout.
fn a_bad_frame_gets_its_close_code(io: Io) {
    let server = Server::start(io, &["--echo", "--frame-max", "1000B", "--message-max", "1500B"]);
    let mut neighbour = Neighbour::of(&server);
    let (text, binary, ping, close) = (0x81, 0x82, 0x89, 0x88);
    let fragmented = [masked(0x01, &[b'a'; 1000]), masked(0x80, &[b'a'; 501])].concat();
    let cases: &[(u16, &str, Vec<u8>)] = &[
        (1002, "/ws/news", vec![text, 1, b'x']),
        (1002, "/ws/news", masked(0xc1, b"reserved bit")),
        (1002, "/ws/news", masked(0x83, b"reserved opcode")),
        (1002, "/ws/news", masked(0x09, b"a fragment of a ping")),
        (1002, "/ws/news", masked(ping, &[0; 126])),
        (1002, "/ws/news", masked(close, &[3])),
        (1002, "/ws/news", masked(close, &1005u16.to_be_bytes())),
        (1002, "/echo", masked(0x80, b"continues nothing")),
        (1007, "/echo", masked(text, b"\xff")),
        (1007, "/ws/news", masked(close, b"\x03\xe8\xff")),
        (1008, "/ws/news", masked(text, b"subscribers only listen")),
        (1008, "/ws/news", masked(binary, b"")),
        (1009, "/echo", masked(binary, &[0; 1001])),
        (1009, "/echo", fragmented),
        (1000, "/ws/news", masked(close, &1000u16.to_be_bytes())),
        (4321, "/ws/news", masked(close, &4321u16.to_be_bytes())),
    ];
    for (code, path, bytes) in cases {
        let mut wire = Wire::request(server.subscribers, &upgrade(path));
        assert_eq!(wire.head().status, 101);
        wire.send(bytes);
        let rest = wire.rest();
        let told = String::from_utf8_lossy(&rest[4..]);
        assert_eq!((rest[0], usize::from(rest[1])), (0x88, rest.len() - 2), "{code} {rest:?}");
        assert_eq!(u16::from_be_bytes([rest[2], rest[3]]), *code, "{path} {bytes:?} {told}");
        neighbour.hears_the_next();
    }
    server.stop();
}

/// A publisher's bad requests are refused with their status, and publish nothing.
#[test]
fn a_bad_publication_gets_its_status() {
    let server = Server::start(Io::Uring, &["--publication-max", "100B"]);
    let mut neighbour = Neighbour::of(&server);
    let local = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n");
    let length = "Content-Length: 101\r\n";
    let cases = [
        (400, "nonsense\r\n".to_owned(), None),
        (400, local("POST /publish/two%20words") + "Content-Length: 0\r\n", None),
        (400, local("POST /publish/") + "Content-Length: 0\r\n", None),
        (400, local("POST /publish/news?line") + "Content-Length: 0\r\n", None),
        (
            403,
            local("POST /publish/news") + "Origin: https://foe.example\r\nContent-Length: 0\r\n",
            None,
        ),
        (404, local("GET /nowhere"), None),
        (405, local("GET /publish/news"), Some("POST")),
        (405, local("POST /metrics") + "Content-Length: 0\r\n", Some("GET,HEAD")),
        (413, local("POST /publish/news") + length, None),
        (
            421,
            "POST /publish/news HTTP/1.1\r\nHost: foe.example\r\nContent-Length: 0\r\n".to_owned(),
            None,
        ),
    ];
    for (status, head, allow) in cases {
        let answer =
            Wire::request(server.control, &(head.clone() + "Connection: close\r\n")).head();
        assert_eq!(answer.status, status, "{head}");
        assert_eq!(answer.get("Allow").as_deref(), allow, "{head}");
        neighbour.hears_the_next();
    }
    let chunked =
        local("POST /publish/news") + "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let mut wire = Wire::request(server.control, &chunked);
    wire.send(b"64\r\n");
    wire.send(&[b'x'; 100]);
    wire.send(b"\r\n1\r\ny\r\n0\r\n\r\n");
    assert_eq!(wire.head().status, 413);
    neighbour.hears_the_next();
    assert_eq!(server.stat("/publications"), neighbour.heard);
    server.stop();
}

/// What a peer sends in single bytes, or leaves half done, is waited for and harms nobody.
#[test]
fn half_said_things_harm_nobody() {
    let server = Server::start(Io::Uring, &[]);
    let mut neighbour = Neighbour::of(&server);
    let mut slow = Wire::connect(server.subscribers);
    for byte in format!("{}\r\n", upgrade("/ws/news")).bytes() {
        slow.send(&[byte]);
    }
    assert_eq!(slow.head().status, 101);
    let mut half_head = Wire::connect(server.subscribers);
    half_head.send(b"GET /sse/news HTTP/1.1\r\nHo");
    let mut half_frame = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    half_frame.wire.send(&masked(0x89, b"a ping that never ends")[..10]);
    let half_body = [post("/publish/news", 100), b"half".to_vec()].concat();
    let mut publishing = Wire::connect(server.control);
    publishing.send(&half_body);
    neighbour.hears_the_next();
    drop((half_head, half_frame, publishing));
    neighbour.hears_the_next();
    assert_eq!(slow.exactly(2), [0x81, 1]);
    assert_eq!(slow.exactly(1), b"0");
    server.await_stat("/connections/total", 3);
    server.stop();
}

/// Subscribers of both transports to the channel `news`, with a publisher of their own.
struct Neighbour {
    publisher: Publisher,
    subscribers: [Subscriber; 2],
    heard: u64,
}

impl Neighbour {
    fn of(server: &Server) -> Self {
        let join = |kind| Subscriber::join(server.subscribers, kind, "news");
        Neighbour { publisher: Publisher::of(server), subscribers: Kind::BOTH.map(join), heard: 0 }
    }

    /// Publishes the next number, which must be the next that both subscribers hear.
    #[track_caller]
    fn hears_the_next(&mut self) {
        let number = self.heard.to_string().into_bytes();
        self.publisher.publish("news", &number);
        for subscriber in &mut self.subscribers {
            let Received::Publication { payload, .. } = subscriber.next() else {
                panic!("the neighbour's connection ended");
            };
            assert_eq!(payload, number);
        }
        self.heard += 1;
    }
}

/// The control listener's own protections hold for its page, too: no other name, no other origin.
#[test]
fn the_page_is_shown_to_its_own_names_only() {
    let server = Server::start(Io::Uring, &["--control-host", "stentor.example"]);
    for (host, status) in
        [("localhost", 200), ("127.0.0.1:1", 200), ("stentor.example", 200), ("foe.example", 421)]
    {
        let answer = ask(server.control, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n"));
        assert_eq!(answer.head.status, status, "{host}");
    }
    server.stop();
}
