//! Behind a proxy that says for whom it speaks: limits see the client's address. HAProxy, for real.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use crate::{
    support::{
        Folder, Io, Kind, Publisher, Running, Server, Subscriber, Wire, eventually, upgrade,
    },
    tls::Secure,
};

on_both_kernels!(
    clients_of_a_proxy_are_themselves,
    clients_by_tls_are_themselves,
    only_trusted_proxies_are_believed
);

const FLAGS: [&str; 7] = [
    "--exempt=",
    "--proxy-protocol=true",
    "--trusted",
    "127.0.0.1,::1",
    "--address-connections",
    "1",
    "--log=debug",
];

/// HAProxy in front of a server.
pub struct Proxy {
    child: Child,
    pub ports: Vec<u16>,
    _folder: Folder,
}

impl Proxy {
    /// Starts it with one port for each of these, on IPv4 and IPv6: the mode with its options, and how
    /// the server is spoken to.
    pub fn start(listens: &[(&str, &str)]) -> Proxy {
        // A port that is free now may be somebody else's when HAProxy wants it; then it ends.
        eventually("haproxy listens", || Proxy::try_start(listens))
    }

    fn try_start(listens: &[(&str, &str)]) -> Option<Proxy> {
        let free = |_: &_| TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let ports: Vec<u16> = listens.iter().map(free).collect();
        let listen = |(&port, (options, server)): (&u16, &(&str, &str))| {
            format!(
                "listen port{port}\n  bind 127.0.0.1:{port}\n  bind [::1]:{port}\n  {options}\n  \
                 server stentor {server}\n",
            )
        };
        let listens: String = ports.iter().zip(listens).map(listen).collect();
        let times = "timeout connect 10s\n  timeout client 100s\n  timeout server 100s";
        let folder = Folder::new(&format!("haproxy-{}", ports[0]));
        let config = folder.path().join("haproxy.cfg");
        std::fs::write(&config, format!("defaults\n  {times}\n{listens}")).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("haproxy; scripts/test.sh setup installs it");
        let mut proxy = Proxy { child, ports, _folder: folder };
        let connects = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let listens = eventually("haproxy listens or ends", || {
            let has_ended = proxy.child.try_wait().unwrap().is_some();
            let listens = proxy.ports.iter().all(|&port| connects(port));
            (has_ended || listens).then_some(!has_ended)
        });
        listens.then_some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By way of HAProxy, version 1 and 2, IPv4 and IPv6, each client counts as itself: one connection of
/// each address is served, the second is refused, and what is published arrives.
fn clients_of_a_proxy_are_themselves(io: Io) {
    let server = Server::start(io, &FLAGS);
    let to = |version: &str| format!("{} {version}", server.subscribers);
    let [one, two] = ["send-proxy", "send-proxy-v2"].map(to);
    let proxy = Proxy::start(&[("mode tcp", &one), ("mode tcp", &two)]);
    for &port in &proxy.ports {
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let source = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        // Of ::1 and 127.0.0.1 the proxy speaks as well, and those are trusted, so nobody is counted.
        let mut subscribers = Vec::new();
        for client in [66, 67] {
            let mut wire = Wire::from(source(client), four);
            wire.send(format!("{}\r\n", upgrade("/ws/news")).as_bytes());
            let mut subscriber = Subscriber::on(wire, Kind::WebSocket);
            subscriber.expect_granted();
            subscribers.push(subscriber);
            let refused = Wire::from(source(client), four).answer();
            assert_eq!(refused.head.status, 429, "{client}");
        }
        subscribers.push(Subscriber::join(six, Kind::Sse, "news"));
        subscribers.push(Subscriber::join(six, Kind::WebSocket, "news"));
        assert_eq!(server.metric("stentor_shield_connections"), 2.0);
        let mut publisher = Publisher::of(&server);
        assert_eq!(publisher.publish("news", b"through the proxy").1, 4);
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.publication(), b"through the proxy");
        }
        drop(subscribers);
        server.await_stat("/connections/total", 0);
    }
    ["127.0.0.66", "127.0.0.67"].iter().for_each(|address| server.await_log(address));
    drop(proxy);
    server.stop();
}

/// The header stands in front of TLS: a proxy that knows nothing of what it carries says for whom it
/// does, and the client speaks TLS with the server itself.
fn clients_by_tls_are_themselves(io: Io) {
    let secure = Secure::new(&format!("proxied-tls-{io:?}"));
    let server = Server::start(io, &[&FLAGS[..], &secure.flags()].concat());
    let to = format!("{} send-proxy-v2", server.addresses("https")[0]);
    let proxy = Proxy::start(&[("mode tcp", &to)]);
    let curl = |path: &str| {
        let url = format!("https://127.0.0.1:{}{path}", proxy.ports[0]);
        let mut command = Command::new("curl");
        command.args(["-sN", "--interface", "127.0.0.66", "--cacert", secure.certificate(), &url]);
        command
    };
    let mut reader = Running::start(&mut curl("/sse/news"));
    server.await_stat("/connections/sse", 1);
    let list = server.shown("/v1/connections?address=127.0.0.66");
    assert_eq!(list["connections"][0]["transport"], "sse", "{list}");
    assert_eq!(server.metric("stentor_tls_handshakes_total"), 1.0);
    // One more is turned away before its handshake.
    assert_eq!(Running::start(&mut curl("/sse/news")).end().status.code(), Some(35));
    let excess = "stentor_shield_excess_total{limit=\"address_connections\"}";
    assert_eq!(server.metric(excess), 1.0);
    assert_eq!(Publisher::of(&server).publish("news", b"in the tunnel").1, 1);
    server.stop();
    let told = String::from_utf8(reader.end().stdout).unwrap();
    assert!(told.contains("data: in the tunnel"), "{told}");
}

/// A header of somebody else is a malformed request; a trusted proxy without one is closed.
fn only_trusted_proxies_are_believed(io: Io) {
    let server = Server::start(io, &FLAGS);
    let stranger = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
    let request = format!("{}\r\n", upgrade("/ws/news"));
    let mut believed = Wire::connect(server.subscribers);
    believed.send(header);
    believed.send(request.as_bytes());
    assert_eq!(believed.head().status, 101);
    let mut lying = Wire::from(stranger, server.subscribers);
    lying.send(header);
    let refused = lying.answer();
    assert_eq!(refused.head.status, 400);
    assert!(String::from_utf8(refused.body).unwrap().contains("no PROXY header is taken"));
    let mut silent = Wire::connect(server.subscribers);
    silent.send(request.as_bytes());
    assert_eq!(silent.try_peek(&mut [0]), None, "closed without a word");
    eventually("the log says why", || server.stderr().contains("no PROXY header").then_some(()));
    drop((believed, silent));
    server.await_stat("/connections/total", 0);
    server.stop();
}
