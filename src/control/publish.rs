//! `POST /publish/{channel}`: one publication, or one per line, and the positions they were given.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Plane,
    body::{self, Payload},
    entitle,
    forward::Way,
    lines,
    problem::Problem,
    publisher::{Content, Pending},
    reply::{Refusal, reply_json},
    terms::{Wish, content},
};
use crate::{
    ids::ChannelName,
    mesh::{Accepted, Answer, Rejected, Terms},
    spans::Begun,
};

#[derive(Serialize)]
struct Published<'a> {
    channel: &'a str,
    position: String,
    subscribers: u64,
    #[serde(skip_serializing_if = "is_false")]
    repeated: bool,
}

fn is_false(truth: &bool) -> bool {
    !truth
}

/// Publishes what the request brings, and answers when its home shard has.
pub(super) async fn publish(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let response = match admit(&plane, &head) {
        Ok((channel, way, Wish::Lines { is_json })) => {
            lines::publish(&plane, &head, (channel, way), is_json, &mut body).await
        }
        Ok((channel, Some(way), Wish::Whole { is_json, terms })) => {
            match read_content(&plane, is_json, terms, &mut body).await {
                Ok((content, held)) => way.publish(&plane, &channel, content, held).await,
                Err(refusal) => refusal.into_response(),
            }
        }
        Ok((channel, None, Wish::Whole { is_json, terms })) => {
            let span = plane.follow(&head.headers);
            publish_whole(&plane, &channel, (is_json, terms, span), &mut body).await
        }
        Err(refusal) => refusal.into_response(),
    };
    body::discard(&plane, &head, body);
    response
}

type Admitted<'a> = (ChannelName, Option<Way<'a>>, Wish);

fn admit<'a>(plane: &'a Plane, head: &Parts) -> Result<Admitted<'a>, Refusal> {
    if plane.is_draining() {
        return Err(draining(plane));
    }
    let channel = channel_of(&head.uri)?;
    entitle::may_publish(plane, &head.extensions, &channel)?;
    let wish = Wish::of(head)?;
    if let Wish::Whole { .. } = wish {
        entitle::pace(plane, &head.extensions)?;
    }
    let way = plane.forwarder.way(&channel)?;
    Ok((channel, way, wish))
}

/// The channel is the rest of the path, slashes and all, percent-decoded once.
fn channel_of(uri: &Uri) -> Result<ChannelName, Refusal> {
    let path = uri.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let name = path.strip_prefix("/publish/").unwrap_or("");
    ChannelName::decode(name).map_err(|error| {
        let reason = format!("{error} (the path is /publish/{{channel}}, as in /publish/news)");
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    })
}

/// What is asked of one publication: whether it is JSON, its terms, and what follows it.
type Whole = (bool, Option<Box<Terms>>, Option<Box<Begun>>);

async fn publish_whole(
    plane: &Plane,
    channel: &ChannelName,
    wish: Whole,
    body: &mut Body,
) -> Response {
    match try_publish_whole(plane, channel, wish, body).await {
        Ok(Accepted { position, subscribers, repeated }) => {
            let (channel, position) = (channel.as_str(), position.to_string());
            reply_json(StatusCode::OK, &Published { channel, position, subscribers, repeated })
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_publish_whole(
    plane: &Plane,
    channel: &ChannelName,
    (is_json, terms, span): Whole,
    body: &mut Body,
) -> Result<Accepted, Refusal> {
    let (mut content, memory) = read_content(plane, is_json, terms, body).await?;
    content.span = span;
    let Ok(pending) = plane.publisher.publish(channel, content, memory) else {
        plane.metrics.refused.inc();
        let reason = "the queue of the channel's shard is full; nothing was published, try again";
        return Err(Refusal::later(plane.settings().retry_after, reason));
    };
    plane.publisher.wake(plane.publisher.home(channel));
    wait_for(plane, pending).await?.map_err(|rejected| rejection(plane, rejected))
}

/// Reads the payload, with its share of the memory for payloads.
async fn read_content(
    plane: &Plane,
    is_json: bool,
    terms: Option<Box<Terms>>,
    body: &mut Body,
) -> Result<(Content, Option<OwnedSemaphorePermit>), Refusal> {
    let Payload { bytes, memory } = body::read_payload(plane, body).await?;
    let content = content(bytes, is_json, terms).map_err(|why| why.refusal("the payload"))?;
    Ok((content, memory))
}

/// Waits for a shard's answer, for a time.
pub(super) async fn wait_for(
    plane: &Plane,
    pending: Pending,
) -> Result<Result<Accepted, Rejected>, Refusal> {
    let answer_timeout = plane.settings().answer_timeout;
    match timeout(answer_timeout, pending).await {
        Ok(Ok(Answer { outcome, .. })) => Ok(outcome),
        Ok(Err(_)) => unreachable!("a waiter is dropped only after it was told its answer"),
        Err(_) => Err(stuck(format!(
            "the channel's shard did not answer within {answer_timeout:?}; the publication may \
             still go out (see /readyz)"
        ))),
    }
}

/// Why the home shard did not publish.
pub(super) fn rejection(plane: &Plane, rejected: Rejected) -> Refusal {
    let reason = rejected.to_string();
    match rejected {
        Rejected::Stale(_) | Rejected::FedByBus => Refusal::new(StatusCode::CONFLICT, reason),
        Rejected::TooManyKeys | Rejected::TooManyChannels => {
            Refusal::later(plane.settings().retry_after, reason)
        }
        Rejected::DiskFull => Refusal::new(StatusCode::INSUFFICIENT_STORAGE, reason),
        Rejected::JournalFailed => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason),
        Rejected::HandedOver => draining(plane),
    }
}

/// 504: the shard does not answer.
pub(super) fn stuck(reason: String) -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, reason)
}

/// 503: the server is about to go.
pub(super) fn draining(plane: &Plane) -> Refusal {
    let (wait, reason) = match plane.has_successor() {
        true => (Duration::ZERO, "the server has a successor; connect again, and publish there"),
        false => (
            plane.settings().retry_after,
            "the server is draining; publish to another one, or to its successor",
        ),
    };
    Refusal::later(wait, reason).named(Problem::Draining)
}
