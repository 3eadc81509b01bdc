//! Publications as JSON objects in WebSocket text frames: what `stentor.v1` delivers.
//!
//! `{"channel":"news","id":"18c2f3a9d1e-42","data":…}`: the data of a JSON publication as it is, of a
//! text as a string, of any other as a string of base64 with `"encoding":"base64"` before it. In a
//! channel of latest values `"key"` says what it is the value of. Where publications were lost on their
//! way to the channel, a notice of the gap stands in their place.

use std::io::{self, Write};

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::to_writer;

use super::websocket;
use crate::{
    frame::{PayloadKind, Publication},
    ids::Position,
};

/// The exact number of bytes that [`encode`] fills.
pub fn encoded_len(publication: &Publication<'_>) -> usize {
    websocket::encoded_len(object_len(publication))
}

/// Writes one publication as one text frame; `out` is exactly [`encoded_len`] bytes.
pub fn encode(publication: &Publication<'_>, out: &mut [u8]) {
    let len = object_len(publication);
    websocket::encode_with(PayloadKind::Text, len, out, |mut body| {
        write_object(publication, &mut body).expect(MEMORY);
        assert!(body.is_empty(), "object_len is exact");
    });
}

/// The object in a frame that [`encode`] wrote.
pub fn object(frame: &[u8]) -> &[u8] {
    websocket::payload(frame)
}

/// Where the gap begins that a frame tells of, whether [`encode`] wrote it or it has only that
/// position as its payload.
pub fn gap_from(frame: &[u8]) -> Option<Position> {
    #[derive(Deserialize)]
    struct Told<'a> {
        from: &'a str,
    }
    let body = std::str::from_utf8(websocket::payload(frame)).ok()?;
    let told: Option<Told<'_>> = serde_json::from_str(body).ok();
    told.map_or(body, |told| told.from).parse().ok()
}

fn object_len(publication: &Publication<'_>) -> usize {
    let mut counted = Counted(0);
    write_object(publication, &mut counted).expect(MEMORY);
    counted.0
}

fn write_object(publication: &Publication<'_>, out: &mut impl Write) -> io::Result<()> {
    let Publication { channel, position, kind, key, payload } = publication;
    // Names and positions have no byte that JSON would escape.
    if *kind == PayloadKind::Gap {
        write!(out, r#"{{"type":"gap","channel":"{channel}","from":""#)?;
        out.write_all(payload)?;
        return write!(out, r#"","to":"{position}"}}"#);
    }
    write!(out, r#"{{"channel":"{channel}","id":"{position}","#)?;
    if let Some(key) = key {
        out.write_all(br#""key":"#)?;
        to_writer(&mut *out, key)?;
        out.write_all(b",")?;
    }
    match kind {
        PayloadKind::Json => {
            out.write_all(br#""data":"#)?;
            out.write_all(payload)?;
        }
        PayloadKind::Text => {
            out.write_all(br#""data":"#)?;
            to_writer(&mut *out, std::str::from_utf8(payload).expect("a text is UTF-8"))?;
        }
        PayloadKind::Binary => {
            out.write_all(br#""encoding":"base64","data":""#)?;
            write!(out, "{}", BASE64.encode_display(payload))?;
            out.write_all(b"\"")?;
        }
        PayloadKind::Gap => unreachable!("written above"),
    }
    out.write_all(b"}")
}

/// Counts what is written to it.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MEMORY: &str = "there is room for what was counted";
