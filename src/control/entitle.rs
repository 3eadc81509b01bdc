//! Who may do what at the control listener: keys of the API by their scopes, tokens by their claims.
//!
//! The page, its module and what probes ask are for everybody. Where the listener is reached from this
//! machine alone and no key was set, so is everything else.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{Plane, Settings, reply::Refusal};
use crate::{
    access::{Access, Grants, Refused, Scope},
    ids::ChannelName,
    logs::limited,
};

/// Who asks: somebody with a token, whose claims say where they may publish, or somebody who may
/// publish everywhere.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<Arc<Grants>>);

/// Whether the request may have what it asks for. A page of another origin must show a token.
pub(super) fn admit(settings: &Settings, head: &Parts, is_page: bool) -> Result<Caller, Refusal> {
    let is_guarded = settings.wants_keys || settings.access.has_api_keys() || is_page;
    let Some(scope) = scope_of(&head.method, head.uri.path()).filter(|_| is_guarded) else {
        return Ok(Caller(None));
    };
    entitle(&settings.access, &head.headers, scope, is_page).map_err(|why| {
        settings.access.tally().count(why);
        let (method, path) = (&head.method, head.uri.path());
        limited!(warn, "refused at the control listener", "{method} {path}: {}", why.label());
        refusal(why, scope)
    })
}

fn entitle(
    access: &Access,
    headers: &HeaderMap,
    scope: Scope,
    is_page: bool,
) -> Result<Caller, Refused> {
    let shown = bearer(headers).ok_or(Refused::NoToken)?;
    if let Some((_, scopes)) = access.api_key(shown).filter(|_| !is_page) {
        return if scopes.has(scope) { Ok(Caller(None)) } else { Err(Refused::NotGranted) };
    }
    if !access.takes_tokens() {
        return Err(Refused::UnknownApiKey);
    }
    let grants = match access.verify(shown, now()) {
        Err(Refused::Malformed) => return Err(Refused::UnknownApiKey),
        verdict => verdict?,
    };
    let is_granted = match scope {
        Scope::Publish => !grants.publish.is_empty(),
        other => grants.control.has(other),
    };
    if is_granted { Ok(Caller(Some(grants))) } else { Err(Refused::NotGranted) }
}

/// Whether who asks may publish to this channel. For requests that passed the guard.
pub(super) fn may_publish(
    plane: &Plane,
    extensions: &Extensions,
    channel: &ChannelName,
) -> Result<(), Refusal> {
    let caller = extensions.get::<Caller>().and_then(|caller| caller.0.as_ref());
    if caller.is_none_or(|grants| grants.may_publish(channel.as_str())) {
        return Ok(());
    }
    plane.settings().access.tally().count(Refused::NotGranted);
    let reason = format!("the token does not grant publishing to {}", channel.as_str());
    Err(Refusal::new(StatusCode::FORBIDDEN, reason))
}

/// Takes the permit for one publication of who asks; 429 where there is none.
pub(super) fn pace(plane: &Plane, extensions: &Extensions) -> Result<(), Refusal> {
    let caller = extensions.get::<Caller>().and_then(|caller| caller.0.as_ref());
    let Some(grants) = caller else { return Ok(()) };
    let settings = plane.settings();
    settings.access.pace(grants, settings.token_publish_rate, plane.tick()).map_err(|why| {
        settings.access.tally().count(why);
        let subject = grants.subject.as_deref();
        limited!(warn, "token_publish_rate", ?subject, "over a limit: publications with a token");
        let reason = "more is published with this token than may be; nothing was published, wait a \
                      little";
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason);
        // Permits come back all the time.
        Refusal { retry_after: Some(Duration::from_secs(1)), ..refusal }
    })
}

/// The page of another origin that publishes, if it may with a token: it is listed, and says with
/// which. Of a browser that asks first, the token is yet to come.
pub(super) fn page(settings: &Settings, head: &Parts) -> Option<HeaderValue> {
    let is_publish = head.uri.path().starts_with("/publish/");
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    let origin = origins.next().filter(|_| is_publish && origins.next().is_none())?;
    let asks = head.method == Method::OPTIONS || bearer(&head.headers).is_some();
    let is_listed = origin.to_str().is_ok_and(|origin| settings.pages.lists(origin));
    (asks && is_listed && settings.access.takes_tokens()).then(|| origin.clone())
}

/// The answer to a browser that asks whether such a page may publish (Fetch standard, §3.2.3).
pub(super) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Idempotency-Key"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// What a request needs, if it needs anything.
fn scope_of(method: &Method, path: &str) -> Option<Scope> {
    match path {
        "/" | "/stentor.js" | "/healthz" | "/readyz" | "/v1/openapi.json" => None,
        "/publish" | "/v1/publish" => Some(Scope::Publish),
        _ if path.starts_with("/publish/") || path.starts_with("/v1/publish/") => {
            Some(Scope::Publish)
        }
        _ if [Method::GET, Method::HEAD].contains(method) => Some(Scope::Read),
        _ => Some(Scope::Admin),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| secret.trim())
}

fn refusal(why: Refused, scope: Scope) -> Refusal {
    let name = match scope {
        Scope::Publish => "publish",
        Scope::Read => "read",
        Scope::Admin => "admin",
    };
    match why {
        Refused::NoToken => Refusal::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "this needs a key with the scope {name}; send it as Authorization: Bearer (keys \
                 are set with --api-key or --api-key-file)"
            ),
        ),
        Refused::NotGranted => {
            let reason = format!("the key or token is good, and does not have the scope {name}");
            Refusal::new(StatusCode::FORBIDDEN, reason)
        }
        _ => Refusal::new(StatusCode::UNAUTHORIZED, "the key or token is not good"),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}

/// Tells what was refused, by reason: here and to subscribers.
#[derive(Debug)]
pub(super) struct AccessCollector(pub(super) Arc<Access>);

impl Collector for AccessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Requests and commands refused for want of a good token or key, by reason.";
        let mut metric =
            encoder.encode_descriptor("access_refused", help, None, MetricType::Counter)?;
        for (why, count) in self.0.tally().counts() {
            let reason = why.label().to_lowercase().replace(' ', "_");
            metric
                .encode_family(&[("reason", reason.as_str())])?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}
