use super::*;
use crate::decoder::{
    MESSAGE_BYTES_MAX, Stream, Transport,
    tests::{Heard, SWITCHING_V1, answer, frame, numbered, read},
};

fn begun(position: &str, recovered: Option<bool>) -> Heard {
    Heard::Begun(Some(position.into()), recovered)
}

fn answered(position: &str) -> Heard {
    Heard::Answered(Some(position.into()))
}

/// What a stream tells of the answers to polls, each asked for when the one before has come.
fn polled(answers: &[&str]) -> (Vec<Heard>, Option<Fault>) {
    let (mut stream, mut all) = (Stream::new(Transport::Poll), Vec::new());
    for body in answers {
        let (heard, fault) = read(&mut stream, [&answer(body)[..]]);
        all.extend(heard);
        if fault.is_some() {
            return (all, fault);
        }
        stream.ask_again();
    }
    (all, None)
}

/// What a stream of `stentor.v1` tells of messages.
fn said(messages: &[&str]) -> (Vec<Heard>, Option<Fault>) {
    let frames = messages.iter().flat_map(|text| frame(0x81, text.as_bytes()));
    let bytes: Vec<u8> = SWITCHING_V1.iter().copied().chain(frames).collect();
    read(&mut Stream::new(Transport::V1), [&bytes[..]])
}

/// The first answer grants the subscription; each tells its gap, then its publications, then that
/// it is over, whichever order its fields have.
#[test]
fn polls_are_told_in_order() {
    let first = r#"{"position":"e-4","recovered":true,"publications":[]}"#;
    let full = r#"{"publications":[{"channel":"c","id":"e-9","data":"x\ny","key":"k"},
        {"channel":"c","id":"e-10","encoding":"base64","data":"/wA="},
        {"channel":"c","id":"e-11","data":{"a": 1}}],
        "gap":{"from":"e-4","to":"e-8"},"recovered":false,"position":"e-11"}"#;
    let want = [
        begun("e-4", Some(true)),
        answered("e-4"),
        Heard::Gap("e-4".into(), "e-8".into()),
        numbered("x\ny", "e-9"),
        numbered([0xff, 0], "e-10"),
        numbered(r#"{"a": 1}"#, "e-11"),
        answered("e-11"),
    ];
    assert_eq!(polled(&[first, full]), (want.to_vec(), None));
}

/// A poll that times out is over, by either status, and its position is the one before.
#[test]
fn an_empty_poll_is_over() {
    let mut stream = Stream::new(Transport::Poll);
    let empty = answer(r#"{"position":"e-4","recovered":true,"publications":[]}"#);
    let unchanged = b"HTTP/1.1 304 Not Modified\r\nETag: \"e-4\"\r\n\r\n";
    assert_eq!(read(&mut stream, [&empty[..]]).0.last(), Some(&answered("e-4")));
    stream.ask_again();
    assert_eq!(read(&mut stream, [&unchanged[..]]), (vec![Heard::Answered(None)], None));
    stream.ask_again();
    assert_eq!(read(&mut stream, [&empty[..]]), (vec![answered("e-4")], None));
    let fault = Some(Fault::AfterAnswer);
    assert_eq!(read(&mut stream, [&empty[..]]), (vec![], fault), "nobody had asked");
    let first = read(&mut Stream::new(Transport::Poll), [&unchanged[..]]);
    assert_eq!(first, (vec![], Some(Fault::UnchangedFirst)));
}

/// A subscription stands when the server says so, and not with the handshake.
#[test]
fn v1_is_told_in_order() {
    let messages = [
        r#"{"type":"subscribed","channel":"c","position":"e-7","recovered":false,
            "gap":{"from":"e-2","to":"e-7"}}"#,
        r#"{"channel":"c","id":"e-8","data":"a\u00e4"}"#,
        r#"{"type":"gap","channel":"c","from":"e-8","to":"e-20"}"#,
        r#"{"channel":"c","id":"e-21","encoding":"base64","data":""}"#,
    ];
    let want = [
        begun("e-7", Some(false)),
        Heard::Gap("e-2".into(), "e-7".into()),
        numbered("aä", "e-8"),
        Heard::Gap("e-8".into(), "e-20".into()),
        numbered("", "e-21"),
    ];
    assert_eq!(said(&messages), (want.to_vec(), None));
    assert_eq!(said(&[]), (vec![], None));
}

/// An event stream says by events where it is and what will not come, and by its head whether all
/// was recovered. A plain WebSocket has only the head.
#[test]
fn gaps_and_positions_are_told_once() {
    let said = "Stentor-Position: e-7\r\nStentor-Recovered: false\r\nStentor-Gap: e-2..e-7";
    let events = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{said}\r\n\r\nretry: 3000\nid: e-7\n\n\
         event: gap\nid: e-7\ndata: {{\"channel\":\"c\",\"from\":\"e-2\",\"to\":\"e-7\"}}\n\n\
         event: gaps\nid: e-8\ndata: x\n\n"
    );
    let gap = Heard::Gap("e-2".into(), "e-7".into());
    let want = [
        begun("e-7", Some(false)),
        Heard::Position("e-7".into()),
        gap.clone(),
        numbered("x", "e-8"),
    ];
    let heard = read(&mut Stream::new(Transport::Sse), [events.as_bytes()]);
    assert_eq!(heard, (want.to_vec(), None));
    let head = str::from_utf8(crate::decoder::tests::SWITCHING).unwrap();
    let head = head.replace("Upgrade: w", &format!("{said}\r\nUpgrade: w"));
    let heard = read(&mut Stream::new(Transport::WebSocket), [head.as_bytes()]);
    assert_eq!(heard, (vec![begun("e-7", Some(false)), gap], None));
}

/// What is not as the protocol has it is a fault, and nothing of it is told.
#[test]
fn every_violation_is_named() {
    let is_malformed = |(heard, fault): (Vec<Heard>, Option<Fault>)| {
        heard.is_empty() && matches!(fault, Some(Fault::MalformedObject(_)))
    };
    for body in [
        "[]",
        "{",
        r#"{"recovered":true,"publications":[]}"#,
        r#"{"position":"e-1","publications":[]}"#,
        r#"{"position":"e-1","recovered":true}"#,
        r#"{"position":"e-1","recovered":false,"publications":[]}"#,
        r#"{"position":"e-1","recovered":true,"gap":{"from":"e-0","to":"e-1"},"publications":[]}"#,
        r#"{"position":"e-1","recovered":true,"publications":[{"id":"e-1"}]}"#,
    ] {
        assert!(is_malformed(polled(&[body])), "{body}");
    }
    for message in [
        "x",
        r#"{"channel":"c","data":"x"}"#,
        r#"{"channel":"c","id":"e-1"}"#,
        r#"{"channel":"c","id":"e-1","encoding":"hex","data":"00"}"#,
        r#"{"channel":"c","id":"e-1","encoding":"base64","data":"?"}"#,
        r#"{"type":"subscribed","channel":"c"}"#,
        r#"{"type":"gap","channel":"c","from":"e-1"}"#,
        r#"{"type":"published","channel":"c","position":"e-1"}"#,
    ] {
        assert!(is_malformed(said(&[message])), "{message}");
    }
    let refused = said(&[r#"{"type":"error","code":"forbidden","message":"not \u001bhere"}"#]);
    let (code, message) = ("forbidden".to_owned(), "not  here".to_owned());
    assert_eq!(refused, (vec![], Some(Fault::CommandRefused { code, message })));
}

/// A head that announces no object of a bounded length is no answer to a poll.
#[test]
fn heads_of_polls_are_held_to_their_length() {
    let head = |headers: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n");
        read(&mut Stream::new(Transport::Poll), [head.as_bytes()])
    };
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let with = |rest: String| head(&format!("{json}{rest}"));
    let longest = with(format!("Content-Length: {MESSAGE_BYTES_MAX}"));
    assert_eq!(longest, (vec![], None));
    let longer = with(format!("Content-Length: {}", MESSAGE_BYTES_MAX + 1));
    assert_eq!(longer, (vec![], Some(Fault::MessageTooLarge)));
    assert_eq!(with("Transfer-Encoding: chunked".into()), (vec![], Some(Fault::LengthMissing)));
    assert_eq!(head("Content-Length: 7"), (vec![], Some(Fault::NotAnObject)));
    let coded = with("Content-Length: 7\r\nContent-Encoding: gzip".into());
    assert_eq!(coded, (vec![], Some(Fault::ContentCoded)));
    let plain = read(&mut Stream::new(Transport::V1), [crate::decoder::tests::SWITCHING]);
    assert_eq!(plain, (vec![], Some(Fault::SubprotocolMissing)));
}
