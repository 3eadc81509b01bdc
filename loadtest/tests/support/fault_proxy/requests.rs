//! The position in a request that resumes: in `Last-Event-ID`, or in the query's `since`.

use std::ops::Range;

/// Where the digits of its offset are; none in a request that does not resume.
pub fn offset(head: &[u8]) -> Option<Range<usize>> {
    let position = [&b"Last-Event-ID: "[..], b"since="].iter().find_map(|name| {
        let at = head.windows(name.len()).position(|bytes| bytes == *name)?;
        Some(at + name.len())
    })?;
    let is_end = |byte: &u8| b" &\r".contains(byte);
    let end = position + head[position..].iter().position(is_end)?;
    let start = position + head[position..end].iter().rposition(|&byte| byte == b'-')? + 1;
    Some(start..end)
}

/// The number that digits are; 0 if they are none.
pub fn number(digits: &[u8]) -> u64 {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Makes the offset there, which is above 0, one smaller.
pub fn rewind(head: &mut Vec<u8>, offset: Range<usize>) {
    let smaller = number(&head[offset.clone()]) - 1;
    head.splice(offset, smaller.to_string().into_bytes());
}
