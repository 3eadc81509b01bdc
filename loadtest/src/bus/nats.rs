//! NATS: core subjects, where a batch is taken when the server has sent back what was sent behind it,
//! and JetStream, which answers each.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, Subscriber,
    jetstream::{
        self, Context,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};

use super::{ANSWER_MAX, BATCH_MAX, Bus, Kind, Link, Outcome, Outgoing, late, runtime};

/// A connection.
struct Nats {
    runtime: Runtime,
    client: Client,
    log: Option<Context>,
    /// What we send to ourselves comes back behind all else that we have sent.
    echo: Echo,
    place: String,
    is_lost: watch::Receiver<bool>,
    refusals: Refusals,
}

/// A subject of our own, and how often something was sent there.
struct Echo {
    subject: String,
    subscriber: Subscriber,
    sent: u64,
}

/// What the server said that it does not permit, until somebody asks: at most [`BATCH_MAX`].
#[derive(Clone, Default)]
struct Refusals(Arc<Mutex<Vec<String>>>);

pub fn connect(bus: &Bus) -> Result<Box<dyn Link>, String> {
    let (runtime, place) = (runtime()?, bus.place());
    let (tell, is_lost) = watch::channel(false);
    let refusals = Refusals::default();
    let heard = refusals.clone();
    let connecting = async {
        let servers = servers(&bus.url)?;
        let options = with_secrets(bus, &servers)
            .await?
            .name("stentor-loadtest")
            .connection_timeout(ANSWER_MAX)
            .request_timeout(Some(ANSWER_MAX))
            // Servers are those that are named, each tried once: coming back is for our caller.
            .ignore_discovered_servers()
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                match event {
                    Event::Disconnected | Event::Closed => drop(tell.send_replace(true)),
                    Event::ServerError(ServerError::Other(text)) => heard.note(text),
                    _ => (),
                }
                std::future::ready(())
            });
        let client = options.connect(servers).await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                format!("{place} refuses who we are; see url and credentials")
            }
            _ => format!("{place} is not there: {error}; start it, or see url"),
        })?;
        let subject = client.new_inbox();
        let subscriber = client.subscribe(subject.clone()).await;
        let subscriber = subscriber.map_err(|error| format!("{place} refuses us: {error}"))?;
        Ok::<_, String>((client, Echo { subject, subscriber, sent: 0 }))
    };
    let (client, echo) = runtime.block_on(connecting)?;
    let log = (bus.kind == Kind::JetStream).then(|| {
        // It starts a task at once.
        let _inside = runtime.enter();
        let mut log = jetstream::new(client.clone());
        log.set_timeout(ANSWER_MAX);
        log
    });
    Ok(Box::new(Nats { runtime, client, log, echo, place, is_lost, refusals }))
}

impl Link for Nats {
    fn check(&mut self, to: &str) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let place = &self.place;
        let asked = or_lost(&mut self.is_lost, log.stream_by_subject(to));
        self.runtime.block_on(asked)?.map(drop).map_err(|why| {
            format!(
                "{place} has no stream that takes the subject '{to}' ({why}); make one, or see to"
            )
        })
    }

    fn publish(&mut self, batch: Vec<Outgoing>) -> Result<Vec<Outcome>, String> {
        let Nats { runtime, client, log, echo, is_lost, refusals, .. } = self;
        match log {
            Some(log) => runtime.block_on(or_lost(is_lost, append(log, batch))),
            None => runtime.block_on(or_lost(is_lost, send(client, echo, refusals, batch)))?,
        }
    }

    fn rest(&mut self, time: Duration) {
        self.runtime.block_on(async { sleep(time).await });
    }
}

async fn or_lost<T>(
    is_lost: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    tokio::select! {
        biased;
        _ = is_lost.wait_for(|is_lost| *is_lost) => Err("the connection was lost".to_owned()),
        out = timeout(ANSWER_MAX, work) => out.map_err(|_| late()),
    }
}

/// To core NATS.
async fn send(
    client: &Client,
    echo: &mut Echo,
    refusals: &Refusals,
    batch: Vec<Outgoing>,
) -> Result<Vec<Outcome>, String> {
    let mut sent = Vec::with_capacity(batch.len());
    for Outgoing { to, payload, .. } in batch {
        let published = client.publish(to.clone(), payload.into()).await;
        sent.push(published.map(|()| to).map_err(|why| format!("refused: {why}")));
    }
    echo.come_back(client).await?;
    let refusals = refusals.take();
    let is_refused =
        |to: &str| refusals.iter().any(|text| text.contains(&format!("Publish to \"{to}\"")));
    let outcome = |sent: Result<String, String>| match is_refused(&sent?) {
        true => Err("refused: the user may not publish to the subject".to_owned()),
        false => Ok(()),
    };
    Ok(sent.into_iter().map(outcome).collect())
}

impl Echo {
    /// Waits until the server has done all that it was sent.
    async fn come_back(&mut self, client: &Client) -> Result<(), String> {
        self.sent += 1;
        let sent = self.sent.to_string();
        let publishing = client.publish(self.subject.clone(), sent.clone().into());
        publishing.await.map_err(|_| "the connection was lost".to_owned())?;
        loop {
            match self.subscriber.next().await {
                Some(back) if back.payload == sent.as_bytes() => return Ok(()),
                Some(_) => (),
                None => return Err("the connection was lost".to_owned()),
            }
        }
    }
}

/// Into a stream.
async fn append(log: &Context, batch: Vec<Outgoing>) -> Vec<Outcome> {
    let mut sent = Vec::with_capacity(batch.len());
    for Outgoing { to, payload, .. } in batch {
        let publish = PublishMessage::build().payload(payload.into());
        sent.push(log.send_publish(to, publish).await);
    }
    let mut outcomes = Vec::with_capacity(sent.len());
    for sent in sent {
        outcomes.push(match sent {
            Ok(answer) => answer.await.map(drop).map_err(|error| why(&error)),
            Err(error) => Err(why(&error)),
        });
    }
    outcomes
}

fn why(error: &PublishError) -> String {
    match error.kind() {
        PublishErrorKind::StreamNotFound => "refused: no stream takes the subject".to_owned(),
        PublishErrorKind::TimedOut => late(),
        _ => format!("refused: {error}"),
    }
}

impl Refusals {
    fn note(&self, text: String) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < BATCH_MAX {
            refusals.push(text);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn servers(urls: &str) -> Result<Vec<ServerAddr>, String> {
    let read = |url: &str| {
        url.trim().parse::<ServerAddr>().map_err(|_| {
            let shown = super::without_secrets(url);
            format!("'{shown}' is no URL of NATS; write nats://HOST:PORT or tls://HOST:PORT")
        })
    };
    urls.split(',').map(read).collect()
}

async fn with_secrets(bus: &Bus, servers: &[ServerAddr]) -> Result<ConnectOptions, String> {
    let options = match &bus.credentials {
        None => ConnectOptions::new(),
        Some(path) => ConnectOptions::with_credentials_file(path).await.map_err(|why| {
            let path = path.display();
            format!(
                "the credentials {path} cannot be read: {why}; name a file that nsc has written"
            )
        })?,
    };
    let named = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Ok(match named {
        None => options,
        Some((token, None)) => options.token(decoded(token)),
        Some((user, Some(password))) => options.user_and_password(decoded(user), decoded(password)),
    })
}
