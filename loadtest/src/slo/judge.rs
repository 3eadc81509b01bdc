//! A finished run against its objectives.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Measure, Slo};
use crate::record::{Record, ServerUse};

/// An objective that was missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Miss {
    /// Its name.
    pub objective: &'static str,
    /// The most that it might have been.
    pub limit: String,
    /// What it was, or why it was not measured.
    pub measured: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Miss { objective, limit, measured } = self;
        write!(f, "{objective}: {measured}, allowed is {limit}")
    }
}

/// The objectives that the run missed, in their order; none if it met all.
pub fn judge(slo: &Slo, record: &Record) -> Vec<Miss> {
    let misses = slo.objectives().iter().filter_map(|objective| {
        let unit = objective.measure.unit();
        let [limit, measured] = match measured(objective.measure, record) {
            Ok(measured) if measured <= objective.limit => return None,
            Ok(measured) => unit.shown([objective.limit, measured]),
            Err(why) => [unit.text(objective.limit), format!("not measured, because {why}")],
        };
        Some(Miss { objective: objective.measure.name(), limit, measured })
    });
    misses.collect()
}

/// What a measure was, in its unit, or why it was not measured.
fn measured(measure: Measure, record: &Record) -> Result<u64, &'static str> {
    let (times, deliveries) = (&record.tally.times, &record.tally.deliveries);
    let [usual, broadcasts] = record.spreads();
    match measure {
        Measure::P50 => quantile(&times.delivery, 0.5),
        Measure::P90 => quantile(&times.delivery, 0.9),
        Measure::P99 => quantile(&times.delivery, 0.99),
        Measure::P999 => quantile(&times.delivery, 0.999),
        Measure::Max => quantile(&times.delivery, 1.0),
        Measure::ConnectP99 => quantile(&times.connect, 0.99),
        Measure::HandshakeP99 => quantile(&times.handshake, 0.99),
        Measure::FirstP99 => quantile(&times.first, 0.99),
        Measure::ResumeP99 => quantile(&times.resume, 0.99),
        Measure::SpreadP50 => ranked(&usual, |count| count.div_ceil(2)).ok_or(NO_PUBLICATION),
        Measure::SpreadMax => ranked(&usual, |count| count).ok_or(NO_PUBLICATION),
        Measure::BroadcastMax => ranked(&broadcasts, |count| count).ok_or(NO_BROADCAST),
        Measure::Loss => {
            Ok(deliveries.lost + deliveries.unannounced_gap + deliveries.false_recovered)
        }
        Measure::Duplicates => Ok(deliveries.duplicated + deliveries.repeated),
        Measure::Reordered => Ok(deliveries.reordered),
        Measure::Corrupt => Ok(deliveries.corrupt + deliveries.misdirected),
        Measure::Closes => Ok(deliveries.unexpected_closes),
        Measure::ConnectFailures => Ok(record.tally.connections.failed),
        Measure::PublishFailures => Ok(record.publications.failed),
        Measure::Ramp => Ok(nanos(record.tally.connections.ramp)),
        Measure::RssPerConnection => per_one(
            record,
            ServerUse::grown,
            record.tally.connections.established,
            "nobody was connected",
        ),
        Measure::CpuPerDelivery => {
            per_one(record, |server| nanos(server.cpu), deliveries.received, "nothing was received")
        }
    }
}

/// A quantile in nanoseconds.
///
/// The histogram knows a value to one part in a thousand; the least that it can have been counts,
/// so that what was recorded at a limit is at the limit.
fn quantile(histogram: &Histogram<u64>, quantile: f64) -> Result<u64, &'static str> {
    if histogram.is_empty() {
        return Err("nothing of the kind happened");
    }
    Ok(histogram.lowest_equivalent(histogram.value_at_quantile(quantile)) * NANOS_PER_MICRO)
}

/// The time in nanoseconds of the rank that `rank` picks: from 1, the fastest, to the number of
/// these rising `micros`; none of no times.
fn ranked(micros: &[u32], rank: impl Fn(usize) -> usize) -> Option<u64> {
    let index = rank(micros.len()).checked_sub(1)?;
    Some(u64::from(micros[index]) * NANOS_PER_MICRO)
}

/// What the server used for each of so many, rounded up: at the limit exactly if all of them
/// together are.
fn per_one(
    record: &Record,
    used: impl Fn(&ServerUse) -> u64,
    many: u64,
    none: &'static str,
) -> Result<u64, &'static str> {
    let server = record.server.as_ref().ok_or(NO_SERVER)?;
    if many == 0 { Err(none) } else { Ok(used(server).div_ceil(many)) }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_MICRO: u64 = 1_000;
const NO_PUBLICATION: &str = "no publication reached anybody";
const NO_BROADCAST: &str = "no broadcast reached anybody";
const NO_SERVER: &str = "no server was watched (--spawn or --pid)";
