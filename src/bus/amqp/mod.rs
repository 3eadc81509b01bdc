//! RabbitMQ over AMQP 0.9.1: a queue of its own at an exchange, or a stream queue.
//!
//! What is in flight is bounded by the prefetch: the broker sends no more than that beyond what was
//! acknowledged, and acknowledged is what is settled, in order. The client's own queue of deliveries
//! has no bound besides.

mod exchange;
mod forwarding;
mod stream;

use std::{borrow::Cow, collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer, Error, ErrorKind,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use tokio::time::timeout;

pub(super) use forwarding::forward;

use super::{Fault, Feed, Reader};
use crate::{
    inputs::{Input, Source},
    mapping::Fields,
};

/// How long a connection may take to stand.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Seconds between two heartbeats, unless the URL says otherwise: a broker that has vanished is
/// missed after two of them.
const HEARTBEAT_SECS: u16 = 10;

pub(super) fn reader(input: Input) -> Box<dyn Reader> {
    match input.source.clone() {
        Source::Amqp(amqp) => Box::new(exchange::Exchange::new(amqp, &input)),
        Source::AmqpStream(stream) => Box::new(stream::Stream::new(stream, &input)),
        other => unreachable!("{other:?} is read elsewhere"),
    }
}

/// A broker, as its URL says.
struct Broker {
    uri: AMQPUri,
    /// For errors: without user and password.
    place: String,
    name: Box<str>,
}

impl Broker {
    fn new(url: &str, name: &str) -> Result<Self, String> {
        let bad = || "its url is not like amqp://user:password@127.0.0.1:5672/vhost".to_owned();
        let mut uri: AMQPUri = url.parse().map_err(|_| bad())?;
        // Nobody has a virtual host without a name, and many end the URL with a slash.
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        ShortString::try_new(uri.vhost.as_str()).map_err(|_| bad())?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECS);
        let limit = CONNECT_MAX.as_millis() as u64;
        uri.query.connection_timeout.get_or_insert(limit);
        let place = format!("{}://{}:{}", uri.scheme, uri.authority.host, uri.authority.port);
        Ok(Broker { uri, place, name: name.into() })
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("stentor {}", self.name).into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        match timeout(CONNECT_MAX, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.on_connect_error(&error)),
            Err(_) => Err(Fault::Lost(format!(
                "{} did not answer within {} s",
                self.place,
                CONNECT_MAX.as_secs()
            ))),
        }
    }

    fn on_connect_error(&self, error: &Error) -> Fault {
        let place = &self.place;
        match kind(error) {
            Some(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) => {
                Fault::Refused(format!("{place} refuses the user or password; see the key `url`"))
            }
            Some(AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)) => Fault::Refused(format!(
                "{place} has no virtual host '{}' for this user; see the end of the key `url`, where %2f is \
                 the default one",
                self.uri.vhost
            )),
            _ => Fault::Lost(format!("{place} cannot be reached: {error}")),
        }
    }

    /// What to make of an error on a channel: `what` was asked for.
    fn fault(&self, what: &str, error: &Error) -> Fault {
        let place = &self.place;
        match (kind(error), error.kind()) {
            (Some(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)), _) => Fault::Refused(format!(
                "{place} has no {what}; make it first, or see the key `url`"
            )),
            (Some(AMQPErrorKind::Soft(_)), ErrorKind::ProtocolError(told)) => {
                Fault::Refused(format!("{place} refuses {what}: {}", told.get_message()))
            }
            _ => Fault::Lost(format!("the connection to {place} was lost: {error}")),
        }
    }
}

fn kind(error: &Error) -> Option<&AMQPErrorKind> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.kind()),
        _ => None,
    }
}

/// A name that AMQP can carry.
fn short(what: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("the {what} '{text}' is longer than 255 bytes"))
}

/// The prefetch of an input: as many records as may be on their way to a shard.
fn prefetch(input: &Input) -> u16 {
    u16::try_from(input.queue).unwrap_or(u16::MAX).max(1)
}

/// Deliveries of one consumer, and the acknowledgements for them.
struct Intake {
    channel: Channel,
    consumer: Consumer,
    prefetch: u16,
    /// Deliveries that are not acknowledged: the ticket with which each is settled, and its tag.
    unsettled: VecDeque<(u64, u64)>,
    /// Records that are known to be still to come.
    left: u64,
}

impl Intake {
    async fn new(
        channel: Channel,
        queue: ShortString,
        prefetch: u16,
        arguments: FieldTable,
    ) -> Result<Self, Error> {
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue, "".into(), options, arguments).await?;
        Ok(Intake { channel, consumer, prefetch, unsettled: VecDeque::new(), left: 0 })
    }

    /// The next delivery, or `None` if the broker has ended the consumer. While there is none,
    /// what is settled is acknowledged. Safe to be dropped half way.
    async fn next(&mut self, feed: &mut Feed) -> Result<Option<Delivery>, Error> {
        if self.unsettled.len() >= usize::from(self.prefetch) / 2 {
            self.acknowledge(feed.settled()).await?;
            feed.state().set_lag(Some(self.left).filter(|left| *left > 0));
        }
        if let Some(delivery) = self.consumer.next().now_or_never() {
            return delivery.transpose();
        }
        feed.flush();
        if self.unsettled.len() < usize::from(self.prefetch) {
            feed.state().set_lag(Some(self.left));
        }
        loop {
            let known = feed.settled();
            self.acknowledge(known).await?;
            tokio::select! {
                biased;
                delivery = self.consumer.next() => return delivery.transpose(),
                _ = feed.settled_beyond(known), if !self.unsettled.is_empty() => (),
            }
        }
    }

    /// The delivery is done with once everything up to this ticket is settled.
    fn handed_over(&mut self, delivery: &Delivery, ticket: u64) {
        self.unsettled.push_back((ticket, delivery.delivery_tag));
    }

    async fn acknowledge(&mut self, settled: u64) -> Result<(), Error> {
        let done = self.unsettled.partition_point(|&(ticket, _)| ticket <= settled);
        let Some((_, tag)) = self.unsettled.drain(..done).next_back() else { return Ok(()) };
        self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await
    }
}

/// What the broker has of a delivery.
struct Record<'a> {
    delivery: &'a Delivery,
    queue: &'a str,
    offset: Option<u64>,
}

impl Fields for Record<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "routing-key" => Some(Cow::Borrowed(self.delivery.routing_key.as_str().as_bytes())),
            "exchange" => Some(Cow::Borrowed(self.delivery.exchange.as_str().as_bytes())),
            "queue" => Some(Cow::Borrowed(self.queue.as_bytes())),
            "offset" => self.offset.map(|offset| Cow::Owned(offset.to_string().into_bytes())),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let text = |value: &dyn ToString| Some(Cow::Owned(value.to_string().into_bytes()));
        match header(self.delivery, name)? {
            AMQPValue::LongString(value) => Some(Cow::Borrowed(value.as_bytes())),
            AMQPValue::ShortString(value) => Some(Cow::Borrowed(value.as_str().as_bytes())),
            AMQPValue::ByteArray(value) => Some(Cow::Borrowed(value.as_slice())),
            AMQPValue::Boolean(value) => text(value),
            AMQPValue::ShortShortInt(value) => text(value),
            AMQPValue::ShortShortUInt(value) => text(value),
            AMQPValue::ShortInt(value) => text(value),
            AMQPValue::ShortUInt(value) => text(value),
            AMQPValue::LongInt(value) => text(value),
            AMQPValue::LongUInt(value) => text(value),
            AMQPValue::LongLongInt(value) => text(value),
            AMQPValue::Timestamp(value) => text(value),
            AMQPValue::Float(value) => text(value),
            AMQPValue::Double(value) => text(value),
            _ => None,
        }
    }
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}

/// The payload, which leaves the delivery.
fn payload(delivery: &mut Delivery) -> Bytes {
    Bytes::from(std::mem::take(&mut delivery.data))
}
