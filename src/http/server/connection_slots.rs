//! How many connections there may be. A connection beyond a limit is closed at once, so it costs nothing further, and
//! those of other addresses are not affected. A trusted proxy brings the connections of many clients, so its address has no
//! share.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::common::log_throttle::LogThrottle;
use crate::common::slots::{Slot, Slots};
use crate::http::extract::ClientAddress;

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxConnections {
    /// In all.
    pub total: usize,
    /// From one address, or from one /64 network of IPv6.
    pub per_address: usize,
}

impl Default for MaxConnections {
    fn default() -> Self {
        Self { total: 4096, per_address: 256 }
    }
}

/// Counts the connections.
#[derive(Debug)]
pub struct ConnectionSlots {
    slots: Arc<Slots<ClientAddress>>,
    trusted_proxies: Vec<IpNet>,
    log: LogThrottle,
}

/// The place of one connection, until it is dropped.
pub type Permit = Slot<ClientAddress>;

impl ConnectionSlots {
    /// No connections yet.
    pub fn new(max: MaxConnections, trusted_proxies: Vec<IpNet>) -> Self {
        let slots = Slots::new(max.total, max.per_address);
        Self { slots, trusted_proxies, log: LogThrottle::per_minute() }
    }

    /// A place for a connection from this address; `None` if a limit is reached.
    pub fn admit(&self, address: IpAddr) -> Option<Permit> {
        let is_proxy = self.trusted_proxies.iter().any(|network| network.contains(&address.to_canonical()));
        let address = ClientAddress::of(address);
        let taken = self.slots.take(address, is_proxy);
        if taken.is_err()
            && let Some(suppressed) = self.log.permit()
        {
            let (of_address, total) = (self.slots.taken_by(&address), self.slots.taken());
            tracing::warn!(%address, of_address, total, suppressed, "connection refused: too many are open");
        }
        taken.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn slots_address_over_its_share_is_refused_and_others_are_not() {
        let slots = ConnectionSlots::new(MaxConnections { total: 10, per_address: 2 }, vec![]);
        let (first, _second) = (slots.admit(address("192.0.2.1")).unwrap(), slots.admit(address("192.0.2.1")));
        assert!(slots.admit(address("192.0.2.1")).is_none());
        assert!(slots.admit(address("::ffff:192.0.2.1")).is_none(), "the same address, as IPv6 writes it");
        let _other = slots.admit(address("192.0.2.2")).unwrap();
        drop(first);
        assert!(slots.admit(address("192.0.2.1")).is_some());
    }

    #[test]
    fn slots_addresses_of_one_ipv6_network_share() {
        let slots = ConnectionSlots::new(MaxConnections { total: 10, per_address: 1 }, vec![]);
        let _first = slots.admit(address("2001:db8::1")).unwrap();
        assert!(slots.admit(address("2001:db8::ffff:2")).is_none());
        assert!(slots.admit(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn slots_trusted_proxy_has_no_share_but_the_total_holds() {
        let max = MaxConnections { total: 3, per_address: 1 };
        let slots = ConnectionSlots::new(max, vec!["192.0.2.0/28".parse().unwrap()]);
        let _proxied = [1, 2].map(|_| slots.admit(address("::ffff:192.0.2.1")).unwrap());
        let _client = slots.admit(address("198.51.100.1")).unwrap();
        assert!(slots.admit(address("192.0.2.1")).is_none());
    }

    #[test]
    fn slots_total_reached_refuses_everybody_until_one_ends() {
        let slots = ConnectionSlots::new(MaxConnections { total: 2, per_address: 2 }, vec![]);
        let (first, _second) = (slots.admit(address("192.0.2.1")).unwrap(), slots.admit(address("192.0.2.2")));
        assert!(slots.admit(address("192.0.2.3")).is_none());
        drop(first);
        assert!(slots.admit(address("192.0.2.3")).is_some());
    }
}
