//! The end: nobody is cut off without a word, nothing is promised any more, the ports are free.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::Signal;

use crate::support::{
    Io, Kind, Publisher, Received, Server, Subscriber, Wire, ask, check_retry_after, eventually,
    refused_start, stentor,
};

on_both_kernels!(
    subscribers_are_told_that_the_server_goes,
    a_draining_server_takes_nothing_new,
    a_stop_under_load_cuts_nobody_off,
    a_second_signal_ends_at_once,
    the_ports_are_free_afterwards,
);

/// After SIGTERM or SIGINT every subscriber gets what was published before, then the close code
/// 1012 or the end of its stream, and the process ends with 0.
fn subscribers_are_told_that_the_server_goes(io: Io) {
    for (signal, drain) in [(Signal::TERM, "1s"), (Signal::INT, "0s")] {
        let server = Server::start(io, &["--drain", drain]);
        let mut subscribers: Vec<Subscriber> = (0..1200)
            .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "news"))
            .collect();
        let mut publisher = Publisher::of(&server);
        (0..50).for_each(|number| drop(publisher.publish("news", &numbered(number, 20))));
        server.signal(signal);
        for (index, subscriber) in subscribers.iter_mut().enumerate() {
            for number in 0..50u32 {
                let payload = numbered(number, 20);
                match subscriber.next() {
                    Received::Publication { payload: found, .. } => assert_eq!(found, payload),
                    other => panic!("{drain}: {index} missed {number}: {other:?}"),
                }
            }
            expect_farewell(subscriber, index);
        }
        server.expect_clean_end();
    }
}

/// While a server drains it is not ready, publishing is answered 503 with `Retry-After`, and nobody
/// new is served; once its last subscriber has gone it ends without waiting any longer.
fn a_draining_server_takes_nothing_new(io: Io) {
    let server = Server::start(io, &["--drain", "1h", "--retry-after", "9s"]);
    let ready = || ask(server.control, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n").head.status;
    assert_eq!(ready(), 200);
    let mut subscribers: Vec<Subscriber> = (0..40)
        .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "news"))
        .collect();
    let mut publisher = Publisher::of(&server);
    let mut half_asked = Wire::connect(server.subscribers);
    half_asked.send(b"GET /sse/news HTTP/1.1\r\n");
    server.await_stat("/connections/total", 41);
    server.signal(Signal::TERM);
    eventually("it is not ready", || (ready() == 503).then_some(()));
    let refused = publisher.try_publish("news", b"too late");
    let retry_after = refused.head.get("Retry-After");
    assert_eq!((refused.head.status, retry_after.as_deref()), (503, Some("9")));
    assert_eq!(
        ask(server.control, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n").head.status,
        200
    );
    half_asked.send(b"Host: localhost\r\n\r\n");
    let newcomer = || Subscriber::ask(server.subscribers, Kind::WebSocket, "news").wire;
    for mut refused in [half_asked].into_iter().chain((0..40).map(|_| newcomer())) {
        let answer = refused.answer();
        assert_eq!(answer.head.status, 503);
        check_retry_after(&answer.head, 9);
        assert!(String::from_utf8(answer.body).unwrap().contains("going away"));
    }
    subscribers.clear();
    server.expect_clean_end();
}

/// A stop in the middle of a flood: every subscriber has seen consecutive publications from the
/// first on, among them each that was answered before the signal, and then a proper end.
fn a_stop_under_load_cuts_nobody_off(io: Io) {
    let server = Server::start(io, &["--drain", "500ms", "--inbox", "16"]);
    let subscribers: Vec<Subscriber> = (0..60)
        .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "flood"))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let mut publisher = Publisher::of(&server);
    let flood = thread::spawn(move || {
        let mut before = 0;
        for number in 0u32.. {
            let payload = numbered(number, 2000);
            let signalled = told.load(Ordering::SeqCst);
            if publisher.try_publish("flood", &payload).head.status != 200 {
                break;
            }
            if !signalled {
                before = number + 1;
            }
        }
        before
    });
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            thread::spawn(move || {
                for number in 0u32.. {
                    match subscriber.next() {
                        Received::Publication { payload, .. } => {
                            assert!(payload == numbered(number, 2000), "{number}");
                        }
                        Received::Close(1012, _) | Received::End => {
                            assert_eq!(subscriber.wire.rest(), b"");
                            return number;
                        }
                        other => panic!("{other:?} after {number}"),
                    }
                }
                unreachable!("it ends")
            })
        })
        .collect();
    eventually("it is in full flood", || (server.stat("/publications") > 300).then_some(()));
    stop.store(true, Ordering::SeqCst);
    server.signal(Signal::TERM);
    let before = flood.join().unwrap();
    for reader in readers {
        let received = reader.join().unwrap();
        // The last that was answered before may have been answered as the signal came.
        assert!(received + 1 >= before, "{received} of {before}");
    }
    server.expect_clean_end();
}

/// Who cannot wait for the drain sends a second signal.
fn a_second_signal_ends_at_once(io: Io) {
    let mut server = Server::start(io, &["--drain", "1h"]);
    let _subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    server.signal(Signal::TERM);
    let draining = |server: &Server| {
        ask(server.control, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n").head.status == 503
    };
    eventually("it drains", || draining(&server).then_some(()));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1));
}

/// A successor takes both addresses at once, although connections of the old server linger. While
/// the old one runs, nobody else does, and is told which setting to change.
///
/// Method: on an address of its own, so that no client of another test is given the ports meanwhile.
fn the_ports_are_free_afterwards(io: Io) {
    let own = if io == Io::Uring { "127.0.0.77:0" } else { "127.0.0.78:0" };
    let server = Server::start(io, &["--listen", own, "--control", own]);
    let (listen, control) = (server.subscribers.to_string(), server.control.to_string());
    for (flags, setting, address) in [
        (["--listen", &listen, "--control", "127.0.0.1:0"], "listen", &listen),
        (["--listen", "127.0.0.1:0", "--control", &control], "control", &control),
    ] {
        let told = refused_start(&mut stentor(&flags));
        let expected = format!(
            "stentor: cannot listen on {address} ({setting}): Address already in use (os error 98); \
             free it, or choose another with --{setting}\n"
        );
        assert_eq!(told, expected);
    }
    let mut subscribers: Vec<Subscriber> = (0..20)
        .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "news"))
        .collect();
    server.signal(Signal::TERM);
    for (index, subscriber) in subscribers.iter_mut().enumerate() {
        expect_farewell(subscriber, index);
    }
    server.expect_clean_end();
    let successor = Server::start(io, &["--listen", &listen, "--control", &control]);
    let mut subscriber = Subscriber::join(successor.subscribers, Kind::Sse, "news");
    Publisher::of(&successor).publish("news", b"again");
    assert_eq!(subscriber.publication(), b"again");
    successor.stop();
}

fn numbered(number: u32, length: usize) -> Vec<u8> {
    format!("{number:0length$}").into_bytes()
}

#[track_caller]
fn expect_farewell(subscriber: &mut Subscriber, index: usize) {
    let farewell = subscriber.next();
    let expected = match index % 2 {
        0 => Received::Close(1012, "server draining".into()),
        _ => Received::End,
    };
    assert_eq!(farewell, expected, "{index}");
    assert_eq!(subscriber.wire.rest(), b"", "{index}");
}
