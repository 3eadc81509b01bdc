//! Kafka topics, all partitions, without a consumer group: every edge reads everything.
//!
//! librdkafka fetches on threads of its own into one bounded queue; here its records are mapped,
//! copied out of its buffers (so that the history of a channel does not keep whole fetches alive)
//! and handed over. While the shards are behind, nothing is taken from that queue, and once it is
//! full nothing is fetched.
//!
//! A connection ends with everything that is out of the ordinary: no broker left, an offset that the
//! broker does not have, a new partition. The next one compares what it has read with what the
//! broker has: [`Partition::meet`] knows what was trimmed, and what was made anew.
//!
//! The safe interface of librdkafka has no topic ids. That a topic was deleted and made anew under
//! its name is known by offsets that go back, and by nothing else: one that has grown past the place
//! where we were before we look is taken for the old one.

mod client;
mod cluster;
mod forward;
mod partition;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use rdkafka::{
    Message, TopicPartitionList,
    consumer::Consumer as _,
    error::KafkaError,
    message::{BorrowedMessage, Headers},
    topic_partition_list::Offset,
};
use tokio::task::{spawn_blocking, yield_now};

use self::{
    client::{Consumer, Seen},
    cluster::{Cluster, Question},
    partition::{Met, Partition, position},
};
use super::{Fault, Feed, Reader, Running};
use crate::{
    ids::Epoch,
    inputs::{Input, Kafka, Source},
    logs::limited,
    mapping::Fields,
};

pub(super) use forward::forward;

/// Records that are taken at a stretch before others on the thread have their turn.
const STRETCH: u32 = 1024;

pub(super) fn reader(input: Input) -> Box<dyn Reader> {
    let Source::Kafka(kafka) = input.source else { unreachable!("a reader of Kafka") };
    let topics = kafka.topics.iter().map(|_| Vec::new()).collect();
    let (name, numbered) = (input.name, input.numbered_by_bus);
    Box::new(Topics { name, kafka, numbered, topics, were_met: false })
}

/// The topics of an input, and how far they were read.
struct Topics {
    /// The input's name.
    name: Box<str>,
    kafka: Kafka,
    numbered: bool,
    /// The partitions of each topic, by their numbers.
    topics: Vec<Vec<Partition>>,
    /// Whether the topics were found once: partitions that come later are read from their beginning.
    were_met: bool,
}

/// A connection that is over.
enum End {
    Fault(Fault),
    /// There are new partitions.
    Grown,
}

impl Reader for Topics {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async move {
            loop {
                let consumer = match client::consumer(&self.kafka) {
                    Ok(consumer) => Arc::new(consumer),
                    Err(fault) => return fault,
                };
                let end = self.connection(&consumer, feed).await;
                // To close it takes a while.
                spawn_blocking(move || drop(consumer));
                match end {
                    End::Fault(fault) => return fault,
                    End::Grown => {
                        limited!(info, "input", "input {}: there are new partitions", self.name)
                    }
                }
            }
        })
    }
}

impl Topics {
    async fn connection(&mut self, consumer: &Arc<Consumer>, feed: &mut Feed) -> End {
        let cluster = match self.ask(consumer).await {
            Ok(cluster) => cluster,
            Err(fault) => return End::Fault(fault),
        };
        if let Err(fault) = self.meet(&cluster, feed).await {
            return End::Fault(fault);
        }
        if let Err(why) = self.assign(consumer) {
            return End::Fault(Fault::Lost(why));
        }
        feed.on_connected();
        self.take(consumer, feed).await
    }

    /// Asks the cluster what it has, on another thread, and listens to what goes wrong meanwhile.
    async fn ask(&self, consumer: &Arc<Consumer>) -> Result<Cluster, Fault> {
        let is_over = Over(Arc::new(AtomicBool::new(false)));
        let question = Question {
            consumer: Arc::clone(consumer),
            kafka: self.kafka.clone(),
            read: self.topics.iter().map(|all| all.iter().map(Partition::read).collect()).collect(),
            were_met: self.were_met,
            is_over: Arc::clone(&is_over.0),
        };
        let mut asked = spawn_blocking(move || question.ask());
        loop {
            tokio::select! {
                answer = &mut asked => {
                    return answer.unwrap_or_else(|_| Err(Fault::Lost("asking it failed".into())));
                }
                event = consumer.recv() => {
                    if let Err(error) = event
                        && let Some(fault) = self.fault(consumer, &error)
                    {
                        return Err(fault);
                    }
                }
            }
        }
    }

    /// Compares what was read with what the cluster has, and tells of what begins, is lost or was
    /// made anew.
    async fn meet(&mut self, cluster: &Cluster, feed: &mut Feed) -> Result<(), Fault> {
        for (topic, found) in cluster.topics.iter().enumerate() {
            // A topic that was made anew may have fewer than it had.
            self.topics[topic].truncate(found.len());
            for (number, found) in found.iter().enumerate() {
                let name = &self.kafka.topics[topic];
                if number == self.topics[topic].len() {
                    let epoch = cluster::epoch(&cluster.id, name, number as i32);
                    self.topics[topic].push(Partition::new(epoch));
                }
                let partition = &mut self.topics[topic][number];
                let old = partition.epoch;
                let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let met = partition.meet(found, &self.kafka.start, moment).map_err(|why| {
                    Fault::Refused(format!("partition {number} of topic '{name}' {why}"))
                })?;
                match self.numbered {
                    true => self.tell(topic, number, old, met, feed).await,
                    false => self.warn(topic, number, met, feed),
                }
            }
        }
        self.were_met = true;
        Ok(())
    }

    /// Tells the homes what their channels must know of a partition.
    async fn tell(&mut self, topic: usize, number: usize, old: Epoch, met: Met, feed: &mut Feed) {
        let (name, partition) = (&self.kafka.topics[topic], &mut self.topics[topic][number]);
        let known = |field: &str| match field {
            "topic" => Some(name.clone()),
            "partition" => Some(number.to_string()),
            _ => None,
        };
        let epoch = partition.epoch;
        let behind = |offset: i64| position(epoch, offset - 1).offset;
        let replaces = (epoch != old).then_some(old);
        if replaces.is_some() {
            limited!(
                warn,
                "input",
                "input {}: partition {number} of topic '{name}' does not have what was read last;                  its channels are numbered anew",
                self.name
            );
        }
        if !partition.begun || replaces.is_some() {
            feed.begin(epoch, replaces, behind(met.from()), known).await;
            partition.begun = true;
        }
        if let Met::Trimmed { from, to } = met {
            feed.hole(epoch, behind(from), behind(to)).await;
        }
    }

    /// Says what nobody else is told of, as the channels have numbers of their own.
    fn warn(&self, topic: usize, number: usize, met: Met, feed: &Feed) {
        let (input, topic) = (&self.name, &self.kafka.topics[topic]);
        match met {
            Met::At(_) => (),
            Met::Trimmed { from, to } => {
                feed.state().on_hole();
                limited!(
                    warn,
                    "input",
                    "input {input}: partition {number} of topic '{topic}' has lost offsets {from} to \
                     {} before they were read",
                    to - 1
                );
            }
            Met::Anew(from) => limited!(
                warn,
                "input",
                "input {input}: partition {number} of topic '{topic}' does not have what was read \
                 last; it goes on at offset {from}"
            ),
        }
    }

    fn assign(&self, consumer: &Consumer) -> Result<(), String> {
        let mut all = TopicPartitionList::new();
        for (name, partitions) in self.kafka.topics.iter().zip(&self.topics) {
            for (number, partition) in partitions.iter().enumerate() {
                let next = Offset::Offset(partition.next);
                all.add_partition_offset(name, number as i32, next)
                    .map_err(|why| why.to_string())?;
            }
        }
        consumer.assign(&all).map_err(|why| format!("cannot be read: {why}"))
    }

    /// Takes records until something ends it.
    async fn take(&mut self, consumer: &Consumer, feed: &mut Feed) -> End {
        let context = consumer.context();
        let (mut at, mut taken, mut quiet, mut is_behind) = ((0, 0), 0u32, 0, true);
        loop {
            let event = tokio::select! {
                biased;
                event = consumer.recv() => Some(event),
                () = ready(()), if quiet < 2 => None,
                () = context.told() => None,
            };
            match event {
                Some(Ok(message)) => {
                    (quiet, taken) = (0, taken.wrapping_add(1));
                    self.on_record(message, &mut at, feed).await;
                    if taken.is_multiple_of(STRETCH) {
                        yield_now().await;
                    }
                    continue;
                }
                Some(Err(error)) => {
                    quiet = 0;
                    if let Some(fault) = self.fault(consumer, &error) {
                        return End::Fault(fault);
                    }
                    continue;
                }
                // The client says that there is nothing also after events that are no records.
                None if context.take_events() => quiet = 0,
                None => quiet = (quiet + 1).min(3),
            }
            if quiet != 2 {
                continue;
            }
            feed.flush();
            if let Some(seen) = context.take_seen()
                && self.on_drained(&seen, feed)
            {
                return End::Grown;
            }
            if is_behind && self.topics.iter().flatten().all(Partition::is_caught_up) {
                is_behind = false;
                feed.on_caught_up().await;
            }
        }
    }

    /// Hands a record over. `at` is where the last one was, and most follow in the same partition.
    async fn on_record(
        &mut self,
        message: BorrowedMessage<'_>,
        at: &mut (usize, usize),
        feed: &mut Feed,
    ) {
        if self.kafka.topics[at.0] != message.topic() {
            let topic = self.kafka.topics.iter().position(|name| name == message.topic());
            let Some(topic) = topic else { return };
            at.0 = topic;
        }
        at.1 = message.partition() as usize;
        let Some(partition) = self.topics[at.0].get_mut(at.1) else { return };
        partition.on_record(message.offset(), message.timestamp().to_millis());
        let position = self.numbered.then(|| position(partition.epoch, message.offset()));
        // What Kafka calls a tombstone, a key without a payload, is a publication without bytes: whoever
        // shows the key's last value learns that it is gone.
        let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        let Some(mapped) = feed.map(&Record(&message), payload) else { return };
        drop(message);
        feed.put_mapped(mapped, position).await;
    }

    /// Everything was taken that had been fetched when the client told how it is. Whether there are
    /// new partitions.
    fn on_drained(&mut self, seen: &Seen, feed: &mut Feed) -> bool {
        let (mut lag, mut is_grown) = (0, false);
        for (name, partitions) in self.kafka.topics.iter().zip(&mut self.topics) {
            let Some(seen) = seen.topics.get(name) else { continue };
            for (number, seen) in &seen.partitions {
                match usize::try_from(*number).map(|number| partitions.get_mut(number)) {
                    Ok(Some(partition)) => lag += partition.on_seen(seen),
                    Ok(None) => is_grown |= !seen.unknown,
                    // Those below 0 are the client's own.
                    Err(_) => (),
                }
            }
        }
        feed.state().set_lag(Some(lag));
        is_grown
    }

    /// What an event of the client means for the connection, if anything.
    fn fault(&self, consumer: &Consumer, error: &KafkaError) -> Option<Fault> {
        client::fault(&self.kafka.brokers, &consumer.context().reason(), error)
    }
}

/// Tells the thread that asks that nobody wants the answer.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Record<'a>(&'a BorrowedMessage<'a>);

impl Fields for Record<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "topic" => Some(self.0.topic().as_bytes().into()),
            "partition" => Some(self.0.partition().to_string().into_bytes().into()),
            "offset" => Some(self.0.offset().to_string().into_bytes().into()),
            "key" => self.0.key().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let headers = self.0.headers()?;
        let named = headers.iter().filter(|header| header.key == name).last()?;
        named.value.map(Cow::Borrowed)
    }
}
