//! Publications to an exchange or a stream queue, with publisher confirms.

use std::collections::VecDeque;

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{Broker, short};
use crate::{
    bus::{
        Fault,
        forwarding::{
            ANSWER_MAX, CONNECT_MAX, Ended, IN_FLIGHT_MAX, destination, keep_connected, unanswered,
        },
    },
    inputs::{Forward, Input, Source},
};

/// Survives a restart of the broker, where the queue does.
const PERSISTENT: u8 = 2;

pub(in super::super) async fn forward(input: Input, forwards: mpsc::Receiver<Forward>) {
    keep_connected(forwards, async |forwards, held| session(&input, forwards, held).await).await;
}

async fn session(
    input: &Input,
    forwards: &mut mpsc::Receiver<Forward>,
    held: &mut Option<Forward>,
) -> Result<(), Ended> {
    let connecting = timeout(CONNECT_MAX, Publisher::connect(input)).await;
    let connected = connecting.unwrap_or_else(|_| Err("the broker does not answer".to_owned()));
    let mut publisher = connected.map_err(Ended::before)?;
    loop {
        if !publisher.channel.status().connected() {
            let why = format!("the connection to {} was lost", publisher.broker.place);
            return Err(Ended::after(why));
        }
        if let Some(forward) = held.take() {
            publisher.publish(forward).await.map_err(Ended::after)?;
            continue;
        }
        let has_room = publisher.in_flight.len() < IN_FLIGHT_MAX;
        tokio::select! {
            forward = forwards.recv(), if has_room => match forward {
                Some(forward) => *held = Some(forward),
                None => break,
            },
            confirmed = publisher.confirmed(), if !publisher.in_flight.is_empty() => {
                confirmed.map_err(Ended::after)?;
            }
        }
    }
    while !publisher.in_flight.is_empty() {
        publisher.confirmed().await.map_err(Ended::after)?;
    }
    let _ = publisher.connection.close(200, "".into()).await;
    Ok(())
}

struct Publisher<'a> {
    broker: Broker,
    exchange: ShortString,
    connection: Connection,
    channel: Channel,
    input: &'a Input,
    in_flight: VecDeque<(Instant, Forward, PublisherConfirm)>,
}

impl<'a> Publisher<'a> {
    async fn connect(input: &'a Input) -> Result<Self, String> {
        let (url, exchange) = match &input.source {
            Source::Amqp(amqp) => (&amqp.url, amqp.exchange.as_str()),
            // The nameless exchange takes what is published to the queue that the key names.
            Source::AmqpStream(stream) => (&stream.url, ""),
            other => unreachable!("{other:?} is published to elsewhere"),
        };
        let broker = Broker::new(url, &input.name)?;
        let exchange = short("exchange", exchange)?;
        let connecting = async {
            let connection = broker.connect().await?;
            let lost = |error| broker.fault("publisher confirms", &error);
            let channel = connection.create_channel().await.map_err(lost)?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(lost)?;
            Ok((connection, channel))
        };
        let (connection, channel) = connecting.await.map_err(|fault: Fault| match fault {
            Fault::Lost(why) | Fault::Refused(why) => why,
            Fault::Over => "it has ended".to_owned(),
        })?;
        Ok(Publisher { broker, exchange, connection, channel, input, in_flight: VecDeque::new() })
    }

    async fn publish(&mut self, forward: Forward) -> Result<(), String> {
        let key = destination(&self.input.destination, &forward);
        let key = key.and_then(|key| short("routing key", &key));
        let key = match key {
            Ok(key) => key,
            Err(why) => {
                let _ = forward.answer.send(Err(why));
                return Ok(());
            }
        };
        // What no queue takes comes back, so that nobody is told that it was published.
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = properties(&forward);
        let by = Instant::now() + ANSWER_MAX;
        let (exchange, payload) = (self.exchange.clone(), &*forward.payload);
        let publishing = self.channel.basic_publish(exchange, key, options, payload, properties);
        let why = match timeout_at(by, publishing).await {
            Ok(Ok(confirm)) => {
                self.in_flight.push_back((by, forward, confirm));
                return Ok(());
            }
            Ok(Err(error)) => format!("{} is lost: {error}", self.broker.place),
            Err(_) => format!("{} takes nothing at the moment", self.broker.place),
        };
        let _ = forward.answer.send(Err(why.clone()));
        Err(why)
    }

    /// Waits for the oldest confirmation and passes it on. Safe to be dropped half way.
    async fn confirmed(&mut self) -> Result<(), String> {
        let Some((by, _, confirm)) = self.in_flight.front_mut() else { return Ok(()) };
        let confirmation = timeout_at(*by, confirm).await;
        let place = &self.broker.place;
        let answer = match &confirmation {
            Ok(Ok(Confirmation::Ack(None))) => Ok(None),
            Ok(Ok(Confirmation::Ack(Some(returned)))) => Err(format!(
                "{place} has no queue that takes '{}' from the exchange '{}'; bind one, or see the key `to`",
                returned.routing_key, self.exchange
            )),
            Ok(Ok(_)) => Err(format!("{place} did not take it")),
            Ok(Err(error)) => Err(format!("the connection to {place} was lost: {error}")),
            Err(_) => Err(unanswered(place)),
        };
        if let Some((_, forward, _)) = self.in_flight.pop_front() {
            let _ = forward.answer.send(answer);
        }
        match confirmation {
            Ok(Err(error)) => Err(format!("the connection to {place} was lost: {error}")),
            _ => Ok(()),
        }
    }
}

/// The channel and the key go in headers: a stream's records all have its name as their routing key.
fn properties(forward: &Forward) -> BasicProperties {
    let mut headers = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    headers.insert("channel".into(), text(forward.channel.as_str()));
    if let Some(key) = &forward.key {
        headers.insert("key".into(), text(key));
    }
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers)
}

impl Drop for Publisher<'_> {
    fn drop(&mut self) {
        let why = format!(
            "the connection to {} was lost before it was confirmed; it may be published or not",
            self.broker.place
        );
        for (_, forward, _) in self.in_flight.drain(..) {
            let _ = forward.answer.send(Err(why.clone()));
        }
    }
}
