//! Publications on their way to Redis: `PUBLISH` for an input of Pub/Sub, `XADD` for one of streams.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use redis::{Pipeline, ProtocolVersion, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{Fault, Server, epoch, id::Id};
use crate::{
    ids::Position,
    inputs::{Forward, Input, Source},
    mapping::{Fields, Template},
};

/// Publications that are on their way together; those behind them wait.
const TOGETHER_MAX: usize = 256;

/// The longest that a publisher waits for Redis.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The wait before a server that is not there is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Takes publications to Redis.
pub(super) async fn run(input: Input, mut forwards: mpsc::Receiver<Forward>) {
    let Input { source, destination, numbered_by_bus, .. } = input;
    let (url, kind) = match source {
        Source::RedisChannels(source) => (source.url, Kind::Publish),
        Source::RedisStreams(source) => {
            let streams = if numbered_by_bus { source.streams } else { Vec::new() };
            let newest = streams.into_iter().map(|name| (name, Id(0))).collect();
            (source.url, Kind::Add { field: source.payload_field, newest })
        }
        other => unreachable!("{other:?} has nothing to do with Redis"),
    };
    let mut way = Way { url, destination, kind, connection: None, is_down: false };
    let mut waiting = Vec::with_capacity(TOGETHER_MAX);
    while forwards.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
        way.take(&mut waiting).await;
    }
}

/// The way to one server.
struct Way {
    url: String,
    destination: Template,
    kind: Kind,
    connection: Option<(Server, MultiplexedConnection)>,
    /// Whether the last that tried found no server: then nobody waits for it for long.
    is_down: bool,
}

/// What becomes of a publication.
enum Kind {
    Publish,
    /// `newest`: of each stream that numbers its channel, the newest id that we were given.
    Add {
        field: String,
        newest: HashMap<String, Id>,
    },
}

/// A publication with the key or channel that it goes to.
struct Addressed {
    to: String,
    forward: Forward,
}

/// What fills the template of a destination.
struct ChannelField<'a>(&'a str);

impl Way {
    /// Takes publications to the server together, in their order, and answers them.
    async fn take(&mut self, waiting: &mut Vec<Forward>) {
        let deadline = Instant::now() + WAIT_MAX;
        let all: Vec<_> = waiting.drain(..).filter_map(|forward| self.addressed(forward)).collect();
        if all.is_empty() {
            return;
        }
        match self.send(&all, deadline).await {
            Ok(answers) => {
                for (Addressed { to, forward }, answer) in all.into_iter().zip(answers) {
                    let _ = forward.answer.send(self.outcome(&to, answer));
                }
            }
            Err(why) => {
                for Addressed { forward, .. } in all {
                    let _ = forward.answer.send(Err(why.clone()));
                }
            }
        }
    }

    /// Finds out where a publication goes. One that goes nowhere is answered.
    fn addressed(&self, forward: Forward) -> Option<Addressed> {
        let mut to = Vec::new();
        let channel = ChannelField(forward.channel.as_str());
        match self.destination.fill(&channel, &forward.payload, &mut to) {
            Ok(()) => {
                let to = String::from_utf8_lossy(&to).into_owned();
                Some(Addressed { to, forward })
            }
            Err(why) => {
                let _ = forward.answer.send(Err(why.to_string()));
                None
            }
        }
    }

    async fn send(
        &mut self,
        all: &[Addressed],
        deadline: Instant,
    ) -> Result<Vec<RedisResult<Value>>, String> {
        let connection = self.connection(deadline).await?;
        let mut commands = redis::pipe();
        all.iter().for_each(|one| self.kind.command(one, &mut commands));
        let (server, mut connection) = connection;
        let sent = commands.ignore_errors().query_async(&mut connection);
        match timeout_at(deadline, sent).await {
            Ok(Ok(answers)) => {
                self.connection = Some((server, connection));
                Ok(answers)
            }
            // Without an answer it is not known whether Redis has it.
            Ok(Err(error)) => Err(format!(
                "{}; it may have been published",
                text(server.fault(&error, "publish"))
            )),
            Err(_) => Err(format!(
                "{} did not answer within {} s; it may have been published",
                server.name,
                WAIT_MAX.as_secs()
            )),
        }
    }

    /// The connection, made if there is none: tried until the deadline, or once if it was in vain
    /// before.
    async fn connection(
        &mut self,
        deadline: Instant,
    ) -> Result<(Server, MultiplexedConnection), String> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        loop {
            let why = match timeout_at(deadline, connect(&self.url)).await {
                Ok(Ok(connection)) => {
                    self.is_down = false;
                    return Ok(connection);
                }
                Ok(Err(fault)) => text(fault),
                Err(_) => format!("redis did not answer within {} s", WAIT_MAX.as_secs()),
            };
            if self.is_down || Instant::now() + RETRY >= deadline {
                self.is_down = true;
                return Err(why);
            }
            sleep(RETRY).await;
        }
    }

    /// What became of a publication, as Redis answered.
    fn outcome(
        &mut self,
        to: &str,
        answer: RedisResult<Value>,
    ) -> Result<Option<Position>, String> {
        let answer = answer.map_err(|error| format!("redis did not take it: {error}"))?;
        let Kind::Add { newest, .. } = &mut self.kind else { return Ok(None) };
        let Value::BulkString(id) = answer else { return Ok(None) };
        let (Some(id), Some(before)) = (Id::parse(&id), newest.get_mut(to)) else {
            return Ok(None);
        };
        if id <= *before {
            // Made anew, with ids that went back: readers number it otherwise from now on.
            newest.remove(to);
            return Ok(None);
        }
        *before = id;
        let epoch = epoch(&[b"redis-stream", to.as_bytes()]);
        Ok(Some(Position { epoch, offset: id.offset() }))
    }
}

impl Kind {
    fn command(&self, one: &Addressed, commands: &mut Pipeline) {
        let (to, payload) = (&one.to, &one.forward.payload[..]);
        match self {
            Kind::Publish => commands.cmd("PUBLISH").arg(to).arg(payload),
            Kind::Add { field, .. } => {
                commands.cmd("XADD").arg(to).arg("*").arg(field).arg(payload)
            }
        };
    }
}

impl Fields for ChannelField<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "channel").then_some(Cow::Borrowed(self.0.as_bytes()))
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

async fn connect(url: &str) -> Result<(Server, MultiplexedConnection), Fault> {
    let server = Server::new(url, ProtocolVersion::RESP2)?;
    let connection = server.connect(Server::config()).await?;
    Ok((server, connection))
}

fn text(fault: Fault) -> String {
    match fault {
        Fault::Lost(why) | Fault::Refused(why) => why,
        Fault::Over => "redis has ended".to_owned(),
    }
}
