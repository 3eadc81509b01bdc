//! Many publications in one request, each with a result of its own.

use serde_json::{Value, json};

use super::*;
use crate::{
    frame::PayloadKind,
    limits::{KEY_BYTES_MAX, PUBLISH_LINES_MAX},
};

fn publish(served: &Served, body: &str) -> Vec<Value> {
    let reply = served.post("/v1/publish", body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    reply.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each line is published as it says, on its own channel, or told what is wrong with it; those behind a
/// wrong one go out all the same.
#[test]
fn every_line_has_its_own_result() {
    let served = serve_shards(&[Shard::Prompt; 3], 64, patient());
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    let lines = [
        (json!({ "channel": "a", "text": "hi \"1\"\n" }), Ok(1)),
        (json!({ "channel": "b", "data": { "n": 2 } }), Ok(2)),
        (json!({ "channel": "a", "base64": "/zM=" }), Ok(3)),
        (
            json!({ "channel": "c", "data": null, "key": "k", "version": 9, "idempotency": "i" }),
            Ok(0),
        ),
        (json!({ "channel": "a", "text": "stale 7" }), Err(("conflict", "publish a higher one"))),
        (json!({ "channel": "a b", "text": "x" }), Err(("bad-request", "0x20"))),
        (json!({ "channel": "a" }), Err(("bad-request", "one of data, text and base64"))),
        (json!({ "channel": "a", "text": "", "data": 1 }), Err(("bad-request", "one of data"))),
        (json!({ "channel": "a", "text": "x", "colour": 1 }), Err(("bad-request", "colour"))),
        (json!({ "channel": "a", "base64": "!" }), Err(("bad-request", "padded base64"))),
        (json!({ "channel": "a", "text": "x", "key": "" }), Err(("bad-request", "1 to 255"))),
        (json!({ "channel": "a", "text": "x", "key": long_key }), Err(("bad-request", "1 to 255"))),
        (
            json!({ "channel": "a", "text": "x", "idempotency": "a b" }),
            Err(("bad-request", "visible")),
        ),
        (json!({ "channel": "a", "text": "full" }), Err(("disk-full", "disk is full"))),
        (json!([1]), Err(("bad-request", "write one like"))),
        (json!({ "channel": "a", "text": "again 15" }), Ok(15)),
    ];
    let mut body = String::from("\n");
    lines.iter().for_each(|(line, _)| body += &format!("{line}\r\n"));
    let results = publish(&served, &body);
    assert_eq!(results.len(), lines.len());
    for (at, ((line, expected), result)) in lines.iter().zip(&results).enumerate() {
        assert_eq!(result["line"], at + 2);
        match expected {
            Ok(number) => {
                let mut expected = json!({ "line": at + 2, "channel": line["channel"],
                    "position": format!("e-{number}"), "subscribers": number + 1 });
                if *number == 15 {
                    expected["repeated"] = true.into();
                }
                assert_eq!(*result, expected);
            }
            Err((kind, detail)) => {
                let error = &result["error"];
                assert_eq!(error["type"], format!("urn:stentor:problem:{kind}"), "{line}");
                assert!(error["detail"].as_str().unwrap().contains(detail), "{error}");
                assert_eq!(result.get("position"), None);
            }
        }
    }
    let on_a: Vec<Vec<u8>> = vec![
        b"hi \"1\"\n".into(),
        b"\xff3".into(),
        b"stale 7".into(),
        b"full".into(),
        b"again 15".into(),
    ];
    assert_eq!(served.payloads("a"), on_a);
    assert_eq!(served.payloads("b"), [b"{\"n\":2}"]);
    let published = served.published.lock().unwrap();
    let kept = published.iter().find(|it| it.channel.as_str() == "c").unwrap();
    assert_eq!((kept.kind, &kept.payload[..]), (PayloadKind::Json, &b"null"[..]));
    let terms = kept.terms.as_deref().unwrap();
    let asked = (terms.key.as_deref(), terms.version, terms.idempotency.as_deref());
    assert_eq!(asked, (Some("k"), Some(9), Some("i")));
}

/// However slow the shards: every line is published once, in its channel's
/// order, and has its own position. A request may have so many, and one more ends it with the results.
#[test]
fn order_and_number_hold() {
    for shard in [Shard::Slow, Shard::Prompt] {
        let served = serve_shards(&[shard; 2], 8, patient());
        let body: String = (0..200)
            .map(|n| format!("{{\"channel\":\"room.{}\",\"text\":\"{n}\"}}\n", n % 5))
            .collect();
        let results = publish(&served, &body);
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result["position"], format!("e-{n}"), "{shard:?}");
        }
        for room in 0..5 {
            let expected: Vec<_> =
                (room..200).step_by(5).map(|n| n.to_string().into_bytes()).collect();
            assert_eq!(served.payloads(&format!("room.{room}")), expected, "{shard:?}");
        }
    }
    let served = serve(Shard::Prompt, patient());
    let line = "{\"channel\":\"a\",\"text\":\"1\"}\n";
    assert_eq!(publish(&served, &line.repeat(PUBLISH_LINES_MAX)).len(), PUBLISH_LINES_MAX);
    assert_eq!(publish(&served, ""), Vec::<Value>::new());
    let reply = served.post("/v1/publish", line.repeat(PUBLISH_LINES_MAX + 1));
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &told["type"]), (413, &json!("urn:stentor:problem:too-large")));
    assert_eq!(told["results"].as_array().unwrap().len(), PUBLISH_LINES_MAX);
    assert!(told["detail"].as_str().unwrap().contains("10000"), "{}", told["detail"]);
}

/// A payload at the limit goes, one above is told so by itself, and a line above every limit ends the
/// request with what was published before it.
#[test]
fn sizes_have_limits() {
    let served = serve(Shard::Prompt, Settings { publication_max: 100, ..patient() });
    let line = |len: usize| json!({ "channel": "a", "text": "x".repeat(len) }).to_string() + "\n";
    let results = publish(&served, &(line(100) + &line(101) + &line(1)));
    let errors: Vec<_> = results.iter().map(|it| it["error"]["status"].as_u64()).collect();
    assert_eq!(errors, [None, Some(413), None]);
    let reply = served.post("/v1/publish", line(2) + &line(100_000));
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, told["results"].as_array().unwrap().len()), (413, 1));
    assert_eq!(told["results"][0]["position"], "e-0");
}

/// A shard that hangs costs its own lines, which are told so, and nobody else.
#[test]
fn a_stuck_shard_is_told() {
    let settings = Settings { answer_timeout: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Prompt, Shard::Stuck], 64, settings);
    let channels: Vec<String> = (0..20).map(|n| format!("room.{n}")).collect();
    let line = |name: &String| json!({ "channel": name, "text": "1" }).to_string() + "\n";
    let results = publish(&served, &channels.iter().map(line).collect::<String>());
    for (name, result) in channels.iter().zip(&results) {
        let home = crate::ids::ChannelName::new(name).unwrap().bucket().home(2).0;
        let kind = &result["error"]["type"];
        assert_eq!(*kind == "urn:stentor:problem:stuck", home == 1, "{name}: {result}");
        assert_eq!(result["position"] == "e-1", home == 0, "{name}: {result}");
    }
}

/// What is wrong with a line is told in few words, however long what was sent: all results are kept
/// until the last line was read.
#[test]
fn a_result_does_not_repeat_what_was_sent() {
    let served = serve_shards(&[Shard::Prompt], 64, patient());
    let long = "x".repeat(100_000);
    let lines = [
        format!(r#"{{"channel":"a","text":"x","{long}":1}}"#),
        format!(r#"{{"channel":"a","text":"x","version":"{long}"}}"#),
        format!(r#"{{"channel":"{long}","text":"x"}}"#),
    ];
    for result in publish(&served, &lines.join("\n")) {
        assert_eq!(result["error"]["status"], 400);
        assert!(result.to_string().len() < 1000, "{} bytes", result.to_string().len());
    }
}
