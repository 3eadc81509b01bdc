//! Health, readiness, metrics and statistics.

use std::collections::HashSet;

use super::*;
use crate::close::CloseReason;

/// A server that lives and turns is healthy and ready; parked shards wake to prove it.
#[test]
fn a_quiet_server_is_ready() {
    let served = serve_shards(&[Shard::Prompt, Shard::Prompt], 4, patient());
    let health = served.ask("GET /healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let ready = served.ask("GET /readyz");
    let expected = "{\"ready\":true,\"draining\":false,\"shards\":2,\"stuck\":[]}\n";
    assert_eq!((ready.status, ready.body.as_str()), (200, expected));
    served.draining.send_replace(true);
    let draining = served.ask("GET /readyz");
    let expected = "{\"ready\":false,\"draining\":true,\"shards\":2,\"stuck\":[]}\n";
    assert_eq!((draining.status, draining.body.as_str()), (503, expected));
    assert_eq!(served.ask("GET /healthz").status, 200);
}

/// A shard that does not turn is named.
#[test]
fn a_stuck_shard_is_not_ready() {
    let settings = Settings { ready_deadline: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Stuck, Shard::Stuck], 4, settings);
    let ready = served.ask("GET /readyz");
    let problems = r#"["shard 0 has not turned within 30ms","shard 1 has not turned within 30ms"]"#;
    let expected = format!(
        "{{\"ready\":false,\"draining\":false,\"shards\":2,\"stuck\":[0,1],\"problems\":{problems}}}\n"
    );
    assert_eq!((ready.status, ready.body), (503, expected));
}

/// A shard that turns and does not deliver, or does not take, is named, and nobody else.
#[test]
fn a_shard_that_does_not_deliver_is_named() {
    let served = |odd| {
        let settings = Settings { ready_deadline: LONG_ENOUGH, ..patient() };
        let served = serve_shards(&[Shard::Prompt, odd, Shard::Prompt], 4, settings);
        let ready = served.ask("GET /readyz");
        let body: serde_json::Value = serde_json::from_str(&ready.body).unwrap();
        (ready.status, body["stuck"].to_string(), body["problems"][0].as_str().unwrap().to_owned())
    };
    let named = |problem: &str| (503, "[1]".to_owned(), problem.to_owned());
    assert_eq!(
        served(Shard::Deaf),
        named("shard 1 has not delivered the probe of shard 0 within 1s")
    );
    assert_eq!(served(Shard::Gathers(2)), named("shard 1 has not taken a probe within 1s"));
}

/// So long that threads which have anything to do have done it.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// However many ask, one probe is made a second, and a shard that is stuck is owed one of each home.
#[test]
fn many_who_ask_cost_one_probe() {
    let settings = Settings { ready_deadline: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Prompt, Shard::Deaf], 4, settings);
    for _ in 0..3 {
        let asked: Vec<TcpStream> = (0..20)
            .map(|_| served.send(served.with_head("GET /readyz", "connection: close\r\n", b"")))
            .collect();
        asked.into_iter().for_each(|stream| assert_eq!(reply(stream).status, 503));
        thread::sleep(Duration::from_millis(1001));
    }
    assert_eq!(served.published.lock().unwrap().len(), 2, "one to each home");
    let metrics = served.ask("GET /metrics");
    let samples = parse(&metrics.body);
    assert!(samples.contains("stentor_probes_total 3"), "{}", metrics.body);
    assert!(samples.contains("stentor_probe_failures_total 3"), "{}", metrics.body);
}

/// Counters that differ in every field and shard.
fn count(served: &Served) {
    for (n, shard) in served.counters.iter().enumerate() {
        let unit = 10_u64.pow(n as u32);
        shard.connections.set(10 * unit);
        shard.subscribers[0].set(5 * unit);
        shard.subscribers[1].set(3 * unit);
        shard.subscribers[2].set(unit);
        shard.accepted.add(20 * unit);
        shard.publications.add(4 * unit);
        shard.publication_bytes.add(400 * unit);
        shard.deliveries.add(60 * unit);
        shard.sends.add(40 * unit);
        shard.inbox.set(unit);
        shard.busy_us.add(250_000);
        shard.on_sweep(200);
        shard.on_sweep(20_000_000);
        shard.on_written(3_000);
        shard.resumed.add(7 * unit);
        shard.recovered.add(6 * unit);
        shard.skipped.add(30 * unit);
        shard.gaps.add(2 * unit);
        shard.on_closed(CloseReason::BadUtf8);
    }
}

/// Each sample is of a family that has help and a type, and every promised family has its value.
#[test]
fn metrics_are_named_typed_and_right() {
    let settings = Settings { scrape_timeout: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Stuck, Shard::Stuck], 4, settings);
    count(&served);
    let metrics = served.ask("GET /metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let samples = parse(&metrics.body);
    for expected in [
        "stentor_build_info{version=\"0.1.0\"} 1",
        "stentor_connections{transport=\"websocket\"} 55",
        "stentor_connections{transport=\"sse\"} 33",
        "stentor_connections{transport=\"json\"} 11",
        "stentor_connections{transport=\"other\"} 11",
        "stentor_connections_accepted_total 220",
        "stentor_connections_refused_total 0",
        "stentor_publications_total 44",
        "stentor_publications_refused_total 0",
        "stentor_publication_bytes_total 4400",
        "stentor_encodings_total 0",
        "stentor_deliveries_total 660",
        "stentor_delivered_bytes_total 0",
        "stentor_sends_total 440",
        "stentor_short_sends_total 0",
        "stentor_turns_total 0",
        "stentor_coalescing_ratio 1.5",
        "stentor_sweep_duration_seconds_sum 40.0004",
        "stentor_sweep_duration_seconds_count 4",
        "stentor_sweep_duration_seconds_bucket{le=\"0.0001\"} 0",
        "stentor_sweep_duration_seconds_bucket{le=\"0.0003\"} 2",
        "stentor_sweep_duration_seconds_bucket{le=\"10.0\"} 2",
        "stentor_sweep_duration_seconds_bucket{le=\"+Inf\"} 4",
        "stentor_delivered_last_seconds_sum 0.006",
        "stentor_delivered_last_seconds_count 2",
        "stentor_delivered_last_seconds_bucket{le=\"0.001\"} 0",
        "stentor_delivered_last_seconds_bucket{le=\"0.003\"} 2",
        "stentor_subscriptions_resumed_total 77",
        "stentor_subscriptions_recovered_total 66",
        "stentor_publications_skipped_total 330",
        "stentor_gaps_total 22",
        "stentor_subscribers_blocked 0",
        "stentor_inbox_depth{shard=\"0\"} 1",
        "stentor_inbox_depth{shard=\"1\"} 10",
        "stentor_publish_queue_depth{shard=\"0\"} 0",
        "stentor_publish_queue_depth{shard=\"1\"} 0",
        "stentor_shard_busy_seconds_total{shard=\"0\"} 0.25",
        "stentor_log_bytes 0",
        "stentor_channels 0",
        "stentor_views 0",
    ] {
        assert!(samples.contains(expected), "{expected}\n{}", metrics.body);
    }
    let labels = "peer_left protocol_error bad_utf8 message_too_big policy bad_request \
        handshake_timeout peer_silent peer_stalled peer_too_slow overloaded server_draining \
        unsupported";
    for label in labels.split(' ') {
        let count = if label == "bad_utf8" { 2 } else { 0 };
        let expected = format!("stentor_connections_closed_total{{reason=\"{label}\"}} {count}");
        assert!(samples.contains(expected.as_str()), "{expected}");
    }
    for measured in ["process_resident_memory_bytes ", "process_cpu_seconds_total "] {
        assert!(samples.iter().any(|sample| sample.starts_with(measured)), "{measured}");
    }
}

/// The samples of an OpenMetrics text, each checked to stand under the head of its family.
pub(super) fn parse(text: &str) -> HashSet<&str> {
    let mut samples = HashSet::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    let mut families = HashSet::new();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect(line);
            assert!(families.insert(name), "{name} comes twice");
            assert!(help.len() > 10 && help.ends_with('.'), "{line}");
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            assert_eq!(name, helped, "{line}");
            typed = name.to_owned();
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').expect(line);
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect(line);
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let suffix = name.strip_prefix(&typed).expect(line).split('{').next().unwrap();
            let suffixes = ["", "_total", "_info", "_sum", "_count", "_bucket"];
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(samples.insert(line), "{line} comes twice");
        }
    }
    samples
}

/// The page's numbers are sums over all shards.
#[test]
fn stats_are_sums() {
    let served = serve_shards(&[Shard::Stuck, Shard::Stuck], 4, patient());
    count(&served);
    let stats = served.ask("GET /stats");
    let stats: serde_json::Value = serde_json::from_str(&stats.body).unwrap();
    let connections =
        serde_json::json!({"total": 110, "websocket": 55, "sse": 33, "json": 11, "other": 11});
    assert_eq!(stats["connections"], connections);
    for (name, expected) in [
        ("shards", 2),
        ("accepted", 220),
        ("publications", 44),
        ("publication_bytes", 4400),
        ("deliveries", 660),
        ("resumed", 77),
        ("recovered", 66),
        ("skipped", 330),
        ("gaps", 22),
    ] {
        assert_eq!(stats[name].as_u64(), Some(expected), "{name}");
    }
    assert_eq!(stats["draining"], false);
    let up_to =
        [100, 300, 1000, 3000, 10000, 30000, 60000, 100000, 300000, 1000000, 3000000, 10000000];
    let sweeps = serde_json::json!({
        "up_to_us": up_to, "counts": [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], "sum_us": 40_000_400
    });
    assert_eq!(stats["sweeps"], sweeps);
    let delivered_last = serde_json::json!({
        "up_to_us": up_to, "counts": [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], "sum_us": 6_000
    });
    assert_eq!(stats["delivered_last"], delivered_last);
    assert_eq!(stats["busy_seconds"], 0.5);
}

/// The server's age does not depend on shards that turn.
#[test]
fn uptime_passes_while_shards_sleep() {
    let served = serve_shards(&[Shard::Stuck], 4, patient());
    let uptime = || {
        let stats: serde_json::Value =
            serde_json::from_str(&served.ask("GET /stats").body).unwrap();
        stats["uptime_seconds"].as_f64().unwrap()
    };
    let first = uptime();
    assert!(uptime() > first);
}
