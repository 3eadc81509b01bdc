//! What publishers ask for besides publishing, and what shards refuse.

use super::*;
use crate::{frame::PayloadKind, mesh::Terms};

/// Publishes with these headers, and returns the answer.
fn post(served: &Served, path: &str, headers: &str, body: &[u8]) -> Reply {
    let length = body.len();
    let headers = format!("connection: close\r\ncontent-length: {length}\r\n{headers}");
    reply(served.send(served.with_head(&format!("POST {path}"), &headers, body)))
}

/// Parameters and headers arrive at the shard as they were meant.
#[test]
fn a_shard_is_told_what_was_asked() {
    const JSON: PayloadKind = PayloadKind::Json;
    const TEXT: PayloadKind = PayloadKind::Text;
    let longest = "k".repeat(255);
    let terms = |key: Option<&str>, version, idempotency: Option<&str>| {
        let (key, idempotency) = (key.map(Into::into), idempotency.map(Into::into));
        Some(Box::new(Terms { key, version, idempotency }))
    };
    for (query, headers, kind, expected) in [
        ("", "", TEXT, None),
        ("?", "content-type: text/plain\r\n", TEXT, None),
        ("", "content-type: application/json\r\n", JSON, None),
        ("", "content-type: Application/LD+JSON; charset=utf-8\r\n", JSON, None),
        ("", "content-type: application/x-ndjson\r\n", TEXT, None),
        ("?key=EUR%2FUSD", "", TEXT, terms(Some("EUR/USD"), None, None)),
        ("?key=%C3%A4+%26", "", TEXT, terms(Some("ä+&"), None, None)),
        ("?version=18446744073709551615", "", TEXT, terms(None, Some(u64::MAX), None)),
        ("?version=0&key=a", "", TEXT, terms(Some("a"), Some(0), None)),
        ("", "idempotency-key: \"a-1\"\r\n", TEXT, terms(None, None, Some("\"a-1\""))),
        (
            &format!("?key={longest}"),
            &format!("idempotency-key: {longest}\r\n"),
            TEXT,
            terms(Some(&longest), None, Some(&longest)),
        ),
    ] {
        let served = serve(Shard::Prompt, patient());
        let reply = post(&served, &format!("/publish/a{query}"), headers, b" [1]");
        assert_eq!(reply.status, 200, "{query} {headers}: {reply:?}");
        let published = served.published.lock().unwrap();
        let told = (published[0].kind, published[0].terms.clone());
        assert_eq!(told, (kind, expected), "{query} {headers}");
        assert_eq!(published[0].payload, &b" [1]"[..], "as it came");
    }
}

/// What is asked for wrongly is refused with what would be right, and nothing is published.
#[test]
fn a_wrong_wish_is_refused() {
    let served = serve(Shard::Prompt, patient());
    let too_long = "k".repeat(256);
    const JSON: &str = "content-type: application/json\r\n";
    for (query, headers, reason) in [
        ("?verison=5", "", "'verison=5' is no parameter of publishing; there are ?lines"),
        ("?lines=no", "", "'lines=no' is no parameter"),
        ("?key=", "", "the key is empty"),
        ("?key", "", "the key is empty"),
        ("?key=%ff", "", "the key is not UTF-8"),
        (&format!("?key={too_long}"), "", "the key has 256 bytes; it may have at most 255"),
        ("?key=a&key=a", "", "key is given twice"),
        ("?version=1&version=2", "", "version is given twice"),
        ("?version=", "", "the version '' is not a whole number from 0 to 18446744073709551615"),
        ("?version=-1", "", "the version '-1' is not"),
        ("?version=+1", "", "the version '+1' is not"),
        ("?version=18446744073709551616", "", "is not a whole number"),
        ("", "idempotency-key: \r\n", "must have 1 to 255 bytes of visible ASCII"),
        ("", "idempotency-key: a b\r\n", "visible ASCII"),
        ("", "idempotency-key: \u{e4}\r\n", "visible ASCII"),
        ("", &format!("idempotency-key: {too_long}\r\n"), "1 to 255 bytes"),
        ("", "idempotency-key: a\r\nidempotency-key: a\r\n", "two Idempotency-Keys"),
        ("?lines&key=a", "", "?lines goes without key, version and Idempotency-Key"),
        ("?lines&version=1", "", "?lines goes without"),
        ("?lines", "idempotency-key: a\r\n", "?lines goes without"),
        (
            "",
            JSON,
            "the payload is not JSON: expected value at line 1 column 1; without a \
          Content-Type of JSON it goes as text",
        ),
    ] {
        let reply = post(&served, &format!("/publish/a{query}"), headers, b"x");
        assert_eq!(reply.status, 400, "{query} {headers}");
        assert!(reply.body.contains(reason), "{query} {headers}: {}", reply.body);
    }
    assert!(served.published.lock().unwrap().is_empty());
}

/// Why a shard did not publish is answered as what it is, and what was published before says so.
#[test]
fn a_shards_refusal_is_answered() {
    let served = serve(Shard::Prompt, patient());
    for (payload, status, retry_after, reason) in [
        ("stale 7", 409, None, "version 7 or a later one was published already; "),
        ("keys", 503, Some("5"), "as many keys as its history-count allows"),
        ("channels", 503, Some("5"), "as many channels as channels-max allows"),
        ("full", 507, None, "the journal's disk is full; nothing was published"),
        ("failed", 500, None, "the journal cannot be written; nothing was published"),
    ] {
        let reply = served.post("/publish/a", payload);
        assert_eq!((reply.status, reply.header("retry-after")), (status, retry_after), "{payload}");
        assert!(reply.body.contains(reason), "{}", reply.body);
    }
    let again = served.post("/publish/a", "again 7");
    let expected = "{\"channel\":\"a\",\"position\":\"e-7\",\"subscribers\":8,\"repeated\":true}\n";
    assert_eq!((again.status, again.body.as_str()), (200, expected));
}

/// A stream that is called JSON has only lines that are; the first that is not ends it.
#[test]
fn lines_of_json_are_checked() {
    for kind in ["x-ndjson", "jsonl", "json; charset=utf-8"] {
        let served = serve(Shard::Prompt, patient());
        let headers = format!("content-type: application/{kind}\r\n");
        let reply = post(&served, "/publish/a?lines", &headers, b"1\n\n{\"n\":2}\r\nx3\n4");
        let expected = "{\"channel\":\"a\",\"published\":2,\"first\":\"e-1\",\"last\":\"e-2\",\
             \"error\":\"line 4 is not JSON: expected value at line 1 column 1; without a \
             Content-Type of JSON it goes as text\"}\n";
        assert_eq!((reply.status, reply.body.as_str()), (400, expected));
        let published = served.published.lock().unwrap();
        assert!(published.iter().all(|publish| publish.kind == PayloadKind::Json));
    }
}

/// A line that its shard refuses ends the stream. What had been handed over by then is counted, and
/// nothing else is.
///
/// Method: with 64 places all lines are handed over before the first answer is looked at; with 4,
/// one line at a time is.
#[test]
fn a_refused_line_is_named() {
    let body = "1\nfull 2\n\n4\nstale 5\n6";
    let reason =
        "line 2: the journal's disk is full; nothing was published, make room and try again";
    for (places, published, last) in [(64, 3, "e-6"), (4, 1, "e-1")] {
        let served = serve_shards(&[Shard::Prompt], places, patient());
        let reply = served.post("/publish/a?lines", body);
        let expected = format!(
            "{{\"channel\":\"a\",\"published\":{published},\"first\":\"e-1\",\"last\":\"{last}\",\
             \"error\":\"{reason}\"}}\n"
        );
        assert_eq!((reply.status, reply.body), (507, expected));
    }
}
