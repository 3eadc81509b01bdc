//! What happened over time, in columns of one second or, of long runs, of many.

use std::ops::Range;

use crate::{
    record::{Record, UseSecond},
    tally::{
        HEAT_ROWS, Second,
        heat::{self, Heat},
    },
};

/// A run over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Seconds in each column but the last, which may have fewer.
    pub step: usize,
    /// All seconds.
    pub seconds: usize,
    /// What happened.
    pub columns: Vec<Column>,
}

/// What happened in the seconds of one column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Seconds in it.
    pub seconds: usize,
    /// Connections at its end.
    pub connections: u64,
    /// Publications received in it.
    pub deliveries: u64,
    /// How many of them had which latency.
    pub heat: Heat,
    /// What the server used: on average, and at its end.
    pub server: Option<UseSecond>,
    /// What the load tester used: on average, and at its end.
    pub client: Option<UseSecond>,
}

impl Series {
    /// A run in as many columns as it has seconds, but no more than these.
    pub fn of(record: &Record, columns_max: usize) -> Series {
        let seconds = record.tally.seconds.len();
        let step = step(seconds, columns_max);
        let server = record.server.as_ref().map_or(&[][..], |server| &server.seconds);
        let client = &record.client.seconds;
        let chunks = record.tally.seconds.chunks(step).enumerate();
        let columns = chunks.map(|(index, chunk)| Column {
            server: average(server, index * step, chunk.len()),
            client: average(client, index * step, chunk.len()),
            ..Column::of(chunk)
        });
        Series { step, seconds, columns: columns.collect() }
    }

    /// When the first and the last publication of the run were received, in seconds since it began.
    pub fn publishing(&self) -> Option<(f64, f64)> {
        let is_busy = |column: &Column| column.deliveries > 0;
        let first = self.columns.iter().position(is_busy)?;
        let last = self.columns.iter().rposition(is_busy)?;
        Some(((first * self.step) as f64, ((last + 1) * self.step).min(self.seconds) as f64))
    }

    /// The rows of the heat map from the first to the last that has a delivery.
    pub fn heat_rows(&self) -> Range<usize> {
        let is_used = |row: &usize| self.columns.iter().any(|column| column.heat[*row] > 0);
        let first = (0..HEAT_ROWS).find(is_used);
        let last = (0..HEAT_ROWS).rfind(is_used);
        first.zip(last).map_or(0..0, |(first, last)| first..last + 1)
    }

    /// Where a column begins, in seconds since the run began.
    pub fn begins(&self, column: usize) -> f64 {
        (column * self.step) as f64
    }
}

impl Column {
    fn of(chunk: &[Second]) -> Column {
        let mut rows = [0; HEAT_ROWS];
        chunk.iter().for_each(|second| heat::add(&mut rows, &second.heat));
        Column {
            seconds: chunk.len(),
            connections: chunk.last().map_or(0, |second| second.connections),
            deliveries: chunk.iter().map(|second| second.deliveries).sum(),
            heat: rows,
            server: None,
            client: None,
        }
    }
}

/// What a process used in some seconds; none if it was not watched in any of them.
fn average(seconds: &[UseSecond], start: usize, length: usize) -> Option<UseSecond> {
    let seconds = seconds.get(start..seconds.len().min(start + length))?;
    let last = seconds.last()?;
    let processors = seconds.iter().map(|second| second.processors).sum::<f64>();
    Some(UseSecond { processors: processors / seconds.len() as f64, resident: last.resident })
}

/// The shortest of the steps by which so many seconds need no more columns than these.
fn step(seconds: usize, columns_max: usize) -> usize {
    let is_enough = |step: &&usize| seconds.div_ceil(**step) <= columns_max;
    STEPS.iter().find(is_enough).copied().unwrap_or_else(|| seconds.div_ceil(columns_max))
}

/// Steps that people count in.
const STEPS: [usize; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// A day fits on a page, in steps that people count in, and nothing of it is left out.
    #[test]
    fn long_runs_get_few_columns_and_keep_every_delivery() {
        let mut record = sample::million();
        let second = Second { connections: 9, deliveries: 3, heat: [1; HEAT_ROWS] };
        record.tally.seconds = vec![second; 86_399];
        let series = Series::of(&record, 600);
        assert_eq!((series.step, series.columns.len()), (300, 288));
        assert_eq!(series.columns.iter().map(|it| it.deliveries).sum::<u64>(), 3 * 86_399);
        let last = &series.columns[287];
        assert_eq!((last.seconds, last.connections, last.heat[7]), (299, 9, 299));
        assert_eq!(series.publishing(), Some((0.0, 86_399.0)));
    }

    /// A column has the average of processors, and the memory at its end; none where nobody
    /// watched.
    #[test]
    fn use_is_averaged_over_the_seconds_that_were_watched() {
        let used = |processors, resident| UseSecond { processors, resident };
        let seconds = [used(1.0, 10), used(2.0, 30), used(0.5, 20)];
        let mean =
            |start, length| average(&seconds, start, length).map(|it| (it.processors, it.resident));
        assert_eq!(mean(0, 2), Some((1.5, 30)));
        assert_eq!(mean(2, 2), Some((0.5, 20)));
        assert_eq!(mean(3, 2), None);
        assert_eq!(mean(4, 2), None);
    }

    #[test]
    fn steps_are_the_shortest_that_suffice() {
        let seconds = [0, 1, 600, 601, 1_201, 3_001, 86_400, 600 * 3600, 601 * 3600];
        assert_eq!(seconds.map(|seconds| step(seconds, 600)), [1, 1, 1, 2, 5, 10, 300, 3600, 3606]);
    }
}
