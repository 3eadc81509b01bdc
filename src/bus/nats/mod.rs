//! NATS: core subjects, and the streams of JetStream.
//!
//! One connection is one call of `read`. The client's own way of coming back is not used: what was
//! lost on the way, or made anew meanwhile, is looked at after every connect.
#![forbid(unsafe_code)]

mod consumer;
mod forward;
mod jetstream;
mod link;
mod subjects;

use std::{borrow::Cow, convert::Infallible, pin::pin};

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, Stream, StreamExt, stream::SelectAll, stream::select_all};
use tokio::{
    sync::mpsc,
    task::{unconstrained, yield_now},
};

use self::{jetstream::Log, link::Link};
use super::{Fault, Feed, Reader, Running, feed::epoch, jittered};
use crate::{
    inputs::{Forward, Input, JetStream, Nats, Skip, Source, StartAt},
    mapping::Fields,
};

/// Records that are taken from the client at once.
const BATCH_MAX: usize = 1024;
/// Records that the client keeps for all subscriptions while the shards are behind, for each that may
/// be on its way to one shard: 131,072 where nothing else is said, as many as one turn of the client
/// may bring. Those that come then are dropped, and counted.
const KEPT_PER_PLACE: usize = 32;

/// The reader of an input.
pub(super) fn reader(input: Input) -> Box<dyn Reader> {
    match input.source {
        Source::JetStream(source) => Box::new(Log::new(source, input.numbered_by_bus)),
        Source::Nats(nats) => Box::new(Core { nats, kept: KEPT_PER_PLACE * input.queue as usize }),
        _ => unreachable!("the kind of the input was looked at"),
    }
}

/// Takes publications to NATS until nobody is left who could publish.
pub(super) async fn forward(input: Input, forwards: mpsc::Receiver<Forward>) {
    forward::forward(input, forwards).await;
}

/// What a record has besides its payload.
struct Record<'a> {
    message: &'a Message,
    /// The stream that it comes from, and its number there.
    place: Option<(&'a str, u64)>,
}

impl Fields for Record<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match (name, self.place) {
            ("subject", _) => Some(Cow::Borrowed(self.message.subject.as_bytes())),
            ("stream", Some((stream, _))) => Some(Cow::Borrowed(stream.as_bytes())),
            ("sequence", Some((_, sequence))) => Some(sequence.to_string().into_bytes().into()),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let headers = self.message.headers.as_ref()?;
        let (_, values) = headers.iter().find(|(known, _)| AsRef::<str>::as_ref(known) == name)?;
        values.last().map(|value| Cow::Borrowed(value.as_ref()))
    }
}

/// Core NATS. Without a log: what comes while there is no connection, or while too many records wait
/// for the shards, is lost.
struct Core {
    nats: Nats,
    /// Records that may wait in the client.
    kept: usize,
}

impl Reader for Core {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async {
            let Err(fault) = self.run(feed).await;
            fault
        })
    }
}

impl Core {
    async fn run(&self, feed: &mut Feed) -> Result<Infallible, Fault> {
        let kept = self.kept.div_ceil(self.nats.subjects.len().max(1));
        let link = Link::new(&self.nats, kept).await?;
        let mut subscribers = Vec::new();
        for subject in &self.nats.subjects {
            let subscriber = link.or_lost(link.client.subscribe(subject.clone())).await?;
            subscribers.push(subscriber.map_err(|_| {
                Fault::Refused(format!(
                    "'{subject}' is no subject; write words with dots between them, like ticks.>"
                ))
            })?);
        }
        let mut dropped = Dropped::new(kept * subscribers.len());
        // Whoever publishes after the server is ready must be heard.
        let own = link.confirm().await?;
        dropped.others += u64::from(own.is_some());
        link.or_lost(async {}).await?;
        feed.on_connected();
        feed.on_caught_up().await;
        self.follow(&link, select_all(subscribers), own, dropped, feed).await
    }

    async fn follow(
        &self,
        link: &Link,
        mut subscribers: SelectAll<Subscriber>,
        own: Option<String>,
        mut dropped: Dropped,
        feed: &mut Feed,
    ) -> Result<Infallible, Fault> {
        loop {
            let mut batch = link.or_lost(ready(&mut subscribers)).await?;
            if batch.is_empty() {
                return Err(link.ended().await);
            }
            let (all, came) = (batch.len() < BATCH_MAX, link.records_in());
            dropped.received += batch.len() as u64;
            // A subscription to everything has got what we sent to ourselves.
            let theirs = |message: &&mut Message| Some(&*message.subject) != own.as_deref();
            for message in batch.iter_mut().filter(theirs) {
                let payload = std::mem::take(&mut message.payload);
                feed.put_once(&Record { message, place: None }, payload).await;
            }
            feed.flush();
            dropped.tell(came, all, feed);
            // So that the client reads while there still is something.
            yield_now().await;
        }
    }
}

/// Counts what the client has dropped since nobody took it.
///
/// The client tells of single ones, but may drop what it tells; so they are counted from what came
/// in and what was taken.
struct Dropped {
    room: u64,
    received: u64,
    /// What came in and was for no subscription.
    others: u64,
    told: u64,
}

impl Dropped {
    fn new(room: usize) -> Self {
        Dropped { room: room as u64, received: 0, others: 0, told: 0 }
    }

    /// So many came in. If `all` that were kept have been taken, what is missing was dropped;
    /// otherwise it was if there is no room for it.
    fn tell(&mut self, came: u64, all: bool, feed: &mut Feed) {
        let kept_at_most = if all { 0 } else { self.room };
        let gone = came.saturating_sub(self.received + self.others + kept_at_most);
        for _ in self.told..gone {
            // Nobody knows how long it was.
            feed.on_record(0);
            feed.skip(Skip::Dropped, "the shards are behind, and core NATS does not wait");
        }
        self.told = self.told.max(gone);
    }
}

/// Waits for something, and takes what else there is: at most [`BATCH_MAX`], and if it is less, then
/// all. Nothing comes if the stream has ended. Safe to be dropped half way.
async fn ready<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    let Some(first) = stream.next().await else { return Vec::new() };
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX {
        // Without the budget of the runtime, so that nothing means that there is nothing.
        match pin!(unconstrained(stream.next())).now_or_never() {
            Some(Some(item)) => batch.push(item),
            _ => break,
        }
    }
    batch
}
