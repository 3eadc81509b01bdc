//! Answers about streams, taken apart: entries, and what `XINFO STREAM` says.

use std::{borrow::Cow, mem};

use bytes::Bytes;
use redis::Value;

use super::id::Id;
use crate::mapping::Fields;

/// An entry as it came: its id, and fields with their values in turn.
pub(super) struct Entry {
    pub id: Id,
    fields: Vec<Bytes>,
}

/// What a stream is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// The oldest entry, if there is any.
    pub first: Option<Id>,
    /// The newest id that was ever given.
    pub last: Id,
    /// Entries that there are.
    pub length: u64,
    /// Entries that there ever were; Redis counts them since 7.0.
    pub added: Option<u64>,
    /// The newest that was deleted by its id; trimming does not count.
    pub deleted: Option<Id>,
}

/// An entry with the stream that it is of.
pub(super) struct Record<'a> {
    pub stream: &'a str,
    pub entry: &'a Entry,
}

impl Entry {
    /// The value of a field: the last, if there are several.
    pub(super) fn value(&self, field: &[u8]) -> Option<&Bytes> {
        let mut pairs = self.fields.chunks_exact(2).rev();
        pairs.find(|pair| pair[0] == field).map(|pair| &pair[1])
    }

    /// Bytes that it has in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let each = |field: &Bytes| field.len() + mem::size_of::<Bytes>();
        self.fields.iter().map(each).sum::<usize>() + mem::size_of::<Entry>()
    }

    fn new(value: Value) -> Option<Entry> {
        let [id, fields] = <[Value; 2]>::try_from(array(value)?).ok()?;
        let fields: Option<Vec<Bytes>> = array(fields)?.into_iter().map(text).collect();
        Some(Entry { id: Id::parse(&text(id)?)?, fields: fields? })
    }
}

/// The entries of an answer to `XRANGE` or `XREVRANGE`. `None`: this is no such answer.
pub(super) fn entries(value: Value) -> Option<Vec<Entry>> {
    array(value)?.into_iter().map(Entry::new).collect()
}

/// The entries of an answer to `XREAD`, for each stream that has some.
pub(super) fn streams(value: Value) -> Option<Vec<(Bytes, Vec<Entry>)>> {
    let stream = |value| {
        let [key, all] = <[Value; 2]>::try_from(array(value)?).ok()?;
        Some((text(key)?, entries(all)?))
    };
    match value {
        Value::Nil => Some(Vec::new()),
        value => array(value)?.into_iter().map(stream).collect(),
    }
}

impl Summary {
    /// Reads an answer to `XINFO STREAM`.
    pub(super) fn new(value: Value) -> Option<Summary> {
        let mut summary = Summary::default();
        let mut has_last = false;
        let mut values = array(value)?.into_iter();
        while let (Some(name), Some(value)) = (values.next(), values.next()) {
            match &text(name)?[..] {
                b"length" => summary.length = number(&value)?,
                b"entries-added" => summary.added = Some(number(&value)?),
                b"last-generated-id" => {
                    (summary.last, has_last) = (Id::parse(&text(value)?)?, true);
                }
                b"max-deleted-entry-id" => summary.deleted = Some(Id::parse(&text(value)?)?),
                b"first-entry" if value != Value::Nil => {
                    summary.first = Some(Entry::new(value)?.id);
                }
                _ => (),
            }
        }
        has_last.then_some(summary)
    }
}

impl Fields for Record<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "stream" => Some(Cow::Borrowed(self.stream.as_bytes())),
            "id" => Some(Cow::Owned(self.entry.id.to_string().into_bytes())),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.entry.value(name.as_bytes()).map(|value| Cow::Borrowed(&value[..]))
    }
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn text(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(text) => Some(Bytes::from(text)),
        Value::SimpleString(text) => Some(Bytes::from(text)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn parse(text: &str) -> Value {
        parse_redis_value(text.as_bytes()).unwrap()
    }

    /// Entries come with their fields as they are; a field that is there twice is the last.
    #[test]
    fn entries_are_taken_apart() {
        let answer = "*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n7-1\r\n*4\r\n\
                      $1\r\na\r\n$2\r\n\r\n\r\n$1\r\na\r\n$1\r\n2\r\n";
        let all = streams(parse(answer)).unwrap();
        let [(key, entries)] = &all[..] else { panic!("one stream") };
        assert_eq!((&key[..], entries.len()), (&b"k"[..], 1));
        let record = Record { stream: "k", entry: &entries[0] };
        assert_eq!(record.field("id").unwrap(), Cow::Borrowed(b"7-1"));
        assert_eq!(record.field("stream").unwrap(), Cow::Borrowed(b"k"));
        assert_eq!(record.header("a").unwrap(), Cow::Borrowed(b"2"));
        assert_eq!(record.header("b"), None);
        assert!(streams(Value::Nil).is_some_and(|none| none.is_empty()));
        for strange in [":1\r\n", "*1\r\n:1\r\n", "*1\r\n*2\r\n$1\r\nk\r\n*1\r\n$1\r\na\r\n"] {
            assert!(streams(parse(strange)).is_none(), "{strange}");
        }
    }

    /// What a server before 7.0 does not say is not known.
    #[test]
    fn a_summary_has_what_the_server_says() {
        let old = "*6\r\n$6\r\nlength\r\n:2\r\n$17\r\nlast-generated-id\r\n$3\r\n9-0\r\n\
                   $11\r\nfirst-entry\r\n*2\r\n$3\r\n8-0\r\n*0\r\n";
        let first = Id::parse(b"8-0");
        let last = Id::parse(b"9-0").unwrap();
        let expected = Summary { first, last, length: 2, added: None, deleted: None };
        assert_eq!(Summary::new(parse(old)), Some(expected));
        let new = "*10\r\n$6\r\nlength\r\n:0\r\n$17\r\nlast-generated-id\r\n$3\r\n9-0\r\n\
                   $13\r\nentries-added\r\n:7\r\n$20\r\nmax-deleted-entry-id\r\n$3\r\n0-0\r\n\
                   $11\r\nfirst-entry\r\n$-1\r\n";
        let expected =
            Summary { first: None, last, length: 0, added: Some(7), deleted: Some(Id(0)) };
        assert_eq!(Summary::new(parse(new)), Some(expected));
        assert_eq!(Summary::new(parse("*0\r\n")), None);
    }
}
