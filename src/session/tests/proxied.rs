//! Requests that say for whom they are.

use super::{commands::commands_at, polls::POLL, *};
use crate::wire::forwarded::Header;

/// A session of a trusted proxy, before its request.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.rules.client_header = Some(Header::XForwardedFor);
    bench.rules.shield.trusted = "10.0.0.0/8".parse().unwrap();
    bench.session.await_client();
    bench
}

fn with(request: &str, line: &str) -> String {
    request.replacen("Host: h\r\n", &format!("Host: h\r\n{line}\r\n"), 1)
}

fn told(bench: &mut Bench, is_exempt: bool) -> Step {
    bench.session.on_told(is_exempt, bench.now, &bench.rules, &mut bench.out)
}

/// Wherever the reads cut a request, its client is asked about once, before anything is answered; then
/// it is served as any other is, with what came behind it.
#[test]
fn a_client_is_asked_about_before_its_request_is_served() {
    let line = "X-Forwarded-For: 192.0.2.1, 10.0.0.1";
    let ping = frame(0x89, b"hi");
    for request in [WS.to_owned(), SSE.into(), POLL.into(), commands_at("/ws/news")] {
        let bytes = [with(&request, line).as_bytes(), &ping].concat();
        let head = bytes.len() - ping.len();
        let mut direct = Bench::new();
        let expected = direct.bytes([request.as_bytes(), &ping].concat());
        for cut in 1..head {
            let mut bench = bench();
            assert_eq!(bench.bytes(&bytes[..cut]), Step::Wait, "{cut}");
            let Step::Ask(Client::Address(client)) = bench.bytes(&bytes[cut..]) else {
                panic!("{cut}: nobody was asked about")
            };
            assert_eq!((client.ip(), bench.out.len()), ([192, 0, 2, 1].into(), 0));
            assert_eq!(told(&mut bench, false), expected, "{cut}");
            assert_eq!(bench.out, direct.out, "{cut}");
        }
    }
}

/// Without the header the proxy speaks for itself; what it cannot have meant is answered 400; and who
/// is not to be served is told so.
#[test]
fn a_proxy_is_asked_about_for_what_it_says() {
    let mut silent = bench();
    assert_eq!(silent.bytes(WS), Step::Ask(Client::Itself));
    assert!(matches!(told(&mut silent, true), Step::Subscribe { .. }));
    let mut unnamed = bench();
    let asked = unnamed.bytes(with(WS, "X-Forwarded-For: unknown"));
    assert_eq!(asked, Step::Ask(Client::Unnamed));
    let mut wrong = bench();
    let step = wrong.bytes(with(WS, "X-Forwarded-For: nobody"));
    assert_eq!(step, Step::Finish(CloseReason::BadRequest));
    assert!(wrong.out.starts_with(b"HTTP/1.1 400 "));
    let mut limited = bench();
    assert_eq!(limited.bytes(WS), Step::Ask(Client::Itself));
    let step = limited.close(CloseReason::AddressLimited);
    assert_eq!(step, Step::Finish(CloseReason::AddressLimited));
    assert!(limited.out.starts_with(b"HTTP/1.1 429 "));
    // A stranger's header is passed over.
    let mut stranger = bench();
    stranger.session = Session::new(stranger.now, 0);
    let step = stranger.bytes(with(WS, "X-Forwarded-For: nobody"));
    assert!(matches!(step, Step::Subscribe { .. }));
}

/// Each request of a connection that goes on is asked about anew.
#[test]
fn every_request_is_asked_about() {
    let mut bench = bench();
    for client in ["192.0.2.1:1", "192.0.2.2:2"] {
        assert!(bench.session.awaits_request());
        bench.session.await_client();
        let request = with(POLL, &format!("X-Forwarded-For: {client}"));
        let request = request.replace("/news", "/news?timeout=0");
        assert_eq!(bench.bytes(request), Step::Ask(Client::Address(client.parse().unwrap())));
        assert!(matches!(told(&mut bench, false), Step::Subscribe { .. }));
        assert_eq!(bench.go_live(), Step::Wait);
        assert_eq!(bench.composed(), Step::Unsubscribe);
    }
}
