//! Ids of entries: `1526919030474-55`, milliseconds and a sequence number.

use std::fmt;

use crate::ids::Offset;

/// An entry's id. They rise within a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub u128);

impl Id {
    /// The smallest of a millisecond.
    pub(super) fn of_ms(ms: u64) -> Id {
        Id(u128::from(ms) << 64)
    }

    /// Reads `ms-sequence`, or `ms` alone for the first of the millisecond.
    pub(super) fn parse(text: &[u8]) -> Option<Id> {
        let number = |digits: &str| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| is_plain)
        };
        let text = str::from_utf8(text).ok()?;
        let (ms, sequence) = text.split_once('-').unwrap_or((text, "0"));
        Some(Id(Id::of_ms(number(ms)?).0 | u128::from(number(sequence)?)))
    }

    /// The one before it, which no entry between the two can have; the first of all has none.
    pub(super) fn before(self) -> Id {
        Id(self.0.saturating_sub(1))
    }

    /// Where its entry stands in a channel that is numbered by the stream.
    pub(super) fn offset(self) -> Offset {
        Offset(self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0 >> 64, self.0 as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Redis writes is read, in the order of the entries; anything else is not.
    #[test]
    fn ids_are_read_as_redis_writes_them() {
        for text in ["0-0", "0-1", "1526919030474-55", "18446744073709551615-18446744073709551615"]
        {
            assert_eq!(Id::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(Id::parse(b"7"), Some(Id::of_ms(7)));
        assert!(Id::parse(b"9-10") > Id::parse(b"9-9") && Id::parse(b"10-0") > Id::parse(b"9-99"));
        assert_eq!(Id::of_ms(1).before().to_string(), "0-18446744073709551615");
        for text in ["", "-", "1-", "-1", "+1-0", "1-+0", "1-0-0", "a-1", "18446744073709551616-0"]
        {
            assert_eq!(Id::parse(text.as_bytes()), None, "{text}");
        }
    }
}
