//! What was acknowledged outlives the process: `kill -9`, a full disk, damage, and retention.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    Dice, Folder, Follows, Gap, Io, Kind, Poller, Publisher, Seen, Server, Stubborn, Subscriber,
    Talk, Whereabouts, eventually, follow, refused_start, run, stentor,
};

const CHANNELS: [&str; 6] = ["orders", "chat.a", "chat.b", "chat.c", "ticker.EURUSD", "a/b:c"];

/// Publications that were acknowledged: by channel and text, the position that was told.
type Ledger = Arc<Mutex<HashMap<(String, String), String>>>;

/// A server under load is killed without a word, again and again, and comes back with another
/// number of shards and another way into the kernel. Publishers try what was not acknowledged
/// again, under the same key; subscribers come back from the last that they have. In the end
/// every acknowledged publication is there, once, at the position that was told, and subscribers
/// have seen exactly what is there, without a gap. The journal is sound after each kill.
///
/// Method: five rounds; `STENTOR_KILL_ROUNDS` says how many else.
#[test]
fn a_killed_server_keeps_what_it_acknowledged() {
    let rounds = env::var("STENTOR_KILL_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let folder = Folder::new("kill");
    replaced_under_load(rounds, |round, before: Option<Server>| {
        if let Some(before) = before {
            before.kill();
            run(&mut stentor(&["journal", "check", folder.text()]));
        }
        start(&folder, round, &[])
    });
}

/// The same where each server hands over to the next: it closes the journal, and the next has it
/// before anybody is told to leave. Nobody who is connected to the last loses anything, and each ends
/// by itself.
#[test]
fn a_successor_has_what_was_acknowledged() {
    let folder = Folder::new("heirs");
    let takeover = format!("{}/takeover", folder.text());
    replaced_under_load(5, |round, before: Option<Server>| match before {
        None => start(&folder, round, &["--takeover", &takeover]),
        Some(before) => {
            let [listen, control] = [before.subscribers, before.control].map(|it| it.to_string());
            let flags = ["--takeover", &takeover, "--listen", &listen, "--control", &control];
            let server = start(&folder, round, &flags);
            before.expect_clean_end();
            server
        }
    });
    assert!(!Path::new(&takeover).exists(), "the last takes it with it");
}

fn start(folder: &Folder, round: usize, more: &[&str]) -> Server {
    let channels = "* history=10000000 history-bytes=1GiB publish=true";
    let io = [Io::Uring, Io::Epoll][round % 2];
    let shards = (1 + round % 4).to_string();
    let flags = ["--journal", folder.text(), "--channels", channels, "--shards", &shards];
    Server::start(io, &[&flags, more].concat())
}

/// Publishers and subscribers go on while servers come and go.
fn replaced_under_load(rounds: usize, replace: impl Fn(usize, Option<Server>) -> Server) {
    let (at, ledger) = (Whereabouts::default(), Ledger::default());
    let mut server = replace(0, None);
    at.is_at(&server);
    let mut first = Publisher::of(&server);
    let begins: Vec<String> =
        CHANNELS.iter().map(|channel| first.publish(channel, b"the first").0).collect();
    let followers: Vec<_> = (0..)
        .zip([Follows::Sse, Follows::Commands, Follows::Poll].repeat(CHANNELS.len() / 3))
        .map(|(index, by)| {
            let (at, since): (_, String) = (at.clone(), begins[index].clone());
            thread::spawn(move || follow(&at, by, CHANNELS[index], &since, "the last"))
        })
        .collect();
    let publishers: Vec<_> = (0..5).map(|number| publish_on(number, &at, &ledger)).collect();
    let mut dice = Dice::new(7);
    for round in 1..=rounds {
        let wanted = ledger.lock().unwrap().len() + 50 + dice.below(400);
        eventually("more is acknowledged", || {
            (ledger.lock().unwrap().len() >= wanted).then_some(())
        });
        server = replace(round, Some(server));
        at.is_at(&server);
    }
    at.end();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let mut last = Publisher::of(&server);
    CHANNELS.iter().for_each(|channel| drop(last.publish(channel, b"the last")));
    for ((channel, since), follower) in CHANNELS.iter().zip(&begins).zip(followers) {
        let there = follow(&at, Follows::Commands, channel, since, "the last");
        let seen = follower.join().expect("a follower sees no gap");
        expect_same(channel, &seen, &there);
        expect_acknowledged(channel, &there, &ledger.lock().unwrap());
    }
    server.stop();
}

/// Publishes on all channels until it is over, each publication until it is acknowledged.
fn publish_on(number: usize, at: &Whereabouts, ledger: &Ledger) -> thread::JoinHandle<()> {
    let (at, ledger) = (at.clone(), Arc::clone(ledger));
    thread::spawn(move || {
        let mut publisher = match number {
            0 => Stubborn::Commands(at.clone(), None),
            _ => Stubborn::Http(at.clone(), None),
        };
        let mut dice = Dice::new(number as u64);
        for count in 0.. {
            if at.is_over() {
                break;
            }
            let channel = CHANNELS[dice.below(CHANNELS.len())];
            let key = format!("{number}-{count}");
            let text = format!("publication {key} {}", "x".repeat(dice.below(300)));
            let position = publisher.publish(channel, &key, &text);
            ledger.lock().unwrap().insert((channel.to_owned(), text), position);
        }
    })
}

#[track_caller]
fn expect_same(channel: &str, seen: &Seen, there: &Seen) {
    let differs = seen.iter().zip(there).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("{channel}: a follower saw {:?} where {:?} is", seen[at], there[at]);
    }
    assert_eq!(seen.len(), there.len(), "{channel}");
}

/// Whatever was acknowledged on the channel is there at its position, and nothing is there twice.
#[track_caller]
fn expect_acknowledged(channel: &str, there: &Seen, ledger: &HashMap<(String, String), String>) {
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for (text, position) in there {
        let before = found.insert(text, position);
        assert_eq!(before, None, "{channel} has {text} twice, again at {position}");
    }
    for ((_, text), position) in ledger.iter().filter(|((on, _), _)| on == channel) {
        assert_eq!(found.get(text.as_str()), Some(&position.as_str()), "{channel}: {text}");
    }
}

/// Without room on the disk publishers are answered 507 and nothing is published; what was
/// acknowledged before is there. Once there is room again publishing goes on by itself, and a
/// restart has all that was acknowledged and nothing else.
///
/// Method: a file system in memory. Where mounting is not permitted this says so and holds nothing.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = Folder::new("full");
    let mount = ["-t", "tmpfs", "-o", "size=4m", "stentor-test", folder.text()];
    let mounted = Command::new("mount").args(mount).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a_full_disk_loses_nothing may not mount a file system here");
        return;
    }
    let _mounted = Mounted(folder.path());
    let dir = folder.path().join("journal");
    let dir = dir.to_str().unwrap();
    let channels = "* history=100000 history-bytes=1GiB publish=true";
    let flags = ["--journal", dir, "--channels", channels];
    let server = Server::start(Io::Uring, &flags);
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![0; 3 * 1024 * 1024]).unwrap();
    let mut reader = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    let mut publisher = Publisher::of(&server);
    let mut book: Vec<(String, String)> = Vec::new();
    let text = |number: usize| format!("{number}:{}", "y".repeat(10_000));
    let mut refused = 0;
    for number in 0.. {
        let answer = publisher.try_publish("news", text(number).as_bytes());
        match answer.head.status {
            200 => {
                let told: Value = serde_json::from_slice(&answer.body).unwrap();
                book.push((text(number), told["position"].as_str().unwrap().to_owned()));
                assert_eq!(reader.publication(), text(number).as_bytes());
            }
            507 => {
                let told = String::from_utf8(answer.body).unwrap();
                assert!(told.contains("disk is full"), "{told}");
                refused += 1;
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        if refused == 5 {
            break;
        }
        assert!(number < 500, "the disk never filled");
    }
    assert!(book.len() > 20, "{}", book.len());
    let command = json!({ "type": "publish", "channel": "news", "text": text(0) });
    assert_eq!(Talk::open(server.subscribers, "").ask(&command)["code"], "disk_full");
    fs::remove_file(&ballast).unwrap();
    let after = eventually("publishing goes on", || {
        let answer = publisher.try_publish("news", b"after");
        let is_well = answer.head.status == 200;
        is_well.then(|| serde_json::from_slice::<Value>(&answer.body).unwrap())
    });
    book.push(("after".to_owned(), after["position"].as_str().unwrap().to_owned()));
    assert_eq!(reader.publication(), b"after", "what was refused was seen by nobody");
    server.kill();
    run(&mut stentor(&["journal", "check", dir]));
    let server = Server::start(Io::Epoll, &flags);
    let at = Whereabouts::default();
    at.is_at(&server);
    let there = follow(&at, Follows::Poll, "news", &book[0].1, "after");
    expect_same("news", &there, &book[1..].to_vec());
    server.stop();
}

/// Unmounts when the test ends; servers that use it were dropped before.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// One directory is one server's; a second one is told which setting to change, and the first goes
/// on.
#[test]
fn a_journal_is_one_servers() {
    let folder = Folder::new("shared");
    let flags = ["--journal", folder.text(), "--channels", "* history=10"];
    let server = Server::start(Io::Uring, &flags);
    let told = refused_start(&mut stentor(&flags));
    let expected = format!(
        "stentor: the journal in {} is in use by another process; stop that one, or name another \
         directory\n",
        folder.text()
    );
    assert_eq!(told.lines().last().map(|line| format!("{line}\n")), Some(expected), "{told}");
    Publisher::of(&server).publish("news", b"still here");
    server.stop();
}

/// A journal that is damaged before whole records is not opened: the file and the byte are named,
/// and nothing in it is changed. A tail that a crash has torn is cut off without loss.
#[test]
fn damage_is_told_and_a_torn_tail_is_not() {
    let folder = Folder::new("damaged");
    let flags = ["--journal", folder.text(), "--channels", "* history=100"];
    let server = Server::start(Io::Uring, &flags);
    let mut publisher = Publisher::of(&server);
    let positions: Vec<String> =
        (0..10).map(|at| publisher.publish("news", format!("{at}").as_bytes()).0).collect();
    server.kill();
    let logs = || {
        fs::read_dir(folder.path()).unwrap().filter_map(|file| {
            let path = file.unwrap().path();
            path.extension().is_some_and(|it| it == "log").then_some(path)
        })
    };
    let file = logs().next().expect("a bucket");
    assert_eq!(logs().count(), 1, "one channel has one bucket");
    let whole = fs::read(&file).unwrap();

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let told = refused_start(&mut stentor(&flags));
    let named = format!("{} is damaged at byte ", file.display());
    let (_, rest) = told.split_once(&named).unwrap_or_else(|| panic!("no {named} in {told}"));
    let byte = rest.split(':').next().and_then(|digits| digits.parse::<usize>().ok());
    assert!(byte.is_some_and(|byte| byte <= whole.len() / 2), "{told}");
    assert!(told.contains("stentor journal check"), "{told}");
    assert!(fs::read(&file).unwrap() == damaged, "nothing was changed");

    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let server = Server::start(Io::Uring, &flags);
    let told = Poller::connect(server.subscribers).poll("news?last=100&timeout=0", "");
    let ids: Vec<&str> = told.publications.iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(ids, positions[..9], "the tenth was torn by us, not by a crash");
    server.stop();
}

/// What retention drops leaves the disk: 100,000 publications of which 100 are kept take a few
/// hundred kilobytes, and a restart has just the 100, at their positions, with the gap before them.
#[test]
fn the_journal_keeps_what_the_history_keeps() {
    const PUBLISHED: usize = 100_000;
    let folder = Folder::new("retention");
    let flags = ["--journal", folder.text(), "--channels", "* history=100"];
    let server = Server::start(Io::Uring, &flags);
    let mut publisher = Publisher::of(&server);
    let (first, _) = publisher.publish("news", b"line 0");
    let lines: String = (1..PUBLISHED).map(|line| format!("line {line}\n")).collect();
    let told = publisher.publish_as("news?lines", "", lines.as_bytes());
    assert_eq!(told["published"], PUBLISHED - 1, "{told}");
    let all = lines.len() as u64 * 4;
    eventually("the disk is compacted", || (folder.bytes() < all / 10).then_some(()));
    server.kill();
    run(&mut stentor(&["journal", "check", folder.text()]));
    let server = Server::start(Io::Epoll, &flags);
    let kept = Poller::connect(server.subscribers).poll(&format!("news?since={first}"), "");
    let expected = (PUBLISHED - 100..PUBLISHED).map(|line| format!("line {line}"));
    let texts = kept.publications.iter().filter_map(|it| it["data"].as_str());
    assert!(texts.eq(expected), "{:?}", kept.publications.first());
    assert_eq!(Some(kept.position.as_str()), told["last"].as_str());
    let Some(Gap { from, .. }) = kept.gap else { panic!("there is a gap") };
    assert_eq!(from, first);
    assert_eq!(server.shown("/channels/news")["kept"], 100);
    server.stop();
}
