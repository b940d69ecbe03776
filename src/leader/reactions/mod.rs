//! Reactions: events of one aggregate that concern others. One file each, idempotent, run by the leader.

pub mod account_erased;
pub mod backend_lost;
