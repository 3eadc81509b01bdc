//! The control listener at a Unix socket: who may, and whose the file is.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::Command,
};

use crate::support::{
    Folder, Io, Kind, Running, Server, Subscriber, eventually, refused_start, run, stentor,
};

/// Publishes by curl, by whatever name of the host.
fn publish(path: &str, text: &str) {
    let told = run(Command::new("curl").args([
        "-sS",
        "--unix-socket",
        path,
        "-d",
        text,
        "http://stentor.example/publish/news",
    ]));
    assert!(told.contains("\"channel\":\"news\""), "{told}");
}

/// What a command that asks this server says, and its exit code.
fn command(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let ended = Running::start(stentor(arguments).env("STENTOR_CONTROL_URL", url)).end();
    let told = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(told).unwrap())
}

/// Curl and the commands reach the server, without keys; its file is for its user and group alone, and
/// goes with it. A file that a crash left is replaced, that of one who listens never, nor anything else.
#[test]
fn the_control_listener_is_a_file() {
    let folder = Folder::new("unix-control");
    let path = format!("{}/control", folder.text());
    let url = format!("unix:{path}");
    let server = Server::start(Io::Uring, &["--control", &url]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "news");
    publish(&path, "hello");
    assert_eq!(subscriber.publication(), b"hello");
    for (arguments, words) in [
        (&["publish", "news", "again"][..], "\"channel\":\"news\""),
        (&["channels"], "\"channels\":["),
        (&["health"], "ok"),
        (&["health", "--ready"], "ready"),
        (&["log-level", "warn"], "\"filter\":\"warn\""),
        (&["top", "--once", "--interval", "0.1"], "Stentor "),
    ] {
        let (code, told) = command(&url, arguments);
        assert!(code == Some(0) && told.contains(words), "{arguments:?}: {told}");
    }
    assert_eq!(subscriber.publication(), b"again");
    let told = refused_start(&mut stentor(&["--control", &url]));
    assert!(told.contains(&format!("cannot listen on {url} (control): address in use")), "{told}");
    assert_eq!(command(&url, &["health"]).0, Some(0));
    server.kill();
    assert!(fs::exists(&path).unwrap(), "nobody could remove it");
    let (code, told) = command(&url, &["health"]);
    assert!(code == Some(1) && told.contains(&format!("nothing listens at {url}")), "{told}");

    let server = Server::start(Io::Epoll, &["--control", &url]);
    assert_eq!(command(&url, &["health"]).0, Some(0));
    server.stop();
    assert!(!fs::exists(&path).unwrap());
    let (code, told) = command(&url, &["health"]);
    assert!(code == Some(1) && told.contains(&format!("nothing listens at {url}")), "{told}");

    fs::write(&path, "precious").unwrap();
    let told = refused_start(&mut stentor(&["--control", &url]));
    assert!(told.contains("something else than a socket"), "{told}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

/// A server leaves the file of another that has taken its place.
#[test]
fn anothers_file_stays() {
    let folder = Folder::new("unix-others");
    let path = format!("{}/control", folder.text());
    let server = Server::start(Io::Uring, &["--control", &format!("unix:{path}")]);
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    server.stop();
    assert!(fs::exists(&path).unwrap());
}

/// A hand-over passes the socket on as it is: the predecessor leaves the file, which goes with the
/// successor, and whoever publishes by it reaches one of them.
#[test]
fn the_file_is_handed_over() {
    let folder = Folder::new("unix-handover");
    let (path, takeover) =
        (format!("{}/control", folder.text()), format!("{}/takeover", folder.text()));
    let url = format!("unix:{path}");
    let flags = ["--control", &url, "--takeover", &takeover];
    let first = Server::start(Io::Uring, &flags);
    let listen = first.subscribers.to_string();
    let second = Server::start(Io::Epoll, &[&flags[..], &["--listen", &listen]].concat());
    first.expect_clean_end();
    let mut subscriber = Subscriber::join(second.subscribers, Kind::WebSocket, "news");
    publish(&path, "hello");
    assert_eq!(subscriber.publication(), b"hello");
    eventually("it is the successor's", || (command(&url, &["health"]).0 == Some(0)).then_some(()));
    second.stop();
    assert!(!fs::exists(&path).unwrap());
}
