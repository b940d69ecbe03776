//! The DockHost main server: the control plane between web frontends and backend machines.
//!
//! # Layout, from the lowest layer up
//! A module depends only on modules above it in this list; `tests/integration/structure/` checks that.
//! - [`common`]: the clock, ids, retries, error chains.
//! - [`broker`]: the connection to NATS, stream definitions, consumers, and the services for agents.
//! - [`sealing`]: encryption of personal values, one key per person.
//! - [`event_log`]: the port to the log, and its JetStream adapter.
//! - [`execute`]: load, decide, append; the aggregate cache and snapshots.
//! - [`auth`]: passwords, tokens, API keys, SSH keys, and the authentication of backends at the broker.
//! - [`replica`]: what every replica knows: the log, the fleet, heartbeats, the progress of the read models.
//! - [`leader`]: the election, and one file for each role of the leader.
//! - [`http`]: the API; `router` is its table of contents.
//! - [`backup`]: export and import of the log.
//! - [`app`]: configuration, telemetry, start-up and shutdown of one replica.
//! - [`dev`]: the embedded servers of `dockhost dev` and of the tests.
//! - [`cli`]: the command line.

pub mod app;
pub mod auth;
pub mod backup;
pub mod broker;
pub mod cli;
pub mod common;
pub mod dev;
pub mod event_log;
pub mod execute;
pub mod http;
pub mod leader;
pub mod replica;
pub mod sealing;
