//! Names and numbers that identify things: shards, slots, channels, positions.
//!
//! Vocabulary: everything may import this module, and of ours it imports only `limits`. A number with a
//! meaning has a type here, so that a slot is never mistaken for an index of something else.
#![forbid(unsafe_code)]

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;

use crate::limits::TICK_MS;

/// One core's share of the server: a thread with its own connections, rings and timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A connection's place in its shard's table. Reused after the connection has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index into a table with one entry per slot.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A moment, counted in ticks of [`TICK_MS`] milliseconds since the server
/// started. 32 bits of 100 ms are thirteen years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u32);

impl Tick {
    /// The first tick that is at least `duration` after this one.
    pub fn after(self, duration: Duration) -> Tick {
        let ticks = duration.as_millis().div_ceil(u128::from(TICK_MS));
        Tick(self.0.saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)))
    }
}

/// One connection, of all that the server ever had. Written `shard-slot-generation`: `0-17-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The shard that serves it.
    pub shard: ShardId,
    /// Its place there.
    pub slot: Slot,
    /// How many connections have had this place, it included; modulo 2^32.
    pub generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard.0, self.slot.0, self.generation)
    }
}

/// A text is not the id of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection's id is three numbers with dashes between them, like 0-17-3")]
pub struct NotAConnection;

impl FromStr for ConnectionId {
    type Err = NotAConnection;

    fn from_str(text: &str) -> Result<Self, NotAConnection> {
        let mut parts = text.split('-');
        let mut next = || {
            let digits = parts.next().filter(|part| part.bytes().all(|it| it.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u32>().ok()).ok_or(NotAConnection)
        };
        let (shard, slot, generation) = (next()?, next()?, next()?);
        let shard = ShardId(u16::try_from(shard).map_err(|_| NotAConnection)?);
        match parts.next() {
            Some(_) => Err(NotAConnection),
            None => Ok(ConnectionId { shard, slot: Slot(slot), generation }),
        }
    }
}

/// Where a publication stands in its channel. Offsets rise, perhaps with gaps, and are never
/// reused within an epoch. 128 bits, because a Redis stream id is two numbers of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u128);

/// One life of a numbering: offsets of different epochs do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// Where a publication stands, in a form that outlives a connection. Written `epoch-offset`, the
/// epoch in hexadecimal and the offset in decimal: `18c2f3a9d1e-42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The numbering that the offset belongs to.
    pub epoch: Epoch,
    /// The place within it.
    pub offset: Offset,
}

/// The longest a position can be when written: 16 hexadecimal digits, a dash, 39 decimal digits.
pub const POSITION_TEXT_MAX: usize = 16 + 1 + 39;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch.0, self.offset.0)
    }
}

/// The text is not a position of the form `epoch-offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is written epoch-offset, like 18c2f3a9d1e-42")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(NotAPosition)?;
        if text.contains('+') {
            return Err(NotAPosition);
        }
        let epoch = Epoch(u64::from_str_radix(epoch, 16).map_err(|_| NotAPosition)?);
        let offset = Offset(offset.parse().map_err(|_| NotAPosition)?);
        Ok(Position { epoch, offset })
    }
}

/// A channel's name: 1 to 255 bytes of letters, digits and `._-:/`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// Bytes in the longest channel name.
pub const CHANNEL_NAME_MAX: usize = 255;

/// Why a text is not a channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAChannel {
    /// Nothing was given.
    #[error("the channel name is empty; give one, like news")]
    Empty,
    /// More than [`CHANNEL_NAME_MAX`] bytes.
    #[error("the channel name is longer than {CHANNEL_NAME_MAX} bytes")]
    TooLong,
    /// A byte outside the allowed set.
    #[error(
        "a channel name may have only letters, digits and ._-:/, and this one has byte 0x{0:02x}"
    )]
    BadByte(u8),
    /// In a path, a `%` without two hexadecimal digits behind it.
    #[error("a % in a path must be followed by two hexadecimal digits, as in %3A")]
    BadEscape,
}

impl ChannelName {
    /// Checks `name` and takes a copy of it.
    pub fn new(name: &str) -> Result<Self, NotAChannel> {
        Self::check(name.as_bytes())?;
        Ok(ChannelName(name.into()))
    }

    /// The name that a path has percent-encoded, decoded once.
    pub fn decode(encoded: &str) -> Result<Self, NotAChannel> {
        let is_escape = |rest: &str| {
            rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
        };
        if !encoded.split('%').skip(1).all(is_escape) {
            return Err(NotAChannel::BadEscape);
        }
        let name: Vec<u8> = percent_decode_str(encoded).collect();
        Self::check(&name)?;
        // Only ASCII passes the check, so nothing is lost.
        Self::new(&String::from_utf8_lossy(&name))
    }

    /// Says whether these bytes could be a channel's name.
    pub fn check(name: &[u8]) -> Result<(), NotAChannel> {
        if name.is_empty() {
            return Err(NotAChannel::Empty);
        }
        if name.len() > CHANNEL_NAME_MAX {
            return Err(NotAChannel::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
        match name.iter().find(|&&byte| !allowed(byte)) {
            Some(&byte) => Err(NotAChannel::BadByte(byte)),
            None => Ok(()),
        }
    }

    /// The channels of the server's own probes: one for each shard that is a home, in their order. No
    /// peer can name them, since no name that was checked has a `$`.
    pub fn probes(shards: u16) -> Vec<ChannelName> {
        let names = || (0u32..).map(|n| ChannelName(format!("$probe.{n}").into()));
        let of = |home: u16| names().find(|name| name.bucket().home(shards) == ShardId(home));
        (0..shards.min(BUCKETS as u16)).filter_map(of).collect()
    }

    /// Whether it is a channel of the server's own, which counts for nothing.
    pub fn is_probe(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash bucket that the name falls into. The same in every process, on every machine and in
    /// every release: positions and journal files hang on it.
    pub fn bucket(&self) -> Bucket {
        Bucket(self.fingerprint() as u8)
    }

    /// A hash of the name: FNV-1a. Its lowest byte is the bucket.
    pub fn fingerprint(&self) -> u32 {
        let hash = self.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // The low bits of FNV-1a alone are weak for short names; the high half mends them.
        (hash ^ (hash >> 32)) as u32
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of 256 parts of the channel space. Local offsets are counted per bucket, and a bucket
/// belongs to one shard, so neither the number of cores nor a channel that was freed and made
/// again ever reuses an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bucket(pub u8);

/// How many buckets there are. Fixed for ever: journals and positions rest on it.
pub const BUCKETS: usize = 256;

impl Bucket {
    /// The shard, of `shards`, that orders and encodes the publications of this bucket.
    pub fn home(self, shards: u16) -> ShardId {
        ShardId(u16::from(self.0) % shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A position that was written is read back as it was; anything else is refused.
    #[test]
    fn a_position_survives_being_written() {
        for (epoch, offset) in [(0, 0), (0x18c2_f3a9_d1ee, 42), (u64::MAX, u128::MAX)] {
            let position = Position { epoch: Epoch(epoch), offset: Offset(offset) };
            assert!(position.to_string().len() <= POSITION_TEXT_MAX);
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "-", "1", "1-", "-1", "x-1", "1-x", "1-+1", "+1-1", "1--1", "1-2-3"] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text:?}");
        }
    }

    /// An id that was written is read back as it was; anything else is refused.
    #[test]
    fn a_connection_survives_being_written() {
        for (shard, slot, generation) in [(0, 0, 0), (3, 17, 1), (u16::MAX, u32::MAX, u32::MAX)] {
            let id = ConnectionId { shard: ShardId(shard), slot: Slot(slot), generation };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in ["", "1-2", "1-2-", "-1-2-3", "1-2-3-4", "+1-2-3", "65536-0-0", "1-x-3"] {
            assert_eq!(text.parse::<ConnectionId>(), Err(NotAConnection), "{text:?}");
        }
    }

    /// Every byte is either allowed everywhere in a name or nowhere, and lengths 1 to 255 are.
    #[test]
    fn a_channel_name_is_checked_byte_by_byte() {
        for byte in 0..=255u8 {
            let name = [b'a', byte];
            let fine = byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
            let expected = if fine { Ok(()) } else { Err(NotAChannel::BadByte(byte)) };
            assert_eq!(ChannelName::check(&name), expected);
        }
        assert_eq!(ChannelName::check(b""), Err(NotAChannel::Empty));
        assert_eq!(ChannelName::check(&[b'a'; 255]), Ok(()));
        assert_eq!(ChannelName::check(&[b'a'; 256]), Err(NotAChannel::TooLong));
    }

    /// Every shard that is a home has a probe's channel of its own, and no peer can name one.
    #[test]
    fn each_home_has_a_probe() {
        for shards in [1, 2, 3, 4, 63, 256, 300] {
            let probes = ChannelName::probes(shards);
            let homes: Vec<u16> = probes.iter().map(|name| name.bucket().home(shards).0).collect();
            assert_eq!(homes, (0..shards.min(256)).collect::<Vec<_>>());
            for name in probes {
                assert!(name.is_probe());
                assert_eq!(ChannelName::new(name.as_str()), Err(NotAChannel::BadByte(b'$')));
            }
        }
        assert!(!ChannelName::new("probe.0").unwrap().is_probe());
    }

    /// A path's name is decoded once, and an escape that is none is called that.
    #[test]
    fn a_name_in_a_path_is_decoded_once() {
        let decode = |encoded| ChannelName::decode(encoded).map(|name| name.to_string());
        assert_eq!(decode("a%2Fb%3ac"), Ok("a/b:c".into()));
        for broken in ["%", "a%2", "a%zz", "a%2%41", "%%41"] {
            assert_eq!(decode(broken), Err(NotAChannel::BadEscape), "{broken}");
        }
        assert_eq!(decode("a%2541"), Err(NotAChannel::BadByte(b'%')));
        assert_eq!(decode("a%20"), Err(NotAChannel::BadByte(b' ')));
        assert_eq!(decode(""), Err(NotAChannel::Empty));
    }

    /// Buckets are stable over releases (these numbers must never change) and spread evenly.
    #[test]
    fn buckets_are_stable_and_even() {
        let bucket = |name: &str| ChannelName::new(name).unwrap().bucket().0;
        let mut counts = [0u32; BUCKETS];
        (0..25_600).for_each(|n| counts[usize::from(bucket(&format!("user.{n}")))] += 1);
        assert!(counts.iter().all(|&count| (40..180).contains(&count)), "{counts:?}");
        assert_eq!([bucket("news"), bucket("a"), bucket("ticker.EURUSD")], [156, 192, 132]);
    }
}
