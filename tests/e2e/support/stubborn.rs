//! Clients of a server that dies and comes back elsewhere: they find every end of a connection
//! natural, and begin again where they left off.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::IntoClientRequest, http::HeaderValue};

use super::{DEADLINE, Server};

/// Where the server is now, and whether it is to be bothered any longer.
#[derive(Clone, Default)]
pub struct Whereabouts {
    now: Arc<Mutex<Option<(SocketAddr, SocketAddr)>>>,
    over: Arc<AtomicBool>,
}

impl Whereabouts {
    /// The server has come up.
    pub fn is_at(&self, server: &Server) {
        *self.now.lock().unwrap() = Some((server.subscribers, server.control));
    }

    /// Clients are to end.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether they are.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn subscribers(&self) -> SocketAddr {
        self.now.lock().unwrap().expect("it was up").0
    }

    fn control(&self) -> SocketAddr {
        self.now.lock().unwrap().expect("it was up").1
    }
}

/// Does it again until it succeeds.
#[track_caller]
fn again<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "it never succeeded: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A publisher that tries the same publication until it is acknowledged.
pub enum Stubborn {
    /// Over HTTP.
    Http(Whereabouts, Option<BufReader<TcpStream>>),
    /// Over `stentor.v1`.
    Commands(Whereabouts, Option<Box<WebSocket<TcpStream>>>),
}

impl Stubborn {
    /// Publishes under an idempotency key; gives the position.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, key: &str, text: &str) -> String {
        again(|| {
            let done = self.try_publish(channel, key, text);
            if done.is_err() {
                match self {
                    Stubborn::Http(_, connection) => *connection = None,
                    Stubborn::Commands(_, connection) => *connection = None,
                }
            }
            done
        })
    }

    fn try_publish(&mut self, channel: &str, key: &str, text: &str) -> io::Result<String> {
        let told: Value = match self {
            Stubborn::Http(at, connection) => {
                let stream = match connection {
                    Some(stream) => stream,
                    none => none.insert(BufReader::new(connect(at.control())?)),
                };
                let head = format!(
                    "POST /publish/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
                     Idempotency-Key: {key}\r\n\r\n{text}",
                    text.len()
                );
                stream.get_mut().write_all(head.as_bytes())?;
                let (status, _, body) = answer(stream)?;
                let told = String::from_utf8_lossy(&body).into_owned();
                match status {
                    200 => serde_json::from_slice(&body)?,
                    // Its server goes, and nothing was published.
                    503 => return Err(io::Error::other(told)),
                    _ => panic!("{told}"),
                }
            }
            Stubborn::Commands(at, connection) => {
                let socket = match connection {
                    Some(socket) => socket,
                    none => none.insert(Box::new(talk(at.subscribers())?)),
                };
                let command = json!({ "type": "publish", "channel": channel, "text": text,
                    "idempotency": key });
                socket.send(Message::text(command.to_string())).map_err(io::Error::other)?;
                let told = hear(socket)?;
                if told["code"] == "draining" {
                    return Err(io::Error::other(told.to_string()));
                }
                told
            }
        };
        let position = told["position"].as_str();
        Ok(position.unwrap_or_else(|| panic!("{told}")).to_owned())
    }
}

/// What a subscriber has seen: texts with their positions.
pub type Seen = Vec<(String, String)>;

/// How a subscriber follows a channel.
#[derive(Clone, Copy, Debug)]
pub enum Follows {
    Sse,
    Commands,
    Poll,
}

/// Follows a channel from its beginning, over every death of the server, until it has seen the
/// text `last`. A gap fails.
#[track_caller]
pub fn follow(at: &Whereabouts, by: Follows, channel: &str, since: &str, last: &str) -> Seen {
    let mut seen: Seen = Vec::new();
    let deadline = Instant::now() + 4 * DEADLINE;
    while seen.last().is_none_or(|(text, _)| text != last) {
        let since = seen.last().map_or(since, |(_, position)| position).to_owned();
        // Every one of them ends with an error, when the connection does.
        let _ = match by {
            Follows::Sse => follow_sse(at, channel, &since, last, &mut seen),
            Follows::Commands => follow_commands(at, channel, &since, last, &mut seen),
            Follows::Poll => follow_polls(at, channel, &since, last, &mut seen),
        };
        assert!(Instant::now() < deadline, "{channel} never brought {last}");
        thread::sleep(Duration::from_millis(5));
    }
    seen
}

fn follow_sse(
    at: &Whereabouts,
    channel: &str,
    since: &str,
    last: &str,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut stream = connect(at.subscribers())?;
    let head =
        format!("GET /sse/{channel} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {since}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let (mut id, mut data) = (String::new(), None);
    // Chunks are one event each, and none of these payloads looks like a chunk's size.
    for line in BufReader::new(stream).lines() {
        let line = line?;
        assert!(!line.starts_with("event: "), "{channel} since {since}: {line}");
        if let Some(value) = line.strip_prefix("id: ") {
            value.clone_into(&mut id);
        } else if let Some(value) = line.strip_prefix("data: ") {
            data = Some(value.to_owned());
        } else if let Some(text) = data.take_if(|_| line.is_empty()) {
            seen.push((text, id.clone()));
            if seen.last().is_some_and(|(text, _)| text == last) {
                return Ok(());
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn follow_commands(
    at: &Whereabouts,
    channel: &str,
    since: &str,
    last: &str,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut socket = talk(at.subscribers())?;
    let command = json!({ "type": "subscribe", "channel": channel, "since": since });
    socket.send(Message::text(command.to_string())).map_err(io::Error::other)?;
    let told = hear(&mut socket)?;
    assert_eq!(told["recovered"], true, "{channel} since {since}: {told}");
    while seen.last().is_none_or(|(text, _)| text != last) {
        let told = hear(&mut socket)?;
        assert_eq!(told.get("type"), None, "{told}");
        seen.push(publication(&told));
    }
    Ok(())
}

fn follow_polls(
    at: &Whereabouts,
    channel: &str,
    since: &str,
    last: &str,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut stream = BufReader::new(connect(at.subscribers())?);
    let mut since = since.to_owned();
    while seen.last().is_none_or(|(text, _)| text != last) {
        let head = format!(
            "GET /poll/{channel}?since={since}&timeout=5 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        stream.get_mut().write_all(head.as_bytes())?;
        let (status, _, body) = answer(&mut stream)?;
        let told: Value = serde_json::from_slice(&body)?;
        assert_eq!((status, &told["recovered"]), (200, &json!(true)), "{channel}: {told}");
        seen.extend(told["publications"].as_array().expect("an array").iter().map(publication));
        since = told["position"].as_str().expect("a position").to_owned();
    }
    Ok(())
}

fn publication(told: &Value) -> (String, String) {
    let text = |name: &str| told[name].as_str().expect("a text").to_owned();
    (text("data"), text("id"))
}

/// A conversation in `stentor.v1`.
fn talk(address: SocketAddr) -> io::Result<WebSocket<TcpStream>> {
    let mut request = format!("ws://{address}/ws").into_client_request().expect("a URL");
    let protocol = HeaderValue::from_static("stentor.v1");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let client = tungstenite::client(request, connect(address)?);
    Ok(client.map_err(|error| io::Error::other(error.to_string()))?.0)
}

fn hear(socket: &mut WebSocket<TcpStream>) -> io::Result<Value> {
    loop {
        match socket.read().map_err(io::Error::other)? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(frame) => return Err(io::Error::other(format!("{frame:?}"))),
            _ => {}
        }
    }
}

/// A whole answer: status, the lines of its head, and the body.
fn answer(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<String>, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_ascii_lowercase());
    }
    let status = lines[0].split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body)?;
    Ok((status, lines, body))
}
