//! The network of an address, so short that it names no person.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const IPV4_BITS: u32 = 24;
const IPV6_BITS: u32 = 48;

/// The first 24 bits of an IPv4 address, or the first 48 of an IPv6 address: `192.0.2.0/24`, `2001:db8:1::/48`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpAddr);

/// The text is not the network of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a network such as 192.0.2.0/24 or 2001:db8:1::/48")]
pub struct InvalidNetwork;

impl Network {
    /// The network of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) & (u32::MAX << (32 - IPV4_BITS))).into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << (128 - IPV6_BITS))).into(),
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, if self.0.is_ipv4() { IPV4_BITS } else { IPV6_BITS })
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, _) = text.split_once('/').ok_or(InvalidNetwork)?;
        let network = Self::of(address.parse().map_err(|_| InvalidNetwork)?);
        if network.to_string() == text { Ok(network) } else { Err(InvalidNetwork) }
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_of_an_address_has_its_first_bits_only() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("::1", "::/48"),
        ] {
            let network = Network::of(address.parse().unwrap());
            assert_eq!(network.to_string(), expected, "{address}");
            assert_eq!(expected.parse(), Ok(network));
        }
        for text in ["192.0.2.77/24", "192.0.2.0", "192.0.2.0/32", "2001:db8::1/48", "somewhere/24", ""] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }
}
