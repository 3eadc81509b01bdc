//! Cuts what comes into lines.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// What stood between two ends of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A line that is not empty, without its end.
    Line(Bytes),
    /// One of so many bytes, which are more than a line may have. They are gone.
    TooLong(usize),
}

/// Cuts bytes, in whatever pieces they come, into lines of at most `line_max` bytes.
///
/// A line ends with `\n`; one `\r` right before it belongs to the end. Empty lines are passed over.
/// Of a line that is too long nothing is kept, so what is held is bounded by a line and a piece.
pub(super) struct Splitter {
    /// What has not been given out.
    bytes: BytesMut,
    /// How many of those are known to hold no end of line.
    searched: usize,
    /// Bytes of the present line that are gone, since it is too long.
    gone: usize,
    line_max: usize,
}

impl Splitter {
    pub(super) fn new(line_max: usize) -> Self {
        Splitter { bytes: BytesMut::new(), searched: 0, gone: 0, line_max }
    }

    /// Where the next piece is appended, with room. Lines that were given out keep the memory that
    /// they share, so a block is filled before there is another.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.capacity() - self.bytes.len() < BLOCK_BYTES / 16 {
            self.bytes.reserve(BLOCK_BYTES);
        }
        &mut self.bytes
    }

    /// The next line, or `None` if more input is needed.
    pub(super) fn next_line(&mut self) -> Option<Cut> {
        loop {
            let Some(end) = memchr(b'\n', &self.bytes[self.searched..]) else {
                self.searched = self.bytes.len();
                self.let_go();
                return None;
            };
            let mut line = self.bytes.split_to(self.searched + end + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if let Some(cut) = self.cut(line) {
                return Some(cut);
            }
        }
    }

    /// The last line, if it has no end. To be asked when there is no more input.
    pub(super) fn finish(mut self) -> Option<Cut> {
        let line = self.bytes.split();
        self.cut(line)
    }

    fn cut(&mut self, line: BytesMut) -> Option<Cut> {
        let len = std::mem::take(&mut self.gone) + line.len();
        match len {
            0 => None,
            len if len > self.line_max => Some(Cut::TooLong(len)),
            _ => Some(Cut::Line(line.freeze())),
        }
    }

    /// Keeps nothing of a line that is too long already, but for its last byte, which may be the
    /// `\r` of its end.
    fn let_go(&mut self) {
        if self.gone + self.bytes.len() > self.line_max + 1 {
            let gone = self.bytes.len() - 1;
            self.gone += gone;
            let last = self.bytes[gone];
            self.bytes.clear();
            self.bytes.extend_from_slice(&[last]);
            self.searched = 1;
        }
    }
}

/// Bytes that are made room for at a time.
const BLOCK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut into pieces, the lines are those of the whole, what is too long is
    /// told with its length, and no more is held than a line and a piece.
    ///
    /// Method: random texts of letters, `\r` and `\n` in random pieces of at most 5 bytes, compared
    /// with an oracle that sees the whole text at once.
    #[test]
    fn lines_do_not_depend_on_how_bytes_arrive() {
        for seed in 1..5000 {
            let mut random = Xorshift(seed);
            let text: Vec<u8> =
                (0..random.below(60)).map(|_| b"aaaab\r\n"[random.below(7)]).collect();
            let (mut splitter, mut lines) = (Splitter::new(6), Vec::new());
            let mut rest = &text[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(5)));
                rest = behind;
                splitter.room().extend_from_slice(piece);
                lines.extend(std::iter::from_fn(|| splitter.next_line()));
                assert!(splitter.bytes.len() <= 6 + 1, "seed {seed}: {text:?}");
            }
            lines.extend(splitter.finish());
            assert_eq!(lines, oracle(&text, 6), "seed {seed}: {text:?}");
        }
    }

    fn oracle(text: &[u8], line_max: usize) -> Vec<Cut> {
        let mut pieces = text.split(|&byte| byte == b'\n').peekable();
        let mut lines = Vec::new();
        while let Some(piece) = pieces.next() {
            let is_ended = pieces.peek().is_some();
            let line = piece.strip_suffix(b"\r").filter(|_| is_ended).unwrap_or(piece);
            match line.len() {
                0 => (),
                len if len > line_max => lines.push(Cut::TooLong(len)),
                _ => lines.push(Cut::Line(Bytes::copy_from_slice(line))),
            }
        }
        lines
    }

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }
}
