//! Ports that can be come back to. In: nothing. Out: a free one, below those that the system hands out to outgoing
//! connections, so that nobody's connection sits on it while its server is down.

use std::net::{Ipv4Addr, TcpListener};

use dockhost::common::clock;

/// Above the well-known ones, below those of the agents' containers.
const FIRST: u16 = 10_000;
const COUNT: u64 = 10_000;

/// A free port on loopback.
#[must_use]
pub fn free() -> u16 {
    loop {
        // The low half of such an id is random.
        let port = FIRST + u16::try_from(clock::fresh_uuid().as_u64_pair().1 % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
