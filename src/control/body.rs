//! Reading what a client uploads: never more than allowed, never for longer than allowed.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{StatusCode, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{Plane, reply::Refusal};
use crate::limits::{DISCARD_BYTES_MAX, DISCARD_SECONDS_MAX};

/// A payload in memory, and its share of the memory for payloads.
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

/// Reads a whole body as one payload. One that says it is too long is refused unread.
pub(super) async fn read_payload(plane: &Plane, body: &mut Body) -> Result<Payload, Refusal> {
    let publication_max = plane.settings().publication_max;
    if body.size_hint().lower() > publication_max as u64 {
        return Err(too_long(publication_max));
    }
    let mut payload = Payload { bytes: Bytes::new(), memory: None };
    let mut joined = BytesMut::new();
    while let Some(piece) = next_piece(body, plane.settings().body_timeout).await? {
        if payload.bytes.len() + joined.len() + piece.len() > publication_max {
            return Err(too_long(publication_max));
        }
        payload.take_memory(plane, piece.len())?;
        // Most payloads come in one piece, which is kept as it is.
        if payload.bytes.is_empty() && joined.is_empty() {
            payload.bytes = piece;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut payload.bytes));
            joined.extend_from_slice(&piece);
        }
    }
    if !joined.is_empty() {
        payload.bytes = joined.freeze();
    }
    Ok(payload)
}

impl Payload {
    fn take_memory(&mut self, plane: &Plane, bytes: usize) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&plane.payload_memory).try_acquire_many_owned(bytes) else {
            let reason = "the memory for payloads is all in use; try again later";
            return Err(Refusal::later(plane.settings().retry_after, reason));
        };
        match &mut self.memory {
            Some(memory) => memory.merge(more),
            None => self.memory = Some(more),
        }
        Ok(())
    }
}

pub(super) fn too_long(publication_max: usize) -> Refusal {
    let reason = format!("the payload is longer than {publication_max} bytes, the limit here");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
}

/// The next bytes of a body, or `None` after the last.
pub(super) async fn next_piece(body: &mut Body, idle: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let Ok(frame) = timeout(idle, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await
        else {
            let reason = format!("nothing came for {idle:?}; send the body without such pauses");
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, reason));
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                let reason = format!("the body is broken: {error}");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, reason));
            }
            // What is no bytes is trailers, which mean nothing here.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(_trailers) => {}
            },
        }
    }
}

/// Reads on, within bounds, what a refused client is still sending, while it gets its answer.
///
/// A client that asked whether it may send (`Expect: 100-continue`) is not sending yet, and
/// reading would tell it to begin.
pub(super) fn discard(plane: &Plane, head: &Parts, mut body: Body) {
    if body.is_end_stream() || head.headers.contains_key(header::EXPECT) {
        return;
    }
    let idle = plane.settings().body_timeout;
    let deadline = Instant::now() + Duration::from_secs(DISCARD_SECONDS_MAX);
    tokio::spawn(timeout_at(deadline, async move {
        let mut discarded = 0;
        while let Ok(Some(piece)) = next_piece(&mut body, idle).await {
            discarded += piece.len();
            if discarded > DISCARD_BYTES_MAX {
                return;
            }
        }
    }));
}
