//! A server that says what it does: event streams, long-polls and `stentor.v1` of channels of which
//! it keeps the last publications, as docs/protocol.md has them.
//!
//! For tests of what the load tester makes of resuming, of gaps, and of histories that are too short.
//! It takes a thread for each connection and no more input than the load tester sends it. Positions
//! are `f-1`, `f-2`, …, and `f-0` is before the first.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// A running server; ends when it is dropped.
pub struct Honest {
    /// Where to subscribe and publish.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Publications that a channel keeps.
    kept: usize,
    channels: Mutex<HashMap<String, Vec<String>>>,
    news: Condvar,
    is_ending: AtomicBool,
}

impl Honest {
    /// One that keeps so many publications of each channel.
    pub fn start(kept: usize) -> Honest {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let (channels, news) = (Mutex::default(), Condvar::new());
        let state = Arc::new(State { kept, channels, news, is_ending: AtomicBool::new(false) });
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.is_ending.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), state) = (client, shared.clone()) else { continue };
                // Whatever ends a connection is its client's business.
                thread::spawn(move || state.serve(&client));
            }
        });
        Honest { address, state }
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.state.is_ending.store(true, Ordering::SeqCst);
        self.state.news.notify_all();
        // Wakes the thread in `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

/// A request, as far as it matters.
struct Request {
    kind: String,
    channel: String,
    since: Option<usize>,
    waits: bool,
    body: String,
}

/// What a reader is to be sent next.
struct Due {
    /// The first and the last that it does not get.
    gap: Option<(usize, usize)>,
    publications: Vec<String>,
    /// Behind all of it.
    position: usize,
}

impl State {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client);
        while let Some(request) = read_request(&mut reader)? {
            match &request.kind[..] {
                "publish" => self.publish(&request, client)?,
                "poll" => self.answer_poll(&request, client)?,
                kind => return self.stream(&request, kind == "ws", client),
            }
        }
        Ok(())
    }

    fn publish(&self, request: &Request, mut client: &TcpStream) -> io::Result<()> {
        let mut channels = self.channels.lock().expect("no thread panics");
        channels.entry(request.channel.clone()).or_default().push(request.body.clone());
        drop(channels);
        self.news.notify_all();
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    /// Where the channel ends.
    fn head(&self, channel: &str) -> usize {
        let channels = self.channels.lock().expect("no thread panics");
        channels.get(channel).map_or(0, Vec::len)
    }

    /// What there is behind a position; waits for it if `waits`. None if the server ends.
    fn due(&self, channel: &str, since: usize, waits: bool) -> Option<Due> {
        let mut channels = self.channels.lock().expect("no thread panics");
        loop {
            let all = channels.get(channel).map_or(&[][..], |all| &all[..]);
            if all.len() > since || !waits {
                let floor = all.len().saturating_sub(self.kept).max(since);
                let gap = (floor > since).then_some((since, floor));
                let publications = all[floor.min(all.len())..].to_vec();
                return Some(Due { gap, publications, position: all.len().max(since) });
            }
            if self.is_ending.load(Ordering::SeqCst) {
                return None;
            }
            let waited = self.news.wait_timeout(channels, NAP);
            channels = waited.expect("no thread panics").0;
        }
    }

    fn answer_poll(&self, request: &Request, mut client: &TcpStream) -> io::Result<()> {
        let channel = &request.channel;
        let since = request.since.unwrap_or_else(|| self.head(channel));
        let Some(due) = self.due(channel, since, request.waits) else { return Ok(()) };
        let first = due.position - due.publications.len() + 1;
        let publications = (first..).zip(&due.publications);
        let publications: Vec<String> =
            publications.map(|(at, text)| object(channel, at, text)).collect();
        let gap = due.gap.map_or(String::new(), |(from, to)| {
            format!(r#","gap":{{"from":"f-{from}","to":"f-{to}"}}"#)
        });
        let body = format!(
            r#"{{"position":"f-{}","recovered":{},"publications":[{}]{gap}}}"#,
            due.position,
            due.gap.is_none(),
            publications.join(","),
        );
        write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        )
    }

    /// An event stream, or `stentor.v1`.
    fn stream(&self, request: &Request, is_v1: bool, mut client: &TcpStream) -> io::Result<()> {
        let channel = &request.channel;
        let mut at = request.since.unwrap_or_else(|| self.head(channel));
        let Some(mut due) = self.due(channel, at, false) else { return Ok(()) };
        let gap = if request.since.is_some() { due.gap } else { None };
        let position = gap.map_or(at, |(_, to)| to);
        let recovered = request.since.map(|_| gap.is_none());
        client.write_all(&match is_v1 {
            true => v1_start(channel, position, recovered, gap),
            false => sse_start(position, recovered),
        })?;
        if is_v1 {
            // The reply has told of it.
            at = position;
            due.gap = None;
        }
        loop {
            let mut out = Vec::new();
            if let Some((from, to)) = due.gap {
                at = to;
                out.extend(match is_v1 {
                    true => frame(&notice(channel, from, to)),
                    false => event(&gap_event(channel, from, to)),
                });
            }
            for text in &due.publications {
                at += 1;
                out.extend(match is_v1 {
                    true => frame(&object(channel, at, text)),
                    false => event(&format!("id: f-{at}\ndata: {text}\n\n")),
                });
            }
            client.write_all(&out)?;
            let Some(next) = self.due(channel, at, true) else { return Ok(()) };
            due = next;
        }
    }
}

/// The next request; none if the client has ended.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let (mut first, mut length, mut since) = (String::new(), 0, None);
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(("last-event-id", value)) => since = offset(value),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut segments = path.trim_start_matches('/').splitn(2, '/').map(str::to_owned);
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("since="));
    Ok(Some(Request {
        kind: segments.next().unwrap_or_default(),
        channel: segments.next().unwrap_or_default(),
        since: since.or_else(|| asked.and_then(offset)),
        waits: !query.contains("timeout=0"),
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}

fn offset(position: &str) -> Option<usize> {
    position.strip_prefix("f-")?.parse().ok()
}

fn sse_start(position: usize, recovered: Option<bool>) -> Vec<u8> {
    let mut head = String::from("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
    write!(head, "Stentor-Position: f-{position}\r\n").expect("memory");
    if let Some(recovered) = recovered {
        write!(head, "Stentor-Recovered: {recovered}\r\n").expect("memory");
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    [head.into_bytes(), event(&format!("retry: 3000\nid: f-{position}\n\n"))].concat()
}

/// The answer to the one key that the load tester has (RFC 6455 §1.3), and to its subscribing.
fn v1_start(
    channel: &str,
    position: usize,
    recovered: Option<bool>,
    gap: Option<(usize, usize)>,
) -> Vec<u8> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Protocol: stentor.v1\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let recovered = recovered.map_or(String::new(), |it| format!(r#","recovered":{it}"#));
    let gap = gap.map_or(String::new(), |(from, to)| {
        format!(r#","gap":{{"from":"f-{from}","to":"f-{to}"}}"#)
    });
    let reply = format!(
        r#"{{"type":"subscribed","channel":"{channel}","position":"f-{position}"{recovered}{gap}}}"#
    );
    [head.as_bytes(), &frame(&reply)].concat()
}

fn object(channel: &str, at: usize, text: &str) -> String {
    let data = serde_json::to_string(text).expect("a text can be written");
    format!(r#"{{"channel":"{channel}","id":"f-{at}","data":{data}}}"#)
}

fn notice(channel: &str, from: usize, to: usize) -> String {
    format!(r#"{{"type":"gap","channel":"{channel}","from":"f-{from}","to":"f-{to}"}}"#)
}

fn gap_event(channel: &str, from: usize, to: usize) -> String {
    let data = format!(r#"{{"channel":"{channel}","from":"f-{from}","to":"f-{to}"}}"#);
    format!("event: gap\nid: f-{to}\ndata: {data}\n\n")
}

/// An event as a chunk.
fn event(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A text frame.
fn frame(text: &str) -> Vec<u8> {
    let length = match text.len() {
        len @ 0..126 => vec![len as u8],
        len => [&[126], &(len as u16).to_be_bytes()[..]].concat(),
    };
    [&[0x81], &length[..], text.as_bytes()].concat()
}

/// How often a waiting thread looks whether the server ends.
const NAP: Duration = Duration::from_millis(100);
