//! The way of publications to NATS.
//!
//! Up to [`TOGETHER_MAX`] are sent before the first is confirmed. One connection takes them all, in
//! the order in which they came.

use std::{borrow::Cow, future::IntoFuture, time::Duration};

use async_nats::{
    HeaderMap, HeaderValue,
    jetstream::{
        Context,
        context::{PublishAckFuture, PublishErrorKind},
        message::PublishMessage,
    },
};
use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Fault, Forward, Input, JetStream, Nats, Source,
    consumer::{Site, context},
    jittered,
    link::{ANSWER_MAX, Link},
};
use crate::{
    ids::{ChannelName, Epoch, Offset, Position},
    mapping::{Fields, Template},
};

/// Publications that may be sent and not confirmed.
const TOGETHER_MAX: usize = 256;
/// The header that a publication's key travels in: the input can read it as its key.
const KEY_HEADER: &str = "Stentor-Key";
/// The shortest and the longest wait before a server is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Takes publications to NATS until nobody is left who could publish.
pub(super) async fn forward(input: Input, mut forwards: mpsc::Receiver<Forward>) {
    let Input { source, destination, numbered_by_bus, .. } = input;
    let way = match source {
        Source::JetStream(source) => {
            Way { nats: source.nats.clone(), log: Some(source), destination, numbered_by_bus }
        }
        Source::Nats(nats) => Way { nats, log: None, destination, numbered_by_bus },
        _ => unreachable!("the kind of the input was looked at"),
    };
    let (mut wait, mut down_since) = (RETRY_MIN, Instant::now());
    while !forwards.is_closed() || !forwards.is_empty() {
        let (mut was_there, mut sent) = (false, Vec::new());
        let fault = way.run(&mut forwards, &mut sent, &mut was_there).await;
        let Err(Fault::Lost(why) | Fault::Refused(why)) = fault else { return };
        refuse(sent, &why);
        if was_there {
            (wait, down_since) = (RETRY_MIN, Instant::now());
            continue;
        }
        // A server that is started again is back by then; publishers wait no longer than that.
        if down_since.elapsed() >= ANSWER_MAX {
            let mut waiting = Vec::new();
            while let Ok(forward) = forwards.try_recv() {
                waiting.push(forward);
            }
            refuse(waiting, &why);
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

fn refuse(forwards: Vec<Forward>, why: &str) {
    for forward in forwards {
        let _ = forward.answer.send(Err(why.to_owned()));
    }
}

/// Where publications go.
struct Way {
    nats: Nats,
    log: Option<JetStream>,
    destination: Template,
    numbered_by_bus: bool,
}

/// What became of a publication.
type Outcome = Result<Option<Position>, String>;

impl Way {
    /// Connects, and forwards until the connection ends. Nothing is a fault if nobody is left who
    /// could publish; `sent` are those that were not answered.
    async fn run(
        &self,
        forwards: &mut mpsc::Receiver<Forward>,
        sent: &mut Vec<Forward>,
        was_there: &mut bool,
    ) -> Result<(), Fault> {
        let link = Link::new(&self.nats, TOGETHER_MAX).await?;
        let mut log = match &self.log {
            Some(source) => Some(Numbers::new(&link, source).await?),
            None => None,
        };
        *was_there = true;
        loop {
            let some = tokio::select! {
                biased;
                fault = link.ended() => return Err(fault),
                some = forwards.recv_many(sent, TOGETHER_MAX) => some,
            };
            if some == 0 {
                return Ok(());
            }
            let outcomes = match &mut log {
                None => self.publish(&link, sent).await?,
                Some(numbers) => self.append(&link, numbers, sent).await?,
            };
            for (forward, outcome) in sent.drain(..).zip(outcomes) {
                let _ = forward.answer.send(outcome);
            }
        }
    }

    /// To core NATS: they are taken once the server has answered what was sent after them.
    async fn publish(&self, link: &Link, forwards: &[Forward]) -> Result<Vec<Outcome>, Fault> {
        let mut sent = Vec::with_capacity(forwards.len());
        for forward in forwards {
            sent.push(match self.outbound(forward) {
                Err(why) => Err(why),
                Ok((subject, headers)) => {
                    let (to, payload) = (subject.clone(), forward.payload.clone());
                    let publish = async {
                        match headers {
                            Some(headers) => {
                                link.client.publish_with_headers(to, headers, payload).await
                            }
                            None => link.client.publish(to, payload).await,
                        }
                    };
                    link.or_ended(publish)
                        .await?
                        .map(|()| subject)
                        .map_err(|why| format!("{} does not take it: {why}", link.place))
                }
            });
        }
        link.confirm().await?;
        let refusals = link.take_refusals();
        let outcome = |sent: Result<String, String>| {
            let quoted = format!("Publish to \"{}\"", sent?);
            match refusals.iter().find(|refusal| refusal.contains(&quoted)) {
                Some(refusal) => Err(format!("{} says {refusal}; let the user do it", link.place)),
                None => Ok(None),
            }
        };
        Ok(sent.into_iter().map(outcome).collect())
    }

    /// To a stream, which says where they stand.
    async fn append(
        &self,
        link: &Link,
        numbers: &mut Numbers,
        forwards: &[Forward],
    ) -> Result<Vec<Outcome>, Fault> {
        let by = Instant::now() + ANSWER_MAX;
        let mut sent = Vec::with_capacity(forwards.len());
        for forward in forwards {
            sent.push(match self.outbound(forward) {
                Err(why) => Err(why),
                Ok((subject, headers)) => {
                    let publish = PublishMessage::build().payload(forward.payload.clone());
                    let publish = match headers {
                        Some(headers) => publish.headers(headers),
                        None => publish,
                    };
                    let publish = numbers.context.send_publish(subject.clone(), publish);
                    link.or_ended(publish)
                        .await?
                        .map(|answer| (subject, answer))
                        .map_err(|why| format!("{} does not take it: {why}", link.place))
                }
            });
        }
        let answers = sent.into_iter().map(|sent| answer(sent, by));
        let answers = link.or_ended(join_all(answers)).await?;
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(match answer {
                Err(why) => Err(why),
                Ok((stream, sequence)) => numbers.position(link, &stream, sequence).await?,
            });
        }
        if !self.numbered_by_bus {
            return Ok(outcomes.into_iter().map(|outcome| outcome.map(|_| None)).collect());
        }
        Ok(outcomes)
    }

    /// Where a publication goes, and its headers.
    fn outbound(&self, forward: &Forward) -> Result<(String, Option<HeaderMap>), String> {
        let mut subject = Vec::new();
        let filled = self.destination.fill(&To(&forward.channel), &forward.payload, &mut subject);
        filled.map_err(|why| why.to_string())?;
        let subject = String::from_utf8_lossy(&subject).into_owned();
        if subject.is_empty() || subject.contains(char::is_whitespace) {
            return Err(format!("'{subject}' is no subject; see the key `to` of the input"));
        }
        let Some(key) = &forward.key else { return Ok((subject, None)) };
        let value: HeaderValue = key.parse().map_err(|_| {
            format!("the key '{}' has a line end, and a header has none", key.escape_debug())
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(KEY_HEADER, value);
        Ok((subject, Some(headers)))
    }
}

/// The stream and the number that a stream's server answers.
async fn answer(
    sent: Result<(String, PublishAckFuture), String>,
    by: Instant,
) -> Result<(String, u64), String> {
    let (subject, answer) = sent?;
    let answer = timeout_at(by, answer.into_future()).await;
    let taken = answer.map_err(|_| format!("no answer for {subject} within 5 s"))?;
    let taken = taken.map_err(|error| match error.kind() {
        PublishErrorKind::StreamNotFound => format!(
            "no stream takes the subject {subject}; add it to the stream's subjects, or see the \
             key `to` of the input"
        ),
        _ => format!("the stream does not take {subject}: {error}"),
    })?;
    Ok((taken.stream, taken.sequence))
}

/// How the stream numbers.
struct Numbers {
    context: Context,
    source: JetStream,
    epoch: Epoch,
    last: u64,
}

impl Numbers {
    async fn new(link: &Link, source: &JetStream) -> Result<Self, Fault> {
        let (epoch, last) = numbering(link, source).await?;
        Ok(Numbers { context: context(link), source: source.clone(), epoch, last })
    }

    async fn position(
        &mut self,
        link: &Link,
        stream: &str,
        sequence: u64,
    ) -> Result<Outcome, Fault> {
        if stream != self.source.stream {
            return Ok(Err(format!(
                "it went to the stream '{stream}', and the input reads '{}'; see the key `to`",
                self.source.stream
            )));
        }
        if sequence <= self.last {
            // Numbers only rise, so it was made anew.
            (self.epoch, _) = numbering(link, &self.source).await?;
        }
        self.last = sequence;
        Ok(Ok(Some(Position { epoch: self.epoch, offset: Offset(sequence.into()) })))
    }
}

async fn numbering(link: &Link, source: &JetStream) -> Result<(Epoch, u64), Fault> {
    let site = Site::new(link, source).await?;
    Ok((site.epoch(), site.stream.cached_info().state.last_sequence))
}

/// What there is to fill a destination with.
struct To<'a>(&'a ChannelName);

impl Fields for To<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "channel").then(|| Cow::Borrowed(self.0.as_str().as_bytes()))
    }

    fn header(&self, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}
