//! URLs of the command line, taken apart and looked up.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::ProfileError;
use crate::decoder::Transport;

/// A URL. It borrows the text that the user wrote, which errors quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// The option that it was given to.
    option: &'static str,
    /// As it was written.
    text: &'a str,
    /// What is spoken there, as far as the scheme says: a WebSocket, or events over HTTP.
    pub transport: Transport,
    /// The host and its port.
    pub site: Site<'a>,
    /// The path and what follows it; empty if there is none.
    pub path: &'a str,
}

/// A host and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// A name or an address, the latter without brackets.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken there.
    pub is_secure: bool,
}

impl<'a> Url<'a> {
    /// Takes a URL apart.
    pub fn parse(
        option: &'static str,
        text: &'a str,
        right: &'static str,
    ) -> Result<Url<'a>, ProfileError> {
        let wrong = |problem: &str| ProfileError::Wrong {
            option,
            value: text.to_owned(),
            problem: problem.to_owned(),
            right: format!("write {right}"),
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (transport, is_secure) = match scheme {
            "ws" => (Transport::WebSocket, false),
            "wss" => (Transport::WebSocket, true),
            "http" => (Transport::Sse, false),
            "https" => (Transport::Sse, true),
            _ => return Err(wrong("has a scheme that is not spoken here")),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(wrong("has a letter that requests cannot carry"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if path.starts_with('?') {
            return Err(wrong("has a question mark where its path would begin"));
        }
        let site = Site::parse(authority, is_secure);
        let site = site.ok_or_else(|| wrong("has no host, or no good port"))?;
        Ok(Url { option, text, transport, site, path })
    }

    /// An error about this URL.
    pub fn wrong(&self, problem: impl Into<String>, right: impl Into<String>) -> ProfileError {
        let (option, value) = (self.option, self.text.to_owned());
        ProfileError::Wrong { option, value, problem: problem.into(), right: right.into() }
    }
}

impl<'a> Site<'a> {
    /// `host`, `host:port` or `[address]:port`; the port is that of the scheme unless given.
    fn parse(authority: &'a str, is_secure: bool) -> Option<Site<'a>> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port {
            "" => usual_port(is_secure),
            _ => port.strip_prefix(':')?.parse().ok().filter(|&port| port > 0)?,
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        (!host.is_empty() && host.bytes().all(is_name)).then_some(Site { host, port, is_secure })
    }

    /// Looks the host up.
    pub fn address(&self, option: &'static str) -> Result<SocketAddr, ProfileError> {
        let unknown = |why: String| ProfileError::Wrong {
            option,
            value: self.host.to_owned(),
            problem: format!("cannot be looked up: {why}"),
            right: "write the name of a host that this machine knows, or its address".to_owned(),
        };
        let found =
            (self.host, self.port).to_socket_addrs().map_err(|why| unknown(why.to_string()));
        let mut addresses: Vec<SocketAddr> = found?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.first().copied().ok_or_else(|| unknown("it has no address".to_owned()))
    }

    /// As URLs and the `Host` header have it.
    pub fn authority(&self) -> String {
        let Site { host, port, is_secure } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        if *port == usual_port(*is_secure) { host } else { format!("{host}:{port}") }
    }
}

/// The port of a URL that names none.
fn usual_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}
