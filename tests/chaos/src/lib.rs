//! Whether DockHost keeps what it promises while its parts are killed.
//!
//! In: a seed. Out: a report of all that clients asked and were told, of every fault, and of what was there in the end
//! (log, read models, containers, assignments, timers); and, from the report alone, the list of promises that were
//! broken. The checker needs no server and knows nothing of how the report came to be, so a report that was kept can
//! be checked again after the checker has learned something new.
//!
//! # Layout
//! - [`history`], [`observation`], [`report`]: what is recorded.
//! - [`checker`]: the report against the invariants; pure.
//! - [`traffic`], [`nemesis`], [`site`], [`run`]: real servers under real requests, and what is done to them.
//! - [`collect`]: reading a site into an observation.

#![expect(missing_docs, reason = "a test, whose names say what they do; what is not plain is documented")]
#![expect(clippy::unwrap_used, reason = "a test, and what it stands on, fails by panicking")]

pub mod checker;
pub mod collect;
pub mod history;
pub mod nemesis;
pub mod observation;
pub mod report;
pub mod run;
pub mod site;
pub mod traffic;
