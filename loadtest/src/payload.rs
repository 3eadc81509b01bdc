//! What a publication of the load tester says: who it is for, which one it is, when it was due.
//!
//! Printable ASCII, so that it passes WebSocket text and SSE alike, of any length from
//! [`PAYLOAD_BYTES_MIN`]:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..2 | `S1` |
//! | 2..10 | the run, hexadecimal like all that follows: another run's publications are told apart |
//! | 10..18 | channel, by its number in the plan |
//! | 18..26 | sequence in the channel, from 0, without holes |
//! | 26..34 | number in the run: one broadcast to many channels has one number |
//! | 34..46 | due time in nanoseconds since the run's epoch |
//! | 46..54 | CRC-32 of everything else |
//! | 54.. | filler that depends on channel and sequence |

use std::time::Duration;

/// The shortest payload: its header.
pub const PAYLOAD_BYTES_MIN: usize = 54;

/// Which publication it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Drawn at random for each run.
    pub run: u32,
    /// The channel's number in the plan.
    pub channel: u32,
    /// Which publication of its channel, from 0.
    pub sequence: u32,
    /// Which publication of the run. One broadcast to many channels has one number.
    pub number: u32,
    /// When it was due, since the run's epoch. At most 78 hours.
    pub due: Duration,
}

/// Writes the payload of `bytes` bytes (at least [`PAYLOAD_BYTES_MIN`]) into `out`, which is
/// cleared first.
pub fn encode(header: &Header, bytes: usize, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(MAGIC);
    push_hex(out, header.run.into(), 8);
    push_hex(out, header.channel.into(), 8);
    push_hex(out, header.sequence.into(), 8);
    push_hex(out, header.number.into(), 8);
    push_hex(out, header.due.as_nanos() as u64, 12);
    push_hex(out, 0, 8);
    let mut noise = (u64::from(header.channel) << 32 | u64::from(header.sequence)) ^ FILLER_SEED;
    while out.len() < bytes {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        out.push(FILLER[(noise >> 58) as usize]);
    }
    let sum = checksum(out);
    let mut digits = Vec::with_capacity(8);
    push_hex(&mut digits, sum.into(), 8);
    out[SUM].copy_from_slice(&digits);
}

/// Reads the header of a payload whose checksum is right; `None` for anything else.
pub fn decode(payload: &[u8]) -> Option<Header> {
    if payload.len() < PAYLOAD_BYTES_MIN || !payload.starts_with(MAGIC) {
        return None;
    }
    if hex(&payload[SUM])? != u64::from(checksum(payload)) {
        return None;
    }
    let word = |start: usize| hex(&payload[start..start + 8]).map(|word| word as u32);
    Some(Header {
        run: word(2)?,
        channel: word(10)?,
        sequence: word(18)?,
        number: word(26)?,
        due: Duration::from_nanos(hex(&payload[34..46])?),
    })
}

/// CRC-32 of all bytes but the checksum's own.
fn checksum(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&payload[..SUM.start]);
    hasher.update(&payload[SUM.end..]);
    hasher.finalize()
}

fn push_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    out.extend((0..digits).rev().map(|digit| HEX[(value >> (4 * digit)) as usize & 15]));
}

/// Only what [`push_hex`] writes: a changed letter case is a changed payload.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, &digit| match digit {
        b'0'..=b'9' => Some(value << 4 | u64::from(digit - b'0')),
        b'a'..=b'f' => Some(value << 4 | u64::from(digit - b'a' + 10)),
        _ => None,
    })
}

const MAGIC: &[u8] = b"S1";
const SUM: std::ops::Range<usize> = 46..54;
const HEX: &[u8; 16] = b"0123456789abcdef";
const FILLER: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
const FILLER_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What was written is read back, whatever its length.
        #[test]
        fn a_payload_says_what_was_written(
            words in any::<[u32; 4]>(), due in 0u64..1 << 48, bytes in PAYLOAD_BYTES_MIN..600,
        ) {
            let [run, channel, sequence, number] = words;
            let header = Header { run, channel, sequence, number, due: Duration::from_nanos(due) };
            let mut payload = Vec::new();
            encode(&header, bytes, &mut payload);
            prop_assert_eq!(payload.len(), bytes);
            prop_assert!(payload.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(decode(&payload), Some(header));
        }

        /// No payload with a changed, missing or added byte is taken for a good one.
        #[test]
        fn damage_is_seen(sequence: u32, bytes in PAYLOAD_BYTES_MIN..200, at: usize, flip in 1u8..) {
            let header =
                Header { run: 7, channel: 3, sequence, number: 9, due: Duration::from_millis(5) };
            let mut payload = Vec::new();
            encode(&header, bytes, &mut payload);
            let mut changed = payload.clone();
            changed[at % bytes] ^= flip;
            prop_assert_eq!(decode(&changed), None);
            prop_assert_eq!(decode(&payload[..at % bytes]), None);
            payload.push(b'A');
            prop_assert_eq!(decode(&payload), None);
        }
    }
}
