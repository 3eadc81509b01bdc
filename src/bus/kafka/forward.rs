//! Publications on their way to Kafka.
//!
//! A record's key is the channel's name, so that one channel's publications go to one partition and
//! keep their order; the key of a latest value is its header `key`. Where channels are numbered by
//! their partition, a publication goes to that one, and comes back on the channel that it was for.

use std::{borrow::Cow, str::FromStr, time::Duration};

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
    bus::{forwarding, refuse_all},
    ids::Position,
    inputs::{Forward, Input, Kafka, Source},
    logs::limited,
    mapping::{Fields, Template},
};

type Producer = FutureProducer<Context>;

pub async fn forward(input: Input, mut forwards: mpsc::Receiver<Forward>) {
    let Source::Kafka(kafka) = input.source else { unreachable!("a reader of Kafka") };
    let producer = match client::producer(&kafka, true) {
        Ok(producer) => producer,
        Err(why) => return refuse_all(forwards, why).await,
    };
    let numbered_by = input.numbered_by_bus.then_some(input.mapping.channel);
    let mut way = Way { kafka, destination: input.destination, numbered_by, producer };
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = in_flight.join_next() => (),
            forward = forwards.recv(), if in_flight.len() < forwarding::IN_FLIGHT_MAX => match forward {
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
    /// The template of the channels, if these are numbered by the bus.
    numbered_by: Option<Template>,
    producer: Producer,
}

impl Way {
    fn send(&mut self, forward: Forward, in_flight: &mut JoinSet<()>) {
        let sent = self.replace_if_broken().and_then(|()| self.hand_over(&forward));
        let (topic, delivery) = match sent {
            Ok(sent) => sent,
            Err(why) => return drop(forward.answer.send(Err(why))),
        };
        let is_ours = self.numbered_by.is_some() && self.kafka.topics.contains(&topic);
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
        let (topic, partition) = match self.origin(forward) {
            Some((topic, partition)) => (topic, Some(partition)),
            None => (forwarding::destination(&self.destination, forward)?, None),
        };
        let mut record = FutureRecord::to(&topic)
            .key(forward.channel.as_str())
            .payload(forward.payload.as_ref());
        record.partition = partition;
        if let Some(key) = &forward.key {
            let header = Header { key: "key", value: Some(key.as_bytes()) };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        match self.producer.send_result(record) {
            Ok(delivery) => Ok((topic, delivery)),
            Err((why, _)) => Err(refused(&topic, &why)),
        }
    }

    /// The topic and partition whose records come out on the publication's channel, if these say all
    /// of its name. The number of the partition stands in the name.
    fn origin(&self, forward: &Forward) -> Option<(String, i32)> {
        let (template, name) = (self.numbered_by.as_ref()?, forward.channel.as_str());
        let numbers = name.split(|byte: char| !byte.is_ascii_digit());
        let numbers = numbers.filter_map(|digits| i32::from_str(digits).ok());
        let places =
            numbers.flat_map(|number| self.kafka.topics.iter().map(move |it| (it, number)));
        let mut found = places.filter(|(topic, partition)| {
            let (place, mut out) = (Place { topic, partition: *partition }, Vec::new());
            let filled = template.fill(&place, &forward.payload, &mut out);
            filled.is_ok() && out == name.as_bytes()
        });
        found.next().map(|(topic, partition)| (topic.clone(), partition))
    }

    /// A client that has found that it cannot keep its promises takes nothing more.
    fn replace_if_broken(&mut self) -> Result<(), String> {
        let Some((code, why)) = self.producer.client().fatal_error() else { return Ok(()) };
        limited!(warn, "forwarding", "Kafka's client has failed ({code}: {why}) and is replaced");
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
            forwarding::unanswered(&format!("topic '{topic}' of Kafka"))
        }
        Some(code) => format!("Kafka did not take it for topic '{topic}': {code}"),
        None => format!("Kafka did not take it for topic '{topic}': {why}"),
    }
}

/// What is the same for all records of a partition.
struct Place<'a> {
    topic: &'a str,
    partition: i32,
}

impl Fields for Place<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "topic" => Some(self.topic.as_bytes().into()),
            "partition" => Some(self.partition.to_string().into_bytes().into()),
            _ => None,
        }
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}
