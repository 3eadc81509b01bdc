use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits::TEMPLATE_BYTES_MAX;

/// A record with these fields and headers.
#[derive(Default)]
struct Record {
    fields: BTreeMap<&'static str, Vec<u8>>,
    headers: BTreeMap<&'static str, Vec<u8>>,
}

impl Fields for Record {
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.fields.get(name).map(|value| Cow::Borrowed(&value[..]))
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.headers.get(name).map(|value| Cow::Borrowed(&value[..]))
    }
}

fn record() -> Record {
    Record {
        fields: [("subject", b"ticks.eur".to_vec()), ("key", b"\xff".to_vec())].into(),
        headers: [("kind", b"price".to_vec()), ("long", vec![b'x'; KEY_BYTES_MAX + 1])].into(),
    }
}

const FIELDS: &[&str] = &["subject", "key", "absent"];

fn template(text: &str) -> Template {
    Template::new(text, FIELDS).unwrap()
}

fn mapping(channel: &str) -> Mapping {
    Mapping { channel: template(channel), filter: vec![], payload: None, key: None }
}

fn map(mapping: &Mapping, payload: &'static str) -> Result<Mapped, Unmapped> {
    mapping.map(&record(), Bytes::from_static(payload.as_bytes()))
}

/// What comes out of a template: its text, the fields, headers and parts of JSON as text.
#[test]
fn a_channel_comes_out_as_the_template_says() {
    let payload = r#"{"who":"m\u0065","n":1.50,"yes":true,"a":[{"b":"c"}]}"#;
    for (text, expected) in [
        ("{subject}", "ticks.eur"),
        ("a", "a"),
        ("a.{subject}.{header:kind}", "a.ticks.eur.price"),
        ("{json:/who}", "me"),
        ("{json:/n}:{json:/yes}", "1.50:true"),
        ("{json:/a/0/b}{json:/a/0/b}", "cc"),
    ] {
        let mapped = map(&mapping(text), payload).unwrap();
        assert_eq!(mapped.channel.as_str(), expected, "{text}");
        assert_eq!((mapped.kind, &mapped.payload[..]), (PayloadKind::Text, payload.as_bytes()));
    }
}

/// A record that a template, a filter or the pointer has no use for is told with its reason.
#[test]
fn what_maps_to_nothing_says_why() {
    let missing = |what: &str| Unmapped::Missing(what.into());
    let bad = |name: &str, why| Unmapped::BadName(name.into(), why);
    for (text, payload, expected) in [
        ("{absent}", "", missing("{absent}")),
        ("a{absent}", "", missing("{absent}")),
        ("{header:none}", "", missing("{header:none}")),
        ("{json:/a}", r#"{"b":1}"#, missing("{json:/a}")),
        ("{json:/a}", r#"{"a":null}"#, missing("{json:/a}")),
        ("{json:/a}", r#"{"a":{}}"#, missing("{json:/a}")),
        ("{json:/a}", r#"{"a":"x y"}"#, bad("x y", NotAChannel::BadByte(b' '))),
        ("{key}", "", bad("\u{fffd}", NotAChannel::BadByte(0xff))),
        ("a{key}", "", bad("a\u{fffd}", NotAChannel::BadByte(0xff))),
        ("{header:long}", "", bad(&format!("{}…", "x".repeat(100)), NotAChannel::TooLong)),
    ] {
        assert_eq!(map(&mapping(text), payload), Err(expected), "{text} of {payload}");
    }
    let part = Mapping { payload: Some(Pointer::new("/a").unwrap()), ..mapping("c") };
    assert_eq!(map(&part, "{}").err(), Some(Unmapped::NoPart("/a".into())));
    let filter = vec![Condition::new("{subject}=x*", FIELDS).unwrap()];
    let filtered = Mapping { filter, ..mapping("{absent}") };
    assert_eq!(map(&filtered, "").err(), Some(Unmapped::Filtered), "the filter comes first");
    for (key, expected) in [
        ("{header:kind}", Ok("price")),
        ("{key}", Err(Unmapped::BadKey)),
        ("{header:long}", Err(Unmapped::BadKey)),
        ("{absent}", Err(missing("{absent}"))),
    ] {
        let keyed = Mapping { key: Some(template(key)), ..mapping("c") };
        let found = map(&keyed, "").map(|mapped| mapped.key.unwrap());
        assert_eq!(found, expected.map(Box::from), "{key}");
    }
}

/// The part that is sent is a slice of the payload, and JSON; without a pointer the payload is what it
/// looks like.
#[test]
fn a_part_of_the_payload_is_not_copied() {
    let payload = Bytes::from_static(br#"{"data" : [1, {"x": "y"}] }"#);
    let part = Mapping { payload: Some(Pointer::new("/data").unwrap()), ..mapping("c") };
    let mapped = part.map(&record(), payload.clone()).unwrap();
    assert_eq!((mapped.kind, &mapped.payload[..]), (PayloadKind::Json, &br#"[1, {"x": "y"}]"#[..]));
    assert_eq!(mapped.payload.as_ptr(), payload[10..].as_ptr());
    let whole = mapping("c").map(&record(), Bytes::from_static(b"\xff\x00")).unwrap();
    assert_eq!((whole.kind, &whole.payload[..]), (PayloadKind::Binary, &b"\xff\x00"[..]));
}

/// A condition compares what comes out with a pattern; what is not there is as if it were empty.
#[test]
fn a_condition_holds_as_it_says() {
    let payload = br#"{"type":"trade","n":5,"o":{"x":1}}"#;
    for (text, expected) in [
        ("{json:/type}=trade", true),
        ("{json:/type}=tr*", true),
        ("{json:/type}=quote", false),
        ("{json:/type}!=quote", true),
        ("{json:/type}!=trade", false),
        ("{json:/n}=5", true),
        ("{json:/o}=", true),
        ("{json:/none}=", true),
        ("{json:/none}=*", true),
        ("{json:/none}!=", false),
        ("{subject}.{header:kind}=*.eur.price", true),
        ("{json:/type}=a=b", false),
        ("{json:/type}=}", false),
        ("{key}=\u{fffd}", true),
    ] {
        let condition = Condition::new(text, FIELDS).unwrap();
        assert_eq!(condition.holds(&record(), payload), expected, "{text}");
    }
}

/// Each mistake in a template, a condition or a pointer is answered with what would be right.
#[test]
fn mistakes_are_told() {
    let right = "there are {subject}, {key}, {absent}, {header:NAME} and {json:/POINTER}";
    let brace = "write {{ or }} for a brace";
    for (text, problem, right) in [
        ("{sub}", "wants {sub}, and no record has it", right),
        ("{}", "wants {}, and no record has it", right),
        ("{header:}", "wants {header:}, and no record has it", right),
        ("a{subject", "has a '{' without its other half", brace),
        ("a}b", "has a '}' without its other half", brace),
        (
            "{json:a}",
            "has the JSON pointer 'a', which does not begin with /",
            "write one like /data/price",
        ),
        (
            "{json:/a~2}",
            "has the JSON pointer '/a~2' with a ~ that stands for nothing",
            "write ~0 for ~ and ~1 for / in a name",
        ),
    ] {
        assert_eq!(Template::new(text, FIELDS), Err(Wrong::new(problem, right)), "{text}");
    }
    let told =
        Wrong::new("has no = behind its template", "write a condition like {json:/type}=trade");
    for text in ["", "{subject}", "{json:/a=b}"] {
        assert_eq!(Condition::new(text, FIELDS), Err(told.clone()), "{text}");
    }
    let longest = "x".repeat(TEMPLATE_BYTES_MAX);
    assert_eq!(template(&longest).as_str(), longest);
    let told = Wrong::new("is longer than 1024 bytes", "write a shorter one");
    assert_eq!(Template::new(&format!("{longest}x"), FIELDS), Err(told.clone()));
    assert_eq!(Condition::new(&format!("{longest}=x"), FIELDS), Err(told.clone()));
    assert_eq!(Pointer::new(&format!("/{longest}")), Err(told));
}

/// What can come out of a template, as a pattern.
#[test]
fn a_template_knows_its_names() {
    let known = |name: &str| (name == "subject").then(|| "ticks.*".to_owned());
    for (text, expected) in [
        ("{subject}", "ticks.*"),
        ("a.{subject}.b", "a.ticks.*.b"),
        ("{key}:{header:a}:{json:/b}", "*:*:*"),
        ("plain", "plain"),
    ] {
        assert_eq!(template(text).pattern(known).as_str(), expected, "{text}");
    }
    assert!(template("{subject}").has("subject") && !template("{{subject}}").has("subject"));
}

/// The examples of RFC 6901, section 5.
#[test]
fn pointers_are_those_of_the_rfc() {
    let document = Bytes::from_static(
        br#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#,
    );
    for (pointer, expected) in [
        ("", std::str::from_utf8(&document).unwrap()),
        ("/foo", r#"["bar","baz"]"#),
        ("/foo/0", r#""bar""#),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        (r"/i\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ] {
        let part = Pointer::new(pointer).unwrap().part(&document);
        assert_eq!(part.as_deref(), Some(expected.as_bytes()), "{pointer}");
    }
    for nowhere in ["/foo/2", "/foo/00", "/foo/01", "/foo/+1", "/foo/-", "/foo/0/x", "/x", "//"] {
        assert_eq!(Pointer::new(nowhere).unwrap().part(&document), None, "{nowhere}");
    }
}

/// Of members with one name the last counts, whatever the first has.
#[test]
fn the_last_of_several_members_counts() {
    for (document, pointer, expected) in [
        (r#"{"a":1,"a":2}"#, "/a", Some("2")),
        (r#"{"a":{"b":1},"a":{"c":2}}"#, "/a/b", None),
        (r#"{"a":{"b":1},"a":{"b":{"b":3}}}"#, "/a/b/b", Some("3")),
        (r#"{"a":1,"\u0061":2}"#, "/a", Some("2")),
    ] {
        let part = Pointer::new(pointer).unwrap().part(&Bytes::from_static(document.as_bytes()));
        assert_eq!(part.as_deref(), expected.map(str::as_bytes), "{document}");
    }
}

/// What is no JSON has no parts, wherever its fault is, and what is deep stops nothing.
#[test]
fn only_json_has_parts() {
    let pointer = Pointer::new("/a").unwrap();
    for document in
        [&b""[..], b"x", br#"{"a":1"#, br#"{"a":1}x"#, br#"{"a":1,}"#, b"{\"a\":1,\"b\":\"\xff\"}"]
    {
        assert_eq!(pointer.part(&Bytes::copy_from_slice(document)), None, "{document:?}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let part = pointer.part(&Bytes::from(deep.clone())).unwrap();
    assert_eq!(part.len(), 200_000);
    let down = Pointer::new(&format!("/a{}", "/0".repeat(500))).unwrap();
    assert_eq!(down.part(&Bytes::from(deep)), None, "deeper than serde_json goes");
}

/// JSON of any shape, with few names, so that pointers find something.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |it| it.is_finite()).prop_map(|it| json!(it)),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab~/\"]{0,1}", inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    /// A pointer finds what serde_json's own finds in a tree, as a slice of the document.
    #[test]
    fn a_pointer_finds_what_a_tree_has(
        value in values(),
        pretty in any::<bool>(),
        tokens in prop::collection::vec("[ab\"]|~0|~1|0|1|2|", 0..4),
    ) {
        let text = if pretty { format!(" {value:#} ") } else { value.to_string() };
        // As it is read: serde_json may read a float as its neighbour.
        let value: Value = serde_json::from_str(&text).unwrap();
        let pointer: String = tokens.iter().map(|token| format!("/{token}")).collect();
        let document = Bytes::from(text);
        let part = Pointer::new(&pointer).unwrap().part(&document);
        let found = part.as_ref().map(|part| serde_json::from_slice::<Value>(part).unwrap());
        prop_assert_eq!(found.as_ref(), value.pointer(&pointer));
        if let Some(part) = part {
            prop_assert!(document.as_ptr_range().contains(&part.as_ptr()));
        }
    }

    /// A text whose braces are doubled comes out as it was, alone and around a field.
    #[test]
    fn any_text_can_stand_in_a_template(before in "[a{}\u{e4}]{0,20}", behind in "[a{}\u{e4}]{0,20}") {
        let doubled = |text: &str| text.replace('{', "{{").replace('}', "}}");
        let (before_doubled, behind_doubled) = (doubled(&before), doubled(&behind));
        let mut out = Vec::new();
        template(&before_doubled).fill(&record(), b"", &mut out).unwrap();
        template(&format!("{before_doubled}{{subject}}{behind_doubled}"))
            .fill(&record(), b"", &mut out)
            .unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{before}{before}ticks.eur{behind}"));
    }
}
