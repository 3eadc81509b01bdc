//! Answers to long-polls: whole HTTP responses, after which the connection may be used again.

use std::io::Write;

use super::http::cors_headers;
use crate::{ids::Position, resume::Gap};

/// What a long-poll brings.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Where the client stands now: what the next request says.
    pub position: Position,
    /// What could not be recovered.
    pub gap: Option<Gap>,
    /// JSON objects with commas between them.
    pub publications: &'a [u8],
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The page that asked.
    pub origin: Option<&'a str>,
    /// Whether the connection ends with the answer.
    pub close: bool,
}

/// Appends an answer with a body. Its tag is the position, so that a client that sends the tag back
/// goes on from there.
pub fn write_answer(answer: &Answer<'_>, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let Answer { position, gap, publications } = answer;
    let gap = match gap {
        Some(Gap { from, to }) => {
            format!(r#""recovered":false,"gap":{{"from":"{from}","to":"{to}"}}"#)
        }
        None => r#""recovered":true"#.into(),
    };
    let start = format!(r#"{{"position":"{position}",{gap},"publications":["#);
    let length = start.len() + publications.len() + END.len();
    let more = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    write_head("200 OK", *position, &more, envelope, out);
    [start.as_bytes(), publications, END].iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends the answer that nothing was published since the client's tag (RFC 9110 §15.4.5).
pub fn write_not_modified(position: Position, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    write_head("304 Not Modified", position, "", envelope, out);
}

fn write_head(
    status: &str,
    position: Position,
    more: &str,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let close = if envelope.close { "Connection: close\r\n" } else { "" };
    let cors = cors_headers(envelope.origin);
    write!(
        out,
        "HTTP/1.1 {status}\r\nETag: \"{position}\"\r\nCache-Control: no-store\r\n\
         {more}{close}{cors}\r\n"
    )
    .expect("a Vec takes every write");
}

const END: &[u8] = b"]}";
