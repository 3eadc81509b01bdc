//! Publications to channels that come from a bus: they go to the bus, so that every edge that reads
//! it gets them, or are refused with a word on where to publish.
//!
//! Lines have no bus that others read, so channels fed by them can be published to here as well.
//!
//! Promises: publications of one request are handed over in their order; what was answered 200 is
//! on the bus, at the position that is answered where the bus says it. Streams of lines take at most
//! half of the places, so single publications find the other half.

use std::{sync::Arc, time::Duration};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use super::{
    Plane, States,
    publish::{draining, stuck},
    publisher::Content,
    reply::{Refusal, reply_json},
};
use crate::{
    ids::{ChannelName, Position},
    inputs::{Forward, Forwards},
    limits::FORWARDS_MAX,
    mesh::Terms,
    policy::Pattern,
};

/// Which channels come from a bus, and the way to one of the buses.
pub(super) struct Forwarder {
    inputs: States,
    /// Of each input that has a bus, its number and what it may feed.
    fed: Vec<(usize, Vec<Pattern>)>,
    /// The input to whose bus publications are taken, and the way there.
    to: Option<(usize, Forwards)>,
    /// Places that streams of lines may still take.
    line_places: Arc<Semaphore>,
}

/// What a bus will say.
pub(super) type Pending = oneshot::Receiver<Result<Option<Position>, String>>;

/// The way of a publication to its bus.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    forwarder: &'a Forwarder,
    forwards: &'a Forwards,
    /// The input's name.
    pub(super) name: &'a str,
}

/// The answer to a publication that is on its bus.
#[derive(Serialize)]
struct Forwarded<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    forwarded: &'a str,
}

impl Forwarder {
    pub(super) fn new(inputs: &States, to: Option<(usize, Forwards)>) -> Self {
        let numbered = inputs.iter().map(|(input, _)| input).enumerate();
        let of_buses = numbered.filter(|(_, input)| input.source.takes_publications());
        let fed = of_buses.map(|(number, input)| (number, input.feeds())).collect();
        let line_places = Arc::new(Semaphore::new(FORWARDS_MAX / 2));
        Forwarder { inputs: Arc::clone(inputs), fed, to, line_places }
    }

    /// The name of the input that publications are taken to.
    pub(super) fn target(&self) -> Option<&str> {
        self.to.as_ref().map(|(number, _)| self.name(*number))
    }

    /// How a publication to this channel goes to its bus. `None`: the channel comes from none.
    pub(super) fn way(&self, channel: &ChannelName) -> Result<Option<Way<'_>>, Refusal> {
        let name = channel.as_str();
        let mut fed_by = self.fed.iter().filter_map(|(number, feeds)| {
            let pattern = feeds.iter().find(|pattern| pattern.matches(name))?;
            Some((*number, pattern))
        });
        let Some((first, pattern)) = fed_by.next() else { return Ok(None) };
        match &self.to {
            Some((number, forwards)) if first == *number || fed_by.any(|(it, _)| it == *number) => {
                Ok(Some(Way { forwarder: self, forwards, name: self.name(*number) }))
            }
            _ => Err(self.conflict(name, first, pattern)),
        }
    }

    fn name(&self, number: usize) -> &str {
        &self.inputs[number].0.name
    }

    /// 409: a publication made here would be seen on this edge alone.
    fn conflict(&self, channel: &str, fed_by: usize, pattern: &Pattern) -> Refusal {
        let (name, pattern) = (self.name(fed_by), pattern.as_str());
        let but = match self.target() {
            Some(target) => format!(" (it is --publish-to {target} now)"),
            None => String::new(),
        };
        Refusal::new(
            StatusCode::CONFLICT,
            format!(
                "channel '{channel}' is fed by the input {name}, as every '{pattern}'; publish to \
                 its bus, or start the server with --publish-to {name}, which takes publications there{but}"
            ),
        )
    }
}

impl Way<'_> {
    /// Takes one publication to the bus, and answers when the bus has it.
    pub(super) async fn publish(
        self,
        plane: &Plane,
        channel: &ChannelName,
        content: Content,
        held: Option<OwnedSemaphorePermit>,
    ) -> Response {
        let answer = async {
            let (forward, pending) = forward(channel, content, held)?;
            self.forwards.try_send(forward).map_err(|why| self.no_place(plane, &why))?;
            self.wait_for(plane, pending).await
        };
        match answer.await {
            Ok(position) => {
                let (channel, forwarded) = (channel.as_str(), self.name);
                let position = position.map(|position| position.to_string());
                reply_json(StatusCode::OK, &Forwarded { channel, position, forwarded })
            }
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Hands over a stream's next line, and waits for a place, for a time.
    pub(super) async fn publish_line(
        self,
        plane: &Plane,
        channel: &ChannelName,
        content: Content,
    ) -> Result<Pending, Refusal> {
        let hand_over = async {
            let place = Arc::clone(&self.forwarder.line_places).acquire_owned().await;
            let place = place.expect("the places of lines are never closed");
            let (forward, pending) = forward(channel, content, Some(place))?;
            let sent = self.forwards.send(forward).await;
            sent.map_err(|_| self.ended(plane)).map(|()| pending)
        };
        match timeout(plane.settings().forward_timeout, hand_over).await {
            Ok(pending) => pending,
            Err(_) => Err(self.late(plane.settings().forward_timeout)),
        }
    }

    /// Waits for the bus, for a time.
    pub(super) async fn wait_for(
        self,
        plane: &Plane,
        pending: Pending,
    ) -> Result<Option<Position>, Refusal> {
        match timeout(plane.settings().forward_timeout, pending).await {
            Ok(Ok(Ok(position))) => Ok(position),
            Ok(Ok(Err(why))) => Err(Refusal::new(
                StatusCode::BAD_GATEWAY,
                format!("the bus of the input {} did not take it: {why}", self.name),
            )),
            Ok(Err(_)) => Err(self.ended(plane)),
            Err(_) => Err(self.late(plane.settings().forward_timeout)),
        }
    }

    fn no_place(self, plane: &Plane, why: &TrySendError<Forward>) -> Refusal {
        match why {
            TrySendError::Full(_) => {
                plane.metrics.refused.inc();
                let reason = format!(
                    "{FORWARDS_MAX} publications wait for the bus of the input {} already; nothing \
                     was published, try again",
                    self.name
                );
                Refusal::later(plane.settings().retry_after, reason)
            }
            TrySendError::Closed(_) => self.ended(plane),
        }
    }

    /// Nobody takes publications to the bus any more.
    fn ended(self, plane: &Plane) -> Refusal {
        if plane.is_draining() {
            return draining(plane);
        }
        let reason = format!(
            "the way to the bus of the input {} has ended; the publication may or may not have \
             reached it (see the log)",
            self.name
        );
        Refusal::new(StatusCode::BAD_GATEWAY, reason)
    }

    fn late(self, waited: Duration) -> Refusal {
        stuck(format!(
            "the bus of the input {} did not answer within {waited:?}; the publication may still \
             go out (see /inputs)",
            self.name
        ))
    }
}

/// What goes to the bus. The payload keeps `held` until nobody has it any more.
fn forward(
    channel: &ChannelName,
    content: Content,
    held: Option<OwnedSemaphorePermit>,
) -> Result<(Forward, Pending), Refusal> {
    let Content { kind, payload, terms, .. } = content;
    let Terms { key, version, idempotency } = terms.map_or_else(Terms::default, |terms| *terms);
    if version.is_some() || idempotency.is_some() {
        let what = if version.is_some() { "a version" } else { "an Idempotency-Key" };
        let reason = format!(
            "the channel is fed by a bus, which has no word for {what}; publish without one"
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, reason));
    }
    let (answer, pending) = oneshot::channel();
    let payload = match held {
        Some(held) => Bytes::from_owner(Held { payload, _held: held }),
        None => payload,
    };
    Ok((Forward { channel: channel.clone(), kind, payload, key, answer }, pending))
}

/// A payload with its share of what is bounded.
struct Held {
    payload: Bytes,
    _held: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}
