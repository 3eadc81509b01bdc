//! Objectives of a run: `p99=250ms,loss=0`, and which of them it missed.
//!
//! An objective names a measure and the most that it may be; exactly at the limit is met. What was
//! not measured is missed, and says why it was not. The oracle's own verdict does not depend on
//! objectives: a lost publication fails a run whether or not anybody wrote `loss=0`.

mod judge;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{shelf::instead, units};

pub use judge::{Miss, judge};

/// Objectives, each measure at most once, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slo(Vec<Objective>);

/// The most that a measure may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// What is measured.
    pub measure: Measure,
    /// The most that it may be, in the measure's [`Unit`].
    pub limit: u64,
}

/// What a number of a [`Measure`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Bytes,
    /// Whatever the measure is named for.
    Count,
}

/// What is known of a measure.
#[derive(Clone, Copy, Debug)]
pub struct MeasureRow {
    /// The measure.
    pub measure: Measure,
    /// Its name in objectives.
    pub name: &'static str,
    /// What its number counts.
    pub unit: Unit,
    /// A limit that somebody might set.
    pub example: &'static str,
    /// What it is.
    pub help: &'static str,
}

/// Makes [`Measure`] and [`MEASURES`] from rows: the help as a doc comment, the variant, its name,
/// its unit and an example.
macro_rules! measures {
    ($(
        $(#[doc = $help:literal])+
        $variant:ident $name:literal: $unit:ident $example:literal;
    )+) => {
        /// What an objective limits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Measure {$(
            $(#[doc = $help])+
            $variant,
        )+}

        /// Every measure, in the order of the help.
        pub const MEASURES: &[MeasureRow] = &[$(MeasureRow {
            measure: Measure::$variant,
            name: $name,
            unit: Unit::$unit,
            example: $example,
            help: concat!($($help),+).trim_ascii(),
        },)+];
    };
}

measures! {
    /// Median time from when a publication was due until a subscriber had it.
    P50 "p50": Time "50ms";
    /// The same, for 9 deliveries in 10.
    P90 "p90": Time "100ms";
    /// The same, for 99 deliveries in 100.
    P99 "p99": Time "250ms";
    /// The same, for 999 deliveries in 1000.
    P999 "p999": Time "1s";
    /// The same, for every delivery.
    Max "max": Time "2s";
    /// Time to connect, for 99 connections in 100.
    ConnectP99 "connect-p99": Time "100ms";
    /// Time from the request to the answer that grants it, for 99 in 100.
    HandshakeP99 "handshake-p99": Time "100ms";
    /// Time from that answer to the first publication, for 99 in 100.
    FirstP99 "first-p99": Time "2s";
    /// Time from the end of a connection until its subscriber had resumed with all that it had
    /// missed, for 99 in 100.
    ResumeP99 "resume-p99": Time "2s";
    /// Median time until the last subscriber of a publication had it.
    SpreadP50 "spread-p50": Time "100ms";
    /// The same, for every publication.
    SpreadMax "spread-max": Time "1s";
    /// The same, for every broadcast.
    BroadcastMax "broadcast-max": Time "7s";
    /// Publications that a subscriber was owed and never got.
    Loss "loss": Count "0";
    /// Publications that a subscriber got again.
    Duplicates "duplicates": Count "0";
    /// Publications that came after a later one.
    Reordered "reordered": Count "0";
    /// Damaged publications, and those of another run or channel.
    Corrupt "corrupt": Count "0";
    /// Connections that ended though nobody had asked for it.
    Closes "closes": Count "0";
    /// Subscribers that never got a connection.
    ConnectFailures "connect-failures": Count "0";
    /// Publications that the server did not take.
    PublishFailures "publish-failures": Count "0";
    /// Time until the last subscriber was connected.
    Ramp "ramp": Time "40s";
    /// Resident memory that the server took for each connection.
    RssPerConnection "rss-per-connection": Bytes "200B";
    /// Processor time that the server took for each delivery.
    CpuPerDelivery "cpu-per-delivery": Time "10us";
}

impl Measure {
    /// Its name in objectives.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What its number counts.
    pub fn unit(self) -> Unit {
        self.row().unit
    }

    fn row(self) -> &'static MeasureRow {
        MEASURES.iter().find(|row| row.measure == self).expect("every measure has its row")
    }
}

impl Unit {
    /// Writes a number, with its unit.
    pub fn text(self, number: u64) -> String {
        match self {
            Unit::Time => units::time_text(Duration::from_nanos(number)),
            Unit::Bytes => units::size_text(number),
            Unit::Count => number.to_string(),
        }
    }

    /// Writes two numbers to be looked at: rounded like everything in a report, unless they would
    /// then look the same.
    pub fn shown(self, numbers: [u64; 2]) -> [String; 2] {
        let rounded = numbers.map(|number| match self {
            Unit::Time => units::millis(number as f64 / 1e6),
            Unit::Bytes => units::bytes(number as f64),
            Unit::Count => units::count(number),
        });
        if rounded[0] == rounded[1] { numbers.map(|number| self.text(number)) } else { rounded }
    }

    fn parse(self, text: &str) -> Result<u64, String> {
        match self {
            Unit::Time => units::time(text).map(|time| time.as_nanos() as u64),
            Unit::Bytes => units::size(text),
            Unit::Count => units::whole(text),
        }
    }

    fn right(self) -> &'static str {
        match self {
            Unit::Time => "a time like 250ms or 10us",
            Unit::Bytes => "bytes like 200B or 4kB",
            Unit::Count => "a whole number like 0",
        }
    }
}

impl Slo {
    /// The objectives, in the order in which they were written.
    pub fn objectives(&self) -> &[Objective] {
        &self.0
    }

    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads `p99=250ms,loss=0`; an empty text demands nothing. An error says only what is wrong.
impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Slo, String> {
        let mut slo = Slo::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let objective: Objective = part.trim().parse()?;
            if slo.0.iter().any(|known| known.measure == objective.measure) {
                return Err(format!("has {} twice", objective.measure.name()));
            }
            slo.0.push(objective);
        }
        Ok(slo)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Objective, String> {
        let (name, limit) =
            text.split_once('=').ok_or_else(|| format!("has '{text}', which has no '='"))?;
        let Some(row) = MEASURES.iter().find(|row| row.name == name) else {
            let known: Vec<&str> = MEASURES.iter().map(|row| row.name).collect();
            let hint = instead(name, &known);
            return Err(format!("has '{name}', which is not an objective ({hint})"));
        };
        let MeasureRow { measure, unit, .. } = *row;
        let limit = unit.parse(limit).map_err(|why| {
            format!("has {name}={limit}, which {why} ({name} is {})", unit.right())
        })?;
        Ok(Objective { measure, limit })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.measure.name(), self.measure.unit().text(self.limit))
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Objective::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl Serialize for Slo {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Slo {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Slo, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
