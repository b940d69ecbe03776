//! What the log tells of the past: each step of an instance, its state at an earlier time, and the audit of all events.
//!
//! The first two fold the owner's events with the fold of the read model `instances`, so that they show what queries showed.
//!
//! - `log_reader`: reads a part of the log for a request; few at once.
//! - `steps`: the steps of an instance, one page; `difference`: what each step changed.
//! - `audit`: the events that a filter selects; `audit_event`: one of them, without personal values.
//! - `usage`: how long instances ran.
//! - `actor`: who acted. `history`: the page as both endpoints answer it. `moment`: the state at an earlier time.

pub mod actor;
pub mod audit;
pub mod audit_event;
mod difference;
pub mod history;
pub mod log_reader;
pub mod moment;
mod steps;
pub mod usage;

pub use log_reader::LogReader;
