//! `stentor subscribe`: a channel's publications on the standard output.
//!
//! It speaks `stentor.v1`, which tells positions and gaps: those go to the standard error, so that
//! the output stays what was published.

use std::{io, time::Duration};

use clap::{Args, value_parser};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use stentor::{
    close::CloseReason,
    config::{TOKEN_VARIABLE, URL_VARIABLE},
    ids::Position,
};
use tungstenite::{
    HandshakeError, Message, WebSocket,
    client::{IntoClientRequest, client_with_config},
    http::{
        HeaderValue, Uri,
        header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
    },
    protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
};

use super::{
    endpoint::{Endpoint, authorization, channel, refusal},
    failure::{Failure, write_out},
    stream::Stream,
    trust::{Authority, Trust},
};

/// The arguments.
#[derive(Args, Debug)]
pub struct Subscribe {
    /// Channel to subscribe to: letters, digits and ._-:/
    channel: String,
    /// Begins behind this position, with everything that was published since.
    #[arg(long, value_name = "POSITION", conflicts_with = "last")]
    since: Option<String>,
    /// Begins with so many of the newest publications that are kept.
    #[arg(long, value_name = "NUMBER")]
    last: Option<u32>,
    /// Prints each publication's position and a tab before it.
    #[arg(long)]
    positions: bool,
    /// Ends after so many publications.
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Where subscribers connect. [default: ws://127.0.0.1:8080] [env: STENTOR_URL]
    #[arg(long)]
    url: Option<String>,
    /// A token that grants the channel, where one is needed. [env: STENTOR_TOKEN]
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    authority: Authority,
}

/// Prints publications until enough were printed or the connection ends.
pub fn run(args: &Subscribe) -> Result<(), Failure> {
    let channel = channel(&args.channel)?;
    let begin = begin(args)?;
    let endpoint = Endpoint::find(args.url.as_deref(), URL_VARIABLE, DEFAULT_URL, "ws")?;
    let url = endpoint.channel("/ws/", &channel) + &begin;
    let token = authorization(args.token.as_deref(), "token", TOKEN_VARIABLE)?;
    let trust = Trust::of(&endpoint, &args.authority)?;
    let mut socket = connect(&endpoint, &url, token.as_deref(), &trust)?;
    let (mut printed, mut position) = (0, None);
    while args.count.is_none_or(|count| printed < count) {
        match socket.read() {
            Ok(Message::Text(message)) => {
                let told = Told::of(&message).map_err(|why| endpoint.broken(why))?;
                if let Some(line) = told.line(args.positions)? {
                    write_out(&line)?;
                    printed += 1;
                }
                position = told.stands_at().or(position);
            }
            Ok(Message::Close(frame)) => {
                // The answer to the close frame is already queued; whether it arrives is their
                // concern.
                let _ = socket.flush();
                return ended(frame.as_ref(), args.count.is_none(), position.as_deref());
            }
            Ok(_) => {}
            Err(why) => return Err(endpoint.broken(go_on(&why.to_string(), position.as_deref()))),
        }
    }
    leave(socket);
    Ok(())
}

/// What the URL says of where to begin.
fn begin(args: &Subscribe) -> Result<String, Failure> {
    match (&args.since, args.last) {
        (Some(since), _) => match since.parse::<Position>() {
            Ok(since) => Ok(format!("?since={since}")),
            Err(why) => Err(Failure::usage(format!("since: '{since}': {why}"))),
        },
        (None, Some(last)) => Ok(format!("?last={last}")),
        (None, None) => Ok(String::new()),
    }
}

/// What the server says; of all that `stentor.v1` has, what can come here.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    id: Option<String>,
    position: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    encoding: Option<&'a str>,
    gap: Option<Gap>,
    from: Option<String>,
    to: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Gap {
    from: String,
    to: String,
}

impl Told<'_> {
    fn of(message: &str) -> serde_json::Result<Told<'_>> {
        serde_json::from_str(message)
    }

    /// The publication as it is printed, if it is one; a gap is told on the way.
    fn line(&self, positions: bool) -> Result<Option<Vec<u8>>, Failure> {
        match (self.kind, &self.from, &self.to) {
            (None, ..) => {}
            (Some("error"), ..) => {
                let why = self.message.as_deref().unwrap_or("it does not say why");
                return Err(Failure::failed(format!("the server refused: {why}")));
            }
            (Some("gap"), Some(from), Some(to)) => {
                eprintln!("stentor: {}", missing(from, to));
                return Ok(None);
            }
            _ => {
                if let Some(Gap { from, to }) = &self.gap {
                    eprintln!("stentor: {}", missing(from, to));
                }
                return Ok(None);
            }
        }
        let mut line = match (&self.id, positions) {
            (Some(id), true) => format!("{id}\t").into_bytes(),
            _ => Vec::new(),
        };
        line.extend(self.payload());
        line.push(b'\n');
        Ok(Some(line))
    }

    fn payload(&self) -> Vec<u8> {
        let raw = self.data.map_or("", RawValue::get);
        match (serde_json::from_str::<String>(raw), self.encoding) {
            (Ok(text), Some("base64")) => {
                BASE64.decode(text.as_bytes()).unwrap_or_else(|_| text.into_bytes())
            }
            (Ok(text), _) => text.into_bytes(),
            (Err(_), _) => raw.into(),
        }
    }

    /// The position that this leaves us at.
    fn stands_at(self) -> Option<String> {
        match self.kind {
            None => self.id,
            Some("gap") => self.to,
            _ => self.position,
        }
    }
}

fn missing(from: &str, to: &str) -> String {
    format!("gap: what was published behind {from}, up to and with {to}, is not to be had any more")
}

/// What went wrong, and how to go on where it did.
fn go_on(told: &str, position: Option<&str>) -> String {
    let told = told.trim_end();
    match position {
        Some(position) => format!("{told}; go on with --since {position}"),
        None => told.to_owned(),
    }
}

fn connect(
    endpoint: &Endpoint,
    url: &str,
    token: Option<&str>,
    trust: &Trust,
) -> Result<WebSocket<Stream>, Failure> {
    let uri: Uri = url.parse().map_err(|why| Failure::usage(format!("url: '{url}': {why}")))?;
    let tls = endpoint.is_tls().then_some(trust);
    let stream = Stream::dial(&uri, tls).map_err(|why| match why.kind() {
        io::ErrorKind::ConnectionRefused => endpoint.nobody(),
        _ => endpoint.broken(why),
    })?;
    let mut request =
        uri.into_client_request().map_err(|why| Failure::usage(format!("url: '{url}': {why}")))?;
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Some(token) = token {
        let token = HeaderValue::from_str(token).expect("it was checked");
        request.headers_mut().insert(AUTHORIZATION, token);
    }
    // How large a publication may be is the server's to say.
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    match client_with_config(request, stream, Some(config)) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            let body = answer.body().as_deref().unwrap_or_default();
            Err(refusal(answer.status(), &String::from_utf8_lossy(body)))
        }
        Err(why) => Err(endpoint.broken(why)),
    }
}

/// What the server's close frame means for us. One that was to send a certain number and did not
/// has not ended well, however politely.
fn ended(frame: Option<&CloseFrame>, may_end: bool, position: Option<&str>) -> Result<(), Failure> {
    let Some(CloseFrame { code, reason }) = frame else {
        let told = "the server closed the connection without a reason";
        return Err(Failure::failed(go_on(told, position)));
    };
    let told = format!("the server closed the connection: {} {reason}", u16::from(*code));
    let told = go_on(&told, position);
    let is_drain =
        *code == CloseCode::Restart && reason.as_str() == CloseReason::ServerDraining.label();
    if may_end && (is_drain || matches!(code, CloseCode::Normal | CloseCode::Away)) {
        eprintln!("stentor: {told}");
        return Ok(());
    }
    Err(Failure::failed(told))
}

/// Says goodbye and waits a moment for the answer, so that the server sees a clean end.
fn leave(mut socket: WebSocket<Stream>) {
    let _ = socket.get_ref().tcp().set_read_timeout(Some(GOODBYE_MAX));
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    if socket.close(Some(frame)).is_ok() {
        while socket.read().is_ok() {}
    }
}

const DEFAULT_URL: &str = "ws://127.0.0.1:8080";
/// What is spoken.
const SUBPROTOCOL: &str = "stentor.v1";
/// The longest silence in which the answer to a goodbye is waited for.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use stentor::config::Config;

    use super::*;

    /// Without a flag the client finds a server that was started without flags.
    #[test]
    fn the_default_is_the_servers_own() {
        assert_eq!(DEFAULT_URL, format!("ws://{}", Config::default().listen));
    }

    /// Only a polite end of an open-ended subscription is a clean one.
    #[test]
    fn clean_ends_are_told_from_others() {
        let frame = |code: u16| {
            let reason = if code == 1012 { "server draining" } else { "x" };
            CloseFrame { code: code.into(), reason: reason.into() }
        };
        for (code, may_end, clean) in [
            (1000, true, true),
            (1012, true, true),
            (1001, true, true),
            (1013, true, false),
            (1002, true, false),
            (1000, false, false),
        ] {
            assert_eq!(ended(Some(&frame(code)), may_end, None).is_ok(), clean, "{code}");
        }
        assert!(ended(None, true, None).is_err());
    }
}
