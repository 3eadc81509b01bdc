//! `stentor subscribe`: a channel's publications on the standard output.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use clap::{Args, value_parser};
use stentor::config::URL_VARIABLE;
use tungstenite::{
    HandshakeError, Message, WebSocket,
    client::client_with_config,
    http::Uri,
    protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
};

use super::{
    endpoint::{Endpoint, channel, refusal},
    failure::{Failure, write_out},
};

/// The arguments.
#[derive(Args, Debug)]
pub struct Subscribe {
    /// Channel to subscribe to: letters, digits and ._-:/
    channel: String,
    /// Ends after so many publications.
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Where subscribers connect. [default: ws://127.0.0.1:8080] [env: STENTOR_URL]
    #[arg(long)]
    url: Option<String>,
}

/// Prints publications until enough were printed or the connection ends.
pub fn run(args: &Subscribe) -> Result<(), Failure> {
    let channel = channel(&args.channel)?;
    let endpoint = Endpoint::find(args.url.as_deref(), URL_VARIABLE, DEFAULT_URL, "ws")?;
    let mut socket = connect(&endpoint, &endpoint.channel("/ws/", &channel))?;
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        match socket.read() {
            Ok(publication @ (Message::Text(_) | Message::Binary(_))) => {
                write_out(&[publication.into_data().as_ref(), b"\n"].concat())?;
                printed += 1;
            }
            Ok(Message::Close(frame)) => {
                // The answer to the close frame is already queued; whether it arrives is their
                // concern.
                let _ = socket.flush();
                return ended(frame.as_ref(), args.count.is_none());
            }
            Ok(_) => {}
            Err(why) => return Err(endpoint.broken(why)),
        }
    }
    leave(socket);
    Ok(())
}

fn connect(endpoint: &Endpoint, url: &str) -> Result<WebSocket<TcpStream>, Failure> {
    let uri: Uri = url.parse().map_err(|why| Failure::usage(format!("url: '{url}': {why}")))?;
    let stream = dial(&uri).map_err(|why| match why.kind() {
        io::ErrorKind::ConnectionRefused => endpoint.nobody(),
        _ => endpoint.broken(why),
    })?;
    // How large a publication may be is the server's to say.
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    match client_with_config(uri, stream, Some(config)) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            let body = answer.body().as_deref().unwrap_or_default();
            Err(refusal(answer.status(), &String::from_utf8_lossy(body)))
        }
        Err(why) => Err(endpoint.broken(why)),
    }
}

fn dial(uri: &Uri) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs()?.collect();
    TcpStream::connect(&addresses[..])
}

/// What the server's close frame means for us. One that was to send a certain number and did not
/// has not ended well, however politely.
fn ended(frame: Option<&CloseFrame>, may_end: bool) -> Result<(), Failure> {
    let Some(CloseFrame { code, reason }) = frame else {
        return Err(Failure::failed("the server closed the connection without a reason"));
    };
    let told = format!("the server closed the connection: {} {reason}", u16::from(*code));
    if may_end && matches!(code, CloseCode::Normal | CloseCode::Away) {
        eprintln!("stentor: {}", told.trim_end());
        return Ok(());
    }
    Err(Failure::failed(told.trim_end()))
}

/// Says goodbye and waits a moment for the answer, so that the server sees a clean end.
fn leave(mut socket: WebSocket<TcpStream>) {
    let _ = socket.get_ref().set_read_timeout(Some(GOODBYE_MAX));
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    if socket.close(Some(frame)).is_ok() {
        while socket.read().is_ok() {}
    }
}

const DEFAULT_URL: &str = "ws://127.0.0.1:8080";
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
        let frame = |code: u16| CloseFrame { code: code.into(), reason: "x".into() };
        for (code, may_end, clean) in [
            (1000, true, true),
            (1001, true, true),
            (1013, true, false),
            (1002, true, false),
            (1000, false, false),
        ] {
            assert_eq!(ended(Some(&frame(code)), may_end).is_ok(), clean, "{code}");
        }
        assert!(ended(None, true).is_err());
    }
}
