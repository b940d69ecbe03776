//! The one integration binary: everything here runs against real servers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test, and what it stands on, fails by panicking")]

mod harness;

mod broker;
mod dev;
mod event_log;
mod main_job;
mod projections;
