use serde_json::json;

use super::*;

/// What a server of two shards told, `seconds` after its start, with counters that grow by the second.
fn sample(seconds: u64, inputs: usize) -> Sample {
    let shard = |number: u64, factor: u64| {
        json!({ "shard": number, "connections": 1000 * factor, "blocked": number,
            "publications": 3 * factor * seconds, "deliveries": 30_000 * factor * seconds,
            "sends": 10_000 * factor * seconds, "busy_us": 125_000 * factor * seconds,
            "sweeps": [98 * seconds, seconds, seconds] })
    };
    let channel = |name: &str, subscribers: u64, published: f64| {
        json!({ "channel": name, "subscribers": subscribers, "publications_per_second": published,
            "deliveries_per_second": published * subscribers as f64 })
    };
    let input = |n: usize| {
        json!({ "name": format!("bus{n}"), "connected": n == 0, "ready": true, "lag": null,
            "records": 1500 * seconds, "problem": if n == 0 { json!(null) } else { json!("\u{1b}gone") } })
    };
    Sample {
        stats: json!({ "version": "0.1.0", "uptime_seconds": seconds as f64, "draining": false,
            "deliveries": 90_000 * seconds, "publications": 9 * seconds,
            "delivered_bytes": 9_000_000 * seconds, "shards": 2, "channels": 3, "blocked": 1, "resident_bytes": 150_000_000,
            "connections": { "total": 3000, "websocket": 1000, "sse": 2000, "json": 0, "other": 0 } }),
        shards: json!({ "up_to_us": [300, 60_000], "shards": [shard(0, 1), shard(1, 2)] }),
        busiest: json!({ "channels": [
            channel("news", 2500, 8.0), channel("room.2", 10, 40.25), channel("room.1", 490, 0.0)] }),
        inputs: json!({ "inputs": (0..inputs).map(input).collect::<Vec<_>>() }),
    }
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

const VIEW: View<'static> = View { sort: Sort::Deliveries, columns: 80, rows: 24, problem: None };

/// The whole picture on the smallest usual terminal: rates by the server's clock, sweeps of the interval
/// alone, the busiest first.
#[test]
fn everything_fits_80_by_24() {
    let lines = draw(Some(&sample(3600, 2)), &sample(3602, 2), &VIEW);
    let expected = "\
Stentor 0.1.0, up 1h 0m: 2 shards, 3 channels, 143 MiB of memory
3,000 connections (1,000 websocket, 2,000 sse, 0 json, 0 other), 1 blocked
90,000 deliveries/s of 9.0 publications/s, 8.58 MiB/s

SHARD  CONNECTIONS  BLOCKED  PUBL/S  DELIV/S  /SEND  BUSY    SWEEP     P99
    1        2,000        1     6.0   60,000    3.0  25 %  <300 us  <60 ms
    0        1,000        0     3.0   30,000    3.0  12 %  <300 us  <60 ms

SUBSCRIBERS  PUBL/S  DELIV/S  CHANNEL
      2,500     8.0   20,000  news
         10      40      403  room.2
        490       0        0  room.1

REC/S  LAG  STATE  INPUT  PROBLEM
1,500    -  reads  bus0
1,500    -  away   bus1   \u{fffd}gone
q quits; sorted by deliveries: d p s n
";
    assert_eq!(text(&lines), expected);
    let strong: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].strong).collect();
    assert_eq!(strong, [0, 4, 8, 13]);
}

/// Keys change the order, of shards and channels alike; what nobody knows yet is a dash.
#[test]
fn the_order_is_chosen_and_rates_need_two_samples() {
    let order = |sort: Sort| {
        let lines = draw(Some(&sample(10, 0)), &sample(12, 0), &View { sort, ..VIEW });
        let last = |at: usize| lines[at].text.split_whitespace().last().unwrap_or("").to_owned();
        let first = |at: usize| lines[at].text.split_whitespace().next().unwrap_or("").to_owned();
        ([first(5), first(6)].join(" "), [last(9), last(10), last(11)].join(" "))
    };
    for (key, shards, channels) in [
        (b'd', "1 0", "news room.2 room.1"),
        (b'p', "1 0", "room.2 news room.1"),
        (b's', "1 0", "news room.1 room.2"),
        (b'n', "0 1", "news room.1 room.2"),
    ] {
        assert_eq!(order(Sort::by_key(key).unwrap()), (shards.into(), channels.into()));
    }
    assert_eq!(Sort::by_key(b'x'), None);
    let lines = draw(None, &sample(10, 0), &VIEW);
    assert_eq!(
        lines[5].text,
        "    0        1,000        0       -        -      -     -      -    -"
    );
    // A server that has begun anew has counted less than before.
    let lines = draw(Some(&sample(100, 0)), &sample(10, 0), &VIEW);
    assert!(lines[5].text.contains("  -        -  "), "{}", lines[5].text);
}

/// Whatever the size: no line is longer and there are no more of them, what is left out is counted, and
/// the last says what is wrong.
#[test]
fn every_size_is_kept() {
    let (before, mut now) = (sample(1, 9), sample(2, 9));
    let channel = |n: u64| json!({ "channel": format!("room.{n}"), "subscribers": n });
    now.busiest = json!({ "channels": (0..500).map(channel).collect::<Vec<_>>() });
    let shard = now.shards["shards"][0].clone();
    now.shards["shards"] = vec![shard; 64].into();
    for (columns, rows) in [(1, 1), (10, 3), (80, 10), (80, 24), (200, 60), (80, 1000)] {
        let view = View { columns, rows, problem: Some("nothing listens"), ..VIEW };
        let lines = draw(Some(&before), &now, &view);
        assert!(lines.len() <= rows, "{} lines in {columns}x{rows}", lines.len());
        assert!(lines.iter().all(|line| line.text.chars().count() <= columns));
        let last: String = "! nothing listens".chars().take(columns).collect();
        assert_eq!(lines.last().map(|line| line.text.clone()), Some(last));
    }
    let lines = text(&draw(Some(&before), &now, &VIEW));
    for more in ["and 60 more", "and 495 more", "and 7 more"] {
        assert!(lines.contains(more), "{more}: {lines}");
    }
    let all = text(&draw(Some(&before), &now, &View { rows: usize::MAX, ..VIEW }));
    assert!(all.contains("room.0\n") && !all.contains("more"), "{all}");
}
