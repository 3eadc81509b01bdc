//! Lists of networks, as an operator writes them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use crate::limits::NETWORKS_MAX;

/// An address, or all that begin with the same bits. IPv4 is kept as IPv6 has it (RFC 4291 §2.5.5.2),
/// so that both match in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Network {
    first: u128,
    bits: u32,
}

/// Networks. None of them is written as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Networks(Vec<Network>);

/// Why a text is not a list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNetworks {
    /// One of them is not an address, or its length is not one.
    #[error("has '{0}', which is not a network")]
    Malformed(String),
    /// One of them has bits behind its length; what was meant cannot be known.
    #[error("has '{0}', which has bits behind its length; the network is {1}")]
    HostBits(String, Network),
    /// More than [`NETWORKS_MAX`].
    #[error("has more than {NETWORKS_MAX} networks")]
    TooMany,
}

impl Networks {
    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = bits_of(address);
        self.0.iter().any(|network| (address ^ network.first) & network.mask() == 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Networks {
    type Err = NotNetworks;

    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        let networks = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        let networks: Vec<Network> = networks.map(network).collect::<Result<_, _>>()?;
        if networks.len() > NETWORKS_MAX {
            return Err(NotNetworks::TooMany);
        }
        Ok(Networks(networks))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Network::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl Network {
    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(u128::BITS - self.bits).unwrap_or(0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.first).to_canonical();
        match address {
            IpAddr::V4(_) if self.bits == u128::BITS => address.fmt(f),
            IpAddr::V4(_) if self.bits >= MAPPED_BITS => {
                write!(f, "{address}/{}", self.bits - MAPPED_BITS)
            }
            _ if self.bits == u128::BITS => address.fmt(f),
            _ => write!(f, "{}/{}", Ipv6Addr::from(self.first), self.bits),
        }
    }
}

fn network(text: &str) -> Result<Network, NotNetworks> {
    let malformed = || NotNetworks::Malformed(text.to_owned());
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let is_length = |length: &str| length.bytes().all(|byte| byte.is_ascii_digit());
    let length = match text.contains('/') {
        false => longest,
        true => length.parse().ok().filter(|_| is_length(length)).ok_or_else(malformed)?,
    };
    if length > longest {
        return Err(malformed());
    }
    let network = Network { first: bits_of(address), bits: length + (128 - longest) };
    let meant = Network { first: network.first & network.mask(), ..network };
    if meant != network {
        return Err(NotNetworks::HostBits(text.to_owned(), meant));
    }
    Ok(network)
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Bits in front of an IPv4 address in its IPv6 form.
const MAPPED_BITS: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    /// An address is in a list exactly if it shares the bits of one of its networks, in either form.
    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        let networks: Networks =
            "127.0.0.0/8, 192.0.2.7,2001:db8::/32,::1, 0.0.0.0/32".parse().unwrap();
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.255.255.255", true),
            ("128.0.0.0", false),
            ("126.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("::ffff:192.0.2.7", true),
            ("::ffff:127.9.9.9", true),
            ("2001:db8::", true),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::2", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        let everything: Networks = "0.0.0.0/0,::/0".parse().unwrap();
        for address in ["255.255.255.255", "::", "ffff::"] {
            assert!(everything.contains(address.parse().unwrap()), "{address}");
        }
        let all_of_ipv4: Networks = "0.0.0.0/0".parse().unwrap();
        assert!(!all_of_ipv4.contains("::1".parse().unwrap()));
        assert!(!Networks::default().contains("::".parse().unwrap()));
    }

    /// A list is written as it was read, each network in its shortest form.
    #[test]
    fn a_list_is_written_as_it_was_read() {
        for (text, written) in [
            ("", ""),
            (" ", ""),
            ("127.0.0.0/8,::1", "127.0.0.0/8,::1"),
            ("10.0.0.1/32 , 2001:DB8:0:0::/64", "10.0.0.1,2001:db8::/64"),
            ("0.0.0.0/0,::/0", "0.0.0.0/0,::/0"),
        ] {
            let networks: Networks = text.parse().unwrap();
            assert_eq!(networks.to_string(), written, "{text}");
            assert_eq!(networks.to_string().parse(), Ok(networks), "{text}");
        }
    }

    /// What is not a network is refused by name, and a slip is told what was probably meant.
    #[test]
    fn what_is_not_a_network_is_named() {
        for text in
            ["localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "1,"]
        {
            let refused = text.parse::<Networks>().unwrap_err();
            assert!(matches!(refused, NotNetworks::Malformed(_)), "{text}: {refused}");
        }
        let refused = "10.0.0.1/8".parse::<Networks>().unwrap_err().to_string();
        assert_eq!(
            refused,
            "has '10.0.0.1/8', which has bits behind its length; the network is 10.0.0.0/8"
        );
        let many = |count| vec!["10.0.0.1"; count].join(",").parse::<Networks>();
        assert!(many(NETWORKS_MAX).is_ok());
        assert_eq!(many(NETWORKS_MAX + 1), Err(NotNetworks::TooMany));
    }
}
