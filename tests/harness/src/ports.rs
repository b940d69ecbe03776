//! Free ports below the ephemeral range, so that no outgoing connection takes one while its server is down.

use std::net::{Ipv4Addr, TcpListener};

use dockhost::common::clock;

/// Above the well-known ports and below those of the agents' containers.
const FIRST: u16 = 10_000;
const COUNT: u64 = 10_000;

/// A free port on loopback.
#[must_use]
pub fn free() -> u16 {
    loop {
        // The low half of the id is random.
        let port = FIRST + u16::try_from(clock::fresh_uuid().as_u64_pair().1 % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
