//! A whole conversation: no panic, output bounded by input, silence after the last word.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::{
    close::CloseReason,
    frame::{PayloadKind, Publication},
    ids::{ChannelName, Epoch, Offset, Position, Tick},
    mesh::{Accepted, Rejected},
    policy::{Pattern, Policies, Policy, Who},
    resume::{Begun, Gap},
    session::{
        ANSWERED_PER_BYTE, ANSWERS_MAX, Call, Delivery, NotPublished, Reads, Refused, Rules,
        Session, Step,
    },
    wire,
};

const WS: &[u8] = b"GET /ws/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ECHO: &[u8] = b"GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SSE: &[u8] = b"GET /sse/a HTTP/1.1\r\nHost: h\r\n\r\n";
const STREAMS: &[u8] = b"GET /sse?channels=a,b&since=b=1-2 HTTP/1.1\r\nHost: h\r\n\r\n";
const POLL: &[u8] = b"GET /poll/a?timeout=1 HTTP/1.1\r\nHost: h\r\n\r\n";
const COMMANDS: &[u8] =
    b"GET /ws?channels=a,b&last=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                          Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                          Sec-WebSocket-Protocol: stentor.v1\r\n\r\n";
/// Bytes of the longest ping or heartbeat.
const HEARTBEAT_MAX: usize = 8;
/// Bytes that a publication or a gap brings to a composed answer, beside its payload.
const DELIVERY_MAX: usize = 2048;

// Each pair is a kind of event and the bytes that it takes off the rest of the input.
fuzz_target!(|input: (Vec<(u8, u8)>, &[u8])| {
    let (script, mut rest) = input;
    let open = Policy { publish: Who::Public, ..Policy::default() };
    let policies = Policies::new([(Pattern::new("*"), open)]);
    let bounds = Rules { frame_max: 1000, message_max: 2000, ..Rules::default() };
    let rules = Rules { echo: true, policies, ..bounds };
    let (mut now, mut out) = (Tick(0), Vec::new());
    let mut session = Session::new(now, 7);
    let (mut allowed, mut over) = (ANSWERS_MAX, false);
    for (kind, amount) in script {
        let said_before = out.len();
        let mut hear = |session: &mut Session, bytes: &[u8], out: &mut Vec<u8>| {
            allowed += bytes.len() * ANSWERED_PER_BYTE;
            session.on_bytes(bytes, now, &rules, out)
        };
        let step = match kind % 20 {
            0 => hear(&mut session, WS, &mut out),
            1 => hear(&mut session, ECHO, &mut out),
            2 => hear(&mut session, SSE, &mut out),
            12 => hear(&mut session, STREAMS, &mut out),
            13 => hear(&mut session, POLL, &mut out),
            14 => hear(&mut session, COMMANDS, &mut out),
            3..=4 => {
                let (bytes, after) = rest.split_at(rest.len().min(amount.into()));
                rest = after;
                hear(&mut session, bytes, &mut out)
            }
            5 => {
                let (text, after) = rest.split_at(rest.len().min(usize::from(amount) / 2));
                rest = after;
                let head = [0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
                hear(&mut session, &[&head, text].concat(), &mut out)
            }
            6 => session.on_live(&begun(amount), now, &rules, &mut out),
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
            15 => answer(&mut session, amount, now, &rules, &mut out),
            16 => {
                allowed += DELIVERY_MAX;
                deliver(&mut session, amount, &mut out);
                Step::Wait
            }
            17 => session.on_composed(now, &rules, &mut out),
            18 => {
                allowed += DELIVERY_MAX;
                let gap = Gap { from: at(0), to: at(amount) };
                session.on_gap(&name("a"), &gap, now, &rules, &mut out)
            }
            19 => {
                let reason = CloseReason::PeerTooSlow;
                session.on_parted(reason, at(amount), now, &rules, &mut out)
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

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).expect("a name")
}

fn at(amount: u8) -> Position {
    Position { epoch: Epoch(1), offset: Offset(amount.into()) }
}

fn begun(amount: u8) -> Begun {
    let gap = (amount % 2 == 1).then(|| Gap { from: at(0), to: at(amount) });
    Begun { position: at(amount), gap }
}

/// Answers the next call, in one of the ways that there are.
fn answer(session: &mut Session, amount: u8, now: Tick, rules: &Rules, out: &mut Vec<u8>) -> Step {
    let well = amount % 4 != 0;
    match session.next_call() {
        Some(Call::Report(_)) => Step::Wait,
        Some(Call::Subscribe { channel, .. }) if well => {
            session.on_subscribed(&channel, &begun(amount), now, rules, out)
        }
        Some(Call::Unsubscribe { channel }) if well => {
            session.on_unsubscribed(&channel, at(amount), now, rules, out)
        }
        Some(Call::Subscribe { channel, .. } | Call::Unsubscribe { channel }) => {
            session.on_refused(&channel, Refused::TooManyChannels, now, rules, out)
        }
        Some(Call::Publish { ticket, .. }) => {
            let accepted = Accepted { position: at(amount), subscribers: 1, repeated: true };
            let refused = NotPublished::Rejected(Rejected::Stale(amount.into()));
            let outcome = if well { Ok(accepted) } else { Err(refused) };
            session.on_answered(ticket, outcome, now, rules, out)
        }
        None => Step::Wait,
    }
}

/// A publication of `amount` bytes, in the format that the session reads.
fn deliver(session: &mut Session, amount: u8, out: &mut Vec<u8>) {
    let Reads::Composed(format) = session.reads() else { return };
    let (channel, payload) = (&name("a"), vec![b'\n'; amount.into()]);
    let (position, kind) = (at(amount), PayloadKind::Text);
    let publication = Publication { channel, position, kind, key: None, payload: &payload };
    let mut frame = vec![0; wire::encoded_len(format, &publication)];
    wire::encode(format, &publication, &mut frame);
    session.on_publication(&Delivery { channel, position, kind, frame: &frame }, out);
}
