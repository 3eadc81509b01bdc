//! Server-sent events (HTML standard §9.2.6): lines, the fields in them, and events.
//!
//! Only data counts: comments and the fields `id`, `event` and `retry` are skipped. An event of one
//! data line is told from the bytes it came in. Bytes that are not UTF-8 are told as they are, for a
//! browser would replace them and the damage would be seen all the same.

use std::{borrow::Cow, mem};

use memchr::memchr2;

use super::{Fault, LINE_BYTES_MAX, MESSAGE_BYTES_MAX, Message, Told, chunks::Place};

/// The events of one connection.
#[derive(Debug)]
pub(super) struct Events {
    rest: Option<Box<Rest>>,
    left_in_chunk: u32,
    place: Place,
    line: Line,
}

/// What is known of the line that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// It is the first, and may begin with a byte order mark.
    First,
    /// The one before it ended with CR, so that a LF may belong to that end.
    AfterReturn,
    Other,
}

/// What is half read.
#[derive(Debug)]
struct Rest {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
}

impl Events {
    pub(super) fn new(chunked: bool) -> Events {
        let place = if chunked { Place::Size } else { Place::UntilClose };
        Events { rest: None, left_in_chunk: 0, place, line: Line::First }
    }

    /// Takes all bytes.
    pub(super) fn feed(&mut self, bytes: &mut &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let content = self.place.next(&mut self.left_in_chunk, bytes)?;
            if !content.is_empty() {
                self.read(content, told)?;
            } else if self.place == Place::End {
                self.rest = None;
                told(Message::Closed { code: None, reason: "" });
            }
        }
        Ok(())
    }

    /// Reads content line by line and keeps what belongs to an event that has more to come.
    fn read(&mut self, mut content: &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
        let (mut started, mut data) = match self.rest.take() {
            Some(rest) => (rest.line, rest.data.map(Cow::Owned)),
            None => (Vec::new(), None),
        };
        while let Some(&first) = content.first() {
            if self.line == Line::AfterReturn {
                self.line = Line::Other;
                if first == b'\n' {
                    content = &content[1..];
                    continue;
                }
            }
            let end = memchr2(b'\n', b'\r', content);
            let piece = &content[..end.unwrap_or(content.len())];
            if started.len() + piece.len() > LINE_BYTES_MAX {
                return Err(Fault::MessageTooLarge);
            }
            let Some(end) = end else {
                started.extend_from_slice(piece);
                break;
            };
            let line = if started.is_empty() {
                Cow::Borrowed(piece)
            } else {
                started.extend_from_slice(piece);
                Cow::Owned(mem::take(&mut started))
            };
            self.on_line(line, &mut data, told)?;
            self.line = if content[end] == b'\r' { Line::AfterReturn } else { Line::Other };
            content = &content[end + 1..];
        }
        if !started.is_empty() || data.is_some() {
            let data = data.map(Cow::into_owned);
            self.rest = Some(Box::new(Rest { line: started, data }));
        }
        Ok(())
    }

    /// An empty line ends the event; a data line adds to it.
    fn on_line<'a>(
        &self,
        mut line: Cow<'a, [u8]>,
        data: &mut Option<Cow<'a, [u8]>>,
        told: &mut Told<'_>,
    ) -> Result<(), Fault> {
        if self.line == Line::First && line.starts_with(BYTE_ORDER_MARK) {
            line = without(line, BYTE_ORDER_MARK.len());
        }
        if line.is_empty() {
            if let Some(data) = data.take() {
                told(Message::Publication(&data));
            }
        } else if let Some(value) = data_value(line) {
            add(value, data)?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.rest.is_none()
    }
}

/// The value of the field, if the field is `data`. One space after the colon is not part of it.
fn data_value(line: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let value_at = match line.strip_prefix(b"data")? {
        [] => 4,
        [b':', b' ', ..] => 6,
        [b':', ..] => 5,
        _ => return None,
    };
    Some(without(line, value_at))
}

/// Adds a line to the data of an event.
fn add<'a>(value: Cow<'a, [u8]>, data: &mut Option<Cow<'a, [u8]>>) -> Result<(), Fault> {
    let before = data.as_ref().map_or(0, |data| data.len() + 1);
    if before + value.len() > MESSAGE_BYTES_MAX {
        return Err(Fault::MessageTooLarge);
    }
    match data {
        None => *data = Some(value),
        Some(data) => {
            let lines = data.to_mut();
            lines.push(b'\n');
            lines.extend_from_slice(&value);
        }
    }
    Ok(())
}

/// The line without its first bytes.
fn without(line: Cow<'_, [u8]>, len: usize) -> Cow<'_, [u8]> {
    match line {
        Cow::Borrowed(line) => Cow::Borrowed(&line[len..]),
        Cow::Owned(mut line) => {
            line.drain(..len);
            Cow::Owned(line)
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
