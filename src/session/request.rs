//! From a request head to what it asks for and the answer that will grant it.

use std::{sync::Arc, time::Duration};

use super::{Rules, commands::Conversation, module, poll::Poll, streams::Streams};
use crate::{
    access::{Bearer, Fault, Grants, Refused, may_subscribe},
    frame::Format,
    ids::{ChannelName, Tick},
    resume::{Begun, Start},
    wire::{
        handshake,
        http::{HttpError, Request, begun_headers},
        route::{Route, route, write_preflight},
        sse,
        token::token,
    },
};

/// What a request that can be granted leads to, with the bytes that grant it.
pub(super) enum Grant {
    /// Once the subscription is live, send the answer.
    Subscribe { channel: ChannelName, start: Start, answer: Answer },
    /// Send the answer, then take commands.
    Commands { answer: Vec<u8>, talk: Box<Conversation> },
    /// Once all subscriptions are live, send the answer.
    Streams(Box<Streams>),
    /// Once there is something, or it is time, send the answer.
    Poll { channel: ChannelName, start: Start, poll: Box<Poll> },
    /// Send the answer, then repeat every message.
    Echo { answer: Vec<u8> },
    /// Send the answer and end.
    Whole { answer: Vec<u8> },
}

/// The answer to a request for one channel, up to what its beginning will say.
#[derive(Debug)]
pub(super) enum Answer {
    /// A WebSocket, with its accept key.
    WebSocket { accept_key: String, asked: bool },
    /// An event stream, for this page.
    Sse { origin: Option<String>, asked: bool },
}

impl Answer {
    pub(super) fn format(&self) -> Format {
        match self {
            Answer::WebSocket { .. } => Format::WebSocket,
            Answer::Sse { .. } => Format::Sse,
        }
    }

    pub(super) fn write(
        &self,
        channel: &ChannelName,
        begun: &Begun,
        retry: Duration,
        out: &mut Vec<u8>,
    ) {
        match self {
            Answer::WebSocket { accept_key, asked } => {
                handshake::write_accept(accept_key, &begun_headers(begun, *asked), out);
            }
            Answer::Sse { origin, asked } => {
                sse::write_head(origin.as_deref(), &begun_headers(begun, *asked), out);
                let id = begun.position.to_string();
                let gap = begun.gap.as_ref();
                sse::write_first(retry, Some(&*id).filter(|_| gap.is_none()), out);
                if let Some(gap) = gap {
                    sse::write_gap("gap", Some(&id), channel, gap, out);
                }
            }
        }
    }
}

/// Why a request is refused.
pub(super) struct Denied {
    /// What the peer is told.
    pub error: HttpError,
    /// What the operator is told, where it is about a token.
    pub refused: Option<Refused>,
    /// The page that may read the answer.
    pub origin: Option<String>,
}

impl From<HttpError> for Denied {
    fn from(error: HttpError) -> Self {
        Denied { error, refused: None, origin: None }
    }
}

/// Decides about one request, and with what token it came.
pub(super) fn grant(
    request: &Request<'_>,
    now: Tick,
    rules: &Rules,
) -> Result<(Grant, Option<Bearer>), Denied> {
    let route = route(request, &rules.allowed_origins, rules.echo)?;
    let bearer = match admit(request, &route, now, rules)? {
        Ok(bearer) => bearer,
        Err(why) => {
            rules.access.tally().count(why);
            let origin = request.only("Origin")?.map(str::to_owned);
            return Err(Denied { error: http_error(why, rules), refused: Some(why), origin });
        }
    };
    let grants = bearer.as_ref().map(|bearer| Arc::clone(&bearer.grants));
    Ok((grant_route(request, route, grants, rules)?, bearer))
}

/// Whether a request may have what it asks for, with the token that it shows. What a conversation
/// begins with is judged channel by channel, and by the conversation.
fn admit(
    request: &Request<'_>,
    route: &Route<'_>,
    now: Tick,
    rules: &Rules,
) -> Result<Result<Option<Bearer>, Refused>, HttpError> {
    let access = &rules.access;
    let channels: Vec<&ChannelName> = match route {
        Route::WebSocket(channel, _) | Route::Sse { channel, .. } => vec![channel],
        Route::Poll(asked) => vec![&asked.channel],
        Route::Streams { channels, .. } => channels.iter().map(|(channel, _)| channel).collect(),
        Route::Commands(_) => Vec::new(),
        Route::Echo | Route::ClientModule { .. } | Route::Preflight { .. } => return Ok(Ok(None)),
    };
    let token = if access.takes_tokens() { token(request)? } else { None };
    let verified = token.map(|token| access.verify(&token, rules.seconds(now))).transpose();
    Ok(verified.and_then(|grants| {
        let may = |channel| may_subscribe(&rules.policies, channel, grants.as_deref());
        channels.into_iter().try_for_each(may)?;
        grants.map(|grants| access.enter(grants)).transpose()
    }))
}

fn http_error(why: Refused, rules: &Rules) -> HttpError {
    match why.fault() {
        Fault::Unauthorized => HttpError::Unauthorized,
        Fault::Forbidden => HttpError::Forbidden,
        Fault::TooMany => HttpError::TooManyConnections { retry_after: rules.retry_after },
    }
}

fn grant_route(
    request: &Request<'_>,
    route: Route<'_>,
    grants: Option<Arc<Grants>>,
    rules: &Rules,
) -> Result<Grant, HttpError> {
    let mut answer = Vec::new();
    match route {
        Route::WebSocket(channel, start) => {
            let (accept_key, asked) = (handshake::accept_key(request)?, is_asked(start));
            let answer = Answer::WebSocket { accept_key, asked };
            Ok(Grant::Subscribe { channel, start, answer })
        }
        Route::Commands(channels) => {
            let protocol = format!("Sec-WebSocket-Protocol: {}\r\n", handshake::SUBPROTOCOL);
            handshake::write_accept(&handshake::accept_key(request)?, &protocol, &mut answer);
            let talk = Box::new(Conversation::new(channels, grants, rules, &mut answer));
            Ok(Grant::Commands { answer, talk })
        }
        Route::Sse { channel, start, origin } => {
            let (origin, asked) = (origin.map(str::to_owned), is_asked(start));
            let answer = Answer::Sse { origin, asked };
            Ok(Grant::Subscribe { channel, start, answer })
        }
        Route::Streams { channels, origin } => {
            Ok(Grant::Streams(Box::new(Streams::new(channels, origin))))
        }
        Route::Poll(asked) => {
            let poll = Box::new(Poll::new(&asked, rules.poll_timeout_max));
            Ok(Grant::Poll { channel: asked.channel, start: asked.start, poll })
        }
        Route::Echo => {
            handshake::write_accept(&handshake::accept_key(request)?, "", &mut answer);
            Ok(Grant::Echo { answer })
        }
        Route::ClientModule { known } => {
            module::write(known, &mut answer);
            Ok(Grant::Whole { answer })
        }
        Route::Preflight { origin } => {
            write_preflight(origin, &mut answer);
            Ok(Grant::Whole { answer })
        }
    }
}

/// Whether the client is to be told if everything missed was recovered.
pub(super) fn is_asked(start: Start) -> bool {
    matches!(start, Start::Since(_))
}
