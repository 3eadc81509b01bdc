//! Where the server listens: several addresses of both families.

use crate::support::{Io, Kind, Publisher, Received, Server, Subscriber, refused_start, stentor};

on_both_kernels!(every_address_serves_the_same_channels);

/// Subscribers at each of several addresses, over IPv4 and IPv6, get the same publications. The
/// wildcards of both families have one port.
fn every_address_serves_the_same_channels(io: Io) {
    let flags = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "127.0.0.2:0"];
    let server = Server::start(io, &flags);
    let addresses = server.addresses("http");
    let hosts: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
    assert_eq!(hosts, ["127.0.0.1", "::1", "127.0.0.2"]);
    let both = |address: &_| Kind::BOTH.map(|kind| Subscriber::join(*address, kind, "news"));
    // More than one each, so that every shard has some of every address.
    let mut subscribers: Vec<_> = (0..8).flat_map(|_| addresses.iter().flat_map(both)).collect();
    let mut publisher = Publisher::of(&server);
    publisher.publish("news", b"hello");
    for subscriber in &mut subscribers {
        let Received::Publication { payload, .. } = subscriber.next() else { panic!("no news") };
        assert_eq!(payload, b"hello");
    }
    drop(subscribers);
    server.stop();

    let server = Server::start(io, &["--listen", "0.0.0.0:0"]);
    let port = server.subscribers.port();
    let beside = Server::start(io, &["--listen", &format!("[::]:{port}")]);
    assert_eq!(beside.subscribers, format!("[::]:{port}").parse().unwrap());
    beside.stop();
    server.stop();
}

/// An address that is taken ends the start with its name, whichever of the list it is.
#[test]
fn the_address_that_is_taken_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let told = refused_start(&mut stentor(&["--listen", "127.0.0.2:0", "--listen", &taken]));
    drop(holder);
    assert!(told.contains(&format!("cannot listen on {taken} (listen): Address")), "{told}");
}
