//! What homes forget, and when.

use std::time::Duration;

use super::{bounds::exchange, home, plain, views};
use crate::{
    frame::Format,
    hub::{Batch, Home, HomeSetup, Published, Said, ViewId},
    ids::{ChannelName, Epoch, ShardId, Slot},
    mesh::{Publish, Rejected, Terms},
    policy::{Mode, Pattern, Policies, Policy, Retention},
    resume::Start,
};

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn said(view: u32, format: Format, subscribers: u32, first: bool) -> Said {
    let view = ViewId { index: view, generation: 1 };
    Said { from: ShardId(0), view, format, subscribers, congested: false, first }
}

fn come_and_go(home: &mut Home, channel: &ChannelName, now_us: u64) {
    home.on_interest(channel, said(1, Format::Sse, 1, true), now_us);
    home.tell(ShardId(0), |_| Ok(()));
    home.on_interest(channel, said(1, Format::Sse, 0, false), now_us);
}

fn policies(policy: Policy) -> Policies {
    Policies::new([(Pattern::new("*"), policy)])
}

/// A channel that nobody reads any more leaves nothing behind, nor does the one that tells so.
#[test]
fn presence_of_nobody_is_not_kept() {
    let mut home = home(policies(Policy { presence: true, ..Policy::default() }), 1, 100, 1000);
    for n in 0..1000u64 {
        let now_us = n * 3_000_000;
        let channel = name(&format!("room.{n}"));
        home.on_interest(&channel, said(1, Format::Sse, 1, true), now_us);
        let mut told = Vec::new();
        let mut tell = |home: &mut Home, now_us| {
            let mut publications = Vec::new();
            home.tell_presence(now_us, |publish| {
                publications.push(publish);
                Ok(())
            });
            for publish in publications {
                told.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                assert_eq!(home.publish(publish, now_us).publications, 1);
            }
        };
        tell(&mut home, now_us);
        home.on_interest(&channel, said(1, Format::Sse, 0, false), now_us + 1);
        tell(&mut home, now_us + 2_000_000);
        assert_eq!(told, [r#"{"subscribers":1}"#, r#"{"subscribers":0}"#]);
        assert_eq!(home.channels(), 0);
    }
}

/// However often a channel comes and goes, it has one timer at most, and none when it is gone.
#[test]
fn a_channel_has_one_timer() {
    let history = Retention { count: 5, bytes: 1000, age: Some(Duration::from_secs(60)) };
    let mut home = home(policies(Policy { history, ..Policy::default() }), 1, 100, 1000);
    let channel = name("a");
    for n in 0..100 {
        come_and_go(&mut home, &channel, n);
    }
    assert_eq!((home.channels(), home.next_due_us()), (0, None));
    home.publish(plain(&channel, b"kept"), 1000);
    for n in 0..100 {
        come_and_go(&mut home, &channel, 1000 + n);
    }
    let mut fired = 0;
    while let Some(due_us) = home.next_due_us() {
        assert!(home.on_time(due_us));
        fired += 1;
    }
    assert_eq!((home.channels(), fired), (0, 1));
}

/// Other rules hold at once for what is kept already: what is too much or too old by them goes, and an
/// age that was not there, or was longer, fires when it says.
#[test]
fn kept_publications_follow_new_rules() {
    let rules = |count, age: Option<u64>| {
        let history = Retention { count, bytes: 1000, age: age.map(Duration::from_secs) };
        policies(Policy { history, ..Policy::default() })
    };
    let mut home = home(rules(100, None), 1, 100, 1000);
    let channel = name("a");
    let kept = |home: &Home| home.report(&name("a")).map_or(0, |report| report.kept);
    for second in 0..20u64 {
        home.publish(plain(&channel, b"x"), second * 1_000_000);
    }
    let now_us = 20_000_000;
    assert_eq!((kept(&home), home.next_due_us()), (20, None));
    home.set_policies(rules(15, None), now_us);
    assert_eq!((kept(&home), home.next_due_us()), (15, None));
    // The oldest came at 5 s.
    home.set_policies(rules(100, Some(60)), now_us);
    assert_eq!((kept(&home), home.next_due_us()), (15, Some(65_010_000)));
    home.set_policies(rules(100, Some(10)), now_us);
    assert_eq!((kept(&home), home.next_due_us()), (9, Some(21_010_000)));
    assert!(home.on_time(21_010_000));
    assert_eq!(kept(&home), 8);
    home.set_policies(rules(100, None), 22_000_000);
    assert_eq!((kept(&home), home.next_due_us()), (8, None));
    home.set_policies(rules(100, Some(1)), 22_000_000);
    assert_eq!((home.channels(), home.next_due_us()), (0, None));
}

/// A home whose publications go through a journal, and of which `count` are kept of each channel.
fn journaled(count: u32) -> Home {
    let history = Retention { count, bytes: 16 << 20, age: None };
    let policies = policies(Policy { history, ..Policy::default() });
    let (epoch, journal) = (Epoch(1), Some(Epoch(2)));
    let (channels_max, lag_bytes_max) = (100, 1000);
    let (shards, numbered) = (1, Vec::new());
    Home::new(HomeSetup { epoch, journal, shards, policies, numbered, channels_max, lag_bytes_max })
}

/// A file of which too much is kept is looked at again when it has grown by an eighth, not with every
/// record; and so is one that was written anew.
#[test]
fn a_file_is_looked_at_when_it_has_grown() {
    const MIB: u64 = 1 << 20;
    let mut home = journaled(1);
    let bucket = name("a").bucket();
    let publish = |home: &mut Home, offset, bytes: u64| {
        home.publish(plain(&name("a"), &vec![b'x'; bytes as usize]), 0);
        home.on_landed(bucket, offset, Ok(()), 0);
    };
    publish(&mut home, 1, 4 * MIB);
    assert_eq!(home.compaction(bucket, 1, 4 * MIB), None, "all of it is kept");
    publish(&mut home, 2, 1);
    assert_eq!(home.compaction(bucket, 2, 4 * MIB + 1), None, "not yet");
    let keep = home.compaction(bucket, 2, 4 * MIB + MIB / 2).unwrap();
    assert_eq!(keep.floors, [(name("a"), 1)]);
    assert!(home.compaction(bucket, 2, MIB).is_none(), "it has just been written anew");
    assert!(home.compaction(bucket, 2, MIB + MIB / 8).is_some());
}

/// The newest value is there for those who read it, although it alone is more than may be kept.
#[test]
fn the_newest_value_is_delivered() {
    let history = Retention { count: 5, bytes: 10, age: None };
    let latest = Policy { mode: Mode::Latest, history, ..Policy::default() };
    let (mut home, mut views) =
        (home(policies(latest.clone()), 1, 100, 1000), views(policies(latest), 0, 1000));
    views.join(Slot(0), &name("a"), Format::Json, Start::Live, false);
    exchange(&mut home, &mut views);
    home.publish(plain(&name("a"), b"more than ten bytes"), 0);
    exchange(&mut home, &mut views);
    let mut batch = Batch::new();
    views.fill(&mut batch, 0);
    let sent: Vec<u8> = views.sends(&batch).flat_map(|(_, bytes)| bytes.to_vec()).collect();
    assert!(String::from_utf8_lossy(&sent).contains("more than ten bytes"));
}

fn versioned(version: u64) -> Publish {
    let terms = Terms { version: Some(version), ..Terms::default() };
    Publish { terms: Some(Box::new(terms)), ..plain(&name("a"), b"value") }
}

/// Versions that were refused in a row count as never published: each may be tried again.
#[test]
fn refused_versions_are_free() {
    let mut home = journaled(5);
    let bucket = name("a").bucket();
    (5..=7).for_each(|version| _ = home.publish(versioned(version), 0));
    for offset in 1..=3 {
        let published = home.on_landed(bucket, offset, Err(Rejected::DiskFull), 0);
        assert_eq!(published, Published::default());
        assert_eq!(home.next_answer().unwrap().1.outcome, Err(Rejected::DiskFull));
    }
    home.publish(versioned(5), 0);
    assert_eq!(home.next_answer(), None, "it waits for the journal");
    home.on_landed(bucket, 4, Ok(()), 0);
    assert!(home.next_answer().unwrap().1.outcome.is_ok());
}

/// A version that lands while a later one is on its way to the disk does not make room for those
/// between: an older one that comes then is refused.
#[test]
fn a_version_that_lands_is_not_the_last() {
    let mut home = journaled(10);
    home.publish(versioned(5), 0);
    home.publish(versioned(7), 0);
    let bucket = versioned(5).channel.bucket();
    home.on_landed(bucket, 1, Ok(()), 0);
    assert!(home.next_answer().unwrap().1.outcome.is_ok());
    home.publish(versioned(6), 0);
    assert_eq!(home.next_answer().unwrap().1.outcome, Err(Rejected::Stale(7)));
}

/// An idempotency key is remembered for five minutes from when it came, restarts included.
#[test]
fn a_restored_key_is_as_old_as_it_is() {
    let mut home = journaled(10);
    let with = |key: &str| Publish {
        terms: Some(Box::new(Terms { idempotency: Some(key.into()), ..Terms::default() })),
        ..plain(&name("a"), b"x")
    };
    home.restore(&with("old"), 1, 0, 300_000_000);
    home.restore(&with("new"), 2, 0, 299_999_999);
    home.publish(with("new"), 0);
    assert!(home.next_answer().unwrap().1.outcome.unwrap().repeated);
    home.publish(with("old"), 0);
    assert!(home.next_answer().is_none(), "it is published anew, and waits for the disk");
    // Buckets are restored one after the other, so a younger one may come before.
    home.restore(&with("young"), 3, 0, 1_000_000);
    home.restore(&with("two minutes"), 4, 0, 120_000_000);
    home.publish(with("two minutes"), 179_999_999);
    assert!(home.next_answer().unwrap().1.outcome.unwrap().repeated);
    home.publish(with("two minutes"), 180_000_000);
    assert!(home.next_answer().is_none());
    home.publish(with("young"), 298_999_999);
    assert!(home.next_answer().unwrap().1.outcome.unwrap().repeated);
}
