//! Keeps other origins' web pages out: their scripts can reach any port that the browser can.
//!
//! A browser says in `Origin` which page a request comes from, and in `Host` by which name it
//! found us. A page of another origin is refused by the first; one whose name was rebound to our
//! address by the second, since such a name is neither an IP address nor one that was allowed.
//! Clients that are not browsers send no `Origin` and are not concerned.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Plane, body, entitle, reply::Refusal};

/// How clients come to the control listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Tcp,
    Tls,
    Unix,
}

/// Refuses what comes from elsewhere, and marks every answer as not for others.
pub(super) async fn check(
    State(plane): State<Arc<Plane>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    let settings = plane.settings();
    let (page, hosts) = (entitle::page(&settings, &head), &settings.hosts);
    let by = plane.by;
    let is_preflight = page.is_some() && head.method == Method::OPTIONS;
    let checked = match &page {
        Some(_) => check_host(&head, hosts, by).map(drop),
        None => check_head(&head, hosts, by),
    };
    let admitted = checked.and_then(|()| match is_preflight {
        true => Ok(None),
        false => entitle::admit(&settings, &head, page.is_some()).map(Some),
    });
    let mut response = match admitted {
        Ok(Some(caller)) => {
            head.extensions.insert(caller);
            next.run(Request::from_parts(head, body)).await
        }
        Ok(None) => entitle::preflight(),
        Err(refusal) => {
            body::discard(&plane, &head, body);
            refusal.into_response()
        }
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        let how = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    }
    if let Some(page) = page {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    let protection = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    if plane.has_successor() {
        // Who asks again on this connection would never reach it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in protection {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a request may be served, by its head alone.
pub(super) fn check_head(head: &Parts, allowed: &[String], by: By) -> Result<(), Refusal> {
    let host = check_host(head, allowed, by)?;
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    match origins.find(|origin| !is_same(origin, host.as_ref(), allowed, by)) {
        Some(origin) => Err(foreign(origin, host.as_ref())),
        None => Ok(()),
    }
}

/// The `Host` that the request names, if it is one of ours.
fn check_host(head: &Parts, allowed: &[String], by: By) -> Result<Option<Authority>, Refusal> {
    match host_of(head)? {
        // No page can be given a Unix socket by any name.
        Some(host) if by != By::Unix && !is_ours(&host, allowed) => Err(misdirected(&host)),
        host => Ok(host),
    }
}

/// The `Host` that the request names, exactly one from HTTP/1.1 on.
fn host_of(head: &Parts) -> Result<Option<Authority>, Refusal> {
    let bad = |reason: &str| Refusal::new(StatusCode::BAD_REQUEST, reason);
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if head.version < Version::HTTP_11 => return Ok(None),
        (None, _) => return Err(bad("the request has no Host header; send one, as in HTTP/1.1")),
        (Some(_), Some(_)) => return Err(bad("the request has two Host headers; send one")),
    };
    let host: Authority = host.as_bytes().try_into().map_err(|_| bad("the Host is not valid"))?;
    if host.as_str().contains('@') {
        return Err(bad("the Host has a user name; send the name and the port only"));
    }
    match head.uri.authority() {
        Some(other) if *other != host => Err(bad("the request line names another host than Host")),
        _ => Ok(Some(host)),
    }
}

fn is_ours(host: &Authority, allowed: &[String]) -> bool {
    let name = bare_name(host);
    let in_brackets = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    };
    is_address || name.eq_ignore_ascii_case("localhost") || is_listed(host, allowed)
}

fn is_listed(host: &Authority, allowed: &[String]) -> bool {
    allowed.iter().any(|name| name.eq_ignore_ascii_case(bare_name(host)))
}

/// The name without its port, and without the dot that ends a full domain name.
fn bare_name(host: &Authority) -> &str {
    host.host().strip_suffix('.').unwrap_or(host.host())
}

/// Whether a page of this origin was served by us. An operator who lists a name may have put TLS
/// in front of it; for every other host only `http` is ours.
fn is_same(origin: &HeaderValue, host: Option<&Authority>, allowed: &[String], by: By) -> bool {
    let (Ok(origin), Some(host)) = (origin.to_str(), host) else { return false };
    match origin.split_once("://") {
        Some(("http", origin)) => by != By::Tls && origin.eq_ignore_ascii_case(host.as_str()),
        Some(("https", origin)) => {
            let is_ours = by == By::Tls || is_listed(host, allowed);
            is_ours && origin.eq_ignore_ascii_case(host.as_str())
        }
        _ => false,
    }
}

fn misdirected(host: &Authority) -> Refusal {
    let name = bare_name(host);
    let reason = format!(
        "the control listener does not answer to the name {name}; use its IP address or localhost, \
         or start the server with --control-host {name}"
    );
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, reason)
}

fn foreign(origin: &HeaderValue, host: Option<&Authority>) -> Refusal {
    let origin = String::from_utf8_lossy(origin.as_bytes());
    let own = host.map_or_else(|| "none".into(), |host| format!("http://{host}"));
    let reason = format!(
        "a web page of {origin} may not use the control listener, whose own origin is {own}; \
         publish from a server, without an Origin header, or open the page by a name that \
         --control-host allows"
    );
    Refusal::new(StatusCode::FORBIDDEN, reason)
}

/// The host, without its port, that a request was sent to. For requests that passed the guard.
pub(super) fn requested_host(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?;
    let host: Authority = host.as_bytes().try_into().ok()?;
    Some(bare_name(&host).to_owned())
}
