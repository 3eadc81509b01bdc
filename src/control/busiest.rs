//! `GET /busiest`: the channels that most is delivered of now.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Plane,
    api::check_known,
    ask::ask_all,
    channels::limit,
    reply::{Refusal, reply_json},
};
use crate::report::{BusyChannel, Question};

#[derive(Serialize)]
struct Busiest<'a> {
    /// The busiest first.
    channels: Vec<Busy<'a>>,
}

#[derive(Serialize)]
struct Busy<'a> {
    channel: &'a str,
    subscribers: u64,
    /// Of the last seconds.
    publications_per_second: f64,
    deliveries_per_second: f64,
}

/// Shows the busiest of all shards.
pub(super) async fn show(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    match try_show(&plane, request.uri()).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_show(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    check_known(uri, &["limit"])?;
    let parameters = uri.query().unwrap_or("").split('&');
    let limit = match parameters.filter_map(|it| it.strip_prefix("limit=")).next_back() {
        Some(text) => limit(text)?,
        None => LIMIT_UNLESS_TOLD,
    };
    let question = |reply| Question::Busiest { limit, reply };
    let answers = ask_all(plane, plane.settings().answer_timeout, question).await?;
    let mut all: Vec<BusyChannel> = answers.into_iter().flatten().collect();
    all.sort_by(BusyChannel::compare);
    all.truncate(limit);
    Ok(reply_json(StatusCode::OK, &Busiest { channels: all.iter().map(shown).collect() }))
}

fn shown(busy: &BusyChannel) -> Busy<'_> {
    Busy {
        channel: busy.name.as_str(),
        subscribers: busy.subscribers,
        publications_per_second: busy.publications_per_second,
        deliveries_per_second: busy.deliveries_per_second(),
    }
}

const LIMIT_UNLESS_TOLD: usize = 10;
