//! `GET /healthz` and `GET /readyz`: does the server live, and does every shard deliver?
//!
//! Health says that the process answers and no more: a probe that failed for less would have a
//! busy server killed. Readiness proves delivery: a publication of the server's own reaches a witness
//! on every shard in time (see `probe`), or the shard that stands in its way is named. A parked shard
//! wakes for that, so a quiet server is ready.
//!
//! An input is waited for until it has read once what its bus had: an edge that is sent subscribers
//! before would give them less history than the others. One that has lost its bus later on leaves the
//! server ready, but is shown. Its subscribers are served what there is, every edge of that bus would
//! be out of service with it, and clients that are turned away gain nothing.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;

use super::{
    Plane,
    reply::{reply_json, reply_text},
};
use crate::inputs::{Input, InputReport, InputState};

/// 200 while the process lives.
pub(super) async fn health() -> Response {
    reply_text(StatusCode::OK, "ok".into())
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    draining: bool,
    shards: usize,
    /// Shards that did not turn, take or deliver in time.
    stuck: Vec<usize>,
    /// A sentence about each of those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// Every input, where there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<InputReadiness>,
}

#[derive(Serialize)]
struct InputReadiness {
    name: Box<str>,
    ready: bool,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// 200 if every shard delivers, every input was ready once and the server is not draining, else 503.
pub(super) async fn ready(State(plane): State<Arc<Plane>>) -> Response {
    // Shards that have drained are gone, and turned away is whoever asks in any case.
    let faults =
        if plane.is_draining() { Arc::from([]) } else { plane.prober.faults(&plane).await };
    let draining = plane.is_draining();
    let inputs = inputs(&plane);
    let ready = faults.is_empty() && !draining && inputs.iter().all(|input| input.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let shards = plane.counters.len();
    let stuck = faults.iter().map(|fault| fault.shard).collect();
    let problems = faults.iter().map(ToString::to_string).collect();
    reply_json(status, &Readiness { ready, draining, shards, stuck, problems, inputs })
}

fn inputs(plane: &Plane) -> Vec<InputReadiness> {
    let readiness = |(input, state): &(Input, Arc<InputState>)| {
        let InputReport { ready, connected, problem, .. } = state.report();
        InputReadiness { name: input.name.clone(), ready, connected, problem }
    };
    plane.inputs.iter().map(readiness).collect()
}
