//! What `dockhost dev` and the tests stand on: a real broker and a real database as child processes.
//!
//! In: a data directory. Out: running servers on loopback with their addresses, whose data outlives them and who never
//! outlive their owner. Production has its own servers and uses nothing of this.
//!
//! # Layout
//! - [`fetch`]: finds the server programs on PATH, or fetches them once at pinned versions and checksums.
//! - [`process`]: a child that cannot outlive its owner.
//! - [`secrets`]: makes and keeps every secret that production would be given.
//! - [`nats`], [`mongod`]: one broker, one database.
//! - [`engine`], [`agents`]: which runtime there is, and the agents on it.
//! - [`running`]: where a running `dockhost dev` is.

pub mod agents;
pub mod engine;
pub mod fetch;
pub mod mongod;
pub mod nats;
pub mod process;
pub mod running;
pub mod secrets;
