//! Peers that say too much, or never come to an end.

use super::*;
use crate::{
    policy::{Pattern, Policies, Policy, Who},
    shield::{Excess, Limits},
    wire::http::HttpError,
};

const TALK: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Protocol: stentor.v1\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];
const FRAGMENT: &[u8] = &[0x01, 0x80, 0, 0, 0, 0];
const CONTINUED: &[u8] = &[0x00, 0x80, 0, 0, 0, 0];

/// A live session that may say ten things a second, and a hundred at once.
fn bench(request: &str) -> Bench {
    let mut bench = Bench::live(request);
    bench.rules.subscriptions_max = 0;
    bench.rules.shield = Limits {
        messages: 10,
        publications: 1,
        message_timeout: Some(Duration::from_secs(30)),
        ..Limits::default()
    };
    bench
}

fn text(message: &str) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    if length < 126 {
        return frame(0x81, message.as_bytes());
    }
    [&[0x81, 0xfe][..], &length.to_be_bytes(), &[0; 4], message.as_bytes()].concat()
}

/// Every frame and every command counts, whatever it is; one more than there may be closes with 4429,
/// and nothing behind it is answered. Permits come back with time, also in silence.
#[test]
fn a_flood_is_ended() {
    let ping = r#"{"type":"ping"}"#;
    let (command, commands) = (text(ping), text(&format!("[{}]", [ping; 60].join(","))));
    let unsubscribe = text(r#"{"type":"unsubscribe","channel":"none"}"#);
    for (request, said, times) in [
        (WS, PING.to_vec(), 100),
        (TALK, PING.to_vec(), 100),
        (TALK, command, 50),
        (TALK, unsubscribe, 50),
        // A message of 60 commands is 61 things.
        (TALK, commands, 1),
    ] {
        let mut bench = bench(request);
        for round in 0..2 {
            for n in 0..times {
                let step = bench.bytes(&said);
                assert!(matches!(step, Step::Wait | Step::Call), "{round} {n}: {step:?}");
            }
            bench.wait(if round == 0 { 10 } else { 0 });
        }
        bench.out.clear();
        let flood = said.repeat(101);
        assert_eq!(bench.bytes(flood), Step::Finish(CloseReason::Flooded), "{request}");
        let told = bench.out.windows(10).any(|part| part == b"\x11\x4dtoo many");
        assert!(told, "{:?}", String::from_utf8_lossy(&bench.out));
    }
}

/// Fragments count, although no message ever comes of them.
#[test]
fn tiny_fragments_are_a_flood() {
    let mut bench = bench(TALK);
    assert_eq!(bench.bytes(FRAGMENT), Step::Wait);
    for _ in 0..99 {
        assert_eq!(bench.bytes(CONTINUED), Step::Wait);
    }
    assert_eq!(bench.bytes(CONTINUED), Step::Finish(CloseReason::Flooded));
}

/// An event stream passes over what its client says, as long as it is little.
#[test]
fn noise_on_an_event_stream_is_ended() {
    let mut bench = bench(SSE);
    for _ in 0..100 {
        assert_eq!(bench.bytes("noise"), Step::Wait);
    }
    assert_eq!(bench.bytes("noise"), Step::Finish(CloseReason::Flooded));
    assert_eq!(bench.out, sse::END);
}

/// Who is exempt may say what it likes, and without limits everybody may.
#[test]
fn who_is_exempt_says_what_it_likes() {
    let mut exempt = bench(WS);
    exempt.session.exempt();
    assert_eq!(exempt.bytes(PING.repeat(100_000)), Step::Wait);
    let mut free = Bench::live(WS);
    assert_eq!(free.bytes(PING.repeat(100_000)), Step::Wait);
}

/// Publications that come too fast are refused one by one, and the conversation goes on.
#[test]
fn publications_that_come_too_fast_are_refused() {
    let mut bench = bench(TALK);
    let open = Policy { publish: Who::Public, ..Policy::default() };
    bench.rules.policies = Policies::new([(Pattern::new("news"), open)]);
    let publish = text(r#"{"type":"publish","channel":"news","text":"x"}"#);
    for _ in 0..10 {
        assert_eq!(bench.bytes(&publish), Step::Call);
        let Some(Call::Publish { ticket, .. }) = bench.session.next_call() else { panic!() };
        let busy = Err(NotPublished::Busy);
        let (now, rules) = (bench.now, &bench.rules);
        assert_eq!(bench.session.on_answered(ticket, busy, now, rules, &mut bench.out), Step::Wait);
    }
    bench.out.clear();
    assert_eq!(bench.bytes(&publish), Step::Call);
    assert_eq!(bench.session.next_call(), Some(Call::Report(Excess::Publications)));
    assert_eq!(bench.session.next_call(), None);
    let told = String::from_utf8_lossy(&bench.out).into_owned();
    assert!(told.contains("\"too_fast\"") && told.contains("1 times a second"), "{told}");
    bench.wait(1);
    assert_eq!(bench.bytes(&publish), Step::Call);
}

/// A message must come to its end in time, however often a byte of it comes; whole messages, and pings
/// between, may come as slowly as they like.
#[test]
fn a_message_must_come_to_its_end() {
    for (request, beginning, byte) in
        [(WS, &PING[..1], &PING[1..2]), (TALK, FRAGMENT, CONTINUED), (TALK, FRAGMENT, PING)]
    {
        let mut bench = bench(request);
        for _ in 0..10 {
            bench.wait(20);
            assert_eq!(bench.bytes(PING), Step::Wait);
            assert!(bench.seconds_left() > 30.0);
        }
        assert_eq!(bench.bytes(beginning), Step::Wait);
        bench.wait(29);
        assert_eq!(bench.bytes(byte), Step::Wait);
        assert_eq!(bench.seconds_left(), 1.0);
        bench.wait(1);
        bench.out.clear();
        let step = bench.session.on_deadline(bench.now, &bench.rules, &mut bench.out);
        assert_eq!(step, Step::Finish(CloseReason::MessageTimeout));
        assert_eq!(bench.out, closed_with(4408, "message time-out"));
    }
}

/// While what we owe the peer waits for room, it may be unable to send; its time begins again then.
#[test]
fn a_blocked_peer_has_its_time_again() {
    let mut bench = bench(WS);
    assert_eq!(bench.bytes(&PING[..3]), Step::Wait);
    bench.wait(20);
    bench.session.on_blocked(bench.now);
    assert_eq!(bench.seconds_left(), 30.0, "to take something");
    bench.wait(25);
    bench.session.on_progress(bench.now);
    assert_eq!(bench.seconds_left(), 30.0, "to end the message");
}

/// Neighbours who are turned away are told to come back at different times, all within bounds.
#[test]
fn who_is_turned_away_comes_back_later_than_its_neighbour() {
    let rules = Rules { retry_after: Duration::from_secs(100), ..Rules::default() };
    let mut counts = [0; 100];
    for seed in 0..1000 {
        let session = Session::new(Tick(0), seed);
        for reason in [CloseReason::Overloaded, CloseReason::AddressLimited] {
            let told = match session.http_error(reason, &rules) {
                Some(HttpError::Overloaded { retry_after }) => retry_after,
                Some(HttpError::AddressLimited { retry_after }) => retry_after,
                other => panic!("{other:?}"),
            };
            counts[told.as_secs() as usize - 100] += 1;
        }
    }
    assert!(counts.iter().all(|count| (10..=30).contains(count)), "{counts:?}");
}
