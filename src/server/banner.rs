//! What the server says when it has started: where it listens, what it uses, what to try.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
};

use super::{Kind, Server};
use crate::config::Place;

/// The start-up message of a server.
pub struct Banner<'a>(&'a Server);

impl Server {
    /// What to tell an operator at the start.
    pub fn banner(&self) -> Banner<'_> {
        Banner(self)
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Banner(server) = self;
        let plan = &server.plan;
        let ((kind, subscribers), control) = (server.subscribers[0], &server.control);
        let (config, slots) = (&server.config, plan.rings.slots);
        writeln!(f, "Stentor {}", env!("CARGO_PKG_VERSION"))?;
        for (number, (kind, at)) in server.subscribers.iter().enumerate() {
            let label = if number == 0 { "subscribers" } else { "" };
            let (http, ws) = (kind.http(), kind.ws());
            writeln!(
                f,
                "  {label:<11}  {http}://{at}/sse/{{channel}}  {ws}://{at}/ws/{{channel}}"
            )?;
        }
        let by_tls = if config.control_tls_cert.0.is_empty() { Kind::Plain } else { Kind::Tls };
        let http = by_tls.http();
        match control {
            Place::Tcp(at) => {
                writeln!(f, "  control      {http}://{at}/  (dashboard, publish, metrics)")?;
            }
            Place::Unix(_) => writeln!(f, "  control      {control}  (publish, metrics)")?,
        }
        writeln!(f, "  engine       {}", plan.engine)?;
        writeln!(f, "  shards       {}, each with a table of {slots} slots", plan.shards)?;
        writeln!(
            f,
            "  limits       {} connections ({}{} open files), {} channels, publications of {}, \
             lag of {}",
            plan.connections_max,
            if plan.is_lowered() { "all that fit into " } else { "" },
            plan.nofile,
            config.channels_max,
            config.publication_max,
            config.lag_max,
        )?;
        writeln!(f, "Try:")?;
        let subscribers = reachable(subscribers);
        let scheme = if kind == Kind::Tls { "https://" } else { "" };
        writeln!(f, "  curl -N {scheme}{subscribers}/sse/news")?;
        let scheme = if by_tls == Kind::Tls { "https://" } else { "" };
        match control {
            Place::Tcp(at) => {
                writeln!(f, "  curl -d hello {scheme}{}/publish/news", reachable(*at))?;
            }
            Place::Unix(path) => {
                let path = path.display();
                writeln!(f, "  curl -d hello --unix-socket {path} http://localhost/publish/news")?;
            }
        }
        match (kind, subscribers) == (Kind::Plain, DEFAULT_SUBSCRIBERS) {
            true => writeln!(f, "  stentor subscribe news"),
            false => writeln!(f, "  stentor subscribe news --url {}://{subscribers}", kind.ws()),
        }
    }
}

/// Where the client looks unless it is told.
const DEFAULT_SUBSCRIBERS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

/// An address to connect to from this machine: a wildcard is no such thing.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let v4 = address.is_ipv4();
        address.set_ip(if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}
