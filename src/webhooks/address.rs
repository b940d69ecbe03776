//! Which addresses deliveries may go to: only those of the public internet, unless the operator allows a network.
//!
//! A user chooses the URL, and the server may reach what the user may not: its own machine, the broker, the database, a
//! cloud's metadata. So each address is checked, after the name is resolved, and the connection goes to a checked address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are not the public internet (IANA's registry of special-purpose addresses, multicast, reserved).
const NOT_PUBLIC: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    // Shared by providers with their customers; some clouds have their metadata there.
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    // Link-local, with the metadata of most clouds.
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];
/// The IPv6 addresses of the public internet. Outside are, among others, `::1`, `::`, IPv4-mapped addresses,
/// `64:ff9b::/96` (NAT64, behind which is any IPv4 address), `fc00::/7`, `fe80::/10` and `ff00::/8`.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// What is no public address within [`PUBLIC_V6`].
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    // Teredo, and other addresses for protocols.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    // 6to4: an IPv4 address is in it.
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// Which addresses may be called.
#[derive(Debug, Clone)]
pub struct AddressRules {
    /// Networks that the operator allows, also if they are not public.
    allowed: Vec<IpNet>,
    /// Whether public addresses may be called.
    public: bool,
}

impl AddressRules {
    /// Public addresses, and those of these networks: for encrypted deliveries.
    #[must_use]
    pub const fn public_and(allowed: Vec<IpNet>) -> Self {
        Self { allowed, public: true }
    }

    /// Only those of these networks: for deliveries that are not encrypted, whose content anybody in between reads.
    #[must_use]
    pub const fn only(allowed: Vec<IpNet>) -> Self {
        Self { allowed, public: false }
    }

    /// Whether an address may be called.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        // `::ffff:10.0.0.1` reaches the same machine as `10.0.0.1`.
        let canonical = address.to_canonical();
        let is_allowed = self.allowed.iter().any(|network| network.contains(&canonical));
        is_allowed || (self.public && is_public(address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        let rules = AddressRules::public_and(vec![]);
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!rules.allow(address(refused)), "{refused} is allowed");
        }
    }

    #[test]
    fn addresses_of_the_public_internet_are_allowed_for_encrypted_deliveries_only() {
        let (encrypted, plain) = (AddressRules::public_and(vec![]), AddressRules::only(vec![]));
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(encrypted.allow(address(public)), "{public} is refused");
            assert!(!plain.allow(address(public)), "{public} is allowed");
        }
    }

    #[test]
    fn addresses_of_an_allowed_network_are_allowed_in_each_form() {
        let networks = || vec!["10.20.0.0/16".parse().unwrap(), "fd12::/16".parse().unwrap()];
        for rules in [AddressRules::public_and(networks()), AddressRules::only(networks())] {
            for (text, is_allowed) in [
                ("10.20.0.1", true),
                ("::ffff:10.20.0.1", true),
                ("10.21.0.1", false),
                ("fd12::1", true),
                ("fd13::1", false),
                ("127.0.0.1", false),
            ] {
                assert_eq!(rules.allow(address(text)), is_allowed, "{text}");
            }
        }
    }
}
