//! Behind a proxy that speaks HTTP, and says in each request for whom it is. HAProxy, for real.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    proxied::Proxy,
    support::{Answer, Io, Kind, Publisher, Server, Subscriber, Wire, upgrade},
};

on_both_kernels!(
    clients_of_an_http_proxy_are_themselves,
    only_what_trusted_proxies_write_is_believed,
    each_request_counts_for_its_client,
    what_no_proxy_can_mean_is_refused,
);

const PROXIES: [&str; 3] = ["--exempt=", "--trusted", "127.0.0.1,::1"];

fn server(io: Io, flags: &[&str]) -> Server {
    Server::start(io, &[&PROXIES[..], flags].concat())
}

fn stranger(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Subscribes by a connection from there, with these lines in the head.
fn subscriber(source: IpAddr, to: SocketAddr, lines: &str) -> Subscriber {
    let mut wire = Wire::from(source, to);
    wire.send(format!("{}{lines}\r\n", upgrade("/ws/news")).as_bytes());
    Subscriber::on(wire, Kind::WebSocket)
}

fn status(source: IpAddr, to: SocketAddr, lines: &str) -> Answer {
    let mut wire = Wire::from(source, to);
    let close = "Connection: close\r\n";
    let request = format!("GET /poll/news?timeout=0 HTTP/1.1\r\nHost: h\r\n{lines}{close}\r\n");
    wire.send(request.as_bytes());
    wire.answer()
}

/// The addresses of the connections that the server tells of.
fn addresses(server: &Server) -> Vec<String> {
    let list = server.shown("/v1/connections");
    let connections = list["connections"].as_array().unwrap().iter();
    let mut addresses: Vec<String> =
        connections.map(|it| it["address"].as_str().unwrap().to_owned()).collect();
    addresses.sort();
    addresses
}

/// By way of HAProxy, with either header, each client counts as itself whatever it says in that header:
/// one connection of each address is served, the second is refused, and what is published arrives.
fn clients_of_an_http_proxy_are_themselves(io: Io) {
    for (header, options, forged) in [
        ("x-forwarded-for", "option forwardfor", "X-Forwarded-For: 192.0.2.1\r\n"),
        (
            "forwarded",
            "http-request add-header Forwarded for=%[src] if { src -m ip 0.0.0.0/0 }\n  \
             http-request add-header Forwarded for=\\\"[%[src]]\\\" unless { src -m ip 0.0.0.0/0 }",
            "Forwarded: for=192.0.2.1\r\n",
        ),
    ] {
        let server = server(io, &["--client-header", header, "--address-connections", "1"]);
        let to = server.subscribers.to_string();
        let proxy = Proxy::start(&[(&format!("mode http\n  {options}"), &to)]);
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.ports[0]));
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, proxy.ports[0]));
        let mut subscribers = Vec::new();
        for client in [66, 67] {
            let mut subscriber = subscriber(stranger(client), four, forged);
            subscriber.expect_granted();
            subscribers.push(subscriber);
            assert_eq!(status(stranger(client), four, forged).head.status, 429, "{client}");
        }
        // Of ::1 the proxy speaks as well, and it is trusted, so it is not counted.
        subscribers.extend([(); 2].map(|()| Subscriber::join(six, Kind::WebSocket, "news")));
        assert_eq!(server.metric("stentor_shield_connections"), 2.0);
        let mut seen = addresses(&server);
        seen.iter_mut().for_each(|it| it.truncate(it.rfind(':').unwrap()));
        assert_eq!(seen, ["127.0.0.66", "127.0.0.67", "[::1]", "[::1]"], "{header}");
        assert_eq!(Publisher::of(&server).publish("news", b"through the proxy").1, 4);
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.publication(), b"through the proxy");
        }
        drop((subscribers, proxy));
        server.await_stat("/connections/total", 0);
        assert_eq!(server.metric("stentor_shield_connections"), 0.0);
        server.stop();
    }
}

/// What a stranger says of itself is passed over, and so is the header that was not asked for.
fn only_what_trusted_proxies_write_is_believed(io: Io) {
    let server = server(io, &["--client-header", "forwarded", "--address-connections", "1"]);
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut subscribers = Vec::new();
    for (source, lines, expected) in [
        (stranger(66), "Forwarded: for=192.0.2.1\r\n", None),
        (proxy, "X-Forwarded-For: 192.0.2.2\r\n", None),
        (proxy, "Forwarded: for=_hidden\r\n", None),
        (proxy, "Forwarded: for=192.0.2.3\r\n", Some("192.0.2.3:0")),
        (proxy, "Forwarded: for=\"[2001:db8::1]:4711\"\r\n", Some("[2001:db8::1]:4711")),
        (proxy, "Forwarded: for=192.0.2.9, for=192.0.2.4\r\n", Some("192.0.2.4:0")),
    ] {
        let wire = subscriber(source, server.subscribers, lines);
        subscribers.push(wire);
        subscribers.last_mut().unwrap().expect_granted();
        let seen = addresses(&server);
        let begins = format!("{source}:");
        let is_known = |it: &String| expected.map_or(it.starts_with(&begins), |one| it == one);
        assert!(seen.iter().any(is_known), "{lines}{seen:?}");
    }
    assert_eq!(server.metric("stentor_shield_connections"), 4.0);
    // One IPv6 /64 is one address.
    let neighbour = status(proxy, server.subscribers, "Forwarded: for=\"[2001:db8::2]\"\r\n");
    assert_eq!(neighbour.head.status, 429);
    assert_eq!(status(stranger(66), server.subscribers, "").head.status, 429);
    ["2001:db8::2", "127.0.0.66"].iter().for_each(|address| server.await_log(address));
    drop(subscribers);
    server.await_stat("/connections/total", 0);
    server.stop();
}

/// Over one connection of a proxy the requests of one client are limited, and those of another are not.
fn each_request_counts_for_its_client(io: Io) {
    let flags = ["--client-header", "x-forwarded-for", "--address-request-rate", "1"];
    let server = server(io, &flags);
    let mut wire = Wire::connect(server.subscribers);
    let mut ask = |client: &str| {
        let lines = format!("Host: h\r\nX-Forwarded-For: {client}\r\n");
        wire.send(format!("GET /poll/news?timeout=0 HTTP/1.1\r\n{lines}\r\n").as_bytes());
        wire.next_answer().head.status
    };
    for _ in 0..10 {
        assert_eq!((ask("192.0.2.1"), ask("192.0.2.2")), (200, 200));
    }
    assert_eq!(ask("192.0.2.3"), 200);
    let asked = (1..).find(|_| ask("192.0.2.1") == 429).unwrap();
    assert!(asked < 1000, "nobody stopped it");
    let other = status(IpAddr::V4(Ipv4Addr::LOCALHOST), server.subscribers, "");
    assert_eq!(other.head.status, 200, "the proxy itself is not limited");
    drop(wire);
    server.await_stat("/connections/total", 0);
    server.stop();
}

/// A trusted proxy whose header says nothing is answered 400, with what is wrong.
fn what_no_proxy_can_mean_is_refused(io: Io) {
    let server = server(io, &["--client-header", "x-forwarded-for"]);
    let line = "X-Forwarded-For: 192.0.2.1, localhost\r\n";
    let told = status(IpAddr::V4(Ipv4Addr::LOCALHOST), server.subscribers, line);
    assert_eq!(told.head.status, 400);
    let text =
        "the X-Forwarded-For header of a trusted proxy has an entry that is not an address\n";
    assert_eq!(String::from_utf8(told.body).unwrap(), text);
    let passed = status(stranger(66), server.subscribers, line);
    assert_eq!(passed.head.status, 200);
    server.stop();
}
