//! Redis: `PUBLISH` for Pub/Sub, `XADD` for streams, a batch at a time.

use redis::{
    Client, Connection, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, RedisResult, Value,
};

use super::{ANSWER_MAX, Bus, Kind, Link, Outcome, Outgoing, late};

/// A connection.
struct Redis {
    connection: Connection,
    /// The field of streams' entries that the payload is in; nothing with Pub/Sub.
    field: Option<String>,
}

pub fn connect(bus: &Bus) -> Result<Box<dyn Link>, String> {
    let place = bus.place();
    let wrong = || "its url is not like redis://user:password@127.0.0.1:6379/0".to_owned();
    // What is wrong is not told in the client's words: they may hold the password.
    let info = bus.url.as_str().into_connection_info().map_err(|_| wrong())?;
    let client = Client::open(info).map_err(|_| wrong())?;
    let open = || {
        let mut connection = client.get_connection_with_timeout(ANSWER_MAX)?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        connection.set_write_timeout(Some(ANSWER_MAX))?;
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    };
    let connection = open().map_err(|error: RedisError| {
        match (error.kind(), error.code().unwrap_or_default()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS" | "NOAUTH") => {
                format!("{place} refuses the user or password; see url")
            }
            (ErrorKind::Io, _) => format!("{place} is not there: {error}; start it, or see url"),
            _ => format!("{place} refuses us: {error}; see url"),
        }
    })?;
    let field = (bus.kind == Kind::RedisStream).then(|| bus.field.clone());
    Ok(Box::new(Redis { connection, field }))
}

impl Link for Redis {
    fn check(&mut self, to: &str) -> Result<(), String> {
        let known: RedisResult<String> = redis::cmd("TYPE").arg(to).query(&mut self.connection);
        match known.as_deref() {
            Ok("none" | "stream") => Ok(()),
            Ok(other) if self.field.is_some() => {
                Err(format!("the key '{to}' is a {other}; name a stream in to, or delete it"))
            }
            // Somebody who may publish may not be permitted to ask.
            _ => Ok(()),
        }
    }

    fn publish(&mut self, batch: Vec<Outgoing>) -> Result<Vec<Outcome>, String> {
        let mut commands = redis::pipe();
        batch.iter().for_each(|one| command(one, self.field.as_deref(), &mut commands));
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            commands.ignore_errors().query(&mut self.connection);
        let answers = answers.map_err(|error| match error.is_timeout() {
            true => late(),
            false => "the connection was lost".to_owned(),
        })?;
        let refused = |error: RedisError| match error.code() {
            Some(code) => format!("refused: {code}"),
            None => format!("refused: {}", error.category()),
        };
        Ok(answers.into_iter().map(|answer| answer.map(drop).map_err(refused)).collect())
    }
}

fn command(one: &Outgoing, field: Option<&str>, commands: &mut Pipeline) {
    let Outgoing { channel, to, payload } = one;
    match field {
        None => commands.cmd("PUBLISH").arg(to).arg(&payload[..]),
        Some(field) => {
            let add = commands.cmd("XADD").arg(to).arg("*").arg(field).arg(&payload[..]);
            add.arg("channel").arg(channel)
        }
    };
}
