//! Files rewritten without what is not kept.

use std::{fs, thread};

use super::rig::{
    Call, Faulty, Folder, Rig, SHARD, all, channel, encoded_bytes, neighbours, record, reopened,
};
use crate::{
    ids::Bucket,
    journal::{AlreadyCompacting, Compaction, Record, directory::new_file, format::HEADER_BYTES},
    limits::JOURNAL_COPY_BYTES,
};

const NEWS: Bucket = Bucket(156);

/// Kept is what is above its channel's floor or named, and of channels without a floor what is above
/// the last offset that had landed; the bucket's highest offset is known even without its record.
#[test]
fn a_compaction_keeps_exactly_what_it_must() {
    let folder = Folder::new();
    let names = neighbours(4);
    let (rig, _) = Rig::start(&folder.0);
    let records: Vec<Record> = (1..=12).map(|n| record(&names[n as usize % 4], n)).collect();
    rig.append(&records);
    (0..12).for_each(|_| assert_eq!(rig.landed().result, Ok(())));
    let floors = vec![(names[0].clone(), 4), (names[1].clone(), 0), (names[3].clone(), 99)];
    let compaction = Compaction { bucket: NEWS, as_of: 9, floors, kept: vec![2, 4, 77] };
    rig.writer.compact_to(SHARD, compaction).unwrap();
    let last = record(&names[3], 100);
    assert_eq!(rig.write(&last).result, Ok(()));
    rig.end_compacted(NEWS);
    // Of names[2] only offset 10 is above 9, and 2 is named; of names[3] nothing was above 99 then.
    let kept = [1, 2, 4, 5, 8, 9, 10, 12].map(|n: usize| records[n - 1].clone());
    let kept = [&kept[..], &[last]].concat();
    assert_eq!(all(&reopened(&folder.0)), kept);
    let bytes = HEADER_BYTES + kept.iter().map(encoded_bytes).sum::<usize>();
    assert_eq!(fs::metadata(folder.file(NEWS)).unwrap().len(), bytes as u64);

    let (rig, _) = Rig::start(&folder.0);
    rig.writer.compact(SHARD, NEWS, 200, vec![]).unwrap();
    rig.end_compacted(NEWS);
    let restored = reopened(&folder.0);
    assert_eq!((all(&restored), restored.offsets[156]), (vec![], 100));
}

/// Records larger than what a compaction reads at a time survive it.
#[test]
fn large_records_are_copied_whole() {
    let folder = Folder::new();
    let (rig, _) = Rig::start(&folder.0);
    let news = channel("news");
    let sizes = [10, 2 * JOURNAL_COPY_BYTES + 1, JOURNAL_COPY_BYTES, 0, JOURNAL_COPY_BYTES - 60];
    let records: Vec<Record> = (1..)
        .zip(sizes)
        .map(|(n, size)| Record { payload: vec![n as u8; size].into(), ..record(&news, n) })
        .collect();
    records.iter().for_each(|record| assert_eq!(rig.write(record).result, Ok(())));
    rig.writer.compact(SHARD, NEWS, 0, vec![(news, 1)]).unwrap();
    rig.end_compacted(NEWS);
    assert_eq!(all(&reopened(&folder.0)), records[1..]);
}

/// A compaction that was interrupted before the new file took the old one's place has changed nothing,
/// and what it left is removed.
#[test]
fn an_interrupted_compaction_leaves_the_old_file() {
    let folder = Folder::new();
    let (rig, _) = Rig::start(&folder.0);
    let records = [1, 2].map(|n| record(&channel("news"), n));
    records.iter().for_each(|record| assert_eq!(rig.write(record).result, Ok(())));
    rig.end();
    let whole = fs::read(folder.file(NEWS)).unwrap();
    for written in 0..whole.len() {
        fs::write(new_file(&folder.0, NEWS), &whole[..written]).unwrap();
        assert_eq!(all(&reopened(&folder.0)), records);
        assert!(!new_file(&folder.0, NEWS).exists());
    }
}

/// Whatever fails before the new file is whole leaves the old one in use, and another compaction is
/// refused until the file has grown by an eighth.
#[test]
fn a_failed_compaction_changes_nothing() {
    for call in [Call::Create, Call::Read, Call::Write, Call::Sync, Call::Rename] {
        let folder = Folder::new();
        let (disk, told) = Faulty::new();
        let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
        let news = channel("news");
        let records: Vec<Record> = (1..=12).map(|n| record(&news, n)).collect();
        rig.append(&records[..8]);
        (0..8).for_each(|_| assert_eq!(rig.landed().result, Ok(())));
        disk.fail(&[(call, libc::EIO)]);
        rig.writer.compact(SHARD, NEWS, 0, vec![(news.clone(), 7)]).unwrap();
        // What is left of the new file goes, and with that the compaction has failed.
        while told.recv().unwrap().0 != Call::Remove {}
        disk.fail(&[]);
        assert_eq!(rig.write(&records[8]).result, Ok(()), "{call:?}");
        assert!(!new_file(&folder.0, NEWS).exists());
        assert_eq!(rig.writer.compact(SHARD, NEWS, 0, vec![]), Err(AlreadyCompacting));
        // With the tenth record the file has grown enough, which is known before the eleventh.
        records[9..11].iter().for_each(|record| assert_eq!(rig.write(record).result, Ok(())));
        assert!(!rig.writer.is_compacting(NEWS), "{call:?}");
        rig.end();
        let (rig, restored) = Rig::start(&folder.0);
        assert_eq!(restored.records[156], records[..11], "{call:?}");
        rig.end();
    }
}

/// Compactions run one after the other, and meanwhile other buckets are written.
#[test]
fn one_compaction_runs_at_a_time() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
    let [news, a, other] = ["news", "a", "ticker.EURUSD"].map(channel);
    for name in [&news, &a, &other] {
        assert_eq!(rig.write(&record(name, 1)).result, Ok(()));
    }
    told.try_iter().for_each(drop);
    disk.hold(Some(Call::Create));
    rig.writer.compact(SHARD, news.bucket(), 0, vec![]).unwrap();
    while told.recv().unwrap().0 != Call::Create {}
    rig.writer.compact(SHARD, a.bucket(), 0, vec![]).unwrap();
    rig.append(&[record(&news, 2)]);
    assert_eq!(rig.write(&record(&other, 2)).result, Ok(()), "the first is held up");
    assert_eq!(rig.write(&record(&a, 2)).result, Ok(()), "the second has not begun");
    disk.release(2);
    assert_eq!(rig.landed().bucket, news.bucket());
    while rig.writer.is_compacting(a.bucket()) {
        thread::yield_now();
    }
    let steps = told.iter().map(|(call, _)| call);
    let steps = steps.filter(|call| [Call::Create, Call::Rename].contains(call)).take(3);
    let expected = [Call::Rename, Call::Create, Call::Rename];
    assert_eq!(steps.collect::<Vec<_>>(), expected);
    rig.end();
    assert_eq!(reopened(&folder.0).told.records, 6);
}

/// A bucket without a file has nothing to compact, and gets none.
#[test]
fn nothing_is_compacted_to_nothing() {
    let folder = Folder::new();
    let (rig, _) = Rig::start(&folder.0);
    rig.writer.compact(SHARD, NEWS, 0, vec![]).unwrap();
    rig.end_compacted(NEWS);
    assert!(!folder.file(NEWS).exists());
}
