use std::time::Duration;

use super::{
    client::{self, SeenPartition},
    cluster::{PARTITIONS_MAX, check_count, epoch},
    partition::{Found, Met, Partition, Read, position},
};
use crate::{
    bus::Fault,
    ids::{Epoch, Offset},
    inputs::{Kafka, StartAt},
};

const OLD: Epoch = Epoch(7);
const NOW: Duration = Duration::from_millis(5000);

fn found(low: i64, high: i64) -> Found {
    Found { low, high, since: None, is_new: false }
}

/// A partition that was read from its beginning up to this offset, without that, at this time.
fn read_to(next: i64, at_ms: i64) -> Partition {
    let mut partition = Partition::new(OLD);
    assert_eq!(partition.meet(&found(0, next), &StartAt::All, NOW), Ok(Met::At(0)));
    partition.on_record(next - 1, Some(at_ms));
    partition
}

/// Where reading begins is what `start` says, within what the broker has.
#[test]
fn reading_begins_where_it_is_to() {
    let since = Found { since: Some(44), ..found(20, 100) };
    let behind = |offset: &str| StartAt::Behind(offset.to_owned());
    let right = [
        (StartAt::All, found(20, 100), Met::At(20)),
        (StartAt::New, found(20, 100), Met::At(100)),
        (StartAt::History(30), found(20, 100), Met::At(70)),
        (StartAt::Last(30), found(20, 100), Met::At(70)),
        (StartAt::Last(81), found(20, 100), Met::At(20)),
        (StartAt::Last(u64::MAX), found(0, 100), Met::At(0)),
        (StartAt::Time(1), since, Met::At(44)),
        (StartAt::Time(1), found(20, 100), Met::At(100)),
        (behind("99"), found(20, 100), Met::At(100)),
        (behind("19"), found(20, 100), Met::At(20)),
        (behind("9"), found(20, 100), Met::Trimmed { from: 10, to: 20 }),
        (StartAt::New, Found { is_new: true, ..found(0, 100) }, Met::At(0)),
        (StartAt::New, Found { is_new: true, ..found(3, 9) }, Met::Trimmed { from: 0, to: 3 }),
        (StartAt::All, found(0, 0), Met::At(0)),
    ];
    for (start, found, expected) in right {
        let mut partition = Partition::new(OLD);
        assert_eq!(partition.meet(&found, &start, NOW), Ok(expected), "{start:?}, {found:?}");
        assert_eq!(partition.epoch, OLD);
        let next = expected.from().max(found.low);
        assert_eq!(partition.read(), Some(Read { next, last_ms: 5000 }));
    }
    for (text, expected) in [
        ("100", "ends before offset 100; start=behind:100 is past it"),
        ("x", "has no offset 'x'; write a number, like behind:1000"),
        ("-1", "has no offset '-1'; write a number, like behind:1000"),
    ] {
        let told = Partition::new(OLD).meet(&found(20, 100), &behind(text), NOW);
        assert_eq!(told, Err(expected.to_owned()));
    }
}

/// A partition that is met again goes on behind the last record; what was trimmed meanwhile is told
/// exactly, and nothing if only what was read is gone.
#[test]
fn a_partition_is_met_again() {
    for (low, expected) in [
        (0, Met::At(50)),
        (50, Met::At(50)),
        (51, Met::Trimmed { from: 50, to: 51 }),
        (80, Met::Trimmed { from: 50, to: 80 }),
    ] {
        let mut partition = read_to(50, 1);
        assert_eq!(partition.meet(&found(low, 80), &StartAt::All, NOW), Ok(expected));
        assert_eq!((partition.next, partition.epoch), (low.max(50), OLD));
    }
}

/// A partition that ends before what was read of it has a numbering of its own from then on, and goes
/// on with the first record that is not older than the last that was read, if there is any.
#[test]
fn a_partition_that_was_made_anew_is_numbered_anew() {
    for (since, expected) in [(Some(12), 12), (None, 44), (Some(3), 10), (Some(99), 44)] {
        let mut partition = read_to(50, 1234);
        assert_eq!(partition.read(), Some(Read { next: 50, last_ms: 1234 }));
        let found = Found { since, ..found(10, 44) };
        assert_eq!(partition.meet(&found, &StartAt::All, NOW), Ok(Met::Anew(expected)));
        assert_eq!(partition.next, expected);
        assert_ne!(partition.epoch, OLD);
        let new = partition.epoch;
        assert_eq!(partition.meet(&found, &StartAt::All, NOW), Ok(Met::At(expected)));
        assert_eq!(partition.epoch, new);
    }
}

/// A partition is caught up with what it had when the connection began, be it read or marks of
/// transactions that are never read, which are no lag either, and no loss when they are trimmed.
#[test]
fn a_partition_is_caught_up_at_its_end() {
    let seen = |eof_offset, hi_offset, ls_offset| SeenPartition {
        unknown: false,
        eof_offset,
        hi_offset,
        ls_offset,
    };
    let mut partition = Partition::new(OLD);
    partition.meet(&found(0, 10), &StartAt::All, NOW).unwrap();
    assert!(!partition.is_caught_up());
    partition.on_record(8, None);
    assert_eq!(partition.on_seen(&seen(-1001, -1001, -1001)), 1);
    assert!(!partition.is_caught_up());
    assert_eq!(partition.on_seen(&seen(-1001, 30, 25)), 16);
    assert_eq!(partition.on_seen(&seen(10, 30, -1)), 20);
    assert!(partition.is_caught_up());
    assert_eq!(partition.meet(&found(10, 10), &StartAt::All, NOW), Ok(Met::At(10)));
    assert!(partition.is_caught_up());
    assert_eq!(partition.meet(&found(10, 11), &StartAt::All, NOW), Ok(Met::At(10)));
    assert!(!partition.is_caught_up());
    partition.on_record(10, None);
    assert!(partition.is_caught_up());
}

/// The first record has a position behind that of nothing, and partitions have numberings of their
/// own, the same in every process.
#[test]
fn positions_begin_with_one() {
    assert_eq!(position(OLD, -1).offset, Offset(0));
    assert_eq!(position(OLD, 0).offset, Offset(1));
    assert_eq!(position(OLD, i64::MAX - 1).offset, Offset(i64::MAX as u128));
    let all = [
        epoch("c", "ticks", 0),
        epoch("c", "ticks", 1),
        epoch("c", "tick", 0),
        epoch("d", "ticks", 0),
    ];
    let told: std::collections::HashSet<Epoch> = all.into_iter().collect();
    assert_eq!(told.len(), all.len());
    assert_eq!(all[0], Epoch(FIRST));
}

/// An input reads so many partitions, and no more.
#[test]
fn partitions_are_bounded() {
    assert!(check_count(PARTITIONS_MAX).is_ok());
    let Err(Fault::Refused(told)) = check_count(PARTITIONS_MAX + 1) else { panic!("too many") };
    let expected = "its topics have 10001 partitions, and an input reads at most 10000; make several \
                    inputs of it";
    assert_eq!(told, expected);
}

/// A property that cannot be is named with what would be right, and never with its value.
#[tokio::test]
async fn a_wrong_property_is_told_without_its_value() {
    for (name, expected) in [
        ("sasl.pasword", "property sasl.pasword is none of librdkafka's; see its CONFIGURATION.md"),
        (
            "socket.timeout.ms",
            "property socket.timeout.ms cannot have its value in this build of librdkafka",
        ),
        (
            "auto.offset.reset",
            "property auto.offset.reset is set by the input itself; leave it out",
        ),
        (
            "bootstrap.servers",
            "property bootstrap.servers is set by the input itself; leave it out",
        ),
    ] {
        let kafka = Kafka {
            brokers: "127.0.0.1:1".into(),
            topics: vec!["ticks".into()],
            start: StartAt::New,
            properties: vec![(name.into(), "secret".into())],
        };
        let Err(Fault::Refused(told)) = client::consumer(&kafka) else { panic!("{name}") };
        assert_eq!(told, expected);
    }
}

/// The numbering of partition 0 of topic `ticks` in cluster `c`, as every release has it.
const FIRST: u64 = 0xbbcf_5180_8d48_030e;
