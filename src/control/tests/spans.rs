//! Spans of publications, as a collector gets them.

use serde_json::{Value, json};

use super::*;
use crate::{
    ids::ChannelName,
    limits::{SPANS_MAX, SPANS_PER_REQUEST_MAX},
    spans::Spans,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

/// Heads and bodies of requests to the collector.
type Collected = mpsc::Receiver<(String, Value)>;

/// A collector that gives this answer to every request.
fn collector(answer: &'static str) -> (String, Collected) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (tell, collected) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            while let Some(request) = read_request(&mut stream) {
                // Before the answer: who has that knows that it is here.
                if tell.send(request).is_err() {
                    return;
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (endpoint, collected)
}

fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (stream.read(&mut byte).unwrap_or(0) > 0).then(|| head.push(byte[0]))?;
    }
    let head = String::from_utf8(head).unwrap();
    let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok();
    let mut body = vec![0; head.lines().find_map(length).expect("a length")];
    stream.read_exact(&mut body).unwrap();
    Some((head, serde_json::from_slice(&body).unwrap()))
}

fn traced(endpoint: String, one_in: u32) -> Served {
    let headers = vec![("x-tenant".to_owned(), "seven".to_owned())];
    let (tracer, exporter) = Tracer::new(Spans { endpoint, headers, one_in });
    thread::spawn(move || exporter.run());
    let (policies, shards) = (Policies::default(), [Shard::Prompt, Shard::Prompt]);
    let buses: (States, _) = (Arc::new([]), None);
    serve_all((&shards, 4096), patient(), policies, buses, Some(Arc::new(tracer)))
}

impl Served {
    /// Publishes with more headers.
    fn post_with(&self, path: &str, headers: &str, body: &str) -> Reply {
        let headers = format!("connection: close\r\ncontent-length: {}\r\n{headers}", body.len());
        let request = self.with_head(&format!("POST {path}"), &headers, body.as_bytes());
        reply(self.send(request))
    }
}

/// The spans of a request to the collector, and what is around them.
fn taken_apart(mut body: Value) -> (Vec<Value>, Value) {
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].take();
    (spans.as_array().unwrap().clone(), body)
}

fn nanos(time: &Value) -> u128 {
    time.as_str().unwrap().parse().unwrap()
}

/// A span without its own id and its times, which follow each other.
fn checked(mut span: Value, begun: u128) -> Value {
    let fields = span.as_object_mut().unwrap();
    let id = fields.remove("spanId").unwrap();
    assert!(
        id.as_str().unwrap().len() == 16 && u64::from_str_radix(id.as_str().unwrap(), 16).is_ok()
    );
    let [start, end] =
        ["startTimeUnixNano", "endTimeUnixNano"].map(|name| nanos(&fields.remove(name).unwrap()));
    let event =
        nanos(&fields["events"][0].as_object_mut().unwrap().remove("timeUnixNano").unwrap());
    assert!(
        begun <= start && start <= event && event <= end && end <= now(),
        "{start} {event} {end}"
    );
    span
}

fn now() -> u128 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// A publication whose publisher follows it is a child of the publisher's span, with what became of
/// it; one that was refused says why, and those that nobody follows are not there.
#[test]
fn a_collector_gets_what_became_of_a_publication() {
    let (endpoint, collected) = collector("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let served = traced(endpoint, 0);
    let begun = now();
    for (flags, body, status) in [("-01", "7 up", 200), ("-00", "8", 200), ("-01", "stale 9", 409)]
    {
        let headers = format!("{PARENT}{flags}\r\n");
        assert_eq!(served.post_with("/publish/news", &headers, body).status, status);
    }
    let twice = format!("{PARENT}-01\r\n{PARENT}-01\r\n");
    assert_eq!(served.post_with("/publish/news", &twice, "10").status, 200);
    assert_eq!(served.post_with("/publish/news", "", "11").status, 200);
    drop(served);
    let (head, body) = collected.recv().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    for line in ["x-tenant: seven", "content-type: application/json"] {
        assert!(head.lines().any(|it| it.eq_ignore_ascii_case(line)), "{head}");
    }
    let (spans, around) = taken_apart(body);
    let version = env!("CARGO_PKG_VERSION");
    let resource = [text("service.name", "stentor"), text("service.version", version)];
    let scope = json!({ "scope": { "name": "stentor", "version": version }, "spans": null });
    let expected = json!({ "resource": { "attributes": resource }, "scopeSpans": [scope] });
    assert_eq!(around, json!({ "resourceSpans": [expected] }));
    let shard = u64::from(ChannelName::new("news").unwrap().bucket().home(2).0);
    let span = |bytes: u64, more: &[Value], status: Value| {
        let about = [
            text("messaging.system", "stentor"),
            text("messaging.destination.name", "news"),
            number("messaging.message.body.size", bytes),
            number("stentor.shard", shard),
        ];
        let all = [&about, more].concat();
        json!({
            "traceId": TRACE, "parentSpanId": "00f067aa0ba902b7", "name": "publish", "kind": 2,
            "attributes": all,
            "events": [{ "name": "handed over" }], "status": status,
        })
    };
    let published = [
        text("messaging.message.id", "e-7"),
        text("stentor.offset", "7"),
        number("stentor.readers", 8),
    ];
    let refused = json!({ "code": 2, "message": Rejected::Stale(9).to_string() });
    let expected = [span(4, &published, json!({})), span(7, &[], refused)];
    let spans: Vec<Value> = spans.into_iter().map(|span| checked(span, begun)).collect();
    assert_eq!(spans, expected);
    assert!(collected.try_recv().is_err(), "one request for all of them");
}

/// Without a parent one in so many is followed, on each way to publish, with ids of its own; and each
/// line of a request that has a parent is a child of that.
#[test]
fn lines_are_followed_like_publications() {
    let (endpoint, collected) = collector("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let served = traced(endpoint, 3);
    let lines: String = (0..300).map(|n| format!("{n}\n")).collect();
    let many: String =
        (0..300).map(|n| format!("{{\"channel\":\"news\",\"text\":\"{n}\"}}\n")).collect();
    let kind = "content-type: application/x-ndjson\r\n";
    for (path, headers, lines) in
        [("/publish/news?lines", "", &lines), ("/v1/publish", kind, &many)]
    {
        let with_parent = format!("{headers}{PARENT}-01\r\n");
        assert_eq!(served.post_with(path, headers, lines).status, 200);
        assert_eq!(served.post_with(path, &with_parent, lines).status, 200);
    }
    (0..3).for_each(|_| assert_eq!(served.post_with("/publish/news", "", "x").status, 200));
    drop(served);
    let mut spans = Vec::new();
    while spans.len() < 801 {
        spans.extend(taken_apart(collected.recv().unwrap().1).0);
    }
    let (children, others): (Vec<Value>, Vec<Value>) =
        spans.into_iter().partition(|span| span["traceId"] == TRACE);
    assert_eq!((children.len(), others.len()), (600, 201));
    assert!(others.iter().all(|span| span.get("parentSpanId").is_none()));
    let ids = |spans: &[Value], name: &str| {
        spans.iter().map(|it| it[name].to_string()).collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!((ids(&children, "spanId"), ids(&others, "traceId")), (600, 201));
}

/// A collector that hangs, or is not there, or refuses keeps no publisher waiting; what it does not
/// take is counted, span by span.
#[test]
fn a_dead_collector_harms_nobody() {
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (refuses, _collected) = collector("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
    let counted = |served: &Served| {
        let metrics = served.ask("GET /metrics").body;
        let count = |name: &str| -> u64 {
            let name = format!("stentor_spans_{name}_total ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
        };
        [count("exported"), count("dropped"), count("failed")]
    };
    let lines: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    let served = traced(format!("http://{}", hangs.local_addr().unwrap()), 1);
    assert_eq!(served.post("/publish/news?lines", &lines).status, 200);
    served.until_published(10_000);
    let [exported, dropped, failed] = counted(&served);
    // What is neither dropped nor given up waits in the queue, or with the collector.
    let kept = 10_000 - dropped - failed;
    let kept_max = (SPANS_MAX + SPANS_PER_REQUEST_MAX) as u64;
    assert!(exported == 0 && dropped > 0 && kept <= kept_max, "{dropped} {failed}");
    drop(served);
    for endpoint in [format!("http://{gone}"), refuses] {
        let served = traced(endpoint, 1);
        let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(served.post("/publish/news?lines", &lines).status, 200);
        wait_until(|| counted(&served) == [0, 0, 100]);
    }
}
