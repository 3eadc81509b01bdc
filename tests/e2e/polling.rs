//! Long-polls: at once what is there, else what comes, over one connection.

use serde_json::{Value, json};

use crate::support::{Gap, Io, Poll, Poller, Publisher, Server, ask};

on_both_kernels!(
    polls_follow_a_channel_over_one_connection,
    a_tag_is_a_position,
    a_poll_waits_for_the_next,
    what_is_long_comes_in_pieces,
);

/// What was missed comes at once and what follows in the next answers, over one connection; the
/// requests may even be sent before their answers were read.
fn polls_follow_a_channel_over_one_connection(io: Io) {
    let server = Server::start(io, &["--channels", "* history=1000"]);
    let mut publisher = Publisher::of(&server);
    let mut book: Vec<String> = vec![publisher.publish("news", b"0").0];
    let mut poller = Poller::connect(server.subscribers);
    for round in 1..100 {
        let from = book.len();
        for number in from..from + round % 4 + 1 {
            book.push(publisher.publish("news", format!("{number}").as_bytes()).0);
        }
        let polled = poller.poll(&format!("news?since={}", book[from - 1]), "");
        let expected: Vec<Value> = (from..book.len()).map(|at| object(&book, at)).collect();
        assert_eq!((polled.gap, polled.publications), (None, expected));
        assert_eq!(polled.head.get("Connection"), None, "the connection is kept");
    }
    let closing = format!("news?since={}", book[0]);
    poller.send(&closing, "Connection: close\r\n");
    let last = Poll::of(poller.answer());
    assert_eq!(last.head.get("Connection").as_deref(), Some("close"));
    assert_eq!(last.publications.len(), book.len() - 1);
    assert_eq!(poller.rest(), b"");
    server.stop();
}

/// `If-None-Match` is where to begin, and wins over the query. With nothing new the answer at the
/// time-out is 304 with the same tag; without a tag it is 200 with nothing in it.
fn a_tag_is_a_position(io: Io) {
    let server = Server::start(io, &["--channels", "* history=3"]);
    let mut publisher = Publisher::of(&server);
    let book: Vec<String> =
        (0..6).map(|at| publisher.publish("news", format!("{at}").as_bytes()).0).collect();
    let mut poller = Poller::connect(server.subscribers);
    let tag = |at: usize| format!("If-None-Match: \"{}\"\r\n", book[at]);
    for (timeout, weak) in [("0", ""), ("0.05", ""), ("0", "W/")] {
        let tag = tag(5).replace('"', "\u{1}").replacen('\u{1}', &format!("{weak}\""), 1);
        let tag = tag.replace('\u{1}', "\"");
        poller.send(&format!("news?timeout={timeout}&since={}", book[2]), &tag);
        let answer = poller.answer();
        assert_eq!((answer.head.status, answer.body.len()), (304, 0), "{tag}");
        assert_eq!(answer.head.get("ETag"), Some(format!("\"{}\"", book[5])));
        let nothing = poller.poll(&format!("news?since={}&timeout={timeout}", book[5]), "");
        assert_eq!((&nothing.position, nothing.publications.len()), (&book[5], 0));
        let live = poller.poll(&format!("news?timeout={timeout}"), "");
        assert_eq!((&live.position, live.publications.len()), (&book[5], 0));
    }
    let some = poller.poll(&format!("news?since={}", book[5]), &tag(3));
    assert_eq!(some.publications, [object(&book, 4), object(&book, 5)]);
    let gap = poller.poll("news", &tag(0));
    assert_eq!(gap.gap, Some(Gap { from: book[0].clone(), to: book[2].clone() }));
    assert_eq!(gap.publications.len(), 3);
    let newest = poller.poll("news?last=1", "");
    assert_eq!(newest.publications, [object(&book, 5)]);
    server.stop();
}

/// A poll that finds nothing is answered with the next publication, however long it may wait.
/// Whoever asks for more than `poll-timeout-max` waits that long.
fn a_poll_waits_for_the_next(io: Io) {
    let flags = ["--poll-timeout-max", "1s", "--channels", "* history=3"];
    let server = Server::start(io, &flags);
    let mut pollers: Vec<Poller> = (0..20).map(|_| Poller::connect(server.subscribers)).collect();
    pollers.iter_mut().for_each(|poller| poller.send("quiet?timeout=3600", ""));
    for poller in &mut pollers {
        assert_eq!(Poll::of(poller.answer()).publications.len(), 0);
    }
    server.stop();

    let server = Server::start(io, &["--poll-timeout-max", "1h"]);
    pollers = (0..20).map(|_| Poller::connect(server.subscribers)).collect();
    let mut publisher = Publisher::of(&server);
    let mut book: Vec<String> = Vec::new();
    for round in 0..20 {
        pollers.iter_mut().for_each(|poller| poller.send("news?timeout=3600", ""));
        server.await_stat("/connections/json", 20);
        let (position, subscribers) = publisher.publish("news", format!("{round}").as_bytes());
        assert_eq!(subscribers, 20);
        book.push(position);
        for poller in &mut pollers {
            assert_eq!(Poll::of(poller.answer()).publications, [object(&book, round)]);
        }
        server.await_stat("/connections/json", 0);
    }
    server.await_stat("/connections/total", 20);
    server.stop();
}

/// More than fits into one answer comes in several, none of them skipping or repeating anything.
fn what_is_long_comes_in_pieces(io: Io) {
    let server = Server::start(io, &["--channels", "* history=1000"]);
    let mut publisher = Publisher::of(&server);
    let payload = |number: usize| format!("{number}:{}", "x".repeat(30_000));
    let book: Vec<String> =
        (0..60).map(|at| publisher.publish("long", payload(at).as_bytes()).0).collect();
    let (mut poller, mut next, mut answers) = (Poller::connect(server.subscribers), 1, 0);
    let mut at = book[0].clone();
    while next < book.len() {
        let polled = poller.poll(&format!("long?since={at}"), "");
        assert!(polled.gap.is_none() && !polled.publications.is_empty());
        for publication in polled.publications {
            assert_eq!(
                (&publication["id"], &publication["data"]),
                (&json!(book[next]), &json!(payload(next)))
            );
            next += 1;
        }
        at = polled.position;
        answers += 1;
    }
    assert!(answers > 1, "this was to be more than fits");
    server.stop();
}

/// A page of another origin may poll if it is allowed to, may send the tag, and sees the headers
/// that it needs. What is malformed is answered with what would be right.
#[test]
fn pages_may_poll() {
    let server = Server::start(Io::Uring, &["--allow-origin", "https://a.example"]);
    let origin = "Origin: https://a.example\r\n";
    let mut poller = Poller::connect(server.subscribers);
    let polled = poller.poll("news?timeout=0&_=17", origin);
    let allowed = polled.head.get("Access-Control-Allow-Origin");
    assert_eq!(allowed.as_deref(), Some("https://a.example"));
    let exposed = polled.head.get("Access-Control-Expose-Headers").expect("a list");
    assert!(exposed.split(", ").any(|name| name.eq_ignore_ascii_case("ETag")), "{exposed}");
    let head = "OPTIONS /poll/news HTTP/1.1\r\nHost: localhost\r\n\
        Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: if-none-match\r\n";
    let preflight =
        crate::support::Wire::request(server.subscribers, &format!("{head}{origin}")).head();
    let headers = preflight.get("Access-Control-Allow-Headers").expect("a list");
    assert!(preflight.status == 204 && headers.contains("If-None-Match"), "{headers}");
    let foreign = "Origin: https://b.example\r\n";
    for (rest, lines, status, word) in [
        ("news", foreign, 403, "origin"),
        ("news?timeout=soon", "", 400, "seconds"),
        ("news?timeout=-1", "", 400, "seconds"),
        ("news?since=x", "", 400, "18c2f3a9d1e-42"),
        ("news?since=1-1&last=1", "", 400, "exclude"),
        ("news?last=-1", "", 400, "whole number"),
        ("news?since=%zz", "", 400, "percent-encoded"),
        ("news", "If-None-Match: *\r\n", 400, "ETag"),
        ("two%20words", "", 400, "letters"),
    ] {
        let head = format!("GET /poll/{rest} HTTP/1.1\r\nHost: localhost\r\n{lines}");
        let answer = ask(server.subscribers, &head);
        let told = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.head.status, status, "{rest}: {told}");
        assert!(told.contains(word), "{rest}: {told}");
    }
    server.stop();
}

fn object(book: &[String], number: usize) -> Value {
    json!({ "channel": "news", "id": book[number], "data": number.to_string() })
}
