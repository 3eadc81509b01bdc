//! Long-polls: what they answer, when, and what the connection does next.

use super::{
    resuming::{at, begun, news},
    *,
};
use crate::{frame::Publication, wire};

pub(in crate::session) const POLL: &str = "GET /poll/news HTTP/1.1\r\nHost: h\r\n\r\n";

/// A publication of `news` as the shard hands it over.
pub(in crate::session) fn frame_of(
    format: Format,
    offset: u128,
    kind: PayloadKind,
    payload: &[u8],
) -> Vec<u8> {
    let channel = &news();
    let publication = Publication { channel, position: at(offset), kind, key: None, payload };
    let mut frame = vec![0; wire::encoded_len(format, &publication)];
    wire::encode(format, &publication, &mut frame);
    frame
}

impl Bench {
    pub(in crate::session) fn deliver(&mut self, offset: u128, kind: PayloadKind, payload: &[u8]) {
        let Reads::Composed(format) = self.session.reads() else { return };
        let frame = frame_of(format, offset, kind, payload);
        let delivery = Delivery { channel: &news(), position: at(offset), kind, frame: &frame };
        self.session.on_publication(&delivery, &mut self.out);
    }

    pub(in crate::session) fn composed(&mut self) -> Step {
        self.session.on_composed(self.now, &self.rules, &mut self.out)
    }

    /// A poll that is live and waits.
    fn polling(request: impl AsRef<[u8]>) -> Self {
        let mut bench = Bench::new();
        let step = bench.bytes(request);
        assert!(matches!(step, Step::Subscribe { format: Format::Json, .. }), "{step:?}");
        assert!(!bench.session.takes_input() && !bench.session.takes_publications());
        assert_eq!(bench.begin(&begun(None)), Step::Wait);
        assert!(bench.session.takes_input() && bench.session.takes_publications());
        bench
    }

    /// The last answer's head and body.
    fn answered(&mut self) -> (String, String) {
        let text = self.text();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }
}

fn with(line: &str) -> String {
    POLL.replace("Host: h", &format!("Host: h\r\n{line}"))
}

fn text(bench: &mut Bench, offset: u128, payload: &str) {
    bench.deliver(offset, PayloadKind::Text, payload.as_bytes());
}

/// What is there is answered at once, all of it, with the position behind it.
#[test]
fn a_poll_answers_with_what_is_there() {
    let mut bench = Bench::polling(POLL.replace("/news", "/news?since=e-2"));
    assert_eq!(bench.session.reads(), Reads::Composed(Format::Json));
    text(&mut bench, 3, "a");
    bench.deliver(5, PayloadKind::Binary, b"\xff");
    bench.deliver(6, PayloadKind::Json, b"[1]");
    assert_eq!(bench.out, b"");
    assert_eq!(bench.composed(), Step::Unsubscribe);
    let (head, body) = bench.answered();
    let expected = concat!(
        r#"{"position":"e-6","recovered":true,"publications":["#,
        r#"{"channel":"news","id":"e-3","data":"a"},"#,
        r#"{"channel":"news","id":"e-5","encoding":"base64","data":"/w=="},"#,
        r#"{"channel":"news","id":"e-6","data":[1]}]}"#
    );
    assert_eq!(body, expected);
    let expected = format!(
        "HTTP/1.1 200 OK\r\nETag: \"e-6\"\r\nCache-Control: no-store\r\n\
         Content-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    assert_eq!(head, expected);
    assert_eq!(bench.session.reads(), Reads::Nothing);
}

/// A poll with nothing to say waits for the first publication, however often it is looked at.
#[test]
fn a_poll_waits_for_the_first_publication() {
    let mut bench = Bench::polling(POLL);
    for _ in 0..3 {
        assert_eq!(bench.composed(), Step::Wait);
        bench.wait(1);
    }
    assert_eq!((bench.seconds_left(), bench.text()), (22.0, String::new()));
    text(&mut bench, 9, "late");
    assert_eq!(bench.composed(), Step::Unsubscribe);
    assert!(bench.answered().1.starts_with(r#"{"position":"e-9","recovered":true,"#));
}

/// A gap is answered at once, even if nothing is behind it.
#[test]
fn a_poll_tells_of_a_gap() {
    for request in [POLL.replace("/news", "/news?since=e-2"), with("If-None-Match: \"e-2\"")] {
        let mut bench = Bench::new();
        let _ = bench.bytes(request);
        assert_eq!(bench.begin(&begun(Some((2, 9)))), Step::Wait);
        assert_eq!(bench.composed(), Step::Unsubscribe);
        let expected = r#"{"position":"e-9","recovered":false,"gap":{"from":"e-2","to":"e-9"},"publications":[]}"#;
        assert_eq!(bench.answered().1, expected);
    }
}

/// A poll that is overtaken while it is answered says what it can, and the next request finds the rest.
#[test]
fn a_poll_that_is_overtaken_loses_nothing_silently() {
    let mut bench = Bench::polling(POLL.replace("/news", "/news?since=e-2"));
    assert_eq!((bench.gap(2, 5), bench.gap(5, 9)), (Step::Wait, Step::Wait));
    text(&mut bench, 10, "a");
    assert_eq!(bench.gap(10, 12), Step::Unsubscribe);
    let expected = concat!(
        r#"{"position":"e-10","recovered":false,"gap":{"from":"e-2","to":"e-9"},"#,
        r#""publications":[{"channel":"news","id":"e-10","data":"a"}]}"#
    );
    assert_eq!(bench.answered().1, expected);

    for request in [POLL.to_owned(), with("If-None-Match: \"e-2\"")] {
        let mut bench = Bench::polling(request);
        assert_eq!(bench.lap(at(4)), Step::Unsubscribe);
        assert_eq!(bench.answered().1, r#"{"position":"e-4","recovered":true,"publications":[]}"#);
    }
    let mut bench = Bench::polling(POLL);
    text(&mut bench, 3, "a");
    assert_eq!(bench.lap(at(3)), Step::Unsubscribe);
    assert!(bench.answered().1.starts_with(r#"{"position":"e-3","recovered":true,"#));
}

/// A time-out is an empty answer, or, to a client that sent its tag, that nothing has changed.
#[test]
fn a_poll_ends_in_time() {
    for (request, status) in [
        (POLL.to_owned(), "200 OK"),
        (POLL.replace("/news", "/news?since=e-2"), "200 OK"),
        (with("If-None-Match: \"e-2\""), "304 Not Modified"),
        (with("If-None-Match: W/\"e-2\""), "304 Not Modified"),
    ] {
        let mut bench = Bench::polling(&request);
        assert_eq!(bench.seconds_left(), 25.0);
        assert_eq!(bench.deadline(), Step::Unsubscribe, "{request}");
        let (head, body) = bench.answered();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\nETag: \"e-2\"\r\n")), "{head}");
        let empty = r#"{"position":"e-2","recovered":true,"publications":[]}"#;
        assert_eq!(body, if status == "200 OK" { empty } else { "" });
    }
}

/// The time-out is the client's, up to the server's; none at all is an answer at the first look.
#[test]
fn a_poll_waits_as_long_as_it_says() {
    let waits = |timeout: &str| {
        Bench::polling(POLL.replace("/news", &format!("/news?timeout={timeout}"))).seconds_left()
    };
    assert_eq!([waits("1"), waits("0.5"), waits("60"), waits("61")], [1.0, 0.5, 60.0, 60.0]);
    let mut bench = Bench::polling(POLL.replace("/news", "/news?timeout=0"));
    assert_eq!(bench.composed(), Step::Unsubscribe);
    assert!(bench.answered().1.ends_with(r#""publications":[]}"#));
}

/// An answered poll's connection takes the next request, and ends without a word if none comes.
#[test]
fn a_connection_polls_again() {
    let mut bench = Bench::polling(POLL);
    text(&mut bench, 3, "a");
    bench.wait(20);
    assert_eq!(bench.composed(), Step::Unsubscribe);
    bench.out.clear();
    assert_eq!(bench.seconds_left(), 10.0);
    bench.wait(9);
    assert_eq!(bench.bytes(&POLL[..5]), Step::Wait);
    assert_eq!(bench.seconds_left(), 10.0, "a request has its time from its first byte");
    assert!(matches!(bench.bytes(&POLL[5..]), Step::Subscribe { .. }));
    assert_eq!(bench.begin(&begun(None)), Step::Wait);
    assert_eq!(bench.deadline(), Step::Unsubscribe);
    bench.out.clear();
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::PeerSilent));
    assert_eq!(bench.text(), "");

    for reason in [CloseReason::ServerDraining, CloseReason::Overloaded] {
        let mut bench = Bench::polling(POLL);
        assert_eq!(bench.deadline(), Step::Unsubscribe);
        bench.out.clear();
        assert_eq!((bench.close(reason), bench.text()), (Step::Finish(reason), String::new()));
    }
}

/// Where the connection cannot be used again, the answer says so and is the last.
#[test]
fn a_last_poll_ends_the_connection() {
    for (request, behind) in [
        (with("Connection: close"), ""),
        (with("Content-Length: 1"), ""),
        (with("Transfer-Encoding: chunked"), ""),
        (POLL.to_owned(), "GET"),
        (format!("{POLL}GET"), ""),
    ] {
        let mut bench = Bench::polling(&request);
        assert_eq!(bench.bytes(behind), Step::Wait);
        text(&mut bench, 3, "a");
        assert_eq!(bench.composed(), Step::Finish(CloseReason::PeerLeft), "{request}");
        assert!(bench.answered().0.contains("\r\nConnection: close"));
        // Its reader may be slow, but not dead.
        bench.session.on_blocked(bench.now);
        assert_eq!(bench.seconds_left(), 30.0);
        bench.wait(29);
        bench.session.on_progress(bench.now);
        assert_eq!(bench.seconds_left(), 2.0);
        assert_eq!(bench.deadline(), Step::Drop(CloseReason::PeerLeft));
    }
    let mut bench = Bench::polling(with("Content-Length: 0"));
    assert_eq!(bench.deadline(), Step::Unsubscribe);
}

/// A slow reader of an answer has as long as any other subscriber.
#[test]
fn an_answer_may_be_read_slowly() {
    let mut bench = Bench::polling(POLL);
    assert_eq!(bench.deadline(), Step::Unsubscribe);
    bench.session.on_blocked(bench.now);
    assert_eq!(bench.seconds_left(), 30.0);
    bench.wait(29);
    bench.session.on_progress(bench.now);
    assert_eq!(bench.seconds_left(), 10.0);
    bench.session.on_blocked(bench.now);
    assert_eq!(bench.deadline(), Step::Drop(CloseReason::PeerStalled));
}

/// A poll that waits hears a client leave, and does not collect input without a bound.
#[test]
fn a_waiting_poll_is_bounded() {
    let mut bench = Bench::polling(POLL);
    assert_eq!(bench.bytes(vec![b'x'; RECEIVE_BYTES]), Step::Wait);
    assert_eq!(bench.bytes("x"), Step::Drop(CloseReason::Policy));
    assert_eq!(Bench::polling(POLL).session.on_end(), Step::Drop(CloseReason::PeerLeft));
}

/// A poll that cannot be served hears why: while it waits for its subscription, and later.
#[test]
fn a_poll_is_told_of_ends() {
    let mut bench = Bench::new();
    let _ = bench.bytes(POLL);
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::Overloaded));
    assert!(bench.text().starts_with("HTTP/1.1 503 "));

    let mut bench = Bench::polling(POLL);
    let drained = CloseReason::ServerDraining;
    assert_eq!(bench.close(drained), Step::Finish(drained));
    assert!(bench.text().starts_with("HTTP/1.1 503 "));

    for (request, status) in [
        (with("If-None-Match: *"), 400),
        (POLL.replace("/news", "/news?timeout=soon"), 400),
        (POLL.replace("GET", "HEAD"), 405),
        (with("Origin: http://x"), 403),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.bytes(&request), Step::Finish(CloseReason::BadRequest), "{request}");
        assert!(bench.text().starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
    }
}

/// A page that may poll may read the tag; its browser is told so beforehand.
#[test]
fn pages_may_poll() {
    let mut bench = Bench::polling(with("Origin: http://h"));
    assert_eq!(bench.deadline(), Step::Unsubscribe);
    let (head, _) = bench.answered();
    assert!(head.contains("\r\nAccess-Control-Allow-Origin: http://h\r\nVary: Origin\r\n"));
    assert!(head.contains("\r\nAccess-Control-Expose-Headers: ETag, "), "{head}");

    let mut bench = Bench::new();
    let preflight = with("Origin: http://h").replace("GET", "OPTIONS");
    assert_eq!(bench.bytes(preflight), Step::Finish(CloseReason::PeerLeft));
    let allowed = "\r\nAccess-Control-Allow-Headers: Authorization, Cache-Control, If-None-Match, Last-Event-ID\r\n";
    assert!(bench.text().contains(allowed));
}
