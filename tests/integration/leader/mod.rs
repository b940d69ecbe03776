//! What the leader's roles do for instances, backends and erased users.

mod deadlines;
mod drain;
mod erasure;
mod fences;
mod fleet;
mod lease;
mod silence;
mod standstill;
