//! What a cluster has of the topics that are read: asked at the beginning of each connection, on a
//! thread that may wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::Offset,
};

use super::{
    client::Consumer,
    partition::{Found, Read},
};
use crate::{
    bus::{Fault, feed},
    ids::Epoch,
    inputs::{Kafka, StartAt},
};

/// What a cluster has.
pub(super) struct Cluster {
    /// Its id, or nothing if its brokers have none.
    pub id: String,
    /// The partitions of each topic that was asked for, by their numbers.
    pub topics: Vec<Vec<Found>>,
}

/// What to ask.
pub(super) struct Question {
    pub consumer: Arc<Consumer>,
    pub kafka: Kafka,
    /// What was read of each topic's partitions.
    pub read: Vec<Vec<Option<Read>>>,
    /// Whether the topics were found before.
    pub were_met: bool,
    /// Set when nobody wants the answer any more.
    pub is_over: Arc<AtomicBool>,
}

/// Partitions that an input may read: each costs librdkafka some kilobytes and a line of statistics
/// every second.
pub(super) const PARTITIONS_MAX: usize = 10_000;

/// How long a cluster may take for one answer, and how often we look whether anybody still wants it.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Question {
    /// Asks, and waits for the answers.
    pub fn ask(self) -> Result<Cluster, Fault> {
        let counts = self.kafka.topics.iter().map(|topic| self.partitions(topic));
        let counts = counts.collect::<Result<Vec<usize>, Fault>>()?;
        check_count(counts.iter().sum())?;
        // Known, as the answers before have said it.
        let id = self.consumer.client().fetch_cluster_id(Duration::ZERO).unwrap_or_default();
        let lows = self.offsets(&counts, |_, _, _| Some(Offset::Beginning))?;
        let highs = self.offsets(&counts, |_, _, _| Some(Offset::End))?;
        let since = self.offsets(&counts, |topic, number, at| {
            let high = highs[at].unwrap_or(0);
            match (self.read(topic, number), &self.kafka.start) {
                (Some(read), _) => (high < read.next).then_some(Offset::Offset(read.last_ms)),
                (None, StartAt::Time(ms)) if !self.were_met => {
                    Some(Offset::Offset(i64::try_from(*ms).unwrap_or(i64::MAX)))
                }
                _ => None,
            }
        })?;
        let mut found = lows.iter().zip(&highs).zip(&since);
        let topics = counts.iter().enumerate().map(|(topic, count)| {
            let found = found.by_ref().take(*count).enumerate();
            let found = found.map(|(number, ((low, high), since))| Found {
                low: low.unwrap_or(0),
                high: high.unwrap_or(0),
                since: *since,
                is_new: self.were_met && self.read(topic, number).is_none(),
            });
            found.collect()
        });
        Ok(Cluster { id, topics: topics.collect() })
    }

    fn read(&self, topic: usize, number: usize) -> Option<Read> {
        self.read[topic].get(number).copied().flatten()
    }

    /// How many partitions a topic has.
    fn partitions(&self, topic: &str) -> Result<usize, Fault> {
        let metadata = self.patiently(|wait| self.consumer.fetch_metadata(Some(topic), wait))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
        let brokers = &self.kafka.brokers;
        match (found, error) {
            (Some(found), None) if !found.partitions().is_empty() => Ok(found.partitions().len()),
            (_, Some(RDKafkaErrorCode::TopicAuthorizationFailed)) => Err(Fault::Refused(format!(
                "{brokers} does not let us read topic '{topic}'; see its access control lists"
            ))),
            (_, Some(RDKafkaErrorCode::InvalidTopic)) => Err(Fault::Refused(format!(
                "'{topic}' is no name of a topic; those have letters, digits and ._- only"
            ))),
            (_, None | Some(RDKafkaErrorCode::UnknownTopicOrPartition)) => Err(Fault::Refused(
                format!("{brokers} has no topic '{topic}'; make it, or see the key `topic`"),
            )),
            (_, Some(error)) => {
                Err(Fault::Lost(format!("{brokers} cannot say what topic '{topic}' has: {error}")))
            }
        }
    }

    /// Asks for offsets of all partitions: `ask` gives, by topic, number and place among all, what
    /// to ask for, and may ask for nothing. `None` where there is nothing at or behind that.
    fn offsets(
        &self,
        counts: &[usize],
        ask: impl Fn(usize, usize, usize) -> Option<Offset>,
    ) -> Result<Vec<Option<i64>>, Fault> {
        let all = counts.iter().enumerate();
        let all = all.flat_map(|(topic, count)| (0..*count).map(move |number| (topic, number)));
        let all: Vec<(usize, usize)> = all.collect();
        let mut list = TopicPartitionList::new();
        for (at, (topic, number)) in all.iter().enumerate() {
            if let Some(offset) = ask(*topic, *number, at) {
                let name = &self.kafka.topics[*topic];
                let added = list.add_partition_offset(name, *number as i32, offset);
                added.map_err(|why| self.lost(&why))?;
            }
        }
        if list.count() == 0 {
            return Ok(vec![None; all.len()]);
        }
        let list = self.patiently(|wait| self.consumer.offsets_for_times(list.clone(), wait))?;
        let offset = |(topic, number): &(usize, usize)| {
            let name = &self.kafka.topics[*topic];
            let Some(found) = list.find_partition(name, *number as i32) else { return Ok(None) };
            found.error().map_err(|why| {
                let brokers = &self.kafka.brokers;
                Fault::Lost(format!("{brokers}: partition {number} of topic '{name}': {why}"))
            })?;
            Ok(match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        };
        all.iter().map(offset).collect()
    }

    /// Asks again as long as there is patience and somebody who wants to know.
    fn patiently<T>(&self, ask: impl Fn(Duration) -> KafkaResult<T>) -> Result<T, Fault> {
        let until = Instant::now() + PATIENCE;
        loop {
            match ask(LOOK_EVERY) {
                Ok(answer) => return Ok(answer),
                Err(why) if self.is_over.load(Ordering::Relaxed) || Instant::now() >= until => {
                    return Err(self.lost(&why));
                }
                Err(_) => (),
            }
        }
    }

    fn lost(&self, why: &KafkaError) -> Fault {
        let brokers = &self.kafka.brokers;
        Fault::Lost(match why.rdkafka_error_code() {
            Some(code) => format!("{brokers} does not answer: {code}"),
            None => format!("{brokers} cannot be asked: {why}"),
        })
    }
}

pub(super) fn check_count(partitions: usize) -> Result<(), Fault> {
    if partitions <= PARTITIONS_MAX {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "its topics have {partitions} partitions, and an input reads at most {PARTITIONS_MAX}; make \
         several inputs of it"
    )))
}

/// The numbering of a partition. A topic that is made anew under its name has the same.
pub(super) fn epoch(cluster: &str, topic: &str, partition: i32) -> Epoch {
    let partition = partition.to_le_bytes();
    feed::epoch(&[b"kafka", cluster.as_bytes(), topic.as_bytes(), &partition])
}
