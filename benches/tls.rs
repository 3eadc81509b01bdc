//! What TLS costs: a handshake, an idle connection, a delivery; each beside the same in plain.
//!
//! N WebSocket subscribers connect to the real server one after the other, plain, by full handshakes
//! of TLS 1.3 with a P-256 key, and by tickets; then everybody gets publications of three sizes. What
//! counts is the server's own processor time and memory, so what the clients cost does not matter. The
//! time has a resolution of 10 ms: N times the publications should take seconds.
//!
//! `cargo bench --bench tls -- [--subscribers 2000] [--publications 300] [--io uring|epoll]`

mod support {
    pub mod args;
    pub mod identity;
    pub mod publisher;
    pub mod server;
}

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Instant,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use support::{args, identity::Identity, publisher::Publisher, server::Server};

/// A connection of either kind.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

fn main() -> io::Result<()> {
    let quick = args::is_quick();
    let subscribers = args::value("--subscribers", if quick { 20 } else { 2000 });
    let publications = args::value("--publications", if quick { 3 } else { 300 });
    let engine = args::value("--io", String::from("uring"));
    let identity = Identity::new()?;
    println!("{subscribers} subscribers, engine {engine}, one shard");
    for kind in ["plain", "full", "resumed"] {
        let secure = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let server = Server::start(&settings(&identity, &engine, secure))?;
        let at = if kind == "plain" { server.subscribers } else { secure };
        let tls = (kind != "plain").then(|| identity.client(kind == "resumed"));
        // The first pays for what is made once, and has the ticket that the next one shows.
        drop(subscribe(at, tls.as_ref())?);
        let (cpu, memory, begun) = (server.cpu()?, server.resident()?, Instant::now());
        let connect = (0..subscribers).map(|_| subscribe(at, tls.as_ref()));
        let mut wires = connect.collect::<io::Result<Vec<_>>>()?;
        let (cpu, wall) = (server.cpu()? - cpu, begun.elapsed());
        let memory = server.resident()?.saturating_sub(memory);
        let each = f64::from(subscribers);
        println!(
            "{kind:>8}: {:.0} us of the server for a connection ({:.0}/s and core; {:.0}/s here), \
             {:.0} B resident for each",
            cpu.as_secs_f64() * 1e6 / each,
            each / cpu.as_secs_f64().max(0.01),
            each / wall.as_secs_f64(),
            memory as f64 / each
        );
        if kind != "plain" {
            let resumed = metric(&server, "stentor_tls_resumed_total")?;
            let expected = if kind == "resumed" { f64::from(subscribers) } else { 0.0 };
            assert_eq!(resumed, expected, "a handshake was of the other kind");
        }
        if kind == "resumed" {
            continue;
        }
        for size in [64, 1024, 16 * 1024] {
            deliver(&server, &mut wires, size, publications)?;
        }
    }
    Ok(())
}

/// One shard, and TLS at this address.
fn settings(identity: &Identity, engine: &str, secure: SocketAddr) -> Vec<String> {
    let one_shard = ["--io", engine, "--shards", "1"].map(str::to_owned);
    [&one_shard[..], &identity.settings(secure)].concat()
}

/// Publishes so many of this size, one after the other, and reads them everywhere.
fn deliver(
    server: &Server,
    wires: &mut [Box<dyn Wire>],
    size: usize,
    publications: u32,
) -> io::Result<()> {
    let mut publisher = Publisher::connect(server.control)?;
    let payload = vec![b'x'; size];
    let head = if size < 126 { 2 } else { 4 };
    let mut read = vec![0; head + size];
    let cpu = server.cpu()?;
    for _ in 0..publications {
        assert!(publisher.publish("bench", &payload)?, "the publication was refused");
        for wire in &mut *wires {
            wire.read_exact(&mut read)?;
            assert!(read[head..] == payload, "something else came");
        }
    }
    let deliveries = f64::from(publications) * wires.len() as f64;
    let cpu = (server.cpu()? - cpu).as_secs_f64();
    println!("          {size:>5} B: {:.2} us of the server per delivery", cpu * 1e6 / deliveries);
    Ok(())
}

/// Connects, by TLS where it is given, and subscribes.
fn subscribe(at: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let mut wire: Box<dyn Wire> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let end = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(end, stream))
        }
    };
    wire.write_all(
        b"GET /ws/bench HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        wire.read_exact(&mut byte)?;
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    Ok(wire)
}

fn metric(server: &Server, name: &str) -> io::Result<f64> {
    let told = server.told("/metrics")?;
    let value = told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or_else(|| io::Error::other(format!("no {name}")))
}
