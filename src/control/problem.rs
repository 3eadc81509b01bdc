//! What is wrong with a request, as the API says it: `application/problem+json` (RFC 9457).
//!
//! Every refusal is a line of text that says what would be right. Below `/v1` it becomes a problem with
//! that text as its detail and a type that programs can tell apart; the types are listed in
//! docs/operations.md, and are never given another meaning.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use serde_json::{Map, Value, json};

use super::reply::Refusal;

/// What is wrong. Each has a type of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    NoSuchChannel,
    NoSuchConnection,
    NoSuchShard,
    MethodNotAllowed,
    Timeout,
    Conflict,
    TooLarge,
    Misdirected,
    Invalid,
    TooManyRequests,
    Internal,
    BusRefused,
    Busy,
    Draining,
    Stuck,
    DiskFull,
}

impl Problem {
    /// All of them, for the test that holds the documents to them.
    #[cfg(test)]
    pub(super) const ALL: [Problem; 20] = [
        Problem::BadRequest,
        Problem::Unauthorized,
        Problem::Forbidden,
        Problem::NotFound,
        Problem::NoSuchChannel,
        Problem::NoSuchConnection,
        Problem::NoSuchShard,
        Problem::MethodNotAllowed,
        Problem::Timeout,
        Problem::Conflict,
        Problem::TooLarge,
        Problem::Misdirected,
        Problem::Invalid,
        Problem::TooManyRequests,
        Problem::Internal,
        Problem::BusRefused,
        Problem::Busy,
        Problem::Draining,
        Problem::Stuck,
        Problem::DiskFull,
    ];

    /// What a status means where nothing more is said.
    pub(super) fn of(status: StatusCode) -> Problem {
        match status {
            StatusCode::UNAUTHORIZED => Problem::Unauthorized,
            StatusCode::FORBIDDEN => Problem::Forbidden,
            StatusCode::NOT_FOUND => Problem::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Problem::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Problem::Timeout,
            StatusCode::CONFLICT => Problem::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge,
            StatusCode::MISDIRECTED_REQUEST => Problem::Misdirected,
            StatusCode::UNPROCESSABLE_ENTITY => Problem::Invalid,
            StatusCode::TOO_MANY_REQUESTS => Problem::TooManyRequests,
            StatusCode::BAD_GATEWAY => Problem::BusRefused,
            StatusCode::SERVICE_UNAVAILABLE => Problem::Busy,
            StatusCode::GATEWAY_TIMEOUT => Problem::Stuck,
            StatusCode::INSUFFICIENT_STORAGE => Problem::DiskFull,
            status if status.is_server_error() => Problem::Internal,
            _ => Problem::BadRequest,
        }
    }

    /// The end of its type, and what it is in a few words.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Problem::BadRequest => ("bad-request", "The request cannot be understood"),
            Problem::Unauthorized => ("unauthorized", "A key or token is missing or not valid"),
            Problem::Forbidden => ("forbidden", "This may not be done from here, or by this key"),
            Problem::NotFound => ("not-found", "There is no such path"),
            Problem::NoSuchChannel => ("no-such-channel", "There is no such channel now"),
            Problem::NoSuchConnection => ("no-such-connection", "The connection is gone"),
            Problem::NoSuchShard => ("no-such-shard", "There is no shard of this number"),
            Problem::MethodNotAllowed => ("method-not-allowed", "The path has no such method"),
            Problem::Timeout => ("timeout", "The request took too long to come"),
            Problem::Conflict => ("conflict", "What is there forbids it"),
            Problem::TooLarge => ("too-large", "The payload is too large"),
            Problem::Misdirected => ("misdirected", "The listener is not called by this name"),
            Problem::Invalid => ("invalid", "It was understood and cannot be applied"),
            Problem::TooManyRequests => ("too-many-requests", "Too many requests"),
            Problem::Internal => ("internal", "The server failed"),
            Problem::BusRefused => ("bus-refused", "The bus did not take it"),
            Problem::Busy => ("busy", "The server has no room for it now"),
            Problem::Draining => ("draining", "The server is going away"),
            Problem::Stuck => ("stuck", "A part of the server did not answer in time"),
            Problem::DiskFull => ("disk-full", "The journal's disk is full"),
        }
    }

    /// Its type.
    pub(super) fn uri(self) -> String {
        format!("urn:stentor:problem:{}", self.words().0)
    }
}

/// A refusal that went out as text, kept with its answer, and what else the answer told.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) more: Map<String, Value>,
}

impl Refused {
    /// The members of the problem.
    pub(super) fn json(&self) -> Value {
        let Refusal { status, problem, reason, .. } = &self.refusal;
        let mut json = json!({
            "type": problem.uri(),
            "title": problem.words().1,
            "status": status.as_u16(),
            "detail": reason,
        });
        let more = self.more.iter().filter(|(name, _)| *name != "error");
        more.for_each(|(name, value)| json[name] = value.clone());
        json
    }
}

/// Turns refusals into problems where the API is asked.
pub(super) async fn translate(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_api = path == "/v1" || path.starts_with("/v1/");
    let mut response = next.run(request).await;
    let Some(refused) = response.extensions_mut().remove::<Refused>().filter(|_| is_api) else {
        return response;
    };
    let mut text = refused.json().to_string();
    text.push('\n');
    let (mut head, _) = response.into_parts();
    let kind = HeaderValue::from_static("application/problem+json");
    head.headers.insert(header::CONTENT_TYPE, kind);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(text))
}
