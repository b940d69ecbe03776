//! The test harness: starts real servers for one test or for one run of all tests.
//!
//! Each test has its own broker (one node or three) and its own database (on the run's shared mongod or on its own
//! replica set). Integration tests, chaos runs and benches share this crate. Ports are free ones, files are in temporary
//! directories or in `target/tmp`, and no process outlives the run, not even a killed one.

#![expect(missing_docs, reason = "helpers with telling names; the others are documented")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests and their helpers fail by panicking")]

pub mod balancer;
pub mod collector;
pub mod command;
pub mod containers;
pub mod events;
pub mod hosts;
pub mod http;
pub mod log;
pub mod mongo;
pub mod mongods;
pub mod monitor;
pub mod nats;
pub mod pause;
pub mod ports;
pub mod proxy;
pub mod seed;
pub mod topology;
pub mod wait;
pub mod world;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

pub use balancer::Balancer;
pub use command::{CommandOutput, run, run_script, run_with_input, run_within};
pub use hosts::{Host, Hosts};
pub use mongo::Mongo;
pub use mongods::Mongods;
pub use monitor::Monitor;
pub use nats::Nats;
pub use proxy::{Direction, Proxy};
pub use seed::Seed;
pub use topology::Topology;
pub use wait::wait_until;
pub use world::{ADMIN, ADMIN_PASSWORD, World};

/// The folder for downloaded servers and the run's database: cargo's `target/tmp`.
#[must_use]
pub fn target_tmp() -> PathBuf {
    let directory = built().parent().unwrap().join("tmp");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A folder for the locks of what the machine has only once, such as ports. All runs of this user share it, so it does not
/// follow `TMPDIR`; another user may not write to it.
fn shared_temp(name: &str) -> PathBuf {
    let user = match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => String::new(),
        user => format!("-{user}"),
    };
    let directory = PathBuf::from(format!("/tmp/dockhost-test-{name}{user}"));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The path of a program of this workspace, built with the same profile.
///
/// # Panics
/// If it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(path.is_file(), "{} is not built: run `make test`, or `cargo build --workspace --bins`", path.display());
    path
}

/// The folder of this profile's programs. The test itself is there or in `deps` below.
fn built() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let directory = this.parent().unwrap();
    if directory.ends_with("deps") { directory.parent().unwrap().to_owned() } else { directory.to_owned() }
}
