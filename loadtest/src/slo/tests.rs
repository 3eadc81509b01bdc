//! What objectives are read as, and where each of them turns from met to missed.

use std::time::SystemTime;

use super::*;
use crate::{
    options::Options,
    record::{ClientUse, Publications, Record, ServerUse},
    tally::{Spread, Tally},
    watch::Machine,
};

/// A run of which every measure is one that the limits of [`AT_THE_LIMIT`] name.
fn record() -> Record {
    let mut tally = Tally::default();
    for (histogram, micros) in [
        (&mut tally.times.delivery, 250_000),
        (&mut tally.times.connect, 7_000),
        (&mut tally.times.handshake, 8_000),
        (&mut tally.times.first, 9_000),
        (&mut tally.times.resume, 10_000),
    ] {
        histogram.record(micros).unwrap();
    }
    let spread = |received, last_micros| Spread { received, last_micros };
    tally.spreads = vec![spread(5, 30), spread(5, 10), spread(0, 0), spread(5, 20), spread(9, 70)];
    tally.connections.established = 1_000;
    tally.connections.failed = 3;
    tally.connections.ramp = Duration::from_millis(1_500);
    let deliveries = &mut tally.deliveries;
    deliveries.reordered = 6;
    (deliveries.corrupt, deliveries.misdirected, deliveries.unexpected_closes) = (7, 1, 9);
    deliveries.received = 3;
    // Of what was missing or came again, some was so where a subscriber resumed.
    (deliveries.lost, deliveries.unannounced_gap, deliveries.false_recovered) = (1, 1, 2);
    (deliveries.duplicated, deliveries.repeated) = (2, 3);
    Record {
        plan: Options::default().resolve("test").unwrap(),
        profile: "stentor".to_owned(),
        target: "127.0.0.1:8080".to_owned(),
        is_verified: None,
        began: SystemTime::UNIX_EPOCH,
        machine: Machine::default(),
        measured: Duration::from_secs(1),
        tally,
        publications: Publications { failed: 2, ..Publications::default() },
        first_broadcast: 4,
        server: Some(ServerUse {
            cpu: Duration::from_micros(30),
            resident: 300_000,
            resident_before: 100_000,
            ..ServerUse::default()
        }),
        client: ClientUse::default(),
        agents: Vec::new(),
    }
}

/// Each measure with what [`record`] has of it, and the same less the least there is.
const AT_THE_LIMIT: &[(&str, &str, &str)] = &[
    ("p50", "250ms", "249ms"),
    ("p90", "250ms", "249ms"),
    ("p99", "250ms", "249ms"),
    ("p999", "250ms", "249ms"),
    ("max", "250ms", "249ms"),
    ("connect-p99", "7ms", "6.999ms"),
    ("handshake-p99", "8ms", "7.999ms"),
    ("first-p99", "9ms", "8.999ms"),
    ("resume-p99", "10ms", "9.999ms"),
    ("spread-p50", "20us", "19.999us"),
    ("spread-max", "30us", "29.999us"),
    ("broadcast-max", "70us", "69.999us"),
    ("loss", "4", "3"),
    ("duplicates", "5", "4"),
    ("reordered", "6", "5"),
    ("corrupt", "8", "7"),
    ("closes", "9", "8"),
    ("connect-failures", "3", "2"),
    ("publish-failures", "2", "1"),
    ("ramp", "1.5s", "1.499999999s"),
    ("rss-per-connection", "200B", "199B"),
    ("cpu-per-delivery", "10us", "9.999us"),
];

fn slo(text: &str) -> Slo {
    text.parse().unwrap()
}

/// At the limit is met, and the least above it is missed, for every measure.
#[test]
fn at_the_limit_is_met_and_above_it_missed() {
    let record = record();
    assert_eq!(AT_THE_LIMIT.len(), MEASURES.len(), "every measure is tried");
    for (name, at, below) in AT_THE_LIMIT {
        assert_eq!(judge(&slo(&format!("{name}={at}")), &record), [], "{name}");
        let misses = judge(&slo(&format!("{name}={below}")), &record);
        let [Miss { objective, limit, measured }] = &misses[..] else { panic!("{name}") };
        let digits = |text: &str| text.replace(' ', "").replace('µ', "u");
        assert_eq!((*objective, &digits(limit)[..]), (*name, *below));
        assert_eq!(digits(measured), *at, "{name}");
    }
}

/// A miss is written like every figure of the report, and what was too much by less than that
/// shows, exactly.
#[test]
fn a_miss_looks_like_the_rest_of_the_report() {
    for (unit, numbers, texts) in [
        (Unit::Time, [10_000_000_000, 10_812_324_000], ["10 s", "10.8 s"]),
        (Unit::Time, [10_000, 11_111], ["10 µs", "11.1 µs"]),
        (Unit::Time, [250_000_000, 250_111_000], ["250ms", "250.111ms"]),
        (Unit::Bytes, [200, 2_449], ["200 B", "2.45 kB"]),
        (Unit::Count, [0, 12_345], ["0", "12,345"]),
    ] {
        assert_eq!(unit.shown(numbers), texts);
    }
}

/// A figure per connection is above its limit as soon as all of them together are, by a byte.
#[test]
fn a_byte_too_many_is_too_many() {
    let mut record = record();
    record.server.as_mut().unwrap().resident += 1;
    let misses = judge(&slo("rss-per-connection=200B"), &record);
    assert_eq!(misses[0].to_string(), "rss-per-connection: 201 B, allowed is 200 B");
}

/// What was not measured is missed, and says why.
#[test]
fn what_was_not_measured_is_missed() {
    let empty = Record { tally: Tally::default(), ..record() };
    let unwatched = Record { server: None, ..record() };
    for (record, objective, told) in [
        (
            &empty,
            "p99=1h",
            "p99: not measured, because nothing of the kind happened, allowed is 1h",
        ),
        (
            &empty,
            "spread-max=1s",
            "spread-max: not measured, because no publication reached anybody, allowed is 1s",
        ),
        (
            &empty,
            "broadcast-max=1s",
            "broadcast-max: not measured, because no broadcast reached anybody, allowed is 1s",
        ),
        (
            &empty,
            "rss-per-connection=1kB",
            "rss-per-connection: not measured, because nobody was connected, allowed is 1kB",
        ),
        (
            &empty,
            "cpu-per-delivery=1s",
            "cpu-per-delivery: not measured, because nothing was received, allowed is 1s",
        ),
        (
            &unwatched,
            "cpu-per-delivery=10us",
            "cpu-per-delivery: not measured, because no server was watched (--spawn or --pid), \
             allowed is 10us",
        ),
    ] {
        let misses = judge(&slo(objective), record);
        assert_eq!(misses.iter().map(Miss::to_string).collect::<Vec<_>>(), [told]);
    }
}

/// Misses stand in the order of the objectives, and those that were met are not among them.
#[test]
fn misses_keep_the_order_of_the_objectives() {
    let misses = judge(&slo("loss=0,p99=1s,closes=1"), &record());
    let names: Vec<_> = misses.iter().map(|miss| miss.objective).collect();
    assert_eq!(names, ["loss", "closes"]);
}

/// What is written is read back, as text and as JSON.
#[test]
fn objectives_are_written_as_they_are_read() {
    let text = "p99=250ms,p999=1s,loss=0,rss-per-connection=200B,cpu-per-delivery=10us";
    assert_eq!(slo(text).to_string(), text);
    let json = serde_json::to_string(&slo(text)).unwrap();
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Slo>(&json).unwrap(), slo(text));
    assert!(slo("").is_empty());
}

/// Each mistake is told in full.
#[test]
fn a_wrong_objective_is_told_in_full() {
    for (text, told) in [
        ("p99", "has 'p99', which has no '='"),
        ("loss=0,,p99=1s", "has '', which has no '='"),
        ("p9=1s", "has 'p9', which is not an objective (did you mean 'p90'?)"),
        ("p99=250", "has p99=250, which has no unit (p99 is a time like 250ms or 10us)"),
        (
            "rss-per-connection=2ms",
            "has rss-per-connection=2ms, which has the unknown unit 'ms' \
             (rss-per-connection is bytes like 200B or 4kB)",
        ),
        ("loss=1%", "has loss=1%, which is not a whole number (loss is a whole number like 0)"),
        ("loss=0,loss=1", "has loss twice"),
    ] {
        assert_eq!(text.parse::<Slo>(), Err(told.to_owned()), "{text}");
    }
}

/// What the help gives as an example is an objective.
#[test]
fn every_example_is_an_objective() {
    for row in MEASURES {
        let text = format!("{}={}", row.name, row.example);
        assert_eq!(slo(&text).to_string(), text);
    }
}
