//! `POST /publish/{channel}`: one publication, or one per line, and the positions they were given.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    Plane, body, lines,
    publisher::Pending,
    reply::{Refusal, reply_json},
};
use crate::{
    ids::ChannelName,
    mesh::{Accepted, Answer, Rejected},
};

#[derive(Serialize)]
struct Published<'a> {
    channel: &'a str,
    position: String,
    subscribers: u64,
}

/// Publishes what the request brings, and answers when its home shard has.
pub(super) async fn publish(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let response = match admit(&plane, &head) {
        Ok((channel, Shape::Lines)) => lines::publish(&plane, channel, &mut body).await,
        Ok((channel, Shape::Whole)) => publish_whole(&plane, &channel, &mut body).await,
        Err(refusal) => refusal.into_response(),
    };
    body::discard(&plane, &head, body);
    response
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    Lines,
}

fn admit(plane: &Plane, head: &Parts) -> Result<(ChannelName, Shape), Refusal> {
    if plane.is_draining() {
        return Err(draining(plane));
    }
    Ok((channel_of(&head.uri)?, shape_of(&head.uri)?))
}

/// The channel is the rest of the path, slashes and all, percent-decoded once.
fn channel_of(uri: &Uri) -> Result<ChannelName, Refusal> {
    let path = uri.path();
    let name = path.strip_prefix("/publish/").unwrap_or("");
    ChannelName::decode(name).map_err(|error| {
        let reason = format!("{error} (the path is /publish/{{channel}}, as in /publish/news)");
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    })
}

fn shape_of(uri: &Uri) -> Result<Shape, Refusal> {
    match uri.query().unwrap_or("") {
        "" => Ok(Shape::Whole),
        "lines" | "lines=" | "lines=1" | "lines=true" => Ok(Shape::Lines),
        _ => {
            let reason = "the only parameter is ?lines, which publishes every line of the body";
            Err(Refusal::new(StatusCode::BAD_REQUEST, reason))
        }
    }
}

async fn publish_whole(plane: &Plane, channel: &ChannelName, body: &mut Body) -> Response {
    match try_publish_whole(plane, channel, body).await {
        Ok(Accepted { position, subscribers, .. }) => {
            let channel = channel.as_str();
            let published = Published { channel, position: position.to_string(), subscribers };
            reply_json(StatusCode::OK, &published)
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_publish_whole(
    plane: &Plane,
    channel: &ChannelName,
    body: &mut Body,
) -> Result<Accepted, Refusal> {
    let payload = body::read_payload(plane, body).await?;
    let Ok(pending) = plane.publisher.publish(channel, payload.bytes, payload.memory) else {
        plane.metrics.refused.inc();
        let reason = "the queue of the channel's shard is full; nothing was published, try again";
        return Err(Refusal::later(plane.settings.retry_after, reason));
    };
    plane.publisher.wake(plane.publisher.home(channel));
    wait_for(plane, pending).await
}

/// Waits for a shard's answer, for a time.
pub(super) async fn wait_for(plane: &Plane, pending: Pending) -> Result<Accepted, Refusal> {
    let answer_timeout = plane.settings.answer_timeout;
    match timeout(answer_timeout, pending).await {
        Ok(Ok(Answer { outcome: Ok(accepted), .. })) => Ok(accepted),
        Ok(Ok(Answer { outcome: Err(rejected), .. })) => Err(rejection(rejected)),
        Ok(Err(_)) => unreachable!("a waiter is dropped only after it was told its answer"),
        Err(_) => Err(stuck(format!(
            "the channel's shard did not answer within {answer_timeout:?}; the publication may \
             still go out (see /readyz)"
        ))),
    }
}

/// Why the home shard did not publish.
fn rejection(rejected: Rejected) -> Refusal {
    let status = match rejected {
        Rejected::Stale(_) => StatusCode::CONFLICT,
        Rejected::TooManyKeys | Rejected::TooManyChannels => StatusCode::SERVICE_UNAVAILABLE,
        Rejected::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Rejected::JournalFailed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, rejected.to_string())
}

/// 504: the shard does not answer.
pub(super) fn stuck(reason: String) -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, reason)
}

/// 503: the server is about to go.
pub(super) fn draining(plane: &Plane) -> Refusal {
    let reason = "the server is draining; publish to another one, or to its successor";
    Refusal::later(plane.settings.retry_after, reason)
}
