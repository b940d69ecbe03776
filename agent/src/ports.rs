//! Which host ports a new container gets: three consecutive ones, for its ports 22, 80 and 443.
//!
//! In: the range that the backend may use, the ports that its containers hold, and a probe of the host. Out: the first
//! free block after a cursor. Blocks are given out in turn, not lowest first: a port that was just freed is the last
//! to be used again, so that a client which remembers the host key of the deleted machine rarely meets another one.
//! Ports of stopped containers count as used, which is what keeps them over stop and resume.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::str::FromStr;

use dockhost_domain::wire::Ports;

/// Ports per container.
const PORTS_PER_CONTAINER: u16 = 3;

/// The host ports that a backend may publish, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The text is not a range of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port range like 20000-29999 with room for three ports, none below 1024")]
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
    /// How many containers find ports in it.
    #[must_use]
    pub const fn blocks(self) -> u16 {
        (self.last - self.first + 1) / PORTS_PER_CONTAINER
    }

    fn block(self, index: u16) -> Ports {
        let ssh = self.first + index * PORTS_PER_CONTAINER;
        Ports { ssh, http: ssh + 1, https: ssh + 2 }
    }
}

/// Where the next search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(u16);

impl Cursor {
    /// Begins at a place that depends on `seed`, so that two agents on one engine rarely want the same ports.
    #[must_use]
    pub fn seeded(range: PortRange, seed: u128) -> Self {
        Self(u16::try_from(seed % u128::from(range.blocks())).unwrap_or(0))
    }
}

/// The three ports of a container, in order.
#[must_use]
pub const fn numbers(ports: Ports) -> [u16; 3] {
    [ports.ssh, ports.http, ports.https]
}

/// The first block after the cursor of which no port is in `used` and every port is `free` on the host, with the
/// cursor moved behind it; nothing when there is none.
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

/// Whether nobody listens on this port of the host, as far as binding it tells. An agent that lives in a container
/// sees that container's ports only; there the engine's own refusal is the judge.
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
    fn a_range_reads_as_it_is_written() {
        assert_eq!(range("20000-29999").to_string(), "20000-29999");
        assert_eq!(range("20000-29999").blocks(), 3333);
        for text in ["", "20000", "20000-20001", "29999-20000", "22-1000", "20000-70000", "a-b"] {
            assert!(text.parse::<PortRange>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_taken_port_is_skipped_and_a_freed_one_comes_back() {
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
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }

    proptest! {
        /// Whatever is used, containers get disjoint blocks inside the range until there is no free block left.
        #[test]
        fn no_port_is_given_twice(seed in any::<u128>(), taken in prop::collection::btree_set(30000..30050u16, 0..20)) {
            let range = range("30000-30049");
            let mut cursor = Cursor::seeded(range, seed);
            let mut used = taken;
            while let Some((ports, next)) = allocate(range, cursor, &used, |_| true) {
                for port in numbers(ports) {
                    prop_assert!((30000..30050).contains(&port));
                    prop_assert!(used.insert(port), "{port} was given twice");
                }
                cursor = next;
            }
            for block in 0..range.blocks() {
                prop_assert!(numbers(range.block(block)).iter().any(|port| used.contains(port)));
            }
        }
    }
}
