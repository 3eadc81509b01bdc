//! One server hands over to the next: nobody is refused, nobody is left behind, and where the next one
//! fails nothing has happened.

use std::{
    fs,
    io::{IoSlice, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{
    Folder, Io, Kind, Publisher, Received, Server, Subscriber, Wire, eventually, refused_start,
    stentor,
};

/// The settings of a server that takes over from this one, or of the first.
fn flags(takeover: &str, before: Option<&Server>) -> Vec<String> {
    let mut flags = vec!["--takeover".to_owned(), takeover.to_owned()];
    for (flag, address) in before.iter().flat_map(|it| {
        [("--listen", it.subscribers.to_string()), ("--control", it.control.to_string())]
    }) {
        flags.extend([flag.to_owned(), address]);
    }
    flags
}

fn start(io: Io, takeover: &str, before: Option<&Server>, more: &[&str]) -> Server {
    let flags = flags(takeover, before);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Server::start(io, &flags)
}

#[track_caller]
fn expect_delivery(server: &Server, subscriber: &mut Subscriber, text: &str) {
    Publisher::of(server).publish("news", text.as_bytes());
    assert_eq!(subscriber.publication(), text.as_bytes());
}

/// Seven servers in a row, with more shards than the last or fewer, and on another kernel. Whoever
/// connects, whenever it is, is served: nobody is refused, reset, or told to come back later. Whoever
/// was connected is told 1012, each predecessor ends by itself with exit code 0, and none leaves its
/// process before.
#[test]
fn nobody_is_refused() {
    let folder = Folder::new("handover");
    let takeover = format!("{}/socket", folder.text());
    let mut server = start(Io::Uring, &takeover, None, &["--drain", "300ms"]);
    assert!(server.stderr().contains("a first start"), "{}", server.stderr());
    assert_eq!(fs::metadata(&takeover).unwrap().permissions().mode() & 0o777, 0o600);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), server.subscribers);
            thread::spawn(move || {
                let mut served = 0;
                while !stop.load(Ordering::SeqCst) {
                    let mut wire = Wire::connect(address);
                    wire.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    assert_eq!(wire.answer().head.status, 404);
                    served += 1;
                }
                served
            })
        })
        .collect();
    let next = [
        (Io::Uring, "2"),
        (Io::Epoll, "4"),
        (Io::Epoll, "1"),
        (Io::Uring, "3"),
        (Io::Uring, "1"),
        (Io::Epoll, "2"),
    ];
    for (round, (io, shards)) in next.into_iter().enumerate() {
        let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
        expect_delivery(&server, &mut subscriber, &format!("{round}"));
        let more = ["--drain", "300ms", "--shards", shards];
        let successor = start(io, &takeover, Some(&server), &more);
        assert_eq!(subscriber.next(), Received::Close(1012, "server draining".into()));
        let told = format!("took the listening sockets over from process {}", server.id());
        assert!(successor.stderr().contains(&told), "{}", successor.stderr());
        let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
        expect_delivery(&successor, &mut subscriber, "there");
        server.expect_clean_end();
        server = successor;
    }
    stop.store(true, Ordering::SeqCst);
    let served: Vec<u32> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    assert!(served.iter().all(|&served| served > 6), "{served:?}");
    server.stop();
    assert!(!fs::exists(&takeover).unwrap());
}

/// A successor that cannot start leaves who serves as it was: connections stay, the journal is
/// written on, and the next successor is heard. One that has the journal already, and dies, gives it
/// back.
#[test]
fn a_successor_that_fails_harms_nobody() {
    let folder = Folder::new("failed");
    let (takeover, journal) = (format!("{}/socket", folder.text()), folder.text());
    let kept = ["--journal", journal, "--channels", "news history=100"];
    let server = start(Io::Uring, &takeover, None, &kept);
    let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    expect_delivery(&server, &mut subscriber, "before");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let flags = flags(&takeover, Some(&server));
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(kept).collect();
    let told = refused_start(&mut stentor(&[&flags[..], &["--listen", &taken]].concat()));
    assert!(told.contains(&format!("cannot listen on {taken}")), "{told}");
    expect_delivery(&server, &mut subscriber, "after one");
    // Its bus is not there, so it is not ready; it has the journal by then.
    let input = "jetstream url=nats://127.0.0.1:1 stream=TICKS";
    let mut waiting = stentor(&[&flags[..], &["--inputs", input]].concat());
    let piped = waiting.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut waiting = piped.spawn().unwrap();
    let mut log = waiting.stderr.take().unwrap();
    let (mut told, mut piece) = (String::new(), [0; 4096]);
    while !told.contains("input ") {
        let read = log.read(&mut piece).unwrap();
        assert!(read > 0, "it ended: {told}");
        told += &String::from_utf8_lossy(&piece[..read]);
    }
    assert!(told.contains("journal "), "{told}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    expect_delivery(&server, &mut subscriber, "after two");
    let successor = start(Io::Uring, &takeover, Some(&server), &kept);
    assert_eq!(subscriber.next(), Received::Close(1012, "server draining".into()));
    server.expect_clean_end();
    let mut late = Subscriber::join(successor.subscribers, Kind::WebSocket, "news?last=10");
    for text in ["before", "after one", "after two"] {
        assert_eq!(late.publication(), text.as_bytes());
    }
    successor.stop();
}

/// Who comes to the path and is no successor is told nothing and harms nobody: rubbish, half a
/// conversation, and silence end by themselves, and a successor that waits behind them is heard.
#[test]
fn strangers_at_the_path_harm_nobody() {
    let folder = Folder::new("strangers");
    let takeover = format!("{}/socket", folder.text());
    let server = start(Io::Uring, &takeover, None, &[]);
    let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    let words: [&[u8]; 5] = [
        b"\0\xff rubbish",
        br#"{"hello":{"protocol":99,"version":"9.9.9","pid":1,"addresses":[]}}"#,
        br#""ready""#,
        br#"{"hello":{"protocol":1,"version":"9.9.9","pid":1,"addresses":["takeover"]}}"#,
        &[b'x'; 32 * 1024],
    ];
    let mut strangers = Vec::new();
    for word in words {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.connect(&SockAddr::unix(&takeover).unwrap()).unwrap();
        rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(word)],
            &mut rustix::net::SendAncillaryBuffer::default(),
            rustix::net::SendFlags::NOSIGNAL,
        )
        .unwrap();
        // The one that begins a conversation goes in the middle of it, others are told to.
        if !word.starts_with(br#"{"hello":{"protocol":1"#) {
            strangers.push(socket);
        }
    }
    eventually("all were heard", || {
        let told = server.stderr();
        (told.matches("no hand-over, serving on").count() >= words.len()).then_some(())
    });
    let told = server.stderr();
    for why in ["no word of ours", "speaks version 99", "out of turn", "too much at once"] {
        assert!(told.contains(why), "{why}: {told}");
    }
    // Silence has its time, and the successor waits for that.
    let silent = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    silent.connect(&SockAddr::unix(&takeover).unwrap()).unwrap();
    eventually("silence ends", || server.stderr().contains("said nothing in time").then_some(()));
    expect_delivery(&server, &mut subscriber, "still here");
    let successor = start(Io::Epoll, &takeover, Some(&server), &[]);
    assert_eq!(subscriber.next(), Received::Close(1012, "server draining".into()));
    server.expect_clean_end();
    successor.stop();
}

/// Another user's server gets nothing.
///
/// Method: as root, which may become somebody else. Where the test is not root it says so and holds
/// nothing.
#[test]
fn other_users_get_nothing() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: other_users_get_nothing may not become another user here");
    }
    let folder = Folder::new("users");
    let takeover = format!("{}/socket", folder.text());
    let server = start(Io::Uring, &takeover, None, &[]);
    let flags = flags(&takeover, Some(&server));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut program = Command::new("setpriv");
    program.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    let mut program = crate::support::through(program, &stentor(&flags));
    let told = refused_start(&mut program);
    assert!(told.contains("cannot take over by ") && told.contains("denied"), "{told}");
    // Also where the file lets it in.
    fs::set_permissions(&takeover, fs::Permissions::from_mode(0o666)).unwrap();
    let told = refused_start(&mut program);
    assert!(told.contains("only root, or the user of the server, may"), "{told}");
    assert!(server.stderr().contains("it is of the user 65534, and not of ours"));
    server.stop();
}
