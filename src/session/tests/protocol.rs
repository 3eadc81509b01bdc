//! The examples of docs/protocol.md, carried out word by word, and the schema beside it.

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;

use super::*;
use crate::{
    access::forge,
    frame::Publication,
    mesh::{Accepted, Rejected},
    policy::{Pattern, Policies, Policy, Who},
    resume::Gap,
    wire::{
        commands::parse,
        json,
        replies::{Code, Says, write},
    },
};

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
const SCHEMA: &str = include_str!("../../../docs/stentor.v1.schema.json");

/// The lines of each example, with who says them.
fn examples() -> Vec<Vec<(char, &'static str)>> {
    let blocks = PROTOCOL.split("```stentor.v1\n").skip(1);
    let lines = blocks.map(|block| block.split("```").next().unwrap().lines());
    let said = |line: &'static str| (line.chars().next().unwrap(), &line[2..]);
    lines.map(|lines| lines.map(said).collect()).collect()
}

fn text<'a>(message: &'a Value, name: &str) -> &'a str {
    message[name].as_str().unwrap_or_else(|| panic!("{name} in {message}"))
}

fn position(message: &Value, name: &str) -> Position {
    text(message, name).parse().unwrap()
}

fn gap(message: &Value) -> Gap {
    Gap { from: position(message, "from"), to: position(message, "to") }
}

/// What our encoder makes of the publication that a line shows.
fn publication(line: &str) -> String {
    let message: Value = serde_json::from_str(line).unwrap();
    let channel = &ChannelName::new(text(&message, "channel")).unwrap();
    let bytes = || data_encoding::BASE64.decode(text(&message, "data").as_bytes()).unwrap();
    let (kind, payload) = match &message["data"] {
        Value::String(_) if message["encoding"] == "base64" => (PayloadKind::Binary, bytes()),
        Value::String(text) => (PayloadKind::Text, text.clone().into_bytes()),
        value => (PayloadKind::Json, value.to_string().into_bytes()),
    };
    let (position, key) = (position(&message, "id"), message["key"].as_str());
    let publication = Publication { channel, position, kind, key, payload: &payload };
    let mut frame = vec![0; json::encoded_len(&publication)];
    json::encode(&publication, &mut frame);
    String::from_utf8(json::object(&frame).to_vec()).unwrap()
}

fn not_published(code: &str) -> NotPublished {
    match code {
        "stale_version" => NotPublished::Rejected(Rejected::Stale(7)),
        "fed_by_bus" => NotPublished::Rejected(Rejected::FedByBus),
        other => panic!("no example has {other}"),
    }
}

/// Lets happen what a server's line is the answer to, unless it is in `out` already.
fn bring_about(bench: &mut Bench, calls: &mut VecDeque<Call>, line: &str) {
    let message: Value = serde_json::from_str(line).unwrap();
    let channel = message["channel"].as_str().and_then(|name| ChannelName::new(name).ok());
    let (now, rules) = (bench.now, bench.rules.clone());
    let (session, out) = (&mut bench.session, &mut bench.out);
    if text(&message, "type") == "gap" {
        let _ = session.on_gap(&channel.unwrap(), &gap(&message), now, &rules, out);
        return;
    }
    if !out.is_empty() {
        return;
    }
    let call = calls.pop_front().unwrap_or_else(|| panic!("nothing was asked: {line}"));
    let channel = channel.unwrap();
    let step = match (call, text(&message, "type")) {
        (Call::Subscribe { channel: asked, .. }, "subscribed") if asked == channel => {
            let gap = message.get("gap").map(gap);
            let begun = Begun { position: position(&message, "position"), gap };
            session.on_subscribed(&channel, &begun, now, &rules, out)
        }
        (Call::Unsubscribe { channel: asked }, "unsubscribed") if asked == channel => {
            session.on_unsubscribed(&channel, position(&message, "position"), now, &rules, out)
        }
        (Call::Unsubscribe { .. }, "error") => {
            session.on_refused(&channel, Refused::NotSubscribed, now, &rules, out)
        }
        (Call::Publish { ticket, .. }, "published") => {
            let repeated = message.get("repeated").is_some();
            let position = position(&message, "position");
            let accepted = Accepted { position, subscribers: 1, repeated };
            session.on_answered(ticket, Ok(accepted), now, &rules, out)
        }
        (Call::Publish { ticket, .. }, "error") => {
            let reason = not_published(text(&message, "code"));
            session.on_answered(ticket, Err(reason), now, &rules, out)
        }
        (call, _) => panic!("{line} is no answer to {call:?}"),
    };
    assert_eq!(step, Step::Wait);
}

/// Every example of a conversation happens as it is written, each in a conversation of its own.
#[test]
fn the_examples_are_true() {
    let examples = examples();
    assert_eq!(examples.len(), 9, "as many as the page shows");
    for example in examples {
        let mut bench = Bench::talk();
        let open = Policy { publish: Who::Public, ..Policy::default() };
        bench.rules.policies = Policies::new([(Pattern::new("chat"), open)]);
        (bench.rules.access, bench.rules.started_ms) = (forge::access().into(), 1_700_000_000_000);
        let mut calls = VecDeque::new();
        for (who, line) in example {
            let message: Value = serde_json::from_str(line).unwrap();
            match who {
                '>' => {
                    let _ = bench.say(line);
                    calls.extend(bench.calls());
                }
                '<' if message.get("type").is_none() => assert_eq!(publication(line), line),
                '<' => {
                    bring_about(&mut bench, &mut calls, line);
                    assert_eq!(bench.heard(), [line]);
                }
                _ => panic!("nobody says {line:?}"),
            }
        }
        assert_eq!(calls, [], "an example without its answers");
    }
}

/// The page and the schema name every code, and no other.
#[test]
fn every_code_is_documented() {
    let codes: BTreeSet<String> = Code::ALL.iter().map(|&code| name(code)).collect();
    let errors = PROTOCOL.split("| code | when |").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed = errors.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(listed.map(str::to_owned).collect::<BTreeSet<_>>(), codes);
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let listed = schema["$defs"]["error"]["properties"]["code"]["enum"].as_array().unwrap();
    let listed = listed.iter().map(|code| code.as_str().unwrap().to_owned());
    assert_eq!(listed.collect::<BTreeSet<_>>(), codes);
}

fn name(code: Code) -> String {
    serde_json::to_value(code).unwrap().as_str().unwrap().to_owned()
}

/// Every example is what the schema describes, and not what the other side says.
#[test]
fn the_examples_are_in_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for (who, line) in examples().concat() {
        let message: Value = serde_json::from_str(line).unwrap();
        let (ours, others) = match who {
            '>' => ("client", "server"),
            _ => ("server", "client"),
        };
        let is = |side: &str| allows(&schema, &schema["$defs"][side], &message);
        // A name and a position that are none are examples of mistakes.
        let is_mistake =
            ["\"id\":11,", "\"id\":12,", "\"id\":13,"].iter().any(|id| line.contains(id));
        assert_eq!(is(ours), who == '<' || !is_mistake, "{line}");
        assert!(!is(others), "{line}");
    }
}

/// The schema and our parser agree about commands.
#[test]
fn the_schema_and_the_parser_agree() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let fields = [
        r#""id":1"#,
        r#""id":9007199254740992"#,
        r#""channel":"news""#,
        r#""channel":"a b""#,
        r#""since":"1f-2""#,
        r#""since":"2""#,
        r#""last":3"#,
        r#""last":-1"#,
        r#""data":null"#,
        r#""text":"x""#,
        r#""base64":"aGk=""#,
        r#""key":"k""#,
        r#""key":"""#,
        r#""version":1"#,
        r#""version":-1"#,
        r#""idempotency":"i""#,
        r#""token":"a.b.c""#,
        r#""other":1"#,
    ];
    let mut good = 0;
    for kind in ["subscribe", "unsubscribe", "publish", "token", "ping", "other"] {
        // Up to four of the fields, each choice.
        for mask in (0u32..1 << fields.len()).filter(|mask| mask.count_ones() <= 4) {
            let chosen = (0..fields.len()).filter(|at| mask >> at & 1 == 1).map(|at| fields[at]);
            let body: String = chosen.map(|field| format!(",{field}")).collect();
            let command = format!(r#"{{"type":"{kind}"{body}}}"#);
            // A name that comes twice is seen by the parser alone.
            if ["id", "channel", "since", "last", "key", "version"]
                .iter()
                .any(|name| command.matches(&format!("\"{name}\":")).count() > 1)
            {
                continue;
            }
            let parsed = parse(&command).is_ok_and(|asks| asks[0].command.is_ok());
            let message: Value = serde_json::from_str(&command).unwrap();
            assert_eq!(allows(&schema, &schema["$defs"]["client"], &message), parsed, "{command}");
            good += usize::from(parsed);
        }
    }
    assert!(good > 30, "only {good} were commands");
}

/// What the server may say is in the schema, whatever its optional parts.
#[test]
fn the_schema_has_every_reply() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for code in Code::ALL {
        for channel in [None, Some(&ChannelName::new("news").unwrap())] {
            let mut out = Vec::new();
            write(Some(1), Says::Error { code, message: "m", channel }, &mut out);
            let message = serde_json::from_slice(websocket::payload(&out)).unwrap();
            assert!(allows(&schema, &schema["$defs"]["server"], &message), "{message}");
        }
    }
    let channel = &ChannelName::new("news").unwrap();
    for code in [None, Some(Code::Forbidden)] {
        let mut out = Vec::new();
        let position = Position { epoch: Epoch(1), offset: Offset(2) };
        write(None, Says::Unsubscribed { channel, position, code }, &mut out);
        let message = serde_json::from_slice(websocket::payload(&out)).unwrap();
        assert!(allows(&schema, &schema["$defs"]["server"], &message), "{message}");
    }
    let stray = serde_json::json!({ "type": "error", "code": "other", "message": "m" });
    assert!(!allows(&schema, &schema["$defs"]["server"], &stray));
}

/// Whether a schema allows a value: the keywords of JSON Schema 2020-12 that ours has, each as the
/// standard has it. Panics at any other, so that none is passed over.
fn allows(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else { return schema == &Value::Bool(true) };
    let all = |list: &Value| list.as_array().unwrap().clone();
    let count = |list: &Value| all(list).iter().filter(|it| allows(root, it, value)).count();
    let number = |limit: &Value| (value.as_f64(), limit.as_f64());
    let chars = || value.as_str().map(|text| text.chars().count() as u64);
    keywords.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "$defs" | "contentEncoding" => true,
        "$ref" => allows(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
        "anyOf" => count(rule) > 0,
        "oneOf" => count(rule) == 1,
        "not" => !allows(root, rule, value),
        "const" => value == rule,
        "enum" => all(rule).contains(value),
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            other => panic!("type {other}"),
        },
        "minimum" => matches!(number(rule), (Some(it), Some(limit)) if it >= limit),
        "maximum" => matches!(number(rule), (Some(it), Some(limit)) if it <= limit),
        "minLength" => chars().is_none_or(|chars| chars >= rule.as_u64().unwrap()),
        "maxLength" => chars().is_none_or(|chars| chars <= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|it| it.len() as u64 <= rule.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|it| it.iter().all(|it| allows(root, rule, it))),
        "required" => value
            .as_object()
            .is_none_or(|it| all(rule).iter().all(|name| it.contains_key(name.as_str().unwrap()))),
        "properties" => value.as_object().is_none_or(|it| {
            it.iter().all(|(name, part)| rule.get(name).is_none_or(|it| allows(root, it, part)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|it| {
            let known = keywords["properties"].as_object().unwrap();
            rule == &Value::Bool(true) || it.keys().all(|name| known.contains_key(name))
        }),
        "pattern" => value.as_str().is_none_or(|text| match rule.as_str().unwrap() {
            "^[A-Za-z0-9._:/-]{1,255}$" => ChannelName::new(text).is_ok(),
            "^[0-9a-fA-F]{1,16}-[0-9]{1,39}$" => text.parse::<Position>().is_ok(),
            other => panic!("pattern {other}"),
        }),
        other => panic!("keyword {other}"),
    })
}
