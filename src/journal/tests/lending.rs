//! A journal whose directory is lent to another process.

use std::{fs, time::Duration};

use super::rig::{Call, Faulty, Folder, Rig, SHARD, all, channel, record, reopened};
use crate::{journal::Journal, mesh::Rejected};

const LONG: Duration = Duration::from_secs(60);

/// While it rests another process opens the directory, and finds all that was acknowledged; what is
/// appended waits. Once it is to go on and the other has gone, it writes what waits behind what the
/// other has written.
#[test]
fn a_lent_journal_comes_back() {
    let folder = Folder::new();
    let (rig, _) = Rig::start(&folder.0);
    let news = channel("news");
    let records = [1, 2, 3].map(|offset| record(&news, offset));
    rig.write(&records[0]);
    assert!(Journal::open(&folder.0).is_err(), "it is ours");
    assert!(rig.keeper.rest(LONG));
    rig.append(&records[2..]);
    let (other, restored) = Rig::start(&folder.0);
    assert_eq!(all(&restored), records[..1]);
    rig.keeper.work();
    assert_eq!(other.write(&records[1]).result, Ok(()));
    assert!(rig.landing.is_empty(), "nothing is written while it is another's");
    other.end();
    let landed = rig.landed();
    assert_eq!((landed.offset, landed.result), (3, Ok(())));
    rig.end();
    assert_eq!(all(&reopened(&folder.0)), records);
}

/// What waits when the directory is left for good is rejected, and so is what comes afterwards.
#[test]
fn a_journal_that_has_left_rejects() {
    let folder = Folder::new();
    let (rig, _) = Rig::start(&folder.0);
    let news = channel("news");
    let records = [1, 2, 3].map(|offset| record(&news, offset));
    rig.write(&records[0]);
    assert!(rig.keeper.rest(LONG));
    rig.append(&records[1..2]);
    rig.keeper.leave();
    assert_eq!(rig.landed().result, Err(Rejected::HandedOver));
    assert_eq!(rig.write(&records[2]).result, Err(Rejected::HandedOver));
    assert_eq!(all(&reopened(&folder.0)), records[..1]);
    rig.end();
}

/// Who asks for a rest waits for what is being written; where that takes too long it works on.
#[test]
fn a_rest_waits_for_what_is_under_way() {
    let folder = Folder::new();
    let (disk, told) = Faulty::new();
    let (rig, _) = Rig::on(&folder.0, 3, disk.clone());
    let news = channel("news");
    disk.hold(Some(Call::Sync));
    rig.append(&[record(&news, 1)]);
    while told.recv().unwrap().0 != Call::Sync {}
    assert!(!rig.keeper.rest(Duration::ZERO));
    disk.hold(None);
    disk.release(1);
    assert_eq!(rig.landed().result, Ok(()));
    assert_eq!(rig.write(&record(&news, 2)).result, Ok(()));
    assert!(rig.keeper.rest(LONG));
    assert_eq!(rig.writer.append(SHARD, record(&news, 3)), Ok(()), "it waits in its place");
    rig.keeper.work();
    assert_eq!(rig.landed().result, Ok(()));
    rig.end();
}

/// While a directory is not to be had back for long, what waits is rejected, and it is written again
/// once the other process has let it go.
#[test]
fn what_waits_too_long_is_rejected() {
    let folder = Folder::new();
    let rig = Rig::impatient(&folder.0);
    let news = channel("news");
    assert!(rig.keeper.rest(LONG));
    let (other, _) = Rig::start(&folder.0);
    rig.keeper.work();
    assert_eq!(rig.write(&record(&news, 1)).result, Err(Rejected::JournalFailed));
    other.end();
    expect_works_again(&rig);
    rig.end();
}

/// A directory that is damaged when it comes back ends nothing: what waits is rejected, and it is
/// written again once it is mended.
#[test]
fn a_damaged_loan_is_tried_again() {
    let folder = Folder::new();
    let (rig, _) = Rig::start(&folder.0);
    let news = channel("news");
    assert!(rig.keeper.rest(LONG));
    let (meta, away) = (folder.0.join("META"), folder.0.join("META.away"));
    fs::rename(&meta, &away).unwrap();
    fs::write(&meta, "something else").unwrap();
    rig.keeper.work();
    assert_eq!(rig.write(&record(&news, 1)).result, Err(Rejected::JournalFailed));
    fs::rename(&away, &meta).unwrap();
    expect_works_again(&rig);
    rig.end();
}

/// Writes until it is taken: what comes before the next look at the directory may still be rejected.
fn expect_works_again(rig: &Rig) {
    let news = channel("news");
    let mut results = (2..).map(|offset| rig.write(&record(&news, offset)).result);
    let refused = |result: &Result<(), Rejected>| *result == Err(Rejected::JournalFailed);
    assert_eq!(results.find(|result| !refused(result)), Some(Ok(())));
}
