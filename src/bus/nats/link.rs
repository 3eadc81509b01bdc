//! One connection to a server, and what is heard of it.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, connection::State,
};
use bytes::Bytes;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::{sync::Notify, task::yield_now, time::timeout};

use super::{Fault, Nats};

/// The longest that a server may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long the connection may go unlooked at where no event comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Refusals that are remembered until somebody asks.
const REFUSALS_MAX: usize = 256;

/// A connection.
pub(super) struct Link {
    pub(super) client: Client,
    /// Where to, without secrets.
    pub(super) place: String,
    heard: Arc<Heard>,
}

/// What the client tells.
#[derive(Default)]
struct Heard {
    news: Notify,
    what: Mutex<What>,
}

#[derive(Default)]
struct What {
    ended: bool,
    /// What the server said last that is an error.
    error: Option<String>,
    /// What the server does not permit.
    refusals: VecDeque<String>,
}

impl Link {
    /// Connects. The client keeps so many records for each subscription.
    pub(super) async fn new(nats: &Nats, kept: usize) -> Result<Self, Fault> {
        let servers = servers(&nats.url)?;
        let place = place(&servers);
        let heard = Arc::new(Heard::default());
        let hear = Arc::clone(&heard);
        let options = with_secrets(nats, &servers)
            .await?
            .name("stentor")
            .subscription_capacity(kept)
            .read_buffer_capacity(u16::MAX)
            .connection_timeout(ANSWER_MAX)
            .request_timeout(Some(ANSWER_MAX))
            // Servers are those that are named, each tried once: coming back is for our caller.
            .ignore_discovered_servers()
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                hear.on_event(event);
                std::future::ready(())
            });
        match options.connect(servers).await {
            Ok(client) => Ok(Link { client, place, heard }),
            Err(error) => Err(match error.kind() {
                ConnectErrorKind::AuthorizationViolation => Fault::Refused(format!(
                    "{place} refuses the user, password or token; see the keys `url` and `credentials`"
                )),
                ConnectErrorKind::Authentication => {
                    Fault::Refused(format!("the credentials are no use at {place}: {error}"))
                }
                _ => Fault::Lost(format!("{place} does not answer: {error}")),
            }),
        }
    }

    /// Waits for something from the server, or until the connection is lost.
    pub(super) async fn or_lost<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            fault = self.lost() => Err(fault),
            out = work => Ok(out),
        }
    }

    /// The same, where the server may refuse some of it.
    pub(super) async fn or_ended<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            fault = self.ended() => Err(fault),
            out = work => Ok(out),
        }
    }

    /// Waits until the connection ends, or the server says that it does not permit something.
    pub(super) async fn lost(&self) -> Fault {
        self.heard(|what| {
            if what.ended {
                return Some(self.end(what));
            }
            // Whether we may ask for an answer is no reason to end: see `confirm`.
            let refusal = what.refusals.iter().find(|refusal| !is_of_inbox(refusal))?;
            Some(Fault::Refused(format!(
                "{} says {refusal}; let the user do it, or see the key `credentials`",
                self.place
            )))
        })
        .await
    }

    /// Waits until the connection ends.
    pub(super) async fn ended(&self) -> Fault {
        self.heard(|what| what.ended.then(|| self.end(what))).await
    }

    /// What the server did not permit since this was asked last.
    pub(super) fn take_refusals(&self) -> VecDeque<String> {
        std::mem::take(&mut self.heard.lock().refusals)
    }

    fn end(&self, what: &What) -> Fault {
        let why = what.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        Fault::Lost(format!("the connection to {} has ended{why}", self.place))
    }

    async fn heard<T>(&self, mut look: impl FnMut(&What) -> Option<T>) -> T {
        loop {
            let news = self.heard.news.notified();
            if let Some(found) = self.heard.look(self.has_ended(), &mut look) {
                return found;
            }
            // No event may come: the client loses those of which it has too many, as in a flood.
            let _ = timeout(LOOK_EVERY, news).await;
        }
    }

    /// Whether the connection is another or none, events or not: the client may come back before
    /// anybody looks, but how often it connected is never lost.
    fn has_ended(&self) -> bool {
        self.client.statistics().connects.load(Ordering::Relaxed) > 1
            || self.client.connection_state() != State::Connected
    }

    /// Waits until the server has taken all that was sent before: sends a record to ourselves. Gives
    /// the subject on which it came, which a subscription to everything has got as well.
    pub(super) async fn confirm(&self) -> Result<Option<String>, Fault> {
        let inbox = self.client.new_inbox();
        let sent = async {
            let echo = self.client.subscribe(inbox.clone()).await.map_err(|it| it.to_string())?;
            let sent = self.client.publish(inbox.clone(), Bytes::new()).await;
            sent.map(|()| echo).map_err(|it| it.to_string())
        };
        let silent = |why: String| Fault::Lost(format!("{} does not answer: {why}", self.place));
        let mut echo = sent.await.map_err(silent)?;
        // The server might not let us ask; that is as good an answer.
        let refused =
            self.heard(|what| what.refusals.iter().any(|it| is_of_inbox(it)).then_some(()));
        let answered = tokio::select! {
            biased;
            fault = self.ended() => return Err(fault),
            came = timeout(ANSWER_MAX, echo.next()) => match came {
                Ok(Some(_)) => true,
                Ok(None) => return Err(self.ended().await),
                Err(_) => return Err(silent(format!("not within {ANSWER_MAX:?}"))),
            },
            () = refused => false,
        };
        // What the server said before is told by a task of the client's.
        yield_now().await;
        Ok(answered.then_some(inbox))
    }

    /// Records that have come in on this connection, for whomever.
    pub(super) fn records_in(&self) -> u64 {
        self.client.statistics().in_messages.load(Ordering::Relaxed)
    }
}

impl Heard {
    fn look<T>(&self, ended: bool, look: &mut impl FnMut(&What) -> Option<T>) -> Option<T> {
        let mut what = self.lock();
        what.ended |= ended;
        look(&what)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, What> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: Event) {
        let mut what = self.lock();
        match event {
            Event::Disconnected | Event::Closed => what.ended = true,
            Event::ServerError(ServerError::Other(text)) if text.contains("Permissions") => {
                if what.refusals.len() < REFUSALS_MAX {
                    what.refusals.push_back(text);
                }
            }
            Event::ServerError(error) => what.error = Some(error.to_string()),
            _ => return,
        }
        drop(what);
        self.news.notify_waiters();
    }
}

fn is_of_inbox(refusal: &str) -> bool {
    refusal.contains("_INBOX.")
}

fn servers(urls: &str) -> Result<Vec<ServerAddr>, Fault> {
    let read = |url: &str| {
        url.trim().parse::<ServerAddr>().map_err(|why| {
            // What is before the @ is secret.
            let shown = url.rsplit('@').next().unwrap_or(url);
            Fault::Refused(format!(
                "url '{shown}' cannot be read ({why}); write nats://HOST:PORT or tls://HOST:PORT"
            ))
        })
    };
    urls.split(',').map(read).collect()
}

fn place(servers: &[ServerAddr]) -> String {
    let one = |server: &ServerAddr| {
        let host = server.host();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        format!("{}://{host}:{}", server.scheme(), server.port())
    };
    servers.iter().map(one).collect::<Vec<_>>().join(",")
}

async fn with_secrets(nats: &Nats, servers: &[ServerAddr]) -> Result<ConnectOptions, Fault> {
    let options = match &nats.credentials {
        None => ConnectOptions::new(),
        Some(path) => ConnectOptions::with_credentials_file(path).await.map_err(|why| {
            let path = path.display();
            Fault::Refused(format!(
                "credentials {path} cannot be read: {why}; it is a file with a JWT and its key, \
                 as nsc writes it"
            ))
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

#[cfg(test)]
mod tests;
