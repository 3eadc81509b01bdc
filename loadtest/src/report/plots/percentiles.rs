//! Latency by percentile, where each nine has as much room as the one before.

use hdrhistogram::Histogram;
use plotters::{element::Circle, prelude::Color, series::LineSeries};

use super::{
    axis::Axis,
    canvas::{self, FINE, HALF, SERVER},
};
use crate::units::millis;

/// The plot of a histogram of microseconds; none of an empty one.
pub fn percentiles(micros: &Histogram<u64>) -> Option<String> {
    if micros.is_empty() {
        return None;
    }
    let at = |nines: f64| micros.value_at_quantile(1.0 - 10f64.powf(-nines)) as f64 / 1e3;
    let (min, max) = (at(0.0).max(0.001), micros.max() as f64 / 1e3);
    let (x, y) = (Axis::nines(micros.len()), Axis::log(min, max, millis));
    let step = x.to() / STEPS as f64;
    let line: Vec<_> =
        (0..=STEPS).map(|index| index as f64 * step).map(|it| (it, at(it))).collect();
    let dots: Vec<_> = x.ticks().map(|it| (it, at(it))).collect();
    let plot = canvas::draw(HALF, "Delivery latency by percentile", (x, y), None, |chart| {
        chart.draw_series(LineSeries::new(line, SERVER.stroke_width(2 * FINE)))?;
        chart
            .draw_series(dots.into_iter().map(|dot| Circle::new(dot, 4 * FINE, SERVER.filled())))?;
        Ok(())
    });
    Some(plot)
}

/// Points of the line, less one.
const STEPS: u32 = 240;
