//! Behind a proxy that says for whom it speaks: limits see the client's address. HAProxy, for real.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use crate::support::{Folder, Io, Kind, Publisher, Server, Subscriber, Wire, eventually, upgrade};

on_both_kernels!(clients_of_a_proxy_are_themselves, only_trusted_proxies_are_believed);

const FLAGS: [&str; 7] = [
    "--exempt=",
    "--proxy-protocol=true",
    "--trusted",
    "127.0.0.1,::1",
    "--address-connections",
    "1",
    "--log=debug",
];

/// HAProxy in front of a server: two ports, one for each version of the protocol, on IPv4 and IPv6.
struct Proxy {
    child: Child,
    ports: [u16; 2],
    _folder: Folder,
}

impl Proxy {
    fn before(server: &Server) -> Proxy {
        let free = || TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let ports = [free(), free()];
        let listen = |version: &str, port: u16| {
            format!(
                "listen {version}\n  bind 127.0.0.1:{port}\n  bind [::1]:{port}\n  \
                 server stentor {} {version}\n",
                server.subscribers
            )
        };
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 100s\n  \
             timeout server 100s\n{}{}",
            listen("send-proxy", ports[0]),
            listen("send-proxy-v2", ports[1])
        );
        let folder = Folder::new("haproxy");
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("haproxy; scripts/test.sh setup installs it");
        let proxy = Proxy { child, ports, _folder: folder };
        for port in ports {
            eventually("haproxy listens", || {
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
            });
        }
        proxy
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
    let proxy = Proxy::before(&server);
    for port in proxy.ports {
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
    let log = server.stderr();
    assert!(log.contains("127.0.0.66") && log.contains("127.0.0.67"), "{log}");
    drop(proxy);
    server.stop();
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
