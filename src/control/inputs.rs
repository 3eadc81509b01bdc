//! `GET /inputs`: what the server reads from message buses, and how that goes.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::Value;

use super::{Plane, reply::reply_json};
use crate::inputs::{Input, InputReport, InputState, Skip};

#[derive(Serialize)]
struct Inputs<'a> {
    inputs: Vec<Shown<'a>>,
    /// The input to whose bus publications are taken.
    publish_to: Option<&'a str>,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    kind: &'static str,
    /// Without secrets.
    place: String,
    /// The template of the channels.
    channel: &'a str,
    /// Who numbers the channels.
    positions: &'static str,
    connected: bool,
    ready: bool,
    /// What keeps it from its bus.
    problem: Option<String>,
    records: u64,
    bytes: u64,
    /// Records passed over, by reason: those that there were.
    skipped: Value,
    holes: u64,
    reconnects: u64,
    /// Records that the bus has and the input has not read, where that is known.
    lag: Option<u64>,
    last_record_ms: Option<u64>,
}

/// Shows each input.
pub(super) async fn show(State(plane): State<Arc<Plane>>) -> Response {
    let inputs = plane.inputs.iter().map(|(input, state)| shown(input, state)).collect();
    let publish_to = plane.forwarder.target();
    reply_json(StatusCode::OK, &Inputs { inputs, publish_to })
}

fn shown<'a>(input: &'a Input, state: &InputState) -> Shown<'a> {
    let report = state.report();
    Shown {
        name: &input.name,
        kind: input.source.kind(),
        place: input.source.place(),
        channel: input.mapping.channel.as_str(),
        positions: if input.numbered_by_bus { "bus" } else { "local" },
        connected: report.connected,
        ready: report.ready,
        records: report.records,
        bytes: report.bytes,
        skipped: skipped(&report),
        holes: report.holes,
        reconnects: report.reconnects,
        lag: report.lag,
        last_record_ms: report.last_record_ms,
        problem: report.problem,
    }
}

fn skipped(report: &InputReport) -> Value {
    let reasons = Skip::ALL.iter().zip(report.skipped).filter(|(_, count)| *count > 0);
    reasons.map(|(reason, count)| (reason.label().to_owned(), Value::from(count))).collect()
}
