//! `/v1/drain`, `/v1/reload` and `/v1/log-level`: what the server itself is ordered to do.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::timeout};

use super::query::{Query, bad};
use crate::{
    control::{
        Plane, body,
        publish::stuck,
        reply::{Refusal, reply_json},
    },
    orders::{Draining, Order},
    report::Reply,
};

#[derive(Serialize)]
struct Log {
    filter: String,
    /// What it was until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    filter: String,
}

/// Begins to drain, and tells what is left.
pub(super) async fn drain(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let outcome = try_drain(&plane, &head.uri).await;
    body::discard(&plane, &head, body);
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn try_drain(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let right = format!("whole seconds from 0 to {WINDOW_SECONDS_MAX}");
    let window = Query::of(uri, &["window"])?.read("window", &right, |text| {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: u64 = text.parse().ok().filter(|_| is_digits)?;
        (seconds <= WINDOW_SECONDS_MAX).then_some(Duration::from_secs(seconds))
    })?;
    let draining: Draining = order(plane, |reply| Order::Drain { window, reply }).await?;
    Ok(reply_json(StatusCode::ACCEPTED, &draining))
}

/// Reads settings and files again, and tells what became of each.
pub(super) async fn reload(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let outcome = try_reload(&plane, &head.uri).await;
    body::discard(&plane, &head, body);
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn try_reload(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    super::takes_no_parameters(uri)?;
    let reloaded = order(plane, Order::Reload).await?;
    Ok(reply_json(StatusCode::OK, &reloaded.map_err(invalid)?))
}

/// What is logged.
pub(super) async fn log(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    try_log(&plane, request.uri()).await.unwrap_or_else(IntoResponse::into_response)
}

async fn try_log(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    super::takes_no_parameters(uri)?;
    let filter = order(plane, Order::Filter).await?;
    Ok(reply_json(StatusCode::OK, &Log { filter, before: None }))
}

/// Sets what is logged, until the next reload.
pub(super) async fn set_log(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let outcome = try_set_log(&plane, &head, &mut body).await;
    body::discard(&plane, &head, body);
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn try_set_log(plane: &Plane, head: &Parts, body: &mut Body) -> Result<Response, Refusal> {
    super::takes_no_parameters(&head.uri)?;
    let payload = body::read_payload(plane, body).await?;
    let wish: Filter = serde_json::from_slice(&payload.bytes).map_err(|why| {
        bad(format!("the body is no filter: {why}; write one like {{\"filter\":\"info\"}}"))
    })?;
    if !is_filter(&wish.filter) {
        return Err(invalid(format!(
            "'{}' is no filter; write a level (off, error, warn, info, debug, trace), or parts with \
             theirs and commas between, as in info,stentor::shard=debug; at most {DIRECTIVES_MAX}",
            wish.filter.chars().take(100).collect::<String>()
        )));
    }
    let filter = wish.filter.clone();
    let before = order(plane, |reply| Order::Log { filter, reply }).await?.map_err(invalid)?;
    Ok(reply_json(StatusCode::OK, &Log { filter: wish.filter, before: Some(before) }))
}

/// Whether it is levels, and levels of parts. What else a filter can hold is left to the setting.
fn is_filter(text: &str) -> bool {
    let is_level = |text: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&text);
    let is_part = |text: &str| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
        (1..=PART_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_fine)
    };
    let is_directive = |text: &str| match text.split_once('=') {
        Some((part, level)) => is_part(part) && is_level(level),
        None => is_level(text),
    };
    text.split(',').count() <= DIRECTIVES_MAX && text.split(',').all(is_directive)
}

/// 422: it was understood, and would be wrong.
fn invalid(why: String) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

/// Gives an order and waits until it was carried out, for a time.
async fn order<T: Send + 'static>(
    plane: &Plane,
    order: impl FnOnce(Reply<T>) -> Order,
) -> Result<T, Refusal> {
    let settings = plane.settings();
    let (answer, pending) = oneshot::channel();
    // Whoever ordered may have gone; then the answer is nobody's.
    let order = order(Box::new(move |answered| drop(answer.send(answered))));
    if plane.orders.give(order).is_err() {
        let reason = "as many orders wait as may; try again later";
        return Err(Refusal::later(settings.retry_after, reason));
    }
    match timeout(settings.answer_timeout, pending).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => {
            let reason = "the server ended before it answered";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason))
        }
        Err(_) => {
            let wait = settings.answer_timeout;
            Err(stuck(format!("the order was not carried out within {wait:?}, and still may be")))
        }
    }
}

/// As the setting `drain` allows.
const WINDOW_SECONDS_MAX: u64 = 3600;
/// Parts of a log filter, and bytes in the name of each.
const DIRECTIVES_MAX: usize = 32;
const PART_BYTES_MAX: usize = 64;
