//! `/v1/connections`: how many there are, which, and closing one.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::query::{Query, bad};
use crate::{
    close::CloseReason,
    control::{
        Plane,
        ask::ask,
        problem::Problem,
        reply::{Refusal, reply_json},
        stats::total,
    },
    ids::{ChannelName, ConnectionId, ShardId, Slot},
    report::{ConnectionReport, Lag, Question, SubscriptionReport, Transport, Wanted},
};

#[derive(Serialize)]
struct List {
    /// Over all shards, whatever was asked for.
    total: u64,
    shards: Vec<u64>,
    transports: Map<String, Value>,
    connections: Vec<Shown>,
    /// What to give as `after` for those that follow, if any may.
    next: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    address: Option<String>,
    subject: Option<Box<str>>,
    transport: &'static str,
    since_ms: u64,
    blocked: bool,
    pending_bytes: u64,
    received_bytes: u64,
    subscriptions: u64,
    channels: Vec<ShownChannel>,
    lag: ShownLag,
}

#[derive(Serialize)]
struct ShownChannel {
    channel: String,
    position: Option<String>,
    lag: ShownLag,
}

#[derive(Serialize)]
pub(super) struct ShownLag {
    publications: u64,
    bytes: u64,
    ms: u64,
}

#[derive(Serialize)]
struct Closed {
    #[serde(flatten)]
    connection: Shown,
    /// What it was told.
    closed: &'static str,
}

/// The counts, and the connections that were asked for, in the order of shards and slots.
pub(super) async fn list(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    answered(try_list(&plane, request.uri()).await)
}

async fn try_list(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let Asked { wanted, shard, after, limit } = Asked::of(uri)?;
    let shards = plane.questions.len() as u16;
    if let Some(ShardId(number)) = shard.filter(|shard| shard.0 >= shards) {
        let reason = format!("there is no shard {number}; there are 0 to {}", shards - 1);
        let refusal = Refusal::new(StatusCode::NOT_FOUND, reason);
        return Err(refusal.named(Problem::NoSuchShard));
    }
    let first = (shard.unwrap_or(ShardId(0)), Slot(0));
    let last = shard.map_or(shards - 1, |shard| shard.0);
    let first = after.map_or(first, |after| first.max(after));
    let mut at = Some(first).filter(|(shard, _)| shard.0 <= last);
    let until = Instant::now() + plane.settings().answer_timeout / 2;
    let mut found: Vec<ConnectionReport> = Vec::new();
    while let Some((shard, from)) = at
        && found.len() < limit
        // Where a walk over all takes long, what was found is told, and where to go on.
        && Instant::now() < until
    {
        let limit = limit - found.len();
        let wanted = wanted.clone();
        let report =
            ask(plane, shard, |reply| Question::Connections { wanted, from, limit, reply });
        let report = report.await?;
        found.extend(report.connections);
        at = match report.next {
            Some(slot) => Some((shard, slot)),
            None => (shard.0 < last).then_some((ShardId(shard.0 + 1), Slot(0))),
        };
    }
    let of = |transport: Transport| total(&plane.counters, |it| &it.transports[transport.index()]);
    let transport = |transport: Transport| (transport.label().to_owned(), of(transport).into());
    let list = List {
        total: total(&plane.counters, |shard| &shard.connections),
        shards: plane.counters.iter().map(|shard| shard.connections.get()).collect(),
        transports: Transport::ALL.into_iter().map(transport).collect(),
        connections: found.into_iter().map(shown).collect(),
        next: at.map(|(shard, slot)| format!("{}-{}", shard.0, slot.0)),
    };
    Ok(reply_json(StatusCode::OK, &list))
}

/// One connection.
pub(super) async fn show(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    answered(try_show(&plane, request.uri()).await)
}

async fn try_show(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    Query::of(uri, &[])?;
    Ok(reply_json(StatusCode::OK, &shown(connection(plane, uri, None).await?)))
}

/// Closes one connection, and tells what it was.
pub(super) async fn close(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    answered(try_close(&plane, request.uri()).await)
}

async fn try_close(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let query = Query::of(uri, &["reason"])?;
    let reason = query.read("reason", "policy or reconnect", |text| match text {
        "policy" => Some(CloseReason::Expelled),
        "reconnect" => Some(CloseReason::Moved),
        _ => None,
    })?;
    let reason = reason.unwrap_or(CloseReason::Expelled);
    let connection = shown(connection(plane, uri, Some(reason)).await?);
    Ok(reply_json(StatusCode::OK, &Closed { connection, closed: reason.label() }))
}

async fn connection(
    plane: &Plane,
    uri: &Uri,
    close: Option<CloseReason>,
) -> Result<ConnectionReport, Refusal> {
    let text = uri.path().strip_prefix("/v1/connections/").unwrap_or("");
    let text = percent_decode_str(text).decode_utf8_lossy();
    let id: ConnectionId = text.parse().map_err(|why| bad(format!("'{text}': {why}")))?;
    let is_gone = || {
        let reason = format!("there is no connection {id}; /v1/connections lists those there are");
        Refusal::new(StatusCode::NOT_FOUND, reason).named(Problem::NoSuchConnection)
    };
    if usize::from(id.shard.0) >= plane.questions.len() {
        return Err(is_gone());
    }
    let found = ask(plane, id.shard, |reply| Question::Connection { id, close, reply }).await?;
    found.ok_or_else(is_gone)
}

fn answered(outcome: Result<Response, Refusal>) -> Response {
    outcome.unwrap_or_else(IntoResponse::into_response)
}

fn shown(report: ConnectionReport) -> Shown {
    let channel = |SubscriptionReport { channel, position, lag }| ShownChannel {
        channel: channel.to_string(),
        position: position.map(|position| position.to_string()),
        lag: shown_lag(lag),
    };
    Shown {
        id: report.id.to_string(),
        address: report.address.map(|address| address.to_string()),
        subject: report.subject,
        transport: report.transport.label(),
        since_ms: report.since_ms,
        blocked: report.blocked,
        pending_bytes: report.pending_bytes,
        received_bytes: report.received_bytes,
        subscriptions: report.subscriptions,
        channels: report.channels.into_iter().map(channel).collect(),
        lag: shown_lag(report.lag),
    }
}

pub(super) fn shown_lag(Lag { publications, bytes, ms }: Lag) -> ShownLag {
    ShownLag { publications, bytes, ms }
}

/// Which connections are asked for.
struct Asked {
    wanted: Wanted,
    shard: Option<ShardId>,
    after: Option<(ShardId, Slot)>,
    limit: usize,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, Refusal> {
        let known = ["shard", "transport", "address", "channel", "after", "limit"];
        let query = Query::of(uri, &known)?;
        let shard = |text: &str| digits(text)?.parse().ok().map(ShardId);
        let place = |text: &str| {
            let (number, slot) = text.split_once('-')?;
            Some((shard(number)?, Slot(digits(slot)?.parse().ok()?)))
        };
        let transport =
            |text: &str| Transport::ALL.into_iter().find(|transport| transport.label() == text);
        let limit = |text: &str| digits(text)?.parse().ok().filter(|&limit| limit <= LIMIT_MAX);
        let transports = Transport::ALL.map(Transport::label).join(", ");
        let limits = format!("a whole number from 0 to {LIMIT_MAX}");
        Ok(Asked {
            wanted: Wanted {
                address: query.read("address", "an IP address", |it| it.parse::<IpAddr>().ok())?,
                channel: query
                    .read("channel", "the name of a channel", |it| ChannelName::new(it).ok())?,
                transport: query.read("transport", &format!("one of {transports}"), transport)?,
            },
            shard: query.read("shard", "a shard's number", shard)?,
            after: query.read("after", "what `next` was in the answer before", place)?,
            limit: query.read("limit", &limits, limit)?.unwrap_or(LIMIT_UNLESS_TOLD),
        })
    }
}

/// The text, if it is nothing but digits: `parse` would take a sign.
fn digits(text: &str) -> Option<&str> {
    Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
}

const LIMIT_UNLESS_TOLD: usize = 100;
const LIMIT_MAX: usize = 1000;
