//! Who calls, as far as the network tells: for limits by address, and for the log.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};
use dockhost_domain::refusal::Network;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::http::app::App;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The length of the prefix that a provider gives to one client.
const IPV6_PREFIX: u32 = 64;

/// The address of a client; of an IPv6 address only the network, because a client has as many addresses in it as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientAddress(IpAddr);

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/{IPV6_PREFIX}"),
        }
    }
}

impl ClientAddress {
    /// The network that it is in, which names no person.
    pub fn network(self) -> Network {
        Network::of(self.0)
    }

    /// The client that has this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> IPV6_PREFIX << IPV6_PREFIX).into(),
        })
    }

    /// The client of a request; see [`address_of`].
    pub fn of_request(extensions: &Extensions, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Self {
        Self::of(address_of(extensions, headers, trusted_proxies))
    }
}

/// The address that a request comes from. `X-Forwarded-For` counts only as far as proxies that are trusted wrote it: from the
/// right, up to the first address that is not one of theirs.
pub fn address_of(extensions: &Extensions, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical());
    let is_trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    let mut client = peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("")).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(&client) {
            break;
        }
        // Some proxies add the port.
        let hop = hop.trim();
        let address = hop.parse().or_else(|_| hop.parse().map(|address: SocketAddr| address.ip()));
        match address {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self::of_request(&parts.extensions, &parts.headers, &app.settings.trusted_proxies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_request_believes_trusted_proxies_only() {
        let trusted: Vec<IpNet> = ["10.0.0.0/24", "fd00::/64"].map(|network| network.parse().unwrap()).into();
        for (peer, forwarded, expected) in [
            ("192.0.2.1:5", &[][..], "192.0.2.1"),
            // Anybody can send the header.
            ("192.0.2.1:5", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["198.51.100.7"], "198.51.100.7"),
            // What stands before the proxy's own entry is the client's invention.
            ("10.0.0.1:5", &["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1:5", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1:5", &["unknown"], "10.0.0.1"),
            ("10.0.0.1:5", &["198.51.100.7:4711"], "198.51.100.7"),
            ("[fd00::1]:5", &["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
            ("[::ffff:10.0.0.1]:5", &["::ffff:198.51.100.7"], "198.51.100.7"),
        ] {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
            let headers = forwarded.iter().map(|line| (FORWARDED_FOR, line.parse().unwrap())).collect();
            let client = ClientAddress::of_request(&extensions, &headers, &trusted);
            assert_eq!(client.to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
