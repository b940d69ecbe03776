//! Free ports below the ephemeral range, so that no outgoing connection takes one while its server is down.
//!
//! A port belongs to the process that asked for it until that process ends, even while no server listens on it. The
//! lock on a file holds it, so that tests side by side, each a process of its own, get different ports.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use dockhost::common::clock;

/// Above the well-known ports and below those of the agents' containers.
const FIRST: u16 = 10_000;
const COUNT: u64 = 10_000;

/// The locked files of the ports that this process has.
static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A free port on loopback, reserved until this process ends.
#[must_use]
pub fn free() -> u16 {
    loop {
        // The low half of the id is random.
        let port = FIRST + u16::try_from(clock::fresh_uuid().as_u64_pair().1 % COUNT).unwrap();
        if let Some(file) = reserve(port)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            RESERVED.lock().unwrap().push(file);
            return port;
        }
    }
}

/// The locked file of a port, or `None` if a process, this one included, has reserved it.
fn reserve(port: u16) -> Option<File> {
    let file = File::create(super::shared_temp("ports").join(port.to_string())).unwrap();
    file.try_lock().is_ok().then_some(file)
}
