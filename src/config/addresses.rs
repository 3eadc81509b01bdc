//! Where the server listens, as settings: addresses of subscribers, and that of the control plane.
#![forbid(unsafe_code)]

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{table::Shape, values::Value};
use crate::limits::LISTENERS_MAX;

/// Addresses that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Addresses(pub Vec<SocketAddr>);

impl Addresses {
    /// Whether one of them takes the port of that place, if it has one.
    pub(super) fn overlap_with(&self, other: &Place) -> bool {
        other.tcp().is_some_and(|other| self.overlaps(other).is_some())
    }

    /// The first of them that takes the port of `other`, if one does.
    pub(super) fn overlaps(&self, other: SocketAddr) -> Option<SocketAddr> {
        self.0.iter().copied().find(|one| overlap(*one, other))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.0.iter().map(SocketAddr::to_string).collect();
        f.write_str(&addresses.join(","))
    }
}

impl Value for Addresses {
    const NOUN: &'static str = "ADDRESS";
    const KIND: &'static str = "addresses";
    const LIKE: &'static str = "like 127.0.0.1:8080 or [::]:8080";
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        let mut addresses = Addresses::default();
        for entry in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let address = entry.parse();
            let address: SocketAddr = address
                .map_err(|_| format!("has '{entry}', which is not an IP address with a port"))?;
            if let Some(taken) = addresses.overlaps(address) {
                return Err(format!("has '{entry}', whose port {taken} takes already"));
            }
            addresses.0.push(address);
        }
        match addresses.0.len() {
            0..=ADDRESSES_MAX => Ok(addresses),
            many => Err(format!("has {many} addresses, and there may be {ADDRESSES_MAX}")),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Where the control plane listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub enum Place {
    /// An IP address with a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// Whether only this machine reaches it. Who may use a Unix socket, its mode says.
    pub fn is_local(&self) -> bool {
        self.tcp().is_none_or(|address| address.ip().is_loopback())
    }

    /// The address, where it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Place::Tcp(address) => Some(*address),
            Place::Unix(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => address.fmt(f),
            // It was made of text.
            Place::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Value for Place {
    const NOUN: &'static str = "ADDRESS";
    const KIND: &'static str = "an address";
    const LIKE: &'static str = "like 127.0.0.1:8081, [::]:8081 or unix:/run/stentor/control";

    fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            let address = text.parse().map(Place::Tcp);
            return address.map_err(|_| "is not an IP address with a port".to_owned());
        };
        match SocketPath::parse(path)? {
            SocketPath(Some(path)) => Ok(Place::Unix(path)),
            SocketPath(None) => Err("has no path".to_owned()),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// How the places of Unix sockets begin.
const UNIX: &str = "unix:";

/// Where a Unix socket is, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct SocketPath(pub Option<PathBuf>);

impl Value for SocketPath {
    const NOUN: &'static str = "PATH";
    const KIND: &'static str = "the path of a socket";
    const LIKE: &'static str = "like /run/stentor/takeover";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("has a byte 0, which no path has".to_owned());
        }
        if !text.is_empty() && !text.starts_with('/') {
            return Err(
                "does not begin with a slash, so that its place depends on where".to_owned()
            );
        }
        match text.len() {
            0..=SOCKET_PATH_BYTES_MAX => {
                Ok(SocketPath(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from)))
            }
            many => Err(format!("has {many} bytes, and a socket's path at most 107")),
        }
    }

    fn text(&self) -> String {
        // It was made of text.
        self.0.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Bytes in the path of a Unix socket (`sun_path`, with a zero behind it).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Whether the second of two listeners on these addresses would find its port taken. Port 0 is
/// any free one, and `[::]` is every IPv6 address but no IPv4 one.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers =
        |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && wide.is_ipv4() == narrow.is_ipv4();
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

/// Addresses in one setting. Two settings have some.
const ADDRESSES_MAX: usize = LISTENERS_MAX / 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two listeners overlap when the kernel would refuse the second one.
    #[test]
    fn listeners_overlap_where_the_kernel_says_so() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", false),
            ("[::]:80", "0.0.0.0:80", false),
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

    /// The control plane's place is an address, or a path behind `unix:`; a path has no port that anybody
    /// could take, and is of this machine.
    #[test]
    fn the_control_plane_has_a_place() {
        for (text, is_local) in
            [("127.0.0.1:8081", true), ("[::]:8081", false), ("unix:/run/stentor/control", true)]
        {
            let place = Place::parse(text).unwrap();
            assert_eq!((place.text().as_str(), place.is_local()), (text, is_local));
        }
        for (text, problem) in [
            ("localhost:80", "is not an IP address with a port"),
            ("/run/control", "is not an IP address with a port"),
            ("unix:", "has no path"),
            ("unix:control", "does not begin with a slash, so that its place depends on where"),
        ] {
            assert_eq!(Place::parse(text), Err(problem.to_owned()));
        }
    }

    /// A socket's path is whole, and no longer than the kernel takes.
    #[test]
    fn a_path_of_a_socket_fits() {
        let longest = format!("/{}", "x".repeat(106));
        for path in ["", "/run/a b", &longest] {
            assert_eq!(SocketPath::parse(path).unwrap().text(), path);
        }
        for (path, problem) in [
            (format!("{longest}x"), "has 108 bytes, and a socket's path at most 107"),
            ("run/a".to_owned(), "does not begin with a slash, so that its place depends on where"),
            ("/a\0".to_owned(), "has a byte 0, which no path has"),
        ] {
            assert_eq!(SocketPath::parse(&path), Err(problem.to_owned()));
        }
    }

    /// A list is read entry by entry; one that cannot be listened on is refused where it is
    /// written, and so is one more than there may be.
    #[test]
    fn a_list_of_addresses_is_read_with_care() {
        let both = "0.0.0.0:80,[::]:80";
        assert_eq!(Addresses::parse(both).unwrap().text(), both);
        assert_eq!(Addresses::parse(""), Ok(Addresses::default()));
        for (text, problem) in [
            ("a:1", "has 'a:1', which is not an IP address with a port"),
            ("127.0.0.1:1,", "has '', which is not an IP address with a port"),
            ("0.0.0.0:80, 127.0.0.1:80", "has '127.0.0.1:80', whose port 0.0.0.0:80 takes already"),
        ] {
            assert_eq!(Addresses::parse(text), Err(problem.to_owned()));
        }
        let many = |count: usize| vec!["127.0.0.1:0"; count].join(",");
        assert_eq!(Addresses::parse(&many(ADDRESSES_MAX)).unwrap().0.len(), 8);
        let refused = Addresses::parse(&many(ADDRESSES_MAX + 1)).unwrap_err();
        assert_eq!(refused, "has 9 addresses, and there may be 8");
    }
}
