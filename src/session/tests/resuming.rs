//! One channel: what is said about where a subscription begins and what it does not get.

use super::*;
use crate::resume::Gap;

pub(in crate::session) fn at(offset: u128) -> Position {
    Position { epoch: Epoch(0xe), offset: Offset(offset) }
}

pub(in crate::session) fn begun(gap: Option<(u128, u128)>) -> Begun {
    let gap = gap.map(|(from, to)| Gap { from: at(from), to: at(to) });
    Begun { position: gap.map_or(at(2), |gap| gap.to), gap }
}

pub(in crate::session) fn news() -> ChannelName {
    ChannelName::new("news").unwrap()
}

impl Bench {
    pub(in crate::session) fn begin(&mut self, begun: &Begun) -> Step {
        self.session.on_live(begun, self.now, &self.rules, &mut self.out)
    }

    pub(in crate::session) fn gap(&mut self, from: u128, to: u128) -> Step {
        let gap = Gap { from: at(from), to: at(to) };
        self.session.on_gap(&news(), &gap, self.now, &self.rules, &mut self.out)
    }

    pub(in crate::session) fn lap(&mut self, position: Position) -> Step {
        let reason = CloseReason::PeerTooSlow;
        self.session.on_parted(reason, position, self.now, &self.rules, &mut self.out)
    }
}

/// The lines of a head that are ours.
fn stentor_lines(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| line.starts_with("Stentor-")).collect()
}

fn start_of(step: Step) -> Start {
    match step {
        Step::Subscribe { start, .. } => start,
        other => panic!("{other:?}"),
    }
}

/// Where to begin comes from the query, or from the header that a browser sends.
#[test]
fn a_request_says_where_to_begin() {
    let begins = |request: &str, from: &str, to: &str| {
        assert!(request.contains(from));
        start_of(Bench::new().bytes(request.replace(from, to)))
    };
    assert_eq!(begins(WS, "/news", "/news?since=e-2"), Start::Since(at(2)));
    assert_eq!(begins(SSE, "/news", "/news?last=3"), Start::Last(3));
    let resumed = "/news?last=3 HTTP/1.1\r\nLast-Event-ID: e-7";
    assert_eq!(begins(SSE, "/news HTTP/1.1", resumed), Start::Since(at(7)));
    let empty = "/news HTTP/1.1\r\nLast-Event-ID:";
    assert_eq!(begins(SSE, "/news HTTP/1.1", empty), Start::Live);

    let mut bench = Bench::new();
    let step = bench.bytes(WS.replace("/news", "/news?since=e-2&last=1"));
    assert_eq!(step, Step::Finish(CloseReason::BadRequest));
    let answer = bench.text();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("since and last exclude each other; give one of them\n"));
}

/// The answer names the position, and whether everything was recovered where that was asked.
#[test]
fn the_answer_says_what_was_recovered() {
    let recovered = ["Stentor-Position: e-2", "Stentor-Recovered: true"];
    let lost = ["Stentor-Position: e-9", "Stentor-Recovered: false", "Stentor-Gap: e-2..e-9"];
    for request in [WS, SSE] {
        for (query, gap, expected) in [
            ("", None, &recovered[..1]),
            ("?last=4", None, &recovered[..1]),
            ("?since=e-2", None, &recovered),
            ("?since=e-2", Some((2, 9)), &lost),
        ] {
            let mut bench = Bench::new();
            let _ = bench.bytes(request.replace("/news", &format!("/news{query}")));
            assert_eq!(bench.begin(&begun(gap)), Step::Wait);
            assert_eq!(stentor_lines(&bench.text()), expected, "{query}");
        }
    }
}

/// A stream that begins with a gap says so in its first event, and stands behind it from there on.
#[test]
fn a_stream_begins_behind_its_gap() {
    let mut bench = Bench::new();
    let _ = bench.bytes(SSE.replace("/news", "/news?since=e-2"));
    assert_eq!(bench.begin(&begun(Some((2, 9)))), Step::Wait);
    let answer = bench.text();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let gap =
        "event: gap\nid: e-9\ndata: {\"channel\":\"news\",\"from\":\"e-2\",\"to\":\"e-9\"}\n\n";
    let first = "d\r\nretry: 3000\n\n\r\n";
    assert_eq!(body, format!("{first}{:x}\r\n{gap}\r\n", gap.len()));
}

/// A reader that skips is told in its words; a plain WebSocket has none.
#[test]
fn who_skips_is_told() {
    let mut bench = Bench::live(SSE);
    assert_eq!(bench.gap(4, 7), Step::Wait);
    let gap =
        "event: gap\nid: e-7\ndata: {\"channel\":\"news\",\"from\":\"e-4\",\"to\":\"e-7\"}\n\n";
    assert_eq!(bench.text(), format!("{:x}\r\n{gap}\r\n", gap.len()));

    let mut bench = Bench::live(WS);
    assert_eq!(bench.gap(4, 7), Step::Wait);
    assert_eq!(bench.text(), "");
}

/// A reader that is closed for being slow hears where to resume, and has time to hear it.
#[test]
fn who_is_too_slow_hears_where_to_resume() {
    let end = Step::Finish(CloseReason::PeerTooSlow);
    for (request, farewell) in
        [(WS, closed_with(1013, "too slow; resume from e-7")), (SSE, b"0\r\n\r\n".to_vec())]
    {
        let mut bench = Bench::live(request);
        bench.session.on_blocked(bench.now);
        bench.wait(10);
        assert_eq!(bench.lap(at(7)), end);
        assert_eq!(bench.out, farewell);
        assert_eq!(bench.seconds_left(), 20.0);
    }
    let longest = Position { epoch: Epoch(u64::MAX), offset: Offset(u128::MAX) };
    assert_eq!(Bench::live(WS).lap(longest), end);
}

/// The client's module is served to anyone's page, and once.
#[test]
fn the_module_is_served() {
    let request = "GET /stentor.js HTTP/1.1\r\nHost: h\r\nOrigin: http://x\r\n";
    let mut bench = Bench::new();
    assert_eq!(bench.bytes(format!("{request}\r\n")), Step::Finish(CloseReason::PeerLeft));
    let answer = bench.text();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        "Content-Type: text/javascript; charset=utf-8",
        "Cache-Control: no-cache",
        "Access-Control-Allow-Origin: *",
        &format!("Content-Length: {}", body.len()),
        &format!("ETag: {}", module::tag()),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    assert_eq!(body, module::MODULE);

    let mut bench = Bench::new();
    let again = format!("{request}If-None-Match: W/{}\r\n\r\n", module::tag());
    assert_eq!(bench.bytes(again), Step::Finish(CloseReason::PeerLeft));
    let answer = bench.text();
    assert!(answer.starts_with("HTTP/1.1 304 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}
