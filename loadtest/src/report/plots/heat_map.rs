//! Latency over time: how many deliveries of each time had which latency.

use plotters::{element::Rectangle, prelude::Color};

use super::{
    axis::Axis,
    canvas::{self, HEAT, Size},
};
use crate::{
    report::series::{Column, Series},
    tally::heat_floor,
    units::millis,
};

/// The heat map; none if nothing was delivered. Only rows that are used are shown.
pub fn heat_map(series: &Series, size: Size) -> Option<String> {
    let rows = series.heat_rows();
    let ends = legend(series)?;
    let floor = |row: usize| heat_floor(row) / 1e3;
    let x = Axis::time(series.seconds as f64, size.time_ticks);
    let y = Axis::log(floor(rows.start), floor(rows.end), millis);
    let mut cells = Vec::new();
    for row in rows {
        for (from, to, level) in runs(&series.columns, row, ends) {
            let (from, to) = (series.begins(from), series.begins(to).min(series.seconds as f64));
            let corners = [(from, floor(row)), (to, floor(row + 1))];
            cells.push(Rectangle::new(corners, HEAT[level].filled()));
        }
    }
    Some(canvas::draw(size, "Delivery latency over time", (x, y), None, |chart| {
        chart.draw_series(cells)?;
        Ok(())
    }))
}

/// The fewest and the most deliveries per second that any used cell has: what the first colour
/// stands for, and the last.
pub fn legend(series: &Series) -> Option<(f64, f64)> {
    let rates = series.columns.iter().flat_map(|column| {
        let used = column.heat.iter().filter(|count| **count > 0);
        used.map(|count| rate(*count, column))
    });
    rates.fold(None, |ends, rate| {
        let (least, most) = ends.unwrap_or((rate, rate));
        Some((rate.min(least), rate.max(most)))
    })
}

/// The stretches of a row that have one colour: from column, to column, level.
fn runs(columns: &[Column], row: usize, ends: (f64, f64)) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (index, column) in columns.iter().enumerate().filter(|(_, column)| column.heat[row] > 0) {
        let level = level(rate(column.heat[row], column), ends);
        match runs.last_mut() {
            Some((_, to, same)) if *to == index && *same == level => *to += 1,
            _ => runs.push((index, index + 1, level)),
        }
    }
    runs
}

/// The colour of so many deliveries per second, on a log scale from the fewest to the most.
fn level(rate: f64, (least, most): (f64, f64)) -> usize {
    if most <= least {
        return LEVELS - 1;
    }
    let share = (rate / least).ln() / (most / least).ln();
    ((share * LEVELS as f64 + ROUNDING) as usize).min(LEVELS - 1)
}

fn rate(count: u64, column: &Column) -> f64 {
    count as f64 / column.seconds as f64
}

/// Colours from few deliveries to many.
pub const LEVELS: usize = HEAT.len();

/// Takes the rounding of floating point out of the change from one colour to the next.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::sample, tally::heat_row};

    #[test]
    fn levels_rise_with_the_logarithm() {
        let rates = [2.0, 19.9, 20.0, 2e4, 1.9e8, 2e8, 2e9];
        assert_eq!(rates.map(|rate| level(rate, (2.0, 2e9))), [0, 0, 1, 4, 7, 8, 8]);
        assert_eq!(level(3.0, (3.0, 3.0)), 8);
    }

    /// Every used cell is in exactly one run, in its colour, and no unused one is.
    ///
    /// Method: the cells of all runs beside those of the sample, in which one row has a gap.
    #[test]
    fn runs_cover_what_is_used_and_nothing_else() {
        let mut record = sample::million();
        let row = heat_row(100_000);
        record.tally.seconds[50].heat[row] = 0;
        let series = Series::of(&record, usize::MAX);
        let ends = legend(&series).expect("deliveries");
        let expected: Vec<(usize, usize)> = series
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.heat[row] > 0)
            .map(|(index, column)| (index, level(column.heat[row] as f64, ends)))
            .collect();
        let cells = runs(&series.columns, row, ends)
            .into_iter()
            .flat_map(|(from, to, level)| (from..to).map(move |index| (index, level)));
        assert_eq!(cells.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_delivered_has_no_map() {
        let series = Series::of(&sample::silent(), 600);
        assert_eq!(heat_map(&series, canvas::WIDE), None);
        assert_eq!(legend(&series), None);
    }
}
