//! Reactions: events of one aggregate that concern others. One file each, idempotent, run by the leader.

pub mod backend_lost;
