//! Every bound of a plan, with its reason, which is also what errors say.

use std::time::Duration;

use super::{
    PlanError,
    values::{Size, Value},
};
use crate::{
    payload::PAYLOAD_BYTES_MIN,
    units::{TOO_LITTLE, TOO_MUCH},
};

/// What an option may be, and why nothing else.
pub struct Range<T> {
    pub low: T,
    pub high: T,
    pub why: &'static str,
}

impl<T: Value + PartialOrd> Range<T> {
    /// The value, if it is in the range.
    pub fn check(&self, option: &'static str, value: T) -> Result<T, PlanError> {
        let problem = match () {
            () if value < self.low => TOO_LITTLE,
            () if value > self.high => TOO_MUCH,
            () => return Ok(value),
        };
        Err(PlanError::Outside {
            option,
            value: value.text(),
            problem: format!("{problem}: {}", self.why),
            right: format!("write {} to {}", self.low.text(), self.high.text()),
        })
    }
}

/// Subscribers of one kind, and of both together.
pub const CONNECTIONS: Range<u64> =
    Range { low: 0, high: 8_000_000, why: "more do not fit into one run's tables" };

/// Subscribers that share a channel.
pub const CHANNELS: Range<u64> =
    Range { low: 1, high: CONNECTIONS.high, why: "a channel has subscribers" };

/// Exponents of Zipf's law; past the highest all is on the first channel.
pub const ZIPF: Range<f64> =
    Range { low: 0.01, high: 10.0, why: "the shares of channels would not differ any more" };

/// Connections begun per second.
pub const RAMP: Range<u64> =
    Range { low: 1, high: 1_000_000, why: "a machine opens 1 to a million connections a second" };

/// Publications per second.
pub const RATE: Range<f64> =
    Range { low: 0.0, high: 10_000_000.0, why: "no machine publishes so much a second" };

/// Publications of a run, which have 32 bits for their number.
pub const PUBLICATIONS_MAX: u64 = u32::MAX as u64;

/// Publications that are due at one instant.
pub const BURST: Range<u64> =
    Range { low: 1, high: 1_000_000, why: "a burst is as many publications as come at once" };

/// Broadcasts of a run: each takes a publication on every channel.
pub const BROADCASTS: Range<u64> =
    Range { low: 0, high: 10_000, why: "so many broadcasts are a rate rather" };

/// Bytes of a payload. The least is what proves that it arrived undamaged.
pub const PAYLOAD: Range<Size> = Range {
    low: Size(PAYLOAD_BYTES_MIN as u64),
    high: Size(1 << 20),
    why: "54 bytes of each payload prove that it arrived, and 1 MiB is the most that is read",
};

/// Connections that publish.
pub const PUBLISHERS: Range<u64> =
    Range { low: 1, high: 256, why: "one connection must publish, and each takes a thread" };

/// How long publications are due.
pub const DURATION: Range<Duration> =
    Range { low: Duration::from_millis(100), high: DAY, why: "a run takes its measure in seconds" };

/// Time between broadcasts, and time to settle.
pub const PAUSE: Range<Duration> =
    Range { low: Duration::ZERO, high: DAY, why: "a run is over within a day" };

/// Time between storms.
pub const STORM_EVERY: Range<Duration> = Range {
    low: Duration::from_millis(10),
    high: DAY,
    why: "those whom a storm cut off must come back first",
};

/// Subscribers that leave and come back each second.
pub const CHURN: Range<f64> =
    Range { low: 0.0, high: 1_000_000.0, why: "a machine opens no more connections a second" };

/// Shares of all.
pub const SHARE: Range<f64> = Range { low: 0.0, high: 1.0, why: "it is a share of all" };

/// Bytes per second of a slow reader.
pub const SLOW_RATE: Range<Size> = Range {
    low: Size(1),
    high: Size(1 << 30),
    why: "a slow reader reads something, and no more than a connection carries",
};

/// Letters of a prefix: a number follows, and servers bound the names of channels.
pub const PREFIX_BYTES_MAX: usize = 64;

/// Weights of transports.
pub const WEIGHT_MAX: u64 = 1_000_000;

/// The longest ramp, the longest that publications are due, the longest that broadcasts are.
pub const DAY: Duration = Duration::from_secs(86_400);

/// Due times have 48 bits of nanoseconds, which are 78 hours.
const _: () = assert!(3 * DAY.as_nanos() < 1 << 48);
const _: () = assert!(CONNECTIONS.high <= u32::MAX as u64);
