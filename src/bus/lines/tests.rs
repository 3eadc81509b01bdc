//! Lines from real sockets, with shards that do as they are told.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpStream, UnixStream},
    runtime::Builder,
    sync::Notify,
    task::yield_now,
};

use super::*;
use crate::{
    bus::FeedSetup,
    frame::PayloadKind,
    ids::{Epoch, Offset, Position},
    inputs::{self, InputState},
    io::Bell,
    mapping::{Condition, Mapping, Pointer, Template},
    mesh::{Accepted, Answer, Inflow, Ingress, Parking, Rejected},
};

/// A mapping to the channel of this template.
fn to(channel: &str) -> Mapping {
    let channel = Template::new(channel, &["channel", "key"]).unwrap();
    Mapping { channel, filter: Vec::new(), payload: None, key: None }
}

fn input(from: LinesFrom, is_json: bool, mapping: Mapping) -> Input {
    Input {
        name: "lines".into(),
        source: Source::Lines(inputs::Lines { from, is_json }),
        mapping,
        numbered_by_bus: false,
        queue: 4,
        destination: Template::new("x", &[]).unwrap(),
    }
}

struct Silence;

impl Bell for Silence {
    fn ring(&self) {}
}

/// Two shards of four places each, and what they took.
struct Shards {
    ingresses: Arc<[Ingress]>,
    state: Arc<InputState>,
    /// Each record, in order.
    taken: Mutex<Vec<Taken>>,
}

/// Channel, kind, key and payload.
type Taken = (String, PayloadKind, Option<Box<str>>, Bytes);

impl Shards {
    fn new() -> (Arc<Self>, Arc<Notify>) {
        let answered = Arc::new(Notify::new());
        let ingress = |_| {
            let answered = Arc::clone(&answered);
            Ingress::new(
                4,
                Parking::new(Arc::new(Silence)),
                Arc::new(move || answered.notify_one()),
            )
        };
        let ingresses = (0..2).map(ingress).collect();
        let (state, taken) = (Arc::new(InputState::new()), Mutex::default());
        (Arc::new(Shards { ingresses, state, taken }), answered)
    }

    fn feed(&self, mapping: Mapping, answered: Arc<Notify>) -> Feed {
        Feed::new(FeedSetup {
            name: "lines".into(),
            number: 0,
            mapping,
            publication_bytes_max: 300,
            ingresses: Arc::clone(&self.ingresses),
            answered,
            state: Arc::clone(&self.state),
        })
    }

    /// Takes and answers what waits at a shard.
    fn turn(&self, shard: usize) {
        while let Some(Inflow::Publish(record)) = self.ingresses[shard].take() {
            let position = Position { epoch: Epoch(1), offset: Offset(1) };
            let outcome = Ok(Accepted { position, subscribers: 0, repeated: false });
            self.ingresses[shard].answer(Answer { ticket: record.ticket, outcome });
            let key = record.terms.and_then(|terms| terms.key);
            let channel = record.channel.as_str().to_owned();
            self.taken.lock().unwrap().push((channel, record.kind, key, record.payload));
        }
        self.ingresses[shard].flush_answers();
    }

    fn payloads(&self, channel: &str) -> Vec<Bytes> {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|it| it.0 == channel).map(|it| it.3.clone()).collect()
    }
}

/// Runs a reader of lines beside `story`, until that ends. Shards turn only where the story says so.
fn with_reader<F: Future<Output = ()>>(
    is_json: bool,
    mapping: Mapping,
    story: impl FnOnce(Arc<Shards>, std::net::SocketAddr) -> F,
) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let address = "127.0.0.1:0".parse().unwrap();
        let door = Door::tcp(address).await.unwrap();
        let address = door.to_string().strip_prefix("tcp:").unwrap().parse().unwrap();
        let (shards, answered) = Shards::new();
        let mut feed = shards.feed(mapping.clone(), answered);
        let mut lines = lines(input(LinesFrom::Tcp(address), is_json, mapping));
        lines.door = Some(door);
        tokio::select! {
            fault = lines.read(&mut feed) => panic!("{fault:?}"),
            () = story(shards, address) => (),
        }
    });
}

async fn until(is_so: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never came");
        yield_now().await;
    }
}

/// A channel's name whose home is this one of two shards.
fn channel_at(shard: u16) -> String {
    let at =
        |name: &String| crate::ids::ChannelName::new(name).unwrap().bucket().home(2).0 == shard;
    (0..).map(|n| format!("c{n}")).find(at).unwrap()
}

/// What the journal of a successor keeps out is counted where nobody gives it again, and is not settled
/// where its bus gives it to the successor.
#[test]
fn what_a_hand_over_refuses_is_counted() {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (shards, answered) = Shards::new();
        let mut feed = shards.feed(to("logs"), answered);
        assert_eq!(feed.offer(&Bare, Bytes::from("a")), Some(1));
        assert_eq!(feed.put_once(&Bare, Bytes::from("b")).await, Some(2));
        assert_eq!(feed.put(&Bare, Bytes::from("c"), None).await, Some(3));
        for ingress in shards.ingresses.iter() {
            while let Some(Inflow::Publish(record)) = ingress.take() {
                let outcome = Err(Rejected::HandedOver);
                ingress.answer(Answer { ticket: record.ticket, outcome });
            }
            ingress.flush_answers();
        }
        feed.on_stop().await;
        assert_eq!(feed.settled(), 2);
        assert_eq!(shards.state.report().skipped[Skip::Journal as usize], 2);
    });
}

/// Lines go to their channel in order, also the last one without an end; what is too long is counted
/// and the next line is read.
#[test]
fn raw_lines_are_publications_in_order() {
    with_reader(false, to("logs"), |shards, address| async move {
        let mut sender = TcpStream::connect(address).await.unwrap();
        let most = line_max(300);
        let lines = [
            vec![b'a'; 300],
            vec![b'b'; 301],
            vec![b'c'; most + 1],
            b"\xff1\r".to_vec(),
            b"".to_vec(),
            b"2".to_vec(),
        ];
        sender.write_all(&lines.join(&b'\n')).await.unwrap();
        sender.shutdown().await.unwrap();
        until(|| {
            (0..2).for_each(|shard| shards.turn(shard));
            shards.payloads("logs").len() == 3
        })
        .await;
        assert_eq!(shards.payloads("logs"), [&[b'a'; 300][..], b"\xff1", b"2"]);
        let report = shards.state.report();
        assert_eq!((report.connected, report.ready, report.records), (true, true, 5));
        assert_eq!(report.skipped[Skip::TooLarge as usize], 2);
        assert_eq!(report.bytes, (300 + 301 + most + 1 + 2 + 1) as u64);
    });
}

/// Lines that name their channel keep the kind and the key that they say; those that say something
/// else are counted, and the next one is read.
#[test]
fn json_lines_say_where_they_go() {
    with_reader(true, to("{channel}"), |shards, address| async move {
        let mut sender = TcpStream::connect(address).await.unwrap();
        let lines = [
            r#"{"channel":"a","data":{"n": 1}}"#,
            "nonsense",
            r#"{"channel":"no name","text":"x"}"#,
            r#"{"channel":"b","text":"{}","key":"k"}"#,
            r#"{"channel":"b","base64":"aGk="}"#,
        ];
        sender.write_all(lines.join("\n").as_bytes()).await.unwrap();
        sender.shutdown().await.unwrap();
        until(|| {
            (0..2).for_each(|shard| shards.turn(shard));
            shards.taken.lock().unwrap().len() == 3
        })
        .await;
        let mut taken = std::mem::take(&mut *shards.taken.lock().unwrap());
        taken.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("a".to_owned(), PayloadKind::Json, None, Bytes::from(r#"{"n": 1}"#)),
            ("b".to_owned(), PayloadKind::Text, Some("k".into()), Bytes::from("{}")),
            ("b".to_owned(), PayloadKind::Binary, None, Bytes::from("hi")),
        ];
        assert_eq!(taken, expected);
        let skipped = shards.state.report().skipped;
        assert_eq!((skipped[Skip::Malformed as usize], skipped[Skip::BadName as usize]), (1, 1));
    });
}

/// Filter, payload pointer and key apply to lines as to the records of a bus.
#[test]
fn a_mapping_applies_to_lines() {
    let mapping = Mapping {
        filter: vec![Condition::new("{json:/kind}=trade", &[]).unwrap()],
        payload: Some(Pointer::new("/data").unwrap()),
        key: Some(Template::new("{json:/id}", &[]).unwrap()),
        ..to("ticks.{json:/symbol}")
    };
    with_reader(false, mapping, |shards, address| async move {
        let mut sender = TcpStream::connect(address).await.unwrap();
        let lines = "{\"kind\":\"quote\"}\n\
                     {\"kind\":\"trade\",\"symbol\":\"X\",\"id\":7,\"data\":[1, 2]}\n";
        sender.write_all(lines.as_bytes()).await.unwrap();
        until(|| {
            (0..2).for_each(|shard| shards.turn(shard));
            shards.taken.lock().unwrap().len() == 1
        })
        .await;
        let expected =
            ("ticks.X".to_owned(), PayloadKind::Json, Some("7".into()), Bytes::from("[1, 2]"));
        assert_eq!(shards.taken.lock().unwrap()[0], expected);
        assert_eq!(shards.state.report().skipped[Skip::Filtered as usize], 1);
    });
}

/// A connection whose shard has no room waits, the others go on, and in the end no line is lost.
///
/// Method: one shard does not turn while a connection sends it 1000 lines; another connection's 1000
/// lines for the other shard all arrive meanwhile. Then the first shard turns.
#[test]
fn a_shard_that_stands_still_stops_its_own_senders_only() {
    with_reader(true, to("{channel}"), |shards, address| async move {
        let (still, moving) = (channel_at(0), channel_at(1));
        let line =
            |channel: &str, n: usize| format!("{{\"channel\":\"{channel}\",\"data\":{n}}}\n");
        for channel in [&still, &moving] {
            let mut sender = TcpStream::connect(address).await.unwrap();
            let lines: String = (0..1000).map(|n| line(channel, n)).collect();
            sender.write_all(lines.as_bytes()).await.unwrap();
            if channel == &still {
                until(|| shards.ingresses[0].waiting() == 4).await;
            }
        }
        until(|| {
            shards.turn(1);
            shards.payloads(&moving).len() == 1000
        })
        .await;
        assert_eq!(shards.payloads(&still).len(), 0);
        until(|| {
            shards.turn(0);
            shards.payloads(&still).len() == 1000
        })
        .await;
        let expected: Vec<Bytes> = (0..1000).map(|n| n.to_string().into()).collect();
        assert_eq!(shards.payloads(&still), expected);
        assert_eq!(shards.payloads(&moving), expected);
    });
}

/// One connection more than there may be hears why, and there is room again once one has closed.
#[test]
fn connections_are_bounded() {
    with_reader(false, to("logs"), |shards, address| async move {
        let mut senders = Vec::new();
        for n in 0..LINES_CONNECTIONS_MAX {
            let mut sender = TcpStream::connect(address).await.unwrap();
            sender.write_all(b"here\n").await.unwrap();
            senders.push(sender);
            until(|| {
                (0..2).for_each(|shard| shards.turn(shard));
                shards.payloads("logs").len() == n + 1
            })
            .await;
        }
        let mut told = String::new();
        let mut refused = BufReader::new(TcpStream::connect(address).await.unwrap());
        refused.read_line(&mut told).await.unwrap();
        assert_eq!(told, "there are 64 connections already, as many as may be; close one\n");
        assert_eq!(refused.read_line(&mut told).await.unwrap(), 0);
        drop(senders.pop());
        // That it has gone is seen a little later; until then there is no room.
        loop {
            let mut sender = TcpStream::connect(address).await.unwrap();
            sender.write_all(b"again\n").await.unwrap();
            sender.shutdown().await.unwrap();
            let mut told = String::new();
            BufReader::new(sender).read_line(&mut told).await.unwrap_or_default();
            (0..2).for_each(|shard| shards.turn(shard));
            if told.is_empty() {
                break;
            }
        }
        until(|| {
            (0..2).for_each(|shard| shards.turn(shard));
            shards.payloads("logs").last().is_some_and(|it| *it == "again")
        })
        .await;
    });
}

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("stentor-lines-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn why(door: Result<Door, Fault>) -> String {
    match door {
        Err(Fault::Refused(why)) => why,
        Err(fault) => panic!("{fault:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

async fn in_folder(folder: &Path) {
    let path = folder.join("in.sock");
    let door = Door::unix(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    UnixStream::connect(&path).await.unwrap();
    assert!(why(Door::unix(&path)).contains("somebody listens there"));
    drop(door);
    assert!(!path.exists(), "it is removed at the end");
    // Left over by a server that was killed: bound, and nobody listens.
    drop(UnixListener::bind(&path).unwrap());
    let door = Door::unix(&path).unwrap();
    UnixStream::connect(&path).await.unwrap();
    // Somebody else's by now.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(door);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert!(why(Door::unix(&path)).contains("no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert!(why(Door::unix(&folder.join("none/in.sock"))).contains("No such file"));
}

/// A Unix socket is for its owner and group, is taken over only where nobody listens, and goes with
/// its server; other files stay.
#[test]
fn a_unix_socket_is_made_and_removed_with_care() {
    let folder = Folder::new("door");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(in_folder(&folder.0));
}

/// What ends is over: no batch is left behind, and nothing waits any more.
#[test]
fn the_end_of_a_stream_is_the_end_of_the_input() {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (shards, answered) = Shards::new();
        let mut feed = shards.feed(to("logs"), answered);
        let mut lines = lines(input(LinesFrom::Stdin, false, to("logs")));
        let sender = lines.sender.take().unwrap();
        lines.connections.spawn(read(&b"one\ntwo\n3\n4\n5\nsix"[..], 100, sender));
        let turns = async {
            loop {
                (0..2).for_each(|shard| shards.turn(shard));
                yield_now().await;
            }
        };
        tokio::select! {
            fault = lines.read(&mut feed) => assert!(matches!(fault, Fault::Over)),
            () = turns => (),
        }
        assert_eq!(shards.payloads("logs"), ["one", "two", "3", "4", "5", "six"]);
    });
}
