//! Answers: text for people, JSON for programs, and refusals that say what would be right.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Map;

use super::{
    Plane, body,
    problem::{Problem, Refused},
};

/// Why a request was refused, and what would be right: one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    /// What programs are told that it is.
    pub(super) problem: Problem,
    /// When to try again, for those that may.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Refusal { status, reason: reason.into(), problem: Problem::of(status), retry_after: None }
    }

    /// 503: the same request may succeed later.
    pub(super) fn later(retry_after: Duration, reason: impl Into<String>) -> Self {
        Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: reason.into(),
            problem: Problem::Busy,
            retry_after: Some(retry_after),
        }
    }

    /// The same as a problem that its status alone does not tell.
    pub(super) fn named(self, problem: Problem) -> Self {
        Refusal { problem, ..self }
    }

    /// The refusal with a body of its own.
    pub(super) fn with_json(&self, json: &impl Serialize) -> Response {
        let mut response = reply_json(self.status, json);
        self.add_retry_after(&mut response);
        let more = serde_json::to_value(json).expect("our answers have only text keys");
        let more = more.as_object().cloned().unwrap_or_default();
        response.extensions_mut().insert(Refused { refusal: self.clone(), more });
        response
    }

    fn add_retry_after(&self, response: &mut Response) {
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds(wait).into());
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = reply_text(self.status, self.reason.clone());
        self.add_retry_after(&mut response);
        response.extensions_mut().insert(Refused { refusal: self, more: Map::new() });
        response
    }
}

/// Whole seconds, at least one, that are not shorter than `wait`.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64
}

pub(super) fn reply_text(status: StatusCode, mut line: String) -> Response {
    line.push('\n');
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], line).into_response()
}

pub(super) fn reply_json(status: StatusCode, json: &impl Serialize) -> Response {
    let mut line = serde_json::to_vec(json).expect("our answers have only text keys");
    line.push(b'\n');
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], Body::from(line)).into_response()
}

/// 404.
pub(super) async fn no_such_path(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&plane, &head, body);
    let reason = "nothing is here; there are POST /publish/{channel} and GET /, /stats, /lag, \
                  /inputs, /channels, /channels/{channel}, /metrics, /healthz, /readyz and \
                  /stentor.js, and what /v1/openapi.json describes (subscribers connect to the other \
                  listener)";
    Refusal::new(StatusCode::NOT_FOUND, reason).into_response()
}

/// 405. The router adds `Allow`.
pub(super) async fn wrong_method(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&plane, &head, body);
    let reason = format!("{} does not work here; use {}", head.method, right_method(&head.uri));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason).into_response()
}

fn right_method(uri: &Uri) -> &'static str {
    match uri.path() {
        path if path.starts_with("/publish") || path.starts_with("/v1/publish") => "POST",
        path if path.starts_with("/v1/") => "what Allow says",
        _ => "GET or HEAD",
    }
}
