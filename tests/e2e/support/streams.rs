//! An event stream of several channels.

use std::net::SocketAddr;

use super::{behind_hint, subscriber::Event, wire::Wire};

/// One stream.
pub struct Streams {
    wire: Wire,
    /// The id of the first chunk: where each channel stands at the beginning; empty where a gap is told
    /// next, which has the id.
    pub first: String,
}

impl Streams {
    /// Connects to `/sse?` with these parameters, and more lines in the head of the request.
    #[track_caller]
    pub fn open(address: SocketAddr, query: &str, lines: &str) -> Streams {
        let head = format!("GET /sse?{query} HTTP/1.1\r\nHost: localhost\r\n{lines}");
        let mut wire = Wire::request(address, &head);
        let head = wire.head();
        assert_eq!(head.status, 200, "{head:?} {query}");
        let first = String::from_utf8(wire.chunk().expect("a chunk")).expect("text");
        let id = behind_hint(&first).strip_suffix('\n');
        let id = id.expect("a hint and perhaps an id").trim_end_matches('\n');
        Streams { first: id.strip_prefix("id: ").unwrap_or(id).to_owned(), wire }
    }

    /// The next event; `None` at the end of the stream, which must be a proper one.
    #[track_caller]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let chunk = self.wire.chunk().expect("the last chunk comes before the end");
            match &chunk[..] {
                b"" => return None,
                b":\n\n" => {}
                _ => return Some(Event::of(chunk)),
            }
        }
    }
}
