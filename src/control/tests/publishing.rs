//! Single publications: each gets its own answer, or one that says why not.

use std::{io::Write, net::TcpStream, time::Duration};

use super::*;
use crate::ids::ChannelName;

/// However many publications are in flight and in whatever order shards answer, each publisher
/// hears of its own.
///
/// Method: 400 requests on as many connections to ten channels on three shards; each shard answers
/// only when it has all of its own, in an odd order. The answer is a function of the payload.
#[test]
fn every_publisher_hears_of_its_own_publication() {
    const PUBLICATIONS: usize = 400;
    let channel_of = |n: usize| format!("room/{}", n % 10);
    let mut of_shard = [0; 3];
    for n in 0..PUBLICATIONS {
        let home = ChannelName::new(&channel_of(n)).unwrap().bucket().home(3);
        of_shard[usize::from(home.0)] += 1;
    }
    let served = serve_shards(&of_shard.map(Shard::Gathers), PUBLICATIONS, patient());
    let send = |n| served.send_post(&format!("/publish/{}", channel_of(n)), format!("n {n}"));
    let streams: Vec<TcpStream> = (0..PUBLICATIONS).map(send).collect();
    for (n, stream) in streams.into_iter().enumerate() {
        let reply = reply(stream);
        let (channel, subscribers) = (channel_of(n), n + 1);
        let expected = format!(
            "{{\"channel\":\"{channel}\",\"position\":\"e-{n}\",\"subscribers\":{subscribers}}}\n"
        );
        assert_eq!((reply.status, reply.body), (200, expected));
    }
}

/// One connection publishes again and again.
#[test]
fn a_connection_is_kept() {
    let served = serve(Shard::Prompt, patient());
    let mut stream = served.connect();
    for n in 0..50 {
        let body = format!("{n}");
        let headers = format!("content-length: {}\r\n", body.len());
        stream.write_all(&served.with_head("POST /publish/a", &headers, body.as_bytes())).unwrap();
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(reply.body.contains(&format!("\"e-{n}\"")), "{n}: {reply:?}");
    }
}

/// When every place of a shard is taken, a publication is refused at once and comes back later.
#[test]
fn a_full_queue_refuses() {
    let retry_after = Duration::from_millis(2500);
    let settings = Settings { retry_after, scrape_timeout: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Stuck], 2, settings);
    let _waiting: Vec<TcpStream> = (0..2).map(|_| served.send_post("/publish/a", "x")).collect();
    served.until_waiting(2);
    let reply = served.post("/publish/a", "x");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("3")), "{reply:?}");
    let metrics = served.ask("GET /metrics").body;
    assert!(metrics.contains("\nstentor_publications_refused_total 1\n"), "{metrics}");
}

/// A publisher that leaves does not take its shard's place with it.
#[test]
fn a_place_is_free_again_although_its_publisher_left() {
    let served = serve_shards(&[Shard::Gathers(2)], 2, patient());
    drop(served.send_post("/publish/a", "1"));
    served.until_waiting(1);
    assert_eq!(served.post("/publish/a", "2").status, 200);
    let both = [served.send_post("/publish/a", "3"), served.send_post("/publish/a", "4")];
    assert_eq!(both.map(|stream| reply(stream).status), [200, 200]);
}

/// A shard that does not answer is told of in bounded time.
#[test]
fn a_stuck_shard_is_named_as_such() {
    let served = serve(Shard::Stuck, Settings { answer_timeout: SHORT, ..patient() });
    let reply = served.post("/publish/a", "x");
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("may still go out"), "{}", reply.body);
}

/// A payload may be as long as the limit, and not a byte longer; one that announces more is
/// refused before it is sent.
#[test]
fn a_payload_is_at_most_as_long_as_the_limit() {
    let served = serve(Shard::Prompt, Settings { publication_max: 1000, ..patient() });
    assert_eq!(served.post("/publish/a", vec![b'x'; 1000]).status, 200);
    let head = served.with_head("POST /publish/a", "content-length: 1001\r\n", b"");
    let announced = reply(served.send(head));
    assert_eq!(announced.status, 413);
    assert!(announced.body.contains("1000 bytes"), "{}", announced.body);
    assert_eq!(served.post("/publish/a", vec![b'x'; 1001]).status, 413);

    let pieces = |last: usize| {
        let piece = |length: usize| format!("{length:x}\r\n{}\r\n", "y".repeat(length));
        let body = [piece(400), piece(599), piece(last), "0\r\n\r\n".into()].concat();
        let headers = "connection: close\r\ntransfer-encoding: chunked\r\n";
        reply(served.send(served.with_head("POST /publish/b", headers, body.as_bytes())))
    };
    assert_eq!([pieces(1).status, pieces(2).status], [200, 413]);
    assert_eq!(served.payloads("b"), [vec![b'y'; 1000]]);
    assert_eq!(served.payloads("a"), [vec![b'x'; 1000]]);
}

/// Any bytes are a payload, none included.
#[test]
fn a_payload_is_taken_as_it_is() {
    let served = serve(Shard::Prompt, patient());
    let payloads = [vec![], (0..=255).collect(), b"a=b&c\r\n".to_vec()];
    payloads.iter().for_each(|payload| assert_eq!(served.post("/publish/a", payload).status, 200));
    assert_eq!(served.payloads("a"), payloads);
}

/// A channel's name is the rest of the path, decoded once; a bad one is refused with the reason.
#[test]
fn a_channel_is_the_rest_of_the_path() {
    let served = serve(Shard::Prompt, patient());
    let longest = "x".repeat(255);
    for (path, channel) in [
        ("/publish/news", "news"),
        ("/publish/a/b:c", "a/b:c"),
        ("/publish/a%2Fb", "a/b"),
        ("/publish/%6eews?", "news"),
        (&format!("/publish/{longest}"), &longest),
    ] {
        let reply = served.post(path, "1");
        assert!(reply.body.starts_with(&format!("{{\"channel\":\"{channel}\",")), "{reply:?}");
    }
    let too_long = format!("/publish/{longest}x");
    for (path, reason) in [
        ("/publish", "is empty"),
        ("/publish/", "is empty"),
        (too_long.as_str(), "longer than 255 bytes"),
        ("/publish/a%252Fb", "byte 0x25"),
        ("/publish/a%zz", "two hexadecimal digits"),
        ("/publish/a+b", "byte 0x2b"),
        ("/publish/%ff", "byte 0xff"),
        ("/publish/a%00", "byte 0x00"),
        ("/publish/a?line", "'line' is no parameter of publishing; there are ?lines"),
    ] {
        let reply = served.post(path, "1");
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body.contains(reason), "{path}: {}", reply.body);
    }
}

/// A draining server takes nothing and says so.
#[test]
fn a_draining_server_takes_no_publications() {
    let served = serve(Shard::Prompt, patient());
    served.draining.send_replace(true);
    for path in ["/publish/a", "/publish/a?lines"] {
        let reply = served.post(path, "1");
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
        assert!(reply.body.contains("draining"), "{}", reply.body);
    }
    assert!(served.published.lock().unwrap().is_empty());
}
