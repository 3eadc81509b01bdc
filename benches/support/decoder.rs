//! What a subscriber reads, taken apart: only what the server sends, and anything else panics.

/// How a subscriber reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every bench uses both")]
pub enum Format {
    WebSocket,
    Sse,
}

/// Something that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A publication's payload.
    Payload(&'a [u8]),
    /// A ping, to be answered with the same bytes.
    Ping(&'a [u8]),
}

/// One subscriber's stream. Owns memory only while something is half read.
#[derive(Default)]
pub struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// Takes bytes in and tells what they complete.
    pub fn feed(&mut self, format: Format, bytes: &[u8], mut told: impl FnMut(Message<'_>)) {
        let next = match format {
            Format::WebSocket => next_frame,
            Format::Sse => next_line,
        };
        if self.rest.is_empty() {
            let mut left = bytes;
            while let Some((len, message)) = next(left) {
                message.into_iter().for_each(&mut told);
                left = &left[len..];
            }
            self.rest = left.to_vec();
            return;
        }
        self.rest.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.rest);
        self.feed(format, &all, told);
    }
}

/// The first frame's length and what it says, if it is whole.
fn next_frame(bytes: &[u8]) -> Option<(usize, Option<Message<'_>>)> {
    let (&[first, second], _) = bytes.split_first_chunk::<2>()?;
    assert!(second < 128, "a server masks nothing");
    let (header, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
        short => (2, usize::from(short)),
    };
    let payload = bytes.get(header..header + len)?;
    let message = match first {
        0x81 | 0x82 => Message::Payload(payload),
        0x89 => Message::Ping(payload),
        _ => panic!("an unexpected frame: {:?}", &bytes[..header + len]),
    };
    Some((header + len, Some(message)))
}

/// The first line's length and what it says. Lines that carry no payload (the sizes of chunks,
/// positions, comments) say nothing.
fn next_line(bytes: &[u8]) -> Option<(usize, Option<Message<'_>>)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let payload = bytes[..end].strip_prefix(b"data:");
    let payload = payload.map(|text| text.strip_prefix(b" ").unwrap_or(text));
    Some((end + 1, payload.map(Message::Payload)))
}
