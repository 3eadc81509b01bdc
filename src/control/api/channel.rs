//! `GET /v1/channels/{name}`: everything that is known of one channel.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::connections::{ShownLag, shown_lag};
use crate::{
    control::{
        Plane,
        ask::ask_all,
        channels::{self, find},
        reply::{Refusal, reply_json},
    },
    frame::Format,
    policy::{Policy, Slow},
    report::{ChannelLag, Lag, Question},
};

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    channel: channels::Shown<'a>,
    /// Subscribers by the format that they read, over all shards.
    readers: Readers,
    /// Those that have yet to be sent something.
    behind: u64,
    /// The most that any of these has yet to be sent, each figure by itself.
    lag: ShownLag,
    retention: Retention,
    slow: &'static str,
    /// Whether the number of subscribers is told in `{channel}:presence`.
    presence: bool,
}

#[derive(Serialize)]
struct Readers {
    websocket: u64,
    sse: u64,
    json: u64,
}

/// What is kept at most.
#[derive(Serialize)]
struct Retention {
    publications: u32,
    bytes: usize,
    age_seconds: Option<f64>,
}

/// One channel.
pub(super) async fn show(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    match try_show(&plane, request.uri()).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_show(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let report = find(plane, uri).await?;
    let name = &report.name;
    let question = |reply| Question::ChannelLag { name: name.clone(), reply };
    let lags = ask_all(plane, plane.settings().answer_timeout, question).await?;
    let all = lags.iter().fold(ChannelLag::default(), |mut all, lag| {
        all.subscribers.iter_mut().zip(lag.subscribers).for_each(|(all, it)| *all += it);
        all.behind += lag.behind;
        let Lag { publications, bytes, ms } = all.most;
        all.most.publications = publications.max(lag.most.publications);
        all.most.bytes = bytes.max(lag.most.bytes);
        all.most.ms = ms.max(lag.most.ms);
        all
    });
    let [websocket, sse, json] = Format::ALL.map(|format| all.subscribers[format.index()]);
    // As it is after the last reload.
    let settings = plane.settings();
    let Policy { history, slow, presence, .. } = settings.policies.of(name);
    let shown = Shown {
        channel: channels::shown(plane, &report),
        readers: Readers { websocket, sse, json },
        behind: all.behind,
        lag: shown_lag(all.most),
        retention: Retention {
            publications: history.count,
            bytes: history.bytes,
            age_seconds: history.age.map(|age| age.as_secs_f64()),
        },
        slow: match slow {
            Slow::Skip => "skip",
            Slow::Close => "close",
            Slow::Latest => "latest",
        },
        presence: *presence,
    };
    Ok(reply_json(StatusCode::OK, &shown))
}
