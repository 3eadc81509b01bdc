//! With which rights the server runs.

use std::fs;

use crate::support::{Folder, Io, Kind, Publisher, Server, Subscriber, refused_start, stentor};

on_both_kernels!(the_server_becomes_an_ordinary_user);

/// `--user`: once it listens every thread of the server is that user and nobody else, with no group and
/// no capability of root's, and no way to new rights; and it serves, with a journal that is that user's.
fn the_server_becomes_an_ordinary_user(io: Io) {
    if !rustix::process::geteuid().is_root() {
        let told = refused_start(&mut stentor(&["--user", "nobody"]));
        assert!(told.contains("only root can become 'nobody'"), "{told}");
        return;
    }
    let folder = Folder::new(&format!("rights-{io:?}"));
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
    let flags = ["--user", "65534", "--journal", folder.text(), "--channels", "* history=10"];
    let server = Server::start(io, &flags);
    let mut subscribers = Kind::BOTH.map(|kind| Subscriber::join(server.subscribers, kind, "news"));
    Publisher::of(&server).publish("news", b"as nobody");
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.publication(), b"as nobody");
    }
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", server.id())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let four = ["65534"; 4].join(" ");
        assert_eq!((line("Uid:"), line("Gid:")), (four.clone(), four));
        assert!(["65534", ""].contains(&line("Groups:").as_str()), "{status}");
        for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(line(capabilities), "0000000000000000", "{status}");
        }
        assert_eq!(line("NoNewPrivs:"), "1");
        threads += 1;
    }
    assert!(threads > 2, "{threads}");
    drop(subscribers);
    server.stop();
}

/// Who cannot become that user says so, and does not start.
#[test]
fn who_cannot_become_a_user_does_not_start() {
    for (user, why) in [("no-such-user", "there is no user 'no-such-user'"), ("root", "is root")] {
        let told = refused_start(&mut stentor(&["--user", user]));
        assert!(told.contains(why), "{told}");
    }
}
