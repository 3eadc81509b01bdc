//! From a request head to what it asks for and the answer that will grant it.

use super::Rules;
use crate::{
    frame::Format,
    ids::ChannelName,
    wire::{
        handshake,
        http::{HttpError, Request},
        route::{Route, route, write_preflight},
        sse,
    },
};

/// What a request that can be granted leads to, with the bytes that grant it.
pub(super) enum Grant {
    /// Once the subscription is live, send the answer.
    Subscribe { channel: ChannelName, format: Format, answer: Vec<u8> },
    /// Send the answer, then repeat every message.
    Echo { answer: Vec<u8> },
    /// Send the answer and end.
    Preflight { answer: Vec<u8> },
}

/// Decides about one request.
pub(super) fn grant(request: &Request<'_>, rules: &Rules) -> Result<Grant, HttpError> {
    let mut answer = Vec::new();
    match route(request, &rules.allowed_origins, rules.echo)? {
        Route::WebSocket(channel) => {
            handshake::write_accept(&handshake::accept_key(request)?, &mut answer);
            Ok(Grant::Subscribe { channel, format: Format::WebSocket, answer })
        }
        Route::Sse { channel, origin } => {
            sse::write_head(origin, rules.sse_retry, &mut answer);
            Ok(Grant::Subscribe { channel, format: Format::Sse, answer })
        }
        Route::Echo => {
            handshake::write_accept(&handshake::accept_key(request)?, &mut answer);
            Ok(Grant::Echo { answer })
        }
        Route::Preflight { origin } => {
            write_preflight(origin, &mut answer);
            Ok(Grant::Preflight { answer })
        }
    }
}
