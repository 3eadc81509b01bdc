//! Kafka. A record's key is the channel's name, so that a channel keeps to its partition.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer, future_producer::OwnedDeliveryResult},
};
use tokio::{runtime::Runtime, time::timeout};

use super::{ANSWER_MAX, Bus, Link, Outcome, Outgoing, late, runtime};

/// A client, which connects by itself.
struct Kafka {
    runtime: Runtime,
    producer: FutureProducer<Reasons>,
    place: String,
}

/// Why the last connection was lost, as librdkafka tells it.
#[derive(Clone, Default)]
struct Reasons(Arc<Mutex<String>>);

/// What the promises of a [`Link`] need.
const ALWAYS: [(&str, &str); 3] =
    [("acks", "all"), ("enable.idempotence", "true"), ("message.timeout.ms", "10000")];

/// What may be set otherwise. Nothing waits for more to come: a batch is all that is due.
const USUALLY: [(&str, &str); 3] =
    [("client.id", "stentor-loadtest"), ("linger.ms", "0"), ("reconnect.backoff.max.ms", "1000")];

pub fn connect(bus: &Bus) -> Result<Box<dyn Link>, String> {
    let place = bus.place();
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Emerg);
    for (key, value) in USUALLY {
        config.set(key, value);
    }
    for (key, value) in &bus.properties {
        if key == "bootstrap.servers" || ALWAYS.iter().any(|(own, _)| own == key) {
            return Err(format!("the property {key} is set by the load tester; leave it out"));
        }
        config.set(key, value);
    }
    config.set("bootstrap.servers", &bus.url);
    for (key, value) in ALWAYS {
        config.set(key, value);
    }
    let reasons = Reasons::default();
    let producer: FutureProducer<Reasons> =
        config.create_with_context(reasons.clone()).map_err(|error| match error {
            // The value may be a password.
            KafkaError::ClientConfig(_, _, key, _) => format!(
                "the property {key} is none of librdkafka's, or cannot have its value; see its \
                 CONFIGURATION.md"
            ),
            error => format!("there is no client: {error}"),
        })?;
    let asked = producer.client().fetch_metadata(None, ANSWER_MAX);
    asked.map_err(|error| {
        let why = reasons.last().unwrap_or_else(|| error.to_string());
        format!("{place} is not there: {why}; start it, or see brokers and property")
    })?;
    Ok(Box::new(Kafka { runtime: runtime()?, producer, place }))
}

impl Link for Kafka {
    fn check(&mut self, to: &str) -> Result<(), String> {
        let place = &self.place;
        let told = self.producer.client().fetch_metadata(Some(to), ANSWER_MAX);
        let told = told.map_err(|error| format!("{place} does not tell of '{to}': {error}"))?;
        match told.topics().first().and_then(|topic| topic.error()) {
            None => Ok(()),
            Some(error) => {
                let error = RDKafkaErrorCode::from(error);
                Err(format!("{place} does not take the topic '{to}': {error}; make it, or see to"))
            }
        }
    }

    fn publish(&mut self, batch: Vec<Outgoing>) -> Result<Vec<Outcome>, String> {
        let sent = batch.into_iter().map(|Outgoing { channel, to, payload }| {
            let record = FutureRecord::to(&to).key(&channel).payload(&payload);
            self.producer.send_result(record).map_err(|(error, _)| refused(&error))
        });
        let sent: Vec<_> = sent.collect();
        let answering = async {
            let mut outcomes = Vec::with_capacity(sent.len());
            for sent in sent {
                outcomes.push(match sent {
                    Ok(delivery) => outcome(delivery.await),
                    Err(why) => Err(why),
                });
            }
            outcomes
        };
        // The client itself gives up before that, and knows which of them.
        let patience = 2 * ANSWER_MAX;
        let answered = self.runtime.block_on(async { timeout(patience, answering).await });
        let answers = answered.map_err(|_| late())?;
        match self.producer.client().fatal_error() {
            // It takes nothing more.
            Some((code, _)) => Err(format!("the client has failed: {code}")),
            None => Ok(answers),
        }
    }
}

fn outcome<E>(delivery: Result<OwnedDeliveryResult, E>) -> Outcome {
    match delivery {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(refused(&error)),
        Err(_) => Err("no answer: the client was closed".to_owned()),
    }
}

fn refused(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageTimedOut) => late(),
        Some(code) => format!("refused: {code}"),
        None => format!("refused: {error}"),
    }
}

impl Reasons {
    fn last(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(last.clone()).filter(|last| !last.is_empty())
    }
}

impl ClientContext for Reasons {
    /// What it logs comes as an error as well, where it matters.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // That no broker is left is no reason why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            reason.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
