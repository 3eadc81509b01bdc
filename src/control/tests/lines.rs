//! Streams of lines: none lost, none out of order, and a shard that is slow slows the publisher.

use std::{net::TcpStream, thread};

use super::*;

/// Every line but the empty ones is a publication, in order, whatever ends it.
#[test]
fn every_line_is_a_publication() {
    let served = serve(Shard::Prompt, patient());
    let reply = served.post("/publish/a?lines", "one 1\r\n\n\r\ntwo\r2\n\r\r\n 3");
    let expected = "{\"channel\":\"a\",\"published\":4,\"first\":\"e-1\",\"last\":\"e-3\"}\n";
    assert_eq!((reply.status, reply.body.as_str()), (200, expected));
    assert_eq!(served.payloads("a"), [&b"one 1"[..], b"two\r2", b"\r", b" 3"]);

    let reply = served.post("/publish/b?lines", "\n\n");
    let expected = "{\"channel\":\"b\",\"published\":0,\"first\":null,\"last\":null}\n";
    assert_eq!((reply.status, reply.body.as_str()), (200, expected));
}

/// A line above the limit ends the stream, and the answer says which line it was and what went
/// out before it. One at the limit is fine, whatever ends it.
#[test]
fn a_line_that_is_too_long_is_named() {
    let served = serve(Shard::Prompt, Settings { publication_max: 8, ..patient() });
    let reply = served.post("/publish/a?lines", "12345678\r\n\n87654321\n123456789\n5");
    let expected = "{\"channel\":\"a\",\"published\":2,\"first\":\"e-12345678\",\
                    \"last\":\"e-87654321\",\
                    \"error\":\"line 4 is longer than 8 bytes, the limit here\"}\n";
    assert_eq!((reply.status, reply.body.as_str()), (413, expected));
    assert_eq!(served.post("/publish/b?lines", "12345678").status, 200);
    assert_eq!(served.post("/publish/b?lines", "123456789").status, 413);
}

/// Nothing is lost or reordered when the shard has hardly any room and is slow.
///
/// Method: three streams of 2000 lines each, and as many single publications in between as the
/// shard has room for, to a shard of 1 to 8 places that answers one publication per turn.
#[test]
fn streams_wait_for_a_slow_shard() {
    const LINES: usize = 2000;
    for capacity in [1, 2, 8] {
        let served = serve_shards(&[Shard::Slow], capacity, patient());
        let lines: Vec<Vec<u8>> = (1..=LINES).map(|n| format!("line {n}").into_bytes()).collect();
        let body = lines.join(&b'\n');
        thread::scope(|scope| {
            for channel in ["a", "b", "c"] {
                let (served, lines, body) = (&served, &lines, &body);
                scope.spawn(move || {
                    let reply = served.post(&format!("/publish/{channel}?lines"), body);
                    let last = "\"published\":2000,\"first\":\"e-1\",\"last\":\"e-2000\"}";
                    assert!(reply.body.contains(last), "capacity {capacity}: {reply:?}");
                    assert_eq!(served.payloads(channel), *lines, "capacity {capacity}");
                });
            }
            let mut taken = 0;
            for _ in 0..100 {
                taken += usize::from(served.post("/publish/single", "1").status == 200);
            }
            assert_eq!(served.payloads("single").len(), taken, "capacity {capacity}");
        });
    }
}

/// However many streams there are, half of a shard's places is left to single publications, and
/// one stream takes no more than a quarter.
#[test]
fn streams_leave_room_for_others() {
    let settings = Settings { scrape_timeout: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Stuck], 16, settings);
    let body = "x\n".repeat(100);
    let mut streams = vec![served.send_post("/publish/a?lines", &body)];
    served.until_waiting(4);
    streams.extend((0..3).map(|_| served.send_post("/publish/a?lines", &body)));
    served.until_waiting(8);
    let singles: Vec<TcpStream> = (0..8).map(|_| served.send_post("/publish/a", "x")).collect();
    served.until_waiting(16);
    assert_eq!(served.post("/publish/a", "x").status, 503);
    let metrics = served.ask("GET /metrics").body;
    assert!(metrics.contains("\nstentor_publications_refused_total 1\n"), "all but one had room");
    drop((streams, singles));
}

/// More streams than allowed are refused; a place is free again when a stream has ended.
#[test]
fn the_number_of_streams_is_bounded() {
    let served = serve(Shard::Prompt, Settings { line_streams_max: 1, ..patient() });
    let head = served.with_head("POST /publish/a?lines", "content-length: 4\r\n", b"1\n");
    let mut first = served.send(head);
    served.until_published(1);
    let refused = served.post("/publish/b?lines", "1\n");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("\"published\":0"), "{}", refused.body);
    first.write_all(b"2\n").unwrap();
    assert_eq!(reply(first).status, 200);
    assert_eq!(served.post("/publish/b?lines", "1\n").status, 200);
}

/// A stream that is cut short by a drain, by silence or by a stuck shard says how far it came.
#[test]
fn a_stream_that_ends_early_says_how_far_it_came() {
    let head = "transfer-encoding: chunked\r\n";
    let served = serve(Shard::Prompt, patient());
    let bytes = served.with_head("POST /publish/a?lines", head, b"6\r\n1\n2\n3\n\r\n");
    let stream = served.send(bytes);
    served.until_published(3);
    served.draining.send_replace(true);
    let drained = reply(stream);
    assert_eq!(drained.status, 503);
    assert!(drained.body.contains("\"published\":3,\"first\":\"e-1\",\"last\":\"e-3\",\"error\""));

    let served = serve(Shard::Prompt, Settings { lines_timeout: SHORT, ..patient() });
    let bytes = served.with_head("POST /publish/a?lines", head, b"3\r\n1\n2\r\n");
    let silent = reply(served.send(bytes));
    assert_eq!(silent.status, 408);
    assert!(silent.body.contains("\"published\":1,"), "{}", silent.body);

    let stuck = Settings { answer_timeout: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Stuck], 4, stuck);
    let stuck = served.post("/publish/a?lines", "1\n2\n3\n");
    assert_eq!(stuck.status, 504);
    assert!(stuck.body.contains("\"published\":0,"), "{}", stuck.body);
}
