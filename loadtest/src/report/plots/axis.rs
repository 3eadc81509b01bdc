//! Axes whose ticks are where people expect them: at round numbers, decades, minutes, nines.
//!
//! An axis knows its ticks and their texts before anything is drawn; the plotting library only
//! asks where they are.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::units::number;

/// One axis of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to the first tick that no value is above.
    pub fn linear(max: f64, name: impl Fn(f64) -> String) -> Axis {
        let step = round_step(max / LINEAR_STEPS);
        let steps = (max / step).ceil().max(1.0) as u32;
        let ticks = (0..=steps).map(|index| f64::from(index) * step);
        let ticks: Vec<_> = ticks.map(|value| (value, name(value))).collect();
        Axis { from: 0.0, to: f64::from(steps) * step, is_log: false, ticks }
    }

    /// A log axis whose ends are 1, 2 or 5 times a power of ten, and hold all values between
    /// these, which are above 0.
    pub fn log(min: f64, max: f64, name: impl Fn(f64) -> String) -> Axis {
        let mut rounds =
            (-9..=12).flat_map(|power| [1.0, 2.0, 5.0].map(|of| of * 10f64.powi(power)));
        let from = rounds.clone().rfind(|it| *it <= min * NEARLY).unwrap_or(min);
        let to = rounds.find(|it| *it * NEARLY >= max && *it > from).unwrap_or(max);
        let all =
            (-9..=12).flat_map(|power| [1.0, 2.0, 5.0].map(|of| (of, of * 10f64.powi(power))));
        let inside: Vec<_> = all.filter(|(_, it)| (from..=to * NEARLY).contains(it)).collect();
        let has_room = inside.len() <= LOG_TICKS_MAX;
        let shown = inside.into_iter().filter(|(of, _)| has_room || *of == 1.0);
        let ticks = shown.map(|(_, value)| (value, name(value))).collect();
        Axis { from, to, is_log: true, ticks }
    }

    /// Seconds since a run began.
    pub fn time(seconds: f64, ticks_max: usize) -> Axis {
        let is_enough = |step: &&f64| seconds / **step <= ticks_max as f64;
        let step = *TIME_STEPS.iter().find(is_enough).unwrap_or(&(seconds / ticks_max as f64));
        let ticks = (0..=(seconds / step) as u32).map(|index| f64::from(index) * step);
        let (unit, unit_name) = match step {
            _ if step >= 3600.0 => (3600.0, "h"),
            _ if step >= 60.0 => (60.0, "min"),
            _ => (1.0, "s"),
        };
        let ticks = ticks.map(|value| (value, format!("{} {unit_name}", number(value / unit))));
        Axis { from: 0.0, to: seconds.max(1.0), is_log: false, ticks: ticks.collect() }
    }

    /// Percentiles by their nines: 90 % at 1, 99 % at 2, up to the largest of so many values.
    pub fn nines(values: u64) -> Axis {
        let to = nines(1.0 - 1.0 / values.max(10) as f64);
        let named = PERCENTILES.iter().map(|name| {
            (nines(name.parse::<f64>().expect("a number") / 100.0), (*name).to_owned())
        });
        let mut ticks: Vec<_> = named.filter(|(at, _)| *at < to - 0.5).collect();
        ticks.push((to, "max".to_owned()));
        Axis { from: 0.0, to, is_log: false, ticks }
    }

    /// Where it ends.
    pub fn to(&self) -> f64 {
        self.to
    }

    /// Where it begins.
    pub fn from(&self) -> f64 {
        self.from
    }

    /// Where its ticks are.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        self.ticks.iter().map(|(at, _)| *at)
    }

    /// The share of the axis that lies before a value.
    fn share(&self, value: f64) -> f64 {
        let at = |value: f64| if self.is_log { value.ln() } else { value };
        (at(value.clamp(self.from, self.to)) - at(self.from)) / (at(self.to) - at(self.from))
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        start + (self.share(*value) * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks().collect() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| at == value);
        tick.map_or(String::new(), |(_, name)| name.clone())
    }
}

/// How many nines a share has: 1 for 0.9, 2 for 0.99.
pub fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// The smallest of 1, 2 and 5 times a power of ten that is no less.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let fits = |of: &f64| of * power * NEARLY >= least;
    [1.0, 2.0, 5.0, 10.0].into_iter().find(fits).unwrap_or(10.0) * power
}

/// Steps of a linear axis, at most.
const LINEAR_STEPS: f64 = 5.0;

/// Ticks of a log axis with 1, 2 and 5 of each decade; with more of them, it has its 1 only.
const LOG_TICKS_MAX: usize = 7;

/// Takes the rounding of floating point out of comparisons.
const NEARLY: f64 = 1.0 + 1e-9;

/// Steps in seconds that people count in.
const TIME_STEPS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0,
    7200.0, 10_800.0, 21_600.0, 43_200.0,
];

/// The percentiles that get a tick.
const PERCENTILES: [&str; 6] = ["50", "90", "99", "99.9", "99.99", "99.999"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{millis, short};

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| &name[..]).collect()
    }

    /// Ticks are round numbers, the last of which is above all values.
    #[test]
    fn a_linear_axis_ends_at_a_round_number() {
        assert_eq!(
            names(&Axis::linear(1_000_000.0, short)),
            ["0", "200k", "400k", "600k", "800k", "1M"]
        );
        assert_eq!(names(&Axis::linear(1.3, short)), ["0", "0.5", "1", "1.5"]);
        assert_eq!(names(&Axis::linear(0.0, short)), ["0", "1"]);
    }

    #[test]
    fn a_log_axis_has_decades_and_what_fits_between() {
        let close = Axis::log(0.9, 38.0, millis);
        assert_eq!((close.from, close.to), (0.5, 50.0));
        assert_eq!(names(&close), ["500 µs", "1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]);
        let wide = Axis::log(0.02, 5_900.0, millis);
        assert_eq!(names(&wide), ["100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        let point = Axis::log(1.0, 1.0, millis);
        assert_eq!((point.from, point.to), (1.0, 2.0));
    }

    #[test]
    fn time_is_counted_in_the_unit_of_its_steps() {
        assert_eq!(
            names(&Axis::time(112.0, 8)),
            ["0 s", "15 s", "30 s", "45 s", "60 s", "75 s", "90 s", "105 s"]
        );
        assert_eq!(
            names(&Axis::time(600.0, 8)),
            ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]
        );
        assert_eq!(
            names(&Axis::time(86_400.0, 8)),
            ["0 h", "3 h", "6 h", "9 h", "12 h", "15 h", "18 h", "21 h", "24 h"]
        );
    }

    /// The last tick is the largest value, and no other crowds it.
    #[test]
    fn percentiles_stand_by_their_nines() {
        let axis = Axis::nines(9_000_000);
        assert_eq!(names(&axis), ["50", "90", "99", "99.9", "99.99", "99.999", "max"]);
        let at: Vec<i32> = axis.ticks().map(|tick| axis.map(&tick, (0, 6954))).collect();
        assert_eq!(at, [301, 1000, 2000, 3000, 4000, 5000, 6954]);
        assert_eq!(names(&Axis::nines(1_000)), ["50", "90", "99", "max"]);
        assert_eq!(names(&Axis::nines(1)), ["50", "max"]);
    }

    #[test]
    fn values_beyond_the_axis_stay_at_its_ends() {
        let axis = Axis::log(1.0, 100.0, millis);
        assert_eq!(
            [0.5, 1.0, 10.0, 100.0, 1e9].map(|it| axis.map(&it, (0, 200))),
            [0, 0, 100, 200, 200]
        );
    }
}
