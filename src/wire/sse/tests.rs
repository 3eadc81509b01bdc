use proptest::prelude::*;

use super::*;
use crate::ids::{ChannelName, Epoch, Offset};

/// The content of a chunked body, by the grammar of RFC 9112 §7.1 alone. Panics where it is broken.
/// The second value says whether the last chunk has come.
fn dechunk(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    while !body.is_empty() {
        let line = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        let data = &body[line + 2..];
        assert_eq!(&data[size..size + 2], b"\r\n");
        content.extend_from_slice(&data[..size]);
        body = &data[size + 2..];
        if size == 0 {
            assert!(body.is_empty());
            return (content, true);
        }
    }
    (content, false)
}

#[derive(Debug, PartialEq, Eq)]
struct ParsedEvent {
    kind: String,
    data: String,
    id: String,
}

/// An event stream, interpreted step by step as the HTML standard (§9.2.6) words it.
fn parse_events(stream: &[u8]) -> (Vec<ParsedEvent>, Option<u64>) {
    let text = std::str::from_utf8(stream).unwrap().replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut retry) = (Vec::new(), None);
    let (mut data, mut kind, mut id) = (String::new(), String::new(), String::new());
    assert!(text.is_empty() || text.ends_with("\n\n"), "an event without its end is discarded");
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let kind = std::mem::take(&mut kind);
                let mut data = std::mem::take(&mut data);
                if !data.is_empty() {
                    assert_eq!(data.pop(), Some('\n'));
                    events.push(ParsedEvent { kind, data, id: id.clone() });
                }
            }
            "" => {}
            "event" => kind = value.into(),
            "data" => data.extend([value, "\n"]),
            "id" => id = value.into(),
            "retry" => retry = Some(value.parse().unwrap()),
            _ => panic!("unknown field {field:?}"),
        }
    }
    (events, retry)
}

fn encoded(kind: PayloadKind, payload: &[u8], epoch: u64, offset: u128) -> Vec<u8> {
    let position = Position { epoch: Epoch(epoch), offset: Offset(offset) };
    let channel = &ChannelName::new("news").unwrap();
    let publication = Publication { channel, position, kind, key: None, payload };
    let mut out = vec![0; encoded_len(&publication)];
    encode(&publication, &mut out);
    out
}

/// The bytes themselves, for the forms that a payload can have.
#[test]
fn an_event_is_a_chunk_with_id_and_data() {
    let text =
        |payload: &[u8]| String::from_utf8(encoded(PayloadKind::Text, payload, 0x1f, 7)).unwrap();
    assert_eq!(text(b"hello"), "16\r\nid: 1f-7\ndata: hello\n\n\r\n");
    assert_eq!(text(b""), "11\r\nid: 1f-7\ndata: \n\n\r\n");
    assert_eq!(text(b"a\r\nb\nc\rd"), "2a\r\nid: 1f-7\ndata: a\ndata: b\ndata: c\ndata: d\n\n\r\n");
    assert_eq!(text(b"\n\r"), "1f\r\nid: 1f-7\ndata: \ndata: \ndata: \n\n\r\n");
    let binary = String::from_utf8(encoded(PayloadKind::Binary, b"\xff\xfe", 0, 0)).unwrap();
    assert_eq!(binary, "22\r\nid: 0-0\nevent: base64\ndata: //4=\n\n\r\n");
}

/// The head is what caches, proxies and browsers need, and names an origin only where one asked.
#[test]
fn the_head_opens_a_stream() {
    let head = |origin| {
        let mut out = Vec::new();
        write_head(origin, "A: b\r\n", &mut out);
        write_first(Duration::from_millis(3500), Some("1-2"), &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(parse_events(&dechunk(body.as_bytes()).0), (vec![], Some(3500)));
        head.to_string()
    };
    let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                 X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\nConnection: close";
    assert_eq!(head(None), format!("{plain}\r\nA: b"));
    let cors = "\r\nAccess-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n\
                Access-Control-Expose-Headers: ETag, Stentor-Position, Stentor-Recovered, Stentor-Gap";
    assert_eq!(head(Some("https://a.example")), format!("{plain}{cors}\r\nA: b"));
}

/// A client resumes from the first chunk's id although nothing was dispatched, and a gap is an event of
/// its own.
#[test]
fn a_gap_is_an_event() {
    let at = |offset| Position { epoch: Epoch(1), offset: Offset(offset) };
    let mut out = Vec::new();
    write_first(Duration::from_secs(3), None, &mut out);
    let gap = Gap { from: at(2), to: at(9) };
    write_gap("gap", Some("1-9"), &ChannelName::new("news").unwrap(), &gap, &mut out);
    out.extend(encoded(PayloadKind::Text, b"a", 1, 10));
    let (events, retry) = parse_events(&dechunk(&out).0);
    assert_eq!(retry, Some(3000));
    let data = r#"{"channel":"news","from":"1-2","to":"1-9"}"#.into();
    let gap = ParsedEvent { kind: "gap".into(), data, id: "1-9".into() };
    let first = ParsedEvent { kind: String::new(), data: "a".into(), id: "1-10".into() };
    assert_eq!(events, [gap, first]);
}

/// Neither heartbeats nor the end of the stream make an event.
#[test]
fn heartbeats_and_the_end_are_silent() {
    let stream = [HEARTBEAT, &encoded(PayloadKind::Text, b"a", 1, 2), HEARTBEAT, END].concat();
    let (content, ended) = dechunk(&stream);
    assert!(ended);
    let event = ParsedEvent { kind: String::new(), data: "a".into(), id: "1-2".into() };
    assert_eq!(parse_events(&content).0, [event]);
}

/// What an event source must hand over for a text.
fn normalised(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab: \r\n]{0,12}", "\\PC{0,200}", ".{0,20}"]
}

proptest! {
    /// An event source written from the standard gets every payload back, with its position.
    #[test]
    fn every_payload_survives_the_stream(
        texts in prop::collection::vec(text(), 1..5),
        binary in prop::collection::vec(any::<u8>(), 0..300),
        epoch: u64,
        offset: u128,
    ) {
        let mut stream = encoded(PayloadKind::Binary, &binary, epoch, offset);
        let id = format!("{epoch:x}-{offset}");
        let kind = "base64".to_string();
        let mut expected = vec![ParsedEvent { kind, data: BASE64.encode(&binary), id: id.clone() }];
        for text in &texts {
            stream.extend(encoded(PayloadKind::Text, text.as_bytes(), epoch, offset));
            let (kind, data) = (String::new(), normalised(text));
            expected.push(ParsedEvent { kind, data, id: id.clone() });
        }
        let news = ChannelName::new("news").unwrap();
        for text in &texts {
            let data = normalised(text);
            write_event("vector", &news, PayloadKind::Text, text.as_bytes(), &mut stream);
            expected.push(ParsedEvent { kind: "news".into(), data, id: "vector".into() });
        }
        write_event("v2", &news, PayloadKind::Binary, &binary, &mut stream);
        let (kind, data) = ("news;base64".into(), BASE64.encode(&binary));
        expected.push(ParsedEvent { kind, data, id: "v2".into() });
        let (content, ended) = dechunk(&stream);
        prop_assert!(!ended);
        prop_assert_eq!(parse_events(&content).0, expected);
    }
}
