//! The DockHost main server: the control plane between web frontends and backend machines.
//!
//! # Layout, from the lowest layer up
//! A module uses only modules above it in this list; `tests/integration/structure/modules.rs` checks that.
//! - [`common`]: the clock, ids, retries, error chains.
//! - [`metrics`]: what is counted and measured for Prometheus, and the figures of the last day for charts.
//! - [`broker`]: the connection to NATS, stream definitions, consumers, and the services for agents.
//! - [`sealing`]: encryption of personal values, one key per person.
//! - [`event_log`]: the port to the log, and its JetStream adapter.
//! - [`execute`]: load, decide, append; the aggregate cache and snapshots.
//! - [`auth`]: passwords, tokens, API keys, SSH keys, and the authentication of backends at the broker.
//! - [`accounts`]: changes of accounts that span aggregates.
//! - [`replica`]: the state that every replica keeps: the fleet, heartbeats, the progress of the read models.
//! - [`webhooks`]: what happens, sent to the URLs of users: addresses, signatures, order, retries.
//! - [`leader`]: the election, the roles of the leader, and the erasure of a person.
//! - [`http`]: the API; `router` lists every route.
//! - [`backup`]: export and import of the log.
//! - [`app`]: configuration, telemetry, start-up and shutdown of one replica.
//! - [`dev`]: the broker and the database that `dockhost dev` and the tests start as child processes.
//! - [`conformance`]: the checks of a backend in any language.
//! - [`cli`]: the command line.

pub mod accounts;
pub mod app;
pub mod auth;
pub mod backup;
pub mod broker;
pub mod cli;
pub mod common;
pub mod conformance;
pub mod dev;
pub mod event_log;
pub mod execute;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod replica;
pub mod sealing;
pub mod webhooks;
