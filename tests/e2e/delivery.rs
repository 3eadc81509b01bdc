//! Exactly what was published, from the moment the handshake was answered: no hole, no repeat, no
//! change of order, whoever comes and goes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::support::{
    Dice, Io, Kind, Publisher, Received, Server, Subscriber, eventually, run, stentor,
};

on_both_kernels!(
    everybody_gets_everything_since_the_handshake,
    nothing_is_missed_while_others_publish,
    large_publications_reach_slow_readers_byte_for_byte,
    a_burst_arrives_whole_and_is_counted,
);

/// Hundreds of subscribers over both transports and many channels join, leave, read and stay
/// behind at random, on shards whose inboxes hold 16 messages. Each receives, in order and without
/// a hole, everything that was published to its channel after its handshake was answered; event
/// streams show the positions that the publisher was told.
///
/// Method: one thread does everything, so the oracle knows for each subscriber where it begins, or
/// before that: what was still on its way to a shard when somebody joined there may reach it, too.
fn everybody_gets_everything_since_the_handshake(io: Io) {
    for (seed, shards) in [(1, "2"), (2, "3"), (3, "1")] {
        let server = Server::start(io, &["--shards", shards, "--inbox", "16"]);
        let mut crowd = Crowd::of(&server, seed);
        (0..250).for_each(|_| crowd.join());
        for _ in 0..1500 {
            crowd.act();
        }
        crowd.end(&server);
        server.expect_clean_end();
    }
}

/// Publications of one channel, each with its position.
type Channel = Vec<(String, Vec<u8>)>;

/// Many subscribers, and an oracle that forgets nothing.
struct Crowd {
    dice: Dice,
    seed: u64,
    subscribers: SocketAddr,
    publisher: Publisher,
    channels: Vec<Channel>,
    members: Vec<Member>,
}

struct Member {
    subscriber: Subscriber,
    channel: usize,
    /// The number of the publication that must come next; or, if none has come, one before.
    next: usize,
    begun: bool,
}

impl Crowd {
    const CHANNELS: usize = 9;

    fn of(server: &Server, seed: u64) -> Self {
        Crowd {
            dice: Dice::new(seed),
            seed,
            subscribers: server.subscribers,
            publisher: Publisher::of(server),
            channels: vec![Vec::new(); Crowd::CHANNELS],
            members: Vec::new(),
        }
    }

    fn act(&mut self) {
        match self.dice.below(100) {
            0..60 => {
                let channel = self.dice.below(Crowd::CHANNELS);
                let length = [0, 10, 10, 10, 200, 3_000, 20_000][self.dice.below(7)];
                let binary = self.dice.below(3) == 0;
                self.publish(channel, length, binary);
            }
            60..75 => self.join(),
            75..85 => self.leave(),
            _ => {
                let member = self.dice.below(self.members.len());
                let owed = self.owed(member);
                let count = self.dice.below(owed + 1);
                self.read(member, count);
            }
        }
    }

    fn join(&mut self) {
        let channel = self.dice.below(Crowd::CHANNELS);
        let kind = Kind::BOTH[self.dice.below(2)];
        let subscriber = Subscriber::join(self.subscribers, kind, &name(channel));
        self.members.push(Member {
            subscriber,
            channel,
            next: self.channels[channel].len(),
            begun: false,
        });
    }

    /// One leaves: half of them without a word, with whatever it has not read.
    fn leave(&mut self) {
        let member = self.dice.below(self.members.len());
        let mut member = self.members.swap_remove(member);
        if self.dice.below(2) == 0 {
            member.subscriber.wire.try_send(b"\x88\x80\0\0\0\0");
        }
    }

    fn publish(&mut self, channel: usize, length: usize, binary: bool) -> u64 {
        let payload = payload(self.channels[channel].len(), length, binary);
        let (position, subscribers) = self.publisher.publish(&name(channel), &payload);
        self.channels[channel].push((position, payload));
        subscribers
    }

    fn owed(&self, member: usize) -> usize {
        let member = &self.members[member];
        self.channels[member.channel].len() - member.next
    }

    fn read(&mut self, member: usize, count: usize) {
        let Member { subscriber, channel, next, begun } = &mut self.members[member];
        let end = *next + count;
        while *next < end {
            let Received::Publication { payload, position } = subscriber.next() else {
                panic!("seed {}, member {member}: it was let go", self.seed);
            };
            if !*begun {
                let first = number_of(&payload);
                assert!(first <= *next, "seed {}, member {member}: {first} first", self.seed);
                (*begun, *next) = (true, first);
            }
            let place = || format!("seed {}, member {member}, publication {next}", self.seed);
            let (expected_position, expected) = &self.channels[*channel][*next];
            assert!(payload == *expected, "{}", place());
            assert!(position.is_none_or(|position| position == *expected_position), "{}", place());
            *next += 1;
        }
    }

    /// Reads what is owed to each, and sees that nothing follows but the end.
    fn end(mut self, server: &Server) {
        let total = self.members.len() as u64;
        eventually("the homes know how many subscribers they have", || {
            let mut count = 0;
            for channel in 0..Crowd::CHANNELS {
                count += self.publish(channel, 0, false);
            }
            (count == total).then_some(())
        });
        for member in 0..self.members.len() {
            self.read(member, self.owed(member));
        }
        server.signal(rustix::process::Signal::TERM);
        for mut member in self.members {
            match member.subscriber.next() {
                Received::Close(1012, _) | Received::End => {}
                other => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }
}

/// While publishers never pause, subscribers that come and go each see consecutive publications,
/// the first of them no later than the first that was sent after the handshake was answered.
fn nothing_is_missed_while_others_publish(io: Io) {
    let server = Server::start(io, &["--shards", "2", "--inbox", "16"]);
    let over = Arc::new(AtomicBool::new(false));
    let begun: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
    let publishers: Vec<_> = begun
        .iter()
        .enumerate()
        .map(|(channel, begun)| {
            let (over, begun, control) = (Arc::clone(&over), Arc::clone(begun), server.control);
            thread::spawn(move || {
                let mut publisher = Publisher::to(control);
                while !over.load(Ordering::SeqCst) {
                    let number = begun.fetch_add(1, Ordering::SeqCst);
                    publisher.publish(&name(channel), &payload(number, 30, false));
                }
            })
        })
        .collect();
    let visitors: Vec<_> = (0..4)
        .map(|seed| {
            let (begun, subscribers) = (begun.clone(), server.subscribers);
            thread::spawn(move || {
                let mut dice = Dice::new(seed + 10);
                for _ in 0..60 {
                    let (channel, kind) = (dice.below(3), Kind::BOTH[dice.below(2)]);
                    let mut subscriber = Subscriber::join(subscribers, kind, &name(channel));
                    let sent = begun[channel].load(Ordering::SeqCst);
                    let first = number_of(&subscriber.publication());
                    assert!(first <= sent, "seed {seed}: {first} came first, {sent} was due");
                    for number in first + 1..first + 1 + dice.below(40) {
                        assert_eq!(number_of(&subscriber.publication()), number, "seed {seed}");
                    }
                }
            })
        })
        .collect();
    let outcomes: Vec<_> = visitors.into_iter().map(thread::JoinHandle::join).collect();
    over.store(true, Ordering::SeqCst);
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    server.stop();
}

/// Publications of 1 MiB arrive byte for byte at readers that take them in small pieces, text and
/// binary, and a reader that pings in the middle of a frame is answered between two frames.
fn large_publications_reach_slow_readers_byte_for_byte(io: Io) {
    const LENGTH: usize = 1024 * 1024;
    let server = Server::start(io, &["--publication-max", "1MiB", "--lag-max", "32MiB"]);
    let kinds = [Kind::WebSocket, Kind::Sse].repeat(3);
    let mut readers: Vec<Subscriber> =
        kinds.into_iter().map(|kind| Subscriber::join(server.subscribers, kind, "large")).collect();
    let mut publisher = Publisher::of(&server);
    let sent: Vec<Vec<u8>> = (0..6)
        .map(|number| match number % 3 {
            0 => payload(number, LENGTH, true),
            1 => payload(number, LENGTH, false),
            _ => payload(number, 5, false),
        })
        .collect();
    for payload in &sent {
        assert_eq!(publisher.publish("large", payload).1, 6);
    }
    readers[0].send_frame(0x89, b"are you there?");
    for (index, expected) in sent.iter().enumerate() {
        for (reader, subscriber) in readers.iter_mut().enumerate() {
            assert!(subscriber.publication() == *expected, "reader {reader}, publication {index}");
        }
    }
    publisher.publish("large", b"last");
    readers.iter_mut().for_each(|reader| assert_eq!(reader.publication(), b"last"));
    eventually("the ping is answered", || {
        publisher.publish("large", b"more");
        assert_eq!(readers[0].publication(), b"more");
        (readers[0].pongs == 1).then_some(())
    });
    server.stop();
}

/// A burst of thousands of lines reaches a hundred subscribers whole and in order, and the server
/// has counted exactly so many deliveries, in no more sends than that.
fn a_burst_arrives_whole_and_is_counted(io: Io) {
    const LINES: usize = 4000;
    const SUBSCRIBERS: usize = 100;
    let server = Server::start(io, &["--inbox", "16"]);
    let mut subscribers: Vec<Subscriber> = (0..SUBSCRIBERS)
        .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "burst"))
        .collect();
    let path = std::env::temp_dir().join(format!("stentor-burst-{}-{io:?}", std::process::id()));
    let lines: Vec<String> = (0..LINES).map(|line| format!("line {line}\n")).collect();
    std::fs::write(&path, lines.concat()).unwrap();
    let url = format!("http://{}/publish/burst?lines", server.control);
    let body = format!("@{}", path.display());
    let told = run(std::process::Command::new("curl").args(["-sS", "--data-binary", &body, &url]));
    std::fs::remove_file(&path).unwrap();
    assert!(told.contains("\"published\":4000,"), "{told}");
    for (index, subscriber) in subscribers.iter_mut().enumerate() {
        for line in 0..LINES {
            let expected = format!("line {line}").into_bytes();
            assert!(subscriber.publication() == expected, "subscriber {index}, line {line}");
        }
    }
    server.await_stat("/deliveries", (LINES * SUBSCRIBERS) as u64);
    assert!(server.stat("/sends") <= (LINES * SUBSCRIBERS) as u64);
    let url = format!("http://{}", server.control);
    run(&mut stentor(&["publish", "burst", "the last", "--url", &url]));
    subscribers.iter_mut().for_each(|subscriber| assert_eq!(subscriber.publication(), b"the last"));
    server.stop();
}

fn name(channel: usize) -> String {
    format!("room:{channel}/a.b-c_d")
}

/// A payload that follows from its number: text without line ends, or bytes that are no text.
fn payload(number: usize, length: usize, binary: bool) -> Vec<u8> {
    let mut payload = format!("{number}:").into_bytes();
    if binary {
        payload.push(0xff);
    }
    payload.extend((payload.len()..length).map(|at| b'a' + ((at * 7 + number) % 26) as u8));
    payload
}

fn number_of(payload: &[u8]) -> usize {
    let digits = payload.split(|&byte| byte == b':').next().expect("a number");
    std::str::from_utf8(digits).expect("text").parse().expect("a number")
}
