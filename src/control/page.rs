//! `GET /`: the dashboard, one page without anything from elsewhere, put together from `dashboard/`.
//!
//! The policy lets only the page's own script and style run, by a nonce of this answer, and lets
//! it connect to this listener and to that of the subscribers only.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Plane, guard};

const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = concat!(
    include_str!("dashboard/base.js"),
    include_str!("dashboard/plot.js"),
    include_str!("dashboard/board.js"),
    include_str!("dashboard/console.js"),
);
const CLIENT: &str = include_str!("../../clients/js/stentor.js");

/// Shows the page.
pub(super) async fn show(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let host = guard::requested_host(request.headers());
    let subscribers = reachable(plane.settings().subscribers, host);
    let nonce = nonce();
    let page = whole().replace("{{nonce}}", &nonce).replace("{{subscribers}}", &subscribers);
    let policy = policy(&nonce, &subscribers);
    let policy = HeaderValue::try_from(policy).expect("hosts and nonces are visible ASCII");
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, policy)];
    (StatusCode::OK, headers, page).into_response()
}

/// The page with its style and script, but for what differs from answer to answer.
fn whole() -> &'static str {
    static WHOLE: LazyLock<String> =
        LazyLock::new(|| PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT));
    &WHOLE
}

/// Gives the client for browsers, as a module.
pub(super) async fn client() -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], CLIENT).into_response()
}

/// Where the browser that asked for `host` finds the subscriber listener.
fn reachable(subscribers: SocketAddr, host: Option<String>) -> String {
    let (address, port) = (subscribers.ip(), subscribers.port());
    let is_elsewhere = address.is_unspecified() || address.is_loopback();
    match (host, address) {
        (Some(host), _) if is_elsewhere => format!("{host}:{port}"),
        (_, IpAddr::V4(address)) => format!("{address}:{port}"),
        (_, IpAddr::V6(address)) => format!("[{address}]:{port}"),
    }
}

fn policy(nonce: &str, subscribers: &str) -> String {
    // A policy cannot name an IPv6 address; there the schemes alone are given.
    let subscribers = match subscribers.starts_with('[') {
        true => "ws: http:".to_owned(),
        false => format!("ws://{subscribers} http://{subscribers}"),
    };
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self' {subscribers}; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// 128 bits that nobody outside can guess: the keys of the hash come from the kernel.
fn nonce() -> String {
    let half = || RandomState::new().hash_one("nonce");
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page connects where the browser can: to the address that was configured, or, if that
    /// means "this machine", to the host that the page was loaded from.
    #[test]
    fn the_page_knows_where_to_subscribe() {
        for (subscribers, host, expected) in [
            ("0.0.0.0:8000", Some("edge.example"), "edge.example:8000"),
            ("[::]:8000", Some("[::1]"), "[::1]:8000"),
            ("127.0.0.1:8000", Some("localhost"), "localhost:8000"),
            ("192.0.2.7:8000", Some("localhost"), "192.0.2.7:8000"),
            ("[2001:db8::1]:80", Some("localhost"), "[2001:db8::1]:80"),
            ("0.0.0.0:8000", None, "0.0.0.0:8000"),
        ] {
            let subscribers: SocketAddr = subscribers.parse().unwrap();
            assert_eq!(reachable(subscribers, host.map(Into::into)), expected);
        }
    }

    /// The page brings all it needs, is small, and its script ends nowhere early.
    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        let page = whole();
        assert!(page.len() < 60_000, "{} bytes", page.len());
        assert_eq!(page.matches("</script>").count(), 1);
        for loads in ["src=", "@import", "url(", "integrity", "<iframe", "<object", "innerHTML"] {
            assert!(!page.contains(loads), "{loads}");
        }
        let links: Vec<&str> = page.split(" href=\"").skip(1).collect();
        assert!(
            links.iter().all(|link| ["data:", "/", "#"].iter().any(|here| link.starts_with(here)))
        );
        let opened = page.matches("<script").count() + page.matches("<style").count();
        assert_eq!(page.matches("nonce=\"{{nonce}}\"").count(), opened);
        for by_hand in [" style=", " onclick=", " onload=", "javascript:"] {
            assert!(!page.contains(by_hand), "{by_hand} does not run under the policy");
        }
        assert!(!page.contains("https://"), "an address elsewhere");
    }
}
