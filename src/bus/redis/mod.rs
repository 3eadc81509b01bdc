//! Redis, and what speaks its protocol: Pub/Sub and streams.
//!
//! One connection reads. A stream is read from an id, so whatever was read stays read over a
//! reconnect; Pub/Sub has no memory, and what is published while the connection is down is gone.
//! Clusters are read node by node: an input names the node that has its keys.

mod channels;
mod forward;
mod glob;
mod id;
mod inbox;
mod key;
mod pace;
mod progress;
mod reply;
mod streams;

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError,
    ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::sync::mpsc;

use super::{Fault, Feed, Reader, Running, feed::epoch};
use crate::inputs::{Forward, Input, Source};

/// The longest that a connection may take until it stands and has told who we are.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest that an answer may take, and so the longest until a server that went without a word
/// is missed. A command that waits at the server waits less.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// A reader of Redis.
pub(super) fn reader(input: Input) -> Box<dyn Reader> {
    let (name, is_numbered) = (input.name, input.numbered_by_bus);
    match input.source {
        Source::RedisChannels(source) => Box::new(channels::Channels::new(source)),
        Source::RedisStreams(source) => Box::new(streams::Streams::new(name, source, is_numbered)),
        other => unreachable!("{other:?} is not read from Redis"),
    }
}

/// Takes publications to Redis.
pub(super) async fn forward(input: Input, forwards: mpsc::Receiver<Forward>) {
    forward::run(input, forwards).await;
}

/// A server that one can connect to.
struct Server {
    client: Client,
    /// What it is called in errors: without the password that its address may have.
    name: String,
}

impl Server {
    fn new(url: &str, protocol: ProtocolVersion) -> Result<Self, Fault> {
        // What is wrong is not told in the client's words: they may hold the password.
        let wrong = |_| {
            Fault::Refused(
                "url names no Redis; write redis://[user:password@]127.0.0.1:6379/0, rediss:// \
                 for TLS, or redis+unix:///path of its socket"
                    .into(),
            )
        };
        let info = url.into_connection_info().map_err(wrong)?;
        let settings = info.redis_settings().clone().set_protocol(protocol);
        let name = format!("redis at {}", info.addr());
        let client = Client::open(info.set_redis_settings(settings)).map_err(wrong)?;
        Ok(Server { client, name })
    }

    fn config() -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX))
    }

    async fn connect(&self, config: AsyncConnectionConfig) -> Result<MultiplexedConnection, Fault> {
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| self.fault(&error, "connect"))
    }

    /// Whose fault an error is. `doing` is what was asked for.
    fn fault(&self, error: &RedisError, doing: &str) -> Fault {
        let name = &self.name;
        let said = error.detail().unwrap_or_default();
        match (error.kind(), error.code().unwrap_or_default()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS") => {
                Fault::Refused(format!("{name} refuses the user or password; see the key `url`"))
            }
            (_, "NOAUTH") => Fault::Refused(format!(
                "{name} wants a password; put it into url, as in redis://:password@host"
            )),
            (_, "NOPERM") => Fault::Refused(format!(
                "{name} does not let this user {doing} ({said}); grant it with ACL SETUSER"
            )),
            (_, "WRONGTYPE") => Fault::Refused(format!(
                "{name} cannot {doing}: the key holds something else; name the key of a stream"
            )),
            (_, "MOVED" | "ASK" | "CROSSSLOT") => Fault::Refused(format!(
                "{name} is one node of a cluster, and does not have the keys ({said}); use an \
                 input for each node, with its address and its keys"
            )),
            (ErrorKind::RESP3NotSupported, _) => Fault::Refused(format!(
                "{name} does not speak RESP3; Pub/Sub needs Redis 6 or later, or Valkey"
            )),
            (ErrorKind::Server(ServerErrorKind::ResponseError), _) => {
                Fault::Refused(format!("{name} does not {doing}: {said}"))
            }
            (ErrorKind::InvalidClientConfig | ErrorKind::Client, _) => {
                Fault::Refused(format!("cannot {doing}, to {name}: {error}; see the key `url`"))
            }
            (ErrorKind::Io, _) if error.is_connection_refusal() => {
                Fault::Lost(format!("{name} is not there: {error}"))
            }
            (ErrorKind::Io, _) => Fault::Lost(format!("the connection to {name} ended: {error}")),
            _ => Fault::Lost(format!("{name} cannot {doing} now: {error}")),
        }
    }
}
