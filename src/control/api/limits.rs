//! `GET /v1/limits`: every limit that can be set, what it is now, and how much of it is used.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;

use crate::control::{Plane, reply::reply_json, stats::total};

/// A setting that bounds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The setting's name.
    pub name: &'static str,
    /// As an operator would write it.
    pub value: String,
    /// The same as a number, in bytes where it is a size; `None` where it is neither.
    pub max: Option<u64>,
    /// What it bounds, and what befalls what is above it.
    pub help: &'static str,
}

#[derive(Serialize)]
struct Limits<'a> {
    limits: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    value: &'a str,
    max: Option<u64>,
    /// How much of it is used now, where that is known; of what is per shard, by the one that uses most.
    used: Option<u64>,
    help: &'a str,
}

/// Shows them: first those that are settings.
pub(super) async fn show(State(plane): State<Arc<Plane>>) -> Response {
    let set = plane.limits.get();
    let fixed = fixed(&plane);
    let shown = |limit: &'_ Limit| (limit.clone(), used(&plane, limit.name));
    let all: Vec<(Limit, Option<u64>)> = set.iter().map(shown).chain(fixed).collect();
    let limits = all.iter().map(|(limit, used)| {
        let Limit { name, value, max, help } = limit;
        Shown { name, value, max: *max, used: *used, help }
    });
    reply_json(StatusCode::OK, &Limits { limits: limits.collect() })
}

/// How much of a setting is used.
fn used(plane: &Plane, name: &str) -> Option<u64> {
    match name {
        "max-connections" => Some(total(&plane.counters, |shard| &shard.connections)),
        "channels-max" => Some(total(&plane.counters, |shard| &shard.channels)),
        "publish-queue" => plane.ingresses.iter().map(|ingress| ingress.waiting() as u64).max(),
        "inbox" => plane.counters.iter().map(|shard| shard.inbox.get()).max(),
        _ => None,
    }
}

/// Those of the control listener, which are not settings.
fn fixed(plane: &Plane) -> [(Limit, Option<u64>); 2] {
    let limit = |name, max: usize, left: usize, help| {
        let limit = Limit { name, value: max.to_string(), max: Some(max as u64), help };
        (limit, Some(max.saturating_sub(left) as u64))
    };
    let settings = plane.settings();
    [
        limit(
            "control-payload-memory",
            settings.payload_memory_max,
            plane.payload_memory.available_permits(),
            "Bytes of payloads that the control listener is reading, or that await their answer; \
             one more is answered 503.",
        ),
        limit(
            "control-line-streams",
            settings.line_streams_max,
            plane.line_streams.available_permits(),
            "Streams of lines at a time; one more is answered 503.",
        ),
    ]
}
