//! The client's JavaScript module, which the server brings with it.

use std::io::Write;

/// Appends the whole answer; short where the client has this version already.
pub(super) fn write(known: Option<&str>, out: &mut Vec<u8>) {
    let tag = tag();
    let (status, body) = match known.is_some_and(|known| known.trim_start_matches("W/") == tag) {
        true => ("304 Not Modified", ""),
        false => ("200 OK", MODULE),
    };
    let length = match body {
        "" => String::new(),
        _ => format!(
            "Content-Type: text/javascript; charset=utf-8\r\nContent-Length: {}\r\n",
            body.len()
        ),
    };
    write!(
        out,
        "HTTP/1.1 {status}\r\n{length}ETag: {tag}\r\nCache-Control: no-cache\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n{body}"
    )
    .expect("a Vec takes every write");
}

/// Of the content: a version may be built more than once.
pub(super) fn tag() -> String {
    format!("\"{:08x}\"", crc32fast::hash(MODULE.as_bytes()))
}

pub(super) const MODULE: &str = include_str!("../../clients/js/stentor.js");
