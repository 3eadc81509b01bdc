//! Every bound of the control listener is reached, and does what it says.

use std::io::{Read, Write};

use super::*;

/// A connection above the limit is told so; when one ends there is a place again.
#[test]
fn the_number_of_connections_is_bounded() {
    let served = serve(Shard::Prompt, Settings { connections_max: 2, ..patient() });
    let health = served.with_head("GET /healthz", "", b"");
    let mut kept = [served.connect(), served.connect()];
    for stream in &mut kept {
        stream.write_all(&health).unwrap();
        assert_eq!(read_reply(stream).unwrap().status, 200);
    }
    let refused = reply(served.send(&health));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.body.contains("all the connections it allows"), "{}", refused.body);
    drop(kept);
    while reply(served.send(&health)).status != 200 {}
}

/// A head that does not come to its end in time costs the peer its connection; so does silence
/// between requests.
#[test]
fn a_slow_head_ends_the_connection() {
    let served = serve(Shard::Prompt, Settings { head_timeout: SHORT, ..patient() });
    let health = served.with_head("GET /healthz", "", b"");
    for sent in ["", "GET /healthz HTTP/1.1\r\nhost: loc"] {
        let mut stream = served.send(sent);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed after {sent:?}");
    }
    // A client that is late itself is closed before it was served, and tries again.
    let mut stream = loop {
        let mut stream = served.connect();
        let _ = stream.write_all(&health);
        if read_reply(&mut stream).is_some_and(|reply| reply.status == 200) {
            break stream;
        }
    };
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed when idle");
}

/// A body that stops coming is answered 408.
#[test]
fn a_slow_body_is_given_up() {
    let served = serve(Shard::Prompt, Settings { body_timeout: SHORT, ..patient() });
    let head = served.with_head("POST /publish/a", "content-length: 10\r\n", b"abc");
    let reply = reply(served.send(head));
    assert_eq!(reply.status, 408);
    assert!(reply.body.contains("nothing came for 30ms"), "{}", reply.body);
    assert!(served.published.lock().unwrap().is_empty());
}

/// A head that does not fit into the buffer is refused.
#[test]
fn a_head_has_a_limit() {
    let served = serve(Shard::Prompt, patient());
    let header = format!("connection: close\r\nx: {}\r\n", "x".repeat(200_000));
    let mut stream = served.connect();
    // The server may close before it was sent everything.
    let _ = stream.write_all(&served.with_head("GET /healthz", &header, b""));
    let mut answer = [0; 12];
    let told = stream.read_exact(&mut answer).is_ok();
    assert!(!told || &answer == b"HTTP/1.1 431", "{}", String::from_utf8_lossy(&answer));
    assert_eq!(served.ask("GET /healthz").status, 200, "others are not concerned");
}

/// Payloads that await their answers take of one memory, and give it back.
#[test]
fn payloads_share_a_bounded_memory() {
    let settings = Settings { payload_memory_max: 1000, ..patient() };
    let served = serve(Shard::Gathers(2), settings);
    let first = served.send_post("/publish/a", vec![b'x'; 600]);
    served.until_waiting(1);
    let refused = served.post("/publish/a", vec![b'x'; 600]);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("the memory for payloads"), "{}", refused.body);
    assert_eq!(served.post("/publish/a", vec![b'x'; 400]).status, 200);
    assert_eq!(reply(first).status, 200);
    let again = [600, 400].map(|bytes| served.send_post("/publish/a", vec![b'x'; bytes]));
    assert_eq!(again.map(|stream| reply(stream).status), [200, 200]);
}

/// A refused upload is read to its end, so that its publisher gets the answer and no reset.
///
/// Method: the rest is sent only after the answer came; a server that had closed would answer it
/// with a reset.
#[test]
fn a_refused_upload_still_hears_why() {
    const LENGTH: usize = 900_000;
    let served = serve(Shard::Prompt, Settings { publication_max: 10, ..patient() });
    let (body, headers) = (vec![b'x'; LENGTH], format!("content-length: {LENGTH}\r\n"));
    let (begin, rest) = body.split_at(1000);
    for path in ["/publish/a", "/publish/a?lines", "/publish/%00", "/nowhere"] {
        let headers = format!("connection: close\r\n{headers}");
        let mut stream = served.send(served.with_head(&format!("POST {path}"), &headers, begin));
        let reply = read_reply(&mut stream).unwrap();
        assert!([400, 404, 413].contains(&reply.status), "{path}: {reply:?}");
        stream.write_all(rest).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{path}: a clean end");
    }
}

/// A client that asks before it sends is refused without being told to send.
#[test]
fn an_upload_that_asks_first_is_refused_first() {
    let served = serve(Shard::Prompt, Settings { publication_max: 10, ..patient() });
    let headers = "expect: 100-continue\r\ncontent-length: 11\r\n";
    let asked = served.send(served.with_head("POST /publish/a", headers, b""));
    assert_eq!(reply(asked).status, 413);
}

/// A stopping plane ends idle connections and lets what is under way come to its end.
#[test]
fn a_stop_lets_requests_end() {
    let settings = Settings { stop_timeout: Duration::from_secs(60), ..patient() };
    let mut served = serve(Shard::Gathers(3), settings);
    let mut idle = served.send(served.with_head("GET /healthz", "", b""));
    read_reply(&mut idle).unwrap();
    let single = served.send_post("/publish/a", "1");
    let head = served.with_head("POST /publish/a?lines", "content-length: 4\r\n", b"2\n");
    let mut lines = served.send(head);
    served.until_waiting(2);
    drop(served.stop.take());
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    lines.write_all(b"3\n").unwrap();
    assert_eq!([reply(single).status, reply(lines).status], [200, 200]);
}
