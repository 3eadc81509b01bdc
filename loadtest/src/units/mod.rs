//! Numbers, times and sizes: read strictly, and written for two purposes.
//!
//! What is compared with a limit or may be typed again is written exactly, here: `250.111ms`.
//! What is only looked at is rounded to three digits: `250 ms`.
//!
//! A time must have a unit, and a unit has one spelling, so that nobody finds out after an hour
//! that `60` meant minutes. What is written is read back as the same value. An error here is only
//! what is wrong with the text, `has no unit`; whoever asked knows whose text it is.

use std::time::Duration;

mod rounded;

pub use rounded::{bytes, millis, number, percent, seconds, short};

/// Reads a whole number: digits and nothing else.
pub fn whole(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number".to_owned());
    }
    text.parse().map_err(|_| TOO_MUCH.to_owned())
}

/// Reads a number with or without decimals; never negative, infinite or not a number.
pub fn decimal(text: &str) -> Result<f64, String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = match text.split_once('.') {
        Some((whole, decimals)) => digits(whole) && digits(decimals),
        None => digits(text),
    };
    match text.parse::<f64>() {
        Ok(number) if is_plain && number.is_finite() => Ok(number),
        _ => Err("is not a number".to_owned()),
    }
}

/// Reads a time like `250ms` or `1.5s`, to the nanosecond.
pub fn time(text: &str) -> Result<Duration, String> {
    match split_unit(text) {
        (number, "") if !number.is_empty() => Err("has no unit".to_owned()),
        parts => with_unit(parts, TIME_UNITS, "a time").map(Duration::from_nanos),
    }
}

/// Reads a number of bytes like `512B`, `4kB` or `1MiB`; without a unit it is bytes.
pub fn size(text: &str) -> Result<u64, String> {
    with_unit(split_unit(text), SIZE_UNITS, "a size")
}

/// Writes a time, exactly: `250ms`, `1.5s`, `1m`.
pub fn time_text(time: Duration) -> String {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fits = |unit: &&(&str, u64)| match unit.1 > SECOND {
        true => nanos.is_multiple_of(unit.1),
        false => nanos >= unit.1,
    };
    let (unit, scale) = TIME_UNITS.iter().rfind(fits).expect("a nanosecond always fits");
    let decimals = scale.ilog10() as usize;
    let (whole, rest) = (nanos / scale, nanos % scale);
    match rest {
        0 => format!("{whole}{unit}"),
        _ => format!("{whole}.{}{unit}", format!("{rest:0decimals$}").trim_end_matches('0')),
    }
}

/// Writes a number of bytes with the largest unit that leaves no fraction.
pub fn size_text(bytes: u64) -> String {
    let fits = |unit: &&(&str, u64)| bytes.is_multiple_of(unit.1);
    let (unit, scale) = SIZE_UNITS.iter().rfind(fits).expect("a byte always fits");
    if bytes == 0 { "0B".to_owned() } else { format!("{}{unit}", bytes / scale) }
}

/// Writes a whole number with its thousands apart: `1,000,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Writes a number and what it counts: `1 publication`, `2 publications`.
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The number at the beginning of a text and the unit behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let is_digit = |letter: char| letter.is_ascii_digit() || letter == '.';
    text.split_at(text.find(|letter| !is_digit(letter)).unwrap_or(text.len()))
}

/// The number in the smallest unit.
fn with_unit((number, unit): (&str, &str), units: Units, kind: &str) -> Result<u64, String> {
    let number = decimal(number).map_err(|_| format!("is not {kind}"))?;
    let known = units.iter().find(|(spelling, _)| *spelling == unit);
    let (_, scale) = known.ok_or_else(|| match unit {
        "" => "has no unit".to_owned(),
        _ => format!("has the unknown unit '{unit}'"),
    })?;
    let smallest = (number * *scale as f64).round();
    if smallest < EXACT_BELOW { Ok(smallest as u64) } else { Err(TOO_MUCH.to_owned()) }
}

/// What is wrong with a number above its range.
pub const TOO_MUCH: &str = "is too much";
/// What is wrong with a number below its range.
pub const TOO_LITTLE: &str = "is too little";

/// Spellings and how many of the smallest unit each is, rising.
type Units = &'static [(&'static str, u64)];

const SECOND: u64 = 1_000_000_000;
const TIME_UNITS: Units = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];
const SIZE_UNITS: Units = &[
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Whole numbers below this are exact as floating point: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text means what it says, and is written back in its shortest form.
    #[test]
    fn times_and_sizes_are_read_and_written_exactly() {
        for (text, nanos, written) in [
            ("0s", 0, "0s"),
            ("1ns", 1, "1ns"),
            ("500us", 500_000, "500us"),
            ("250.111ms", 250_111_000, "250.111ms"),
            ("1500ms", 1_500_000_000, "1.5s"),
            ("60s", 60_000_000_000, "1m"),
            ("90s", 90_000_000_000, "90s"),
            ("24h", 86_400_000_000_000, "24h"),
        ] {
            assert_eq!(time(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(time_text(Duration::from_nanos(nanos)), written);
            assert_eq!(time(written), time(text));
        }
        for (text, bytes, written) in [
            ("0", 0, "0B"),
            ("64", 64, "64B"),
            ("4kB", 4_000, "4kB"),
            ("4096B", 4_096, "4KiB"),
            ("1.5MiB", 1_572_864, "1536KiB"),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size_text(bytes), written);
        }
        let numbers = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        assert!(numbers.iter().all(|&(number, text)| count(number) == text));
        assert_eq!([1, 2].map(|number| plural(number, "second")), ["1 second", "2 seconds"]);
    }

    /// What is wrong with a text is said in a few words.
    #[test]
    fn a_wrong_text_is_told_what_is_wrong_with_it() {
        for (text, told) in [
            ("", "is not a time"),
            ("soon", "is not a time"),
            ("-1s", "is not a time"),
            ("1.2.3s", "is not a time"),
            ("5", "has no unit"),
            ("5sec", "has the unknown unit 'sec'"),
            ("9999999h", "is too much"),
        ] {
            assert_eq!(time(text), Err(told.to_owned()), "{text}");
        }
        assert_eq!(size("4 kB"), Err("has the unknown unit ' kB'".to_owned()));
        assert_eq!(size("99999999GiB"), Err("is too much".to_owned()));
        assert_eq!(whole("1,000"), Err("is not a whole number".to_owned()));
        assert_eq!(whole("99999999999999999999"), Err("is too much".to_owned()));
        for text in ["", "-1", "nan", "inf", "1e3", "+1", ".", ".5", "5."] {
            assert_eq!(decimal(text), Err("is not a number".to_owned()), "{text}");
        }
    }
}
