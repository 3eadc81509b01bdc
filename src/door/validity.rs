//! Until when a certificate is valid, read from its DER.
//!
//! Certificates are the operator's own: what cannot be read is told as unknown, never an end.

use std::time::Duration;

/// Seconds since 1970 of a certificate's last valid second.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (SEQUENCE, certificate, _) = element(certificate)? else { return None };
    let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
    // The version is optional; then come a number, an algorithm and the issuer.
    if let (VERSION, _, behind) = element(rest)? {
        rest = behind;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, behind) = element(validity)?;
    let (kind, text, _) = element(behind)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    match (kind, text.len()) {
        (UTC_TIME, 12) => {
            let century = if digits(text, 0, 2)? < 50 { 2000 } else { 1900 };
            seconds(century + digits(text, 0, 2)?, &text[2..])
        }
        (GENERALIZED_TIME, 14) => seconds(digits(text, 0, 4)?, &text[4..]),
        _ => None,
    }
}

/// A day as operators write it, of seconds since 1970.
pub(super) fn day(seconds: u64) -> String {
    let days = Duration::from_secs(seconds).as_secs() / 86_400;
    // Years from 1 March 0000 on, in eras of 400: the leap day is the last day of a year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next_year)
}

/// The kind and the contents of the first element, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (contents, behind) = rest.split_at_checked(length)?;
    Some((kind, contents, behind))
}

fn digits(text: &str, at: usize, count: usize) -> Option<u64> {
    text.get(at..at + count)?.parse().ok()
}

/// A year, and month, day, hour, minute and second of two digits each.
fn seconds(year: u64, rest: &str) -> Option<u64> {
    let part = |index: usize| digits(rest, 2 * index, 2);
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || day == 0 || year < 1970 {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era =
        year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + (153 * month + 2) / 5 + day - 1;
    let days = (year / 400 * 146_097 + of_era).checked_sub(719_468)?;
    Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use super::*;

    /// Days are told as the calendar has them, across leap years and centuries.
    #[test]
    fn a_day_is_told_as_the_calendar_has_it() {
        for (year, rest, at, told) in [
            (1970, "0101000000", 0, "1970-01-01"),
            (2000, "0229235959", 951_868_799, "2000-02-29"),
            (2026, "1122003451", 1_795_307_691, "2026-11-22"),
            (2100, "0301000000", 4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(seconds(year, rest), Some(at));
            assert_eq!(day(at), told);
        }
        assert_eq!(seconds(2026, "1322003451"), None);
    }

    /// Anything that is no certificate has no end, however it is cut.
    #[test]
    fn nonsense_has_no_validity() {
        let key = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let certificate = key.cert.der();
        assert!(not_after(certificate).is_some_and(|at| at > 4_000_000_000));
        for length in 0..certificate.len() {
            assert_eq!(not_after(&certificate[..length]), None, "{length}");
        }
    }
}
