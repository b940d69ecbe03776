//! Runs DockHost under traffic, injects faults into its processes, links, disks and clocks, and checks that the documented invariants hold.
//!
//! A run produces a report: the history of all requests, all faults, and the observed state at the end (log, read models,
//! containers, assignments, timers). The checker needs only the report, so a saved report can be checked again later.
//!
//! # Layout
//! - [`history`], [`observation`], [`report`]: the recorded data.
//! - [`checker`]: checks a report against the invariants; pure.
//! - [`request`], [`traffic`], [`racers`], [`prober`], [`administrator`]: requests to real servers.
//! - [`nemesis`], [`system`], [`run`]: real servers, and faults.
//! - [`availability`]: a table of how long single faults are noticed, from measurements.
//! - [`collect`]: reads the state of a system into an observation.

#![expect(missing_docs, reason = "test code with descriptive names; the rest is documented")]
#![expect(clippy::unwrap_used, reason = "test code fails by panicking")]

pub mod administrator;
pub mod availability;
pub mod checker;
pub mod collect;
pub mod history;
pub mod nemesis;
pub mod observation;
pub mod person;
pub mod prober;
pub mod racers;
pub mod report;
pub mod request;
pub mod run;
pub mod system;
pub mod traffic;
