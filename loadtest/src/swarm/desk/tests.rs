use super::*;
use crate::{decoder::Stream, payload, plan};

const RUN: u32 = 7;
const GRANTED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// A server that pings and never reads fills no memory.
#[test]
fn what_waits_for_a_server_is_bounded() {
    let shared = Shared::new(RUN, Instant::now(), plan::sample(), Vec::new(), 0);
    let (mut desk, mut place) = (Desk::new(Arc::new(shared), 1), Place::default());
    let granted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert!(desk.on_bytes(Slot(3), &mut place, granted.as_bytes()).is_none());
    for pings in 1..=10_000 {
        assert!(desk.on_bytes(Slot(3), &mut place, b"\x89\x02hi").is_none());
        let waiting = desk.unsent[&Slot(3)].len();
        assert!(waiting == pings * 8 || waiting == UNSENT_BYTES_MAX, "{waiting} after {pings}");
    }
}

/// One subscriber that resumes, and the desk that it is judged at.
struct Seated {
    desk: Desk,
    place: Place,
}

impl Seated {
    /// By this transport, when nothing has been published. The first six publications of its channel
    /// are at `e-1` to `e-6`.
    fn new(transport: Transport) -> Seated {
        let mut plan = plan::sample();
        plan.resume = true;
        Seated::of(plan, transport)
    }

    fn of(mut plan: plan::Plan, transport: Transport) -> Seated {
        plan.transports = vec![(transport, 1)];
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let (host, path) = ("h".to_owned(), format!("/s/{CHANNEL}"));
        let subscribe =
            Subscribe { address, host, path, headers: Vec::new(), tls: None, tokens: Vec::new() };
        let shared = Shared::new(RUN, Instant::now(), plan, vec![(transport, subscribe)], 0);
        for sequence in 0..6 {
            shared.ledger.locate(0, sequence, &format!("e-{}", sequence + 1));
        }
        let desk = Desk::new(Arc::new(shared), 1);
        let mut seated = Seated { desk, place: Place::default() };
        seated.connects(false);
        seated
    }

    fn connects(&mut self, was_live: bool) {
        let role = self.desk.shared.layout.role(0);
        let holder = Subscriber { phase: Phase::Requested, was_live, ..Subscriber::default() };
        let has_bookmark = self.desk.keeps_bookmark(&role);
        let holder = Subscriber { has_bookmark, ..holder };
        self.place = Place { stream: Stream::new(role.transport), holder };
    }

    fn reads(&mut self, bytes: impl AsRef<[u8]>) {
        let end = self.desk.on_bytes(Slot(3), &mut self.place, bytes.as_ref());
        assert!(end.is_none(), "{}", end.map_or(String::new(), |end| end.to_string()));
    }

    /// Reads publications as events, and has them handed over.
    fn reads_events(&mut self, sequences: impl IntoIterator<Item = u32>) {
        for sequence in sequences {
            let text = publication(sequence);
            self.desk.shared.ledger.hand_over(0, sequence);
            self.reads(format!("id: e-{}\ndata: {text}\n\n", sequence + 1));
        }
    }

    fn reads_gap(&mut self, from: &str, to: &str, handed_over: u32) {
        self.desk.shared.ledger.correct(0, handed_over);
        let data = format!(r#"{{"channel":"c","from":"{from}","to":"{to}"}}"#);
        self.reads(format!("event: gap\nid: {to}\ndata: {data}\n\n"));
    }

    /// Gaps, skipped, missing without a gap, and gaps that were none.
    fn found(&self) -> [u64; 4] {
        let it = &self.desk.oracle.deliveries;
        assert_eq!(it.faults(), it.unannounced_gap + it.false_gap, "{it:?}");
        [it.gaps, it.skipped, it.unannounced_gap, it.false_gap]
    }
}

fn publication(sequence: u32) -> String {
    let header = Header { run: RUN, channel: 0, sequence, number: sequence, due: Duration::ZERO };
    let mut out = Vec::new();
    payload::encode(&header, 64, &mut out);
    String::from_utf8(out).expect("it is ASCII")
}

/// A gap must begin where the subscriber is, have all that is missing, and nothing that comes.
#[test]
fn an_announced_gap_is_held_against_positions() {
    for (from, to, next, found) in [
        ("e-1", "e-4", 4, [1, 3, 0, 0]),
        ("e-1", "e-3", 4, [1, 2, 1, 0]),
        ("e-1", "e-2", 4, [1, 1, 2, 0]),
        ("e-1", "e-5", 4, [1, 3, 0, 1]),
        ("e-0", "e-4", 4, [1, 3, 0, 1]),
        ("f-1", "f-9", 4, [1, 3, 0, 1]),
        ("e-1", "e-4", 1, [1, 0, 0, 2]),
    ] {
        let mut seated = Seated::new(Transport::Sse);
        seated.reads(GRANTED);
        seated.reads_events([0]);
        seated.reads_gap(from, to, 5);
        seated.reads_events([next]);
        assert_eq!(seated.found(), found, "{from} to {to}, then {next}");
    }
}

/// Who resumes asks for what is behind its last publication, and until that has come it is away:
/// what comes of it is recovered and not timed.
#[test]
fn who_resumes_is_away_until_all_has_come() {
    let mut seated = Seated::new(Transport::Sse);
    seated.reads(GRANTED);
    seated.reads_events([0, 1]);
    let Place { holder, .. } = std::mem::take(&mut seated.place);
    seated.desk.on_left(&holder, Some(0), Instant::now());
    seated.desk.shared.ledger.correct(0, 4);
    let request = String::from_utf8(seated.desk.request(0, true)).expect("it is ASCII");
    assert!(request.contains("\r\nLast-Event-ID: e-2\r\n"), "{request}");
    assert!(!String::from_utf8_lossy(&seated.desk.request(0, false)).contains("Last-Event-ID"));
    seated.connects(true);
    seated.reads(GRANTED.replace("\r\n\r\n", "\r\nStentor-Recovered: true\r\n\r\n"));
    let Connections { reconnected, resumed, recovered, .. } = seated.desk.connections;
    assert_eq!((reconnected, resumed, recovered), (1, 1, 1));
    let away = |seated: &Seated| seated.desk.times.resume.is_empty();
    for (sequence, is_away) in [(2, true), (3, false)] {
        let text = publication(sequence);
        seated.reads(format!("id: e-{}\ndata: {text}\n\n", sequence + 1));
        assert_eq!(away(&seated), is_away, "after {sequence}");
    }
    seated.reads_events([4]);
    assert_eq!((seated.desk.oracle.deliveries.recovered, seated.desk.times.delivery.len()), (2, 3));
    let Storm { cut, came_back, .. } = seated.desk.connections.storms[0];
    assert_eq!((cut, came_back), (1, 1));
    assert_eq!(seated.found(), [0; 4]);
}

/// Who begins anew is where the server says, and not where it was before.
#[test]
fn who_begins_anew_has_no_past() {
    let mut plan = plan::sample();
    plan.slow.share = 1.0;
    let mut seated = Seated::of(plan, Transport::Sse);
    seated.reads(GRANTED);
    seated.reads_events([0, 1]);
    let Place { holder, .. } = std::mem::take(&mut seated.place);
    seated.desk.on_left(&holder, None, Instant::now());
    seated.desk.shared.ledger.correct(0, 4);
    assert!(!String::from_utf8_lossy(&seated.desk.request(0, false)).contains("Last-Event-ID"));
    seated.connects(true);
    seated.reads(GRANTED.replace("\r\n\r\n", "\r\nStentor-Position: e-4\r\n\r\n"));
    seated.reads_gap("e-4", "e-5", 5);
    seated.reads_events([5]);
    assert_eq!(seated.found(), [1, 1, 0, 0]);
    assert_eq!(seated.desk.connections.resumed, 0);
}

/// After each answer a long-poller asks for what is behind it, and waits.
#[test]
fn a_poller_asks_again() {
    let mut seated = Seated::new(Transport::Poll);
    for (position, publications) in [("e-0", vec![]), ("e-2", vec![0, 1]), ("e-2", vec![])] {
        let objects = publications.iter().map(|&sequence| {
            let (id, data) = (sequence + 1, publication(sequence));
            format!(r#"{{"channel":"c","id":"e-{id}","data":"{data}"}}"#)
        });
        let objects = objects.collect::<Vec<_>>().join(",");
        let body =
            format!(r#"{{"position":"{position}","recovered":true,"publications":[{objects}]}}"#);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
        seated.reads(format!("{head}: {}\r\n\r\n{body}", body.len()));
        let asked = seated.desk.unsent.remove(&Slot(3)).expect("the next poll");
        let asked = String::from_utf8(asked).expect("it is ASCII");
        let line = format!("GET /s/busy-0?since={position}&timeout=25 HTTP/1.1\r\n");
        assert!(asked.starts_with(&line), "{asked}");
    }
    assert_eq!((seated.desk.oracle.deliveries.received, seated.found()), (2, [0; 4]));
}
