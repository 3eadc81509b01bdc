//! Who may read and publish what, by the token that a connection came with, or brought later.

use super::{
    commands::commands_at,
    polls::POLL,
    resuming::{at, begun},
    streams::STREAMS,
    *,
};
use crate::{
    access::forge::{access, token},
    limits::TOKENS_REFUSED_MAX,
    policy::{Pattern, Policies, Policy, Who},
};

/// Seconds since 1970 at a bench's beginning.
const NOW: u64 = 100;

/// `news` and `chat` want tokens, `open` wants none, `shut` is for nobody.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let of = |who| Policy { subscribe: who, publish: who, ..Policy::default() };
    bench.rules.policies = Policies::new([
        (Pattern::new("open"), of(Who::Public)),
        (Pattern::new("shut"), of(Who::Nobody)),
        (Pattern::new("*"), of(Who::Token)),
    ]);
    bench.rules.access = access().into();
    bench
}

fn claims(rest: &str) -> String {
    token(&format!("{{\"exp\":{},{rest}}}", NOW + 600))
}

/// The request, with this header.
fn with(request: &str, header: &str) -> String {
    request.replace("Host: h\r\n", &format!("Host: h\r\n{header}\r\n"))
}

fn bearing(request: &str, token: &str) -> String {
    with(request, &format!("Authorization: Bearer {token}"))
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

/// Each transport asks for a token where the channel wants one: 401 without a good one, 403 with one
/// that does not grant it, and little else is said; with one that does it is accepted.
#[test]
fn each_transport_wants_what_the_channel_wants() {
    let good = claims(r#""subscribe":["news","chat","shut"]"#);
    let other = claims(r#""subscribe":["other"]"#);
    for request in [WS, SSE, POLL, STREAMS] {
        for (request, status) in [
            (request.to_owned(), "401 Unauthorized"),
            (bearing(request, "a.b.c"), "401 Unauthorized"),
            (bearing(request, &other), "403 Forbidden"),
            (bearing(&request.replace("news", "shut"), &good), "403 Forbidden"),
            (bearing(&request.replace("news", "open"), "a.b.c"), "401 Unauthorized"),
        ] {
            let mut bench = bench();
            let step = bench.bytes(&request);
            assert_eq!(step, Step::Finish(CloseReason::AccessRefused), "{request}");
            let said = bench.text();
            assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}\n{said}");
            assert_eq!(said.contains("WWW-Authenticate: Bearer\r\n"), status.starts_with("401"));
            assert!(bench.session.barred().is_some());
        }
        let mut bench = bench();
        let step = bench.bytes(bearing(request, &good));
        assert!(matches!(step, Step::Subscribe { .. } | Step::Call), "{request}: {step:?}");
        assert_eq!(bench.session.take_bearer().unwrap().grants.until, NOW + 630);
        assert!(bench.session.take_bearer().is_none(), "it is given once");
    }
}

/// A token may stand in the query, or among the subprotocols, and the answer does not repeat it.
#[test]
fn a_token_has_three_places() {
    let good = claims(r#""subscribe":["news"]"#);
    for request in [
        WS.replace("/ws/news", &format!("/ws/news?token={good}")),
        with(WS, &format!("Sec-WebSocket-Protocol: stentor.token.{good}")),
    ] {
        let mut bench = bench();
        assert!(matches!(bench.bytes(&request), Step::Subscribe { .. }), "{request}");
        assert_eq!(bench.go_live(), Step::Wait);
        assert_eq!(bench.text(), SWITCHED);
    }
    let mut bench = bench();
    let offer = format!("chat, stentor.v1, stentor.token.{good}");
    let step = bench.bytes(commands_at("/ws").replace("chat, stentor.v1", &offer));
    assert_eq!(step, Step::Call, "so that the shard takes the token");
    assert!(bench.text().contains("\r\nSec-WebSocket-Protocol: stentor.v1\r\n"));
}

/// A page that may ask may read why it was refused, and a page that may not, may not.
#[test]
fn a_page_may_read_why_it_was_refused() {
    for (origin, allowed) in [("http://h", true), ("http://evil", false)] {
        let mut bench = bench();
        let _ = bench.bytes(with(POLL, &format!("Origin: {origin}")));
        let said = bench.text();
        assert_eq!(said.contains("Access-Control-Allow-Origin"), allowed, "{said}");
        assert!(said.starts_with(if allowed { "HTTP/1.1 401" } else { "HTTP/1.1 403" }));
    }
}

/// In a conversation each command is judged by its channel, and what is refused calls for nothing.
#[test]
fn commands_are_judged_channel_by_channel() {
    let mut bench = bench();
    let good = claims(r#""subscribe":["news"],"publish":["chat"]"#);
    let target = "/ws?channels=news,chat,open,shut";
    assert_eq!(bench.bytes(bearing(&commands_at(target), &good)), Step::Call);
    let subscribed = |calls: Vec<Call>| -> Vec<String> {
        let name = |call: Call| match call {
            Call::Subscribe { channel, .. } => channel.as_str().to_owned(),
            Call::Publish { channel, .. } => format!("publish {}", channel.as_str()),
            Call::Unsubscribe { channel } => format!("leave {}", channel.as_str()),
            Call::Report(excess) => panic!("{excess:?}, and nothing is limited"),
        };
        calls.into_iter().map(name).collect()
    };
    assert_eq!(subscribed(bench.calls()), ["news", "open"]);
    let said = String::from_utf8_lossy(&bench.out).into_owned();
    bench.out.clear();
    for refused in ["chat", "shut"] {
        let error = format!(
            r#"{{"type":"error","code":"forbidden","message":"this is not granted","channel":"{refused}"}}"#
        );
        assert!(said.contains(&error), "{said}");
    }
    for (channel, may) in [("news", false), ("chat", true), ("open", true), ("shut", false)] {
        let _ = bench.say(&format!(r#"{{"type":"publish","channel":"{channel}","text":"x"}}"#));
        let expected = if may { vec![format!("publish {channel}")] } else { vec![] };
        assert_eq!(subscribed(bench.calls()), expected);
        let said = bench.heard().concat();
        assert_eq!(said.contains(r#""code":"forbidden""#), !may, "{channel}: {said}");
    }
}

/// Without a token the handshake is fine, and commands are told that one is needed, until it comes.
#[test]
fn a_token_may_follow_by_command() {
    let mut bench = bench();
    let _ = bench.bytes(commands_at("/ws"));
    bench.out.clear();
    let subscribe = r#"{"id":1,"type":"subscribe","channel":"news"}"#;
    let _ = bench.say(subscribe);
    let refused = r#"{"id":1,"type":"error","code":"unauthorized","message":"this needs a valid token","channel":"news"}"#;
    assert_eq!((bench.calls().len(), bench.heard()), (0, vec![refused.to_owned()]));
    let good = claims(r#""subscribe":["news"]"#);
    assert_eq!(bench.say(&format!(r#"{{"id":2,"type":"token","token":"{good}"}}"#)), Step::Call);
    assert_eq!(bench.heard(), [r#"{"id":2,"type":"token","seconds":630}"#]);
    assert!(bench.session.take_bearer().is_some());
    assert_eq!(bench.say(subscribe), Step::Call);
    assert_eq!(bench.calls().len(), 1);
}

/// A fresh token that grants less takes back what was asked for and not begun, and what was begun is
/// left, once, whatever the order in which the answers come.
#[test]
fn fewer_grants_take_channels_away() {
    let mut bench = bench();
    let all = claims(r#""sub":"ann","subscribe":["*"]"#);
    let _ = bench.bytes(bearing(&commands_at("/ws?channels=live,waiting,kept"), &all));
    let _ = bench.session.take_bearer();
    assert_eq!(bench.calls().len(), 3);
    bench.out.clear();
    let _ = bench.subscribed(&name("live"), &begun(None));
    let _ = bench.subscribed(&name("kept"), &begun(None));
    bench.out.clear();
    let fewer = claims(r#""sub":"ann","subscribe":["kept"]"#);
    let message = format!(
        r#"[{{"id":1,"type":"subscribe","channel":"late"}},{{"id":2,"type":"token","token":"{fewer}"}}]"#
    );
    assert_eq!(bench.say(&message), Step::Call);
    assert_eq!(
        bench.heard(),
        [
            r#"{"id":1,"type":"error","code":"forbidden","message":"this is not granted","channel":"late"}"#,
            r#"{"id":2,"type":"token","seconds":630}"#,
        ]
    );
    assert!(bench.session.take_bearer().is_some());
    let rules = bench.rules.clone();
    for _ in 0..2 {
        for channel in ["live", "waiting", "kept"] {
            bench.session.review(&name(channel), &rules);
        }
    }
    assert_eq!(bench.calls(), [Call::Unsubscribe { channel: name("live") }]);
    let _ = bench.unsubscribed(&name("live"), at(7));
    let left = |channel: &str, position: &str| {
        format!(
            r#"{{"type":"unsubscribed","channel":"{channel}","position":"{position}","code":"forbidden"}}"#
        )
    };
    assert_eq!(bench.heard(), [left("live", "e-7")]);
    // What waited for its beginning is left as soon as it has begun.
    let _ = bench.subscribed(&name("waiting"), &begun(None));
    bench.out.clear();
    assert_eq!(bench.calls(), [Call::Unsubscribe { channel: name("waiting") }]);
    let _ = bench.unsubscribed(&name("waiting"), at(9));
    assert_eq!(bench.heard(), [left("waiting", "e-9")]);
    assert_eq!(bench.calls(), []);
}

/// A token that is not good, or another's, changes nothing.
#[test]
fn a_bad_renewal_changes_nothing() {
    let mut bench = bench();
    let ann = claims(r#""sub":"ann","subscribe":["news"]"#);
    let _ = bench.bytes(bearing(&commands_at("/ws"), &ann));
    let _ = bench.session.take_bearer();
    bench.out.clear();
    for (token, code) in [
        ("a.b.c".to_owned(), "unauthorized"),
        (claims(r#""sub":"bert","subscribe":["*"]"#), "forbidden"),
        (claims(r#""subscribe":["*"]"#), "forbidden"),
    ] {
        assert_eq!(bench.say(&format!(r#"{{"type":"token","token":"{token}"}}"#)), Step::Wait);
        let said = bench.heard();
        assert!(said.len() == 1 && said[0].contains(&format!("\"code\":\"{code}\"")), "{said:?}");
        assert!(bench.session.take_bearer().is_none());
    }
    let _ = bench.say(r#"{"type":"subscribe","channel":"news"}"#);
    assert_eq!(bench.calls().len(), 1, "the first token still grants what it did");
}

/// One connection more than a subject may have is answered 429, or told so in its conversation; one
/// that leaves makes room.
#[test]
fn connections_of_a_subject_are_limited() {
    let shared: std::sync::Arc<crate::access::Access> = access().into();
    let two = claims(r#""sub":"ann","connections":2,"subscribe":["*"]"#);
    let connect = |request: &str| {
        let mut bench = bench();
        bench.rules.access = shared.clone();
        let step = bench.bytes(request);
        (bench, step)
    };
    let first = connect(&bearing(WS, &two)).0;
    let (mut talk, _) = connect(&bearing(&commands_at("/ws"), &two));
    let (mut third, step) = connect(&bearing(SSE, &two));
    assert_eq!(step, Step::Finish(CloseReason::AccessRefused));
    let said = third.text();
    assert!(said.starts_with("HTTP/1.1 429 ") && said.contains("Retry-After: 5\r\n"), "{said}");
    let (mut later, _) = connect(&commands_at("/ws"));
    let renew = format!(r#"{{"type":"token","token":"{two}"}}"#);
    later.out.clear();
    let _ = later.say(&renew);
    assert!(later.heard()[0].contains("\"code\":\"too_many_connections\""));
    // Who has a seat keeps it with a fresh token.
    talk.out.clear();
    let held = talk.session.take_bearer().unwrap();
    assert_eq!(talk.say(&renew), Step::Call);
    assert!(talk.session.take_bearer().unwrap().seat.is_none() && held.seat.is_some());
    drop(first);
    assert_eq!(later.say(&renew), Step::Call);
    drop((held, later));
    assert!(matches!(connect(&bearing(SSE, &two)).1, Step::Subscribe { .. }));
}

/// What ends with its token says so in the words of each protocol.
#[test]
fn an_end_by_the_token_is_told() {
    let end = |request: &str| {
        let mut bench = Bench::live(request);
        if request == STREAMS {
            for channel in ["news", "chat"] {
                let _ = bench.subscribed(&name(channel), &begun(None));
            }
        }
        bench.out.clear();
        let step = bench.close(CloseReason::TokenExpired);
        (step, bench.out)
    };
    let finished = Step::Finish(CloseReason::TokenExpired);
    let closed = closed_with(4401, "token expired");
    assert_eq!(end(WS), (finished.clone(), closed.clone()));
    assert_eq!(end(&commands_at("/ws")), (finished.clone(), closed));
    let event = |name: &str, len: &str| {
        format!("{len}\r\nevent: {name}\ndata: token expired\n\n\r\n0\r\n\r\n").into_bytes()
    };
    assert_eq!(end(SSE), (finished.clone(), event("expired", "24")));
    assert_eq!(end(STREAMS), (finished, event(";expired", "25")));
    let (step, said) = end(POLL);
    assert_eq!(step, Step::Unsubscribe, "it is answered as if its time were over");
    assert!(said.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// A server without keys looks at no token: proxies may have headers of their own.
#[test]
fn without_keys_tokens_mean_nothing() {
    let mut bench = Bench::new();
    let step = bench.bytes(bearing(WS, "whatever"));
    assert!(matches!(step, Step::Subscribe { .. }) && bench.session.take_bearer().is_none());
    let mut bench = Bench::talk();
    let _ = bench.say(r#"{"id":1,"type":"token","token":"a.b.c"}"#);
    let said =
        r#"{"id":1,"type":"error","code":"forbidden","message":"this server takes no tokens"}"#;
    assert_eq!(bench.heard(), [said]);
}

/// A connection that brings bad tokens makes us verify a few, and from then on not even a good one:
/// it is told to open another.
#[test]
fn bad_tokens_are_looked_at_a_few_times() {
    let (mut bench, good) = (bench(), claims(r#""subscribe":["news"]"#));
    assert_eq!(bench.bytes(commands_at("/ws")), Step::Wait);
    bench.out.clear();
    let mut answer = |token: &str| {
        let _ = bench.say(&format!(r#"{{"id":1,"type":"token","token":"{token}"}}"#));
        (bench.heard().concat(), bench.rules.access.tally().counts().map(|it| it.1).sum::<u64>())
    };
    assert!(answer(&good).0.contains(r#""seconds":630"#));
    for verified in 1..=u64::from(TOKENS_REFUSED_MAX) {
        let (said, refused) = answer("a.b.c");
        assert!(said.contains("this needs a valid token"), "{said}");
        assert_eq!(refused, verified);
    }
    let (said, refused) = answer(&good);
    assert!(said.contains("open another connection"), "{said}");
    assert_eq!(refused, u64::from(TOKENS_REFUSED_MAX));
}
