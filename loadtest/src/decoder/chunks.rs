//! Where a body's content is: all of it until the connection ends, or in chunks (RFC 9112 §7.1).
//!
//! Chunk extensions and trailers are skipped, and nothing is stored: a state of one byte and the
//! bytes left in the chunk are all there is, so that a stream which holds them stays small.

use super::Fault;

/// Where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a body without chunks, which ends with the connection.
    UntilClose,
    /// At the first digit of a chunk's size.
    Size,
    SizeDigits,
    Extension,
    SizeLineFeed,
    Content,
    ContentReturn,
    ContentLineFeed,
    /// At the start of a line after the last chunk. An empty one ends the body.
    Trailer,
    TrailerField,
    TrailerLineFeed,
    LastLineFeed,
    /// Behind the body.
    End,
}

impl Place {
    /// Takes the next piece of content, which is empty while the bytes are the framing's own.
    ///
    /// `left` counts the chunk's bytes that are still to come, and starts at 0.
    pub(super) fn next<'a>(
        &mut self,
        left: &mut u32,
        bytes: &mut &'a [u8],
    ) -> Result<&'a [u8], Fault> {
        match self {
            Place::UntilClose => Ok(std::mem::take(bytes)),
            Place::Content => {
                let (content, after) = bytes.split_at(bytes.len().min(*left as usize));
                *bytes = after;
                *left -= content.len() as u32;
                if *left == 0 {
                    *self = Place::ContentReturn;
                }
                Ok(content)
            }
            _ => {
                if let Some((&byte, after)) = bytes.split_first() {
                    *self = self.step(byte, left)?;
                    *bytes = after;
                }
                Ok(&[])
            }
        }
    }

    /// Where a byte of the framing leads.
    fn step(self, byte: u8, left: &mut u32) -> Result<Place, Fault> {
        Ok(match (self, byte) {
            (Place::Size | Place::SizeDigits, _) if byte.is_ascii_hexdigit() => {
                *left = push_digit(*left, byte)?;
                Place::SizeDigits
            }
            (Place::SizeDigits | Place::Extension, b'\r') => Place::SizeLineFeed,
            (Place::SizeDigits, b';' | b' ' | b'\t') => Place::Extension,
            (Place::Size | Place::SizeDigits, _) => return Err(Fault::ChunkSize),
            (Place::SizeLineFeed, b'\n') if *left == 0 => Place::Trailer,
            (Place::SizeLineFeed, b'\n') => Place::Content,
            (Place::ContentReturn, b'\r') => Place::ContentLineFeed,
            (Place::ContentLineFeed, b'\n') => Place::Size,
            (Place::Trailer, b'\r') => Place::LastLineFeed,
            (Place::TrailerField, b'\r') => Place::TrailerLineFeed,
            (Place::TrailerLineFeed, b'\n') => Place::Trailer,
            (Place::LastLineFeed, b'\n') => Place::End,
            (Place::End, _) => return Err(Fault::AfterEnd),
            (Place::Extension, byte) if byte != b'\n' => Place::Extension,
            (Place::Trailer | Place::TrailerField, byte) if byte != b'\n' => Place::TrailerField,
            _ => return Err(Fault::ChunkEnd),
        })
    }
}

fn push_digit(size: u32, digit: u8) -> Result<u32, Fault> {
    let digit = char::from(digit).to_digit(16).ok_or(Fault::ChunkSize)?;
    size.checked_mul(16).map(|size| size | digit).ok_or(Fault::ChunkTooLarge)
}
