//! A stream of JetStream.
//!
//! Records have the stream's numbers, and the numbering is named by the stream and the moment at
//! which it was made: every edge numbers alike. Everything up to `read_to` was handed over or was
//! not for us, so a new connection goes on behind it.
//!
//! A stretch that the stream does not have any more is a hole only if the stream begins behind our
//! place in it: records between others that were deleted singly, or replaced by newer ones of their
//! subject, are no loss.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use async_nats::{
    Subject,
    jetstream::{
        Message,
        consumer::{
            self, DeliverPolicy, PullConsumer,
            pull::{self, MessagesError},
        },
        stream::Info,
    },
};
use tokio::{
    task::yield_now,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    BATCH_MAX, Fault, Feed, JetStream, Reader, Record, Running, Skip, StartAt,
    consumer::{Site, Start},
    epoch,
    link::Link,
    ready, subjects,
};
use crate::ids::{Epoch, Offset, Position};

/// Records that the server sends ahead; half of it is used up before it is asked for more.
const AHEAD_MAX: usize = 4 * BATCH_MAX;
/// How long the server lets a request for more wait, and how often it says that it is there.
const PULL: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often a quiet input looks how the stream is.
const LOOK: Duration = Duration::from_secs(1);

/// The reader of a stream.
pub(super) struct Log {
    source: JetStream,
    numbered: bool,
    place: Option<Place>,
}

/// Where the input is in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// When the stream was made, in nanoseconds since 1970.
    created: i128,
    epoch: Epoch,
    read_to: u64,
}

/// One consumer being read.
struct Reading {
    consumer: PullConsumer,
    records: pull::Stream,
    /// The consumer's number of the last record.
    delivered: u64,
    /// Where this ends, if it does.
    until: Option<u64>,
    /// Until this was read, the server is not ready.
    catch_up_to: Option<u64>,
    /// What is to be acknowledged once its ticket is settled. One entry per batch, so the server
    /// bounds it: by the records that it lets be unsettled.
    unsettled: VecDeque<(u64, Subject)>,
    look: Interval,
}

/// A record with its numbers.
struct Numbered {
    message: Message,
    sequence: u64,
    delivered: u64,
    /// What the consumer has behind it.
    pending: u64,
}

impl Reader for Log {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async {
            let Err(fault) = self.run(feed).await;
            fault
        })
    }
}

impl Log {
    pub(super) fn new(source: JetStream, numbered: bool) -> Self {
        Log { source, numbered, place: None }
    }

    async fn run(&mut self, feed: &mut Feed) -> Result<Infallible, Fault> {
        let source = self.source.clone();
        // Never more come than were asked for.
        let link = Link::new(&source.nats, 2 * AHEAD_MAX).await?;
        let site = Site::new(&link, &source).await?;
        let (place, start) = self.place_in(&site)?;
        let consumer = match &source.durable {
            Some(name) => site.durable(name, start).await?,
            None => site.passing(start).await?,
        };
        // Between the two the stream may have been made anew.
        let info = site.look(place.created).await?;
        let place = self.behind(place, start, &site, &consumer).await?;
        self.begin(place, feed).await;
        self.look_for_a_hole(&info, feed).await;
        feed.on_connected();
        if source.durable.is_some() {
            self.make_up(&site, &consumer, feed).await?;
        }
        let mut reading = Reading::new(consumer, None, Some(info.state.last_sequence)).await?;
        self.follow(&site, &mut reading, feed).await?;
        unreachable!("without an end it goes on")
    }

    /// Where we are in the stream as it is now, and so where to begin.
    fn place_in(&self, site: &Site<'_>) -> Result<(Place, Start), Fault> {
        let (info, anew) = (site.stream.cached_info(), site.epoch());
        let created = info.created.unix_timestamp_nanos();
        let (before, last) = (before(info), info.state.last_sequence);
        let (epoch, start) = match self.place {
            None => (anew, self.first_start(before, last)?),
            Some(place) if place.created != created => (anew, Start::Behind(before)),
            // The server has lost what it had confirmed, and gives its numbers again. Which of them,
            // nobody knows.
            Some(place) if place.read_to > last => {
                let again = [&place.epoch.0.to_le_bytes()[..], &place.read_to.to_le_bytes()];
                let start = match self.source.start {
                    StartAt::History(_) | StartAt::Last(_) => self.first_start(before, last)?,
                    _ => Start::Behind(before),
                };
                (epoch(&again), start)
            }
            Some(place) => (place.epoch, Start::Behind(place.read_to)),
        };
        let Start::Behind(read_to) = start else {
            return Ok((Place { created, epoch, read_to: last }, start));
        };
        Ok((Place { created, epoch, read_to }, start))
    }

    /// Where the setting says to begin in a stream that begins behind `before`.
    fn first_start(&self, before: u64, last: u64) -> Result<Start, Fault> {
        Ok(Start::Behind(match &self.source.start {
            StartAt::History(most) | StartAt::Last(most) => last.saturating_sub(*most).max(before),
            StartAt::New => last,
            StartAt::All => before,
            StartAt::Time(ms) => return Ok(Start::Time(*ms)),
            StartAt::Behind(text) => {
                let behind = text.parse().ok().filter(|&behind| behind <= last);
                behind.ok_or_else(|| {
                    Fault::Refused(format!(
                        "start=behind:{text} is no place in the stream '{}'; write a number up to \
                         {last}, its last",
                        self.source.stream
                    ))
                })?
            }
        }))
    }

    /// Where a sequence that is not known yet begins, by what the server says of the consumer.
    async fn behind(
        &self,
        mut place: Place,
        start: Start,
        site: &Site<'_>,
        consumer: &PullConsumer,
    ) -> Result<Place, Fault> {
        if self.is_known(place) {
            return Ok(place);
        }
        let info = consumer.cached_info();
        match self.source.durable.as_ref().map_or(start, |_| settled(info)) {
            Start::Behind(read_to) => place.read_to = read_to,
            // A consumer that has delivered nothing stands before its first record.
            start @ Start::Time(_) => {
                let first = site.passing(start).await?;
                place.read_to = first.cached_info().delivered.stream_sequence;
            }
        }
        Ok(place)
    }

    fn is_known(&self, place: Place) -> bool {
        self.place.is_some_and(|before| before.epoch == place.epoch)
    }

    /// Tells of the sequence if it is not known yet.
    async fn begin(&mut self, place: Place, feed: &mut Feed) {
        if self.numbered && !self.is_known(place) {
            let (source, floor) = (&self.source, Offset(place.read_to.into()));
            let known = |field: &str| match (field, &*source.nats.subjects) {
                ("stream", _) => Some(source.stream.clone()),
                ("subject", [one]) => Some(subjects::glob(one)),
                _ => None,
            };
            let replaced = self.place.map(|before| before.epoch);
            feed.begin(place.epoch, replaced, floor, known).await;
        }
        self.place = Some(place);
    }

    /// Reads what a durable consumer had sent on an earlier connection, and was not read there. The
    /// server would send it again, but late, and behind newer records.
    async fn make_up(
        &mut self,
        site: &Site<'_>,
        durable: &PullConsumer,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        let until = durable.cached_info().delivered.stream_sequence;
        let read_to = self.place().read_to;
        if until <= read_to {
            return Ok(());
        }
        let consumer = site.passing(Start::Behind(read_to)).await?;
        let mut reading = Reading::new(consumer, Some(until), None).await?;
        self.follow(site, &mut reading, feed).await
    }

    /// Reads until the end of the reading, if it has one.
    async fn follow(
        &mut self,
        site: &Site<'_>,
        reading: &mut Reading,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        if reading.consumer.cached_info().num_pending == 0 {
            self.on_nothing_pending(reading, feed).await;
        }
        while reading.until.is_none_or(|until| self.place().read_to < until) {
            let settled = feed.settled();
            tokio::select! {
                biased;
                fault = site.link.lost() => return Err(fault),
                batch = ready(&mut reading.records) => self.take(site, reading, batch, feed).await?,
                _ = feed.settled_beyond(settled), if !reading.unsettled.is_empty() => (),
                _ = reading.look.tick() => self.look(site, reading, feed).await?,
            }
            self.acknowledge(site, reading, feed).await?;
            // So that the client asks for more while there still is something.
            yield_now().await;
        }
        Ok(())
    }

    async fn take(
        &mut self,
        site: &Site<'_>,
        reading: &mut Reading,
        batch: Vec<Result<Message, MessagesError>>,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        let gone = |why: String| {
            Fault::Lost(format!("reading the stream '{}' has ended: {why}", self.source.stream))
        };
        if batch.is_empty() {
            return Err(gone("the client has ended".to_owned()));
        }
        let (mut records, mut end) = (Vec::with_capacity(batch.len()), None);
        for message in batch {
            match message.map_err(|error| error.to_string()).and_then(numbered) {
                Ok(record) if record.delivered == reading.delivered + 1 => {
                    reading.delivered += 1;
                    records.push(record);
                }
                Ok(record) => {
                    end = Some(gone(format!(
                        "delivery {} came behind {}; each edge needs a durable consumer of its own",
                        record.delivered, reading.delivered
                    )));
                    break;
                }
                Err(why) => {
                    end = Some(gone(why));
                    break;
                }
            }
        }
        self.publish(site, reading, records, feed).await?;
        end.map_or(Ok(()), Err)
    }

    async fn publish(
        &mut self,
        site: &Site<'_>,
        reading: &mut Reading,
        records: Vec<Numbered>,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        let Some((pending, reply)) =
            records.last().map(|last| (last.pending, last.message.reply.clone()))
        else {
            return Ok(());
        };
        let mut read_to = self.place().read_to;
        let has_jump = records.iter().any(|record| {
            let jump = record.sequence > read_to + 1;
            read_to = read_to.max(record.sequence);
            jump
        });
        // Asked once for all of them and before the first is published: what is trimmed later was
        // already read.
        let begins_behind = match has_jump && self.numbered {
            true => before(&site.look(self.place().created).await?),
            false => 0,
        };
        for mut record in records {
            self.hole(begins_behind.min(record.sequence - 1), feed).await;
            self.put(&mut record, feed).await;
        }
        feed.flush();
        feed.state().set_lag(Some(pending));
        if let Some(reply) =
            reply.filter(|_| self.source.durable.is_some() && reading.until.is_none())
        {
            reading.unsettled.push_back((feed.last(), reply));
        }
        if pending == 0 {
            self.on_nothing_pending(reading, feed).await;
        } else {
            self.on_progress(reading, feed).await;
        }
        Ok(())
    }

    async fn put(&mut self, record: &mut Numbered, feed: &mut Feed) {
        let Place { epoch, read_to, .. } = *self.place();
        let (message, sequence) = (&mut record.message.message, record.sequence);
        if sequence <= read_to {
            feed.on_record(message.payload.len());
            return feed.skip(Skip::Repeated, "the server sent it again");
        }
        if self.is_wanted(&message.subject) {
            let payload = std::mem::take(&mut message.payload);
            let position = Position { epoch, offset: Offset(sequence.into()) };
            let place = Some((&*self.source.stream, sequence));
            let record = Record { message, place };
            feed.put(&record, payload, self.numbered.then_some(position)).await;
        }
        self.place_mut().read_to = sequence;
    }

    /// Whether the subject is read: a server before 2.10 filters for one subject, not for several.
    fn is_wanted(&self, subject: &str) -> bool {
        let filters = &self.source.nats.subjects;
        filters.len() < 2 || filters.iter().any(|filter| subjects::matches(filter, subject))
    }

    /// Tells of a hole up to `to`, if we have not read so far.
    async fn hole(&mut self, to: u64, feed: &mut Feed) {
        let Place { epoch, read_to, .. } = *self.place();
        if to > read_to && self.numbered {
            feed.hole(epoch, Offset(read_to.into()), Offset(to.into())).await;
        }
        let place = self.place_mut();
        place.read_to = place.read_to.max(to);
    }

    async fn look_for_a_hole(&mut self, info: &Info, feed: &mut Feed) {
        self.hole(before(info), feed).await;
    }

    /// Looks how a quiet stream is, where reading alone does not tell.
    async fn look(
        &mut self,
        site: &Site<'_>,
        reading: &mut Reading,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        let is_filtered = !self.source.nats.subjects.is_empty();
        if !is_filtered && reading.catch_up_to.is_none() && reading.until.is_none() {
            return Ok(());
        }
        let info = site.look(self.place().created).await?;
        let consumer = site.link.or_lost(reading.consumer.get_info()).await?;
        let consumer = consumer.map_err(|error| {
            Fault::Lost(format!("{} does not tell of our consumer: {error}", site.link.place))
        })?;
        // What the server had sent before it answered is here by now.
        let quiet = reading.delivered == consumer.delivered.consumer_sequence;
        if consumer.num_pending > 0 || !quiet {
            return Ok(());
        }
        // Nothing of ours was behind `read_to`: a stretch of others that is trimmed later is no
        // hole. If the stream has been trimmed past us already, who knows.
        if before(&info) <= self.place().read_to {
            let place = self.place_mut();
            place.read_to = place.read_to.max(info.state.last_sequence);
        }
        self.on_nothing_pending(reading, feed).await;
        Ok(())
    }

    /// The consumer had no more.
    async fn on_nothing_pending(&mut self, reading: &mut Reading, feed: &mut Feed) {
        if let Some(until) = reading.until {
            let place = self.place_mut();
            place.read_to = place.read_to.max(until);
        }
        if reading.catch_up_to.take().is_some() {
            feed.state().set_lag(Some(0));
            feed.on_caught_up().await;
        }
    }

    async fn on_progress(&mut self, reading: &mut Reading, feed: &mut Feed) {
        let read_to = self.place().read_to;
        if reading.catch_up_to.take_if(|to| *to <= read_to).is_some() {
            feed.on_caught_up().await;
        }
    }

    /// Acknowledges the last that is settled, and with it all before.
    async fn acknowledge(
        &self,
        site: &Site<'_>,
        reading: &mut Reading,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        let (settled, mut last) = (feed.settled(), None);
        while reading.unsettled.front().is_some_and(|(to, _)| *to <= settled) {
            last = reading.unsettled.pop_front().map(|(_, reply)| reply);
        }
        let Some(reply) = last else { return Ok(()) };
        let sent = site.link.or_lost(site.link.client.publish(reply, "+ACK".into())).await?;
        sent.map_err(|error| Fault::Lost(format!("{} takes no more: {error}", site.link.place)))
    }

    fn place(&self) -> &Place {
        self.place.as_ref().expect("reading has begun")
    }

    fn place_mut(&mut self) -> &mut Place {
        self.place.as_mut().expect("reading has begun")
    }
}

impl Reading {
    async fn new(
        consumer: PullConsumer,
        until: Option<u64>,
        catch_up_to: Option<u64>,
    ) -> Result<Self, Fault> {
        let asked = consumer.stream().max_messages_per_batch(AHEAD_MAX).expires(PULL);
        let records = asked
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| Fault::Lost(format!("the stream cannot be read: {error}")))?;
        let delivered = consumer.cached_info().delivered.consumer_sequence;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let unsettled = VecDeque::new();
        Ok(Reading { consumer, records, delivered, until, catch_up_to, unsettled, look })
    }
}

/// Up to where a durable consumer's records are settled.
fn settled(consumer: &consumer::Info) -> Start {
    if consumer.num_ack_pending == 0 {
        return Start::Behind(consumer.delivered.stream_sequence);
    }
    // Before the first acknowledgement the server knows only where it was to begin.
    match consumer.config.deliver_policy {
        _ if consumer.ack_floor.consumer_sequence > 0 => {
            Start::Behind(consumer.ack_floor.stream_sequence)
        }
        DeliverPolicy::ByStartSequence { start_sequence } => {
            Start::Behind(start_sequence.saturating_sub(1))
        }
        DeliverPolicy::ByStartTime { start_time } => {
            Start::Time(u64::try_from(start_time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
        }
        _ => Start::Behind(0),
    }
}

fn numbered(message: Message) -> Result<Numbered, String> {
    let info = message.info().map_err(|error| format!("a record has no number: {error}"))?;
    let (sequence, delivered, pending) =
        (info.stream_sequence, info.consumer_sequence, info.pending);
    Ok(Numbered { message, sequence, delivered, pending })
}

/// The number before the first record of a stream. Of one that was always empty: 0.
fn before(info: &Info) -> u64 {
    info.state.first_sequence.saturating_sub(1)
}
