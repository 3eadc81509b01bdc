//! Bounds between two settings: each value may be right by itself and wrong beside another.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::Settings;

/// Two settings that cannot both be as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The setting to complain about.
    pub name: &'static str,
    /// How it stands to the other.
    pub relation: &'static str,
    /// The other setting; none if the value clashes with the protocol.
    pub other: Option<&'static str>,
    /// How to end it.
    pub right: &'static str,
}

/// Every clash among these settings.
pub(super) fn clashes(settings: &Settings) -> Vec<Clash> {
    let rules = [
        (
            overlap(settings.listen, settings.control),
            clash("control", "is the same port as", "listen", "give each listener its own port"),
        ),
        (
            settings.message_max < settings.frame_max,
            clash("message-max", "is below", "frame-max", "raise message-max or lower frame-max"),
        ),
        (
            settings.lag_max < settings.publication_max,
            clash("lag-max", "is below", "publication-max", "let it hold one publication at least"),
        ),
        (
            settings.address_memory.bytes() > 0 && settings.address_memory < settings.message_max,
            clash("address-memory", "is below", "message-max", "let it hold one message at least"),
        ),
        (
            settings.pong_timeout > settings.ping_interval,
            clash("pong-timeout", "is above", "ping-interval", "let it end before the next ping"),
        ),
        (
            settings.retry_after.subsec_nanos() != 0,
            Clash {
                name: "retry-after",
                relation: "is not in whole seconds, as HTTP wants it",
                other: None,
                right: "write a duration like 5s or 2m",
            },
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, clash)| clash).collect()
}

fn clash(
    name: &'static str,
    relation: &'static str,
    other: &'static str,
    right: &'static str,
) -> Clash {
    Clash { name, relation, other: Some(other), right }
}

/// Whether the second of two listeners on these addresses would find its port taken. Port 0 is
/// any free one.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two listeners overlap when the kernel would refuse the second one.
    #[test]
    fn listeners_overlap_where_the_kernel_says_so() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other): (SocketAddr, SocketAddr) =
                (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(overlap(one, other), expected, "{one} and {other}");
            assert_eq!(overlap(other, one), expected, "{other} and {one}");
        }
    }
}
