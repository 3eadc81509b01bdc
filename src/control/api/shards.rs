//! `GET /v1/shards`: what each shard does, in a few numbers.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;

use crate::{
    control::{Plane, reply::reply_json},
    counters::{Counters, SWEEP_BUCKETS_US},
};

#[derive(Serialize)]
struct Shards {
    /// What the counts of sweeps are up to, in microseconds; the last count is of what is above.
    up_to_us: [u64; SWEEP_BUCKETS_US.len()],
    /// In the order of their numbers.
    shards: Vec<Shown>,
}

/// One shard; totals since the start, unless it says "now".
#[derive(Serialize)]
struct Shown {
    shard: usize,
    /// Now.
    connections: u64,
    /// Connections with a full socket, now.
    blocked: u64,
    /// Channels that it is the home of, now.
    channels: u64,
    /// Messages from other shards that wait, now.
    inbox: u64,
    /// Publications that wait in front of it, now.
    waiting: u64,
    publications: u64,
    deliveries: u64,
    delivered_bytes: u64,
    sends: u64,
    turns: u64,
    /// Time that it did not sleep.
    busy_us: u64,
    sweep_us: u64,
    sweeps: [u64; SWEEP_BUCKETS_US.len() + 1],
}

/// Shows each shard.
pub(super) async fn show(State(plane): State<Arc<Plane>>) -> Response {
    let waiting = plane.ingresses.iter().map(|ingress| ingress.waiting() as u64);
    let counters = plane.counters.iter().enumerate().zip(waiting);
    let shards = counters.map(|((shard, counters), waiting)| shown(shard, counters, waiting));
    let shards = Shards { up_to_us: SWEEP_BUCKETS_US, shards: shards.collect() };
    reply_json(StatusCode::OK, &shards)
}

fn shown(shard: usize, counters: &Counters, waiting: u64) -> Shown {
    Shown {
        shard,
        connections: counters.connections.get(),
        blocked: counters.blocked.get(),
        channels: counters.channels.get(),
        inbox: counters.inbox.get(),
        waiting,
        publications: counters.publications.get(),
        deliveries: counters.deliveries.get(),
        delivered_bytes: counters.delivered_bytes.get(),
        sends: counters.sends.get(),
        turns: counters.turns.get(),
        busy_us: counters.busy_us.get(),
        sweep_us: counters.sweep_us.get(),
        sweeps: std::array::from_fn(|bucket| counters.sweep_buckets[bucket].get()),
    }
}
