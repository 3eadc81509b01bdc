//! Disks that are full, or that fail.

use std::{fs, process::Command};

use super::rig::{Call, Faulty, Folder, Rig, SHARD, all, channel, record, reopened};
use crate::{
    ids::Bucket,
    journal::{Journal, Record, check},
    mesh::Rejected,
};

const NEWS: Bucket = Bucket(156);

/// A write for which there is no room, and any step of making a file, is refused without a trace and
/// alone: other buckets go on, and when there is room again so does this one, at the next offset.
#[test]
fn a_full_disk_heals() {
    for (errno, rejected) in [
        (libc::ENOSPC, Rejected::DiskFull),
        (libc::EDQUOT, Rejected::DiskFull),
        (libc::EIO, Rejected::JournalFailed),
    ] {
        for (is_new, calls) in [
            (false, &[Call::Write][..]),
            (false, &[Call::Write, Call::Cut]),
            (true, &[Call::Create]),
            (true, &[Call::Write]),
            (true, &[Call::Sync]),
            (true, &[Call::Rename]),
        ] {
            let folder = Folder::new();
            let (disk, _told) = Faulty::new();
            let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
            let (news, a) = (channel("news"), channel("a"));
            let mut records: Vec<Record> = (1..=6).map(|n| record(&news, n)).collect();
            // What is left of these would reach beyond the record that is written in their place.
            records[1..4].iter_mut().for_each(|record| record.payload = vec![b'x'; 500].into());
            let bytes = if is_new { 0 } else { rig.write(&records[0]).file_bytes };
            let failing: Vec<_> = calls.iter().map(|&call| (call, errno)).collect();
            disk.fail(&failing);
            for refused in [&records[1..2], &records[2..4]] {
                rig.append(refused);
                for record in refused {
                    let landed = rig.landed();
                    let told = (landed.offset, landed.result, landed.file_bytes);
                    assert_eq!(told, (record.offset, Err(rejected), bytes), "{calls:?}");
                }
            }
            disk.fail(&[]);
            assert_eq!(rig.write(&record(&a, 1)).result, Ok(()));
            assert_eq!(rig.write(&records[5]).result, Ok(()), "{calls:?}");
            rig.end();
            let restored = reopened(&folder.0);
            let first = if is_new { vec![] } else { vec![records[0].clone()] };
            assert_eq!(restored.records[156], [first, vec![records[5].clone()]].concat());
            assert_eq!(restored.told.torn, []);
        }
    }
}

/// While one bucket's disk is full, another's records land.
#[test]
fn a_bucket_fails_alone() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
    let (first, other) = (record(&channel("news"), 1), record(&channel("a"), 1));
    rig.write(&first);
    told.try_iter().for_each(drop);
    disk.hold(Some(Call::Sync));
    rig.append(&[record(&channel("news"), 2)]);
    while told.recv().unwrap().0 != Call::Sync {}
    disk.hold(None);
    assert_eq!(rig.write(&other).result, Ok(()), "the sync of news still runs");
    disk.fail(&[(Call::Sync, libc::EIO)]);
    disk.release(1);
    assert_eq!(rig.landed().result, Err(Rejected::JournalFailed));
    disk.fail(&[]);
    assert_eq!(rig.write(&record(&channel("a"), 2)).result, Ok(()));
    rig.end();
    assert_eq!(all(&reopened(&folder.0)), [first, other, record(&channel("a"), 2)]);
}

/// After a sync that failed nothing of the bucket is accepted, even if later ones would succeed, until
/// the journal was opened again; then all that was acknowledged is there.
#[test]
fn a_failed_sync_is_final() {
    // What was written comes back only where it could not even be cut off.
    for (fails, back) in
        [(&[Call::Sync][..], 1), (&[Call::Sync, Call::Cut], 2), (&[Call::Write, Call::Sync], 1)]
    {
        let folder = Folder::new();
        let (disk, _told) = Faulty::new();
        let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
        let news = channel("news");
        let records = [1, 2].map(|n| record(&news, n));
        assert_eq!(rig.write(&records[0]).result, Ok(()));
        let failing: Vec<_> = fails.iter().map(|&call| (call, libc::EIO)).collect();
        disk.fail(&failing);
        assert_eq!(rig.write(&records[1]).result, Err(Rejected::JournalFailed));
        disk.fail(&[]);
        assert_eq!(rig.write(&record(&news, 3)).result, Err(Rejected::JournalFailed));
        rig.writer.compact(SHARD, NEWS, 0, vec![(news.clone(), 99)]).unwrap();
        // The compaction's turn is behind the first of these, at the latest.
        for offset in [4, 5] {
            let refused = rig.write(&record(&news, offset)).result;
            assert_eq!(refused, Err(Rejected::JournalFailed));
        }
        rig.end();
        let (rig, restored) = Rig::start(&folder.0);
        assert_eq!(restored.records[156], records[..back], "{fails:?}");
        assert_eq!(rig.write(&record(&news, 6)).result, Ok(()));
        rig.end();
    }
}

/// A new file whose name may not be on the disk is not trusted: what would be written to it could be
/// gone after a crash.
#[test]
fn a_name_that_was_not_synced_is_final() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 64, disk.clone());
    let records: Vec<Record> = (1..=3).map(|n| record(&channel("news"), n)).collect();
    records[..2].iter().for_each(|record| assert_eq!(rig.write(record).result, Ok(())));
    told.try_iter().for_each(drop);
    disk.fail(&[(Call::SyncDir, libc::EIO)]);
    rig.writer.compact(SHARD, NEWS, 0, vec![(channel("news"), 1)]).unwrap();
    while told.recv().unwrap().0 != Call::SyncDir {}
    assert_eq!(rig.write(&records[2]).result, Err(Rejected::JournalFailed));
    disk.fail(&[]);
    rig.end();
    assert_eq!(reopened(&folder.0).records[156], records[1..2]);
}

/// On a file system that is really full everything acknowledged is there, and what was refused is not;
/// when something is removed publishing goes on.
///
/// Method: a file system of 1 MiB in memory, which only root can mount; without that this says so.
#[test]
fn a_disk_that_is_really_full_heals() {
    let folder = Folder::new();
    let Some(mount) = Mount::new(&folder) else { return };
    let ballast = folder.0.join("ballast");
    fs::write(&ballast, vec![1; 256 * 1024]).unwrap();
    let dir = folder.0.join("journal");
    let (rig, _) = Rig::start(&dir);
    let news = channel("news");
    let large = |n| Record { payload: vec![n as u8; 50_000].into(), ..record(&news, n) };
    let mut written = Vec::new();
    let refused = (1..).find(|&n| match rig.write(&large(n)).result {
        Ok(()) => {
            written.push(large(n));
            false
        }
        Err(rejected) => {
            assert_eq!(rejected, Rejected::DiskFull);
            true
        }
    });
    let refused = refused.unwrap();
    assert!((10..20).contains(&refused), "full after {refused} records");
    assert_eq!(rig.write(&large(refused + 1)).result, Err(Rejected::DiskFull));
    fs::remove_file(&ballast).unwrap();
    assert_eq!(rig.write(&large(refused + 2)).result, Ok(()));
    written.push(large(refused + 2));
    rig.end();
    assert_eq!(check(&dir).unwrap().damage, []);
    let restored = reopened(&dir);
    assert_eq!((all(&restored), restored.told.torn), (written, vec![]));
    drop(mount);
}

/// A small file system, unmounted when this goes.
struct Mount<'a>(&'a Folder);

impl<'a> Mount<'a> {
    fn new(folder: &'a Folder) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&folder.0);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Mount(folder)),
            _ => {
                eprintln!("NOT TESTED: mounting is not permitted here, so no disk can be full");
                None
            }
        }
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0.0).status().is_ok_and(|it| it.success()));
    }
}

/// A journal that nobody writes to ends at once.
#[test]
fn a_journal_without_writers_ends() {
    let folder = Folder::new();
    let (journal, _) = Journal::open(&folder.0).unwrap();
    journal.run().unwrap();
}
