//! Numbers to look at: three digits that matter, and a unit that fits.

use super::count;

/// A number with three digits, without zeros at the end: `0.44`, `58.5`, `94,600`.
pub fn number(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => {
            let power = 10f64.powi(value.log10() as i32 - 2);
            count(((value / power).round() * power) as u64)
        }
        _ if value >= 99.95 => count(value.round() as u64),
        _ if value >= 9.995 => trimmed(format!("{value:.1}")),
        _ if value >= 0.995 => trimmed(format!("{value:.2}")),
        _ => trimmed(format!("{value:.3}")),
    }
}

/// A count for the tick of an axis: `250k`, `1M`.
pub fn short(value: f64) -> String {
    let (value, prefix) = scaled(value, &["", "k", "M", "G", "T"]);
    format!("{}{prefix}", number(value))
}

/// A latency: `730 µs`, `58.5 ms`, `2.7 s`.
pub fn millis(millis: f64) -> String {
    let (value, unit) = scaled(millis * 1e3, &["µs", "ms", "s"]);
    format!("{} {unit}", number(value))
}

/// How long something went on: `33.2 s`, `12 min 5 s`, `24 h`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{} s", number(seconds)),
        120..7200 => two(whole / 60, "min", whole % 60, "s"),
        _ => two(whole / 3600, "h", whole % 3600 / 60, "min"),
    }
}

/// Memory: `73 B`, `9.1 kB`, `92 MB`.
pub fn bytes(bytes: f64) -> String {
    let (value, unit) = scaled(bytes, &["B", "kB", "MB", "GB", "TB"]);
    format!("{} {unit}", number(value))
}

/// A share of a whole: `12 %`, `0.5 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent >= 10.0 => format!("{percent:.0} %"),
        _ => format!("{} %", trimmed(format!("{percent:.1}"))),
    }
}

fn scaled<'a>(mut value: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut units = units.iter();
    let mut unit = units.next().expect("one at least");
    // From here on three digits round to the next unit's 1.
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1000.0, next);
    }
    (value, unit)
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every size of number gets three digits and the unit in which they are shortest.
    ///
    /// Method: values on both sides of every change of unit, with their texts.
    #[test]
    fn a_number_has_three_digits_and_a_fitting_unit() {
        let latencies = [0.73, 0.9994, 0.9995, 1.0, 58.53, 99.94, 99.96, 999.4, 999.5, 2709.0];
        assert_eq!(
            latencies.map(millis),
            [
                "730 µs", "999 µs", "1 ms", "1 ms", "58.5 ms", "99.9 ms", "100 ms", "999 ms",
                "1 s", "2.71 s"
            ]
        );
        let sizes = [0.0, 73.0, 999.0, 9_100.0, 92_000_000.0, 25_200_000_000.0];
        assert_eq!(sizes.map(bytes), ["0 B", "73 B", "999 B", "9.1 kB", "92 MB", "25.2 GB"]);
        assert_eq!([0.0, 0.444, 4.58, 94_637.0].map(number), ["0", "0.444", "4.58", "94,600"]);
        assert_eq!([0.0, 1500.0, 250e3, 1e6, 2e9].map(short), ["0", "1.5k", "250k", "1M", "2G"]);
        assert_eq!(
            [0.0, 0.005, 0.054, 0.12, 1.0].map(percent),
            ["0 %", "0.5 %", "5.4 %", "12 %", "100 %"]
        );
    }

    #[test]
    fn a_long_time_is_told_in_two_units() {
        let times = [0.25, 33.21, 119.4, 119.6, 725.0, 7199.4, 86_400.0, 90_061.0];
        assert_eq!(
            times.map(seconds),
            [
                "0.25 s",
                "33.2 s",
                "119 s",
                "2 min",
                "12 min 5 s",
                "119 min 59 s",
                "24 h",
                "25 h 1 min"
            ]
        );
    }
}
