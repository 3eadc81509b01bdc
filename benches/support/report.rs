//! Medians and ratios over rounds.

/// The figures of one contender in one measure, one per round.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds the figure of the next round.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The median; of an even number, the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        (low + high) / 2.0
    }

    /// The least and the greatest.
    pub fn range(&self) -> (f64, f64) {
        let fold = |f: fn(f64, f64) -> f64| self.0.iter().copied().reduce(f).expect("a round");
        (fold(f64::min), fold(f64::max))
    }

    /// The ratio of each round to the same round of another series.
    pub fn over(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect())
    }
}
