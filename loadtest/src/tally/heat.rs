//! Latencies as the rows of a heat map keep them: what can be said of them, and how exactly.
//!
//! A row spans a factor of √2, so a quantile read from rows is right to within that. It is what a
//! live display and a second of a long run can afford; a report's percentiles come from
//! histograms.

use super::{HEAT_ROWS, heat_floor};

/// Latencies by row; see [`heat_row`](crate::tally::heat_row).
pub type Heat = [u64; HEAT_ROWS];

/// The latency in microseconds that a share of deliveries stayed below, as near as rows tell;
/// none if there were no deliveries.
///
/// Within a row latencies are taken to be spread evenly on a log scale.
pub fn quantile(heat: &Heat, share: f64) -> Option<f64> {
    let total: u64 = heat.iter().sum();
    let wanted = share.clamp(0.0, 1.0) * total as f64;
    let mut below = 0.0;
    for (row, &count) in heat.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = count as f64;
        if below + count >= wanted {
            let inside = (wanted - below) / count;
            return Some(heat_floor(row) * (heat_floor(row + 1) / heat_floor(row)).powf(inside));
        }
        below += count;
    }
    None
}

/// Adds the rows of one second.
pub fn add(heat: &mut Heat, second: &[u32; HEAT_ROWS]) {
    for (own, other) in heat.iter_mut().zip(second) {
        *own += u64::from(*other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::heat_row;

    /// A quantile lies in the row that holds it, and divides the row by its share.
    #[test]
    fn a_quantile_comes_from_its_row() {
        let mut heat = [0; HEAT_ROWS];
        heat[20] = 98;
        heat[30] = 2;
        assert_eq!(quantile(&heat, 0.49), Some(2f64.powf(10.25)));
        assert_eq!(quantile(&heat, 0.98), Some(2f64.powf(10.5)));
        assert_eq!(quantile(&heat, 0.99), Some(2f64.powf(15.25)));
        assert_eq!(quantile(&heat, 1.0), Some(2f64.powf(15.5)));
        assert_eq!(heat_row(quantile(&heat, 0.2).expect("deliveries") as u64), 20);
    }

    #[test]
    fn nothing_measured_has_no_quantile() {
        assert_eq!(quantile(&[0; HEAT_ROWS], 0.5), None);
    }

    #[test]
    fn seconds_add_up() {
        let mut heat = [1; HEAT_ROWS];
        add(&mut heat, &[u32::MAX; HEAT_ROWS]);
        assert_eq!(heat, [1 << 32; HEAT_ROWS]);
    }
}
