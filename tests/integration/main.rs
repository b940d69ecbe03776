//! The one integration binary: everything here runs against real servers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests and their helpers fail by panicking")]

use dockhost_harness as harness;

#[path = "../engine/mod.rs"]
mod engine;

mod admin_command;
mod administrators;
mod api;
mod backend_texts;
mod backup;
mod beside_servers;
mod broker;
mod check_config;
mod conformance;
mod dev;
mod dev_command;
mod event_log;
mod events_command;
mod example_backend;
mod harness_tests;
mod keys;
mod leader;
mod log_areas;
mod log_end;
mod master_key;
mod metrics;
mod models;
mod node;
mod packages;
mod pages;
mod people;
mod projections;
mod quarantine;
mod readme;
mod real_ssh;
mod refresh;
mod replicas;
mod secrets;
mod snapshots;
mod sockets;
mod start_up;
mod structure;
mod tenant;
mod traces;
mod upgrade;
mod user_command;
