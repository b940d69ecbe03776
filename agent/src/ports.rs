//! Allocates host ports: three consecutive ones per container, for its ports 22, 80 and 443.
//!
//! Blocks are allocated round-robin, so that a freed port is reused last and an SSH client that remembers the host key of
//! a deleted instance rarely reaches another one there.
//! Ports of stopped containers count as used, so an instance keeps its ports while it is stopped.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::str::FromStr;

use dockhost_domain::wire::Ports;

/// Ports per container.
const PORTS_PER_CONTAINER: u16 = 3;

/// The host ports that a backend may publish; both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl Default for PortRange {
    fn default() -> Self {
        Self { first: 20000, last: 29999 }
    }
}

/// The text is not a valid port range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid port range {0:?}: expected at least three ports from 1024 upward, such as 20000-29999")]
pub struct InvalidPortRange(pub String);

impl FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, InvalidPortRange> {
        let invalid = || InvalidPortRange(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(invalid)?;
        let first: u16 = first.trim().parse().map_err(|_| invalid())?;
        let last: u16 = last.trim().parse().map_err(|_| invalid())?;
        if first < 1024 || last < first || last - first + 1 < PORTS_PER_CONTAINER {
            Err(invalid())
        } else {
            Ok(Self { first, last })
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl PortRange {
    /// The number of containers that the range has ports for.
    #[must_use]
    pub const fn blocks(self) -> u16 {
        (self.last - self.first + 1) / PORTS_PER_CONTAINER
    }

    fn block(self, index: u16) -> Ports {
        let ssh = self.first + index * PORTS_PER_CONTAINER;
        Ports { ssh, http: ssh + 1, https: ssh + 2 }
    }
}

/// The block at which the next search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(u16);

impl Cursor {
    /// Begins at a block that depends on `seed`, so that two agents on one engine rarely choose the same ports.
    #[must_use]
    pub fn seeded(range: PortRange, seed: u128) -> Self {
        Self(u16::try_from(seed % u128::from(range.blocks())).unwrap_or(0))
    }
}

/// The three ports as an array.
#[must_use]
pub const fn numbers(ports: Ports) -> [u16; 3] {
    [ports.ssh, ports.http, ports.https]
}

/// The first block from the cursor on whose ports are all unused and `free` on the host, and the cursor after it;
/// `None` if there is no such block.
#[must_use]
pub fn allocate(
    range: PortRange,
    cursor: Cursor,
    used: &BTreeSet<u16>,
    free: impl Fn(u16) -> bool,
) -> Option<(Ports, Cursor)> {
    (0..range.blocks()).find_map(|offset| {
        let blocks = u32::from(range.blocks());
        let index = u16::try_from((u32::from(cursor.0) + u32::from(offset)) % blocks).unwrap_or(0);
        let ports = range.block(index);
        numbers(ports).into_iter().all(|port| !used.contains(&port) && free(port)).then_some((ports, Cursor(index + 1)))
    })
}

/// Whether no process listens on this host port, tested by binding it. In a container this tests the container's own
/// ports; the engine then detects a conflict when it starts the new container.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> PortRange {
        text.parse().unwrap()
    }

    #[test]
    fn port_range_parse_accepts_what_display_writes() {
        assert_eq!(range("20000-29999").to_string(), "20000-29999");
        assert_eq!(PortRange::default(), range("20000-29999"));
        assert_eq!(range("20000-29999").blocks(), 3333);
        for text in ["", "20000", "20000-20001", "29999-20000", "22-1000", "20000-70000", "a-b"] {
            assert!(text.parse::<PortRange>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn allocate_skips_used_ports_and_reuses_freed_ones() {
        let range = range("20000-20008");
        let start = Cursor::seeded(range, 0);
        let (first, next) = allocate(range, start, &BTreeSet::new(), |port| port != 20001).unwrap();
        assert_eq!(first.ssh, 20003);
        let used = BTreeSet::from(numbers(first));
        let (second, next) = allocate(range, next, &used, |_| true).unwrap();
        assert_eq!(second.ssh, 20006);
        let (third, next) = allocate(range, next, &used, |_| true).unwrap();
        assert_eq!(third.ssh, 20000);
        assert_eq!(allocate(range, next, &(20000..20009).collect(), |_| true), None);
        let (back, _) = allocate(range, next, &(20006..20009).collect(), |_| true).unwrap();
        assert_eq!(back, first);
    }

    #[test]
    fn is_free_port_in_use_is_false() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }

    proptest! {
        /// Containers get disjoint blocks inside the range until no free block is left.
        #[test]
        fn allocate_never_returns_a_port_twice(seed in any::<u128>(), taken in prop::collection::btree_set(30000..30050u16, 0..20)) {
            let range = range("30000-30049");
            let mut cursor = Cursor::seeded(range, seed);
            let mut used = taken;
            while let Some((ports, next)) = allocate(range, cursor, &used, |_| true) {
                for port in numbers(ports) {
                    prop_assert!((30000..30050).contains(&port));
                    prop_assert!(used.insert(port), "{port} was allocated twice");
                }
                cursor = next;
            }
            for block in 0..range.blocks() {
                prop_assert!(numbers(range.block(block)).iter().any(|port| used.contains(port)));
            }
        }
    }
}
