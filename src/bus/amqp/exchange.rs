//! A queue of its own at an exchange.
//!
//! The queue is the connection's alone and goes with it: an input that was away for a while does not
//! get what came meanwhile. A stream queue is for that.

use std::convert::Infallible;

use lapin::{
    Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{Broker, Intake, Record, payload, prefetch, short};
use crate::{
    bus::{Fault, Feed, Reader, Running},
    inputs::{Amqp, Input},
};

pub(super) struct Exchange {
    amqp: Amqp,
    name: Box<str>,
    prefetch: u16,
}

impl Exchange {
    pub(super) fn new(amqp: Amqp, input: &Input) -> Self {
        Exchange { amqp, name: input.name.clone(), prefetch: prefetch(input) }
    }

    async fn run(&self, feed: &mut Feed) -> Result<Infallible, Fault> {
        let broker = Broker::new(&self.amqp.url, &self.name).map_err(Fault::Refused)?;
        let connection = broker.connect().await?;
        let mut intake = self.bind(&broker, &connection).await?;
        feed.on_connected();
        feed.on_caught_up().await;
        loop {
            let lost = |error| broker.fault("what was asked", &error);
            let Some(mut delivery) = intake.next(feed).await.map_err(lost)? else {
                let place = &broker.place;
                return Err(Fault::Lost(format!("{place} has deleted the input's queue")));
            };
            let payload = payload(&mut delivery);
            let record = Record { delivery: &delivery, queue: "", offset: None };
            let ticket = feed.put(&record, payload, None).await;
            // One that goes nowhere is done with when those before it are.
            let ticket = ticket.unwrap_or_else(|| feed.last());
            intake.handed_over(&delivery, ticket);
        }
    }

    async fn bind(&self, broker: &Broker, connection: &Connection) -> Result<Intake, Fault> {
        let Amqp { exchange, keys, .. } = &self.amqp;
        let lost = |error| broker.fault("channel", &error);
        let channel = connection.create_channel().await.map_err(lost)?;
        let name = short("exchange", exchange).map_err(Fault::Refused)?;
        let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let (none, any) = (FieldTable::default(), ExchangeKind::Topic);
        channel.exchange_declare(name.clone(), any, passive, none).await.map_err(|error| {
            broker.fault(&format!("exchange '{exchange}' in this virtual host"), &error)
        })?;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let refused = |error| broker.fault("queue for this input", &error);
        let queue = channel.queue_declare("".into(), own, FieldTable::default()).await;
        let queue = queue.map_err(refused)?.name().clone();
        for key in keys {
            let key = short("routing-key", key).map_err(Fault::Refused)?;
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            let bound = channel.queue_bind(queue.clone(), name.clone(), key, options, none).await;
            bound.map_err(|error| {
                broker.fault(&format!("binding of a queue to the exchange '{exchange}'"), &error)
            })?;
        }
        let intake = Intake::new(channel, queue, self.prefetch, FieldTable::default()).await;
        intake.map_err(|error| broker.fault("reading of this input's queue", &error))
    }
}

impl Reader for Exchange {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async move {
            let Err(fault) = self.run(feed).await;
            fault
        })
    }
}
