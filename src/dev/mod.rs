//! The broker and the database that `dockhost dev` and the tests start as child processes. Production doesn't use them.
//!
//! - [`fetch`]: finds the server programs on PATH, or downloads pinned versions once.
//! - [`process`]: child processes that can't outlive their owner.
//! - [`secrets`]: generates and stores the secrets.
//! - [`nats`], [`mongod`]: one broker, one database. [`broker`]: the broker of `dockhost dev`, which is restarted when needed.
//! - [`log_limit`]: the size limit of the log on a small disk.
//! - [`engine`], [`agents`]: chooses the runtime, and starts the agents.
//! - [`running`]: how other commands find a running `dockhost dev`.

pub mod agents;
pub mod broker;
pub mod containers;
pub mod engine;
pub mod fetch;
pub mod log_limit;
pub mod mongod;
pub mod nats;
pub mod process;
pub mod running;
pub mod secrets;
