//! `GET /channels` and `GET /channels/{name}`: which channels there are, who reads them, and what is
//! kept of them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{
    Plane,
    api::check_known,
    ask::{ask, ask_all},
    lag::pattern_text,
    problem::Problem,
    reply::{Refusal, reply_json},
};
use crate::{
    ids::{ChannelName, NotAChannel},
    policy::Mode,
    report::{ChannelReport, Question},
};

#[derive(Serialize)]
struct List<'a> {
    channels: Vec<Shown<'a>>,
    /// What to give as `after` for those that follow, if any do.
    next: Option<&'a str>,
}

/// One channel.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    channel: &'a str,
    subscribers: u64,
    position: String,
    kept: u64,
    kept_bytes: u64,
    /// The pattern that the channel lives by.
    pattern: &'a str,
    mode: &'static str,
}

/// Channels in the order of their names.
pub(super) async fn list(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    match try_list(&plane, request.uri()).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_list(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let Range { prefix, after, limit } = Range::of(uri)?;
    // One more than is shown, so that it is known whether any follow.
    let question = |reply| {
        let (prefix, after) = (prefix.clone(), after.clone());
        Question::Channels { prefix, after, limit: limit + 1, reply }
    };
    let answers = ask_all(plane, plane.settings().answer_timeout, question).await?;
    let mut reports: Vec<ChannelReport> = answers.into_iter().flatten().collect();
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    let there_are_more = reports.len() > limit;
    reports.truncate(limit);
    let last = reports.last().filter(|_| there_are_more);
    let next = last.map(|report| report.name.as_str());
    let channels = reports.iter().map(|report| shown(plane, report)).collect();
    Ok(reply_json(StatusCode::OK, &List { channels, next }))
}

/// One channel, as its home knows it.
pub(super) async fn show(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    match try_show(&plane, request.uri()).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_show(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let report = find(plane, uri).await?;
    Ok(reply_json(StatusCode::OK, &shown(plane, &report)))
}

/// The channel that a path names, which must be there.
pub(super) async fn find(plane: &Plane, uri: &Uri) -> Result<ChannelReport, Refusal> {
    let path = uri.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let encoded = path.strip_prefix("/channels/").unwrap_or("");
    let name = ChannelName::decode(encoded).map_err(|why| {
        bad(format!("{why} (the path is /channels/{{channel}}, as in /channels/news)"))
    })?;
    let home = plane.publisher.home(&name);
    let question = |reply| Question::Channel { name: name.clone(), reply };
    match ask(plane, home, question).await? {
        Some(report) => Ok(report),
        None => {
            let reason = format!(
                "nobody reads {name} and nothing of it is kept; /channels lists those that are"
            );
            Err(Refusal::new(StatusCode::NOT_FOUND, reason).named(Problem::NoSuchChannel))
        }
    }
}

pub(super) fn shown<'a>(plane: &'a Plane, report: &'a ChannelReport) -> Shown<'a> {
    let ChannelReport { name, subscribers, position, kept, kept_bytes } = report;
    Shown {
        channel: name.as_str(),
        subscribers: *subscribers,
        position: position.to_string(),
        kept: *kept,
        kept_bytes: *kept_bytes,
        pattern: pattern_text(&plane.policies, plane.policies.pattern(name)),
        mode: match plane.policies.of(name).mode {
            Mode::Log => "log",
            Mode::Latest => "latest",
        },
    }
}

/// Which channels are asked for.
struct Range {
    prefix: String,
    after: Option<ChannelName>,
    limit: usize,
}

impl Range {
    /// Reads the parameters; there are no others.
    fn of(uri: &Uri) -> Result<Self, Refusal> {
        check_known(uri, &["prefix", "after", "limit"])?;
        let mut range = Range { prefix: String::new(), after: None, limit: LIMIT_UNLESS_TOLD };
        for parameter in uri.query().unwrap_or("").split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "prefix" => range.prefix = prefix(value)?,
                "after" => range.after = Some(after(value)?),
                "limit" => range.limit = limit(value)?,
                _ => {}
            }
        }
        Ok(range)
    }
}

fn prefix(encoded: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(encoded).decode_utf8_lossy();
    match ChannelName::check(decoded.as_bytes()) {
        Ok(()) | Err(NotAChannel::Empty) => Ok(decoded.into_owned()),
        Err(why) => Err(bad(format!("no channel begins with the prefix: {why}"))),
    }
}

fn after(encoded: &str) -> Result<ChannelName, Refusal> {
    ChannelName::decode(encoded)
        .map_err(|why| bad(format!("after: {why}; give what `next` was in the answer before")))
}

pub(super) fn limit(text: &str) -> Result<usize, Refusal> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| bad(format!("limit: '{text}' is no whole number from 1 to {LIMIT_MAX}")))
}

fn bad(reason: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

const LIMIT_UNLESS_TOLD: usize = 100;
const LIMIT_MAX: usize = 1000;
