//! The one integration binary: everything here runs against real servers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test, and what it stands on, fails by panicking")]

use dockhost_harness as harness;

#[path = "../engine/mod.rs"]
mod engine;

mod assignments;
mod backup;
mod bad_input;
mod broker;
mod composed;
mod deadlines;
mod dev;
mod dev_command;
mod erasure;
mod event_log;
mod main_job;
mod models;
mod projections;
mod proxy;
mod quarantine;
mod races;
mod real_ssh;
mod replicas;
mod routes;
mod seeding;
mod snapshots;
mod start_up;
mod structure;
mod topology;
