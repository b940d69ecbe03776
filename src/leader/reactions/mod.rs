//! Reactions: execute commands on other aggregates after an event. One file each; idempotent.

pub mod account_disabled;
pub mod account_erased;
pub mod backend_draining;
pub mod backend_lost;
pub mod backend_removed;
pub mod key_changed;
