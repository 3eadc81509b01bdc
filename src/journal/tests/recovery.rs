//! Directories as crashes, disks and operators leave them.

use std::{fs, path::Path};

use super::rig::{Folder, Rig, all, channel, neighbours, record, reopened};
use crate::{
    ids::{Bucket, Epoch},
    journal::{
        Damage, Journal, JournalError, Record, Torn, check,
        format::{self, HEADER_BYTES, Header, Salt},
        scan::{Broken, Scan},
    },
};

const NEWS: Bucket = Bucket(156);

/// Three records, where each begins, and where the file ends.
fn three_records(dir: &Path) -> (Vec<Record>, Vec<usize>) {
    let (rig, _) = Rig::start(dir);
    let records: Vec<Record> = (1..=3).map(|n| record(&channel("news"), n)).collect();
    let ends =
        records.iter().map(|record| rig.write(record).file_bytes as usize).collect::<Vec<_>>();
    rig.end();
    (records, [vec![HEADER_BYTES], ends].concat())
}

/// A tail that was cut, or zeroed, at any byte of the last record is cut off, told, and written over;
/// everything before it is there.
#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let folder = Folder::new();
    let (records, places) = three_records(&folder.0);
    let file = folder.file(NEWS);
    let whole = fs::read(&file).unwrap();
    let (last, end) = (places[2], places[3]);
    for at in last..end {
        let zeroed = [&whole[..at], &vec![0; end - at]].concat();
        for torn in [whole[..at].to_vec(), zeroed] {
            fs::write(&file, &torn).unwrap();
            let bytes = (torn.len() - last) as u64;
            let told = (bytes > 0).then_some(Torn { bucket: NEWS, at: last as u64, bytes });
            let told: Vec<Torn> = told.into_iter().collect();
            let report = check(&folder.0).unwrap();
            assert_eq!((report.summary.torn, report.damage), (told.clone(), vec![]));
            assert_eq!(fs::read(&file).unwrap(), torn, "checking changes nothing");
            let restored = reopened(&folder.0);
            assert_eq!((all(&restored), restored.told.torn), (records[..2].to_vec(), told));
            assert_eq!(fs::read(&file).unwrap(), whole[..last], "cut at byte {at}");
        }
    }
    let (rig, _) = Rig::start(&folder.0);
    rig.write(&records[2]);
    rig.end();
    assert_eq!(fs::read(&file).unwrap(), whole);
}

/// A flipped bit is found wherever it is: in the last record it is a torn tail, anywhere else it is
/// damage at the byte where its record begins.
#[test]
fn every_flipped_bit_is_found() {
    let folder = Folder::new();
    let (records, places) = three_records(&folder.0);
    let epoch = reopened(&folder.0).epoch;
    let mut file = fs::read(folder.file(NEWS)).unwrap();
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        let scan = Scan::of(&file, NEWS, epoch);
        file[bit / 8] ^= 1 << (bit % 8);
        if bit / 8 >= places[2] {
            let scan = scan.unwrap();
            assert_eq!((scan.end, &scan.records[..]), (places[2] as u64, &records[..2]));
        } else {
            let begins = places.iter().rfind(|&&place| place <= bit / 8);
            let at = *begins.unwrap_or(&0) as u64;
            assert_eq!(scan.map_err(|broken| broken.at), Err(at), "bit {bit}");
        }
    }
}

/// Damage before whole records stops the start, says where it is and what to do, and changes nothing;
/// a check tells it for every file.
#[test]
fn damage_is_never_cut_away() {
    let folder = Folder::new();
    let (_, places) = three_records(&folder.0);
    let (rig, _) = Rig::start(&folder.0);
    rig.write(&record(&channel("a"), 1));
    rig.write(&record(&channel("ticker.EURUSD"), 1));
    rig.end();
    let (file, other) = (folder.file(NEWS), folder.file(Bucket(192)));
    let mut bytes = fs::read(&file).unwrap();
    bytes[places[1] + 20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    fs::write(&other, b"something else").unwrap();
    let damaged = Damage {
        file: file.clone(),
        at: places[1] as u64,
        problem: "the record's checksum is wrong",
    };
    let foreign = Damage {
        file: other.clone(),
        at: 0,
        problem: "this is not a journal's file, or its header is gone",
    };
    let report = check(&folder.0).unwrap();
    assert_eq!((report.summary.buckets, report.summary.records), (3, 1));
    assert_eq!(report.damage, [damaged, foreign]);
    let error = Journal::open(&folder.0).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is damaged at byte {}: the record's checksum is wrong; nothing was changed: see \
             `stentor journal check`, then put the file back from a copy, or move it away, which \
             loses its publications and begins its offsets anew",
            file.display(),
            places[1]
        )
    );
    assert_eq!(fs::read(&file).unwrap(), bytes);
    fs::remove_file(&file).unwrap();
    fs::remove_file(&other).unwrap();
    assert_eq!(all(&reopened(&folder.0)), [record(&channel("ticker.EURUSD"), 1)]);
}

/// A file of another bucket, journal or version, and records that no journal writes in this order,
/// are damage.
#[test]
fn what_is_not_of_this_journal_is_damage() {
    let (epoch, salt) = (Epoch(7), Salt(0x0123_4567_89ab_cdef));
    let header = Header { bucket: NEWS, epoch, salt, highest: 9 };
    let file = |header: &Header, records: &[Record]| {
        let mut bytes = bytes::BytesMut::from(&header.encode()[..]);
        records.iter().for_each(|record| format::encode(record, salt, &mut bytes).unwrap());
        bytes
    };
    let broken = |file: &[u8]| match Scan::of(file, NEWS, epoch) {
        Err(Broken { at, problem }) => (at, problem),
        Ok(scan) => panic!("{scan:?}"),
    };
    let foreign = (0, "the file is of another bucket or of another journal");
    assert_eq!(broken(&file(&Header { bucket: Bucket(1), ..header }, &[])), foreign);
    assert_eq!(broken(&file(&Header { epoch: Epoch(8), ..header }, &[])), foreign);
    let mut later = file(&header, &[]);
    later[8] = 2;
    let checksum = crc32fast::hash(&later[..HEADER_BYTES - 4]);
    later[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    let version = (0, "the format is of another version of stentor; use that one");
    assert_eq!(broken(&later), version);
    let [news, a] = ["news", "a"].map(channel);
    let first = file(&header, &[record(&news, 2)]);
    let at = first.len() as u64;
    let falling = file(&header, &[record(&news, 2), record(&news, 2)]);
    assert_eq!(broken(&falling), (at, "the record's offset does not rise"));
    let strange = file(&header, &[record(&news, 2), record(&a, 3)]);
    assert_eq!(broken(&strange), (at, "the record is of another bucket"));
    assert_eq!(Scan::of(&first, NEWS, epoch).unwrap().highest(), 9);
}

/// A payload that holds a whole record, such as another file's, does not make a torn tail damage.
#[test]
fn a_payload_cannot_pretend_to_be_a_record() {
    let (epoch, salt) = (Epoch(7), Salt(0x0123_4567_89ab_cdef));
    let names = neighbours(1);
    let mut inner = bytes::BytesMut::new();
    format::encode(&record(&names[0], 9), Salt(salt.0 ^ 1), &mut inner).unwrap();
    format::encode(&record(&names[0], 9), Salt(salt.0 ^ 1 << 63), &mut inner).unwrap();
    inner.extend_from_slice(b"and more");
    let outer = Record { payload: inner.freeze(), ..record(&names[0], 1) };
    let header = Header { bucket: NEWS, epoch, salt, highest: 0 };
    let mut file = bytes::BytesMut::from(&header.encode()[..]);
    format::encode(&outer, salt, &mut file).unwrap();
    let scan = Scan::of(&file[..file.len() - 1], NEWS, epoch).unwrap();
    assert_eq!((scan.end, scan.records), (HEADER_BYTES as u64, vec![]));
}

/// Without its `META` as it was written a journal is not opened, and none is made in its place.
#[test]
fn the_numbering_is_never_made_up() {
    let folder = Folder::new();
    let missing = check(&folder.0).unwrap_err().to_string();
    assert_eq!(missing, format!("{} has no journal: it has no file META", folder.0.display()));
    three_records(&folder.0);
    let meta = folder.0.join("META");
    let text = fs::read_to_string(&meta).unwrap();
    let problem = || match Journal::open(&folder.0).map(drop) {
        Err(JournalError::Meta { file, problem }) if file == meta => problem,
        other => panic!("{other:?}"),
    };
    for end in 0..text.len() {
        fs::write(&meta, &text[..end]).unwrap();
        assert_eq!(problem(), "is damaged", "cut at byte {end}");
    }
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&meta, text.replace(lines[1], "epoch 1")).unwrap();
    assert_eq!(problem(), "is damaged");
    fs::write(&meta, text.replace("stentor-journal 1", "stentor-journal 2")).unwrap();
    assert_eq!(problem(), "is of another version of stentor; use that one");
    fs::remove_file(&meta).unwrap();
    assert_eq!(problem(), "is missing, and there are buckets that belong to it");
    fs::write(&meta, &text).unwrap();
    assert_eq!(reopened(&folder.0).told.records, 3);
}
