//! `GET /healthz` and `GET /readyz`: does the server live, and does every shard turn?
//!
//! Health says that the process answers and no more: a probe that failed for less would have a
//! busy server killed. Readiness proves that every shard turns: it rings each and watches for the
//! turn that follows. A parked shard wakes for that, so a quiet server is ready. A shard that was
//! just about to park does not hear the bell, and finds nothing to do, so it is rung again.
//!
//! An input is waited for until it has read once what its bus had: an edge that is sent subscribers
//! before would give them less history than the others. One that has lost its bus later on leaves the
//! server ready, but is shown. Its subscribers are served what there is, every edge of that bus would
//! be out of service with it, and clients that are turned away gain nothing.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use tokio::time::{Instant, sleep};

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
    /// Shards that did not turn in time.
    stuck: Vec<usize>,
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

/// 200 if every shard turns, every input was ready once and the server is not draining, else 503.
pub(super) async fn ready(State(plane): State<Arc<Plane>>) -> Response {
    let stuck = stuck_shards(&plane).await;
    let draining = plane.is_draining();
    let inputs = inputs(&plane);
    let ready = stuck.is_empty() && !draining && inputs.iter().all(|input| input.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let shards = plane.counters.len();
    reply_json(status, &Readiness { ready, draining, shards, stuck, inputs })
}

fn inputs(plane: &Plane) -> Vec<InputReadiness> {
    let readiness = |(input, state): &(Input, Arc<InputState>)| {
        let InputReport { ready, connected, problem, .. } = state.report();
        InputReadiness { name: input.name.clone(), ready, connected, problem }
    };
    plane.inputs.iter().map(readiness).collect()
}

/// Rings every shard and returns those that had not turned when time was up.
async fn stuck_shards(plane: &Plane) -> Vec<usize> {
    let turns = |shard: usize| plane.counters[shard].turns.get();
    let deadline = Instant::now() + plane.settings().ready_timeout;
    let mut unmoved: Vec<(usize, u64)> = (0..plane.counters.len()).map(|n| (n, turns(n))).collect();
    let mut pause = Duration::from_millis(1);
    loop {
        unmoved.retain(|&(shard, before)| turns(shard) == before);
        if unmoved.is_empty() || Instant::now() >= deadline {
            return unmoved.into_iter().map(|(shard, _)| shard).collect();
        }
        unmoved.iter().for_each(|&(shard, _)| plane.ingresses[shard].wake());
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
