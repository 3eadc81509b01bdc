//! Publications on their way to Kafka.
//!
//! A record's key is the channel's name, so that one channel's publications go to one partition and
//! keep their order; the key of a latest value is its header `key`.

use std::{borrow::Cow, time::Duration};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{
        FutureProducer, FutureRecord, Producer as _,
        future_producer::{Delivery, DeliveryFuture},
    },
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    client::{self, Context},
    cluster::epoch,
    partition::position,
};
use crate::{
    bus::refuse_all,
    ids::{ChannelName, Position},
    inputs::{Forward, Input, Kafka, Source},
    mapping::{Fields, Template},
};

type Producer = FutureProducer<Context>;

/// Publications that Kafka may have without having answered.
const IN_FLIGHT_MAX: usize = 256;

pub(in crate::bus) async fn forward(input: Input, mut forwards: mpsc::Receiver<Forward>) {
    let Source::Kafka(kafka) = input.source else { unreachable!("a reader of Kafka") };
    let producer = match client::producer(&kafka, true) {
        Ok(producer) => producer,
        Err(why) => return refuse_all(forwards, why).await,
    };
    let destination = input.destination;
    let mut way = Way { kafka, destination, numbered: input.numbered_by_bus, producer };
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = in_flight.join_next() => (),
            forward = forwards.recv(), if in_flight.len() < IN_FLIGHT_MAX => match forward {
                Some(forward) => way.send(forward, &mut in_flight),
                None => break,
            },
        }
    }
    while in_flight.join_next().await.is_some() {}
}

/// The way to a cluster.
struct Way {
    kafka: Kafka,
    destination: Template,
    numbered: bool,
    producer: Producer,
}

impl Way {
    fn send(&mut self, forward: Forward, in_flight: &mut JoinSet<()>) {
        let sent = self.replace_if_broken().and_then(|()| self.hand_over(&forward));
        let (topic, delivery) = match sent {
            Ok(sent) => sent,
            Err(why) => return drop(forward.answer.send(Err(why))),
        };
        let is_ours = self.numbered && self.kafka.topics.contains(&topic);
        let producer = self.producer.clone();
        in_flight.spawn(async move {
            let answer = match delivery.await {
                Ok(Ok(delivery)) => Ok(is_ours.then(|| place(&producer, &topic, &delivery))),
                Ok(Err((why, _))) => Err(refused(&topic, &why)),
                Err(_) => Err("Kafka's client was closed before it had an answer".to_owned()),
            };
            let _ = forward.answer.send(answer);
        });
    }

    fn hand_over(&self, forward: &Forward) -> Result<(String, DeliveryFuture), String> {
        let mut topic = Vec::new();
        let named = self.destination.fill(&Channel(&forward.channel), &forward.payload, &mut topic);
        named.map_err(|why| why.to_string())?;
        let topic = String::from_utf8(topic).map_err(|_| "its topic is not UTF-8".to_owned())?;
        let mut record = FutureRecord::to(&topic)
            .key(forward.channel.as_str())
            .payload(forward.payload.as_ref());
        if let Some(key) = &forward.key {
            let header = Header { key: "key", value: Some(key.as_bytes()) };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        match self.producer.send_result(record) {
            Ok(delivery) => Ok((topic, delivery)),
            Err((why, _)) => Err(refused(&topic, &why)),
        }
    }

    /// A client that has found that it cannot keep its promises takes nothing more.
    fn replace_if_broken(&mut self) -> Result<(), String> {
        let Some((code, why)) = self.producer.client().fatal_error() else { return Ok(()) };
        tracing::warn!("Kafka's client has failed ({code}: {why}) and is replaced");
        // Old brokers cannot tell a repeat, and some let only the chosen ask for that.
        let cannot_tell = matches!(
            code,
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::ClusterAuthorizationFailed
        );
        self.producer = client::producer(&self.kafka, !cannot_tell)?;
        Ok(())
    }
}

/// The position that a record has for every edge that reads it.
fn place(producer: &Producer, topic: &str, delivery: &Delivery) -> Position {
    let cluster = producer.client().fetch_cluster_id(Duration::ZERO).unwrap_or_default();
    position(epoch(&cluster, topic, delivery.partition), delivery.offset)
}

fn refused(topic: &str, why: &KafkaError) -> String {
    match why.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageTimedOut) => {
            format!("Kafka did not take it for topic '{topic}' within 5 s")
        }
        Some(code) => format!("Kafka did not take it for topic '{topic}': {code}"),
        None => format!("Kafka did not take it for topic '{topic}': {why}"),
    }
}

/// What a destination may be made of.
struct Channel<'a>(&'a ChannelName);

impl Fields for Channel<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "channel").then(|| self.0.as_str().as_bytes().into())
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}
