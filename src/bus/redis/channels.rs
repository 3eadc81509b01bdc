//! Pub/Sub: channels and patterns.
//!
//! Redis sends a message once for each subscription that its channel matches. It is delivered once:
//! by the subscription to the channel itself, else by the first pattern of ours that matches it.
//!
//! Redis ends the connection of a reader that leaves too much waiting (`client-output-buffer-limit`
//! for Pub/Sub), and does not say why. We never let it wait: what finds no place is dropped and counted.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{ProtocolVersion, RedisError, aio::MultiplexedConnection, cmd};
use tokio::time::sleep;

use super::{
    Fault, Feed, Reader, Running, Server,
    glob::{is_pattern, matches},
    inbox::{Batch, Inbox, Message},
};
use crate::{
    inputs::{RedisChannels, Skip},
    mapping::Fields,
};

/// How often the server is asked whether it is there: a connection that only listens would not
/// notice that it went without a word.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Reads channels of Pub/Sub.
pub(super) struct Channels {
    url: String,
    subscriptions: Subscriptions,
}

/// What we subscribe to, in the order in which it was given.
#[derive(Default)]
struct Subscriptions {
    channels: Vec<String>,
    patterns: Vec<String>,
}

impl Channels {
    pub(super) fn new(source: RedisChannels) -> Self {
        let RedisChannels { url, channels } = source;
        Channels { url, subscriptions: Subscriptions::new(channels) }
    }

    async fn read(&self, feed: &mut Feed) -> Result<Fault, Fault> {
        let server = Server::new(&self.url, ProtocolVersion::RESP3)?;
        let inbox = Arc::new(Inbox::default());
        let pushed = Arc::clone(&inbox);
        let config = Server::config().set_push_sender(move |push| {
            pushed.push(push);
            Ok::<(), ()>(())
        });
        let mut connection = server.connect(config).await?;
        self.subscriptions
            .make(&mut connection)
            .await
            .map_err(|error| server.fault(&error, "subscribe"))?;
        feed.on_connected();
        feed.on_caught_up().await;
        let work = async {
            loop {
                let batch = inbox.take().await;
                let is_over = batch.is_over;
                self.offer(feed, batch);
                if is_over {
                    return Fault::Lost(format!("{} has ended the connection", server.name));
                }
            }
        };
        tokio::select! {
            biased;
            fault = work => Ok(fault),
            error = missed(connection) => Err(server.fault(&error, "answer")),
        }
    }

    fn offer(&self, feed: &mut Feed, batch: Batch) {
        for message in batch.messages {
            if self.subscriptions.are_to_deliver(&message) {
                let payload = message.payload.clone();
                feed.offer(&message, payload);
            }
        }
        feed.flush();
        for _ in 0..batch.dropped {
            feed.on_record(0);
            feed.skip(Skip::Dropped, "more came at once than may wait");
        }
    }
}

impl Reader for Channels {
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault> {
        Box::pin(async { Channels::read(self, feed).await.unwrap_or_else(|fault| fault) })
    }
}

impl Subscriptions {
    fn new(all: Vec<String>) -> Self {
        let (patterns, channels) = all.into_iter().partition(|text| is_pattern(text));
        Subscriptions { channels, patterns }
    }

    async fn make(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        if !self.channels.is_empty() {
            connection.subscribe(&self.channels).await?;
        }
        if !self.patterns.is_empty() {
            connection.psubscribe(&self.patterns).await?;
        }
        Ok(())
    }

    /// Whether a message came by the subscription that is to deliver it.
    fn are_to_deliver(&self, message: &Message) -> bool {
        let Some(pattern) = &message.pattern else { return true };
        let is_own = self.channels.iter().any(|channel| message.channel == channel.as_bytes());
        let first = || {
            let mut patterns = self.patterns.iter();
            patterns.find(|pattern| matches(pattern.as_bytes(), &message.channel))
        };
        // One that we would not match ourselves came by it alone.
        !is_own && first().is_none_or(|first| pattern == first.as_bytes())
    }
}

/// Returns once the server no longer answers.
async fn missed(mut connection: MultiplexedConnection) -> RedisError {
    loop {
        sleep(PING_EVERY).await;
        if let Err(error) = cmd("PING").exec_async(&mut connection).await {
            return error;
        }
    }
}

impl Fields for Message {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let pattern = || self.pattern.as_ref().unwrap_or(&self.channel);
        let bytes: &Bytes = match name {
            "channel" => &self.channel,
            "pattern" => pattern(),
            _ => return None,
        };
        Some(Cow::Borrowed(bytes))
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all the times that a message comes, exactly one is delivered.
    #[test]
    fn a_message_is_delivered_once() {
        let all = ["a.*", "a.b", "*", "a.[b-d]"].map(str::to_owned);
        let subscriptions = Subscriptions::new(all.into());
        let delivered = |channel: &'static str| {
            let came = ["a.*", "*", "a.[b-d]"].into_iter().filter(|pattern| {
                let channel = channel.as_bytes();
                matches(pattern.as_bytes(), channel)
            });
            let by_itself = (channel == "a.b").then_some(None);
            let by_pattern = came.map(Some);
            let by: Vec<_> = by_itself
                .into_iter()
                .chain(by_pattern)
                .filter(|pattern| {
                    let message = Message {
                        pattern: pattern.map(Bytes::from),
                        channel: Bytes::from(channel),
                        payload: Bytes::new(),
                    };
                    subscriptions.are_to_deliver(&message)
                })
                .collect();
            by
        };
        assert_eq!(delivered("a.b"), [None]);
        assert_eq!(delivered("a.c"), [Some("a.*")]);
        assert_eq!(delivered("b"), [Some("*")]);
    }
}
