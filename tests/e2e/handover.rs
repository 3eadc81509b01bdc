//! One server hands over to the next: nobody is refused, nobody is left behind, and where the next one
//! fails nothing has happened.

use std::{
    fs,
    io::{IoSlice, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{
    Folder, Io, Kind, Publisher, Received, Server, Subscriber, Wire, ask, eventually, post,
    refused_start, stentor, wait,
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
    server.await_log("a first start");
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
        successor
            .await_log(&format!("took the listening sockets over from process {}", server.id()));
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
    let dying = Fake::begin(&takeover);
    dying.say(&json!({"journal": {"directory": journal}}));
    assert_eq!(dying.hear(), json!({"journal-free": {"lent": true}}));
    drop(dying);
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

/// A successor that waits and is told to stop ends at once, says so, and leaves who serves as it was.
#[test]
fn a_successor_that_is_told_to_stop_ends() {
    let folder = Folder::new("told");
    let takeover = format!("{}/socket", folder.text());
    let server = start(Io::Uring, &takeover, None, &[]);
    let mut waiting = Waiting::start(&flags(&takeover, Some(&server)));
    waiting.signal(Signal::TERM);
    assert_eq!(wait(&mut waiting.child).code(), Some(1));
    waiting.read_until("told to stop before it was done; whoever serves there serves on");
    let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    expect_delivery(&server, &mut subscriber, "still here");
    server.stop();
}

/// Where who serves is killed while its successor waits, the successor serves in its place at once, and
/// hears successors of its own.
#[test]
fn a_predecessor_that_dies_is_replaced() {
    let folder = Folder::new("died");
    let takeover = format!("{}/socket", folder.text());
    let server = start(Io::Uring, &takeover, None, &[]);
    let (subscribers, control) = (server.subscribers, server.control);
    let mut before = flags(&takeover, Some(&server));
    before.extend(["--drain", "300ms"].map(String::from));
    let mut waiting = Waiting::start(&before);
    server.kill();
    waiting.read_until("has died before it handed over: serving in its place");
    let mut subscriber = Subscriber::join(subscribers, Kind::WebSocket, "news");
    Publisher::to(control).publish("news", b"there");
    assert_eq!(subscriber.publication(), b"there");
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let last = Server::start(Io::Epoll, &before);
    assert_eq!(subscriber.next(), Received::Close(1012, "server draining".into()));
    assert_eq!(wait(&mut waiting.child).code(), Some(0));
    last.stop();
    assert!(!fs::exists(&takeover).unwrap());
}

/// A journal is lent for as long as reading it takes: a bus that is away does not have publishers wait,
/// the successor serves and is not ready before the bus was read.
#[test]
fn a_journal_does_not_wait_for_a_bus() {
    let folder = Folder::new("lent");
    let (takeover, journal) = (format!("{}/socket", folder.text()), folder.text());
    let kept = ["--journal", journal, "--channels", "news history=100", "--drain", "300ms"];
    let server = start(Io::Uring, &takeover, None, &kept);
    Publisher::of(&server).publish("news", b"before");
    let successor =
        start(Io::Uring, &takeover, Some(&server), &[&kept[..], &["--inputs", AWAY]].concat());
    server.expect_clean_end();
    let mut subscriber = Subscriber::join(successor.subscribers, Kind::WebSocket, "news?last=10");
    assert_eq!(subscriber.publication(), b"before");
    expect_delivery(&successor, &mut subscriber, "after");
    let ready = ask(successor.control, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n");
    assert_eq!(ready.head.status, 503);
    successor.stop();
}

/// Whose publication waited for a journal that was given away is told to connect again at once, and on
/// another connection.
#[test]
fn who_waited_for_the_journal_is_told_of_the_successor() {
    let folder = Folder::new("waited");
    let (takeover, journal) = (format!("{}/socket", folder.text()), folder.text());
    let kept = ["--journal", journal, "--channels", "news history=100", "--drain", "300ms"];
    let server = start(Io::Uring, &takeover, None, &kept);
    let successor = Fake::begin(&takeover);
    successor.say(&json!({"journal": {"directory": journal}}));
    assert_eq!(successor.hear(), json!({"journal-free": {"lent": true}}));
    let publishers: Vec<Wire> = (0..8)
        .map(|_| {
            let mut wire = Wire::connect(server.control);
            wire.send(&[&post("/publish/news", 4)[..], b"text"].concat());
            wire
        })
        .collect();
    // They are accepted in turn, so that whoever asked before this is answered is with its shard.
    server.shown("/stats");
    successor.say(&json!("ready"));
    assert_eq!(successor.hear(), json!("yours"));
    successor.say(&json!("taken"));
    for mut publisher in publishers {
        let head = publisher.next_answer().head;
        assert_eq!(head.status, 503);
        assert_eq!(head.get("Retry-After").as_deref(), Some("1"));
        assert_eq!(head.get("Connection").as_deref(), Some("close"));
    }
    server.expect_clean_end();
    // It was given away, and is the successor's to take.
    fs::remove_file(&takeover).unwrap();
}

/// An input whose bus is not there.
const AWAY: &str = "jetstream url=nats://127.0.0.1:1 stream=TICKS channel=ticks";

/// A successor that waits for its input.
struct Waiting {
    child: Child,
    log: ChildStderr,
    told: String,
}

impl Waiting {
    fn start(flags: &[String]) -> Waiting {
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--inputs", AWAY]).collect();
        let mut program = stentor(&flags);
        let piped = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let log = child.stderr.take().unwrap();
        let mut waiting = Waiting { child, log, told: String::new() };
        waiting.read_until("taking over from process");
        waiting.read_until("input ");
        waiting
    }

    #[track_caller]
    fn read_until(&mut self, words: &str) {
        let mut piece = [0; 4096];
        while !self.told.contains(words) {
            let read = self.log.read(&mut piece).unwrap();
            assert!(read > 0, "it ended: {}", self.told);
            self.told += &String::from_utf8_lossy(&piece[..read]);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A successor that says what the test says, word by word.
struct Fake(Socket);

impl Fake {
    /// One that was offered the socket of the path.
    fn begin(takeover: &str) -> Fake {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.connect(&SockAddr::unix(takeover).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let fake = Fake(socket);
        let hello = json!({"protocol": 1, "version": "9.9.9", "pid": 1, "addresses": ["takeover"]});
        fake.say(&json!({ "hello": hello }));
        while fake.hear().get("offered").is_none() {}
        fake
    }

    fn say(&self, word: &Value) {
        self.0.send(word.to_string().as_bytes()).unwrap();
    }

    #[track_caller]
    fn hear(&self) -> Value {
        let mut word = [0; 16 * 1024];
        let bytes = (&self.0).read(&mut word).unwrap();
        serde_json::from_slice(&word[..bytes]).unwrap()
    }
}

/// Who comes to the path and is no successor gets nothing and harms nobody: rubbish, half a
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
    server.await_log("it is of the user 65534, and not of ours");
    server.stop();
}
