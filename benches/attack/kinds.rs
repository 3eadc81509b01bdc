//! The attacks, one for each limit.

use std::{io, net::SocketAddr};

use rustls::{ClientConnection, pki_types::ServerName};

use super::{
    floods::{Attack, Comer, Dawdler, Talker},
    good::CHANNEL,
    support::identity::Identity,
};

/// An attack, and the server that it meets.
pub struct Kind {
    pub name: &'static str,
    pub what: &'static str,
    /// Attacks per second.
    pub rate: u32,
    /// What is said to the server on top of its defaults: what must be shorter than a run to be seen.
    pub with: &'static [&'static str],
    /// The same for the server without limits.
    pub with_off: &'static [&'static str],
    /// What the good ones read.
    pub load: &'static [&'static str],
    /// Makes it, for the plain listener and the one that speaks TLS.
    pub begin: fn(SocketAddr, SocketAddr, &Identity) -> io::Result<Box<dyn Attack>>,
}

/// Twenty publications a second to everybody.
const USUAL: &[&str] = &["--rate", "20", "--settle", "3s"];

/// All attacks.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "connections",
        what: "connects, asks for a WebSocket, leaves after 250 ms",
        rate: 4000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| Ok(comer(plain, upgrade("bad", ""), 1000)),
    },
    Kind {
        name: "tls",
        what: "connects, begins a handshake of TLS, leaves after 250 ms",
        rate: 3000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |_, secure, identity| Ok(comer(secure, client_hello(identity)?, 750)),
    },
    Kind {
        name: "slow-heads",
        what: "4,000 connections, whose heads come byte by byte",
        rate: 8000,
        with: &["--handshake-timeout", "2s"],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| Ok(dawdler(plain, b"GET /ws/bad HTTP/1.1\r\nHost: h\r\nX: ".to_vec())),
    },
    Kind {
        name: "slow-frames",
        what: "4,000 connections, whose messages come byte by byte",
        rate: 8000,
        with: &["--message-timeout", "2s"],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| {
            let head = &masked(0x81, &[b' '; 60_000])[..8];
            Ok(dawdler(plain, [&upgrade("", V1)[..], head].concat()))
        },
    },
    Kind {
        name: "giant-heads",
        what: "heads of 60 kB",
        rate: 1000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| {
            let giant = format!("X: {}\r\n", "x".repeat(60_000));
            Ok(comer(plain, upgrade("bad", &giant), 250))
        },
    },
    Kind {
        name: "many-headers",
        what: "heads of 1,200 headers",
        rate: 2000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| Ok(comer(plain, upgrade("bad", &"X: x\r\n".repeat(1200)), 500)),
    },
    Kind {
        name: "pings",
        what: "pings on 20 connections",
        rate: 50_000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| Ok(talker(plain, upgrade("bad", ""), |_| masked(0x89, b"x"))),
    },
    Kind {
        name: "commands",
        what: "commands on 20 connections",
        rate: 50_000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| {
            Ok(talker(plain, upgrade("", V1), |_| masked(0x81, br#"{"type":"ping"}"#)))
        },
    },
    Kind {
        name: "subscriptions",
        what: "subscribes to and leaves the same channels on 20 connections",
        rate: 20_000,
        with: &[],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| Ok(talker(plain, upgrade("", V1), |it| come_and_go(it % 100))),
    },
    Kind {
        name: "names",
        what: "subscribes to ever new channels on 20 connections",
        rate: 20_000,
        with: &["--message-rate", "0"],
        with_off: &[],
        load: USUAL,
        begin: |plain, _, _| Ok(talker(plain, upgrade("", V1), come_and_go)),
    },
    Kind {
        name: "stopped-readers",
        what: "200 readers a second come to the good ones' channel and read nothing",
        rate: 200,
        with: &["--stall-timeout", "2s"],
        with_off: &[],
        load: &["--rate", "20", "--payload", "4096", "--settle", "3s"],
        begin: |plain, _, _| {
            let opening = upgrade(CHANNEL, "");
            let (there, receive_bytes) = (Default::default(), Some(2048));
            Ok(Box::new(Comer { target: plain, opening, stay_max: 4000, receive_bytes, there }))
        },
    },
    Kind {
        name: "publications",
        what: "publishes on 20 connections",
        rate: 20_000,
        with: &["--message-rate", "0", "--channels", PUBLIC],
        with_off: &["--channels", PUBLIC],
        load: USUAL,
        begin: |plain, _, _| {
            Ok(talker(plain, upgrade("", V1), |_| {
                masked(0x81, br#"{"type":"publish","channel":"bad","text":"x"}"#)
            }))
        },
    },
];

fn comer(target: SocketAddr, opening: Vec<u8>, stay_max: usize) -> Box<dyn Attack> {
    let there = Default::default();
    Box::new(Comer { target, opening, stay_max, receive_bytes: None, there })
}

fn dawdler(target: SocketAddr, opening: Vec<u8>) -> Box<dyn Attack> {
    Box::new(Dawdler { target, opening, connections: 4000, there: Vec::new(), next: 0 })
}

fn talker(target: SocketAddr, opening: Vec<u8>, words: fn(u64) -> Vec<u8>) -> Box<dyn Attack> {
    let there = (0..20).map(|_| None).collect();
    Box::new(Talker { target, opening, words, there, said: 0 })
}

/// A request for a WebSocket, on this channel or on none, with these lines.
fn upgrade(channel: &str, lines: &str) -> Vec<u8> {
    let path = if channel.is_empty() { "/ws".to_owned() } else { format!("/ws/{channel}") };
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
    .into_bytes()
}

/// Subscribes to the channel of this number, and leaves it.
fn come_and_go(number: u64) -> Vec<u8> {
    let [come, go] = ["subscribe", "unsubscribe"]
        .map(|word| format!(r#"{{"type":"{word}","channel":"bad/{number}"}}"#));
    masked(0x81, format!("[{come},{go}]").as_bytes())
}

/// A frame of a client, masked with zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// What a client says first. It may be said as often as one likes.
fn client_hello(identity: &Identity) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let client = ClientConnection::new(identity.client(false), name);
    let mut said = Vec::new();
    client.map_err(io::Error::other)?.write_tls(&mut said)?;
    Ok(said)
}

const V1: &str = "Sec-WebSocket-Protocol: stentor.v1\r\n";
const PUBLIC: &str = "* publish=true";
