//! The API: its document, its problems, and what it tells of connections, channels and limits.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    close::CloseReason,
    control::{
        Limit,
        api::{DOCUMENT, ROUTES},
        problem::Problem,
    },
    policy::{Mode, Pattern, Policy, Retention, Slow},
    report::Transport,
};

/// The limits of every server in these tests.
pub(super) fn limits() -> Vec<Limit> {
    let limit = |name, value: &str, max| Limit { name, value: value.into(), max, help: "What." };
    vec![
        limit("max-connections", "auto", Some(500)),
        limit("head-max", "8KiB", Some(8192)),
        limit("wait", "5s", None),
    ]
}

fn get(served: &Served, path: &str) -> Value {
    let reply = served.ask(&format!("GET {path}"));
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    serde_json::from_str(&reply.body).unwrap()
}

/// The document and the router know the same paths, and the same methods of each.
#[test]
fn the_document_says_what_is_served() {
    let served = serve_shards(&[Shard::Prompt; 2], 64, patient());
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    assert_eq!(get(&served, "/v1/openapi.json"), document);
    let paths = document["paths"].as_object().unwrap();
    let told: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(told, ROUTES.iter().map(|(_, path, _)| *path).collect());
    for (path, methods) in paths {
        let request = path.replace("{channel}", "room.1").replace("{id}", "0-0-7");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let reply = served.ask(&format!("{method} {request}"));
            let told = methods.get(method.to_lowercase()).is_some();
            assert_eq!(reply.status != 405, told, "{method} {request}: {}", reply.body);
        }
    }
}

/// Every error is a problem with a type, its status, and what would be right.
#[test]
fn errors_are_problems() {
    let served = serve_shards(&[Shard::Prompt; 2], 64, patient());
    let long = "a".repeat(256);
    for (request, status, kind, detail) in [
        ("GET /v1/nothing", 404, "not-found", "/v1/openapi.json"),
        ("GET /v1/channels/nobody", 404, "no-such-channel", "nobody reads nobody"),
        ("GET /v1/channels/a%20b", 400, "bad-request", "0x20"),
        ("GET /v1/channels?limit=0", 400, "bad-request", "from 1 to 1000"),
        ("GET /v1/connections/0-1-7", 404, "no-such-connection", "no connection 0-1-7"),
        ("GET /v1/connections/2-0-7", 404, "no-such-connection", "no connection 2-0-7"),
        ("GET /v1/connections/7", 400, "bad-request", "like 0-17-3"),
        ("GET /v1/connections/0-0-7?x=1", 400, "bad-request", "there are: none"),
        ("DELETE /v1/connections/0-0-7?reason=x", 400, "bad-request", "policy or reconnect"),
        ("GET /v1/connections?limit=1001", 400, "bad-request", "from 0 to 1000"),
        ("GET /v1/connections?limit=+1", 400, "bad-request", "from 0 to 1000"),
        ("GET /v1/connections?shard=2", 404, "no-such-shard", "there are 0 to 1"),
        ("GET /v1/connections?shard=x", 400, "bad-request", "a shard's number"),
        ("GET /v1/connections?after=0", 400, "bad-request", "`next`"),
        ("GET /v1/connections?address=here", 400, "bad-request", "an IP address"),
        ("GET /v1/connections?transport=tcp", 400, "bad-request", "stentor.v1, sse, poll"),
        ("GET /v1/connections?channel=a%20b", 400, "bad-request", "name of a channel"),
        ("GET /v1/connections?channel=%ff", 400, "bad-request", "not UTF-8"),
        ("GET /v1/connections?limit=1&limit=1", 400, "bad-request", "twice"),
        ("GET /v1/connections?colour=red", 400, "bad-request", "there are: shard, transport"),
        ("POST /v1/stats", 405, "method-not-allowed", "Allow"),
        (&format!("POST /v1/publish/{long}"), 400, "bad-request", "longer than 255"),
    ] {
        let reply = served.ask(request);
        let told: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{request}");
        assert_eq!((u64::from(reply.status), &told["status"]), (status, &json!(status)));
        assert_eq!(told["type"], format!("urn:stentor:problem:{kind}"), "{request}");
        assert!(told["detail"].as_str().unwrap().contains(detail), "{request}: {told}");
        assert_eq!(told.as_object().unwrap().len(), 4, "{told}");
    }
    let origin = "connection: close\r\norigin: http://elsewhere\r\n";
    let reply = reply(served.send(served.with_head("GET /v1/stats", origin, b"")));
    assert!(reply.body.contains("urn:stentor:problem:forbidden"), "{}", reply.body);
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let elsewhere = served.ask("GET /nothing");
    assert_eq!(elsewhere.header("content-type"), Some("text/plain; charset=utf-8"));
    served.draining.send(true).unwrap();
    let reply = served.post("/v1/publish/news", "x");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
    assert!(reply.body.contains("urn:stentor:problem:draining"), "{}", reply.body);
}

/// The operators' manual lists every type of problem, each with another name.
#[test]
fn the_manual_lists_every_problem() {
    let manual = include_str!("../../../docs/operations.md");
    let names: BTreeSet<&str> = Problem::ALL.iter().map(|problem| problem.words().0).collect();
    assert_eq!(names.len(), Problem::ALL.len());
    for name in names {
        assert!(manual.contains(&format!("| `{name}` |")), "{name} is not in the table");
    }
}

/// Whatever is asked for and however it is paged: those connections are told, each once, in order.
#[test]
fn connections_are_paged_and_chosen() {
    let served = serve_shards(&[Shard::Prompt; 3], 64, patient());
    for (n, shard) in served.counters.iter().enumerate() {
        shard.connections.add(10 * n as u64);
        shard.transports[Transport::Sse.index()].add(n as u64);
    }
    let all = |query: &str| -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let page = get(&served, &format!("/v1/connections?{query}{after}"));
            assert_eq!((&page["total"], &page["shards"]), (&json!(30), &json!([0, 10, 20])));
            assert_eq!(page["transports"]["sse"], 3);
            let of_page = page["connections"].as_array().unwrap().iter();
            ids.extend(of_page.map(|it| it["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return ids,
            }
        }
    };
    let id = |shard: u32, slot: u32| format!("{shard}-{slot}-7");
    let slots = || (0..questions::SLOTS).filter(|slot| slot % 2 == 0);
    let everybody: Vec<String> =
        (0..3).flat_map(|shard| slots().map(move |slot| id(shard, slot))).collect();
    for limit in [1, 4, 15, 1000] {
        assert_eq!(all(&format!("limit={limit}")), everybody, "pages of {limit}");
    }
    assert_eq!(all("shard=1"), slots().map(|slot| id(1, slot)).collect::<Vec<_>>());
    assert_eq!(all("shard=1&after=0-4"), slots().map(|slot| id(1, slot)).collect::<Vec<_>>());
    assert_eq!(all("shard=1&after=2-0"), [""; 0]);
    assert_eq!(all("after=2-7"), [id(2, 8)]);
    assert_eq!(all("address=192.0.2.4"), [id(0, 4), id(1, 4), id(2, 4)]);
    assert_eq!(all("channel=room.6"), [id(0, 6)]);
    assert_eq!(
        all("transport=sse&limit=1"),
        [id(0, 2), id(0, 6), id(1, 2), id(1, 6), id(2, 2), id(2, 6)]
    );
    let none = get(&served, "/v1/connections?limit=0");
    assert_eq!((&none["connections"], &none["next"]), (&json!([]), &json!("0-0")));
}

/// Connections are counted by where they come from, the most first.
#[test]
fn connections_are_counted_by_address() {
    let served = serve_shards(&[Shard::Prompt; 3], 64, patient());
    let told = get(&served, "/v1/addresses?limit=2");
    let count = |address: &str| json!({ "address": address, "connections": 3 });
    let first = json!([count("192.0.2.0"), count("192.0.2.2")]);
    assert_eq!(told, json!({ "addresses": first, "counted": 15, "complete": true }));
    assert_eq!(get(&served, "/v1/addresses")["addresses"].as_array().unwrap().len(), 5);
    for query in ["limit=0", "limit=1001", "limit=x"] {
        assert_eq!(served.ask(&format!("GET /v1/addresses?{query}")).status, 400, "{query}");
    }
}

/// One connection is told whole, and closed for the reason that is given.
#[test]
fn one_connection_is_shown_and_closed() {
    let served = serve_shards(&[Shard::Prompt; 2], 64, patient());
    let lag = json!({ "publications": 104, "bytes": 208, "ms": 312 });
    let mut expected = json!({
        "id": "1-4-7", "address": "192.0.2.4:40000", "subject": "ann", "transport": "websocket",
        "since_ms": 1_700_000_000_104_u64, "blocked": true, "pending_bytes": 0,
        "received_bytes": 104, "subscriptions": 1, "lag": lag,
        "channels": [{ "channel": "room.104", "position": "e-104", "lag": lag }],
    });
    assert_eq!(get(&served, "/v1/connections/1-4-7"), expected);
    for (query, reason) in [
        ("", CloseReason::Expelled),
        ("?reason=policy", CloseReason::Expelled),
        ("?reason=reconnect", CloseReason::Moved),
    ] {
        let reply = served.ask(&format!("DELETE /v1/connections/1-4-7{query}"));
        expected["pending_bytes"] = questions::closed(Some(reason)).into();
        expected["closed"] = reason.label().into();
        assert_eq!(serde_json::from_str::<Value>(&reply.body).unwrap(), expected);
    }
}

/// A channel is told with its readers over all shards, the most that any lags, and its rules.
#[test]
fn a_channel_is_told_whole() {
    let policy = Policy {
        mode: Mode::Latest,
        history: Retention { count: 7, bytes: 900, age: Some(Duration::from_millis(1500)) },
        slow: Slow::Skip,
        presence: true,
        ..Policy::default()
    };
    let policies = Policies::new([(Pattern::new("room.*"), policy)]);
    let served = serve_policies(&[Shard::Prompt; 3], 64, patient(), policies);
    let expected = json!({
        "channel": "room.5", "subscribers": 5, "position": "e-5", "kept": 10, "kept_bytes": 15,
        "pattern": "room.*", "mode": "latest",
        "readers": { "websocket": 3, "sse": 30, "json": 300 }, "behind": 9,
        "lag": { "publications": 12, "bytes": 100, "ms": 5 },
        "retention": { "publications": 7, "bytes": 900, "age_seconds": 1.5 },
        "slow": "skip", "presence": true,
    });
    assert_eq!(get(&served, "/v1/channels/room.5"), expected);
}

/// Every limit is told with its number and what is used of it, where that is known.
#[test]
fn limits_are_told_with_their_use() {
    let served = serve(Shard::Prompt, Settings { line_streams_max: 7, ..patient() });
    served.counters[0].connections.add(33);
    let told = get(&served, "/v1/limits");
    let told: Vec<_> = told["limits"].as_array().unwrap().iter().collect();
    let row =
        |at: usize| (&told[at]["name"], &told[at]["value"], &told[at]["max"], &told[at]["used"]);
    let nothing = Value::Null;
    assert_eq!(row(0), (&json!("max-connections"), &json!("auto"), &json!(500), &json!(33)));
    assert_eq!(row(1), (&json!("head-max"), &json!("8KiB"), &json!(8192), &nothing));
    assert_eq!(row(2), (&json!("wait"), &json!("5s"), &nothing, &nothing));
    let memory = json!(64 * 1024 * 1024);
    assert_eq!(row(3), (&json!("control-payload-memory"), &json!("67108864"), &memory, &json!(0)));
    assert_eq!(row(4), (&json!("control-line-streams"), &json!("7"), &json!(7), &json!(0)));
    assert_eq!(told.len(), 5);
}
