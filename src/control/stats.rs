//! `GET /stats`: the server in a few numbers, for the page and for scripts.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;

use super::{
    Plane,
    own_use::{OwnUse, own_use},
    reply::reply_json,
};
use crate::{
    counters::{Counter, Counters, SWEEP_BUCKETS_US},
    frame::Format,
};

#[derive(Serialize)]
struct Stats {
    version: &'static str,
    shards: usize,
    draining: bool,
    /// Of the control plane. Rates are better computed with the reader's own clock.
    uptime_seconds: f64,
    connections: Connections,
    accepted: u64,
    refused: u64,
    publications: u64,
    publication_bytes: u64,
    deliveries: u64,
    delivered_bytes: u64,
    sends: u64,
    short_sends: u64,
    blocked: u64,
    resumed: u64,
    recovered: u64,
    skipped: u64,
    gaps: u64,
    channels: u64,
    views: u64,
    log_bytes: u64,
    /// Rounds over all subscribers of a channel.
    sweeps: Durations,
    /// From publications until the last subscriber was written.
    delivered_last: Durations,
    /// Of all shards, in seconds; `shards` of them in a second is all there are.
    busy_seconds: f64,
    resident_bytes: u64,
    cpu_seconds: f64,
}

/// How many lasted how long, since the start.
#[derive(Serialize)]
struct Durations {
    /// What the counts are up to, in microseconds; the last count is of what is above.
    up_to_us: [u64; SWEEP_BUCKETS_US.len()],
    counts: [u64; SWEEP_BUCKETS_US.len() + 1],
    sum_us: u64,
}

/// Connections now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Connections {
    pub(super) total: u64,
    pub(super) websocket: u64,
    pub(super) sse: u64,
    /// Those that read publications as JSON: `stentor.v1`, and long-polls.
    pub(super) json: u64,
    /// Those that do not subscribe: still in their handshake, or closing.
    pub(super) other: u64,
}

/// Shows the counters, added up over all shards.
pub(super) async fn show(State(plane): State<Arc<Plane>>) -> Response {
    reply_json(StatusCode::OK, &stats(&plane))
}

fn stats(plane: &Plane) -> Stats {
    let counters = &plane.counters;
    let OwnUse { resident_bytes, cpu_seconds } = own_use();
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        shards: counters.len(),
        draining: plane.is_draining(),
        uptime_seconds: plane.started.elapsed().as_secs_f64(),
        connections: connections(counters),
        accepted: total(counters, |shard| &shard.accepted),
        refused: total(counters, |shard| &shard.refused),
        publications: total(counters, |shard| &shard.publications),
        publication_bytes: total(counters, |shard| &shard.publication_bytes),
        deliveries: total(counters, |shard| &shard.deliveries),
        delivered_bytes: total(counters, |shard| &shard.delivered_bytes),
        sends: total(counters, |shard| &shard.sends),
        short_sends: total(counters, |shard| &shard.short_sends),
        blocked: total(counters, |shard| &shard.blocked),
        resumed: total(counters, |shard| &shard.resumed),
        recovered: total(counters, |shard| &shard.recovered),
        skipped: total(counters, |shard| &shard.skipped),
        gaps: total(counters, |shard| &shard.gaps),
        channels: total(counters, |shard| &shard.channels),
        views: total(counters, |shard| &shard.views),
        log_bytes: total(counters, |shard| &shard.log_bytes),
        sweeps: durations(counters, |shard| (&shard.sweep_us, &shard.sweep_buckets)),
        delivered_last: durations(counters, |shard| (&shard.written_us, &shard.written_buckets)),
        busy_seconds: total(counters, |shard| &shard.busy_us) as f64 / 1e6,
        resident_bytes,
        cpu_seconds,
    }
}

/// A histogram, added up over all shards.
fn durations(
    counters: &[Counters],
    of: impl Fn(&Counters) -> (&Counter, &[Counter; SWEEP_BUCKETS_US.len() + 1]),
) -> Durations {
    let counts = std::array::from_fn(|bucket| total(counters, |shard| &of(shard).1[bucket]));
    let sum_us = total(counters, |shard| of(shard).0);
    Durations { up_to_us: SWEEP_BUCKETS_US, counts, sum_us }
}

/// One counter, added up over all shards.
pub(super) fn total(counters: &[Counters], of: impl Fn(&Counters) -> &Counter) -> u64 {
    counters.iter().map(|shard| of(shard).get()).sum()
}

/// Connections by transport, over all shards.
pub(super) fn connections(counters: &[Counters]) -> Connections {
    let of = |format: Format| total(counters, |shard| &shard.subscribers[format.index()]);
    let [websocket, sse, json] = Format::ALL.map(of);
    let total = total(counters, |shard| &shard.connections);
    // The counters are read one after the other: the parts may exceed the whole for a moment.
    let other = total.saturating_sub(websocket + sse + json);
    Connections { total, websocket, sse, json, other }
}
