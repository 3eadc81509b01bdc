//! What was counted and timed: by one thread, by all of a process, by all machines of a run.
//!
//! Everything here adds up: merging the tallies of two threads gives the tally that one thread
//! would have made of both.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub mod heat;
mod wire;

/// Distinct texts that a [`Names`] keeps; the rest are counted together.
pub const NAMES_MAX: usize = 50;

/// Publications whose spread is kept: those numbered below this.
pub const SPREADS_MAX: usize = 1 << 20;

/// Storms of which it is kept how long they took.
pub const STORMS_MAX: usize = 1 << 10;

/// Rows of the heat map: a latency of 2^(n/2) µs and more falls into row n.
pub const HEAT_ROWS: usize = 52;

/// What was counted and timed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Connections.
    pub connections: Connections,
    /// What arrived, and what did not.
    pub deliveries: Deliveries,
    /// How long things took.
    pub times: Times,
    /// For each publication of the run, by its number, how far it got.
    pub spreads: Vec<Spread>,
    /// For each second since the run's epoch, what happened in it.
    pub seconds: Vec<Second>,
}

/// What became of the connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Subscribers that were to be connected.
    pub requested: u64,
    /// Those that got an answer that grants their handshake.
    pub established: u64,
    /// Those that never did, and those that left and had not come back when the run was over.
    pub failed: u64,
    /// From the run's epoch until the last of them was.
    pub ramp: Duration,
    /// Those that came back after churn or a storm, beyond `established`.
    pub reconnected: u64,
    /// Those of them that asked for what they had missed.
    pub resumed: u64,
    /// Those of these to whom the server said that they would get all of it.
    pub recovered: u64,
    /// The storms of the run, in their order; the first [`STORMS_MAX`].
    pub storms: Vec<Storm>,
    /// Why connecting failed, each time it did, retries included.
    pub failures: Names,
}

/// What became of those whom a storm cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    /// How many it cut off.
    pub cut: u64,
    /// How many of them were live again before they left once more.
    pub came_back: u64,
    /// Microseconds from the cut until the last of them was.
    pub last_micros: u64,
}

/// What arrived, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Publications that subscribers were owed, each counted for each of them.
    pub expected: u64,
    /// Those that came, each counted once.
    pub received: u64,
    /// Those that never came.
    pub lost: u64,
    /// Publications that came again in the same session.
    pub duplicated: u64,
    /// Publications that came to a subscriber which had resumed behind them.
    pub repeated: u64,
    /// Publications that were missing where a subscriber resumed, and no gap was announced.
    pub unannounced_gap: u64,
    /// Publications that were missing though all was said to be recovered.
    pub false_recovered: u64,
    /// Announced gaps that are not what was missing.
    pub false_gap: u64,
    /// Publications that came after a later one.
    pub reordered: u64,
    /// Messages that are no publication of the load tester, or a damaged one.
    pub corrupt: u64,
    /// Undamaged publications of another run or channel.
    pub misdirected: u64,
    /// Connections that ended though nobody had asked for it.
    pub unexpected_closes: u64,
    /// Slow readers that the server closed, where the plan allows it.
    pub slow_closes: u64,
    /// Gaps that the server announced.
    pub gaps: u64,
    /// Publications that did not come because they were in an announced gap.
    pub skipped: u64,
    /// Publications that came from the server's history, to subscribers that had missed them.
    pub recovered: u64,
    /// The first faults of each kind, in words.
    pub examples: Names,
}

/// How long things took, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Times {
    /// From `connect` to a connection.
    #[serde(with = "wire::histogram")]
    pub connect: Histogram<u64>,
    /// From the request to the answer that grants it.
    #[serde(with = "wire::histogram")]
    pub handshake: Histogram<u64>,
    /// From that answer to the first publication.
    #[serde(with = "wire::histogram")]
    pub first: Histogram<u64>,
    /// From when a publication was due to when a subscriber had it.
    #[serde(with = "wire::histogram")]
    pub delivery: Histogram<u64>,
    /// For each of these deliveries, from when its thread woke up for it (or had last looked, if it
    /// did not sleep) until it had read it: what of the latency the load tester may have made
    /// itself, by reading others first.
    #[serde(with = "wire::histogram")]
    pub reading: Histogram<u64>,
    /// From when a subscriber lost its connection until it had resumed and had all that it missed.
    #[serde(with = "wire::histogram")]
    pub resume: Histogram<u64>,
}

/// How far a publication got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct Spread {
    /// Subscribers that have it.
    pub received: u32,
    /// Microseconds from when it was due until the last of them had it.
    pub last_micros: u32,
}

/// What happened in one second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Connections at its end.
    pub connections: u64,
    /// Publications received in it.
    pub deliveries: u64,
    /// How many of them had which latency; see [`heat_row`].
    #[serde(with = "wire::heat")]
    pub heat: [u32; HEAT_ROWS],
}

/// Texts and how often each came up. Holds at most [`NAMES_MAX`] of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names(BTreeMap<String, u64>);

impl Tally {
    /// Adds what another thread or machine has counted.
    pub fn merge(&mut self, other: Tally) {
        self.connections.merge(&other.connections);
        self.deliveries.merge(&other.deliveries);
        self.times.merge(&other.times);
        if self.spreads.len() < other.spreads.len() {
            self.spreads.resize(other.spreads.len(), Spread::default());
        }
        for (own, other) in self.spreads.iter_mut().zip(&other.spreads) {
            own.received += other.received;
            own.last_micros = own.last_micros.max(other.last_micros);
        }
        merge_seconds(&mut self.seconds, &other.seconds);
    }
}

impl Connections {
    fn merge(&mut self, other: &Connections) {
        self.requested += other.requested;
        self.established += other.established;
        self.failed += other.failed;
        self.ramp = self.ramp.max(other.ramp);
        self.reconnected += other.reconnected;
        self.resumed += other.resumed;
        self.recovered += other.recovered;
        if self.storms.len() < other.storms.len() {
            self.storms.resize(other.storms.len(), Storm::default());
        }
        for (own, other) in self.storms.iter_mut().zip(&other.storms) {
            own.cut += other.cut;
            own.came_back += other.came_back;
            own.last_micros = own.last_micros.max(other.last_micros);
        }
        self.failures.merge(&other.failures);
    }
}

impl Deliveries {
    fn merge(&mut self, other: &Deliveries) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.repeated += other.repeated;
        self.unannounced_gap += other.unannounced_gap;
        self.false_recovered += other.false_recovered;
        self.false_gap += other.false_gap;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misdirected += other.misdirected;
        self.unexpected_closes += other.unexpected_closes;
        self.slow_closes += other.slow_closes;
        self.gaps += other.gaps;
        self.skipped += other.skipped;
        self.recovered += other.recovered;
        self.examples.merge(&other.examples);
    }

    /// Whether every subscriber got what it was owed, and nothing else.
    pub fn is_flawless(&self) -> bool {
        self.faults() == 0
    }

    /// Everything that should not have been.
    pub fn faults(&self) -> u64 {
        let Deliveries { lost, duplicated, reordered, corrupt, misdirected, .. } = self;
        let Deliveries { repeated, unannounced_gap, false_recovered, false_gap, .. } = self;
        let in_sessions = lost + duplicated + reordered + corrupt + misdirected;
        let across_sessions = repeated + unannounced_gap + false_recovered + false_gap;
        in_sessions + across_sessions + self.unexpected_closes
    }
}

impl Default for Times {
    fn default() -> Times {
        let [connect, handshake, first, delivery, reading, resume] =
            std::array::from_fn(|_| empty());
        Times { connect, handshake, first, delivery, reading, resume }
    }
}

impl Times {
    fn merge(&mut self, other: &Times) {
        let pairs = [
            (&mut self.connect, &other.connect),
            (&mut self.handshake, &other.handshake),
            (&mut self.first, &other.first),
            (&mut self.delivery, &other.delivery),
            (&mut self.reading, &other.reading),
            (&mut self.resume, &other.resume),
        ];
        for (own, other) in pairs {
            own.add(other).expect("all of them have the same bounds");
        }
    }
}

impl Default for Second {
    fn default() -> Second {
        Second { connections: 0, deliveries: 0, heat: [0; HEAT_ROWS] }
    }
}

impl Names {
    /// Counts a text.
    pub fn count(&mut self, text: impl Into<String>, times: u64) {
        let text = text.into();
        if self.0.len() < NAMES_MAX || self.0.contains_key(&text) {
            *self.0.entry(text).or_default() += times;
        } else {
            *self.0.entry(REST.into()).or_default() += times;
        }
    }

    /// The texts, with how often each came up.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(text, &times)| (&text[..], times))
    }

    /// Adds another's texts.
    pub fn merge(&mut self, other: &Names) {
        other.iter().for_each(|(text, times)| self.count(text, times));
    }
}

/// A histogram of microseconds: three digits, up to [`MICROS_MAX`].
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("the bounds are good")
}

/// Microseconds as histograms take them: at least 1, at most [`MICROS_MAX`].
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, MICROS_MAX)
}

/// The row of the heat map that a latency falls into: two rows for each doubling of microseconds.
pub fn heat_row(micros: u64) -> usize {
    let micros = micros.max(1);
    let whole = micros.ilog2() as usize;
    // Past the square root of 2 times the power.
    let is_upper = micros.saturating_mul(micros) >> (2 * whole) >= 2;
    (2 * whole + usize::from(is_upper)).min(HEAT_ROWS - 1)
}

/// The smallest latency in microseconds of a row of the heat map.
pub fn heat_floor(row: usize) -> f64 {
    2f64.powf(row as f64 / 2.0)
}

fn merge_seconds(own: &mut Vec<Second>, other: &[Second]) {
    if own.len() < other.len() {
        own.resize(other.len(), Second::default());
    }
    for (own, other) in own.iter_mut().zip(other) {
        own.connections += other.connections;
        own.deliveries += other.deliveries;
        for (own, other) in own.heat.iter_mut().zip(other.heat) {
            *own += other;
        }
    }
}

/// The longest time that histograms tell apart: ten minutes.
pub const MICROS_MAX: u64 = 600_000_000;

/// What stands for all texts beyond [`NAMES_MAX`].
const REST: &str = "others";
