use std::io::{self, Cursor, Read, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::{collection::vec, prelude::*};
use tungstenite::{WebSocket, handshake::derive_accept_key, protocol::Role};

use super::*;

/// A message that outlives the bytes it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Established, and nothing said of where.
    Established,
    Begun(Option<String>, Option<bool>),
    Publication(Vec<u8>),
    Numbered(Vec<u8>, String),
    Position(String),
    Gap(String, String),
    Answered(Option<String>),
    Ping(Vec<u8>),
    Closed(Option<u16>, String),
}

pub(super) fn publication(payload: impl AsRef<[u8]>) -> Heard {
    Heard::Publication(payload.as_ref().to_vec())
}

pub(super) fn numbered(payload: impl AsRef<[u8]>, id: &str) -> Heard {
    Heard::Numbered(payload.as_ref().to_vec(), id.to_owned())
}

/// Feeds pieces until one fails: what was told, and the fault.
pub(super) fn read<'a>(
    stream: &mut Stream,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Heard>, Option<Fault>) {
    let mut heard = Vec::new();
    let mut told = |message: Message<'_>| {
        heard.push(match message {
            Message::Established(begun) if begun == Begun::default() => Heard::Established,
            Message::Established(Begun { position, recovered }) => {
                Heard::Begun(position.map(str::to_owned), recovered)
            }
            Message::Publication { payload, id: None } => publication(payload),
            Message::Publication { payload, id: Some(id) } => numbered(payload, id),
            Message::Position(id) => Heard::Position(id.into()),
            Message::Gap { from, to } => Heard::Gap(from.into(), to.into()),
            Message::Answered { position } => Heard::Answered(position.map(str::to_owned)),
            Message::Ping(payload) => Heard::Ping(payload.to_vec()),
            Message::Closed { code, reason } => Heard::Closed(code, reason.into()),
        });
    };
    let fault = pieces.into_iter().find_map(|piece| stream.feed(piece, &mut told).err());
    (heard, fault)
}

/// A stream whose answer has been read.
pub(super) fn established(transport: Transport) -> Stream {
    let mut stream = Stream::new(transport);
    let head = match transport {
        Transport::WebSocket => SWITCHING,
        Transport::Sse => UNTIL_CLOSE,
        Transport::Poll | Transport::V1 => panic!("these are established by more than a head"),
    };
    assert_eq!(read(&mut stream, [head]), (vec![Heard::Established], None));
    stream
}

/// A frame from a server, its length in the shortest form.
pub(super) fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len();
    let mut frame = match len {
        0..=125 => vec![first_byte, len as u8],
        126..=0xffff => vec![first_byte, 126, (len >> 8) as u8, len as u8],
        _ => [&[first_byte, 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    frame.extend_from_slice(payload);
    frame
}

/// A stream is small, so that a million of them are.
#[test]
fn a_stream_takes_16_bytes() {
    assert_eq!(size_of::<Stream>(), 16);
}

/// A transport's name is the same in text, on the command line and in JSON; the long one is known.
#[test]
fn a_transport_has_one_name() {
    let names = Transport::ALL.into_iter().zip(["ws", "sse", "poll", "v1"]);
    for (transport, name) in names {
        assert_eq!(transport.to_string(), name);
        assert_eq!(name.parse(), Ok(transport));
        assert_eq!(serde_json::to_string(&transport).unwrap(), format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<Transport>(&format!("\"{name}\"")).unwrap(), transport);
    }
    assert_eq!("websocket".parse(), Ok(Transport::WebSocket));
    assert_eq!(serde_json::from_str::<Transport>("\"websocket\"").unwrap(), Transport::WebSocket);
    assert_eq!("WS".parse::<Transport>(), Err(UnknownTransport("WS".into())));
}

/// What came whole is told from where it came, and so are frames behind the end of a half one.
///
/// Method: the address of each publication is looked for in the bytes fed.
#[test]
fn whole_publications_are_not_copied() {
    let event = b"id: 1\ndata: abc\n\n";
    let chunk = b"11\r\nid: 1\ndata: abc\n\n\r\n";
    let message = frame(0x81, b"abc");
    for (transport, head, one) in [
        (Transport::WebSocket, SWITCHING, &message[..]),
        (Transport::Sse, UNTIL_CLOSE, event),
        (Transport::Sse, CHUNKED, chunk),
    ] {
        let mut stream = Stream::new(transport);
        stream.feed(head, &mut |_| {}).unwrap();
        let cuts =
            [one.repeat(3), one[..one.len() - 4].to_vec(), [&one[one.len() - 4..], one].concat()];
        let mut in_place = Vec::new();
        for bytes in &cuts {
            stream
                .feed(bytes, &mut |message| {
                    let Message::Publication { payload, .. } = message else {
                        panic!("{message:?}")
                    };
                    assert_eq!(payload, b"abc");
                    in_place.push(bytes.as_ptr_range().contains(&payload.as_ptr()));
                })
                .unwrap();
        }
        assert_eq!(in_place, [true, true, true, false, true], "{transport}");
    }
}

/// A dead stream says so, whatever it is fed, and keeps nothing.
#[test]
fn a_dead_stream_stays_dead() {
    for transport in Transport::ALL {
        let mut stream = Stream::new(transport);
        let (heard, fault) = read(&mut stream, [&b"HTTP/1"[..], b"?"]);
        assert_eq!((heard, fault), (vec![], Some(Fault::MalformedHead(httparse::Error::Version))));
        assert!(stream.owns_nothing());
        assert_eq!(read(&mut stream, [SWITCHING]), (vec![], Some(Fault::AfterFault)));
    }
}

/// Another implementation takes our request, and reads our pong and our close frame.
#[test]
fn what_a_subscriber_writes_is_understood() {
    let headers = [("Authorization".to_string(), "Bearer x".to_string())];
    let request = request(Transport::WebSocket, "a.example:81", "/ws/c", &headers, None);
    let text = String::from_utf8(request.clone()).unwrap();
    assert!(text.starts_with("GET /ws/c HTTP/1.1\r\nHost: a.example:81\r\n"), "{text}");
    assert!(text.ends_with("\r\nAuthorization: Bearer x\r\n\r\n"), "{text}");
    let mut server = tungstenite::accept(Duplex::new(request)).unwrap();
    let mut frames = Vec::new();
    pong(b"payload", &mut frames);
    close(1001, &mut frames);
    server.get_mut().input = Cursor::new(frames);
    assert_eq!(server.read().unwrap(), tungstenite::Message::Pong(b"payload"[..].into()));
    let tungstenite::Message::Close(Some(close)) = server.read().unwrap() else { panic!() };
    assert_eq!(u16::from(close.code), 1001);

    assert!(matches!(server.flush(), Ok(()) | Err(tungstenite::Error::ConnectionClosed)));
    let answer = server.get_ref().output.clone();
    let (heard, fault) = read(&mut Stream::new(Transport::WebSocket), [&answer[..]]);
    assert_eq!(heard, [Heard::Established, Heard::Closed(Some(1001), String::new())]);
    assert_eq!(fault, None);
}

/// Whoever resumes says where it is in the way of its transport, in letters that a URL can carry.
#[test]
fn who_resumes_says_from_where() {
    let first = |transport, path, since| {
        let request = String::from_utf8(request(transport, "a", path, &[], since)).unwrap();
        let head = request.split("\r\n\r\n").next().unwrap().to_owned();
        (head.lines().next().unwrap().to_owned(), head)
    };
    let line = |transport, path, since| first(transport, path, since).0;
    use Transport::{Poll, Sse, V1, WebSocket};
    assert_eq!(line(Poll, "/poll/c", None), "GET /poll/c?timeout=0 HTTP/1.1");
    assert_eq!(line(Poll, "/poll/c", Some("a-7")), "GET /poll/c?since=a-7&timeout=0 HTTP/1.1");
    let again = poll("a", "/poll?of=c", &[], "a-7");
    assert!(again.starts_with(b"GET /poll?of=c&since=a-7&timeout=25 HTTP/1.1\r\nHost: a\r\n"));
    assert_eq!(line(V1, "/ws/c", None), "GET /ws/c HTTP/1.1");
    assert_eq!(
        line(V1, "/ws/c", Some("1:0 &=%é")),
        "GET /ws/c?since=1%3A0%20%26%3D%25%C3%A9 HTTP/1.1"
    );
    assert_eq!(line(WebSocket, "/ws/c", Some("a-7")), "GET /ws/c HTTP/1.1");
    let (line, head) = first(Sse, "/sse/c", Some("a-7"));
    assert_eq!(line, "GET /sse/c HTTP/1.1");
    assert!(head.ends_with("\r\nLast-Event-ID: a-7"), "{head}");
    assert!(!first(Sse, "/sse/c", None).1.contains("Last-Event-ID"));
    assert!(first(V1, "/ws/c", None).1.ends_with("\r\nSec-WebSocket-Protocol: stentor.v1"));
}

/// The constant that an answer is held against is the one for the constant that is sent.
#[test]
fn the_fixed_key_has_its_accept_value() {
    let text = String::from_utf8(request(Transport::WebSocket, "a", "/", &[], None)).unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    assert_eq!(derive_accept_key(key.as_bytes()).as_bytes(), super::request::ACCEPT);
}

/// A request for events says what it takes.
#[test]
fn an_sse_request_asks_for_an_event_stream() {
    let text = String::from_utf8(request(Transport::Sse, "a", "/sse/c", &[], None)).unwrap();
    let expected = "GET /sse/c HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\
                    Cache-Control: no-store\r\n\r\n";
    assert_eq!(text, expected);
}

/// A socket whose peer has written everything it will.
pub(super) struct Duplex {
    input: Cursor<Vec<u8>>,
    pub(super) output: Vec<u8>,
}

impl Duplex {
    fn new(input: Vec<u8>) -> Duplex {
        Duplex { input: Cursor::new(input), output: Vec::new() }
    }

    /// A server's end of a connection that is established.
    pub(super) fn server() -> WebSocket<Duplex> {
        WebSocket::from_raw_socket(Duplex::new(Vec::new()), Role::Server, None)
    }
}

impl Read for Duplex {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }
}

impl Write for Duplex {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A part of a stream: its bytes, and what they tell.
type Part = (Vec<u8>, Vec<Heard>);

fn websocket_part() -> impl Strategy<Value = Part> {
    let sizes = prop_oneof![0..300usize, 65_530..65_540usize];
    prop_oneof![
        "[ -~é€]{0,200}".prop_map(|text| (frame(0x81, text.as_bytes()), vec![publication(text)])),
        sizes.prop_map(|len| (frame(0x82, &vec![0xff; len]), vec![publication(vec![0xff; len])])),
        vec(any::<u8>(), 0..126).prop_map(|data| (frame(0x89, &data), vec![Heard::Ping(data)])),
        vec(any::<u8>(), 0..126).prop_map(|data| (frame(0x8a, &data), vec![])),
        vec("[a-zé€]{0,9}", 2..5).prop_map(fragmented),
    ]
}

/// A text message in fragments that cut its characters, with a ping after each but the last.
fn fragmented(fragments: Vec<String>) -> Part {
    let text = fragments.concat().into_bytes();
    let size = text.len().div_ceil(fragments.len()).max(1);
    let mut parts: Vec<&[u8]> = text.chunks(size).collect();
    parts.push(b"");
    let (last, firsts) = parts.split_last().unwrap();
    let (mut bytes, mut heard) = (Vec::new(), Vec::new());
    for (index, part) in firsts.iter().enumerate() {
        bytes.extend(frame(u8::from(index == 0), part));
        bytes.extend(frame(0x89, b"?"));
        heard.push(Heard::Ping(b"?".to_vec()));
    }
    bytes.extend(frame(if firsts.is_empty() { 0x81 } else { 0x80 }, last));
    heard.push(publication(&text));
    (bytes, heard)
}

fn sse_part() -> impl Strategy<Value = Part> {
    let line_end = || prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
    let data = vec(("[ -9;-~é€]{0,30}", line_end()), 0..4);
    (data, line_end(), "[a-z ]{0,9}").prop_map(|(lines, end, comment)| {
        let mut bytes = format!(": {comment}{end}id: {comment}{end}");
        for (line, end) in &lines {
            bytes.extend(["data: ", line, end]);
        }
        // After CR a LF would be its second half and no line.
        bytes.extend(["event: x", end, end]);
        let lines: Vec<&str> = lines.iter().map(|(line, _)| &**line).collect();
        let heard = match lines.is_empty() {
            true => Heard::Position(comment),
            false => numbered(lines.join("\n"), &comment),
        };
        (bytes.into_bytes(), vec![heard])
    })
}

/// A publication as an object, and how it is told.
fn object() -> impl Strategy<Value = (String, Heard)> {
    let payload = prop_oneof![".{0,40}".prop_map(String::into_bytes), vec(any::<u8>(), 0..40)];
    ("[0-9a-f]{1,4}-[0-9]{1,4}", payload).prop_map(|(id, payload)| {
        let data = match str::from_utf8(&payload) {
            Ok(text) => format!(r#""data":{}"#, serde_json::to_string(text).unwrap()),
            Err(_) => {
                format!(r#""encoding":"base64","data":"{}""#, BASE64_STANDARD.encode(&payload))
            }
        };
        (format!(r#"{{"channel":"c","id":"{id}",{data}}}"#), numbered(payload, &id))
    })
}

/// A message of `stentor.v1`.
fn said_part() -> impl Strategy<Value = Part> {
    let subscribed = Just((
        r#"{"type":"subscribed","channel":"c","position":"a-1"}"#.to_owned(),
        Heard::Begun(Some("a-1".into()), None),
    ));
    let gap = ("[0-9]{1,9}", "[0-9]{1,9}").prop_map(|(from, to)| {
        let said = format!(r#"{{"type":"gap","channel":"c","from":"a-{from}","to":"a-{to}"}}"#);
        (said, Heard::Gap(format!("a-{from}"), format!("a-{to}")))
    });
    let said = prop_oneof![subscribed, gap, object()];
    said.prop_map(|(said, heard)| (frame(0x81, said.as_bytes()), vec![heard]))
}

/// The answer to a poll.
pub(super) fn answer(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"a-7\"\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A stream of any transport with its head; an SSE body may be chunked, anyhow.
fn parts() -> impl Strategy<Value = (Transport, Vec<Part>)> {
    let websocket = vec(websocket_part(), 0..6).prop_map(|mut parts| {
        parts.insert(0, (SWITCHING.to_vec(), vec![Heard::Established]));
        parts.push((frame(0x88, b"\x03\xe8bye"), vec![Heard::Closed(Some(1000), "bye".into())]));
        (Transport::WebSocket, parts)
    });
    let until_close = vec(sse_part(), 0..6).prop_map(|mut parts| {
        parts.insert(0, (UNTIL_CLOSE.to_vec(), vec![Heard::Established]));
        (Transport::Sse, parts)
    });
    let chunked = (vec(sse_part(), 0..6), 1..40usize).prop_map(|(parts, size)| {
        let content: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut bytes = CHUNKED.to_vec();
        for chunk in content.chunks(size) {
            write!(bytes, "{:X};x=y\r\n", chunk.len()).unwrap();
            bytes.extend([chunk, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        let mut heard = vec![Heard::Established];
        heard.extend(parts.into_iter().flat_map(|(_, heard)| heard));
        heard.push(Heard::Closed(None, String::new()));
        (Transport::Sse, vec![(bytes, heard)])
    });
    let said = vec(said_part(), 0..6).prop_map(|mut parts| {
        parts.insert(0, (SWITCHING_V1.to_vec(), vec![]));
        (Transport::V1, parts)
    });
    let object = vec(object(), 0..6).prop_map(|publications| {
        let (objects, numbered): (Vec<_>, Vec<_>) = publications.into_iter().unzip();
        let mut heard = vec![Heard::Begun(Some("a-7".into()), Some(true))];
        heard.extend(numbered);
        heard.push(Heard::Answered(Some("a-7".into())));
        let publications = objects.join(",");
        let body =
            format!(r#"{{"position":"a-7","recovered":true,"publications":[{publications}]}}"#);
        (Transport::Poll, vec![(answer(&body), heard)])
    });
    prop_oneof![websocket, until_close, chunked, said, object]
}

/// Cuts bytes at the given places, or into single bytes if there are none.
fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    if places.is_empty() {
        return bytes.chunks(1).collect();
    }
    let mut at: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

proptest! {
    /// However a stream is cut, it tells exactly what was written, and then owns no memory.
    #[test]
    fn cuts_change_nothing(
        (transport, parts) in parts(), places in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Heard> = parts.iter().flat_map(|(_, heard)| heard.clone()).collect();
        let mut stream = Stream::new(transport);
        let (heard, fault) = read(&mut stream, cut(&bytes, &places));
        prop_assert_eq!(fault, None);
        prop_assert_eq!(heard, expected);
        prop_assert!(stream.owns_nothing());
    }

    /// Nor do cuts change what a damaged stream tells, and how it fails. Nothing panics.
    #[test]
    fn cuts_change_no_fault(
        (transport, parts) in parts(),
        places in vec(any::<prop::sample::Index>(), 0..8),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        for (place, byte) in damages {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = read(&mut Stream::new(transport), [&bytes[..]]);
        prop_assert_eq!(read(&mut Stream::new(transport), cut(&bytes, &places)), whole);
    }

    /// After each whole part a stream owns nothing, whatever it held in between.
    #[test]
    fn memory_is_given_back(
        (transport, parts) in parts(), places in vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut stream = Stream::new(transport);
        for (bytes, heard) in parts {
            prop_assert_eq!(read(&mut stream, cut(&bytes, &places)), (heard, None));
            prop_assert!(stream.owns_nothing());
        }
    }
}

pub(super) const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub(super) const SWITCHING_V1: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: stentor.v1\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub(super) const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
pub(super) const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
