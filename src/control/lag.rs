//! `GET /lag`: how far subscribers lag behind their channels, and who lags the most; and the same
//! for a scrape.

use std::{fmt, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    metrics::MetricType,
    registry::Registry,
};
use serde::Serialize;

use super::{Plane, ask::ask_lag, reply::reply_json};
use crate::{
    policy::{PatternId, Policies},
    report::{LAG_BUCKETS, LAG_BUCKETS_MS, LagReport, PatternLag, SlowSubscriber},
};

#[derive(Serialize)]
struct Shown<'a> {
    /// What the counts of each pattern are up to; the last count is of what is above.
    publications_up_to: [u64; LAG_BUCKETS.len()],
    ms_up_to: [u64; LAG_BUCKETS_MS.len()],
    patterns: Vec<ShownPattern<'a>>,
    slowest: Vec<Slow<'a>>,
}

#[derive(Serialize)]
struct ShownPattern<'a> {
    pattern: &'a str,
    subscriptions: u64,
    publications: &'a [u64],
    publications_sum: u64,
    ms: &'a [u64],
    ms_sum: u64,
}

#[derive(Serialize)]
struct Slow<'a> {
    address: Option<String>,
    channel: &'a str,
    format: &'static str,
    publications: u64,
    bytes: u64,
    ms: u64,
}

/// Shows it, over all shards.
pub(super) async fn show(State(plane): State<Arc<Plane>>) -> Response {
    let report = match ask_lag(&plane, plane.settings().answer_timeout).await {
        Ok(report) => report,
        Err(refusal) => return refusal.into_response(),
    };
    let pattern = |lag| shown_pattern(&plane.policies, lag);
    let shown = Shown {
        publications_up_to: LAG_BUCKETS,
        ms_up_to: LAG_BUCKETS_MS,
        patterns: report.patterns.iter().map(pattern).collect(),
        slowest: report.slowest.iter().map(slow).collect(),
    };
    reply_json(StatusCode::OK, &shown)
}

fn shown_pattern<'a>(policies: &'a Policies, lag: &'a PatternLag) -> ShownPattern<'a> {
    let PatternLag { pattern, publications, publications_sum, ms, ms_sum } = lag;
    ShownPattern {
        pattern: pattern_text(policies, *pattern),
        subscriptions: publications.iter().sum(),
        publications,
        publications_sum: *publications_sum,
        ms,
        ms_sum: *ms_sum,
    }
}

/// A pattern as it was written.
pub(super) fn pattern_text(policies: &Policies, id: PatternId) -> &str {
    let found = policies.iter().find(|(known, ..)| *known == id);
    found.map_or("", |(_, pattern, _)| pattern.as_str())
}

fn slow(slow: &SlowSubscriber) -> Slow<'_> {
    let SlowSubscriber { address, channel, format, publications, bytes, ms } = slow;
    Slow {
        address: address.map(|address| address.to_string()),
        channel: channel.as_str(),
        format: format.label(),
        publications: *publications,
        bytes: *bytes,
        ms: *ms,
    }
}

/// Appends the lag to a scrape, unless the shards are too busy to tell it in time.
pub(super) async fn scrape(plane: &Plane, body: &mut String) -> fmt::Result {
    let Ok(report) = ask_lag(plane, plane.settings().scrape_timeout).await else { return Ok(()) };
    let mut registry = Registry::with_prefix("stentor");
    let policies = plane.policies.clone();
    registry.register_collector(Box::new(LagCollector { policies, report }));
    text::encode_registry(body, &registry)
}

/// How it is now: gauges, since whoever catches up lowers them. Each has the label `le` and counts
/// those up to it, as a histogram does, so that `histogram_quantile` takes them.
#[derive(Debug)]
struct LagCollector {
    policies: Policies,
    report: LagReport,
}

impl Collector for LagCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let publications = |lag: &PatternLag| counts_up_to(&LAG_BUCKETS, 1.0, &lag.publications);
        let seconds = |lag: &PatternLag| counts_up_to(&LAG_BUCKETS_MS, 1e3, &lag.ms);
        let help = "Subscriptions now that lag by at most so many publications, by pattern.";
        self.encode_counts(&mut encoder, "lag_publications_bucket", help, publications)?;
        let help = "Publications now that subscribers have yet to be sent, by pattern.";
        let sum = |lag: &PatternLag| lag.publications_sum as f64;
        self.encode_sums(&mut encoder, "lag_publications_sum", help, sum)?;
        let help =
            "Subscriptions now whose oldest unsent publication is at most so old, by pattern.";
        self.encode_counts(&mut encoder, "lag_seconds_bucket", help, seconds)?;
        let help = "The sum of the ages of the oldest unsent publications now, by pattern.";
        let sum = |lag: &PatternLag| lag.ms_sum as f64 / 1e3;
        self.encode_sums(&mut encoder, "lag_seconds_sum", help, sum)
    }
}

impl LagCollector {
    fn encode_counts(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        counts: impl Fn(&PatternLag) -> Vec<(String, u64)>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for lag in &self.report.patterns {
            let pattern = pattern_text(&self.policies, lag.pattern);
            for (bound, count) in counts(lag) {
                let labels = [("pattern", pattern), ("le", bound.as_str())];
                metric.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        Ok(())
    }

    fn encode_sums(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        sum: impl Fn(&PatternLag) -> f64,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for lag in &self.report.patterns {
            let labels = [("pattern", pattern_text(&self.policies, lag.pattern))];
            metric.encode_family(&labels)?.encode_gauge(&sum(lag))?;
        }
        Ok(())
    }
}

/// Each bound, in units of `scale`, with how many are at most that; the last is without a bound.
fn counts_up_to(bounds: &[u64], scale: f64, counts: &[u64]) -> Vec<(String, u64)> {
    let bounds = bounds.iter().map(|&bound| format!("{:?}", bound as f64 / scale));
    let mut below = 0;
    let sums = counts.iter().map(|count| {
        below += count;
        below
    });
    bounds.chain(["+Inf".to_owned()]).zip(sums).collect()
}
