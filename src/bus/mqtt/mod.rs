//! MQTT, versions 3.1.1 and 5.
//!
//! What is asked for with QoS 0 is dropped and counted where the shards are behind. With QoS 1 a
//! message is acknowledged once it is settled, in order, and the broker sends no more than it may
//! have unacknowledged. With a name of its own the session outlives the connection: what was published
//! meanwhile comes then. A message that the broker sends again, because it has no acknowledgement, is
//! known by its number and content, and published once.
//!
//! A broker may send a message once for each topic filter that it matches, and so filters that overlap
//! are refused.
//!
//! A retained message is its topic's last. It is published when the input connects, and not again
//! after a reconnect if the topic's last that came was the same: known for the first
//! [`TOPICS_MAX`] topics; further ones repeat their last value.

mod forwarding;
mod wire;

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    pin::pin,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

pub(super) use forwarding::forward;

use super::{Fault, Feed, Reader, Running};
use crate::{
    inputs::{Input, Mqtt, Skip, Source},
    mapping::Fields,
};
use wire::{Client, Message, Options, Said};

/// A broker that says nothing for twice as long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long to wait, besides the wait before every attempt, when a connection ended within this time.
const SHORT: Duration = Duration::from_secs(2);
/// How long a broker keeps a session whose client is away (MQTT 5; older ones decide themselves).
const SESSION_SECS: u32 = 24 * 60 * 60;
/// Requests to the client that it has not begun with.
const CLIENT_REQUESTS_MAX: usize = 256;
/// Bytes of a packet, by the protocol.
const PACKET_BYTES_MAX: u32 = 268_435_460;
/// Bytes of a packet besides a publication: the topic, its properties, and what a JSON pointer
/// leaves out. Brokers of version 5 drop what is larger.
const PACKET_SLACK_BYTES: u32 = 1024 * 1024;
/// Topics whose last message is known.
const TOPICS_MAX: usize = 65_536;
/// Messages without an acknowledgement before the shards are asked for what is settled although
/// there is more to read: half of what brokers of version 3.1.1 commonly allow.
const ACKNOWLEDGE_EVERY: usize = 10;

pub(super) fn reader(input: Input) -> Box<dyn Reader> {
    let Source::Mqtt(mqtt) = input.source.clone() else {
        unreachable!("{:?} is read elsewhere", input.source)
    };
    Box::new(Subscription {
        mqtt,
        queue: input.queue,
        client_id: None,
        connected_at: None,
        hasher: RandomState::new(),
        unsettled: VecDeque::new(),
        numbers: HashMap::new(),
        topics: HashMap::new(),
    })
}

struct Subscription {
    mqtt: Mqtt,
    queue: u32,
    client_id: Option<String>,
    /// When the connection that there is, or was last, stood.
    connected_at: Option<Instant>,
    hasher: RandomState,
    /// Messages that are not acknowledged: the ticket with which each is settled, and its number.
    unsettled: VecDeque<(u64, u16)>,
    /// By its number, what the last message of it was.
    numbers: HashMap<u16, u64>,
    /// By topic, what its last message was.
    topics: HashMap<u64, u64>,
}

impl Subscription {
    fn options(&mut self, feed: &Feed) -> Result<Options, String> {
        let topics = &self.mqtt.topics;
        let mut pairs = topics.iter().enumerate().flat_map(|(at, one)| {
            topics[at + 1..].iter().map(move |other| (one.as_str(), other.as_str()))
        });
        if let Some((one, other)) = pairs.find(|(one, other)| overlap(one, other)) {
            return Err(format!(
                "its topics '{one}' and '{other}' overlap, and a broker may send twice what matches \
                 both; leave out the narrower one, or give it to an input of its own"
            ));
        }
        let mut options = Options::new(&self.mqtt.url, self.mqtt.version)?;
        options.is_kept = self.mqtt.client_id.is_some();
        let named = self.mqtt.client_id.clone();
        options.client_id =
            named.unwrap_or_else(|| self.client_id.get_or_insert_with(name).clone());
        options.in_flight = u16::try_from(self.queue).unwrap_or(u16::MAX).max(1);
        let publication = u32::try_from(feed.publication_bytes_max()).unwrap_or(u32::MAX);
        let limit = publication.saturating_add(PACKET_SLACK_BYTES).min(PACKET_BYTES_MAX);
        options.packet_bytes_max = limit;
        Ok(options)
    }

    async fn run(&mut self, feed: &mut Feed) -> Result<Infallible, Fault> {
        let options = self.options(feed).map_err(Fault::Refused)?;
        let (client, mut connection) = options.open();
        // Numbers are the connection's: the broker sends again what was not acknowledged.
        self.unsettled.clear();
        self.connected_at = None;
        loop {
            let next = {
                let mut next = pin!(connection.next(&options));
                loop {
                    if let Some(said) = next.as_mut().now_or_never() {
                        break said;
                    }
                    feed.flush();
                    let known = feed.settled();
                    self.acknowledge(&client, known);
                    tokio::select! {
                        biased;
                        said = &mut next => break said,
                        _ = feed.settled_beyond(known), if !self.unsettled.is_empty() => (),
                    }
                }
            };
            match next {
                Ok(said) => self.on_said(&options, &client, feed, said).await?,
                Err(fault) => {
                    while let Some(said) = connection.rest() {
                        self.on_said(&options, &client, feed, said).await?;
                    }
                    return Err(self.after(&options, feed, fault).await);
                }
            }
            if self.unsettled.len() >= ACKNOWLEDGE_EVERY {
                self.acknowledge(&client, feed.settled());
            }
        }
    }

    /// What to make of the end of a connection. A client that is sent away as soon as it has
    /// connected must not come back at once, again and again.
    async fn after(&self, options: &Options, feed: &mut Feed, fault: Fault) -> Fault {
        let was_short = self.connected_at.is_some_and(|at| at.elapsed() < SHORT);
        let fault = match fault {
            // Brokers of version 3.1.1 close without a word.
            Fault::Lost(why) if options.is_kept && was_short => {
                Fault::Lost(format!("{why}; if it happens again and again, {}", options.taken()))
            }
            fault => fault,
        };
        match &fault {
            Fault::Refused(why) if was_short => feed.on_fault(why.clone()),
            Fault::Lost(why) if was_short && options.is_kept => feed.on_fault(why.clone()),
            _ => return fault,
        }
        sleep(SHORT).await;
        fault
    }

    async fn on_said(
        &mut self,
        options: &Options,
        client: &Client,
        feed: &mut Feed,
        said: Said,
    ) -> Result<(), Fault> {
        let place = &options.place;
        match said {
            Said::Connected => {
                client.subscribe(&self.mqtt.topics, self.mqtt.qos).map_err(|()| {
                    Fault::Refused(format!(
                        "one of its topics is no topic filter: {}; + stands for one level, # for the \
                         rest",
                        self.mqtt.topics.join(", ")
                    ))
                })?;
            }
            Said::Subscribed(Ok(())) => {
                self.connected_at = Some(Instant::now());
                feed.on_connected();
                client.mark();
            }
            Said::Subscribed(Err((at, why))) => {
                let topic = self.mqtt.topics.get(at).map_or("", |topic| topic.as_str());
                return Err(Fault::Refused(format!(
                    "{place} refuses the topic '{topic}': {why}; see the broker's access rules"
                )));
            }
            // What is retained came before this.
            Said::Reached => feed.on_caught_up().await,
            Said::Message(message) => self.on_message(feed, message).await,
            Said::Sent(_) | Said::Arrived(..) | Said::Nothing => (),
        }
        Ok(())
    }

    async fn on_message(&mut self, feed: &mut Feed, mut message: Message) {
        let topic = self.hasher.hash_one(&message.topic);
        let content = self.hasher.hash_one((topic, &message.payload));
        let was_last = self.topics.get(&topic) == Some(&content);
        let number = message.number;
        let was_number = number.and_then(|number| self.numbers.insert(number, content));
        let came_before = message.is_again && was_number == Some(content);
        let ticket = if came_before || message.is_retained && was_last {
            feed.on_record(message.payload.len());
            feed.skip(Skip::Repeated, "it came before");
            None
        } else {
            let payload = std::mem::take(&mut message.payload);
            let ticket = match number {
                Some(_) => feed.put(&message, payload, None).await,
                None => feed.offer(&message, payload),
            };
            if ticket.is_some() {
                self.remember(topic, content);
            }
            ticket
        };
        if let Some(number) = number {
            // One that goes nowhere is done with when those before it are.
            let ticket = ticket.unwrap_or_else(|| feed.last());
            self.unsettled.push_back((ticket, number));
        }
    }

    fn remember(&mut self, topic: u64, content: u64) {
        let has_room = self.topics.len() < TOPICS_MAX;
        match self.topics.get_mut(&topic) {
            Some(last) => *last = content,
            None if has_room => drop(self.topics.insert(topic, content)),
            None => (),
        }
    }

    /// Acknowledges what is settled, in order, as far as the client takes it.
    fn acknowledge(&mut self, client: &Client, settled: u64) {
        while let Some(&(ticket, number)) = self.unsettled.front() {
            if ticket > settled || !client.acknowledge(number) {
                return;
            }
            self.unsettled.pop_front();
        }
    }
}

impl Reader for Subscription {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async move {
            let Err(fault) = self.run(feed).await;
            fault
        })
    }
}

impl Fields for Message {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "topic").then_some(Cow::Borrowed(&*self.topic))
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let (_, value) = self.properties.iter().rev().find(|(other, _)| other == name)?;
        Some(Cow::Borrowed(value.as_bytes()))
    }
}

/// Whether some topic matches both filters.
fn overlap(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(one), Some(other)) if one == other || one == "+" || other == "+" => (),
            _ => return false,
        }
    }
}

/// A name that no other client has; brokers must take up to 23 letters and digits.
fn name() -> String {
    format!("stentor{:016x}", RandomState::new().hash_one(0u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters overlap where a topic matches both.
    #[test]
    fn filters_that_overlap_are_found() {
        for (one, other, does) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a/+", "+/b", true),
            ("a/+/c", "a/b/d", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "b/#", false),
            ("#", "b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b/c", false),
            ("+/+/+", "a/#", true),
        ] {
            assert_eq!(overlap(one, other), does, "{one} and {other}");
            assert_eq!(overlap(other, one), does, "{other} and {one}");
        }
    }
}
