//! What a proxy says in front of a connection's own bytes: for whom it speaks (the PROXY protocol of
//! HAProxy, versions 1 and 2).
//!
//! Addresses are all that is taken of it. Where a proxy speaks for itself, to see whether we live, and
//! where it does not know, there is none.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

/// Bytes in the longest header that is taken. One of version 1 has 107 at most, and one of version 2
/// with all that is defined for it fits.
pub const PREFACE_BYTES_MAX: usize = 2048;

/// Why the first bytes of a connection are not such a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version begins like this.
    #[error(
        "no PROXY header came first; let the proxy send one (HAProxy: send-proxy-v2), or take its \
         network out of --trusted, or --proxy-protocol away"
    )]
    Missing,
    /// The line of version 1 is malformed.
    #[error("the PROXY line is not 'PROXY TCP4|TCP6|UNKNOWN SOURCE DESTINATION PORT PORT'")]
    Line,
    /// Another version than 2, or a command that is not defined.
    #[error("the PROXY header is of another version than 1 or 2, or has an unknown command")]
    Version,
    /// The header is too short for the addresses that it should have.
    #[error("the PROXY header is too short for its addresses")]
    Addresses,
    /// More than [`PREFACE_BYTES_MAX`] bytes.
    #[error("the PROXY header has more than {PREFACE_BYTES_MAX} bytes")]
    TooLong,
}

/// Parses the header at the start of `bytes`: for whom the proxy speaks, if it is for somebody, and how
/// many bytes the header has. `None` while it has yet to end.
pub fn parse(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyError> {
    let begins = |magic: &[u8]| {
        let common = bytes.len().min(magic.len());
        bytes[..common] == magic[..common]
    };
    if begins(SIGNATURE) {
        return parse_binary(bytes);
    }
    if begins(b"PROXY ") {
        return parse_line(bytes);
    }
    Err(ProxyError::Missing)
}

fn parse_line(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyError> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(ProxyError::Line) };
    };
    let line = str::from_utf8(&bytes[..end]).map_err(|_| ProxyError::Line)?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(ProxyError::Line);
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(Some((None, end + 2)));
    }
    let (source, destination) = (address(family, word()?)?, address(family, word()?)?);
    let (port, destination_port) = (port(word()?)?, port(word()?)?);
    // They are only there to be well-formed.
    let _ = (destination, destination_port);
    match words.next() {
        None => Ok(Some((Some(SocketAddr::new(source, port)), end + 2))),
        Some(_) => Err(ProxyError::Line),
    }
}

fn address(family: &str, text: &str) -> Result<IpAddr, ProxyError> {
    match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| ProxyError::Line),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| ProxyError::Line),
        _ => Err(ProxyError::Line),
    }
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(ProxyError::Line)
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyError> {
    let Some(&version) = bytes.get(12) else { return Ok(None) };
    if !matches!(version, 0x20 | 0x21) {
        return Err(ProxyError::Version);
    }
    let Some(&[family, high, low]) = bytes.get(13..16) else { return Ok(None) };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length > PREFACE_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = bytes.get(16..length) else { return Ok(None) };
    // `LOCAL` speaks for nobody, and of others than TCP we know no addresses.
    let source = match (version, family) {
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low] = first(body)?;
            Some((Ipv4Addr::new(a, b, c, d).into(), [high, low]))
        }
        (0x21, 0x21) => {
            let bytes: [u8; 34] = first(body)?;
            let address: [u8; 16] = first(&bytes)?;
            Some((Ipv6Addr::from(address).into(), [bytes[32], bytes[33]]))
        }
        _ => None,
    };
    let source = source.map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port)));
    Ok(Some((source, length)))
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ProxyError> {
    bytes.first_chunk().copied().ok_or(ProxyError::Addresses)
}

/// What version 2 begins with: no text that anybody would send, and no TLS.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes in the longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests;
