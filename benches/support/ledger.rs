//! Who got what, and how late.

use std::{collections::HashSet, fmt, time::Duration};

use hdrhistogram::Histogram;

/// What all subscribers got.
pub struct Ledger {
    /// Per subscriber and publisher, the sequence number that comes next.
    next: Vec<u32>,
    publishers: usize,
    late_us: Histogram<u64>,
    delivered: u64,
    /// What was passed over and has not come since: subscriber, publisher, sequence number.
    missing: HashSet<(usize, usize, u32)>,
    lost: u64,
    repeated: u64,
    reordered: u64,
}

impl Ledger {
    /// Nobody has got anything.
    pub fn new(subscribers: usize, publishers: usize) -> Ledger {
        Ledger {
            next: vec![0; subscribers * publishers],
            publishers,
            late_us: Histogram::new_with_bounds(1, 600_000_000, 3).expect("fine bounds"),
            delivered: 0,
            missing: HashSet::new(),
            lost: 0,
            repeated: 0,
            reordered: 0,
        }
    }

    /// A subscriber got a publication, so late if that counts.
    pub fn on_publication(
        &mut self,
        subscriber: usize,
        publisher: usize,
        sequence: u32,
        late: Option<Duration>,
    ) {
        let next = &mut self.next[subscriber * self.publishers + publisher];
        if sequence < *next {
            match self.missing.remove(&(subscriber, publisher, sequence)) {
                true => self.reordered += 1,
                false => self.repeated += 1,
            }
        } else {
            self.missing.extend((*next..sequence).map(|missing| (subscriber, publisher, missing)));
            *next = sequence + 1;
        }
        self.delivered += 1;
        if let Some(late) = late {
            self.late_us.saturating_record(late.as_micros() as u64);
        }
    }

    /// Nothing more will come, of so many deliveries.
    pub fn close(&mut self, wanted: u64) {
        self.lost = (wanted + self.repeated).saturating_sub(self.delivered);
    }

    /// Deliveries, whatever they were.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether everybody got everything once and in order.
    pub fn is_clean(&self) -> bool {
        self.lost + self.repeated + self.reordered == 0
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late_ms = |quantile| self.late_us.value_at_quantile(quantile) as f64 / 1000.0;
        writeln!(
            f,
            "latency from due time, ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
            late_ms(0.5),
            late_ms(0.9),
            late_ms(0.99),
            late_ms(0.999),
            late_ms(1.0)
        )?;
        let Ledger { delivered, lost, repeated, reordered, .. } = self;
        write!(
            f,
            "  delivered: {delivered}  lost: {lost}  repeated: {repeated}  reordered: {reordered}"
        )
    }
}
