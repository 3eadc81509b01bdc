//! Publications to MQTT topics, with QoS 1.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, interval, timeout},
};

use super::{
    name,
    wire::{Client, Connection, Options, Said},
};
use crate::{
    bus::{
        Fault,
        forwarding::{
            ANSWER_MAX, CONNECT_MAX, Ended, IN_FLIGHT_MAX, destination, keep_connected, unanswered,
        },
    },
    inputs::{Forward, Input, Source},
};

/// How often it is looked for what was not answered in time.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(in super::super) async fn forward(input: Input, forwards: mpsc::Receiver<Forward>) {
    keep_connected(forwards, async |forwards, held| session(&input, forwards, held).await).await;
}

async fn session(
    input: &Input,
    forwards: &mut mpsc::Receiver<Forward>,
    held: &mut Option<Forward>,
) -> Result<(), Ended> {
    let mut options = options(input).map_err(Ended::before)?;
    // A session of the reader's name would end the reader's.
    options.client_id = name();
    options.in_flight = IN_FLIGHT_MAX as u16;
    let (client, mut connection) = options.open();
    let connecting = timeout(CONNECT_MAX, connected(&options, &mut connection)).await;
    let late = || Err(format!("{} does not answer", options.place));
    connecting.unwrap_or_else(|_| late()).map_err(Ended::before)?;
    let mut publisher =
        Publisher { options, client, sending: VecDeque::new(), sent: HashMap::new() };
    if let Some(forward) = held.take() {
        publisher.publish(input, forward);
    }
    publisher.run(input, &mut connection, forwards).await.map_err(Ended::after)
}

fn options(input: &Input) -> Result<Options, String> {
    match &input.source {
        Source::Mqtt(mqtt) => Options::new(&mqtt.url, mqtt.version),
        other => unreachable!("{other:?} is published to elsewhere"),
    }
}

async fn connected(options: &Options, connection: &mut Connection) -> Result<(), String> {
    loop {
        match connection.next(options).await {
            Ok(Said::Connected) => return Ok(()),
            Ok(_) => (),
            Err(fault) => return Err(why(fault)),
        }
    }
}

fn why(fault: Fault) -> String {
    match fault {
        Fault::Lost(why) | Fault::Refused(why) => why,
        Fault::Over => "it has ended".to_owned(),
    }
}

/// A publication, until it is answered, with the time by which it is.
type Waiting = (Instant, Option<Forward>);

struct Publisher {
    options: Options,
    client: Client,
    /// What the client has taken and given no number yet, in order.
    sending: VecDeque<Waiting>,
    /// By number, what the broker has not acknowledged.
    sent: HashMap<u16, Waiting>,
}

impl Publisher {
    /// Runs until nobody is left who could publish, or says why not.
    async fn run(
        &mut self,
        input: &Input,
        connection: &mut Connection,
        forwards: &mut mpsc::Receiver<Forward>,
    ) -> Result<(), String> {
        let mut look = interval(LOOK_EVERY);
        let mut is_over = false;
        let options = self.options.clone();
        while !is_over || !self.is_empty() {
            let mut next = pin!(connection.next(&options));
            let said = loop {
                let has_room = self.sending.len() + self.sent.len() < IN_FLIGHT_MAX;
                tokio::select! {
                    said = &mut next => break said,
                    forward = forwards.recv(), if has_room && !is_over => match forward {
                        Some(forward) => self.publish(input, forward),
                        None => is_over = true,
                    },
                    _ = look.tick() => self.on_look(),
                }
                if is_over && self.is_empty() {
                    return Ok(());
                }
            };
            match said.map_err(why)? {
                Said::Sent(number) => {
                    if let Some(waiting) = self.sending.pop_front() {
                        self.sent.insert(number, waiting);
                    }
                }
                Said::Arrived(number, outcome) => {
                    if let Some((_, Some(forward))) = self.sent.remove(&number) {
                        let place = &self.options.place;
                        let outcome = outcome.map_err(|why| format!("{place} refuses it: {why}"));
                        let _ = forward.answer.send(outcome.map(|()| None));
                    }
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.sent.is_empty()
    }

    fn publish(&mut self, input: &Input, forward: Forward) {
        let topic = destination(&input.destination, &forward);
        let publishing = topic.and_then(|topic| {
            let published = self.client.publish(&topic, forward.payload.clone());
            published.map_err(|()| format!("'{topic}' is no topic: it has a + or #"))
        });
        match publishing {
            Ok(()) => self.sending.push_back((Instant::now() + ANSWER_MAX, Some(forward))),
            Err(why) => drop(forward.answer.send(Err(why))),
        }
    }

    /// Answers what has waited too long. Its number is the broker's still.
    fn on_look(&mut self) {
        let now = Instant::now();
        for (by, forward) in self.sending.iter_mut().chain(self.sent.values_mut()) {
            if *by <= now
                && let Some(forward) = forward.take()
            {
                let _ = forward.answer.send(Err(unanswered(&self.options.place)));
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let place = &self.options.place;
        let why = format!(
            "the connection to {place} was lost before it was acknowledged; it may be published or not"
        );
        let sent = self.sent.drain().map(|(_, waiting)| waiting);
        for (_, forward) in self.sending.drain(..).chain(sent) {
            if let Some(forward) = forward {
                let _ = forward.answer.send(Err(why.clone()));
            }
        }
    }
}
