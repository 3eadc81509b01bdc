use proptest::prelude::*;

use super::*;
use crate::payload::JSON_DEPTH_MAX;

fn one(text: &str) -> Ask {
    let mut asks = parse(text).unwrap_or_else(|ask| vec![ask]);
    assert_eq!(asks.len(), 1, "{text}");
    asks.remove(0)
}

fn news() -> ChannelName {
    ChannelName::new("news").unwrap()
}

fn code(text: &str) -> Code {
    one(text).command.expect_err(text).code
}

fn published(fields: &str) -> Publishing {
    let text = format!(r#"{{"type":"publish","channel":"news",{fields}}}"#);
    match one(&text).command {
        Ok(Command::Publish(publishing)) => *publishing,
        other => panic!("{text}: {other:?}"),
    }
}

/// Every command, with and without what it may have.
#[test]
fn commands_say_what_they_ask() {
    let ask = |id, command| Ask { id, command: Ok(command) };
    let since = Start::Since("1f-42".parse().unwrap());
    for (text, expected) in [
        (r#"{"id":4,"type":"ping"}"#, ask(Some(4), Command::Ping)),
        (r#" {"type":"ping","id":null} "#, ask(None, Command::Ping)),
        (
            r#"{"type":"subscribe","channel":"news"}"#,
            ask(None, Command::Subscribe(news(), Start::Live)),
        ),
        (
            r#"{"id":0,"type":"subscribe","channel":"n\u0065ws","last":3}"#,
            ask(Some(0), Command::Subscribe(news(), Start::Last(3))),
        ),
        (
            r#"{"id":9007199254740991,"since":"1f-42","channel":"news","type":"subscribe"}"#,
            ask(Some(ID_MAX), Command::Subscribe(news(), since)),
        ),
        (r#"{"type":"unsubscribe","channel":"news"}"#, ask(None, Command::Unsubscribe(news()))),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

/// A payload is JSON exactly as it was sent, a text, or bytes.
#[test]
fn payloads_come_as_they_were_meant() {
    let with = |fields: &str| {
        let Publishing { kind, payload, .. } = published(fields);
        (kind, String::from_utf8(payload.to_vec()).unwrap())
    };
    let json = |text: &str| (PayloadKind::Json, text.to_owned());
    assert_eq!(with(r#""data": {"b":1.0, "a":[ ]} "#), json(r#"{"b":1.0, "a":[ ]}"#));
    assert_eq!(with(r#""data":null"#), json("null"));
    assert_eq!(with(r#""data":"a\u0062""#), json(r#""a\u0062""#));
    assert_eq!(with(r#""text":"a\u0062\n""#), (PayloadKind::Text, "ab\n".into()));
    assert_eq!(with(r#""text":"""#), (PayloadKind::Text, "".into()));
    assert_eq!(with(r#""base64":"aGk=""#), (PayloadKind::Binary, "hi".into()));
    // A parser that recurses would fail on what wraps it, or on the deepest that there may be.
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deep = nested(JSON_DEPTH_MAX);
    assert_eq!(with(&format!(r#""data":{deep}"#)), json(&deep));
    let too_deep = one(&format!(
        r#"{{"type":"publish","channel":"news","data":{}}}"#,
        nested(JSON_DEPTH_MAX + 1)
    ));
    let wrong = too_deep.command.unwrap_err();
    assert_eq!(wrong.message, "data is nested more than 128 deep");

    let all = published(r#""text":"x","key":"k","version":18446744073709551615,"idempotency":"i""#);
    let terms = (all.key.as_deref(), all.version, all.idempotency.as_deref());
    assert_eq!(terms, (Some("k"), Some(u64::MAX), Some("i")));
    let longest = "k".repeat(KEY_BYTES_MAX);
    let key = published(&format!(r#""text":"x","key":"{longest}""#)).key;
    assert_eq!(key.as_deref(), Some(longest.as_str()));
}

/// What a command cannot be is told by its code, with the id where there is one, and the channel.
#[test]
fn mistakes_are_told() {
    for text in [
        "",
        "null",
        "3",
        "ping",
        r#"{"type":"ping"} x"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping","channel":"news"}"#,
        r#"{"type":"ping","ID":1}"#,
        r#"{"type":"Ping"}"#,
        r#"{"id":1}"#,
        r#"{"id":-1,"type":"ping"}"#,
        r#"{"id":1.5,"type":"ping"}"#,
        r#"{"id":"1","type":"ping"}"#,
        r#"{"id":9007199254740992,"type":"ping"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","channel":"news","since":"1-1","last":1}"#,
        r#"{"type":"subscribe","channel":"news","last":-1}"#,
        r#"{"type":"subscribe","channel":"news","text":"x"}"#,
        r#"{"type":"unsubscribe","channel":"news","since":"1-1"}"#,
        r#"{"type":"publish","channel":"news"}"#,
        r#"{"type":"publish","data":1}"#,
        r#"{"type":"publish","channel":"news","data":1,"text":"1"}"#,
        r#"{"type":"publish","channel":"news","data":}"#,
        r#"{"type":"publish","channel":"news","data":01}"#,
        r#"{"type":"publish","channel":"news","base64":"aGk"}"#,
        r#"{"type":"publish","channel":"news","text":"x","key":""}"#,
        r#"{"type":"publish","channel":"news","text":"x","version":-1}"#,
    ] {
        assert_eq!(code(text), Code::BadCommand, "{text}");
    }
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for name in ["key", "idempotency"] {
        let text = format!(r#"{{"type":"publish","channel":"news","text":"x","{name}":"{long}"}}"#);
        assert_eq!(code(&text), Code::BadCommand, "{name}");
    }
    assert_eq!(code(r#"{"type":"subscribe","channel":"a b"}"#), Code::BadChannel);
    assert_eq!(code(r#"{"type":"unsubscribe","channel":""}"#), Code::BadChannel);
    let ask = one(r#"{"id":7,"type":"subscribe","channel":"news","since":"42"}"#);
    let wrong = ask.command.unwrap_err();
    assert_eq!((ask.id, wrong.code, wrong.channel), (Some(7), Code::BadPosition, Some(news())));
    assert_eq!(one(r#"{"id":7,"type":"nonsense"}"#).id, Some(7));
    assert_eq!(one(r#"{"id":7,"type":"publish","channel":"news"}"#).id, Some(7));
}

/// The text of a mistake is bounded, whatever the client wrote.
#[test]
fn a_mistake_is_not_repeated_at_length() {
    let text = format!(r#"{{"type":"ping","{}":1}}"#, "ä".repeat(10_000));
    let wrong = one(&text).command.unwrap_err();
    assert_eq!(wrong.message.chars().count(), SHAPE_CHARS_MAX);
}

/// An array is carried out as a whole, or, for one mistake of shape or one command too many, not at
/// all.
#[test]
fn an_array_is_taken_whole() {
    let ping = r#"{"type":"ping"}"#;
    let array = |count: usize| format!("[{}]", vec![ping; count].join(","));
    assert_eq!(parse("[]"), Ok(vec![]));
    assert_eq!(parse(&array(COMMANDS_MAX)).unwrap().len(), COMMANDS_MAX);
    let wrong = parse(&array(COMMANDS_MAX + 1)).unwrap_err().command.unwrap_err();
    assert!(wrong.message.starts_with("a message has at most 128 commands"), "{wrong:?}");
    let mistaken = parse(&format!(r#"[{ping},{{"id":3,"type":"pong"}},{ping}]"#)).unwrap_err();
    assert_eq!(mistaken.id, Some(3));
    // A name that no channel can have has the right shape.
    let asks = parse(&format!(r#"[{{"type":"unsubscribe","channel":"%"}},{ping}]"#)).unwrap();
    assert_eq!(asks[0].command.as_ref().unwrap_err().code, Code::BadChannel);
    assert_eq!(asks[1].command, Ok(Command::Ping));
    assert!(parse("[[]]").is_err() && parse("[").is_err());
    let fields = format!(r#"[[7,"ping"{}]]"#, ",null".repeat(9));
    let Err(Ask { command: Err(wrong), .. }) = parse(&fields) else { panic!("not an object") };
    assert_eq!(wrong.message, "a command is a JSON object, like {\"type\":\"ping\"}");
}

proptest! {
    /// Whatever a client writes is a command or a mistake.
    #[test]
    fn any_text_is_survived(text in "[\\[{]?(\\PC{0,40}|(\"(id|type|data|channel)\"[:,]?|[\\[\\]{}:,]|ping|[0-9]|null){0,20})") {
        let _ = parse(&text);
    }
}
