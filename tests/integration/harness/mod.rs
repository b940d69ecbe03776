//! What the tests stand on: real servers that belong to one test, or to one run of all tests.
//!
//! In: nothing. Out: a broker of the test's own, a database of the test's own on the run's one mongod, and a way to
//! wait for a state. Ports are free ones, files lie in temporary directories or under `target/tmp`, and no process
//! outlives the run, not even one that is killed.

pub mod command;
pub mod containers;
pub mod http;
pub mod mongo;
pub mod nats;
pub mod wait;
pub mod world;

use std::path::Path;

pub use command::{Said, run};
pub use mongo::Mongo;
pub use nats::Nats;
pub use wait::wait_until;
pub use world::World;

/// Where the server programs and the run's database are kept.
pub fn target_tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
