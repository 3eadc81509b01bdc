//! A journal as an operator meets it: what `stentor journal check` prints, and its exit code.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use stentor::{
    frame::PayloadKind,
    ids::{ChannelName, ShardId},
    io::Bell,
    journal::{Journal, Record},
    mesh::Parking,
};

struct Silence;

impl Bell for Silence {
    fn ring(&self) {}
}

/// A fresh directory with two records of `news`, in the bucket 9c.
fn journal(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    let (mut journal, _) = Journal::open(&dir).unwrap();
    let (writer, _landings) = journal.parts(2, &[Parking::new(Arc::new(Silence))]);
    for offset in 1..=2 {
        let record = Record {
            offset,
            at_ms: 0,
            channel: ChannelName::new("news").unwrap(),
            kind: PayloadKind::Text,
            payload: Bytes::from_static(b"a payload of its"),
            terms: None,
        };
        writer.append(ShardId(0), record).unwrap();
    }
    drop(writer);
    journal.run().unwrap();
    dir
}

#[track_caller]
fn assert_check(dir: &Path, code: i32, stdout: &str, stderr: &str) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_stentor"));
    let output = check.args(["journal", "check"]).arg(dir).env_clear().output().unwrap();
    let told = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert_eq!((told[0].as_ref(), told[1].as_ref()), (stdout, stderr));
    assert_eq!(output.status.code(), Some(code));
}

/// A sound journal is summed up, a torn tail told, and neither is a failure.
#[test]
fn a_sound_journal_passes() {
    let dir = journal("journal-sound");
    assert_check(&dir, 0, "2 records in 1 bucket, 166 bytes\n", "");
    let file = dir.join("bucket-9c.log");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..160]).unwrap();
    let torn = "1 record in 1 bucket, 105 bytes; a torn tail of 55 bytes, which nobody was told \
                of\nbucket-9c.log is torn at byte 105: 55 bytes that the next start cuts off\n";
    assert_check(&dir, 0, torn, "");
    assert_eq!(fs::read(&file).unwrap(), whole[..160]);
}

/// Damage is named by file and byte, and fails the check.
#[test]
fn a_damaged_journal_fails() {
    let dir = journal("journal-damaged");
    let file = dir.join("bucket-9c.log");
    let mut bytes = fs::read(&file).unwrap();
    bytes[60] ^= 1;
    fs::write(&file, bytes).unwrap();
    let told = format!(
        "0 records in 1 bucket, 0 bytes\n{} is damaged at byte 44: the record's checksum is \
         wrong\n",
        file.display()
    );
    assert_check(&dir, 1, &told, "");
}

/// A directory without a journal, or with one in use, is told in words.
#[test]
fn what_cannot_be_checked_is_told() {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let told = format!("stentor: {} has no journal: it has no file META\n", empty.display());
    assert_check(empty, 1, "", &told);
    let dir = journal("journal-in-use");
    let (_open, _) = Journal::open(&dir).unwrap();
    let told = format!(
        "stentor: the journal in {} is in use by another process; stop that one, or name another \
         directory\n",
        dir.display()
    );
    assert_check(&dir, 1, "", &told);
}
