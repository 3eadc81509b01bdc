//! Under a service manager: sockets that outlive servers, and telling how it goes.

use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    process::Signal,
};

use crate::support::{
    DEADLINE, Folder, Io, Kind, Publisher, Received, Server, Subscriber, Wire, refused_start,
    stentor, through,
};

on_both_kernels!(successors_take_the_sockets, the_manager_is_told,);

/// Sockets as a service manager opens them, for one server after the other.
struct Sockets {
    addresses: Vec<SocketAddr>,
    passed: Vec<OwnedFd>,
}

impl Sockets {
    fn open(count: usize) -> Sockets {
        let (mut addresses, mut passed) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            addresses.push(listener.local_addr().unwrap());
            // Above the numbers that the shell moves about.
            let high = fcntl_dupfd_cloexec(&listener, 50).unwrap();
            fcntl_setfd(&high, FdFlags::empty()).unwrap();
            passed.push(high);
        }
        Sockets { addresses, passed }
    }

    /// A command that becomes the program with the sockets passed to it.
    fn command(&self, program: &Command) -> Command {
        let moves = self.passed.iter().zip(3..);
        let moves: String =
            moves.map(|(fd, to)| format!("exec {to}<&{};", fd.as_raw_fd())).collect();
        let count = self.passed.len();
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("{moves} LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\" \"$@\"")]);
        through(shell, program)
    }
}

/// Six servers in a row serve one pair of sockets. Whoever connects, whenever it is, is never refused
/// and always answered: while no server is there it waits for the next. Nobody is served by a server
/// that is going, but for those that it had accepted when it was told to, who hear 503.
fn successors_take_the_sockets(io: Io) {
    let sockets = Sockets::open(2);
    let (listen, control) = (sockets.addresses[0].to_string(), sockets.addresses[1].to_string());
    let mut program = stentor(&["--listen", &listen, "--control", &control, "--drain", "200ms"]);
    program.env("STENTOR_IO", if io == Io::Uring { "uring" } else { "epoll" });
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), sockets.addresses[0]);
            thread::spawn(move || {
                let mut answers = [0, 0];
                while !stop.load(Ordering::SeqCst) {
                    let mut wire = Wire::connect(address);
                    wire.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    match wire.answer().head.status {
                        404 => answers[0] += 1,
                        503 => answers[1] += 1,
                        other => panic!("{other}"),
                    }
                }
                answers
            })
        })
        .collect();
    for round in 0..6 {
        let server = Server::launch(&mut sockets.command(&program));
        assert_eq!(
            (server.subscribers, server.control),
            (sockets.addresses[0], sockets.addresses[1])
        );
        let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
        Publisher::of(&server).publish("news", format!("{round}").as_bytes());
        match subscriber.next() {
            Received::Publication { payload, .. } => {
                assert_eq!(payload, format!("{round}").into_bytes());
            }
            other => panic!("{other:?}"),
        }
        server.signal(Signal::TERM);
        assert_eq!(subscriber.next(), Received::Close(1012, "server draining".into()));
        server.expect_clean_end();
    }
    let last = Server::launch(&mut sockets.command(&program));
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        let [served, refused] = caller.join().unwrap();
        assert!(served > 6 && refused <= 12, "{served} served, {refused} refused");
    }
    last.stop();
}

/// A socket that no setting names would keep its clients waiting for ever: the server does not start,
/// and says what to write.
#[test]
fn a_stray_socket_is_refused() {
    let sockets = Sockets::open(1);
    let told = refused_start(&mut sockets.command(&stentor(&[])));
    let right = format!("add --listen {}", sockets.addresses[0]);
    assert!(told.contains("socket activation: ") && told.contains(&right), "{told}");
}

/// The service manager hears that the server is ready, that it reloads and is ready again, that it
/// lives, and that it stops.
fn the_manager_is_told(io: Io) {
    let folder = Folder::new(&format!("notify-{io:?}"));
    let path = folder.path().join("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = |wanted: &str| loop {
        let mut told = [0; 1024];
        let bytes = manager.recv(&mut told).unwrap_or_else(|why| panic!("{wanted}: {why}"));
        let told = String::from_utf8(told[..bytes].to_vec()).unwrap();
        if told.lines().next() == Some(wanted) {
            return told;
        }
        // It lives all the while.
        assert_eq!(told, "WATCHDOG=1\n", "instead of {wanted}");
    };
    let mut program = stentor(&["--drain", "1h"]);
    program.env("STENTOR_IO", if io == Io::Uring { "uring" } else { "epoll" });
    let server = Server::launch(program.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1"));
    let subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    hear("READY=1");
    server.signal(Signal::HUP);
    let reloading = hear("RELOADING=1");
    let now = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(now.is_some_and(|now| now.parse::<u64>().unwrap() > 0), "{reloading}");
    hear("READY=1");
    (0..2).for_each(|_| drop(hear("WATCHDOG=1")));
    server.signal(Signal::TERM);
    assert!(hear("STOPPING=1").contains("\nSTATUS=draining, 1 connections left\n"));
    drop(subscriber);
    server.expect_clean_end();
}
