//! What the server itself is ordered to do: drain, reload, log.

use serde_json::{Value, json};

use super::*;
use crate::orders::{Change, Draining, FileReloaded, Order, Orders, Reloaded};

/// Orders that a fake server carries out at once. It refuses to log `bad`, loses the answer about `lost`,
/// and never answers about `stuck`.
pub(super) fn obeyed() -> Arc<Orders> {
    Arc::new_cyclic(|orders: &std::sync::Weak<Orders>| {
        let orders = orders.clone();
        let kept = Mutex::new(Vec::new());
        Orders::new(move || {
            let order = orders.upgrade().and_then(|orders| orders.take());
            match order.expect("it rings when there is one") {
                Order::Filter(reply) => reply("info".into()),
                Order::Log { filter, reply } => match filter.as_str() {
                    "bad=info" => reply(Err("'bad' is no part".into())),
                    "lost=info" => drop(reply),
                    "stuck=info" => kept.lock().unwrap().push(reply),
                    _ => reply(Ok("info".into())),
                },
                Order::Drain { window, reply } => {
                    let window_ms = window.map_or(5000, |window| window.as_millis() as u64);
                    reply(Draining { already: window.is_none(), window_ms, connections: 7 });
                }
                Order::Reload(reply) => reply(Ok(reloaded())),
            }
        })
    })
}

fn reloaded() -> Reloaded {
    let change = |name| Change { name, from: "1".into(), to: "2".into() };
    let file = FileReloaded { name: "token-key", now: None, problem: Some("gone".into()) };
    Reloaded {
        changed: vec![change("head-max")],
        needs_restart: vec![change("shards")],
        files: vec![file],
        warnings: vec!["odd".into()],
    }
}

fn put(served: &Served, body: &str) -> Reply {
    let headers = format!("connection: close\r\ncontent-length: {}\r\n", body.len());
    reply(served.send(served.with_head("PUT /v1/log-level", &headers, body.as_bytes())))
}

/// Every order reaches the server as it was given, and its answer comes back whole.
#[test]
fn orders_are_carried_out() {
    let served = serve(Shard::Prompt, patient());
    let json = |reply: &Reply| serde_json::from_str::<Value>(&reply.body).unwrap();
    let ask = |request: &str| {
        let reply = served.ask(request);
        (reply.status, json(&reply))
    };
    let draining = |already: bool, window: u64| json!({ "already": already, "window_ms": window, "connections": 7 });
    assert_eq!(ask("POST /v1/drain"), (202, draining(true, 5000)));
    assert_eq!(ask("POST /v1/drain?window=0"), (202, draining(false, 0)));
    assert_eq!(ask("POST /v1/drain?window=3600"), (202, draining(false, 3_600_000)));
    let change = |name: &str| json!([{ "name": name, "from": "1", "to": "2" }]);
    let expected = json!({ "changed": change("head-max"), "needs_restart": change("shards"),
        "files": [{ "name": "token-key", "problem": "gone" }], "warnings": ["odd"] });
    assert_eq!(ask("POST /v1/reload"), (200, expected));
    assert_eq!(ask("GET /v1/log-level"), (200, json!({ "filter": "info" })));
    let set = put(&served, r#"{"filter":"warn,a::b=debug"}"#);
    let expected = json!({ "filter": "warn,a::b=debug", "before": "info" });
    assert_eq!((set.status, json(&set)), (200, expected));
}

/// What cannot be carried out is a problem, and nothing waits for ever.
#[test]
fn orders_are_refused_with_a_reason() {
    let served = serve(Shard::Prompt, Settings { answer_timeout: SHORT, ..patient() });
    let long = format!(r#"{{"filter":"{}=info"}}"#, "a".repeat(65));
    let many = format!(r#"{{"filter":"info{}"}}"#, ",info".repeat(32));
    for (body, status, words) in [
        (r#"{"filter":"bad=info"}"#, 422, "'bad' is no part"),
        (r#"{"filter":"lost=info"}"#, 503, "ended before it answered"),
        (r#"{"filter":"stuck=info"}"#, 504, "not carried out within"),
        (r#"{"filter":""}"#, 422, "write a level"),
        (r#"{"filter":"loud"}"#, 422, "write a level"),
        (r#"{"filter":"=info"}"#, 422, "write a level"),
        (r#"{"filter":"info,"}"#, 422, "write a level"),
        (&many, 422, "at most 32"),
        (r#"{"level":"info"}"#, 400, r#"{\"filter\":\"info\"}"#),
        ("info", 400, r#"{\"filter\":\"info\"}"#),
        (&long, 422, "write a level"),
    ] {
        let reply = put(&served, body);
        assert_eq!(reply.status, status, "{body}: {}", reply.body);
        assert!(reply.body.contains(words), "{body}: {}", reply.body);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    }
    for query in ["window=3601", "window=-1", "window=x", "window=", "time=1"] {
        let reply = served.ask(&format!("POST /v1/drain?{query}"));
        assert_eq!(reply.status, 400, "{query}: {}", reply.body);
    }
}
