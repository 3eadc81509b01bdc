//! What the shards are asked: lists of channels, one channel, lag.

use super::*;
use crate::{
    close::CloseReason,
    frame::Format,
    ids::{ChannelName, ConnectionId, ShardId, Slot},
    policy::{Mode, Pattern, PatternId, Policy},
    report::{
        BusyChannel, ChannelLag, ChannelReport, ConnectionReport, ConnectionsReport, Lag,
        LagReport, PatternLag, SlowSubscriber, SubscriptionReport, Transport, Wanted,
    },
};

/// Every channel of the fake shards: `room.0`, `room.1` and so on, of whatever home.
const ROOMS: u64 = 25;

fn room(n: u64) -> ChannelReport {
    let name = ChannelName::new(&format!("room.{n}")).unwrap();
    let position = Position { epoch: Epoch(0xe), offset: Offset(u128::from(n)) };
    ChannelReport { name, subscribers: n, position, kept: 2 * n, kept_bytes: 3 * n }
}

/// Every third room is silent; of the others most is published in the smallest.
fn busy(room: ChannelReport) -> BusyChannel {
    let ChannelReport { name, subscribers, .. } = room;
    let rate = if subscribers % 3 == 0 { 0.0 } else { 60.5 - 2.0 * subscribers as f64 };
    BusyChannel { name, subscribers, publications_per_second: rate }
}

/// A fake shard answers all it was asked: its own part of the rooms, and a lag that tells shards
/// apart.
pub(super) fn answer_all(
    shard: usize,
    shards: usize,
    questions: &Questions<Question>,
    watch: impl Fn(Arc<Seen>),
) {
    let homed =
        |report: &ChannelReport| usize::from(report.name.bucket().home(shards as u16).0) == shard;
    while let Some(question) = questions.take() {
        match question {
            Question::Channels { prefix, after, limit, reply } => {
                let mut rooms: Vec<_> = (0..ROOMS).map(room).filter(homed).collect();
                rooms.retain(|room| room.name.as_str().starts_with(&prefix));
                rooms.retain(|room| after.as_ref().is_none_or(|after| room.name > *after));
                rooms.sort_by(|one, other| one.name.cmp(&other.name));
                rooms.truncate(limit);
                reply(rooms);
            }
            Question::Channel { name, reply } => {
                reply((0..ROOMS).map(room).filter(homed).find(|room| room.name == name));
            }
            Question::Busiest { limit, reply } => {
                let mut busy: Vec<_> = (0..ROOMS).map(room).filter(homed).map(busy).collect();
                busy.sort_by(BusyChannel::compare);
                busy.truncate(limit);
                reply(busy);
            }
            Question::Lag(reply) => reply(lag(shard as u64)),
            Question::ChannelLag { reply, .. } => reply(channel_lag(shard as u64)),
            Question::Connections { wanted, from, limit, reply } => {
                reply(connections(shard as u16, &wanted, from, limit));
            }
            Question::Connection { id, close, reply } => {
                let found = (0..SLOTS).filter_map(|slot| connection(id.shard.0, slot));
                let mut found = found.filter(|it| it.id == id).collect::<Vec<_>>();
                let told = |it: &mut ConnectionReport| it.pending_bytes = closed(close);
                found.iter_mut().for_each(told);
                reply(found.pop());
            }
            Question::Watch { seen, reply, .. } => {
                watch(seen);
                reply(());
            }
        }
    }
}

/// Slots of each fake shard; every other has a connection.
pub(super) const SLOTS: u32 = 10;

/// A fake connection says in its pending bytes as what it was closed.
pub(super) fn closed(reason: Option<CloseReason>) -> u64 {
    reason.map_or(0, |reason| u64::from(reason.websocket_code()))
}

pub(super) fn connection(shard: u16, slot: u32) -> Option<ConnectionReport> {
    let n = u64::from(slot) + 100 * u64::from(shard);
    let lag = Lag { publications: n, bytes: 2 * n, ms: 3 * n };
    let channel =
        SubscriptionReport { channel: room(n).name, position: Some(room(n).position), lag };
    slot.is_multiple_of(2).then(|| ConnectionReport {
        id: ConnectionId { shard: ShardId(shard), slot: Slot(slot), generation: 7 },
        address: Some(SocketAddr::from(([192, 0, 2, slot as u8], 40_000))),
        subject: (slot == 4).then(|| "ann".into()),
        transport: Transport::ALL[1 + slot as usize % 4],
        since_ms: 1_700_000_000_000 + n,
        blocked: slot == 4,
        pending_bytes: 0,
        received_bytes: n,
        subscriptions: 1,
        channels: vec![channel],
        lag,
    })
}

/// At most three slots are looked at per answer.
fn connections(shard: u16, wanted: &Wanted, from: Slot, limit: usize) -> ConnectionsReport {
    let mut report = ConnectionsReport::default();
    for slot in from.0..SLOTS {
        if report.connections.len() == limit || slot == from.0 + 3 {
            report.next = Some(Slot(slot));
            break;
        }
        let is_wanted = |it: &ConnectionReport| {
            wanted.address.is_none_or(|address| it.address.map(|it| it.ip()) == Some(address))
                && wanted.transport.is_none_or(|transport| it.transport == transport)
                && wanted.channel.as_ref().is_none_or(|channel| it.channels[0].channel == *channel)
        };
        report.connections.extend(connection(shard, slot).filter(is_wanted));
    }
    report
}

fn channel_lag(shard: u64) -> ChannelLag {
    let most = Lag { publications: 10 + shard, bytes: 100 - shard, ms: 5 };
    ChannelLag { subscribers: [1, 10 * shard, 100], behind: 3, most }
}

fn lag(shard: u64) -> LagReport {
    let mut both = PatternLag::new(PatternId(1));
    both.add(2 + shard, 0, 0);
    both.add(1, 7, 250);
    let mut own = PatternLag::new(PatternId(shard as u16 * 2));
    own.add(1, 5_000_000, 4_000_000);
    let slow = |n: u64| SlowSubscriber {
        address: (n != 3).then(|| SocketAddr::from(([192, 0, 2, n as u8], 40_000 + n as u16))),
        channel: ChannelName::new(&format!("room.{n}")).unwrap(),
        format: Format::ALL[n as usize % 3],
        publications: 100 - n,
        bytes: 1000 * n,
        ms: 10 * n,
    };
    LagReport { patterns: vec![both, own], slowest: (0..8).map(|n| slow(2 * n + shard)).collect() }
}

fn policies() -> Policies {
    let latest = Policy { mode: Mode::Latest, ..Policy::default() };
    let patterns = [("room.2*", latest), ("room.*", Policy::default())];
    Policies::new(patterns.map(|(pattern, policy)| (Pattern::new(pattern), policy)))
}

fn json(reply: &Reply) -> serde_json::Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_str(&reply.body).unwrap()
}

/// Page after page gives every channel once, in the order of the names, whatever the size of pages,
/// from one shard or several; the last page says that it is the last, also where it is full.
#[test]
fn channels_are_listed_page_by_page() {
    let mut sorted: Vec<String> = (0..ROOMS).map(|n| format!("room.{n}")).collect();
    sorted.sort();
    for (limit, shards) in [1, 5, 7, 24, 25, 26, 1000].into_iter().zip([1, 3].repeat(4)) {
        let served = serve_shards(&vec![Shard::Prompt; shards], 4, patient());
        let (mut listed, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let page = json(&served.ask(&format!("GET /channels?limit={limit}{after}")));
            let channels = page["channels"].as_array().unwrap();
            listed.extend(channels.iter().map(|it| it["channel"].as_str().unwrap().to_owned()));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!((listed, pages), (sorted.clone(), ROOMS.div_ceil(limit)), "limit {limit}");
    }
    let served = serve_shards(&[Shard::Prompt; 3], 4, patient());
    let some = json(&served.ask("GET /channels?prefix=room%2E2&_=1"));
    assert_eq!(some["channels"].as_array().unwrap().len(), 6);
    assert_eq!(
        json(&served.ask("GET /channels?prefix=x")),
        serde_json::json!({
            "channels": [], "next": null
        })
    );
}

/// A channel is shown as its home knows it, with the pattern that it lives by.
#[test]
fn a_channel_is_shown() {
    let served = serve_policies(&[Shard::Prompt; 3], 4, patient(), policies());
    for (path, n, pattern, mode) in
        [("room.24", 24, "room.2*", "latest"), ("room%2e7", 7, "room.*", "log")]
    {
        let reply = served.ask(&format!("GET /channels/{path}"));
        let expected = format!(
            "{{\"channel\":\"room.{n}\",\"subscribers\":{n},\"position\":\"e-{n}\",\
             \"kept\":{},\"kept_bytes\":{},\"pattern\":\"{pattern}\",\"mode\":\"{mode}\"}}\n",
            2 * n,
            3 * n
        );
        assert_eq!((reply.status, reply.body), (200, expected));
    }
    let reply = served.ask("GET /channels/room.25");
    let expected =
        "nobody reads room.25 and nothing of it is kept; /channels lists those that are\n";
    assert_eq!((reply.status, reply.body.as_str()), (404, expected));
}

/// What is asked for wrongly is told what would be right.
#[test]
fn a_wrong_question_is_refused() {
    let served = serve(Shard::Prompt, patient());
    for (path, reason) in [
        ("/channels?limit=0", "limit: '0' is no whole number from 1 to 1000"),
        ("/channels?limit=1001", "from 1 to 1000"),
        ("/channels?limit=", "from 1 to 1000"),
        ("/channels?after=", "give what `next` was in the answer before"),
        ("/channels?after=a%20b", "byte 0x20"),
        ("/channels?prefix=a%2Bb", "no channel begins with the prefix: "),
        ("/channels/", "is empty"),
        ("/channels/a%20b", "the path is /channels/{channel}, as in /channels/news"),
    ] {
        let reply = served.ask(&format!("GET {path}"));
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body.contains(reason), "{path}: {}", reply.body);
    }
    assert_eq!(served.ask("POST /lag").status, 405);
}

/// Lag is added up over the shards, and the slowest of all are named, the slowest first.
#[test]
fn lag_is_merged() {
    let served = serve_policies(&[Shard::Prompt; 2], 4, patient(), policies());
    let shown = json(&served.ask("GET /lag"));
    assert_eq!(
        shown["patterns"],
        serde_json::json!([
            {"pattern": "room.2*", "subscriptions": 1, "publications": [0, 0, 0, 0, 0, 0, 0, 0, 1],
             "publications_sum": 5_000_000, "ms": [0, 0, 0, 0, 0, 0, 0, 0, 1], "ms_sum": 4_000_000},
            {"pattern": "room.*", "subscriptions": 7, "publications": [5, 0, 2, 0, 0, 0, 0, 0, 0],
             "publications_sum": 14, "ms": [5, 0, 0, 2, 0, 0, 0, 0, 0], "ms_sum": 500},
            {"pattern": "*", "subscriptions": 1, "publications": [0, 0, 0, 0, 0, 0, 0, 0, 1],
             "publications_sum": 5_000_000, "ms": [0, 0, 0, 0, 0, 0, 0, 0, 1], "ms_sum": 4_000_000},
        ])
    );
    assert_eq!(shown["publications_up_to"][2], 10);
    assert_eq!(shown["ms_up_to"][8 - 1], 3_600_000);
    let slowest = shown["slowest"].as_array().unwrap();
    let lags: Vec<_> = slowest.iter().map(|slow| slow["publications"].as_u64().unwrap()).collect();
    assert_eq!(lags, [100, 99, 98, 97, 96, 95, 94, 93, 92, 91]);
    assert_eq!(slowest[3]["address"], serde_json::Value::Null);
    let fourth = serde_json::json!({
        "address": "192.0.2.4:40004", "channel": "room.4", "format": "sse",
        "publications": 96, "bytes": 4000, "ms": 40
    });
    assert_eq!(slowest[4], fourth);
}

/// A scrape has the lag as gauges that add up as the buckets of a histogram do.
#[test]
fn a_scrape_has_the_lag() {
    let served = serve_policies(&[Shard::Prompt; 2], 4, patient(), policies());
    let metrics = served.ask("GET /metrics").body;
    let samples = probes::parse(&metrics);
    for expected in [
        "stentor_lag_publications_bucket{pattern=\"room.*\",le=\"0.0\"} 5",
        "stentor_lag_publications_bucket{pattern=\"room.*\",le=\"1.0\"} 5",
        "stentor_lag_publications_bucket{pattern=\"room.*\",le=\"10.0\"} 7",
        "stentor_lag_publications_bucket{pattern=\"room.*\",le=\"+Inf\"} 7",
        "stentor_lag_publications_bucket{pattern=\"*\",le=\"1000000.0\"} 0",
        "stentor_lag_publications_bucket{pattern=\"*\",le=\"+Inf\"} 1",
        "stentor_lag_publications_sum{pattern=\"room.*\"} 14.0",
        "stentor_lag_seconds_bucket{pattern=\"room.*\",le=\"0.1\"} 5",
        "stentor_lag_seconds_bucket{pattern=\"room.*\",le=\"1.0\"} 7",
        "stentor_lag_seconds_bucket{pattern=\"room.2*\",le=\"3600.0\"} 0",
        "stentor_lag_seconds_sum{pattern=\"room.*\"} 0.5",
    ] {
        assert!(samples.contains(expected), "{expected}\n{metrics}");
    }
}

/// A shard that does not turn is waited for in bounded time, and a scrape goes without its lag.
#[test]
fn a_stuck_shard_does_not_answer() {
    let settings = Settings { answer_timeout: SHORT, scrape_timeout: SHORT, ..patient() };
    let served = serve_shards(&[Shard::Prompt, Shard::Stuck], 4, settings);
    for path in ["/lag", "/channels"] {
        let reply = served.ask(&format!("GET {path}"));
        let expected = "a shard did not answer within 30ms (see /readyz)\n";
        assert_eq!((reply.status, reply.body.as_str()), (504, expected));
    }
    assert!(!served.ask("GET /metrics").body.contains("stentor_lag_"));
}

/// When as many questions wait as may, one more is refused at once, and scrapes go without.
#[test]
fn a_full_queue_of_questions_refuses() {
    let served = serve(Shard::Stuck, patient());
    let question = || Question::Lag(Box::new(|_| ()));
    for n in 0..QUESTIONS_MAX {
        assert!(served.questions[0].ask(question()).is_ok(), "{n}");
    }
    for path in ["/lag", "/channels", "/channels/a"] {
        let reply = served.ask(&format!("GET {path}"));
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{reply:?}");
        assert!(reply.body.contains("as many questions as may wait"), "{}", reply.body);
    }
    assert!(!served.ask("GET /metrics").body.contains("stentor_lag_"));
}

/// A shard that ends with a question unanswered keeps nobody waiting.
#[test]
fn a_shard_that_ends_answers_nothing() {
    let served = serve(Shard::Stuck, patient());
    let asking = served.send(served.with_head("GET /lag", "connection: close\r\n", b""));
    wait_until(|| !served.questions[0].is_empty());
    drop(served.questions[0].take());
    let reply = reply(asking);
    assert_eq!((reply.status, reply.body.contains("is stopping")), (503, true), "{reply:?}");
}

/// The client for browsers comes as a script.
#[test]
fn the_client_is_served() {
    let served = serve(Shard::Prompt, patient());
    let reply = served.ask("GET /stentor.js");
    assert_eq!(reply.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(reply.body, include_str!("../../../clients/js/stentor.js"));
}

/// The busiest channels of all shards come in the order of their deliveries, the silent ones by
/// their subscribers, and no more than are asked for.
#[test]
fn the_busiest_channels_come_first() {
    for shards in [1, 3] {
        let served = serve_policies(&vec![Shard::Prompt; shards], 4, patient(), policies());
        let mut expected: Vec<BusyChannel> = (0..ROOMS).map(room).map(busy).collect();
        expected.sort_by(|one, other| {
            let deliveries = |it: &BusyChannel| it.publications_per_second * it.subscribers as f64;
            deliveries(other)
                .total_cmp(&deliveries(one))
                .then(other.subscribers.cmp(&one.subscribers))
        });
        assert_eq!(expected[0].name.as_str(), "room.16", "of 456 deliveries a second");
        for (query, count) in [("", 10), ("?limit=3", 3), ("?limit=1000", ROOMS as usize)] {
            let told = json(&served.ask(&format!("GET /busiest{query}")));
            let name =
                |channel: &serde_json::Value| channel["channel"].as_str().unwrap().to_owned();
            let told: Vec<String> = told["channels"].as_array().unwrap().iter().map(name).collect();
            let expected: Vec<&str> = expected.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(told, expected[..count], "{query}, {shards} shards");
        }
        let refused = served.ask("GET /busiest?limit=0");
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains("limit: '0' is no whole number from 1 to 1000"));
    }
}
