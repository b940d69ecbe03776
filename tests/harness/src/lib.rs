//! What the tests stand on: real servers that belong to one test, or to one run of all tests.
//!
//! In: nothing. Out: a broker of the test's own (one node or three), a database of the test's own (on the run's one
//! mongod, or on a set of its own), proxies between any two parts, and a way to wait for a state. The integration tests
//! and the benches share it, so it is a crate of its own. Ports are free ones, files lie in temporary directories or
//! under `target/tmp`, and no process outlives the run, not even one that is killed.

#![expect(missing_docs, reason = "helpers whose names say what they do; what is not plain is documented")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test, and what it stands on, fails by panicking")]

pub mod command;
pub mod containers;
pub mod http;
pub mod log;
pub mod mongo;
pub mod mongods;
pub mod nats;
pub mod pause;
pub mod ports;
pub mod proxy;
pub mod seed;
pub mod topology;
pub mod wait;
pub mod world;

use std::path::PathBuf;

pub use command::{Said, run};
pub use mongo::Mongo;
pub use mongods::Mongods;
pub use nats::Nats;
pub use proxy::{Direction, Proxy};
pub use seed::Seed;
pub use topology::Topology;
pub use wait::wait_until;
pub use world::World;

/// Where the server programs and the run's database are kept: cargo's `target/tmp`.
#[must_use]
pub fn target_tmp() -> PathBuf {
    let directory = built().parent().unwrap().join("tmp");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// One of our programs, as it was built beside what runs now.
///
/// # Panics
/// If it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(path.is_file(), "{} is not built: run `make test`, or `cargo build --workspace --bins`", path.display());
    path
}

/// The directory of this profile's programs; what runs now lies there, or in `deps` below it.
fn built() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let directory = this.parent().unwrap();
    if directory.ends_with("deps") { directory.parent().unwrap().to_owned() } else { directory.to_owned() }
}
