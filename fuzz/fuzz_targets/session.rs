//! A whole conversation: no panic, output bounded by input, silence after the last word.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::{
    close::CloseReason,
    ids::{Epoch, Offset, Position, Tick},
    resume::Begun,
    session::{ANSWERS_MAX, Rules, Session, Step},
};

const WS: &[u8] = b"GET /ws/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ECHO: &[u8] = b"GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SSE: &[u8] = b"GET /sse/a HTTP/1.1\r\nHost: h\r\n\r\n";
/// Bytes of the longest ping or heartbeat.
const HEARTBEAT_MAX: usize = 8;

// Each pair is a kind of event and the bytes that it takes off the rest of the input.
fuzz_target!(|input: (Vec<(u8, u8)>, &[u8])| {
    let (script, mut rest) = input;
    let rules = Rules { echo: true, frame_max: 1000, message_max: 2000, ..Rules::default() };
    let (mut now, mut out) = (Tick(0), Vec::new());
    let mut session = Session::new(now, 7);
    let (mut allowed, mut over) = (ANSWERS_MAX, false);
    for (kind, amount) in script {
        let said_before = out.len();
        let mut hear = |session: &mut Session, bytes: &[u8], out: &mut Vec<u8>| {
            allowed += bytes.len();
            session.on_bytes(bytes, now, &rules, out)
        };
        let step = match kind % 12 {
            0 => hear(&mut session, WS, &mut out),
            1 => hear(&mut session, ECHO, &mut out),
            2 => hear(&mut session, SSE, &mut out),
            3..=5 => {
                let (bytes, after) = rest.split_at(rest.len().min(amount.into()));
                rest = after;
                hear(&mut session, bytes, &mut out)
            }
            6 => {
                let position = Position { epoch: Epoch(1), offset: Offset(amount.into()) };
                session.on_live(&Begun { position, gap: None }, now, &rules, &mut out)
            }
            7 => session.on_end(),
            8 => {
                let reason = CloseReason::ALL[usize::from(amount) % CloseReason::ALL.len()];
                session.on_close(reason, now, &rules, &mut out)
            }
            9 => {
                session.on_blocked(now);
                Step::Wait
            }
            10 => {
                session.on_progress(now);
                Step::Wait
            }
            _ => {
                now.0 += u32::from(amount) * 10;
                allowed += HEARTBEAT_MAX;
                session.on_deadline(now, &rules, &mut out)
            }
        };
        assert!(out.len() <= allowed, "{} > {allowed}", out.len());
        assert!(!over || out.len() == said_before, "it spoke after its last word");
        over |= matches!(step, Step::Finish(_) | Step::Drop(_));
        assert_eq!(session.is_closing(), over);
    }
});
