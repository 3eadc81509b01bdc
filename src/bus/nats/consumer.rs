//! What is asked of JetStream: the stream, and consumers of it.

use std::{error::Error, time::Duration};

use async_nats::{
    datetime::from_nanos,
    jetstream::{
        Context, ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        context::{
            ContextBuilder, GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind,
        },
        stream::{ConsumerErrorKind, Info, Stream},
    },
};

use super::{
    Fault, JetStream, epoch,
    link::{ANSWER_MAX, Link},
};
use crate::ids::Epoch;

/// How long the server keeps a consumer that nobody reads: longer than a pull waits.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// Records that a durable consumer may have on their way to be settled.
const UNSETTLED_MAX: i64 = 16_384;
/// How long the server waits for a record to be settled before it sends it again.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Where a consumer begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// Behind this sequence number.
    Behind(u64),
    /// At the first record of this moment, in milliseconds since 1970.
    Time(u64),
}

/// A stream at a server.
pub(super) struct Site<'a> {
    pub(super) link: &'a Link,
    pub(super) source: &'a JetStream,
    pub(super) stream: Stream,
}

impl<'a> Site<'a> {
    /// Looks for the stream.
    pub(super) async fn new(link: &'a Link, source: &'a JetStream) -> Result<Self, Fault> {
        let (place, name) = (&link.place, &source.stream);
        let found = link.or_lost(context(link).get_stream(name)).await?;
        let stream = found.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(why) => match why.error_code() {
                ErrorCode::STREAM_NOT_FOUND => Fault::Refused(format!(
                    "{place} has no stream '{name}'; make it there, or see the key `stream`"
                )),
                ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                    not_enabled(place)
                }
                // What a server says that has not found its peers yet.
                ErrorCode::CLUSTER_NOT_AVAILABLE => Fault::Lost(format!("{place} says {why}")),
                _ => Fault::Refused(format!(
                    "{place} says {why}; see the key `stream`, which is '{name}'"
                )),
            },
            GetStreamErrorKind::Request if is_unheard(&error) => not_enabled(place),
            GetStreamErrorKind::Request => Fault::Lost(format!("{place} does not answer: {error}")),
            GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
                Fault::Refused(format!(
                    "'{name}' is no stream's name; it has no spaces, dots, '*' and '>'"
                ))
            }
        })?;
        Ok(Site { link, source, stream })
    }

    /// The numbering: the same on every edge that reads this stream, until it is made anew.
    pub(super) fn epoch(&self) -> Epoch {
        let created = self.stream.cached_info().created.unix_timestamp_nanos();
        epoch(&[b"jetstream", self.source.stream.as_bytes(), &created.to_le_bytes()])
    }

    /// How the stream is now, unless it was made anew since `created`.
    pub(super) async fn look(&self, created: i128) -> Result<Info, Fault> {
        let info = self.link.or_lost(self.stream.get_info()).await?.map_err(|error| {
            Fault::Lost(format!("{} does not tell of the stream: {error}", self.link.place))
        })?;
        if info.created.unix_timestamp_nanos() != created {
            let name = &self.source.stream;
            return Err(Fault::Lost(format!("the stream '{name}' was made anew")));
        }
        Ok(info)
    }

    /// A consumer for this connection alone, which the server forgets soon after.
    pub(super) async fn passing(&self, start: Start) -> Result<PullConsumer, Fault> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            inactive_threshold: UNREAD_MAX,
            memory_storage: true,
            num_replicas: 1,
            ..self.config(start)
        };
        self.answered(self.link.or_lost(self.stream.create_consumer(config)).await?)
    }

    /// The consumer that remembers at the server what was settled: made to begin at `start` if it
    /// is not there yet.
    pub(super) async fn durable(&self, name: &str, start: Start) -> Result<PullConsumer, Fault> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::All,
            ack_wait: SETTLED_WITHIN,
            max_ack_pending: UNSETTLED_MAX,
            ..self.config(start)
        };
        let wanted = config.clone();
        let made = self.stream.get_or_create_consumer(name, config);
        let consumer = self.answered(self.link.or_lost(made).await?)?;
        let is = &consumer.cached_info().config;
        let same_filter = is.filter_subject == wanted.filter_subject
            && (is.filter_subjects == wanted.filter_subjects || is.filter_subjects.is_empty());
        if !same_filter || is.ack_policy != AckPolicy::All {
            return Err(Fault::Refused(format!(
                "the durable consumer '{name}' of the stream '{}' is there with other subjects, or \
                 does not acknowledge all before; delete it there, or give durable another name",
                self.source.stream
            )));
        }
        Ok(consumer)
    }

    fn config(&self, start: Start) -> pull::Config {
        let deliver_policy = match start {
            Start::Behind(sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence: sequence.saturating_add(1) }
            }
            Start::Time(ms) => from_nanos(i128::from(ms) * 1_000_000)
                .map_or(DeliverPolicy::New, |start_time| DeliverPolicy::ByStartTime { start_time }),
        };
        let (filter_subject, filter_subjects) = match &*self.source.nats.subjects {
            [] => (String::new(), Vec::new()),
            [one] => (one.clone(), Vec::new()),
            // Servers before 2.10 do not know of these and send everything; see `Log::is_wanted`.
            several => (String::new(), several.to_vec()),
        };
        pull::Config {
            description: Some("stentor".to_owned()),
            deliver_policy,
            filter_subject,
            filter_subjects,
            ..pull::Config::default()
        }
    }

    fn answered<T>(
        &self,
        answer: Result<T, async_nats::error::Error<ConsumerErrorKind>>,
    ) -> Result<T, Fault> {
        let (place, name) = (&self.link.place, &self.source.stream);
        answer.map_err(|error| match error.kind() {
            ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request | ConsumerErrorKind::Other => {
                Fault::Lost(format!("{place} gives no consumer of the stream '{name}': {error}"))
            }
            ConsumerErrorKind::JetStream(why) => Fault::Refused(format!(
                "{place} gives no consumer of the stream '{name}': {why}; see subject, durable and \
                 the stream's retention"
            )),
            _ => Fault::Refused(format!(
                "{place} has no such consumer of the stream '{name}': {error}; see the key `durable`"
            )),
        })
    }
}

pub(super) fn context(link: &Link) -> Context {
    ContextBuilder::new().timeout(ANSWER_MAX).build(link.client.clone())
}

/// Whether nobody at the server listens to what was asked.
fn is_unheard(error: &GetStreamError) -> bool {
    let why = error.source().and_then(|why| why.downcast_ref::<RequestError>());
    why.is_some_and(|why| why.kind() == RequestErrorKind::NoResponders)
}

fn not_enabled(place: &str) -> Fault {
    Fault::Refused(format!(
        "JetStream is not enabled at {place}, or not for this account; start nats-server with -js"
    ))
}
