//! Conversations in `stentor.v1`.

use super::{
    resuming::{at, begun, news},
    *,
};
use crate::{
    limits::{CALLS_IN_FLIGHT_MAX, COMMAND_BYTES, COMMANDS_MAX, COMMANDS_UNANSWERED_MAX},
    mesh::{Accepted, Rejected, Terms},
    policy::{Pattern, Policies, Policy, Who},
};

/// A handshake that offers `stentor.v1`, at this target.
pub(in crate::session) fn commands_at(target: &str) -> String {
    let offer = "Host: h\r\nSec-WebSocket-Protocol: chat, stentor.v1";
    WS.replace("/ws/news", target).replace("Host: h", offer)
}

/// A client's text frame, of any length.
pub(in crate::session) fn text_frame(text: &str) -> Vec<u8> {
    let mut head = vec![0x81];
    match text.len() {
        len @ 0..126 => head.push(0x80 | len as u8),
        len @ 126..65536 => {
            head.push(0x80 | 126);
            head.extend((len as u16).to_be_bytes());
        }
        len => {
            head.push(0x80 | 127);
            head.extend((len as u64).to_be_bytes());
        }
    }
    [&head[..], &[0; 4], text.as_bytes()].concat()
}

impl Bench {
    /// A conversation in which anybody may publish to `chat`.
    pub(in crate::session) fn talk() -> Self {
        let mut bench = Bench::new();
        let open = Policy { publish: Who::Public, ..Policy::default() };
        bench.rules.policies = Policies::new([(Pattern::new("chat"), open)]);
        assert_eq!(bench.bytes(commands_at("/ws")), Step::Wait);
        bench.out.clear();
        bench
    }

    pub(in crate::session) fn say(&mut self, text: &str) -> Step {
        self.bytes(text_frame(text))
    }

    pub(in crate::session) fn calls(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.session.next_call()).collect()
    }

    /// What was said, frame by frame.
    pub(in crate::session) fn heard(&mut self) -> Vec<String> {
        let out = mem::take(&mut self.out);
        let (mut rest, mut said) = (&out[..], Vec::new());
        while !rest.is_empty() {
            let (frame, more) = rest.split_at(websocket::frame_len(rest));
            assert_eq!(frame[0], 0x81, "a text");
            said.push(String::from_utf8(websocket::payload(frame).to_vec()).unwrap());
            rest = more;
        }
        said
    }

    pub(in crate::session) fn unsubscribed(
        &mut self,
        channel: &ChannelName,
        position: Position,
    ) -> Step {
        self.session.on_unsubscribed(channel, position, self.now, &self.rules, &mut self.out)
    }

    pub(in crate::session) fn answer(
        &mut self,
        ticket: u32,
        outcome: Result<Accepted, NotPublished>,
    ) -> Step {
        self.session.on_answered(ticket, outcome, self.now, &self.rules, &mut self.out)
    }
}

pub(in crate::session) fn accepted(offset: u128, repeated: bool) -> Accepted {
    Accepted { position: at(offset), subscribers: 3, repeated }
}

fn subscribe(channel: &ChannelName, start: Start) -> Call {
    Call::Subscribe { channel: channel.clone(), format: Format::Json, start }
}

/// The subprotocol is answered where it is offered, at once, and channels of the request are
/// subscribed to as if by commands without id.
#[test]
fn a_conversation_begins_at_once() {
    let chat = ChannelName::new("chat").unwrap();
    for (target, expected) in [
        ("/ws", vec![]),
        ("/ws/news", vec![subscribe(&news(), Start::Live)]),
        ("/ws/news?since=e-2", vec![subscribe(&news(), Start::Since(at(2)))]),
        (
            "/ws?channels=news,chat&since=chat=e-2&last=1",
            vec![subscribe(&news(), Start::Last(1)), subscribe(&chat, Start::Since(at(2)))],
        ),
    ] {
        let mut bench = Bench::new();
        let step = if expected.is_empty() { Step::Wait } else { Step::Call };
        assert_eq!(bench.bytes(commands_at(target)), step, "{target}");
        let protocol = "Sec-WebSocket-Protocol: stentor.v1\r\n";
        assert_eq!(bench.text(), SWITCHED.replace("Stentor-Position: e-4\r\n", protocol));
        assert_eq!(bench.session.reads(), Reads::Shared(Format::Json));
        assert!(bench.session.is_several() && bench.session.takes_input());
        assert_eq!(bench.calls(), expected);
    }
    let mut bench = Bench::new();
    let step = bench.bytes(WS.replace("/ws/news", "/ws?channels=news"));
    assert_eq!(step, Step::Finish(CloseReason::BadRequest));
    assert!(bench.text().contains("offer Sec-WebSocket-Protocol: stentor.v1"));
}

/// Replies carry the ids of their commands, those about one channel in the order of the commands.
#[test]
fn replies_find_their_commands() {
    let mut bench = Bench::talk();
    let say = r#"[{"id":1,"type":"subscribe","channel":"news","since":"e-2"},
        {"id":2,"type":"subscribe","channel":"chat"},{"id":3,"type":"ping"},
        {"id":4,"type":"unsubscribe","channel":"news"},{"type":"subscribe","channel":"news"},
        {"id":6,"type":"subscribe","channel":"news"}]"#;
    assert_eq!(bench.say(say), Step::Call);
    let chat = ChannelName::new("chat").unwrap();
    let expected = [
        subscribe(&news(), Start::Since(at(2))),
        subscribe(&chat, Start::Live),
        Call::Unsubscribe { channel: news() },
        subscribe(&news(), Start::Live),
        subscribe(&news(), Start::Live),
    ];
    let mut calls = bench.calls();
    let _ = bench.subscribed(&news(), &begun(None));
    calls.extend(bench.calls());
    let _ = bench.unsubscribed(&news(), at(5));
    calls.extend(bench.calls());
    let _ = bench.subscribed(&chat, &begun(None));
    assert_eq!((calls.len(), bench.calls()), (4, vec![]), "one at a time for each channel");
    let _ = bench.subscribed(&news(), &begun(None));
    calls.extend(bench.calls());
    let _ = bench.refused(&news(), Refused::AlreadySubscribed);
    let _ = bench.refused(&news(), Refused::NotSubscribed);
    assert_eq!(calls, expected);
    let expected = [
        r#"{"id":3,"type":"pong"}"#,
        r#"{"id":1,"type":"subscribed","channel":"news","position":"e-2","recovered":true}"#,
        r#"{"id":4,"type":"unsubscribed","channel":"news","position":"e-5"}"#,
        r#"{"id":2,"type":"subscribed","channel":"chat","position":"e-2"}"#,
        r#"{"type":"subscribed","channel":"news","position":"e-2"}"#,
        r#"{"id":6,"type":"error","code":"already_subscribed","message":"this connection reads the channel already","channel":"news"}"#,
    ];
    assert_eq!(bench.heard(), expected, "and nothing for an answer that nobody awaits");
}

/// A publication goes as it came, with its terms, and its outcome comes back under its id.
#[test]
fn publications_are_called_for_and_answered() {
    let mut bench = Bench::talk();
    let say = r#"[{"id":1,"type":"publish","channel":"chat","data":{ "a":1}},
        {"id":2,"type":"publish","channel":"chat","text":"hi","key":"k","version":7,"idempotency":"i"},
        {"type":"publish","channel":"chat","base64":"/w=="}]"#;
    assert_eq!(bench.say(say), Step::Call);
    let channel = ChannelName::new("chat").unwrap();
    let publish = |ticket, kind, payload: &'static [u8], terms| {
        let channel = channel.clone();
        Call::Publish { ticket, channel, kind, payload: payload.into(), terms }
    };
    let terms = Terms { key: Some("k".into()), version: Some(7), idempotency: Some("i".into()) };
    let expected = [
        publish(0, PayloadKind::Json, b"{ \"a\":1}", None),
        publish(1, PayloadKind::Text, b"hi", Some(Box::new(terms))),
        publish(2, PayloadKind::Binary, b"\xff", None),
    ];
    assert_eq!(bench.calls(), expected);
    let _ = bench.answer(1, Ok(accepted(8, true)));
    let _ = bench.answer(2, Err(NotPublished::Rejected(Rejected::Stale(7))));
    let _ = bench.answer(0, Ok(accepted(9, false)));
    let _ = bench.answer(0, Ok(accepted(9, false)));
    let stale = Rejected::Stale(7).to_string();
    let expected = [
        r#"{"id":2,"type":"published","channel":"chat","position":"e-8","repeated":true}"#.into(),
        format!(
            r#"{{"type":"error","code":"stale_version","message":"{stale}","channel":"chat"}}"#
        ),
        r#"{"id":1,"type":"published","channel":"chat","position":"e-9"}"#.into(),
    ];
    assert_eq!(bench.heard(), expected);
}

/// What was published before the end is published, also if both came in one read; nothing else is
/// done, or answered, any more.
#[test]
fn the_last_words_count() {
    let mut bench = Bench::talk();
    let publish = text_frame(r#"{"type":"publish","channel":"chat","text":"bye"}"#);
    let subscribe = text_frame(r#"{"type":"subscribe","channel":"news"}"#);
    let read = [publish, subscribe, frame(0x88, b"")].concat();
    assert_eq!(bench.bytes(read), Step::Finish(CloseReason::PeerLeft));
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Publish { ticket: 0, .. }]), "{calls:?}");
    bench.out.clear();
    assert_eq!(
        (bench.answer(0, Ok(accepted(9, false))), bench.text()),
        (Step::Wait, String::new())
    );
    assert_eq!(bench.session.on_end(), Step::Drop(CloseReason::PeerLeft));
}

/// Every reason that a call was not carried out has its code.
#[test]
fn refusals_have_codes() {
    let code = |bench: &mut Bench| {
        let heard: serde_json::Value = serde_json::from_str(&bench.heard().concat()).unwrap();
        assert_eq!((&heard["id"], &heard["type"]), (&1.into(), &"error".into()));
        heard["code"].as_str().unwrap().to_owned()
    };
    for (refused, expected) in [
        (Refused::TooManyChannels, "too_many_channels"),
        (Refused::AlreadySubscribed, "already_subscribed"),
        (Refused::NotSubscribed, "not_subscribed"),
        (Refused::TooManySubscriptions, "too_many_subscriptions"),
        (Refused::Draining, "draining"),
    ] {
        let mut bench = Bench::talk();
        assert_eq!(bench.say(r#"{"id":1,"type":"subscribe","channel":"news"}"#), Step::Call);
        assert_eq!(bench.refused(&news(), refused), Step::Wait);
        assert_eq!(code(&mut bench), expected);
    }
    for (reason, expected) in [
        (NotPublished::Rejected(Rejected::Stale(1)), "stale_version"),
        (NotPublished::Rejected(Rejected::FedByBus), "fed_by_bus"),
        (NotPublished::Rejected(Rejected::TooManyKeys), "too_many_keys"),
        (NotPublished::Rejected(Rejected::TooManyChannels), "too_many_channels"),
        (NotPublished::Rejected(Rejected::DiskFull), "disk_full"),
        (NotPublished::Rejected(Rejected::JournalFailed), "journal_failed"),
        (NotPublished::Busy, "busy"),
        (NotPublished::Draining, "draining"),
    ] {
        let mut bench = Bench::talk();
        assert_eq!(bench.say(r#"{"id":1,"type":"publish","channel":"chat","data":1}"#), Step::Call);
        assert_eq!(bench.answer(0, Err(reason)), Step::Wait);
        assert_eq!(code(&mut bench), expected);
    }
}

/// Who may not publish, or too much, or too often, hears so at once, and nothing is called for.
#[test]
fn publishing_has_limits() {
    let mut bench = Bench::talk();
    bench.rules.publication_max = 4;
    let publish = |channel: &str, text: &str| {
        format!(r#"{{"id":1,"type":"publish","channel":"{channel}","text":"{text}"}}"#)
    };
    assert_eq!(bench.say(&publish("news", "x")), Step::Wait);
    assert!(bench.heard().concat().contains(r#""code":"forbidden""#));
    assert_eq!(bench.say(&publish("chat", "12345")), Step::Wait);
    assert!(bench.heard().concat().contains(r#""code":"too_large""#));
    for _ in 0..CALLS_IN_FLIGHT_MAX {
        assert_eq!(bench.say(&publish("chat", "1234")), Step::Call);
        assert_eq!((bench.calls().len(), bench.heard()), (1, vec![]));
    }
    assert_eq!(bench.say(&publish("chat", "1")), Step::Wait);
    assert!(bench.heard().concat().contains(r#""code":"busy""#));
    let _ = bench.answer(3, Ok(accepted(1, false)));
    assert_eq!(bench.say(&publish("chat", "1")), Step::Call);
}

/// A mistake is told and the conversation goes on; a binary message ends it.
#[test]
fn mistakes_do_not_end_it() {
    let mut bench = Bench::talk();
    assert_eq!(bench.say("{}"), Step::Wait);
    let heard = bench.heard().concat();
    assert!(heard.starts_with(r#"{"type":"error","code":"bad_command","message":"missing "#));
    assert_eq!(bench.say(r#"{"type":"ping"}"#), Step::Wait);
    assert_eq!(bench.heard(), [r#"{"type":"pong"}"#]);
    assert_eq!(bench.bytes(frame(0x82, b"{}")), Step::Finish(CloseReason::Unsupported));
    assert_eq!(bench.out, closed_with(1003, "commands are text; send binary as base64"));
}

/// A message may be as large as what it may publish needs, and no larger.
#[test]
fn messages_are_bounded() {
    let padded = |len: usize| format!("{{{}\"type\":\"ping\"}}", " ".repeat(len - 15));
    let mut bench = Bench::talk();
    bench.rules.publication_max = 100_000;
    let max = 200_000 + COMMAND_BYTES;
    assert_eq!(bench.say(&padded(max)), Step::Wait);
    assert_eq!(bench.heard(), [r#"{"type":"pong"}"#]);
    assert_eq!(bench.say(&padded(max + 1)), Step::Finish(CloseReason::MessageTooBig));

    let mut bench = Bench::talk();
    bench.rules.policies = Policies::default();
    assert_eq!(bench.say(&padded(COMMAND_BYTES)), Step::Wait);
    let step = bench.say(&padded(COMMAND_BYTES + 1));
    assert_eq!(step, Step::Finish(CloseReason::MessageTooBig), "where nobody may publish");
}

/// However little a client says, what it hears in return is bounded by it.
#[test]
fn replies_are_bounded_by_what_was_said() {
    let longest = "k".repeat(200);
    let unknown = format!(r#"{{"{longest}":1}}"#);
    let quotes = format!(r#"{{"{}":1}}"#, r#"\""#.repeat(200));
    for text in
        ["", "x", "1", r#""""#, "{}", "[]", "[", "[1]", r#"{"a":1}"#, "null", &unknown, &quotes]
    {
        let mut bench = Bench::talk();
        let said = text_frame(text);
        assert_eq!(bench.bytes(&said), Step::Wait);
        assert!(bench.out.len() <= said.len() * ANSWERED_PER_BYTE, "{text}: {:?}", bench.text());
    }
}

/// A conversation that has nothing under way owns no memory but its own block.
#[test]
fn an_idle_conversation_is_small() {
    let mut bench = Bench::talk();
    assert!(bench.is_idle_without_memory());
    let say = r#"[{"type":"subscribe","channel":"news"},
        {"type":"publish","channel":"chat","text":"hi"}]"#;
    assert_eq!(bench.say(say), Step::Call);
    assert_eq!(bench.calls().len(), 2);
    assert!(!bench.is_idle_without_memory());
    let _ = bench.subscribed(&news(), &begun(None));
    let _ = bench.answer(0, Ok(accepted(1, false)));
    assert!(bench.is_idle_without_memory());
}

/// Unanswered commands stop the reading until they are answered.
#[test]
fn unanswered_commands_are_bounded() {
    let mut bench = Bench::talk();
    let one = r#"{"type":"unsubscribe","channel":"news"}"#;
    let many = format!("[{}]", vec![one; COMMANDS_MAX].join(","));
    for _ in 0..COMMANDS_UNANSWERED_MAX / COMMANDS_MAX {
        assert!(bench.session.takes_input());
        assert_eq!(bench.say(&many), Step::Call);
    }
    assert!(!bench.session.takes_input());
    assert_eq!(bench.calls().len(), 1, "one at a time");
    let _ = bench.refused(&news(), Refused::NotSubscribed);
    assert!(bench.session.takes_input());
}

/// It is pinged, skips, and ends like any WebSocket, in its own words.
#[test]
fn a_conversation_lives_and_ends() {
    let mut bench = Bench::talk();
    bench.wait(30);
    assert_eq!(bench.bytes(frame(0x89, b"hi")), Step::Wait);
    assert_eq!(mem::take(&mut bench.out), b"\x8a\x02hi");
    assert_eq!(bench.deadline(), Step::Wait);
    assert_eq!(
        (mem::take(&mut bench.out).as_slice(), bench.seconds_left()),
        (websocket::PING, 20.0)
    );
    assert_eq!(bench.bytes(frame(0x8a, b"")), Step::Wait);
    assert_eq!(bench.seconds_left(), 55.0);
    assert_eq!(bench.gap(4, 7), Step::Wait);
    assert_eq!(bench.heard(), [r#"{"type":"gap","channel":"news","from":"e-4","to":"e-7"}"#]);
    assert_eq!(bench.lap(at(7)), Step::Finish(CloseReason::PeerTooSlow));
    assert_eq!(bench.out, closed_with(1013, "too slow; resume from e-7"));

    let mut bench = Bench::talk();
    assert_eq!(bench.deadline(), Step::Wait);
    bench.out.clear();
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::PeerSilent));
    let mut bench = Bench::talk();
    assert_eq!(bench.bytes(frame(0x88, b"\x03\xe8")), Step::Finish(CloseReason::PeerLeft));
    assert_eq!(bench.out, b"\x88\x02\x03\xe8");
    let mut bench = Bench::talk();
    let draining = CloseReason::ServerDraining;
    assert_eq!(bench.close(draining), Step::Finish(draining));
    assert_eq!(bench.out, closed_with(1012, "server draining"));
}
