//! Records on their way to the disk, and back after a restart.

use std::{fs, sync::Arc};

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};

use super::rig::{
    Call, Faulty, Folder, Rig, SHARD, all, channel, encoded_bytes, neighbours, record, reopened,
};
use crate::{
    frame::PayloadKind,
    ids::{Bucket, ShardId},
    io::Bell,
    journal::{
        Journal, JournalError, Landed, Record, Summary, check,
        format::{self, Found, HEADER_BYTES, Salt},
    },
    limits::{JOURNAL_GROUP_BYTES_MAX, PUBLICATION_BYTES_MAX},
    mesh::{Parking, Rejected, Terms},
};

fn any_record() -> impl Strategy<Value = Record> {
    let kind =
        prop::sample::select(vec![PayloadKind::Text, PayloadKind::Binary, PayloadKind::Json]);
    let key = || option::of("\\PC{0,60}".prop_map(Box::from));
    let terms = (key(), any::<Option<u64>>(), key()).prop_map(|(key, version, idempotency)| {
        let terms = Terms { key, version, idempotency };
        (terms != Terms::default()).then(|| Box::new(terms))
    });
    let numbers = (any::<u64>(), any::<u64>());
    (numbers, "[a-zA-Z0-9._:/-]{1,255}", kind, vec(any::<u8>(), 0..300), terms).prop_map(
        |((offset, at_ms), name, kind, payload, terms)| {
            let (channel, payload) = (channel(&name), Bytes::from(payload));
            Record { offset, at_ms, channel, kind, payload, terms }
        },
    )
}

proptest! {
    /// A record is read back as it was written, whatever follows it; cut short anywhere it is none.
    #[test]
    fn a_record_survives_being_written(record in any_record(), salt: u64, behind in vec(any::<u8>(), 0..20)) {
        let mut bytes = BytesMut::new();
        prop_assert_eq!(format::encode(&record, Salt(salt), &mut bytes), Ok(()));
        let len = bytes.len();
        bytes.extend_from_slice(&behind);
        prop_assert_eq!(format::decode(&bytes, Salt(salt)), Found::Record(record, len));
        for cut in 0..len {
            prop_assert_eq!(format::decode(&bytes[..cut], Salt(salt)), Found::Short);
        }
    }

    /// Whatever stands in a file, reading it ends, and without a panic.
    #[test]
    fn any_bytes_can_be_read(bytes in vec(any::<u8>(), 0..300), salt: u64) {
        let _ = format::decode(&bytes, Salt(salt));
        let _ = format::find(&bytes, Salt(salt));
        let mut marked = (salt as u32).to_le_bytes().to_vec();
        marked.extend(&bytes);
        prop_assert_eq!(format::find(&marked, Salt(salt)), None);
    }
}

/// What has landed well is there after a restart, with its position and in order, and offsets go
/// on behind it.
#[test]
fn what_landed_is_there_after_a_restart() {
    let folder = Folder::new();
    let terms = Terms { key: Some("k".into()), version: Some(7), idempotency: Some("i".into()) };
    let mut written: Vec<Record> =
        ["news", "a", "ticker.EURUSD"].map(|name| record(&channel(name), 1)).into();
    written.push(Record { offset: 5, terms: Some(Box::new(terms)), ..written[0].clone() });
    let (rig, restored) = Rig::start(&folder.0);
    assert_eq!((all(&restored), restored.told.clone()), (vec![], Summary::default()));
    assert_eq!(*restored.offsets, [0; 256]);
    let epoch = restored.epoch;
    written.iter().for_each(|record| assert_eq!(rig.write(record).result, Ok(())));
    rig.end();

    let (rig, restored) = Rig::start(&folder.0);
    assert_eq!(restored.epoch, epoch);
    // The buckets of `ticker.EURUSD`, `news` and `a`, in their order.
    let expected = [&written[2], &written[0], &written[3], &written[1]].map(Record::clone);
    assert_eq!(all(&restored), expected);
    assert_eq!([132, 156, 192].map(|bucket| restored.offsets[bucket]), [1, 5, 1]);
    assert_eq!((restored.told.buckets, restored.told.records), (3, 4));
    let last = record(&channel("news"), 6);
    let landed = rig.write(&last);
    let bytes = fs::metadata(folder.file(Bucket(156))).unwrap().len();
    assert_eq!(
        landed,
        Landed { bucket: Bucket(156), offset: 6, result: Ok(()), file_bytes: bytes }
    );
    rig.end();
    assert_eq!(reopened(&folder.0).records[156], [written[0].clone(), written[3].clone(), last]);
}

/// Nothing lands before it is synced; what comes meanwhile is written as one group behind it, and
/// lands in order.
#[test]
fn groups_form_while_the_disk_is_busy() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
    let names = neighbours(2);
    let records: Vec<Record> = (1..=6).map(|n| record(&names[n as usize % 2], n)).collect();
    rig.write(&records[0]);
    told.try_iter().for_each(drop);

    disk.hold(Some(Call::Sync));
    rig.append(&records[1..2]);
    assert_eq!(told.recv().unwrap().0, Call::Write);
    assert_eq!(told.recv().unwrap().0, Call::Sync);
    rig.append(&records[2..]);
    assert!(rig.landing.is_empty(), "it is not synced");
    disk.release(2);
    let landed: Vec<u64> = (1..6).map(|_| rig.landed().offset).collect();
    assert_eq!(landed, [2, 3, 4, 5, 6]);
    let group: usize = records[2..].iter().map(encoded_bytes).sum();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [(Call::Write, group), (Call::Sync, 0)]);
    disk.hold(None);
    rig.end();
    assert_eq!(all(&reopened(&folder.0)), records);
}

/// A group ends with the record that reaches its limit, and the next one has the rest.
#[test]
fn a_group_has_a_limit() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
    let half = Bytes::from(vec![b'x'; JOURNAL_GROUP_BYTES_MAX / 2]);
    let news = channel("news");
    let records: Vec<Record> =
        (1..=4).map(|n| Record { payload: half.clone(), ..record(&news, n) }).collect();
    rig.append(&records);
    (1..=4).for_each(|n| assert_eq!(rig.landed().offset, n));
    let written = told.try_iter().filter(|(call, _)| *call == Call::Write).map(|(_, bytes)| bytes);
    let two = 2 * encoded_bytes(&records[0]);
    assert_eq!(written.collect::<Vec<_>>(), [HEADER_BYTES, two, two]);
    rig.end();
}

/// A record without a place comes back, and one that could not be read back is refused without harm
/// to those around it.
#[test]
fn what_does_not_fit_is_refused() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 3, disk.clone());
    let news = channel("news");
    let endless = Bytes::from(vec![b'x'; PUBLICATION_BYTES_MAX + 1]);
    let too_large = Record { payload: endless, ..record(&news, 2) };
    let (first, third, again) = (record(&news, 1), record(&news, 3), record(&news, 3));
    disk.hold(Some(Call::Create));
    rig.append(&[first.clone(), too_large, third.clone()]);
    assert_eq!(told.recv().unwrap().0, Call::Create);
    assert_eq!(rig.writer.append(SHARD, again.clone()), Err(again.clone()), "every place is taken");
    disk.hold(None);
    disk.release(1);
    let landed = [(); 3].map(|()| rig.landed()).map(|landed| (landed.offset, landed.result));
    assert_eq!(landed, [(1, Ok(())), (2, Err(Rejected::JournalFailed)), (3, Ok(()))]);
    assert_eq!(rig.write(&again).result, Err(Rejected::JournalFailed), "offsets rise");
    rig.end();
    assert_eq!(all(&reopened(&folder.0)), [first, third]);
}

/// What was appended before the last writer went is still written.
#[test]
fn the_journal_ends_when_all_is_landed() {
    let folder = Folder::new();
    let (mut journal, _) = Journal::open(&folder.0).unwrap();
    let silence = || Parking::new(Arc::new(Silence));
    let (writer, landings) = journal.parts(4, &[silence(), silence()]);
    let records = ["news", "a"].map(|name| record(&channel(name), 1));
    writer.append(ShardId(0), records[0].clone()).unwrap();
    writer.append(ShardId(1), records[1].clone()).unwrap();
    drop(writer);
    journal.run().unwrap();
    assert_eq!(landings.iter().map(|it| it.take().unwrap().offset).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(all(&reopened(&folder.0)), records);
}

struct Silence;

impl Bell for Silence {
    fn ring(&self) {}
}

/// A directory belongs to one process at a time, be it a server or a check.
#[test]
fn a_directory_is_locked() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(&folder.0).unwrap();
    let told = |result: Result<(), JournalError>| result.unwrap_err().to_string();
    let in_use = format!(
        "the journal in {} is in use by another process; stop that one, or name another directory",
        folder.0.display()
    );
    assert_eq!(told(Journal::open(&folder.0).map(drop)), in_use);
    assert_eq!(told(check(&folder.0).map(drop)), in_use);
    drop(journal);
    assert_eq!(reopened(&folder.0).told, Summary::default());
}
