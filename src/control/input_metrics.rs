//! What inputs are, as Prometheus reads it: read from their states when a scrape asks.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::States;
use crate::inputs::{Input, InputReport, Skip};

/// Tells of every input. Without inputs there is nothing to tell.
pub(super) struct InputsCollector(pub(super) States);

impl fmt::Debug for InputsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputsCollector").field("inputs", &self.0.len()).finish()
    }
}

/// A number that every input has, or may have.
struct Each {
    name: &'static str,
    help: &'static str,
    /// Whether it is in bytes, and its name without that word.
    is_bytes: bool,
    kind: MetricType,
    of: fn(&InputReport) -> Option<u64>,
}

const fn level(
    name: &'static str,
    help: &'static str,
    of: fn(&InputReport) -> Option<u64>,
) -> Each {
    Each { name, help, is_bytes: false, kind: MetricType::Gauge, of }
}

const fn count(
    name: &'static str,
    help: &'static str,
    of: fn(&InputReport) -> Option<u64>,
) -> Each {
    Each { name, help, is_bytes: false, kind: MetricType::Counter, of }
}

const EACH: [Each; 7] = [
    level("input_connected", "Whether the input is connected to its bus (1) or not (0).", |it| {
        Some(u64::from(it.connected))
    }),
    level(
        "input_ready",
        "Whether the input has once read all that its bus had when it connected.",
        |it| Some(u64::from(it.ready)),
    ),
    count("input_records", "Records read from the bus.", |it| Some(it.records)),
    Each {
        name: "input",
        help: "Bytes of the payloads of records read.",
        is_bytes: true,
        kind: MetricType::Counter,
        of: |it| Some(it.bytes),
    },
    count(
        "input_holes",
        "Stretches that the bus had trimmed before they were read; subscribers are told of each.",
        |it| Some(it.holes),
    ),
    count("input_reconnects", "Times that the input connected again.", |it| Some(it.reconnects)),
    level("input_lag", "Records that the bus has and that are not read yet, where known.", |it| {
        it.lag
    }),
];

impl Collector for InputsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let reports: Vec<(&Input, InputReport)> =
            self.0.iter().map(|(input, state)| (input, state.report())).collect();
        for metric in &EACH {
            let unit = metric.is_bytes.then_some(&Unit::Bytes);
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, unit, metric.kind)?;
            for (input, report) in &reports {
                if let Some(value) = (metric.of)(report) {
                    encode(family.encode_family(&labels(input))?, metric.kind, value)?;
                }
            }
        }
        encode_last_record(&mut encoder, &reports)?;
        encode_skipped(&mut encoder, &reports)
    }
}

fn encode(mut metric: MetricEncoder, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => metric.encode_gauge(&value),
    }
}

fn encode_last_record(
    encoder: &mut DescriptorEncoder,
    reports: &[(&Input, InputReport)],
) -> fmt::Result {
    let (name, unit) = ("input_last_record_timestamp", Some(&Unit::Seconds));
    let help = "When the last record came, in seconds since 1970.";
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (input, report) in reports {
        if let Some(ms) = report.last_record_ms {
            family.encode_family(&labels(input))?.encode_gauge(&(ms as f64 / 1000.0))?;
        }
    }
    Ok(())
}

fn encode_skipped(
    encoder: &mut DescriptorEncoder,
    reports: &[(&Input, InputReport)],
) -> fmt::Result {
    let help = "Records that were passed over, by reason.";
    let kind = MetricType::Counter;
    let mut family = encoder.encode_descriptor("input_skipped", help, None, kind)?;
    for (input, report) in reports {
        for (reason, count) in Skip::ALL.iter().zip(report.skipped) {
            let [name, kind_of] = labels(input);
            let labels = [name, kind_of, ("reason", reason.label())];
            encode(family.encode_family(&labels)?, kind, count)?;
        }
    }
    Ok(())
}

fn labels(input: &Input) -> [(&'static str, &str); 2] {
    [("input", &input.name), ("kind", input.source.kind())]
}
