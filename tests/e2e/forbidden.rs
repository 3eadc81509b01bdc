//! Where io_uring is forbidden, as containers do it: said in plain words, never silently replaced.

use crate::support::{
    Kind, Publisher, Server, Subscriber, refused_start, seccomp_launcher, stentor, through,
};

/// `--io uring` refuses to start, says what forbids it and what to do.
#[test]
fn io_uring_that_is_forbidden_is_told() {
    let told = refused_start(&mut through(seccomp_launcher(), &stentor(&["--io", "uring"])));
    for words in ["blocked by a seccomp filter (EPERM)", "io_uring_setup", "--io epoll"] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    assert_eq!(told.matches("--io epoll").count(), 1, "once is enough: {told}");
}

/// `--io auto` serves by epoll, and says so and why, in the log and in the start-up message.
#[test]
fn the_fall_back_is_said_loudly() {
    let server = Server::launch(&mut through(seccomp_launcher(), &stentor(&["--io", "auto"])));
    let banner = server.stdout();
    assert!(
        banner.contains("engine       epoll, since io_uring is not to be had here"),
        "{banner}"
    );
    for words in ["WARN", "blocked by a seccomp filter (EPERM)", "using epoll instead"] {
        server.await_log(words);
    }
    let mut subscribers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "news"));
    assert_eq!(Publisher::of(&server).publish("news", b"by epoll").1, 2);
    subscribers.iter_mut().for_each(|subscriber| assert_eq!(subscriber.publication(), b"by epoll"));
    server.stop();
}
