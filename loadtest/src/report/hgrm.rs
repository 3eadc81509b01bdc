//! `--hgrm`: a histogram's percentiles as text, the way HdrHistogram's own tools print them.
//!
//! Plotters of such files read columns by white space and take lines that begin with `#` for
//! notes. Widths and digits are those of HdrHistogram, so that files of both can be compared.

use std::fmt::{self, Write};

use hdrhistogram::Histogram;

/// The distribution of a histogram of microseconds, in milliseconds.
pub fn text(micros: &Histogram<u64>) -> String {
    let mut text = String::new();
    write(&mut text, micros).expect("memory takes all");
    text
}

fn write(out: &mut String, micros: &Histogram<u64>) -> fmt::Result {
    let titles = ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"];
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", titles[0], titles[1], titles[2], titles[3])?;
    let mut total = 0;
    for step in micros.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, share) = (millis(step.value_iterated_to()), step.quantile_iterated_to());
        write!(out, "{value:>12.3} {share:.12} {total:>10}")?;
        if share < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - share))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = (micros.mean() / 1e3, micros.stdev() / 1e3);
    let max = millis(if micros.is_empty() { 0 } else { micros.max() });
    let sub_buckets = sub_buckets(micros.sigfig());
    writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
    writeln!(out, "#[Max     = {max:>12.3}, Total count    = {:>12}]", micros.len())?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]", micros.buckets())
}

/// What one bucket is divided into to be right to so many digits: a power of two.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10u64.pow(digits.into())).next_power_of_two()
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// Lines for each halving of what is left above, as HdrHistogram prints by default.
const TICKS_PER_HALF: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::sample, tally};

    /// A small distribution, to the letter.
    #[test]
    fn a_distribution_is_written_as_hdrhistogram_writes_it() {
        let mut micros = tally::empty();
        micros.record_n(1_000, 6).expect("in bounds");
        micros.record_n(1_500, 3).expect("in bounds");
        micros.record(2_000).expect("in bounds");
        assert_eq!(text(&micros), SMALL);
    }

    /// Values and counts only rise, up to all of them, and each line's last column follows from
    /// its second.
    ///
    /// Method: the columns of a large distribution, read back as a plotter reads them.
    #[test]
    fn a_plotter_reads_what_was_measured() {
        let micros = sample::million().tally.times.delivery;
        let text = text(&micros);
        let lines = text.lines().skip(2).filter(|line| !line.starts_with('#'));
        let columns: Vec<Vec<f64>> = lines
            .map(|line| line.split_whitespace().map(|it| it.parse().expect("a number")).collect())
            .collect();
        assert!(columns.len() > 50, "{text}");
        assert!(columns.is_sorted_by(|one, next| one[0] <= next[0] && one[2] <= next[2]));
        for line in columns.iter().filter(|line| line[1] < 0.999) {
            let expected = 1.0 / (1.0 - line[1]);
            assert!((line[3] - expected).abs() < 0.01, "{line:?}");
            let share = line[2] / 9_000_000.0;
            assert!(share >= line[1] - 1e-9, "{line:?}");
        }
        assert_eq!(columns.last(), Some(&vec![5_902.335, 1.0, 9_000_000.0]));
    }

    #[test]
    fn nothing_measured_is_a_file_without_lines() {
        let text = text(&tally::empty());
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2);
        assert!(text.contains("Total count    =            0]"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }

    const SMALL: &str = "       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000          6           1.00
       1.000 0.100000000000          6           1.11
       1.000 0.200000000000          6           1.25
       1.000 0.300000000000          6           1.43
       1.000 0.400000000000          6           1.67
       1.000 0.500000000000          6           2.00
       1.000 0.550000000000          6           2.22
       1.500 0.600000000000          9           2.50
       1.500 0.650000000000          9           2.86
       1.500 0.700000000000          9           3.33
       1.500 0.750000000000          9           4.00
       1.500 0.775000000000          9           4.44
       1.500 0.800000000000          9           5.00
       1.500 0.825000000000          9           5.71
       1.500 0.850000000000          9           6.67
       1.500 0.875000000000          9           8.00
       1.500 0.887500000000          9           8.89
       2.000 0.900000000000         10          10.00
       2.000 1.000000000000         10
#[Mean    =        1.250, StdDeviation   =        0.335]
#[Max     =        2.000, Total count    =           10]
#[Buckets =           20, SubBuckets     =         2048]
";
}
