//! RabbitMQ over AMQP 0.9.1, with publisher confirms: to an exchange, or straight to stream queues.
//! The channel's name goes in a header as well.

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind,
    ExchangeKind, PublisherConfirm,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
    },
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use tokio::{runtime::Runtime, time::timeout};

use super::{ANSWER_MAX, Bus, Link, Outcome, Outgoing, late, runtime};

/// A connection with one channel.
struct Amqp {
    runtime: Runtime,
    /// Ends with this.
    _connection: Connection,
    channel: Channel,
    exchange: ShortString,
    place: String,
}

/// Survives a restart of the broker, where the queue does.
const PERSISTENT: u8 = 2;

pub fn connect(bus: &Bus) -> Result<Box<dyn Link>, String> {
    let (runtime, place) = (runtime()?, bus.place());
    let wrong = || "its url is not like amqp://user:password@127.0.0.1:5672/vhost".to_owned();
    let mut uri: AMQPUri = bus.url.parse().map_err(|_| wrong())?;
    // Nobody has a virtual host without a name, and many end the URL with a slash.
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    let vhost = uri.vhost.clone();
    let exchange = short(&bus.exchange)?;
    let connecting = async {
        let properties =
            ConnectionProperties::default().with_connection_name("stentor-loadtest".into());
        let connection = Connection::connect_uri(uri, properties).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok((connection, channel))
    };
    let connected = runtime.block_on(async { timeout(ANSWER_MAX, connecting).await });
    let connected = connected.map_err(|_| format!("{place} gives {}", late()))?;
    let (connection, channel) = connected.map_err(|error: Error| match kind(&error) {
        Some(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) => {
            format!("{place} refuses the user or password; see url")
        }
        Some(AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)) => format!(
            "{place} has no virtual host '{vhost}' for this user; see the end of url, where %2f is \
             the default one"
        ),
        _ => format!("{place} is not there: {error}; start it, or see url"),
    })?;
    Ok(Box::new(Amqp { runtime, _connection: connection, channel, exchange, place }))
}

impl Link for Amqp {
    fn check(&mut self, to: &str) -> Result<(), String> {
        let (channel, exchange, nothing) = (&self.channel, &self.exchange, FieldTable::default());
        let (what, asked) = if exchange.as_str().is_empty() {
            let options = QueueDeclareOptions { passive: true, ..Default::default() };
            let asking = channel.queue_declare(short(to)?, options, nothing);
            (format!("queue '{to}'"), self.runtime.block_on(asking).map(drop))
        } else {
            let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
            let kind = ExchangeKind::Topic;
            let asking = channel.exchange_declare(exchange.clone(), kind, options, nothing);
            (format!("exchange '{exchange}'"), self.runtime.block_on(asking))
        };
        let place = &self.place;
        asked.map_err(|error| match kind(&error) {
            Some(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)) => {
                format!("{place} has no {what}; make it first, or see to and exchange")
            }
            _ => format!("{place} does not tell of {what}: {error}"),
        })
    }

    fn publish(&mut self, batch: Vec<Outgoing>) -> Result<Vec<Outcome>, String> {
        let (channel, exchange) = (&self.channel, &self.exchange);
        let publishing = async {
            let mut confirms = Vec::with_capacity(batch.len());
            for one in &batch {
                confirms.push(match short(&one.to) {
                    Ok(key) => Ok(hand_over(channel, exchange.clone(), key, one).await?),
                    Err(why) => Err(why),
                });
            }
            let mut outcomes = Vec::with_capacity(batch.len());
            for confirm in confirms {
                outcomes.push(match confirm {
                    Ok(confirm) => outcome(confirm.await?),
                    Err(why) => Err(format!("refused: {why}")),
                });
            }
            Ok(outcomes)
        };
        let published = self.runtime.block_on(async { timeout(ANSWER_MAX, publishing).await });
        let published = published.map_err(|_| late())?;
        published.map_err(|error: Error| match error.kind() {
            ErrorKind::ProtocolError(told) => format!("the connection ended: {}", told.kind()),
            _ => "the connection was lost".to_owned(),
        })
    }
}

async fn hand_over(
    channel: &Channel,
    exchange: ShortString,
    key: ShortString,
    one: &Outgoing,
) -> Result<PublisherConfirm, Error> {
    let mut headers = FieldTable::default();
    headers.insert("channel".into(), AMQPValue::LongString(one.channel.as_str().into()));
    let properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    // What no queue takes comes back, so that it does not count as published.
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    channel.basic_publish(exchange, key, options, &one.payload, properties).await
}

fn outcome(confirmation: Confirmation) -> Outcome {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err("refused: no queue takes it".to_owned()),
        _ => Err("refused: the broker did not take it".to_owned()),
    }
}

fn kind(error: &Error) -> Option<&AMQPErrorKind> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.kind()),
        _ => None,
    }
}

/// A name that AMQP can carry.
fn short(name: &str) -> Result<ShortString, String> {
    ShortString::try_new(name).map_err(|_| "its name is longer than 255 bytes".to_owned())
}
