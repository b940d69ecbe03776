//! How many connections there may be. A connection beyond a limit is closed at once, so it costs nothing further, and
//! those of other addresses are not affected. A trusted proxy brings the connections of many clients, so its address has no
//! share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::common::log_throttle::LogThrottle;
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
    max: MaxConnections,
    trusted_proxies: Vec<IpNet>,
    open: Mutex<Open>,
    log: LogThrottle,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<ClientAddress, usize>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    slots: Arc<ConnectionSlots>,
    address: ClientAddress,
}

impl ConnectionSlots {
    /// No connections yet.
    pub fn new(max: MaxConnections, trusted_proxies: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { max, trusted_proxies, open: Mutex::default(), log: LogThrottle::per_minute() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address; `None` if a limit is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let is_proxy = self.trusted_proxies.iter().any(|network| network.contains(&address.to_canonical()));
        let address = ClientAddress::of(address);
        let mut open = self.open();
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        let (total, MaxConnections { total: max_total, per_address }) = (open.total, self.max);
        if total >= max_total || (of_address >= per_address && !is_proxy) {
            drop(open);
            if let Some(suppressed) = self.log.permit() {
                tracing::warn!(%address, of_address, total, suppressed, "connection refused: too many are open");
            }
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, of_address + 1);
        drop(open);
        Some(Permit { slots: Arc::clone(self), address })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.total -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
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
        assert_eq!(slots.open().total, 1);
        assert_eq!(slots.open().by_address.len(), 1, "the address of an ended connection is remembered");
    }
}
