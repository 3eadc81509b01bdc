//! Server-sent events (HTML standard §9.2.6): lines, the fields in them, and events.
//!
//! Data and ids count, and events of the type `gap` say what will not come; comments, `retry` and
//! other types are skipped. An event of one data line is told from the bytes it came in. Bytes that
//! are not UTF-8 are told as they are, for a browser would replace them and the damage would be seen
//! all the same; an id that is not UTF-8 is none.

use std::{borrow::Cow, mem, str};

use memchr::memchr2;

use super::{Fault, LINE_BYTES_MAX, MESSAGE_BYTES_MAX, Message, Told, chunks::Place, objects};

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
    event: Event<'static>,
}

/// The fields of an event, as far as they have come.
#[derive(Debug, Default)]
struct Event<'a> {
    data: Option<Cow<'a, [u8]>>,
    id: Option<Cow<'a, [u8]>>,
    is_gap: bool,
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
        let (mut started, mut event): (Vec<u8>, Event<'_>) = match self.rest.take() {
            Some(rest) => (rest.line, rest.event),
            None => Default::default(),
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
            self.on_line(line, &mut event, told)?;
            self.line = if content[end] == b'\r' { Line::AfterReturn } else { Line::Other };
            content = &content[end + 1..];
        }
        if !started.is_empty() || event.has_begun() {
            self.rest = Some(Box::new(Rest { line: started, event: event.into_owned() }));
        }
        Ok(())
    }

    /// An empty line ends the event; any other is a field of it.
    fn on_line<'a>(
        &self,
        mut line: Cow<'a, [u8]>,
        event: &mut Event<'a>,
        told: &mut Told<'_>,
    ) -> Result<(), Fault> {
        if self.line == Line::First && line.starts_with(BYTE_ORDER_MARK) {
            line = without(line, BYTE_ORDER_MARK.len());
        }
        if line.is_empty() {
            return mem::take(event).tell(told);
        }
        if let Some(at) = value_at(b"data", &line) {
            add(without(line, at), &mut event.data)?;
        } else if let Some(at) = value_at(b"id", &line) {
            event.id = Some(without(line, at));
        } else if let Some(at) = value_at(b"event", &line) {
            event.is_gap = &line[at..] == GAP;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.rest.is_none()
    }
}

impl Event<'_> {
    fn has_begun(&self) -> bool {
        self.data.is_some() || self.id.is_some() || self.is_gap
    }

    fn tell(self, told: &mut Told<'_>) -> Result<(), Fault> {
        let id = self.id.as_deref().and_then(|id| str::from_utf8(id).ok());
        match (&self.data, id) {
            (Some(data), _) if self.is_gap => objects::tell_gap(data, told)?,
            (Some(data), id) => told(Message::Publication { payload: data, id }),
            (None, Some(id)) => told(Message::Position(id)),
            (None, None) => {}
        }
        Ok(())
    }

    fn into_owned(self) -> Event<'static> {
        let owned = |value: Cow<'_, [u8]>| Cow::Owned(value.into_owned());
        Event { data: self.data.map(owned), id: self.id.map(owned), is_gap: self.is_gap }
    }
}

/// Where the value begins, if this is the line's field. One space after the colon is not part of
/// the value.
fn value_at(field: &[u8], line: &[u8]) -> Option<usize> {
    match line.strip_prefix(field)? {
        [] => Some(field.len()),
        [b':', b' ', ..] => Some(field.len() + 2),
        [b':', ..] => Some(field.len() + 1),
        _ => None,
    }
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

/// The type of the events that say what will not come.
const GAP: &[u8] = b"gap";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests;
