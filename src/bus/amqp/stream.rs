//! A stream queue: a log, whose offsets number the channels.
//!
//! A record's position is its offset plus one: offsets of the broker begin at 0, and ours at 1. AMQP
//! does not tell a stream that was deleted and made anew from the old one. That its end lies before
//! what was read does; the stream then begins again in another numbering. One that has grown past that
//! meanwhile looks like the old one: so a new stream should have a new name.
//!
//! Offsets may have gaps where the broker keeps notes of its own in the stream. Only what is before
//! the first record that the broker still has was lost.

use std::{convert::Infallible, time::Duration};

use lapin::{
    Connection,
    message::Delivery,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broker, Intake, Record, header, payload, prefetch, short};
use crate::{
    bus::{Fault, Feed, Reader, Running, feed::epoch},
    ids::{Epoch, Offset, Position},
    inputs::{AmqpStream, Input, StartAt},
    logs::limited,
};

/// How long the newest records may take to come, by whether the broker has counted any: its count
/// is some seconds old.
const NEWEST_MAX: Duration = Duration::from_secs(10);
const NEWEST_OF_NONE_MAX: Duration = Duration::from_secs(1);
/// After the first of the newest records, how long the rest of their chunk may take to come, each
/// and in all.
const NEWEST_PAUSE: Duration = Duration::from_millis(100);
const NEWEST_REST_MAX: Duration = Duration::from_secs(1);
/// How long to wait for a record at or after a moment before there is taken to be none yet.
const MOMENT_MAX: Duration = Duration::from_secs(2);
/// How long a stream may say nothing before it is looked whether it has something.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Deliveries in flight while the newest are looked for.
const PROBE_PREFETCH: u16 = 256;

pub(super) struct Stream {
    source: AmqpStream,
    name: Box<str>,
    prefetch: u16,
    is_numbered: bool,
    /// The offset of the next record: what is before it was read, or was not to be read.
    next: Option<u64>,
    epoch: Epoch,
    /// Times that the stream was seen to have been made anew.
    generation: u64,
    /// The numbering that the homes were told of.
    told: Option<Epoch>,
    /// Whether the connection that there is was told of.
    is_connected: bool,
}

/// A connection to the stream.
struct Session {
    broker: Broker,
    connection: Connection,
    queue: ShortString,
    intake: Intake,
    /// The newest record when the connection was made.
    newest: Option<u64>,
}

impl Stream {
    pub(super) fn new(source: AmqpStream, input: &Input) -> Self {
        let mut stream = Stream {
            source,
            name: input.name.clone(),
            prefetch: prefetch(input),
            is_numbered: input.numbered_by_bus,
            next: None,
            epoch: Epoch(0),
            generation: 0,
            told: None,
            is_connected: false,
        };
        stream.epoch = stream.epoch();
        stream
    }

    fn epoch(&self) -> Epoch {
        let vhost = Broker::new(&self.source.url, &self.name).map(|broker| broker.uri.vhost);
        let (vhost, queue) = (vhost.unwrap_or_default(), self.source.queue.as_bytes());
        epoch(&[b"amqp-stream", vhost.as_bytes(), queue, &self.generation.to_le_bytes()])
    }

    async fn run(&mut self, feed: &mut Feed) -> Result<Infallible, Fault> {
        self.is_connected = false;
        let mut session = self.connect(feed).await?;
        self.on_connected(feed);
        self.begin_without_records(&mut session, feed).await?;
        let mut is_caught_up = false;
        loop {
            let end = session.newest.map_or(0, |newest| newest + 1);
            if !is_caught_up && self.next.is_some_and(|next| end <= next) {
                feed.on_caught_up().await;
                is_caught_up = true;
            }
            let delivery = self.next(&mut session, feed).await?;
            self.on_delivery(&mut session, feed, delivery).await?;
        }
    }

    fn on_connected(&mut self, feed: &mut Feed) {
        if !std::mem::replace(&mut self.is_connected, true) {
            feed.on_connected();
        }
    }

    async fn connect(&mut self, feed: &mut Feed) -> Result<Session, Fault> {
        let broker = Broker::new(&self.source.url, &self.name).map_err(Fault::Refused)?;
        let queue = short("queue", &self.source.queue).map_err(Fault::Refused)?;
        let connection = broker.connect().await?;
        let newest = self.newest(&broker, &connection, queue.clone(), feed).await?;
        if let (Some(next), Some(newest)) = (self.next, newest)
            && newest + 1 < next
        {
            self.on_made_anew(newest, next);
        }
        let start = match self.next {
            Some(next) => at_offset(next),
            None => self.start(newest).map_err(Fault::Refused)?,
        };
        let intake = open(&broker, &connection, queue.clone(), self.prefetch, start).await?;
        Ok(Session { broker, connection, queue, intake, newest })
    }

    /// The offset of the newest record, `None` if there seems to be none. Where records were read
    /// before, there are some, or the stream was made anew: then it is waited for the first.
    async fn newest(
        &mut self,
        broker: &Broker,
        connection: &Connection,
        queue: ShortString,
        feed: &mut Feed,
    ) -> Result<Option<u64>, Fault> {
        let lost = |error| broker.fault("reading of the stream", &error);
        let channel = connection.create_channel().await.map_err(lost)?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let declared = channel.queue_declare(queue.clone(), passive, FieldTable::default()).await;
        let count = declared
            .map_err(|error| {
                broker.fault(&format!("queue '{queue}' in this virtual host"), &error)
            })?
            .message_count();
        let _ = channel.close(200, "".into()).await;
        let limit = if count > 0 { NEWEST_MAX } else { NEWEST_OF_NONE_MAX };
        loop {
            let newest = self.look(broker, connection, queue.clone(), feed, limit).await?;
            if newest.is_some() || self.next.is_none_or(|next| next == 0) {
                return Ok(newest);
            }
            self.on_connected(feed);
        }
    }

    /// The offset of the newest record, if it comes within the limit: of the last one in the newest
    /// chunk.
    async fn look(
        &self,
        broker: &Broker,
        connection: &Connection,
        queue: ShortString,
        feed: &mut Feed,
        limit: Duration,
    ) -> Result<Option<u64>, Fault> {
        let last = AMQPValue::LongString("last".into());
        let mut intake = open(broker, connection, queue, PROBE_PREFETCH, last).await?;
        let (mut newest, mut by, mut until) = (None, Instant::now() + limit, None);
        while let Ok(delivery) = timeout_at(by, intake.next(feed)).await {
            let lost = |error| broker.fault("reading of the stream", &error);
            let Some(delivery) = delivery.map_err(lost)? else { break };
            newest = newest.max(Some(self.offset_of(&delivery)?));
            intake.handed_over(&delivery, 0);
            let now = Instant::now();
            by = (now + NEWEST_PAUSE).min(*until.get_or_insert(now + NEWEST_REST_MAX));
        }
        let _ = intake.channel.close(200, "".into()).await;
        Ok(newest)
    }

    /// The next delivery. A reader that has come while the broker was starting the stream may wait for
    /// ever: where nothing comes, and the stream has more, the connection is made again.
    async fn next(&self, session: &mut Session, feed: &mut Feed) -> Result<Delivery, Fault> {
        loop {
            if let Ok(delivery) = timeout(SILENCE_MAX, session.next(feed)).await {
                return delivery;
            }
            let Session { broker, connection, queue, .. } = &*session;
            let limit = NEWEST_OF_NONE_MAX;
            let newest = self.look(broker, connection, queue.clone(), feed, limit).await?;
            if newest.is_none_or(|newest| newest < self.next.unwrap_or(0)) {
                continue;
            }
            if let Ok(delivery) = timeout(NEWEST_OF_NONE_MAX, session.next(feed)).await {
                return delivery;
            }
            let Session { broker, queue, .. } = &*session;
            let why = format!("{} has more in '{queue}' and does not send it", broker.place);
            return Err(Fault::Lost(why));
        }
    }

    fn on_made_anew(&mut self, newest: u64, next: u64) {
        limited!(
            warn,
            "input",
            "input {}: the stream '{}' ends at offset {newest}, and offset {} was read before: it was \
             made anew, and is read from its beginning",
            self.name,
            self.source.queue,
            next - 1
        );
        self.generation += 1;
        self.epoch = self.epoch();
        self.next = None;
    }

    /// Where the broker is to begin, before anything was read.
    fn start(&mut self, newest: Option<u64>) -> Result<AMQPValue, String> {
        let first = || AMQPValue::LongString("first".into());
        let end = newest.map_or(0, |newest| newest + 1);
        if self.generation > 0 {
            return Ok(first());
        }
        Ok(match &self.source.start {
            StartAt::New | StartAt::History(0) | StartAt::Last(0) => {
                self.next = Some(end);
                if end == 0 { first() } else { at_offset(end) }
            }
            StartAt::Behind(text) => {
                let next = text.parse::<u64>().ok().filter(|offset| *offset < end);
                let Some(offset) = next else {
                    return Err(format!(
                        "start=behind:{text} is no offset of the stream '{}', which ends before \
                         {end}; write behind:OFFSET",
                        self.source.queue
                    ));
                };
                self.next = Some(offset + 1);
                at_offset(offset + 1)
            }
            _ if newest.is_none() => {
                self.next = Some(0);
                first()
            }
            StartAt::History(count) | StartAt::Last(count) => at_offset(end.saturating_sub(*count)),
            StartAt::All => first(),
            StartAt::Time(ms) => AMQPValue::Timestamp(ms / 1000),
        })
    }

    /// Homes learn of the numbering before its first record where the offset of that is known. Where
    /// there may be no record yet, that is found out.
    async fn begin_without_records(
        &mut self,
        session: &mut Session,
        feed: &mut Feed,
    ) -> Result<(), Fault> {
        if let Some(next) = self.next {
            self.begin(feed, next).await;
        } else if matches!(self.source.start, StartAt::Time(_)) {
            match timeout(MOMENT_MAX, session.next(feed)).await {
                Ok(delivery) => self.on_delivery(session, feed, delivery?).await?,
                Err(_) => self.begin(feed, session.newest.map_or(0, |newest| newest + 1)).await,
            }
        }
        Ok(())
    }

    /// Records come from this offset on.
    async fn begin(&mut self, feed: &mut Feed, next: u64) {
        self.next = Some(next);
        if !self.is_numbered || self.told == Some(self.epoch) {
            return;
        }
        let replaces = self.told.replace(self.epoch);
        let queue = &self.source.queue;
        let known = |field: &str| (field == "queue").then(|| queue.clone());
        feed.begin(self.epoch, replaces, offset_before(next), known).await;
    }

    async fn on_delivery(
        &mut self,
        session: &mut Session,
        feed: &mut Feed,
        mut delivery: Delivery,
    ) -> Result<(), Fault> {
        let offset = self.offset_of(&delivery)?;
        let next = match self.next {
            Some(next) => next,
            None => {
                self.begin(feed, offset).await;
                offset
            }
        };
        if offset > next {
            self.on_jump(session, feed, next, offset).await?;
        }
        let mut ticket = None;
        if offset >= next {
            self.next = Some(offset + 1);
            let payload = payload(&mut delivery);
            let queue = self.source.queue.as_str();
            let record = Record { delivery: &delivery, queue, offset: Some(offset) };
            let position = Position { epoch: self.epoch, offset: offset_before(offset + 1) };
            ticket = feed.put(&record, payload, self.is_numbered.then_some(position)).await;
            let newest = session.newest.unwrap_or(0);
            session.intake.left = newest.saturating_sub(offset);
        }
        let ticket = ticket.unwrap_or_else(|| feed.last());
        session.intake.handed_over(&delivery, ticket);
        Ok(())
    }

    /// There is nothing between two offsets. What is older than the oldest record that the broker
    /// has was lost.
    async fn on_jump(
        &mut self,
        session: &Session,
        feed: &mut Feed,
        next: u64,
        offset: u64,
    ) -> Result<(), Fault> {
        if !self.is_numbered {
            return Ok(());
        }
        let Session { broker, connection, queue, .. } = session;
        let first = AMQPValue::LongString("first".into());
        let mut probe = open(broker, connection, queue.clone(), 1, first).await?;
        let lost = |error| broker.fault("reading of the stream's beginning", &error);
        let oldest = match probe.next(feed).await.map_err(lost)? {
            Some(oldest) => self.offset_of(&oldest)?.min(offset),
            None => offset,
        };
        let _ = probe.channel.close(200, "".into()).await;
        if oldest > next {
            feed.hole(self.epoch, offset_before(next), offset_before(oldest)).await;
        }
        Ok(())
    }

    fn offset_of(&self, delivery: &Delivery) -> Result<u64, Fault> {
        match header(delivery, "x-stream-offset") {
            Some(AMQPValue::LongLongInt(offset)) => Ok(u64::try_from(*offset).unwrap_or(0)),
            _ => Err(Fault::Refused(format!(
                "the queue '{}' is no stream; declare it with x-queue-type=stream, or read an \
                 exchange with kind=amqp",
                self.source.queue
            ))),
        }
    }
}

impl Session {
    async fn next(&mut self, feed: &mut Feed) -> Result<Delivery, Fault> {
        let delivery = self.intake.next(feed).await;
        let delivery = delivery.map_err(|error| self.broker.fault("what was asked", &error))?;
        let (place, queue) = (&self.broker.place, &self.queue);
        delivery.ok_or_else(|| Fault::Lost(format!("{place} has ended reading of '{queue}'")))
    }
}

impl Reader for Stream {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async move {
            let Err(fault) = self.run(feed).await;
            fault
        })
    }
}

/// Our offset of the record before this one of the stream's: ours begin at 1, where theirs begin at 0.
fn offset_before(offset: u64) -> Offset {
    Offset(u128::from(offset))
}

fn at_offset(offset: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
}

/// Reads the stream from somewhere, on a channel of its own.
async fn open(
    broker: &Broker,
    connection: &Connection,
    queue: ShortString,
    prefetch: u16,
    start: AMQPValue,
) -> Result<Intake, Fault> {
    let refused = |error| {
        broker.fault("reading of the stream (is it declared with x-queue-type=stream?)", &error)
    };
    let channel = connection.create_channel().await.map_err(refused)?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), start);
    Intake::new(channel, queue, prefetch, arguments).await.map_err(refused)
}
