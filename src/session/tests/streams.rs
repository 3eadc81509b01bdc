//! Several channels in one event stream.

use super::{
    polls::frame_of,
    resuming::{at, begun, news},
    *,
};
use crate::resume::Gap;

pub(in crate::session) const STREAMS: &str =
    "GET /sse?channels=news,chat HTTP/1.1\r\nHost: h\r\n\r\n";

fn chat() -> ChannelName {
    ChannelName::new("chat").unwrap()
}

impl Bench {
    pub(in crate::session) fn subscribed(&mut self, channel: &ChannelName, begun: &Begun) -> Step {
        self.session.on_subscribed(channel, begun, self.now, &self.rules, &mut self.out)
    }

    pub(in crate::session) fn refused(&mut self, channel: &ChannelName, refused: Refused) -> Step {
        self.session.on_refused(channel, refused, self.now, &self.rules, &mut self.out)
    }

    fn stream() -> Self {
        let mut bench = Bench::new();
        assert_eq!(bench.bytes(STREAMS), Step::Call);
        while bench.session.next_call().is_some() {}
        bench.wait(5);
        let _ = bench.subscribed(&news(), &begun(None));
        let _ = bench.subscribed(&chat(), &begun(None));
        bench.out.clear();
        bench
    }
}

fn chunk(content: &str) -> String {
    format!("{:x}\r\n{content}\r\n", content.len())
}

/// Nothing is said before every channel is live; then the head, the vector, and each gap.
#[test]
fn a_stream_of_several_opens_when_all_are_live() {
    let mut bench = Bench::new();
    let request = "GET /sse?channels=news,chat&since=chat=e-2&last=5 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(bench.bytes(request), Step::Call);
    let format = Format::WebSocket;
    let calls = [
        Call::Subscribe { channel: news(), format, start: Start::Last(5) },
        Call::Subscribe { channel: chat(), format, start: Start::Since(at(2)) },
    ];
    assert_eq!([bench.session.next_call(), bench.session.next_call()], calls.map(Some));
    assert_eq!(bench.session.next_call(), None);
    assert_eq!(bench.session.reads(), Reads::Composed(format));
    assert!(bench.session.is_several());

    assert_eq!(bench.subscribed(&chat(), &begun(Some((2, 9)))), Step::Wait);
    assert!(!bench.session.takes_input() && !bench.session.takes_publications());
    bench.deliver(3, PayloadKind::Text, b"early");
    assert_eq!(bench.gap(1, 2), Step::Wait);
    assert_eq!((bench.text().as_str(), bench.session.format()), ("", None));
    assert_eq!(bench.subscribed(&news(), &begun(None)), Step::Wait);
    assert!(bench.session.takes_input() && bench.session.takes_publications());
    assert_eq!(bench.session.format(), Some(Format::Sse));
    let answer = bench.text();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("Stentor-Position"),
        "{head}"
    );
    let first = chunk("retry: 3000\n\n");
    let gap = chunk(
        "event: chat;gap\nid: news=e-2,chat=e-9\n\
         data: {\"channel\":\"chat\",\"from\":\"e-2\",\"to\":\"e-9\"}\n\n",
    );
    assert_eq!(body, format!("{first}{gap}"));
}

/// Each event names its channel and moves its part of the vector; so does a gap.
#[test]
fn events_move_the_vector() {
    let mut bench = Bench::stream();
    bench.deliver(3, PayloadKind::Text, b"a\r\nb");
    let frame = frame_of(Format::WebSocket, 8, PayloadKind::Binary, b"\xff");
    let (channel, kind) = (&chat(), PayloadKind::Binary);
    let delivery = Delivery { channel, position: at(8), kind, frame: &frame };
    bench.session.on_publication(&delivery, &mut bench.out);
    assert_eq!((bench.composed(), bench.gap(3, 6)), (Step::Wait, Step::Wait));
    let expected = [
        chunk("id: news=e-3,chat=e-2\nevent: news\ndata: a\ndata: b\n\n"),
        chunk("id: news=e-3,chat=e-8\nevent: chat;base64\ndata: /w==\n\n"),
        chunk(
            "event: news;gap\nid: news=e-6,chat=e-8\n\
             data: {\"channel\":\"news\",\"from\":\"e-3\",\"to\":\"e-6\"}\n\n",
        ),
    ];
    assert_eq!(bench.text(), expected.concat());

    let stray = ChannelName::new("stray").unwrap();
    let gap = Gap { from: at(1), to: at(2) };
    let step = bench.session.on_gap(&stray, &gap, bench.now, &bench.rules, &mut bench.out);
    assert_eq!((step, bench.text()), (Step::Wait, String::new()));
}

/// What cannot be subscribed to is answered before the stream begins, and ends it.
#[test]
fn a_stream_of_several_begins_whole_or_not() {
    for (refused, reason, status) in [
        (Refused::Draining, CloseReason::ServerDraining, 503),
        (Refused::TooManyChannels, CloseReason::Overloaded, 503),
        (Refused::TooManySubscriptions, CloseReason::BadRequest, 400),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.bytes(STREAMS), Step::Call);
        let _ = bench.subscribed(&news(), &begun(None));
        assert_eq!(bench.refused(&chat(), refused), Step::Finish(reason));
        assert!(bench.text().starts_with(&format!("HTTP/1.1 {status} ")), "{refused:?}");
        assert_eq!((bench.session.next_call(), bench.session.reads()), (None, Reads::Nothing));
    }
    let mut bench = Bench::new();
    assert_eq!(bench.bytes(STREAMS), Step::Call);
    assert_eq!(bench.deadline(), Step::Finish(CloseReason::Overloaded));
    assert!(bench.text().starts_with("HTTP/1.1 503 "));

    let mut bench = Bench::new();
    let step = bench.bytes(STREAMS.replace("?channels=news,chat", "?x"));
    assert_eq!(step, Step::Finish(CloseReason::BadRequest));
    assert!(bench.text().contains("name the channels, as in ?channels=news,chat"));
}

/// It lives and ends like a stream of one.
#[test]
fn a_stream_of_several_lives_and_ends() {
    let mut bench = Bench::stream();
    assert_eq!(bench.seconds_left(), 55.0, "from when it is live");
    bench.wait(50);
    bench.session.on_delivered(bench.now);
    assert_eq!(bench.seconds_left(), 55.0);
    assert_eq!(bench.bytes("whatever"), Step::Wait);
    assert_eq!(bench.deadline(), Step::Wait);
    assert_eq!(mem::take(&mut bench.out), sse::HEARTBEAT);
    bench.session.on_blocked(bench.now);
    assert_eq!(bench.seconds_left(), 30.0);
    assert_eq!(bench.lap(at(7)), Step::Finish(CloseReason::PeerTooSlow));
    assert_eq!(bench.text(), "0\r\n\r\n");
    assert_eq!(Bench::stream().session.on_end(), Step::Drop(CloseReason::PeerLeft));
}
