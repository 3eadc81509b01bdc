//! What is said between two servers, and how sockets come to shards.

use std::{
    env, fs, io,
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    process, thread,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::words::{Found, Peer, Word, find_or_open, open};
use crate::{
    config::Place,
    limits::{HANDOVER_SOCKETS_PER_WORD, HANDOVER_WORD_BYTES_MAX},
    server::{adopt::Adopted, listen},
};

/// Both ends of a conversation at a path of the test's own.
fn pair(name: &str) -> (Peer, Peer) {
    let path = env::temp_dir().join(format!("stentor-words-{name}-{}", process::id()));
    let listener = Socket::from(open(&path).unwrap());
    let successor = Peer::find(&path).unwrap().unwrap();
    let predecessor = Peer::of(listener.accept().unwrap().0).unwrap();
    fs::remove_file(&path).unwrap();
    (predecessor, successor)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Words come as they were said, with as many sockets as a word may have, which are the very ones.
#[test]
fn words_come_with_their_sockets() {
    let (old, new) = pair("sockets");
    [&old, &new].into_iter().for_each(|peer| peer.check().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let word = || Word::Sockets { address: listener.local_addr().unwrap().to_string() };
    old.pass(&word(), &[listener.as_fd(); HANDOVER_SOCKETS_PER_WORD]).unwrap();
    old.say(&Word::Yours).unwrap();
    let (heard, sockets) = new.hear(soon()).unwrap();
    assert_eq!((heard, sockets.len()), (word(), HANDOVER_SOCKETS_PER_WORD));
    let same = TcpListener::from(sockets.into_iter().next().unwrap());
    assert_eq!(same.local_addr().unwrap(), listener.local_addr().unwrap());
    assert_eq!(new.hear(soon()).unwrap().0, Word::Yours);
    let more = [listener.as_fd(); HANDOVER_SOCKETS_PER_WORD + 1];
    assert!(old.pass(&word(), &more).unwrap_err().to_string().contains("too many sockets"));
}

/// Silence ends, an end is told, and so is what is no word or too long for one.
#[test]
fn what_is_no_word_is_told() {
    let (old, new) = pair("bounds");
    let silence = new.hear(Instant::now()).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
    old.say(&Word::Refused { why: "x".repeat(HANDOVER_WORD_BYTES_MAX) }).unwrap();
    assert!(new.hear(soon()).unwrap_err().to_string().contains("too much at once"));
    drop(old);
    assert_eq!(new.hear(soon()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// Where nobody listens there is nobody, be there a socket that one has left or nothing; what is no
/// socket is not taken away.
#[test]
fn a_stale_socket_is_replaced() {
    let path = env::temp_dir().join(format!("stentor-words-stale-{}", process::id()));
    assert!(Peer::find(&path).unwrap().is_none());
    drop(open(&path).unwrap());
    assert!(Peer::find(&path).unwrap().is_none());
    let listener = open(&path).unwrap();
    assert!(Peer::find(&path).unwrap().is_some());
    drop(listener);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let told = open(&path).unwrap_err().to_string();
    assert!(told.contains("something else than a socket"), "{told}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
}

/// Of several that start at once one opens the path, and the others find it there.
#[test]
fn one_of_many_opens_the_path() {
    let path = env::temp_dir().join(format!("stentor-words-many-{}", process::id()));
    let found: Vec<Found> = thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| find_or_open(&path).unwrap())).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let opened = found.iter().filter(|it| matches!(it, Found::Nobody(_))).count();
    assert_eq!(opened, 1);
    fs::remove_file(&path).unwrap();
}

/// A last word is heard, also where what was said to it before was never read, and then the end.
#[test]
fn a_last_word_is_heard() {
    let (old, new) = pair("last");
    new.say(&Word::Ready).unwrap();
    let last = || Word::Refused { why: "it is late".into() };
    old.say(&last()).unwrap();
    drop(old);
    assert_eq!(new.hear(soon()).unwrap().0, last());
    assert_eq!(new.hear(soon()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// Every socket that was passed has a shard, and every shard a socket, however many there are of each;
/// where a shard would have more than it can, the error says how many shards it takes.
#[test]
fn every_socket_has_a_shard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for (sockets, shards, each) in [
        (1, 1, vec![1]),
        (1, 3, vec![1, 1, 1]),
        (2, 3, vec![1, 1, 1]),
        (3, 2, vec![2, 1]),
        (16, 1, vec![16]),
    ] {
        let passed: Vec<OwnedFd> =
            (0..sockets).map(|_| listener.as_fd().try_clone_to_owned().unwrap()).collect();
        let mut adopted = Adopted::default();
        adopted.add(passed).unwrap();
        let listening =
            listen::passed(adopted.take(&Place::Tcp(address)).unwrap(), address, shards);
        assert_eq!(listening.sockets.len(), sockets, "one that is alone gets no others");
        let by_shard = listen::by_shard(&[listening], shards).unwrap();
        assert_eq!(by_shard.iter().map(Vec::len).collect::<Vec<_>>(), each);
    }
    let passed = (0..33).map(|_| listener.as_fd().try_clone_to_owned().unwrap()).collect();
    let mut adopted = Adopted::default();
    adopted.add(passed).unwrap();
    let listening = listen::passed(adopted.take(&Place::Tcp(address)).unwrap(), address, 2);
    let told = listen::by_shard(&[listening], 2).err().unwrap().to_string();
    assert!(told.contains("start with --shards 3 or more"), "{told}");
}
