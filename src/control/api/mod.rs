//! The API of operators, below `/v1`: its paths, and the document that describes them.
//!
//! Promises: what stands in the document is served and the other way round (a test holds both to one
//! table); an error is a problem (see [`problem`](super::problem)); a parameter that is not known is
//! refused.

mod addresses;
mod channel;
mod connections;
mod limits;
mod orders;
mod query;
mod shards;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};

use self::query::Query;
use super::{Plane, busiest, channels, inputs, lag, many, publish, reply::Refusal, stats};

pub(super) use query::check_known;

pub use limits::Limit;

/// Each path as the router writes it, as the document writes it, and what serves it.
pub(super) type Route = (&'static str, &'static str, fn() -> MethodRouter<Arc<Plane>>);

pub(super) const ROUTES: &[Route] = &[
    ("/v1/publish", "/v1/publish", || post(many::publish)),
    ("/v1/publish/{*channel}", "/v1/publish/{channel}", || post(publish::publish)),
    ("/v1/channels", "/v1/channels", || get(channels::list)),
    ("/v1/channels/{*channel}", "/v1/channels/{channel}", || get(channel::show)),
    ("/v1/busiest", "/v1/busiest", || get(busiest::show)),
    ("/v1/connections", "/v1/connections", || get(connections::list)),
    ("/v1/connections/{id}", "/v1/connections/{id}", || {
        get(connections::show).delete(connections::close)
    }),
    ("/v1/addresses", "/v1/addresses", || get(addresses::show)),
    ("/v1/inputs", "/v1/inputs", || get(inputs::show)),
    ("/v1/lag", "/v1/lag", || get(lag::show)),
    ("/v1/limits", "/v1/limits", || get(limits::show)),
    ("/v1/shards", "/v1/shards", || get(shards::show)),
    ("/v1/stats", "/v1/stats", || get(stats::show)),
    ("/v1/drain", "/v1/drain", || post(orders::drain)),
    ("/v1/reload", "/v1/reload", || post(orders::reload)),
    ("/v1/log-level", "/v1/log-level", || get(orders::log).put(orders::set_log)),
    ("/v1/openapi.json", "/v1/openapi.json", || get(document)),
];

/// All paths of the API.
pub(super) fn router() -> Router<Arc<Plane>> {
    ROUTES.iter().fold(Router::new(), |router, (path, _, serve)| router.route(path, serve()))
}

/// Refuses every parameter.
pub(super) fn takes_no_parameters(uri: &Uri) -> Result<(), Refusal> {
    Query::of(uri, &[]).map(drop)
}

/// The document, OpenAPI 3.1.
async fn document(State(_plane): State<Arc<Plane>>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], DOCUMENT).into_response()
}

pub(super) const DOCUMENT: &str = include_str!("openapi.json");
