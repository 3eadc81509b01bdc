//! Lines over time: connections, deliveries, processors, memory.

use plotters::{
    prelude::{Color, RGBColor},
    series::{AreaSeries, LineSeries},
};

use super::{
    axis::Axis,
    canvas::{self, CLIENT, FINE, HALF, SERVER, WASH},
};
use crate::{
    report::series::{Column, Series},
    units::{bytes, number, short},
};

/// Connections at each time.
pub fn connections(series: &Series) -> String {
    let line = points(series, |column| Some(column.connections as f64));
    let axis = Axis::linear(highest(&[&line]), short);
    plot(series, "Connections over time", axis, &[(SERVER, Some(WASH), line)])
}

/// Deliveries per second.
pub fn deliveries(series: &Series) -> String {
    let rate = |column: &Column| Some(column.deliveries as f64 / column.seconds as f64);
    let line = points(series, rate);
    let axis = Axis::linear(highest(&[&line]), short);
    plot(series, "Deliveries per second over time", axis, &[(SERVER, Some(WASH), line)])
}

/// Processors that server and client had in use.
pub fn processors(series: &Series) -> String {
    let server = points(series, |column| Some(column.server?.processors));
    let client = points(series, |column| Some(column.client?.processors));
    let axis = Axis::linear(highest(&[&server, &client]), number);
    let lines = [(CLIENT, None, client), (SERVER, None, server)];
    plot(series, "Processors in use over time", axis, &lines)
}

/// Resident memory of server and client.
pub fn memory(series: &Series) -> String {
    let server = points(series, |column| Some(column.server?.resident as f64));
    let client = points(series, |column| Some(column.client?.resident as f64));
    let axis = Axis::linear(highest(&[&server, &client]), bytes);
    let lines = [(CLIENT, None, client), (SERVER, None, server)];
    plot(series, "Resident memory over time", axis, &lines)
}

type Points = Vec<Option<(f64, f64)>>;

/// A colour, that of the area below if it is to be filled, and where the line goes.
type Line = (RGBColor, Option<RGBColor>, Points);

fn plot(series: &Series, label: &str, y: Axis, lines: &[Line]) -> String {
    let x = Axis::time(series.seconds as f64, HALF.time_ticks);
    canvas::draw(HALF, label, (x, y), series.publishing(), |chart| {
        for (colour, area, points) in lines {
            for piece in points.split(Option::is_none) {
                let piece: Vec<_> = piece.iter().flatten().copied().collect();
                if let Some(area) = area {
                    chart.draw_series(AreaSeries::new(piece.clone(), 0.0, area.filled()))?;
                }
                chart.draw_series(LineSeries::new(piece, colour.stroke_width(2 * FINE)))?;
            }
        }
        Ok(())
    })
}

/// A point in the middle of each column; none where nothing is known.
fn points(series: &Series, value: impl Fn(&Column) -> Option<f64>) -> Points {
    let point = |(index, column): (usize, &Column)| {
        Some((series.begins(index) + column.seconds as f64 / 2.0, value(column)?))
    };
    series.columns.iter().enumerate().map(point).collect()
}

fn highest(lines: &[&Points]) -> f64 {
    let values = lines.iter().flat_map(|points| points.iter().flatten());
    values.map(|(_, value)| *value).fold(0.0, f64::max)
}
