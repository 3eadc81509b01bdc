//! The journal's files byte by byte. Pure: no file is touched here.
//!
//! A file has a salt of its own, which its readers never see. Every record begins with half of it, as
//! a mark, and its checksum begins with the other half. So no payload can hold what looks like a record, and a
//! search for the next whole record behind a broken one finds records only.
//!
//! All numbers are little-endian. `docs/journal.md` has this as tables.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memmem;

use super::Record;
use crate::{
    frame::PayloadKind,
    ids::{Bucket, CHANNEL_NAME_MAX, ChannelName, Epoch},
    limits::{KEY_BYTES_MAX, PUBLICATION_BYTES_MAX},
    mesh::Terms,
};

/// What tells a file's records from everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub u64);

impl Salt {
    fn mark(self) -> [u8; 4] {
        (self.0 as u32).to_le_bytes()
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial((self.0 >> 32) as u32);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// What a bucket's file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The bucket, so that a renamed file is not taken for another's.
    pub bucket: Bucket,
    /// The journal's numbering, so that no other's file is taken for one of ours.
    pub epoch: Epoch,
    /// What the records below are marked with.
    pub salt: Salt,
    /// The bucket's highest offset when the file was made; its record may have been left out.
    pub highest: u64,
}

/// Bytes of a [`Header`] in a file.
pub const HEADER_BYTES: usize = 44;

const MAGIC: &[u8; 8] = b"STENTORJ";

/// The format that this program reads and writes, in `META` and in every file.
pub const VERSION: u32 = 1;

impl Header {
    /// As it stands in the file.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(u32::from(self.bucket.0));
        bytes.put_u64_le(self.epoch.0);
        bytes.put_u64_le(self.salt.0);
        bytes.put_u64_le(self.highest);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes.freeze()
    }

    /// Reads the header of what should be the file of `bucket` in the journal of `epoch`.
    pub fn decode(file: &[u8], bucket: Bucket, epoch: Epoch) -> Result<Header, &'static str> {
        let Some((header, checksum)) = file
            .get(..HEADER_BYTES)
            .map(|header| header.split_at(HEADER_BYTES - 4))
            .filter(|(header, _)| header.starts_with(MAGIC))
        else {
            return Err("this is not a journal's file, or its header is gone");
        };
        let mut fields = &header[MAGIC.len()..];
        let version = fields.get_u32_le();
        if crc32fast::hash(header).to_le_bytes() != checksum {
            return Err("the header's checksum is wrong");
        }
        if version != VERSION {
            return Err("the format is of another version of stentor; use that one");
        }
        let found = Header {
            bucket: Bucket(
                u8::try_from(fields.get_u32_le()).map_err(|_| "there is no such bucket")?,
            ),
            epoch: Epoch(fields.get_u64_le()),
            salt: Salt(fields.get_u64_le()),
            highest: fields.get_u64_le(),
        };
        match found.bucket == bucket && found.epoch == epoch {
            true => Ok(found),
            false => Err("the file is of another bucket or of another journal"),
        }
    }
}

/// The record is larger than any that may be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Appends a record as it stands in a file with this salt; nothing if it is too large.
pub fn encode(record: &Record, salt: Salt, out: &mut BytesMut) -> Result<(), TooLarge> {
    let none = Terms::default();
    let terms = record.terms.as_deref().unwrap_or(&none);
    let key = terms.key.as_deref().unwrap_or_default();
    let idempotency = terms.idempotency.as_deref().unwrap_or_default();
    let short = |text: &str| u8::try_from(text.len()).map_err(|_| TooLarge);
    let lengths = [short(record.channel.as_str())?, short(key)?, short(idempotency)?];
    if record.payload.len() > PUBLICATION_BYTES_MAX {
        return Err(TooLarge);
    }
    let texts: usize = lengths.iter().map(|&length| usize::from(length)).sum();
    let length = BODY_BYTES_MIN + texts + record.payload.len();
    out.reserve(PREFIX_BYTES + length);
    out.put_slice(&salt.mark());
    let checked_from = out.len() + 4;
    out.put_u32_le(0);
    out.put_u32_le(length as u32);
    out.put_u64_le(record.offset);
    out.put_u64_le(record.at_ms);
    out.put_u64_le(terms.version.unwrap_or_default());
    out.put_u8(kind_number(record.kind));
    let flags = [terms.key.is_some(), terms.version.is_some(), terms.idempotency.is_some()];
    out.put_u8(flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u8::from(flag)));
    out.put_slice(&lengths);
    out.put_slice(record.channel.as_str().as_bytes());
    out.put_slice(key.as_bytes());
    out.put_slice(idempotency.as_bytes());
    out.put_slice(&record.payload);
    let checksum = salt.checksum(&out[checked_from..]);
    out[checked_from - 4..checked_from].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A record and how many bytes it takes.
    Record(Record, usize),
    /// The beginning of one: there must be more bytes.
    Short,
    /// None, or a broken one.
    Bad(&'static str),
}

/// Reads the record that `bytes` begin with.
pub fn decode(bytes: &[u8], salt: Salt) -> Found {
    let Some((mut prefix, rest)) = bytes.split_at_checked(PREFIX_BYTES) else {
        return Found::Short;
    };
    if !prefix.starts_with(&salt.mark()) {
        return Found::Bad("no record begins here");
    }
    prefix.advance(4);
    let (checksum, length) = (prefix.get_u32_le(), prefix.get_u32_le() as usize);
    if !(BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&length) {
        return Found::Bad("the record's length is impossible");
    }
    if rest.len() < length {
        return Found::Short;
    }
    if salt.checksum(&bytes[8..PREFIX_BYTES + length]) != checksum {
        return Found::Bad("the record's checksum is wrong");
    }
    match decode_body(&rest[..length]) {
        Some(record) => Found::Record(record, PREFIX_BYTES + length),
        None => Found::Bad("the record's checksum is right, but no stentor wrote its content"),
    }
}

/// How many bytes further the next whole record begins, if there is one.
pub fn find(bytes: &[u8], salt: Salt) -> Option<usize> {
    let is_record = |at: &usize| matches!(decode(&bytes[*at..], salt), Found::Record(..));
    memmem::find_iter(bytes, &salt.mark()).find(is_record)
}

fn decode_body(mut body: &[u8]) -> Option<Record> {
    let (offset, at_ms, version) = (body.get_u64_le(), body.get_u64_le(), body.get_u64_le());
    let (kind, flags) = (kind(body.get_u8())?, body.get_u8());
    let lengths = [body.get_u8(), body.get_u8(), body.get_u8()].map(usize::from);
    let mut text = |length: usize| {
        let (text, rest) = body.split_at_checked(length)?;
        body = rest;
        std::str::from_utf8(text).ok()
    };
    let channel = ChannelName::new(text(lengths[0])?).ok()?;
    let (key, idempotency) = (text(lengths[1])?, text(lengths[2])?);
    let terms = (flags != 0).then(|| {
        Box::new(Terms {
            key: (flags & 1 != 0).then(|| key.into()),
            version: (flags & 2 != 0).then_some(version),
            idempotency: (flags & 4 != 0).then(|| idempotency.into()),
        })
    });
    Some(Record { offset, at_ms, channel, kind, payload: Bytes::copy_from_slice(body), terms })
}

fn kind_number(kind: PayloadKind) -> u8 {
    match kind {
        PayloadKind::Text => 0,
        PayloadKind::Binary => 1,
        PayloadKind::Json => 2,
        PayloadKind::Gap => unreachable!("what a bus has lost is not in the journal"),
    }
}

fn kind(number: u8) -> Option<PayloadKind> {
    [PayloadKind::Text, PayloadKind::Binary, PayloadKind::Json].get(usize::from(number)).copied()
}

/// Mark, checksum, length.
const PREFIX_BYTES: usize = 12;
/// Offset, time, version, kind, flags, three lengths.
const BODY_BYTES_MIN: usize = 8 + 8 + 8 + 1 + 1 + 3;
const BODY_BYTES_MAX: usize =
    BODY_BYTES_MIN + CHANNEL_NAME_MAX + 2 * KEY_BYTES_MAX + PUBLICATION_BYTES_MAX;

const _: () = assert!(CHANNEL_NAME_MAX <= 255 && KEY_BYTES_MAX <= 255, "lengths take one byte");
const _: () = assert!(BODY_BYTES_MAX <= u32::MAX as usize);
