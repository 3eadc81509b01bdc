//! The proxy that the load tester is proven with plants exactly what it says.
//!
//! Method: a server writes one stream, byte for byte, to each connection, and what a client reads
//! through the proxy is held against a list that is made from the plan alone. Cuts of the stream are
//! part of it, for a proxy must not take a write of the server's for a frame.
#![forbid(unsafe_code)]

mod support;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use stentor_loadtest::decoder::{Message, Stream, Transport};
use support::fault_proxy::{CONNECTIONS_MAX, Fault, FaultProxy, GRACE, HOLD_MAX, Plan};

const KINDS: [Fault; 6] =
    [Fault::Drop, Fault::Repeat, Fault::Swap, Fault::Truncate, Fault::Corrupt, Fault::Cut];

/// In each form of a stream, every kind of fault hits the publications that are due and no others,
/// and as many are counted.
#[test]
fn each_kind_plants_what_it_says() {
    for form in Form::ALL {
        for kind in KINDS {
            let sent: Vec<String> = (0..COUNT).map(text).collect();
            let server = serve(form.stream(&sent));
            let proxy = FaultProxy::start(server, Plan { grace: 5, ..Plan::new(kind, 7) });
            let heard = subscribe(proxy.address, form.transport());
            let (expected, planted) = with_faults(kind, &sent, |at| at >= 5 && (at - 5) % 7 == 0);
            assert_eq!(heard.publications, expected, "{form:?}, {kind:?}");
            assert_eq!(proxy.planted(), planted, "{form:?}, {kind:?}");
            let is_whole = kind != Fault::Cut;
            assert_eq!(heard.ends, is_whole && form.ends(), "{form:?}, {kind:?}");
            assert!(!is_whole || heard.pings == form.pings(), "{form:?}, {kind:?}: pings");
        }
    }
}

/// At seams only the first publication of a connection that resumes can be due, over SSE and in
/// `stentor.v1` alike.
#[test]
fn seams_are_where_connections_resume() {
    let sent: Vec<String> = (0..9).map(text).collect();
    for (form, request) in [
        (Form::Chunks, "GET /sse/c HTTP/1.1\r\nLast-Event-ID: a-7\r\n\r\n"),
        (Form::Frames, "GET /ws/c?since=a-7 HTTP/1.1\r\n\r\n"),
    ] {
        let proxy = FaultProxy::start(
            serve(form.stream(&sent)),
            Plan { grace: 0, at_seams: true, ..Plan::new(Fault::Drop, 1) },
        );
        let fresh = "GET /sse/c HTTP/1.1\r\n\r\n";
        let whole = ask(proxy.address, form.transport(), fresh);
        assert_eq!((whole.publications, proxy.planted()), (sent.clone(), 0), "{form:?}");
        let resumed = ask(proxy.address, form.transport(), request);
        assert_eq!(resumed.publications, sent[1..], "{form:?}");
        assert_eq!(proxy.planted(), 1);
    }
}

/// Who resumes is put one publication back, unless there is none before; nothing else of its
/// request is changed.
#[test]
fn who_resumes_is_put_back_by_one() {
    let cases = [
        ("GET /sse/c HTTP/1.1\r\nLast-Event-ID: a-100\r\nX: y\r\n\r\n", "a-99", 1),
        ("GET /poll/c?since=a-7&timeout=25 HTTP/1.1\r\n\r\n", "a-6", 1),
        ("GET /ws/c?since=a-0 HTTP/1.1\r\n\r\n", "a-0", 0),
        ("GET /ws/c?x=a-7 HTTP/1.1\r\n\r\n", "a-7", 0),
    ];
    for (request, position, planted) in cases {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let plan = Plan { grace: 0, ..Plan::new(Fault::Rewind, 1) };
        let proxy = FaultProxy::start(listener.local_addr().unwrap(), plan);
        let mut client = TcpStream::connect(proxy.address).unwrap();
        // Whatever follows the first request passes as it is.
        client.write_all([request, request].concat().as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut received = String::new();
        server.read_to_string(&mut received).unwrap();
        let old = if position == "a-99" { "a-100" } else { "a-7" };
        let expected = [&request.replacen(old, position, 1), request].concat();
        assert_eq!((received, proxy.planted()), (expected, planted), "{request}");
    }
}

/// With a fault in every publication, two that are swapped are one fault.
#[test]
fn every_publication_can_be_due() {
    let sent: Vec<String> = (0..9).map(text).collect();
    for (kind, expected_planted) in [(Fault::Drop, 9), (Fault::Repeat, 9), (Fault::Swap, 4)] {
        let server = serve(Form::Frames.stream(&sent));
        let proxy = FaultProxy::start(server, Plan { grace: 0, ..Plan::new(kind, 1) });
        let heard = subscribe(proxy.address, Transport::WebSocket);
        let (expected, planted) = with_faults(kind, &sent, |_| true);
        assert_eq!(heard.publications, expected, "{kind:?}");
        assert_eq!((proxy.planted(), planted), (expected_planted, expected_planted), "{kind:?}");
        assert!(heard.ends);
    }
}

/// Publications are counted over all connections, and the grace is given once.
#[test]
fn connections_are_counted_together() {
    let sent: Vec<String> = (0..COUNT).map(text).collect();
    let server = serve(Form::Frames.stream(&sent));
    let proxy = FaultProxy::start(server, Plan::new(Fault::Drop, 11));
    for connection in 0..3 {
        let heard = subscribe(proxy.address, Transport::WebSocket);
        let before = connection * COUNT;
        let is_due = |at: u64| before + at >= GRACE && (before + at - GRACE).is_multiple_of(11);
        assert_eq!(heard.publications, with_faults(Fault::Drop, &sent, is_due).0);
    }
    assert_eq!(proxy.planted(), (3 * COUNT - GRACE).div_ceil(11));
}

/// At the same time, too, one publication in `every` is lost, whoever it was for.
#[test]
fn simultaneous_connections_lose_what_is_counted() {
    let sent: Vec<String> = (0..COUNT).map(text).collect();
    let server = serve(Form::Chunks.stream(&sent));
    let proxy = FaultProxy::start(server, Plan::new(Fault::Drop, 13));
    let heard: u64 = thread::scope(|scope| {
        let subscriber = || subscribe(proxy.address, Transport::Sse).publications.len() as u64;
        let subscribers: Vec<_> = (0..50).map(|_| scope.spawn(subscriber)).collect();
        subscribers.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let planted = (50 * COUNT - GRACE).div_ceil(13);
    assert_eq!((heard, proxy.planted()), (50 * COUNT - planted, planted));
}

/// A publication that no other follows is not held for ever, and is not counted as swapped.
#[test]
fn the_last_publication_is_not_swapped() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let plan = Plan { grace: 0, ..Plan::new(Fault::Swap, 1) };
    let proxy = FaultProxy::start(listener.local_addr().unwrap(), plan);
    let mut client = TcpStream::connect(proxy.address).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let bytes = [SWITCHING, &frame(0x81, b"last")].concat();
    server.write_all(&bytes).unwrap();
    client.set_read_timeout(Some(HOLD_MAX * 20)).unwrap();
    let mut read = vec![0; bytes.len()];
    client.read_exact(&mut read).unwrap();
    assert_eq!((read, proxy.planted()), (bytes, 0));
}

/// Nothing that is too short for a fault is counted, and a fragmented message passes.
#[test]
fn what_cannot_be_changed_is_not_counted() {
    let empty = frame(0x81, b"");
    let fragments = [frame(0x01, b"ab"), frame(0x89, b"?"), frame(0x80, b"cd")].concat();
    for kind in [Fault::Truncate, Fault::Corrupt] {
        let stream = [SWITCHING, &empty, &fragments, &empty].concat();
        let proxy = FaultProxy::start(serve(stream), Plan { grace: 0, ..Plan::new(kind, 1) });
        let heard = subscribe(proxy.address, Transport::WebSocket);
        assert_eq!(heard.publications, ["", "abcd", ""]);
        assert_eq!((heard.pings, proxy.planted()), (1, 0));
    }
}

/// Bytes towards the server pass unchanged, and an answer that is no stream passes unchanged too.
#[test]
fn all_else_passes_unchanged() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let plan = Plan { grace: 0, ..Plan::new(Fault::Corrupt, 1) };
    let proxy = FaultProxy::start(listener.local_addr().unwrap(), plan);
    let mut client = TcpStream::connect(proxy.address).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..100_000u64).map(|number| (number * number / 256) as u8).collect();
    let answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 14\r\n\r\ndata: later\n\n\x81";
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == sent, "another request");
    });
    server.write_all(answer).unwrap();
    server.shutdown(Shutdown::Both).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, answer);
    assert_eq!(proxy.planted(), 0);
}

/// As many connections as the plan allows are served at the same time; one more is closed, and when
/// one has ended there is room again.
#[test]
fn connections_are_bounded() {
    assert_eq!(Plan::new(Fault::Drop, 1).connections_max, CONNECTIONS_MAX);
    let (server, held) = serve_and_hold(Form::Frames.stream(&[text(0)]));
    let plan = Plan { connections_max: 3, ..Plan::new(Fault::Drop, 1) };
    let proxy = FaultProxy::start(server, plan);
    let connect = || {
        let client = TcpStream::connect(proxy.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    };
    let is_served = |mut client: &TcpStream| client.read(&mut [0; 1]).is_ok_and(|len| len == 1);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect()).collect();
    assert!(clients.iter().all(is_served));
    assert!(!is_served(&connect()));
    drop(clients.pop());
    held.lock().unwrap().clear();
    let again = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        is_served(&connect())
    });
    assert!(again, "no room after a connection has ended");
}

/// Dropping the proxy ends connections that would last, on both sides.
#[test]
fn dropping_the_proxy_ends_its_connections() {
    let (server, held) = serve_and_hold(Form::Frames.stream(&[text(0)]));
    let proxy = FaultProxy::start(server, Plan::new(Fault::Drop, 1));
    let mut client = TcpStream::connect(proxy.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    drop(proxy);
    client.read_to_end(&mut Vec::new()).unwrap();
    let mut server_side = held.lock().unwrap().pop().unwrap();
    server_side.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(server_side.read(&mut [0; 1]).unwrap_or(0), 0);
}

/// What a client must hear of these publications, and how many faults that is: the plan, read again.
fn with_faults(kind: Fault, sent: &[String], is_due: impl Fn(u64) -> bool) -> (Vec<String>, u64) {
    let (mut expected, mut planted, mut at) = (Vec::new(), 0, 0);
    while at < sent.len() {
        let one = sent[at].clone();
        let due = is_due(at as u64);
        at += 1;
        match kind {
            _ if !due => expected.push(one),
            Fault::Drop => {}
            Fault::Rewind => panic!("planted in requests"),
            Fault::Repeat => expected.extend([one.clone(), one]),
            Fault::Swap if at == sent.len() => {
                expected.push(one);
                return (expected, planted);
            }
            Fault::Swap => {
                expected.extend([sent[at].clone(), one]);
                at += 1;
            }
            Fault::Truncate => expected.push(one[..one.len() - 4].into()),
            Fault::Corrupt => expected.push(one.replace('~', "|").replace('x', "y")),
            Fault::Cut => return (expected, planted + 1),
        }
        planted += u64::from(due);
    }
    (expected, planted)
}

/// A publication whose middle byte is its only `~` or `x`, short or longer than a short frame.
fn text(number: u64) -> String {
    let middle = if number.is_multiple_of(2) { '~' } else { 'x' };
    let padding = "=".repeat(if number.is_multiple_of(3) { 200 } else { 3 });
    format!("{padding}{number:05}{middle}{number:05}{padding}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Frames,
    Events,
    Chunks,
    /// Chunks that begin and end anywhere in an event.
    OddChunks,
}

impl Form {
    const ALL: [Form; 4] = [Form::Frames, Form::Events, Form::Chunks, Form::OddChunks];

    fn transport(self) -> Transport {
        if self == Form::Frames { Transport::WebSocket } else { Transport::Sse }
    }

    /// Whether the stream says that it ends.
    fn ends(self) -> bool {
        self != Form::Events
    }

    /// How many pings are in a stream of [`COUNT`] publications.
    fn pings(self) -> u64 {
        if self == Form::Frames { COUNT } else { 0 }
    }

    /// All that a server sends: a head, the publications with a heartbeat behind each, the end.
    fn stream(self, publications: &[String]) -> Vec<u8> {
        let events = publications.iter().map(|text| format!("id: 7\r\ndata: {text}\r\n\r\n:\n\n"));
        match self {
            Form::Frames => {
                let frames = publications
                    .iter()
                    .flat_map(|text| [frame(0x81, text.as_bytes()), frame(0x89, b"data")].concat());
                SWITCHING.iter().copied().chain(frames).chain(frame(0x88, b"\x03\xe8")).collect()
            }
            Form::Events => [EVENT_STREAM.into(), "\r\n".into(), events.collect::<String>()]
                .concat()
                .into_bytes(),
            Form::Chunks => chunked(events.map(String::into_bytes)),
            Form::OddChunks => {
                let events: String = events.collect();
                chunked(events.as_bytes().chunks(17).map(<[u8]>::to_vec))
            }
        }
    }
}

fn chunked(chunks: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut stream = format!("{EVENT_STREAM}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in chunks {
        stream.extend(format!("{:X}\r\n", chunk.len()).bytes());
        stream.extend([&chunk, &b"\r\n"[..]].concat());
    }
    stream.extend(b"0\r\n\r\n");
    stream
}

fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        len @ 0..126 => vec![len as u8],
        len => [&[126], &(len as u16).to_be_bytes()[..]].concat(),
    };
    [&[first_byte], &length[..], payload].concat()
}

/// A server that sends each connection this stream, in cuts of many sizes, and closes it.
fn serve(stream: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, stream) = (connection.unwrap(), stream.clone());
            thread::spawn(move || {
                connection.set_nodelay(true).unwrap();
                let mut rest = &stream[..];
                for size in (1..).map(|turn| turn * turn % 61 + 1) {
                    let (cut, after) = rest.split_at(rest.len().min(size));
                    // A proxy that cuts has gone.
                    if connection.write_all(cut).is_err() || after.is_empty() {
                        break;
                    }
                    rest = after;
                }
                let _ = connection.shutdown(Shutdown::Write);
                let _ = connection.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

/// A server that sends each connection this stream and then keeps it.
fn serve_and_hold(stream: Vec<u8>) -> (SocketAddr, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    let shared = held.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // Held before it is written to: who has read something finds the connection here.
            shared.lock().unwrap().push(connection.try_clone().unwrap());
            let _ = connection.write_all(&stream);
        }
    });
    (address, held)
}

/// What a client has read when its connection ended.
#[derive(Default)]
struct Heard {
    publications: Vec<String>,
    pings: u64,
    /// Whether the stream said that it ends.
    ends: bool,
}

fn subscribe(address: SocketAddr, transport: Transport) -> Heard {
    ask(address, transport, "")
}

/// What a client hears that has sent this.
fn ask(address: SocketAddr, transport: Transport, request: &str) -> Heard {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).unwrap();
    let mut heard = Heard::default();
    let mut told = |message: Message<'_>| match message {
        Message::Established(_) => {}
        Message::Publication { payload, .. } => {
            heard.publications.push(String::from_utf8(payload.to_vec()).unwrap());
        }
        Message::Ping(_) => heard.pings += 1,
        Message::Position(_) | Message::Gap { .. } | Message::Answered { .. } => {}
        Message::Closed { .. } => heard.ends = true,
    };
    Stream::new(transport).feed(&bytes, &mut told).unwrap();
    heard
}

const COUNT: u64 = 60;
const DEADLINE: Duration = Duration::from_secs(20);
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const EVENT_STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
