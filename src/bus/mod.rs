//! Inputs from message buses.
//!
//! Each input reads on a thread of its own and hands its records over to their home shards by a
//! [`Feed`], in order, under a bound. What is common to all is here: a bus that is down is tried
//! again, later and later; what is wrong is told once per kind and shown in the input's state; and
//! nothing that a bus sends stops an input.
//!
//! Promises: records of one input reach a channel in the order in which they were read. Where the
//! bus has a log, records have its positions, so that whatever is read twice is published once, and
//! what the bus had trimmed before it was read becomes a recorded hole.
#![forbid(unsafe_code)]

#[cfg(feature = "amqp")]
mod amqp;
mod feed;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt"))]
mod forwarding;
#[cfg(feature = "kafka")]
mod kafka;
mod lines;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
mod retry;

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

pub use feed::{Feed, FeedSetup};

use retry::{RETRY_MAX, RETRY_MIN, Told, jittered};

use crate::{
    inputs::{Forward, Input, Source},
    logs::limited,
};

/// Why reading has ended.
#[derive(Debug)]
enum Fault {
    /// The bus is not there, or has gone.
    Lost(String),
    /// The bus is there and refuses us, or lacks what we are to read: somebody must do something.
    Refused(String),
    /// There will never be more: the end of standard input.
    Over,
}

/// A future that a trait object gives.
type Running<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One kind of input.
trait Reader: Send {
    /// Connects, and reads until that ends. Called again after a while, then for the next
    /// connection: where it stopped is remembered in `self`.
    fn read<'a>(&'a mut self, feed: &'a mut Feed) -> Running<'a, Fault>;
}

/// Reads an input until `stop` is true. To be run on a thread of its own.
pub async fn run(input: Input, mut feed: Feed, mut stop: watch::Receiver<bool>) {
    let name = input.name.clone();
    let mut reader = match reader(input) {
        Ok(reader) => reader,
        Err(why) => {
            tracing::error!("input {name}: {why}");
            return feed.on_fault(why);
        }
    };
    let work = async {
        let (mut wait, mut told) = (RETRY_MIN, Told::default());
        loop {
            let fault = reader.read(&mut feed).await;
            if feed.take_was_connected() {
                wait = RETRY_MIN;
                told.forget();
            }
            let (why, is_refused) = match fault {
                Fault::Lost(why) => (why, false),
                Fault::Refused(why) => (why, true),
                Fault::Over => {
                    tracing::info!("input {name}: has ended");
                    return feed.on_over().await;
                }
            };
            match (told.is_due(&why, Instant::now()), is_refused) {
                (false, _) => (),
                (true, false) => limited!(warn, "input", "input {name}: {why}; trying again"),
                (true, true) => limited!(error, "input", "input {name}: {why}; trying again"),
            }
            feed.on_fault(why);
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    };
    tokio::select! {
        () = work => (),
        // Shards that are late have more to do than to answer.
        _ = stop.wait_for(|stop| *stop) => drop(timeout(ANSWERS_WAIT, feed.on_stop()).await),
    }
}

/// How long an input that is stopped waits for what its last records became.
const ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// Takes publications to the bus of an input until nobody is left who could publish.
pub async fn forward(input: Input, forwards: mpsc::Receiver<Forward>) {
    match input.source {
        #[cfg(feature = "nats")]
        Source::Nats(_) | Source::JetStream(_) => nats::forward(input, forwards).await,
        #[cfg(feature = "redis")]
        Source::RedisChannels(_) | Source::RedisStreams(_) => redis::forward(input, forwards).await,
        #[cfg(feature = "kafka")]
        Source::Kafka(_) => kafka::forward(input, forwards).await,
        #[cfg(feature = "amqp")]
        Source::Amqp(_) | Source::AmqpStream(_) => amqp::forward(input, forwards).await,
        #[cfg(feature = "mqtt")]
        Source::Mqtt(_) => mqtt::forward(input, forwards).await,
        _ => refuse_all(forwards, missing(&input.source)).await,
    }
}

async fn refuse_all(mut forwards: mpsc::Receiver<Forward>, why: String) {
    while let Some(forward) = forwards.recv().await {
        let _ = forward.answer.send(Err(why.clone()));
    }
}

fn reader(input: Input) -> Result<Box<dyn Reader>, String> {
    Ok(match input.source {
        #[cfg(feature = "nats")]
        Source::Nats(_) | Source::JetStream(_) => nats::reader(input),
        #[cfg(feature = "redis")]
        Source::RedisChannels(_) | Source::RedisStreams(_) => redis::reader(input),
        #[cfg(feature = "kafka")]
        Source::Kafka(_) => kafka::reader(input),
        #[cfg(feature = "amqp")]
        Source::Amqp(_) | Source::AmqpStream(_) => amqp::reader(input),
        #[cfg(feature = "mqtt")]
        Source::Mqtt(_) => mqtt::reader(input),
        Source::Lines(_) => lines::reader(input),
        #[allow(unreachable_patterns, reason = "without all features some are left")]
        _ => return Err(missing(&input.source)),
    })
}

/// What to say of a source that this program was built without.
fn missing(source: &Source) -> String {
    let feature = match source {
        Source::Nats(_) | Source::JetStream(_) => "nats",
        Source::RedisChannels(_) | Source::RedisStreams(_) => "redis",
        Source::Kafka(_) => "kafka",
        Source::Amqp(_) | Source::AmqpStream(_) => "amqp",
        Source::Mqtt(_) => "mqtt",
        Source::Lines(_) => return "lines have no bus that could be published to".to_owned(),
    };
    format!("this program was built without it; build with --features {feature}")
}
