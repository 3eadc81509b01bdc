//! Server-sent events in a chunked HTTP/1.1 response (HTML standard §9.2, RFC 9112 §7.1).
//!
//! One publication is one event in one chunk, so a frame can be found, counted and cut like a
//! WebSocket frame. An event stream is UTF-8 text in which every line end is alike: a text payload
//! comes out with its line ends as `\n`, and any other payload goes as base64 in an event of the type
//! `base64`.

use std::{io::Write, iter, time::Duration};

use data_encoding::BASE64;
use httparse::{Status, parse_chunk_size};
use memchr::{memchr2, memchr2_iter};

use super::http::cors_headers;
use crate::{
    frame::{PayloadKind, Publication},
    ids::{ChannelName, Position},
    resume::Gap,
};

/// A chunk with a comment, which clients ignore: shows proxies and kernels that the stream lives.
pub const HEARTBEAT: &[u8] = b"3\r\n:\n\n\r\n";

/// The last chunk: the stream is complete, and the client will connect again.
pub const END: &[u8] = b"0\r\n\r\n";

/// An event that says why the stream ends: the token that it was asked for with has run out.
pub const EXPIRED: &[u8] = b"24\r\nevent: expired\ndata: token expired\n\n\r\n";

/// The same, where events are named by their channels, of which none begins with a semicolon.
pub const EXPIRED_OF_SEVERAL: &[u8] = b"25\r\nevent: ;expired\ndata: token expired\n\n\r\n";

/// Appends the head of the response, with further headers, each line ended. A page of another origin
/// may read the stream only if `origin` names it.
pub fn write_head(origin: Option<&str>, headers: &str, out: &mut Vec<u8>) {
    let cors = cors_headers(origin);
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
         X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
         {cors}{headers}\r\n"
    )
    .expect(MEMORY);
}

/// Appends the first chunk: how long to wait before connecting again, and the id to do it with, which
/// a client keeps although nothing is dispatched. Without an id where an event that tells of a gap
/// follows: a client that had the one and not the other would never hear of the gap.
pub fn write_first(retry: Duration, id: Option<&str>, out: &mut Vec<u8>) {
    let id = id_line(id);
    write_chunk(format!("retry: {}\n{id}\n", retry.as_millis()).as_bytes(), out);
}

fn id_line(id: Option<&str>) -> String {
    id.map_or_else(String::new, |id| format!("id: {id}\n"))
}

/// Appends the event that tells of a gap: `gap` in a stream of one channel, `{channel};gap` in one of
/// several. Of gaps that are told together the last has the id.
pub fn write_gap(
    event: &str,
    id: Option<&str>,
    channel: &ChannelName,
    gap: &Gap,
    out: &mut Vec<u8>,
) {
    let Gap { from, to } = gap;
    let data = format!(r#"{{"channel":"{channel}","from":"{from}","to":"{to}"}}"#);
    let id = id_line(id);
    write_chunk(format!("event: {event}\n{id}data: {data}\n\n").as_bytes(), out);
}

/// Appends a publication as an event that names its channel; `;base64` behind the name says that
/// the payload is in base64.
pub fn write_event(
    id: &str,
    channel: &ChannelName,
    kind: PayloadKind,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let mut event = format!("id: {id}\nevent: {channel}").into_bytes();
    match kind {
        PayloadKind::Text | PayloadKind::Json => {
            if kind == PayloadKind::Json {
                event.extend_from_slice(b";json");
            }
            event.push(b'\n');
            lines(payload).for_each(|line| event.extend([DATA, line, b"\n"].concat()));
        }
        PayloadKind::Binary => {
            write!(event, ";base64\ndata: {}\n", BASE64.encode_display(payload)).expect(MEMORY);
        }
        PayloadKind::Gap => unreachable!("see write_gap"),
    }
    event.push(b'\n');
    write_chunk(&event, out);
}

fn write_chunk(content: &[u8], out: &mut Vec<u8>) {
    write!(out, "{:x}\r\n", content.len()).expect(MEMORY);
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

/// The exact number of bytes that [`encode`] fills.
pub fn encoded_len(publication: &Publication<'_>) -> usize {
    let event = event_len(publication);
    hex_digits(event as u64) + CHUNK_ENDS + event
}

/// Writes one publication as one chunk; `out` is exactly [`encoded_len`] bytes.
pub fn encode(publication: &Publication<'_>, mut out: &mut [u8]) {
    let rest = &mut out;
    let (event, position) = (event_len(publication), publication.position);
    write!(rest, "{event:x}\r\n").expect(MEMORY);
    if publication.kind == PayloadKind::Gap {
        put(rest, gap_event(publication).as_bytes());
        put(rest, b"\r\n");
        return assert!(out.is_empty(), "encoded_len is exact");
    }
    writeln!(rest, "id: {position}").expect(MEMORY);
    match publication.kind {
        PayloadKind::Text | PayloadKind::Json => lines(publication.payload).for_each(|line| {
            put(rest, DATA);
            put(rest, line);
            put(rest, b"\n");
        }),
        PayloadKind::Binary => {
            put(rest, BASE64_EVENT);
            put(rest, DATA);
            put_base64(rest, publication.payload);
            put(rest, b"\n");
        }
        PayloadKind::Gap => unreachable!("written above"),
    }
    put(rest, b"\n\r\n");
    assert!(out.is_empty(), "encoded_len is exact");
}

/// The length of the chunk that starts at `bytes[0]`. Panics if it is not one of ours.
pub fn frame_len(bytes: &[u8]) -> usize {
    match parse_chunk_size(bytes) {
        Ok(Status::Complete((head, size))) => head + size as usize + 2,
        other => panic!("not the start of a chunk: {other:?}"),
    }
}

/// Bytes of the event inside the chunk.
fn event_len(publication: &Publication<'_>) -> usize {
    let payload = publication.payload;
    let data = match publication.kind {
        PayloadKind::Text | PayloadKind::Json => {
            let (breaks, break_bytes) = line_breaks(payload);
            (breaks + 1) * (DATA.len() + 1) + payload.len() - break_bytes
        }
        PayloadKind::Binary => {
            BASE64_EVENT.len() + DATA.len() + BASE64.encode_len(payload.len()) + 1
        }
        PayloadKind::Gap => return gap_event(publication).len(),
    };
    "id: \n".len() + position_len(publication.position) + data + 1
}

/// The event that tells of publications that were lost on their way to the channel.
fn gap_event(publication: &Publication<'_>) -> String {
    let Publication { channel, position, payload, .. } = publication;
    let from = String::from_utf8_lossy(payload);
    format!(
        "event: gap\nid: {position}\ndata: {{\"channel\":\"{channel}\",\"from\":\"{from}\",\
         \"to\":\"{position}\"}}\n\n"
    )
}

/// Bytes of a position when written.
fn position_len(position: Position) -> usize {
    let decimal_digits = position.offset.0.checked_ilog10().unwrap_or(0) as usize + 1;
    hex_digits(position.epoch.0) + 1 + decimal_digits
}

fn hex_digits(number: u64) -> usize {
    number.checked_ilog2().unwrap_or(0) as usize / 4 + 1
}

/// How many line breaks a text has, and how many bytes they take.
fn line_breaks(text: &[u8]) -> (usize, usize) {
    let (mut break_bytes, mut pairs) = (0, 0);
    for at in memchr2_iter(b'\n', b'\r', text) {
        break_bytes += 1;
        pairs += usize::from(text[at..].starts_with(b"\r\n"));
    }
    (break_bytes - pairs, break_bytes)
}

/// The lines of a text, as an event stream defines them: `\r\n`, `\n` and `\r` each end one.
/// What follows the last line end is a line too, even if it is empty.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let next = if text[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        rest = Some(&text[next..]);
        Some(&text[..end])
    })
}

fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    rest.write_all(bytes).expect(MEMORY);
}

fn put_base64(rest: &mut &mut [u8], payload: &[u8]) {
    let (text, after) = std::mem::take(rest).split_at_mut(BASE64.encode_len(payload.len()));
    BASE64.encode_mut(payload, text);
    *rest = after;
}

const DATA: &[u8] = b"data: ";
const BASE64_EVENT: &[u8] = b"event: base64\n";
/// The line end after a chunk's size and the one after its content.
const CHUNK_ENDS: usize = 4;
const MEMORY: &str = "there is room for what was counted";

#[cfg(test)]
mod tests;
