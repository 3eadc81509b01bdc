//! `POST /v1/publish`: many publications in one request, each with a result of its own.
//!
//! Every line of the body is a JSON object: a channel, one of `data`, `text` and `base64`, and what else
//! a publication may ask for. The answer has a line for each that is not empty, in their order: its
//! position, or what is wrong with it. A line that is refused is passed over and those behind it are
//! published all the same; where they must not be, `?lines` is what is wanted.
//!
//! Promises: what goes to one channel is published in the order of its lines. When a shard has no room
//! the body is read no further. What a request holds is bounded: [`PUBLISH_LINES_MAX`] results, one
//! line, one piece of input, and a window of unanswered publications. Where the request itself ends
//! early (a broken body, too many lines), the problem has the results so far.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Extensions, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use tokio::time::timeout;

use super::{
    Plane, api, body, entitle,
    forward::{self, Way},
    lines::{Splitter, TooLong},
    problem::Refused,
    publish::{draining, rejection, stuck, wait_for},
    publisher::{Content, Pending},
    reply::Refusal,
};
use crate::{
    ids::{ChannelName, ShardId},
    limits::{
        COMMAND_BYTES, FORWARDS_MAX, KEY_BYTES_MAX, LINES_IN_FLIGHT_BYTES, PUBLISH_LINES_MAX,
    },
    mesh::{Accepted, Terms},
    payload::{Words, present},
};

/// Publishes every line and answers when all have their results.
pub(super) async fn publish(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let response = match run(&plane, &head, &mut body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    body::discard(&plane, &head, body);
    response
}

async fn run(plane: &Plane, head: &Parts, body: &mut Body) -> Result<Response, Refusal> {
    api::takes_no_parameters(&head.uri)?;
    if plane.is_draining() {
        return Err(draining(plane));
    }
    let Ok(_running) = plane.line_streams.try_acquire() else {
        let reason = "as many streams of lines as allowed are running; try again later";
        return Err(Refusal::later(plane.settings().retry_after, reason));
    };
    let mut many = Many::new(plane, &head.extensions);
    let read = many.hand_over_all(body).await;
    many.hear_all().await;
    match read {
        Ok(()) => {
            let lines: Vec<String> = many.results.iter().map(Value::to_string).collect();
            let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
            let kind = HeaderValue::from_static("application/x-ndjson");
            Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response())
        }
        Err(refusal) => Ok(refusal.with_json(&json!({ "results": many.results }))),
    }
}

/// One request's publications.
struct Many<'a> {
    plane: &'a Plane,
    /// Of the request: who asks.
    extensions: &'a Extensions,
    /// One for each line that was read; those that are not answered yet have their number alone.
    results: Vec<Value>,
    /// What was handed over and is not answered yet, oldest first.
    window: VecDeque<Waiting<'a>>,
    window_max: usize,
    window_bytes: usize,
    /// Shards that were given something since they were woken.
    unwoken: BTreeSet<ShardId>,
}

struct Waiting<'a> {
    /// Where its result stands.
    at: usize,
    bytes: usize,
    answerer: Answerer<'a>,
}

enum Answerer<'a> {
    Shard(Pending),
    Bus(Way<'a>, forward::Pending),
}

#[derive(Serialize)]
struct Published {
    position: String,
    subscribers: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
}

impl<'a> Many<'a> {
    fn new(plane: &'a Plane, extensions: &'a Extensions) -> Self {
        let windows =
            (0..plane.ingresses.len() as u16).map(|it| plane.publisher.window(ShardId(it)));
        Many {
            plane,
            extensions,
            results: Vec::new(),
            window: VecDeque::new(),
            window_max: windows.min().unwrap_or(1).min(FORWARDS_MAX / 4),
            window_bytes: 0,
            unwoken: BTreeSet::new(),
        }
    }

    async fn hand_over_all(&mut self, body: &mut Body) -> Result<(), Refusal> {
        // As for `stentor.v1`: text that is full of quotes takes twice its bytes as JSON.
        let line_max = 2 * self.plane.settings().publication_max + COMMAND_BYTES;
        let mut splitter = Splitter::new(line_max);
        while let Some(piece) = body::next_piece(body, self.plane.settings().body_timeout).await? {
            splitter.push(&piece);
            while let Some(line) = splitter.next_line().map_err(TooLong::refusal)? {
                self.hand_over(splitter.lines, &line).await?;
            }
            self.wake();
        }
        let last = splitter.lines + 1;
        match splitter.finish().map_err(TooLong::refusal)? {
            Some(line) => self.hand_over(last, &line).await,
            None => Ok(()),
        }
    }

    /// Takes one line. An error ends the request; what is wrong with the line is its result.
    async fn hand_over(&mut self, number: u64, line: &[u8]) -> Result<(), Refusal> {
        if self.results.len() == PUBLISH_LINES_MAX {
            let reason = format!(
                "line {number} is one more than a request may have publications, \
                 {PUBLISH_LINES_MAX}; publish the rest in another, or one channel's without an end \
                 by /publish/{{channel}}?lines"
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        let at = self.results.len();
        self.results.push(json!({ "line": number }));
        match self.try_hand_over(at, line).await {
            Ok(waiting) => {
                self.window_bytes += waiting.bytes;
                self.window.push_back(waiting);
            }
            Err(refusal) => self.refuse(at, refusal),
        }
        Ok(())
    }

    async fn try_hand_over(&mut self, at: usize, line: &[u8]) -> Result<Waiting<'a>, Refusal> {
        let plane = self.plane;
        let Line { channel, content } = Line::read(line, plane.settings().publication_max)?;
        self.results[at]["channel"] = channel.as_str().into();
        entitle::may_publish(plane, self.extensions, &channel)?;
        if plane.is_draining() {
            return Err(draining(plane));
        }
        entitle::pace(plane, self.extensions)?;
        let way = plane.forwarder.way(&channel)?;
        let bytes = content.payload.len();
        while !self.has_room(bytes) {
            self.hear_oldest().await;
        }
        let answerer = match way {
            Some(way) => Answerer::Bus(way, way.publish_line(plane, &channel, content).await?),
            None => {
                let wait = plane.settings().answer_timeout;
                let place = plane.publisher.publish_line(&channel, content);
                let pending = timeout(wait, place).await.map_err(|_| {
                    stuck(format!("the channel's shard made no room within {wait:?}"))
                })?;
                self.unwoken.insert(plane.publisher.home(&channel));
                Answerer::Shard(pending)
            }
        };
        Ok(Waiting { at, bytes, answerer })
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.window.is_empty()
            || (self.window.len() < self.window_max
                && self.window_bytes + bytes <= LINES_IN_FLIGHT_BYTES)
    }

    async fn hear_all(&mut self) {
        while !self.window.is_empty() {
            self.hear_oldest().await;
        }
    }

    /// Waits for the oldest answer.
    async fn hear_oldest(&mut self) {
        self.wake();
        let Some(Waiting { at, bytes, answerer }) = self.window.pop_front() else { return };
        self.window_bytes -= bytes;
        match self.answer(answerer).await {
            Ok(members) => {
                let result = self.results[at].as_object_mut().expect("a result is an object");
                result.extend(members);
            }
            Err(refusal) => self.refuse(at, refusal),
        }
    }

    async fn answer(&self, answerer: Answerer<'a>) -> Result<Map<String, Value>, Refusal> {
        let members = match answerer {
            Answerer::Shard(pending) => match wait_for(self.plane, pending).await? {
                Ok(Accepted { position, subscribers, repeated }) => {
                    let position = position.to_string();
                    json!(Published { position, subscribers, repeated })
                }
                Err(rejected) => return Err(rejection(self.plane, rejected)),
            },
            Answerer::Bus(way, pending) => {
                let position = way.wait_for(self.plane, pending).await?;
                let position = position.map(|position| position.to_string());
                json!({ "position": position, "forwarded": way.name })
            }
        };
        Ok(members.as_object().cloned().unwrap_or_default())
    }

    fn refuse(&mut self, at: usize, refusal: Refusal) {
        self.results[at]["error"] = Refused { refusal, more: Map::new() }.json();
    }

    fn wake(&mut self) {
        self.unwoken.iter().for_each(|&shard| self.plane.publisher.wake(shard));
        self.unwoken.clear();
    }
}

/// What a line asks for.
struct Line {
    channel: ChannelName,
    content: Content,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    channel: String,
    /// A `null` is data like any other.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    key: Option<Box<str>>,
    version: Option<u64>,
    idempotency: Option<Box<str>>,
}

impl Line {
    fn read(line: &[u8], publication_max: usize) -> Result<Self, Refusal> {
        let fields: Fields = serde_json::from_slice(line).map_err(|why| {
            // It may repeat what was sent, and is kept until the last line was read.
            let why: String = why.to_string().chars().take(REASON_CHARACTERS_MAX).collect();
            bad(format!(
                "the line is no publication: {why}; write one like \
                 {{\"channel\":\"news\",\"text\":\"hello\"}}"
            ))
        })?;
        let Fields { channel, data, text, base64, key, version, idempotency } = fields;
        let channel = ChannelName::new(&channel).map_err(|why| bad(why.to_string()))?;
        let is_fine = |text: &&str| (1..=KEY_BYTES_MAX).contains(&text.len());
        if key.as_deref().is_some_and(|key| !is_fine(&key)) {
            return Err(bad(format!("the key must have 1 to {KEY_BYTES_MAX} bytes")));
        }
        let is_visible =
            |text: &&str| is_fine(text) && text.bytes().all(|it| it.is_ascii_graphic());
        if idempotency.as_deref().is_some_and(|key| !is_visible(&key)) {
            return Err(bad(format!(
                "idempotency must have 1 to {KEY_BYTES_MAX} bytes of visible ASCII, like a UUID"
            )));
        }
        let terms = Terms { key, version, idempotency };
        let terms = (terms != Terms::default()).then(|| Box::new(terms));
        let (kind, payload) =
            Words { data, text, base64 }.read().map_err(|why| bad(why.to_string()))?;
        let content = Content { kind, payload: payload.into_owned().into(), terms };
        match content.payload.len() > publication_max {
            true => Err(body::too_long(publication_max)),
            false => Ok(Line { channel, content }),
        }
    }
}

/// Characters of what is wrong with the form of a line that its result has.
const REASON_CHARACTERS_MAX: usize = 200;

fn bad(reason: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}
