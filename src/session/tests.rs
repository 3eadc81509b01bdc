use std::mem;

use super::*;
use crate::{
    frame::PayloadKind,
    ids::{Epoch, Offset, Position},
    limits::PINGED_TOGETHER,
    resume::{Begun, Start},
};

mod bounds;
pub(super) mod commands;
pub(super) mod polls;
mod protocol;
mod proxied;
pub(super) mod resuming;
pub(super) mod streams;
mod tokens;

/// The example of RFC 6455 §1.3.
pub(super) const WS: &str = "GET /ws/news HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub(super) const SSE: &str = "GET /sse/news HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nStentor-Position: e-4\r\n\r\n";

/// How subscriptions begin where a test does not say otherwise.
const BEGUN: Begun =
    Begun { position: Position { epoch: Epoch(0xe), offset: Offset(4) }, gap: None };

/// A session with what it writes, what it said last, and a clock that tests move.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) rules: Rules,
    pub(super) now: Tick,
    pub(super) out: Vec<u8>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let rules = Rules { echo: true, ..Rules::default() };
        let now = Tick(1000);
        Bench { session: Session::new(now, 0), rules, now, out: Vec::new() }
    }

    /// After the handshake, with nothing in `out`.
    pub(super) fn live(request: &str) -> Self {
        let mut bench = Bench::new();
        if let Step::Subscribe { .. } = bench.bytes(request) {
            assert_eq!(bench.go_live(), Step::Wait);
        }
        bench.out.clear();
        bench
    }

    pub(super) fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> Step {
        self.session.on_bytes(bytes.as_ref(), self.now, &self.rules, &mut self.out)
    }

    pub(super) fn go_live(&mut self) -> Step {
        self.session.on_live(&BEGUN, self.now, &self.rules, &mut self.out)
    }

    pub(super) fn close(&mut self, reason: CloseReason) -> Step {
        self.session.on_close(reason, self.now, &self.rules, &mut self.out)
    }

    /// Lets the clock run to the deadline, and one tick before it checks that nothing happens.
    pub(super) fn deadline(&mut self) -> Step {
        let (due, before) = (self.session.deadline(&self.rules), self.out.clone());
        let early = Tick(due.0 - 1);
        assert_eq!(self.session.on_deadline(early, &self.rules, &mut self.out), Step::Wait);
        assert_eq!((self.session.deadline(&self.rules), &self.out), (due, &before));
        self.now = due;
        self.session.on_deadline(due, &self.rules, &mut self.out)
    }

    /// Seconds from now until the deadline.
    pub(super) fn seconds_left(&self) -> f64 {
        f64::from(self.session.deadline(&self.rules).0 - self.now.0) / 10.0
    }

    pub(super) fn wait(&mut self, seconds: u32) {
        self.now.0 += seconds * 10;
    }

    pub(super) fn text(&mut self) -> String {
        String::from_utf8(mem::take(&mut self.out)).unwrap()
    }

    fn is_idle_without_memory(&self) -> bool {
        match &self.session.phase {
            Phase::WebSocket { decoder, .. } => decoder.is_between_frames(),
            Phase::Sse => true,
            // But for the block that it is in itself.
            Phase::Commands(talk) => talk.owns_nothing(),
            _ => false,
        }
    }
}

/// A short client frame under the mask of four zeros, which leaves its payload as it is.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

pub(super) fn closed_with(code: u16, text: &str) -> Vec<u8> {
    [&[0x88, 2 + text.len() as u8], &code.to_be_bytes()[..], text.as_bytes()].concat()
}

pub(super) fn echo_request() -> String {
    WS.replace("/ws/news", "/echo")
}

fn subscribed(format: Format) -> Step {
    Step::Subscribe { channel: ChannelName::new("news").unwrap(), format, start: Start::Live }
}

/// From the request to the echoed close frame: nothing is sent before the subscription is live, and
/// an idle subscriber owns no memory.
#[test]
fn a_websocket_subscriber_lives_and_leaves() {
    let mut bench = Bench::new();
    assert_eq!(bench.bytes(WS), subscribed(Format::WebSocket));
    assert_eq!((bench.text().as_str(), bench.session.format()), ("", None));
    assert!(!bench.session.takes_input());
    assert_eq!(bench.go_live(), Step::Wait);
    assert_eq!(bench.text(), SWITCHED);
    assert_eq!(bench.session.format(), Some(Format::WebSocket));
    assert!(bench.session.takes_input() && bench.is_idle_without_memory());

    assert_eq!(bench.bytes(frame(0x89, b"hi")), Step::Wait);
    assert_eq!(bench.bytes(frame(0x8a, b"unasked")), Step::Wait);
    assert_eq!(mem::take(&mut bench.out), b"\x8a\x02hi");
    assert!(bench.is_idle_without_memory());

    assert_eq!(bench.bytes(frame(0x88, b"\x0f\xa1bye")), Step::Finish(CloseReason::PeerLeft));
    assert_eq!(mem::take(&mut bench.out), b"\x88\x02\x0f\xa1");
    assert!(bench.session.is_closing());
    assert_eq!(bench.bytes(frame(0x89, b"late")), Step::Wait);
    assert_eq!(bench.session.on_end(), Step::Drop(CloseReason::PeerLeft));
    assert_eq!(bench.out, b"");
}

/// An event stream takes no notice of what its client sends, and ends with its last chunk.
#[test]
fn an_event_stream_lives_and_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.bytes(format!("{SSE}more")), subscribed(Format::Sse));
    assert_eq!(bench.go_live(), Step::Wait);
    let head = bench.text();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let beginning = "\r\nStentor-Position: e-4\r\n\r\n15\r\nretry: 3000\nid: e-4\n\n\r\n";
    assert!(head.ends_with(beginning), "{head}");
    assert_eq!(bench.session.format(), Some(Format::Sse));
    assert_eq!(bench.bytes(vec![0xff; 10_000]), Step::Wait);
    assert!(bench.is_idle_without_memory());
    let drained = CloseReason::ServerDraining;
    assert_eq!(bench.close(drained), Step::Finish(drained));
    assert_eq!(bench.text(), "0\r\n\r\n");
}

/// What came right behind the request is handled when the subscription is live, in its order.
#[test]
fn pipelined_frames_wait_for_the_subscription() {
    let mut bench = Bench::new();
    let first = [WS.as_bytes(), &frame(0x89, b"1")[..3]].concat();
    assert_eq!(bench.bytes(first), subscribed(Format::WebSocket));
    let rest = [&frame(0x89, b"1")[3..], &frame(0x88, b"")].concat();
    assert_eq!(bench.bytes(rest), Step::Wait);
    assert_eq!(bench.out, b"");
    assert_eq!(bench.go_live(), Step::Finish(CloseReason::PeerLeft));
    assert_eq!(bench.out, [SWITCHED.as_bytes(), b"\x8a\x011\x88\x00"].concat());
}

/// A subscription that stays pending does not collect input without a bound.
#[test]
fn a_pending_subscription_keeps_one_read() {
    let mut bench = Bench::new();
    assert_eq!(bench.bytes(WS), subscribed(Format::WebSocket));
    assert_eq!(bench.bytes(vec![0; RECEIVE_BYTES]), Step::Wait);
    assert_eq!(bench.bytes([0]), Step::Drop(CloseReason::Policy));
    assert_eq!(bench.go_live(), Step::Wait);
    assert_eq!(bench.out, b"");
}

/// Subscribers listen: a data frame is refused at its header, by its size or because it is one.
#[test]
fn subscribers_send_no_messages() {
    let mut bench = Bench::live(WS);
    assert_eq!(bench.bytes(&frame(0x81, b"hello")[..6]), Step::Finish(CloseReason::Policy));
    assert_eq!(bench.out, closed_with(1008, "this endpoint takes no messages"));

    let mut bench = Bench::live(WS);
    let step = bench.bytes(b"\x82\xff\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00");
    assert_eq!(step, Step::Finish(CloseReason::MessageTooBig));
    assert_eq!(bench.out, closed_with(1009, "the frame is larger than this server takes"));

    let mut bench = Bench::live(WS);
    assert_eq!(bench.bytes(b"\x89\x00"), Step::Finish(CloseReason::ProtocolError));
    assert_eq!(bench.out, closed_with(1002, "frames from a client must be masked"));
}

/// Echo puts a message together and sends it back as one frame of its kind.
#[test]
fn echo_repeats_messages() {
    let mut bench = Bench::new();
    assert_eq!(bench.bytes(echo_request()), Step::Wait);
    assert_eq!(bench.text(), SWITCHED.replace("Stentor-Position: e-4\r\n", ""));
    assert_eq!(bench.session.format(), None);
    let said = [frame(0x01, b"a"), frame(0x89, b"p"), frame(0x80, b"b"), frame(0x82, b"\xff")];
    assert_eq!(bench.bytes(said.concat()), Step::Wait);
    assert_eq!(mem::take(&mut bench.out), b"\x8a\x01p\x81\x02ab\x82\x01\xff");
    assert!(bench.is_idle_without_memory());
    assert_eq!(bench.bytes(frame(0x81, b"\xff")), Step::Finish(CloseReason::BadUtf8));
    assert_eq!(bench.out, closed_with(1007, "text must be UTF-8"));
}

/// Requests that cannot be granted get their answer and then the end.
#[test]
fn refused_requests_are_answered() {
    for (request, status) in [
        (SSE.replace("GET", "POST"), 405),
        (SSE.replace("/sse/news", "/"), 404),
        (SSE.replace("/sse/news", "/sse/a%20b"), 400),
        (SSE.replace("\r\n\r\n", "\r\nOrigin: http://x\r\n\r\n"), 403),
        (SSE.replace("/sse/", "/ws/"), 426),
        (WS.replace("13", "12"), 426),
        (WS.replace("==", "="), 400),
        (WS.replace("HTTP/1.1", "HTTP/1.0"), 505),
        ("\x16\x03\x01".into(), 400),
        ("x".repeat(8192), 431),
    ] {
        let mut bench = Bench::new();
        let step = bench.bytes(&request);
        assert_eq!(step, Step::Finish(CloseReason::BadRequest), "{request:?}");
        let answer = bench.text();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert_eq!(bench.bytes(WS), Step::Wait);
        assert_eq!(bench.session.on_end(), Step::Drop(CloseReason::BadRequest));
    }
    let mut bench = Bench::new();
    let preflight =
        SSE.replace("GET", "OPTIONS").replace("\r\n\r\n", "\r\nOrigin: http://h\r\n\r\n");
    assert_eq!(bench.bytes(preflight), Step::Finish(CloseReason::PeerLeft));
    assert!(bench.text().starts_with("HTTP/1.1 204 "));
}

/// A full server answers once, before it has read anything.
#[test]
fn a_full_server_says_so() {
    let mut bench = Bench::new();
    let step = bench.session.refuse_full(bench.now, &bench.rules, &mut bench.out);
    assert_eq!(step, Step::Finish(CloseReason::Overloaded));
    let answer = bench.text();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 5\r\n"));
    assert_eq!((bench.bytes(WS), bench.text()), (Step::Wait, String::new()));
}

/// What a peer hears when the server ends it: every reason, in every phase.
#[test]
fn every_end_is_told_in_the_peers_language() {
    for reason in CloseReason::ALL {
        let deaf = matches!(reason, CloseReason::PeerLeft | CloseReason::PeerStalled);
        let end = if deaf { Step::Drop(reason) } else { Step::Finish(reason) };
        let close = closed_with(reason.websocket_code(), reason.label());
        let stream = match reason {
            CloseReason::TokenExpired => [sse::EXPIRED, sse::END].concat(),
            _ => sse::END.to_vec(),
        };
        for (request, farewell) in [(WS, &close[..]), (&echo_request(), &close), (SSE, &stream)] {
            let mut bench = Bench::live(request);
            assert_eq!(bench.close(reason), end, "{request}");
            assert_eq!(bench.out, if deaf { b"" } else { farewell });
            assert_eq!(bench.close(CloseReason::ServerDraining), Step::Wait);
            assert_eq!(bench.session.on_end(), Step::Drop(reason));
        }
        for begun in ["", "GET", WS] {
            let mut bench = Bench::new();
            let _ = bench.bytes(begun);
            let step = bench.close(reason);
            let answer = bench.text();
            let (expected, status) = match reason {
                CloseReason::HandshakeTimeout => (Step::Finish(reason), "HTTP/1.1 408 "),
                CloseReason::AddressLimited => (Step::Finish(reason), "HTTP/1.1 429 "),
                CloseReason::Overloaded | CloseReason::ServerDraining | CloseReason::Moved => {
                    (Step::Finish(reason), "HTTP/1.1 503 ")
                }
                CloseReason::TokenExpired => (Step::Finish(reason), "HTTP/1.1 401 "),
                _ => (Step::Drop(reason), ""),
            };
            assert_eq!(step, expected, "{begun}");
            assert_eq!(answer.is_empty(), status.is_empty());
            assert!(answer.starts_with(status), "{answer}");
        }
    }
}

/// A peer that stops sending has left, whatever it was doing.
#[test]
fn the_end_of_input_is_the_end() {
    for bytes in ["", "GET", WS] {
        let mut bench = Bench::new();
        let _ = bench.bytes(bytes);
        assert_eq!(bench.session.on_end(), Step::Drop(CloseReason::PeerLeft));
    }
    for request in [WS, SSE, &echo_request()] {
        assert_eq!(Bench::live(request).session.on_end(), Step::Drop(CloseReason::PeerLeft));
    }
}

/// The handshake's clock starts with the connection, and bytes do not push it back.
#[test]
fn a_slow_handshake_is_given_up() {
    let mut bench = Bench::new();
    bench.wait(9);
    assert_eq!(bench.bytes("GET / HT"), Step::Wait);
    assert_eq!(bench.seconds_left(), 1.0);
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::HandshakeTimeout));
    assert!(bench.text().starts_with("HTTP/1.1 408 "));
    assert_eq!(bench.seconds_left(), 2.0);
    assert_eq!(bench.deadline(), Step::Drop(CloseReason::HandshakeTimeout));

    let mut bench = Bench::new();
    assert_eq!(bench.bytes(WS), subscribed(Format::WebSocket));
    assert_eq!(bench.seconds_left(), 10.0);
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::Overloaded));
    assert!(bench.text().starts_with("HTTP/1.1 503 "));
}

/// A silent peer is pinged, and whatever it then says is a sign of life; saying nothing is the end.
#[test]
fn a_silent_websocket_is_pinged_then_closed() {
    let mut bench = Bench::live(WS);
    for sign in [&frame(0x8a, b"")[..], &frame(0x89, b"")[..1], &frame(0x89, b"")[1..]] {
        bench.wait(30);
        bench.session.on_delivered(bench.now);
        assert_eq!(bench.seconds_left(), 25.0);
        bench.out.clear();
        assert_eq!(bench.deadline(), Step::Wait);
        assert_eq!(bench.out, websocket::PING);
        assert_eq!(bench.seconds_left(), 20.0);
        bench.wait(19);
        assert_eq!(bench.bytes(sign), Step::Wait);
        assert_eq!(bench.seconds_left(), 55.0);
    }
    assert_eq!(bench.deadline(), Step::Wait);
    bench.out.clear();
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::PeerSilent));
    assert_eq!(bench.out, closed_with(1001, "peer silent"));
    assert_eq!(bench.deadline(), Step::Drop(CloseReason::PeerSilent));
}

/// A ping that is called for late gives the peer its whole time all the same.
#[test]
fn a_late_ping_leaves_time_to_answer() {
    let mut bench = Bench::live(WS);
    bench.wait(500);
    assert_eq!(bench.session.on_deadline(bench.now, &bench.rules, &mut bench.out), Step::Wait);
    assert_eq!((bench.out.as_slice(), bench.seconds_left()), (websocket::PING, 20.0));
}

/// A stream gets a comment when nothing was sent for the interval, and only then.
#[test]
fn a_quiet_event_stream_gets_heartbeats() {
    let mut bench = Bench::live(SSE);
    bench.wait(50);
    bench.session.on_delivered(bench.now);
    for _ in 0..3 {
        assert_eq!(bench.seconds_left(), 55.0);
        assert_eq!(bench.deadline(), Step::Wait);
        assert_eq!(mem::take(&mut bench.out), sse::HEARTBEAT);
    }
}

/// The interval runs from the moment of going live, however long the handshake took.
#[test]
fn the_first_interval_starts_with_the_subscription() {
    for request in [WS, SSE] {
        let mut bench = Bench::new();
        bench.wait(4);
        assert!(matches!(bench.bytes(request), Step::Subscribe { .. }));
        bench.wait(4);
        assert_eq!(bench.go_live(), Step::Wait);
        assert_eq!(bench.seconds_left(), 55.0);
    }
}

/// Pings of many connections are spread over the last tenth of the interval, evenly, and those of
/// one second leave together.
#[test]
fn pings_are_spread() {
    let rules = Rules { ping_interval: Duration::from_secs(50), ..Rules::default() };
    let mut counts = [0; 51];
    for seed in 0..50_000 {
        let mut session = Session::new(Tick(0), seed * PINGED_TOGETHER);
        session.phase = Phase::Sse;
        counts[500 - session.deadline(&rules).0 as usize] += 1;
    }
    // The earliest and the latest second are both cut by the interval's ends.
    let seconds = [counts[10], counts[20], counts[30], counts[40], counts[50] + counts[0]];
    assert!(seconds.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    let between = (1..50).filter(|early| early % 10 != 0).map(|early| counts[early]);
    assert_eq!(between.sum::<u32>(), 0, "{counts:?}");
}

/// A full socket is judged by what it takes: no pings meanwhile, and any progress starts it afresh.
#[test]
fn a_stalled_peer_is_dropped() {
    for request in [WS, SSE] {
        let mut bench = Bench::live(request);
        bench.wait(54);
        bench.session.on_blocked(bench.now);
        bench.wait(20);
        bench.session.on_blocked(bench.now);
        assert_eq!(bench.seconds_left(), 10.0);
        bench.session.on_progress(bench.now);
        assert_eq!(bench.seconds_left(), 55.0);
        bench.session.on_blocked(bench.now);
        assert_eq!(bench.seconds_left(), 30.0);
        assert_eq!(bench.deadline(), Step::Drop(CloseReason::PeerStalled));
        assert_eq!(bench.out, b"");
    }
}

/// The closing time-out is not pushed back by a peer that takes its last bytes one by one.
#[test]
fn a_slow_end_is_cut_short() {
    let mut bench = Bench::live(WS);
    bench.session.on_blocked(bench.now);
    assert_eq!(bench.close(CloseReason::ServerDraining), Step::Finish(CloseReason::ServerDraining));
    bench.wait(1);
    bench.session.on_progress(bench.now);
    bench.session.on_blocked(bench.now);
    assert_eq!(bench.bytes([0]), Step::Wait);
    assert_eq!(bench.seconds_left(), 1.0);
    assert_eq!(bench.deadline(), Step::Drop(CloseReason::ServerDraining));
}

/// Who is closed for being slow has as long to take its last bytes as it had before to take any.
#[test]
fn the_slow_hear_why_they_are_closed() {
    let mut bench = Bench::live(WS);
    bench.session.on_blocked(bench.now);
    bench.wait(10);
    assert_eq!(bench.close(CloseReason::PeerTooSlow), Step::Finish(CloseReason::PeerTooSlow));
    assert_eq!(bench.seconds_left(), 20.0);
    bench.wait(10);
    bench.session.on_progress(bench.now);
    assert_eq!(bench.seconds_left(), 2.0);
    assert_eq!(bench.deadline(), Step::Drop(CloseReason::PeerTooSlow));
}

/// Progress of a socket that was not full is no sign of life: the kernel takes bytes for the dead.
#[test]
fn sending_alone_proves_nothing() {
    let mut bench = Bench::live(WS);
    bench.wait(10);
    bench.session.on_progress(bench.now);
    assert_eq!(bench.seconds_left(), 45.0);
}
